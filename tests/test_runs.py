"""One tiny training is shared by most tests; its last epoch is spoilt on purpose, so that the best is another one."""

import csv
import dataclasses
import html
import json
import logging
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from pipeline_cases import content
from tensorflow.python.util import _pywrap_determinism

from nlp_rnn import runs, samples, store
from nlp_rnn.config import BatchConfig, ConfigError, DataConfig, TextConfig
from nlp_rnn.jobs import ClassifierRun, TaggerRun, TranslatorRun
from nlp_rnn.model_config import (
    ClassifierConfig,
    ClassifierTrainingConfig,
    SearchConfig,
    TaggerTrainingConfig,
    TranslatorConfig,
    TranslatorTrainingConfig,
)
from nlp_rnn.serving import Predictor
from nlp_rnn.text import EOS

SIZES = TranslatorConfig(embedding_size=16, encoder_size=16, decoder_size=16, attention_size=16, dropout=0.1)
SAMPLE = DataConfig(dataset="sample:translation")
# One shape of batches: compiling it is most of the work.
BATCHES = BatchConfig(batch_size=100, bucket_width=32)


def tiny(output: Path, **changes: Any) -> TranslatorRun:
    plain: dict[str, Any] = {
        "data": SAMPLE,
        "text": TextConfig(tokenizer="words", vocabulary_size=1000),
        "batching": BATCHES,
        "model": SIZES,
        "search": SearchConfig(beam_size=2, n_best=2, maximum_length=30),
        "training": TranslatorTrainingConfig(
            epochs=2, epoch_steps=25, learning_rate=0.02, warmup_steps=5, monitor="loss"
        ),
    }
    return TranslatorRun(output=str(output), **{**plain, **changes})


class SpoilsTheLastEpoch(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.params["epochs"] - 1:
            noise = np.random.default_rng(1)
            self.model.set_weights([noise.normal(size=weight.shape) for weight in self.model.get_weights()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> runs.Trained:
    run = tiny(tmp_path_factory.mktemp("runs") / "models" / "tiny")
    return runs.train(run, callbacks=[SpoilsTheLastEpoch()])


@pytest.mark.parametrize(
    ("kind", "settings", "sample"),
    [
        (TranslatorRun, TranslatorTrainingConfig(epoch_steps=3), "translation"),
        (TaggerRun, TaggerTrainingConfig(epoch_steps=3), "tagging"),
        (ClassifierRun, ClassifierTrainingConfig(epoch_steps=3), "sentiment"),
    ],
)
def test_an_epoch_has_as_many_batches_as_it_is_told_to(kind: Any, settings: Any, sample: str) -> None:
    """No two of the first batches have a row in common: the second epoch goes on where the first one ended."""
    run = kind(output="unused", data=DataConfig(dataset=f"sample:{sample}"), training=settings)
    made = runs.set_up(runs.prepare(run, runs.load_corpus(run)))
    assert made.steps_per_epoch == 3
    epochs = [[batch["rows"].tolist() for batch in made.epoch_batches(e).as_numpy_iterator()] for e in range(2)]
    assert [len(epoch) for epoch in epochs] == [3, 3]
    rows = [row for epoch in epochs for batch in epoch for row in batch]
    assert len(rows) == len(set(rows))


def test_a_model_directory_is_left(trained: runs.Trained) -> None:
    assert {entry.name for entry in trained.folder.iterdir()} == {"model", "1"}
    assert {entry.name for entry in (trained.folder / "model").iterdir()} == {
        "config.json", "weights.npz", "tokenizer", "metrics.json", "history.csv", "samples.jsonl", "plots",
        "report.html", "README.md",
    }  # fmt: skip
    assert store.read_config(trained.folder) == tiny(trained.folder)


def test_the_export_answers(trained: runs.Trained) -> None:
    assert trained.version == trained.folder / "1"
    predictor = Predictor(trained.folder)
    assert predictor.folder == trained.version
    texts = list(samples.load("translation")["test"]["source"][:20])
    known = set(" ".join(samples.load("translation")["train"]["target"]).split())
    words = [word for translation in predictor.predict(texts) for word in translation.text.split()]
    assert words
    assert set(words) <= known


def test_the_history_is_stored(trained: runs.Trained) -> None:
    with open(trained.folder / "model" / "history.csv", encoding="utf-8", newline="") as file:
        stored = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert stored == trained.history
    assert set(stored[0]) == {
        "epoch", "step", "seconds", "learning_rate", "loss", "gradient_norm", "items_per_second",
        "padding_share", "validation_loss", "bleu", "chrf",
    }  # fmt: skip
    assert [row["step"] for row in stored] == [25, 50]


def test_the_best_epoch_is_what_is_stored(trained: runs.Trained) -> None:
    """Measured anew on what was stored: the loss of each target token, their end included, without smoothing."""
    first, spoilt = (row["validation_loss"] for row in trained.history)
    assert first < spoilt
    stored = store.load(trained.folder)
    rows = samples.load("translation")["validation"]
    inputs = {}
    for side, tokenizer in (("source", stored.text.source), ("target", stored.text.target)):
        tokens = tokenizer.tokenize(tf.constant(list(rows[side])))
        ended = tf.concat([tokens, tf.fill([tokens.nrows(), 1], EOS)], axis=1)
        inputs[side] = ended.to_tensor()
        inputs[f"{side}_mask"] = tf.sequence_mask(ended.row_lengths())
    likely = tf.gather(tf.nn.log_softmax(stored.network(inputs)), inputs["target"], batch_dims=2)
    loss = -float(tf.reduce_mean(tf.boolean_mask(likely, inputs["target_mask"])))
    assert loss == pytest.approx(first, rel=1e-4)
    assert trained.metrics["validation_loss"] == pytest.approx(first, rel=1e-4)
    assert trained.metrics["bleu"] == pytest.approx(trained.history[0]["bleu"], abs=0.05)
    assert json.loads((trained.folder / "model" / "metrics.json").read_text()) == trained.metrics == stored.metrics


def test_something_was_learned(trained: runs.Trained) -> None:
    """An even guess among the tokens would cost log(1000)."""
    assert trained.history[0]["validation_loss"] < 0.8 * math.log(1000)


def test_the_learning_curves_are_drawn(trained: runs.Trained) -> None:
    picture = (trained.folder / "model" / "plots" / "learning_curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    height, width = tf.io.decode_png(picture).shape[:2]
    assert height > 100 < width


def test_the_report_shows_the_worst_translations_and_what_two_sentences_looked_at(trained: runs.Trained) -> None:
    model = trained.folder / "model"
    assert {path.name for path in (model / "plots").iterdir()} == {
        "learning_curves.png", "lengths.png", "attention_1.png", "attention_2.png",
    }  # fmt: skip
    page = (model / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    scores = [float(score) for score in re.findall(r"chrF ([0-9.]+)", page)]
    assert len(scores) == 10
    assert scores == sorted(scores)
    sentences = [html.escape(row["source"]) for row in samples.load("translation")["validation"]]
    assert sum(f"<bdi>{sentence}</bdi>" in page for sentence in sentences) == 10
    assert f"value: {round(trained.metrics['bleu'], 6)}" in (model / "README.md").read_text(encoding="utf-8")


def test_held_out_examples_are_kept_for_later_exports(trained: runs.Trained) -> None:
    lines = (trained.folder / "model" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == list(samples.load("translation")["validation"])[:32]


class InterruptionError(Exception):
    pass


class Interrupts(keras.callbacks.Callback):
    """Ends a training after some batches, before anything is measured or stored; keeps weights and losses."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.batches = batches
        self.losses: list[float] = []

    def interrupt(self) -> None:
        if len(self.losses) == self.batches:
            raise InterruptionError

    def on_train_begin(self, logs: Any = None) -> None:
        self.start = self.model.get_weights()
        self.interrupt()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(float(logs["loss"]))
        self.last = self.model.get_weights()
        self.interrupt()


@pytest.fixture
def determinism() -> Iterator[None]:
    yield
    _pywrap_determinism.enable(False)


def test_an_output_that_is_in_use_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    missing = DataConfig(train=("nowhere.en", "nowhere.de"))
    with pytest.raises(ConfigError, match=r"holds something else \(thesis.txt\)"):
        runs.train(tiny(tmp_path, data=missing))
    assert content(tmp_path) == {"thesis.txt": b"years of work"}


def opinions(folder: Path) -> None:
    """Writes a file of 200 texts with their labels."""
    rows = list(samples.load("sentiment")["train"])[:200]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def of_opinions(folder: Path, **changes: Any) -> ClassifierRun:
    """A training of a classifier, whose network is compiled in the least time."""
    return ClassifierRun(
        output=str(folder / "model"),
        data=DataConfig(train=(str(folder / "train.jsonl"),), validation_share=0.1),
        batching=BatchConfig(batch_size=40, bucket_width=32),
        model=ClassifierConfig(embedding_size=8, encoder_size=8, attention_size=4, ngrams=0),
        training=ClassifierTrainingConfig(**changes),
    )


@pytest.mark.usefixtures("determinism")
def test_the_seed_decides_everything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Initial weights, which examples are held out, the batches' order, dropout, which words are dropped."""
    opinions(tmp_path)
    caplog.set_level(logging.INFO, "nlp_rnn")

    def interrupted(seed: int, batches: int) -> Interrupts:
        interrupts = Interrupts(batches)
        run = of_opinions(tmp_path, epochs=1, seed=seed, deterministic=True, warmup_steps=0, word_dropout=0.2)
        with pytest.raises(InterruptionError):
            runs.train(run, callbacks=[interrupts])
        return interrupts

    first, second = (interrupted(seed=1, batches=4) for _ in range(2))
    assert first.losses == second.losses
    assert len(set(first.losses)) == 4
    assert all(map(np.array_equal, first.last, second.last))
    assert not any(map(np.array_equal, first.last, first.start))
    other = interrupted(seed=2, batches=0)
    assert not all(map(np.array_equal, other.start, first.start))
    assert all(map(np.array_equal, second.start, first.start))
    assert not (tmp_path / "model").exists()
    assert "No validation set was given: " in caplog.text  # what is made up is said


def test_training_again_keeps_older_exports_and_without_samples_all_text_out(tmp_path: Path) -> None:
    opinions(tmp_path)
    runs.train(of_opinions(tmp_path, epochs=1))
    folder = tmp_path / "model"
    before = content(folder / "1")
    assert "samples.jsonl" in content(folder / "model")
    again = runs.train(dataclasses.replace(of_opinions(tmp_path, epochs=1), samples=False))
    assert again.version == folder / "2"
    assert content(folder / "1") == before
    written = {**content(folder / "model"), **content(folder / "2")}
    assert "samples.jsonl" not in written
    rows = (tmp_path / "train.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(row)["text"].encode() for row in rows]
    assert min(map(len, texts)) > 15  # nothing that could be there by chance
    assert [name for name, value in written.items() if any(text in value for text in texts)] == []


def resumable(folder: Path, **changes: Any) -> ClassifierRun:
    """A training that checkpoints come of."""
    plain: dict[str, Any] = {"epochs": 1, "checkpoint_steps": 2, "precision": "auto", "tensorboard": True}
    return of_opinions(folder, **{**plain, **changes})


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, and a training of it that was interrupted after its third step."""
    folder = tmp_path_factory.mktemp("broken_off")
    opinions(folder)
    with pytest.raises(InterruptionError):
        runs.train(resumable(folder), callbacks=[Interrupts(3)])
    return folder


def test_what_is_left_of_an_interrupted_training_is_a_checkpoint(broken_off: Path) -> None:
    assert {entry.name for entry in (broken_off / "model").iterdir()} == {"checkpoint", "logs"}
    assert {entry.name for entry in (broken_off / "model" / "checkpoint").iterdir()} == {"1"}


def test_a_resumed_training_goes_on_and_leaves_a_model_and_no_checkpoint(
    broken_off: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "nlp_rnn")
    shutil.copytree(broken_off / "model", tmp_path / "model")
    run = dataclasses.replace(resumable(broken_off, resume=True), output=str(tmp_path / "model"))
    recorder = Interrupts(-1)
    resumed = runs.train(run, callbacks=[recorder])
    assert "Training goes on in epoch 1, after 2 of its 5 batches." in caplog.text
    assert len(recorder.losses) == 3
    assert {entry.name for entry in resumed.folder.iterdir()} == {"model", "1", "logs"}
    # Each of the two trainings has a file of its own.
    assert len(list((resumed.folder / "logs").iterdir())) == 2
    stored = store.read_config(resumed.folder)
    assert stored.training.precision != "auto"
    assert f"Precision {stored.training.precision}: " in caplog.text
    assert not stored.training.resume


def test_a_checkpoint_of_other_settings_is_refused_before_the_data_is_read(broken_off: Path, tmp_path: Path) -> None:
    run = resumable(broken_off, resume=True, epochs=2, seed=5)
    with pytest.raises(ConfigError, match="other settings: epochs was 1, not 2; seed was 1, not 5"):
        runs.train(run)
    missing = dataclasses.replace(run, data=DataConfig(train=("nowhere.jsonl",)))
    with pytest.raises(ConfigError, match=r"train was \["):
        runs.train(missing)


def test_a_checkpoint_of_other_data_is_refused(broken_off: Path, tmp_path: Path) -> None:
    shutil.copytree(broken_off, tmp_path / "copy")
    texts = broken_off / "train.jsonl"
    before = texts.read_text(encoding="utf-8")
    texts.write_text(before.replace(" the ", " this "), encoding="utf-8")
    run = dataclasses.replace(resumable(broken_off, resume=True), output=str(tmp_path / "copy" / "model"))
    try:
        with pytest.raises(ConfigError, match="this has changed: the training set, the validation set, the vocabulary"):
            runs.train(run)
    finally:
        texts.write_text(before, encoding="utf-8")


def test_without_a_checkpoint_to_resume_from_training_starts_anew_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opinions(tmp_path)
    with pytest.raises(InterruptionError):
        runs.train(resumable(tmp_path, resume=True), callbacks=[Interrupts(0)])
    assert f"There is no checkpoint in {tmp_path / 'model' / 'checkpoint'} to go on from" in caplog.text
