"""Learning to tag: what is made of a corpus, and that a whole run learns, exports and is measured."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn import store
from nlp_rnn.config import BatchConfig, ConfigError, DataConfig
from nlp_rnn.corpora import Corpus, load_split
from nlp_rnn.jobs import TaggerRun
from nlp_rnn.model_config import TaggerConfig, TaggerTrainingConfig, WordsConfig
from nlp_rnn.models.tagging import TaggingModule
from nlp_rnn.reviews import Slip
from nlp_rnn.runs import Trained
from nlp_rnn.tagging_metrics import tagging_metrics
from nlp_rnn.tasks.tagging import TaggingTask

SIZES = {
    "word_size": 12, "shape_size": 4, "character_embedding_size": 8, "character_size": 12, "encoder_size": 16,
    "encoder_layers": 1, "dropout": 0.1,
}  # fmt: skip
SENTENCES = [
    (["Anna", "lives", "in", "York"], ["I-PER", "O", "O", "B-LOC"]),
    (["New", "York", "sleeps"], ["B-LOC", "I-LOC", "O"]),
]


def corpus(sentences: list[tuple[list[str], list[str]]] = SENTENCES) -> Corpus:
    tokens, tags = zip(*sentences, strict=True)
    rows = datasets.Dataset.from_dict({"tokens": list(tokens), "tags": list(tags)})
    return Corpus(train=rows, validation=rows, notes=())


def prepare(words: WordsConfig | None = None, sentences: object = SENTENCES, **model: object) -> TaggingTask:
    run = TaggerRun(output="unused", words=words or WordsConfig(), model=TaggerConfig(**{**SIZES, **model}))
    return TaggingTask.prepare(run, corpus(sentences), "portable")


def test_spans_are_learned_in_iobes_and_slips_are_repaired_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    task = prepare(tag_scheme="bio")
    assert task.text.scheme == "iobes"
    assert [[task.text.tags[tag] for tag in row] for row in task.numbered["tags"]] == [
        ["S-PER", "O", "O", "S-LOC"],
        ["B-LOC", "E-LOC", "O"],
    ]
    # One slip, in the training and in the validation set, which are the same here.
    assert "2 tags that bio does not allow were repaired." in caplog.text


def test_a_softmax_learns_bio_and_parts_of_speech_stay_as_they_are() -> None:
    assert prepare(head="softmax").text.scheme == "bio"
    upos = [(["Anna", "sleeps"], ["PROPN", "VERB"]), (["York"], ["PROPN"])]
    task = prepare(sentences=upos)
    assert (task.text.scheme, task.text.tags) == (None, ("PROPN", "VERB"))
    assert prepare(tag_scheme="none").text.tags == ("B-LOC", "I-LOC", "I-PER", "O")


def test_vectors_go_to_the_rows_of_their_words(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("york 1 2 3\nzebra 4 5 6\nanna 7 8 9\nYORK 0 0 1\n")
    task = prepare(WordsConfig(vectors=str(path), vector_words=2))
    features = task.text.reader.features
    assert features.further_words == ("zebra",)
    table = task.network.words.vectors.get_weights()[0]
    numbers = features.encode(np.array(["York", "Zebra", "Anna", "lives", "?"]))["words"].numpy()
    expected = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(table[numbers], expected)


def test_a_review_shows_the_sentences_with_the_most_wrong_tags() -> None:
    review = prepare().review()
    assert review.confusion is not None
    labels, matrix = review.confusion
    assert set(labels) <= {"O", "B-LOC", "I-LOC", "B-PER", "I-PER"}  # as exports spell them
    slips = [
        slip for mistake in review.mistakes for _, words in mistake.lines for slip in words if isinstance(slip, Slip)
    ]
    wrong = [sum(isinstance(word, Slip) for word in mistake.lines[0][1]) for mistake in review.mistakes]
    # There are two sentences, so that all mistakes are shown.
    assert len(slips) == matrix.sum() - matrix.trace() > 0
    assert wrong == sorted(wrong, reverse=True)
    assert [mistake.note for mistake in review.mistakes][0].startswith(f"{wrong[0]} of ")
    assert {slip.text for slip in slips} <= {"Anna", "lives", "in", "York", "New", "sleeps"}
    assert review.lengths["words"].tolist() == [4, 3]


@pytest.mark.parametrize(("head", "chosen"), [("crf", "S-LOC"), ("softmax", "I-LOC")])
def test_training_measures_what_an_export_gives(head: str, chosen: str) -> None:
    """Of a CRF that chooses S-LOC alone B-LOC with B's probability too; of a softmax the tags that are repaired."""
    task = prepare(head=head)
    kernel, bias = task.network.emission.get_weights()
    bias[task.text.tags.index(chosen)] = 3
    task.network.emission.set_weights([np.zeros_like(kernel), bias])
    module = TaggingModule(
        network=task.network, reader=task.text.reader, tags=task.text.tags, spans=True, maximum_length=8
    )
    tokens = tf.constant([["Anna", "lives", "in", "York"], ["New", "York", "sleeps", ""]])
    answer = module.tag_tokens(tokens, tf.constant([4, 3]))
    expected = [["B-PER", "O", "O", "B-LOC"], ["B-LOC", "I-LOC", "O"]]
    wanted = tagging_metrics(
        [[tag.decode() for tag in row[:length]] for row, length in zip(answer["tags"].numpy(), (4, 3), strict=True)],
        expected,
        scores=[row[:length].tolist() for row, length in zip(answer["scores"].numpy(), (4, 3), strict=True)],
        unseen=[[False] * 4, [False] * 3],
        scheme="bio",
    )
    measured = task.validate()
    for name in ("accuracy", "precision", "recall", "f1", "macro_f1", "expected_calibration_error"):
        assert measured[name] == pytest.approx(wanted[name], abs=1e-5), name
    assert measured["accuracy"] == pytest.approx(2 / 7)


def test_f1_needs_spans() -> None:
    run = TaggerRun(
        output="unused", model=TaggerConfig(**SIZES, tag_scheme="none"), training=TaggerTrainingConfig(monitor="f1")
    )
    with pytest.raises(ConfigError, match="monitor must be accuracy, macro_f1, weighted_f1 or loss, not f1"):
        TaggingTask.prepare(run, corpus(), "portable").set_up()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A tagger of the embedded corpus, of sizes that learn it in some epochs."""
    folder = tmp_path_factory.mktemp("models") / "names"
    run = TaggerRun(
        output=str(folder),
        data=DataConfig(dataset="sample:tagging"),
        words=WordsConfig(subwords=200),
        batching=BatchConfig(batch_size=32, bucket_width=16),
        model=TaggerConfig(**{**SIZES, "character_encoder": "convolution"}),
        training=TaggerTrainingConfig(epochs=5, learning_rate=1e-2, warmup_steps=20),
    )
    return nlp_rnn.train(run)


def test_a_run_learns_names_from_their_context(trained: Trained) -> None:
    """Without context this corpus has an F1 of 0.27."""
    measured = nlp_rnn.evaluate(trained.folder, DataConfig(dataset="sample:tagging"))
    assert measured["f1"] > 0.8
    assert measured["examples"] == 200
    assert set(measured["per_class"]) == {"LOC", "ORG", "PER"}
    assert trained.metrics["f1"] == max(row["f1"] for row in trained.history)


def test_what_is_measured_on_the_export_is_what_training_saw(trained: Trained, tmp_path: Path) -> None:
    held_out = load_split(DataConfig(dataset="sample:tagging"), "tagging", "validation")[0]
    file = tmp_path / "held_out.jsonl"
    lines = [json.dumps({"tokens": row["tokens"], "tags": row["tags"]}) for row in held_out]
    file.write_text("\n".join(lines))
    measured = nlp_rnn.evaluate(
        trained.folder, DataConfig(test=(str(file),)), pictures=tmp_path / "pictures", predictions=tmp_path / "tags.txt"
    )
    for name in ("f1", "precision", "recall", "accuracy"):
        assert measured[name] == pytest.approx(trained.metrics[name], abs=1e-6)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "confusion_matrix.png",
        "reliability.png",
    ]
    written = (tmp_path / "tags.txt").read_text().splitlines()
    assert [len(line.split()) for line in written] == [len(row["tokens"]) for row in held_out]


def test_the_stored_model_is_the_trained_one(trained: Trained) -> None:
    stored = store.load(trained.folder)
    assert stored.text.scheme == "iobes"
    assert stored.text.reader.subwords is not None
    assert stored.samples[0].keys() == {"tokens", "tags"}


def test_a_prediction_names_entities_in_the_text(trained: Trained) -> None:
    texts = [" ".join(row["tokens"]) for row in stored_samples(trained)]
    found = [entity for tagging, text in zip(nlp_rnn.Predictor(trained.folder).predict(texts), texts, strict=True)
             for entity in tagging.entities if text[entity.start : entity.end] == entity.text]  # fmt: skip
    assert len(found) > 10
    assert all(0 < entity.score <= 1 + 1e-5 for entity in found)


def stored_samples(trained: Trained) -> tuple[dict, ...]:
    return store.load(trained.folder).samples


def test_settings_of_translators_are_refused(trained: Trained) -> None:
    with pytest.raises(ConfigError, match="ignore_pattern is for translations, and this is no translator"):
        nlp_rnn.evaluate(trained.folder, DataConfig(dataset="sample:tagging"), ignore_pattern="x")
    with pytest.raises(ConfigError, match="beam_size: a tagger has no such setting"):
        nlp_rnn.export_model(trained.folder, beam_size=4)
    with pytest.raises(ValueError, match="is a tagger, which has no signature n_best"):
        nlp_rnn.Predictor(trained.folder).n_best(["a"])
