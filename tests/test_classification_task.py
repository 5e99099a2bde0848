"""Learning to classify: what is made of a corpus, and that a whole run learns, exports and is measured."""

import json
import logging
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import tensorflow as tf

import nlp_rnn
from nlp_rnn import store
from nlp_rnn.config import BatchConfig, ConfigError, DataConfig
from nlp_rnn.corpora import Corpus, load_split
from nlp_rnn.jobs import ClassifierRun
from nlp_rnn.model_config import ClassifierConfig, ClassifierTrainingConfig, ReadingConfig
from nlp_rnn.runs import Trained
from nlp_rnn.tasks.classification import ClassificationTask

SIZES = {"embedding_size": 8, "encoder_size": 6, "attention_size": 4, "dropout": 0.0, "ngram_buckets": 64}
TEXTS = ["a good film", "a bad film", "not so good", "so good", "very good indeed", "fair"]
LABELS = ["10", "9", "9", "10", "10", "b"]


def corpus(labels: list, texts: list[str] = TEXTS, **columns: list[str]) -> Corpus:
    rows = datasets.Dataset.from_dict({"text": texts, **columns, "label": labels})
    return Corpus(train=rows, validation=rows, notes=())


def prepare(labels: list = LABELS, *, data: DataConfig | None = None, **changes: object) -> ClassificationTask:
    groups = {"reading": ReadingConfig(), "training": ClassifierTrainingConfig(), **changes}
    run = ClassifierRun(output="unused", data=data or DataConfig(), model=ClassifierConfig(**SIZES), **groups)
    return ClassificationTask.prepare(run, corpus(labels), "portable")


def test_labels_are_in_a_natural_order() -> None:
    task = prepare()
    assert task.text.labels == ("9", "10", "b")
    assert task.numbered["label"] == [[1], [0], [0], [1], [1], [2]]


def test_one_label_is_nothing_to_learn() -> None:
    with pytest.raises(ConfigError, match="nothing to tell apart: all training examples have the label 'x'"):
        prepare(["x"] * 6)


def test_a_label_with_one_example_is_named(caplog: pytest.LogCaptureFixture) -> None:
    prepare()
    assert "1 labels have a single training example: b." in caplog.text


def test_balanced_labels_count_alike() -> None:
    task = prepare(training=ClassifierTrainingConfig(class_weights="balanced", word_dropout=0.0))
    (batch,) = task.set_up().epoch_batches(0, 0)
    _, weight = task.set_up().objective(batch, tf.constant(0))
    # 6 examples of 3 labels: each label's examples count 2 together.
    assert float(weight) == pytest.approx(6.0)
    assert task._class_weights() == pytest.approx([1.0, 2 / 3, 2.0])


def test_vectors_go_to_every_member(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("good 1 2 3\nfantastic 4 5 6\n")
    task = prepare(reading=ReadingConfig(vectors=str(path)))
    features = task.text.reader.words.features
    numbers = features.encode(np.array(["Good", "fantastic", "film"]))["words"].numpy()
    for member in task.network.members:
        table = member.embedding.vectors.get_weights()[0]
        np.testing.assert_array_equal(table[numbers], [[1, 2, 3], [4, 5, 6], [0, 0, 0]])
        # The trained embeddings of known words begin there too, and go their own way.
        trained = member.embedding.word_embedding.get_weights()[0]
        np.testing.assert_array_equal(trained[numbers[0]], [1, 2, 3])
        assert np.any(trained[numbers[2]])


def weighing(task: ClassificationTask) -> np.ndarray:
    return task.network.linear.tokens[0]._weighing.numpy()


def weighed(task: ClassificationTask, rows: list[int]) -> np.ndarray:
    """What the runs of tokens of these texts, each with one label, are weighed by."""
    layer, reader = task.network.linear.tokens[0], task.text.reader
    units = reader.cut(tf.constant([TEXTS[row] for row in rows])).to_tensor()
    numbers = task.network.members[0].embedding.numbers(reader.inputs(units))
    labels = tf.one_hot([task.numbered["label"][row][0] for row in rows], 3)
    within = tf.Variable(tf.zeros((layer.buckets, 3)))
    layer.count(within, numbers, labels, mask=units != "")
    layer.weigh(within.numpy(), within.numpy().sum(axis=1))
    return weighing(task)


def test_runs_are_weighed_by_the_labels_of_training_texts_until_the_network_is_trained() -> None:
    task = prepare()
    task.set_up()
    np.testing.assert_allclose(weighing(task), weighed(prepare(), [0, 1, 2, 3, 4, 5]), rtol=1e-6)
    assert weighing(task).max() > 1.3 * weighing(task).min()
    task.finish()
    np.testing.assert_array_equal(weighing(task), 1)


def test_the_linear_model_is_believed_as_much_as_the_validation_set_says() -> None:
    """Here it knows all, and the recurrent networks are wrong."""
    task = prepare()
    (batch,) = task.set_up().epoch_batches(0, 0)
    network = task.network
    for member in network.members:
        kernel, bias = member.projection.get_weights()
        member.projection.set_weights([np.zeros_like(kernel), np.array([0.0, 0.0, 50.0], np.float32)])
    optimizer = tf.keras.optimizers.Adam(0.02)
    weights = [variable.value for variable in network.linear.trainable_weights]
    for _ in range(20):
        with tf.GradientTape() as tape:
            scores = network(list(batch["texts"])).scores[-1]
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(batch["labels"], scores))
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), network.linear.trainable_weights, strict=True))
    before = network.sides(network(list(batch["texts"])).scores).numpy()
    _, metrics = task.finish()
    assert before.mean(axis=0).argmax(axis=1).tolist() == [2] * 6  # if both counted alike
    assert metrics["accuracy"] == 1.0
    after = network.vote(network(list(batch["texts"])).scores)
    share = metrics["linear_share"]
    np.testing.assert_allclose(after, (1 - share) * before[0] + share * before[1], rtol=1e-3, atol=1e-3)


def test_nothing_is_counted_without_a_linear_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "ngrams", 0)
    task = prepare()
    task.set_up()
    _, metrics = task.finish()
    assert "linear_share" not in metrics


@pytest.mark.parametrize(
    "changes",
    [
        {"reading": ReadingConfig(tokenizer="sentencepiece", vocabulary_size=40, subword_sampling=0.1)},
        {"data": DataConfig(multi_label=True)},
        {"training": ClassifierTrainingConfig(precision="mixed_float16")},
        {"training": ClassifierTrainingConfig(precision="mixed_bfloat16")},
    ],
    ids=["sampled subwords", "several labels", "float16", "bfloat16"],
)
def test_runs_are_weighed_however_texts_are_read(changes: dict[str, Any]) -> None:
    labels = [[label] for label in LABELS] if "data" in changes else LABELS
    task = prepare(labels, **changes)
    training = task.set_up()
    assert weighing(task).max() > 1.1 * weighing(task).min() > 0
    assert np.isfinite(training.validate()["validation_loss"])
    task.finish()
    np.testing.assert_array_equal(weighing(task), 1)


def test_of_many_texts_some_from_all_over_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlp_rnn.tasks.classification._COUNTED", 3)
    task = prepare()
    task.set_up()
    np.testing.assert_allclose(weighing(task), weighed(prepare(), [0, 2, 5]), rtol=1e-6)


@pytest.mark.parametrize("tokenizer", ["sentencepiece", "characters"])
def test_text_need_not_be_read_in_words(tokenizer: str) -> None:
    task = prepare(reading=ReadingConfig(tokenizer=tokenizer, vocabulary_size=40))
    (batch,) = task.set_up().epoch_batches(0, 0)
    assert set(batch["texts"][0]) == {"tokens", "mask"}


def test_subwords_are_drawn_anew_each_epoch_but_not_to_evaluate() -> None:
    reading = ReadingConfig(tokenizer="sentencepiece", vocabulary_size=40, subword_sampling=0.1)
    task = prepare(reading=reading)
    training, tokenizer = task.set_up(), task.text.reader.tokenizer
    drawn = set()
    for epoch in range(8):
        (batch,) = training.epoch_batches(epoch, 0)
        (text,) = batch["texts"]
        tokens = {
            int(row): tf.boolean_mask(text["tokens"][place], text["mask"][place])
            for place, row in enumerate(batch["rows"].numpy())
        }
        for row, pieces in tokens.items():
            assert tokenizer.detokenize(tf.RaggedTensor.from_tensor([pieces])).numpy() == [TEXTS[row].encode()]
        # All texts of an epoch, as there is no seed: of a single one, the same cut may well come eight times.
        drawn.add(tuple(tuple(tokens[row].numpy().tolist()) for row in sorted(tokens)))
    assert len(drawn) > 1
    assert (
        task.text.reader.cut(tf.constant(["very good indeed"])).to_list()
        == tokenizer.tokenize(tf.constant(["very good indeed"])).to_list()
    )


def test_texts_are_cut_before_the_first_epoch_and_never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    task = prepare()
    training = task.set_up()

    def cut_again(*_: object) -> None:
        raise AssertionError("a text is cut once more")

    monkeypatch.setattr(type(task.text.reader), "cut", cut_again)
    for epoch in range(2):
        (batch,) = training.epoch_batches(epoch, 0)
        assert sorted(batch["rows"].numpy()) == list(range(6))
    training.validate()
    task.finish()


def test_several_labels_or_none_are_learned() -> None:
    task = prepare([["x", "y"], [], ["y"], ["x"], ["x"], ["y"]], data=DataConfig(multi_label=True))
    (batch,) = task.set_up().epoch_batches(0, 0)
    order = batch["rows"].numpy()
    np.testing.assert_array_equal(
        batch["labels"].numpy()[np.argsort(order)], [[1, 1], [0, 0], [0, 1], [1, 0], [1, 0], [0, 1]]
    )
    text, metrics = task.finish()
    assert text.temperature > 0 and {"accuracy", "f1", "macro_f1", "validation_loss"} <= set(metrics)


def test_long_texts_are_cut_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    training = prepare(reading=ReadingConfig(maximum_length=2)).set_up()
    assert "4 of 6 training texts are cut after 2 tokens." in caplog.text
    (batch,) = training.epoch_batches(0, 0)
    assert batch["texts"][0]["mask"].shape[1] == 2
    assert batch["labels"].shape[0] == 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("models")
    run = ClassifierRun(
        output=str(folder / "opinions"),
        data=DataConfig(dataset="sample:sentiment"),
        batching=BatchConfig(bucket_width=16),
        model=ClassifierConfig(embedding_size=32, encoder_size=32, attention_size=32, dropout=0.0, ngrams=0),
        training=ClassifierTrainingConfig(epochs=3, learning_rate=1e-2, warmup_steps=20, word_dropout=0.0),
    )
    return nlp_rnn.train(run)


def test_word_order_is_learned_and_the_export_is_as_good(trained: Trained) -> None:
    # Counting words comes to 0.65 at most.
    measured = nlp_rnn.evaluate(trained.folder, DataConfig(dataset="sample:sentiment"))
    assert measured["accuracy"] > 0.9
    assert measured["examples"] == 300


def test_what_is_measured_on_the_export_is_what_training_said(trained: Trained, tmp_path: Path) -> None:
    held_out, _ = load_split(DataConfig(dataset="sample:sentiment"), "classification", "validation")
    file = tmp_path / "held_out.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in held_out))
    measured = nlp_rnn.evaluate(trained.folder, DataConfig(test=(str(file),)))
    for name in ("accuracy", "macro_f1", "expected_calibration_error"):
        assert measured[name] == pytest.approx(trained.metrics[name], abs=1e-5)
    assert trained.metrics["uncalibrated_expected_calibration_error"] != trained.metrics["expected_calibration_error"]


def test_the_temperature_is_stored_and_served(trained: Trained) -> None:
    stored = store.load(trained.folder)
    assert stored.text.temperature == pytest.approx(trained.metrics["temperature"])
    assert json.loads((trained.folder / "model" / "labels.json").read_text())["labels"] == ["negative", "positive"]
