import hashlib
import re
from collections import Counter, defaultdict

import pytest
from seqeval.metrics import f1_score
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from nlp_rnn import sample_entities as entities
from nlp_rnn import sample_grammar as grammar
from nlp_rnn import samples


@pytest.fixture(scope="module")
def translation():
    return samples.load("translation")


def test_the_splits_have_their_sizes_and_standard_columns(translation):
    assert {split: len(rows) for split, rows in translation.items()} == {"train": 4000, "validation": 200, "test": 200}
    assert all(rows.column_names == ["source", "target"] for rows in translation.values())


def test_no_sentence_of_either_language_occurs_twice(translation):
    for column in ("source", "target"):
        sentences = [sentence for rows in translation.values() for sentence in rows[column]]
        assert len(set(sentences)) == len(sentences) == 4400


def test_the_corpus_is_the_same_everywhere(translation):
    pairs = "\n".join(f"{row['source']}\t{row['target']}" for row in translation["test"])
    assert hashlib.md5(pairs.encode()).hexdigest() == "0a8c538da6a8e6951fb6e7561fa7b939"


def test_every_word_held_out_is_met_in_training(translation):
    """Held-out sentences ask for new combinations, not for new words."""
    for column in ("source", "target"):
        words = {split: set(re.findall(r"\w+", "\n".join(translation[split][column]).lower())) for split in translation}
        assert len(words["train"]) > 150
        assert words["validation"] | words["test"] <= words["train"]


def test_every_construction_is_there_in_number(translation):
    """Subordinate clauses, separated prefixes, questions and fronted adverbs each make up a twentieth or more."""
    targets = translation["train"]["target"]
    fronted = tuple(adverb.german[0].upper() + adverb.german[1:] + " " for adverb in grammar.ADVERBS)
    counts = {
        "subordinate": sum(", dass " in text or ", weil " in text or text.startswith("Wenn ") for text in targets),
        "question": sum(text.endswith("?") for text in targets),
        "fronted": sum(text.startswith(fronted) for text in targets),
        "separated": sum(text[:-1].split()[-1] in {verb.prefix for verb in grammar.VERBS} for text in targets),
        "negated": sum(" nicht" in text for text in targets),
    }
    assert min(counts.values()) >= 200, counts


@pytest.fixture(scope="module")
def tagging():
    return samples.load("tagging")


def test_tagged_sentences_have_their_sizes_and_standard_columns(tagging):
    assert {split: len(rows) for split, rows in tagging.items()} == {"train": 1500, "validation": 200, "test": 200}
    for rows in tagging.values():
        assert rows.column_names == ["tokens", "tags"]
        assert all(len(row["tokens"]) == len(row["tags"]) for row in rows)


def test_no_tagged_sentence_occurs_twice(tagging):
    sentences = [" ".join(tokens) for rows in tagging.values() for tokens in rows["tokens"]]
    assert len(set(sentences)) == len(sentences) == 1900


def test_the_tagged_corpus_is_the_same_everywhere(tagging):
    text = "\n".join(" ".join(row["tokens"] + row["tags"]) for row in tagging["test"])
    assert hashlib.md5(text.encode()).hexdigest() == "19edf4771ace20e6b57b2c17e7b2d40f"


def test_tags_are_well_formed_bio_of_three_labels(tagging):
    counts = Counter()
    for rows in tagging.values():
        for tags in rows["tags"]:
            counts.update(tags)
            for before, tag in zip(["O", *tags], tags, strict=False):
                assert not tag.startswith("I-") or before[1:] == tag[1:]
    labels = {f"{prefix}-{label}" for prefix in "BI" for label in ("PER", "LOC", "ORG")}
    assert set(counts) == {"O", *labels}
    assert min(counts.values()) > 300


def test_held_out_names_are_new_and_held_out_words_are_not(tagging):
    known = {token for tokens in tagging["train"]["tokens"] for token in tokens}
    for split in ("validation", "test"):
        new = [
            tag
            for row in tagging[split]
            for token, tag in zip(row["tokens"], row["tags"], strict=True)
            if token not in known
        ]
        assert len(new) > 80 and "O" not in new


def _features(tokens, place, context):
    padded = ["<s>", "<s>", *tokens, "</s>", "</s>"]
    shown = {"word": tokens[place], "ending": tokens[place][-3:]}
    if context:
        shown |= {f"word {offset}": padded[place + 2 + offset] for offset in (-2, -1, 1, 2)}
    return shown


@pytest.mark.parametrize(("context", "least", "most"), [(False, 0.2, 0.6), (True, 0.9, 1.0)])
def test_context_tells_what_a_word_is_and_the_word_alone_does_not(tagging, context, least, most):
    """By a linear model of single tokens, which sees two words to either side or none."""
    vectorizer, model = DictVectorizer(), LogisticRegression(C=10.0, max_iter=300)
    features = {
        split: [
            _features(tokens, place, context) for tokens in tagging[split]["tokens"] for place in range(len(tokens))
        ]
        for split in ("train", "test")
    }
    model.fit(vectorizer.fit_transform(features["train"]), [tag for tags in tagging["train"]["tags"] for tag in tags])
    predicted = iter(model.predict(vectorizer.transform(features["test"])))
    expected = list(tagging["test"]["tags"])
    assert least < f1_score(expected, [[str(next(predicted)) for _ in tags] for tags in expected]) < most


def test_the_ambiguous_words_are_ambiguous_in_training(tagging):
    kinds = defaultdict(set)
    for row in tagging["train"]:
        for token, tag in zip(row["tokens"], row["tags"], strict=True):
            kinds[token].add(tag[-3:])
    assert all(kinds[town] == {"PER", "LOC", "ORG"} for town in entities.TOWNS)
    for name in (*entities.TRADES, *entities.THINGS, *entities.GIVEN_NAMES):
        assert kinds[name] >= {"PER", "O"}, name


def test_an_unknown_name_is_refused():
    assert samples.names() == ("translation", "sentiment", "tagging")
    with pytest.raises(KeyError, match="poetry"):
        samples.load("poetry")
