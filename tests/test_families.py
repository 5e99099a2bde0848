"""What stands between text and network is written and read; networks have the sizes of their text."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tagger_cases as cases
import tensorflow as tf

from nlp_rnn import words
from nlp_rnn.config import ConfigError, DataConfig, TextConfig
from nlp_rnn.families import (
    FAMILIES,
    ClassificationText,
    TaggingText,
    TranslationText,
    build_classifier,
    build_tagger,
    build_translator,
    family_of,
)
from nlp_rnn.jobs import ClassifierRun, TranslatorRun
from nlp_rnn.model_config import ClassifierConfig, TranslatorConfig
from nlp_rnn.reading import SplitTextReader, TokenizedTextReader, WordReader
from nlp_rnn.text import CharacterTokenizer, Normalizer

SIZES = TranslatorConfig(embedding_size=8, encoder_size=6, decoder_size=10, attention_size=4)
CLASSIFIER_SIZES = ClassifierConfig(
    embedding_size=8, encoder_size=6, attention_size=4, members=2, ngrams=2, character_ngrams=3, ngram_buckets=50
)


def characters(known: str) -> CharacterTokenizer:
    return CharacterTokenizer(vocabulary=known, normalizer=Normalizer(unicode_normalization="nfc", lowercase=True))


def tagging_text(*, subwords: bool = False, **settings: Any) -> TaggingText:
    pieces = characters("abc") if subwords else None
    return TaggingText(
        reader=WordReader(features=cases.features(), subwords=pieces),
        **{"tags": ("O", "B-ÄÖ", "I-ÄÖ"), "scheme": "bio", **settings},
    )


def classification_text(*, kind: str = "words", **settings: Any) -> ClassificationText:
    """A classifier's text side; words have a reader that gives their characters, but not their shapes."""
    reader: Any = TokenizedTextReader(characters("abc"))
    if kind == "words":
        features = cases.features(further_words=["quokka", "zebra"])
        reader = SplitTextReader(WordReader(features=features), characters=True, shapes=False)
    return ClassificationText(reader=reader, **{"labels": ("böse", "gut", "so, so"), **settings})


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_two_tokenizers_are_kept_apart_and_one_is_kept_once(tmp_path: Path) -> None:
    source, target = characters("abc"), characters("xy")
    for folder in (tmp_path / "two", tmp_path / "one"):
        folder.mkdir()
    TranslationText(source=source, target=target).save(tmp_path / "two")
    assert files(tmp_path / "two") == {"source_tokenizer/tokenizer.json", "target_tokenizer/tokenizer.json"}
    loaded = TranslationText.load(tmp_path / "two")
    assert loaded.source.tokenize(tf.constant(["CAx"])).to_list() == [[6, 4, 1]]
    assert loaded.target.tokenize(tf.constant(["CAx"])).to_list() == [[1, 1, 4]]
    TranslationText(source=source, target=source).save(tmp_path / "one")
    assert files(tmp_path / "one") == {"tokenizer/tokenizer.json"}
    loaded = TranslationText.load(tmp_path / "one")
    assert loaded.source is loaded.target
    assert loaded.source.tokenize(tf.constant(["CAx"])).to_list() == [[6, 4, 1]]


@pytest.mark.parametrize("subwords", [False, True])
def test_words_and_tags_are_written_and_read(tmp_path: Path, subwords: bool) -> None:
    saved = tagging_text(subwords=subwords, vector_size=3)
    saved.save(tmp_path)
    expected = {"words/words.json", "tags.json"} | ({"subwords/tokenizer.json"} if subwords else set())
    assert files(tmp_path) == expected
    loaded = TaggingText.load(tmp_path)
    assert (loaded.tags, loaded.scheme, loaded.vector_size) == (("O", "B-ÄÖ", "I-ÄÖ"), "bio", 3)
    tokens = tf.constant([["Anna", "cab", "in"], ["zebra", "", ""]])
    mine, theirs = saved.reader(tokens), loaded.reader(tokens)
    assert set(theirs) == {"words", "characters", "shapes", "positions"} | ({"subwords"} if subwords else set())
    for name, values in theirs.items():
        np.testing.assert_array_equal(values, mine[name], strict=True, err_msg=name)


def test_tags_without_a_scheme_stay_so(tmp_path: Path) -> None:
    tagging_text(tags=("NOUN", "VERB"), scheme=None).save(tmp_path)
    loaded = TaggingText.load(tmp_path)
    assert (loaded.tags, loaded.scheme, loaded.vector_size) == (("NOUN", "VERB"), None, 0)


def test_words_are_unseen_unless_the_tagger_was_trained_with_them() -> None:
    features = cases.features(further_words=["quokka", "zebra"])
    text = TaggingText(reader=WordReader(features=features), tags=("X",), scheme=None)
    # Upper case is the same word here; a vector's word was not in the training set.
    assert text.unseen(["Anna", "zebra", "THE", "unheard", ""]) == [False, True, False, True, True]
    assert text.unseen([]) == []


@pytest.mark.parametrize(
    "content",
    [
        "{", "[]", "", '{"tags": ["O"]}', '{"tags": 3, "scheme": null, "vector_size": 0}',
        '{"tags": ["O"], "scheme": null, "vector_size": "wide"}',
    ],
)  # fmt: skip
def test_tags_that_cannot_be_read_say_so(tmp_path: Path, content: str) -> None:
    tagging_text().save(tmp_path)
    (tmp_path / "tags.json").write_text(content)
    with pytest.raises(ConfigError, match="tags.json is broken .*: copy it again, or train again"):
        TaggingText.load(tmp_path)


def test_tags_that_are_not_text_say_so(tmp_path: Path) -> None:
    tagging_text().save(tmp_path)
    (tmp_path / "tags.json").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="tags.json is broken"):
        TaggingText.load(tmp_path)


@pytest.mark.parametrize("name", ["words", "tags.json"])
def test_half_a_tagger_is_not_loaded(tmp_path: Path, name: str) -> None:
    tagging_text().save(tmp_path)
    path = tmp_path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ConfigError, match=f"lacks {name}: it was written or copied in part"):
        TaggingText.load(tmp_path)


def test_half_a_translator_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lacks source_tokenizer, target_tokenizer: it was written"):
        TranslationText.load(tmp_path)


def test_what_is_stored_is_readable(tmp_path: Path) -> None:
    tagging_text().save(tmp_path)
    content = (tmp_path / "tags.json").read_text(encoding="utf-8")
    assert json.loads(content) == {"tags": ["O", "B-ÄÖ", "I-ÄÖ"], "scheme": "bio", "vector_size": 0}
    assert "B-ÄÖ" in content


def test_a_tagger_has_the_sizes_of_its_words_and_tags() -> None:
    features = cases.features(further_words=["quokka", "zebra"])
    text = TaggingText(
        reader=WordReader(features=features, subwords=characters("abc")), tags=("O", "B-X", "I-X"), scheme="bio",
        vector_size=7,
    )  # fmt: skip
    network = build_tagger(cases.run(), text)
    # 4 special words and 8 known ones; 2 more have vectors.
    assert network.words.word_embedding.embeddings.shape == (12, 6)
    assert network.words.vectors.embeddings.shape == (14, 7)
    assert not network.words.vectors.embeddings.numpy().any()
    assert network.words.character_embedding.embeddings.shape == (4 + len(features.characters), 4)
    assert network.words.shape_embedding.embeddings.shape == (words.SHAPES, 3)
    assert network.words.subword_embedding.embeddings.shape == (4 + 3, 6)
    assert network.emission.kernel.shape == (2 * 5, 3)
    # In BIO, I-X begins no sentence and does not follow O.
    assert network.arguments["constraints"].starts == [True, True, False]
    assert network.arguments["constraints"].transitions[0] == [True, True, False]
    assert network.arguments["constraints"].ends == [True, True, True]
    plain = build_tagger(cases.run(), tagging_text())
    assert plain.words.vectors is None
    assert plain.words.subword_embedding is None


@pytest.mark.parametrize(
    ("kind", "written"), [("words", "words/words.json"), ("characters", "tokenizer/tokenizer.json")]
)
def test_a_classifier_s_reader_and_labels_are_written_and_read(tmp_path: Path, kind: str, written: str) -> None:
    saved = classification_text(kind=kind, vector_size=3, temperature=1.25)
    saved.save(tmp_path)
    assert files(tmp_path) == {written, "labels.json"}
    loaded = ClassificationText.load(tmp_path)
    assert (loaded.labels, loaded.vector_size, loaded.temperature) == (("böse", "gut", "so, so"), 3, 1.25)
    texts = tf.constant(["Anna, a zebra!", "", "cab"])
    mine, theirs = (
        side.reader.inputs(side.reader.cut(texts).to_tensor()) for side in (saved, loaded)
    )  # fmt: skip
    assert set(theirs) == ({"words", "characters", "positions"} if kind == "words" else {"tokens"})
    for name, values in theirs.items():
        np.testing.assert_array_equal(values, mine[name], strict=True, err_msg=name)
    assert "böse" in (tmp_path / "labels.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "content", ["{", "[]", "", '{"labels": ["a"]}', '{"labels": 3}', b"\xff", '{"labels": ["a"], "temperature": "hot"}']
)
def test_labels_that_cannot_be_read_say_so(tmp_path: Path, content: str | bytes) -> None:
    classification_text().save(tmp_path)
    (tmp_path / "labels.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match="labels.json is broken .*: copy it again, or train again"):
        ClassificationText.load(tmp_path)


@pytest.mark.parametrize("temperature", ["0", "-1", "NaN", "Infinity"])
def test_a_temperature_that_cannot_be_divided_by_is_refused(tmp_path: Path, temperature: str) -> None:
    classification_text(temperature=1.25).save(tmp_path)
    path = tmp_path / "labels.json"
    path.write_text(path.read_text(encoding="utf-8").replace("1.25", temperature), encoding="utf-8")
    with pytest.raises(ConfigError, match="labels.json is broken .*temperature"):
        ClassificationText.load(tmp_path)


@pytest.mark.parametrize(("kind", "name"), [("words", "labels.json"), ("characters", "tokenizer")])
def test_half_a_classifier_is_not_loaded(tmp_path: Path, kind: str, name: str) -> None:
    classification_text(kind=kind).save(tmp_path)
    path = tmp_path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ConfigError, match=f"lacks {name}: it was written or copied in part"):
        ClassificationText.load(tmp_path)


def test_a_classifier_has_the_sizes_of_its_words_and_labels() -> None:
    network = build_classifier(ClassifierRun(output="o", model=CLASSIFIER_SIZES), classification_text(vector_size=7))
    assert len(network.members) == 2
    for member in network.members:
        # 4 special words and 8 known ones; 2 more have vectors.
        assert member.embedding.word_embedding.embeddings.shape == (12, 8)
        assert member.embedding.vectors.embeddings.shape == (14, 7)
        assert not member.embedding.vectors.embeddings.numpy().any()
        assert member.embedding.shape_embedding is None
        assert member.projection.kernel.shape == (2 * 2 * 6, 3)
    assert (network.arguments["texts"], network.multi_label) == (1, False)
    shaped = ClassifierRun(output="o", model=ClassifierConfig(shape_size=2, encoder_size=6))
    embedding = build_classifier(shaped, classification_text()).members[0].embedding
    assert embedding.shape_embedding.embeddings.shape == (words.SHAPES, 2)


def test_a_classifier_of_tokens_has_the_size_of_its_tokenizer_and_reads_no_characters() -> None:
    run = ClassifierRun(
        output="o", model=CLASSIFIER_SIZES, data=DataConfig(text_pair_column="second", multi_label=True)
    )  # fmt: skip
    network = build_classifier(run, classification_text(kind="characters", labels=("a", "b")))
    assert network.members[0].embedding.embedding.embeddings.shape == (4 + 3, 8)
    assert network.arguments["character_ngrams"] == 0
    assert (network.arguments["texts"], network.multi_label) == (2, True)
    # Both texts, their difference and their product, of two pools each.
    assert network.members[0].projection.kernel.shape == (4 * 2 * 2 * 6, 2)


def test_a_translator_has_the_sizes_of_its_tokenizers() -> None:
    text = TranslationText(source=characters("abc"), target=characters("xy"))
    run = TranslatorRun(output="o", model=SIZES, text=TextConfig(shared_vocabulary=False))
    sizes = {tuple(weight.shape) for weight in build_translator(run, text).weights}
    assert {(7, 8), (6, 8)} <= sizes
    shared = TranslationText(source=text.source, target=text.source)
    together = build_translator(TranslatorRun(output="o", model=SIZES), shared)
    assert [tuple(weight.shape) for weight in together.weights].count((7, 8)) == 1


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_networks_compute_as_asked(precision: str) -> None:
    computes = precision.removeprefix("mixed_")
    tagger = build_tagger(cases.run(), tagging_text(), precision=precision)
    shared = characters("abc")
    texts = TranslationText(source=shared, target=shared)
    translator = build_translator(TranslatorRun(output="o", model=SIZES), texts, precision=precision)
    run = ClassifierRun(output="o", model=CLASSIFIER_SIZES)
    classifier = build_classifier(run, classification_text(), precision=precision)
    for network in (tagger, translator, classifier, classifier.members[0]):
        assert (network.compute_dtype, network.variable_dtype) == (computes, "float32")


def test_a_configuration_tells_its_family() -> None:
    assert family_of(cases.run()).name == "tagger"
    assert family_of(TranslatorRun(output="o")).name == "translator"
    assert family_of(ClassifierRun(output="o")).name == "classifier"
    assert [family.name for family in FAMILIES] == ["translator", "tagger", "classifier"]
