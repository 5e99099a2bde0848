"""Each family on a stream: what it learns, and labels and tags that come late."""

import dataclasses
from pathlib import Path
from typing import Any

import datasets
import pytest

from nlp_rnn import runs, samples, training
from nlp_rnn.config import BatchConfig, DataConfig, TextConfig
from nlp_rnn.families import Run
from nlp_rnn.jobs import ClassifierRun, TaggerRun, TranslatorRun
from nlp_rnn.model_config import (
    ClassifierConfig,
    ClassifierTrainingConfig,
    SearchConfig,
    TaggerConfig,
    TaggerTrainingConfig,
    TranslatorConfig,
    TranslatorTrainingConfig,
)
from nlp_rnn.tasks.classification import ClassificationTask
from nlp_rnn.tasks.tagging import TaggingTask

BATCHES = BatchConfig(batch_size=4, bucket_width=8)


def saved(folder: Path, columns: dict[str, Any], **features: Any) -> DataConfig:
    """A stored data set whose first 8 rows are all that is known before a training, and the same for validation."""
    types = {name: datasets.Value("string") for name in columns} | features
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features(types))
    datasets.DatasetDict({"train": rows, "validation": rows.select(range(8))}).save_to_disk(folder / "set")
    return DataConfig(dataset=str(folder / "set"), streaming=True, stream_sample=8, shuffle_buffer=8)


def prepared(run: Run) -> runs.Task:
    return runs.prepare(run, runs.load_corpus(run))


def batches(task: runs.Task, count: int) -> list[dict[str, Any]]:
    return list(task.set_up().epoch_batches(0).take(count).as_numpy_iterator())


def tagger(data: DataConfig) -> TaggingTask:
    model = TaggerConfig(
        word_size=4, shape_size=0, character_encoder="none", encoder_size=4, encoder_layers=1, head="crf"
    )
    training_config = TaggerTrainingConfig(epoch_steps=6)
    task = prepared(TaggerRun(output="unused", data=data, batching=BATCHES, model=model, training=training_config))
    assert isinstance(task, TaggingTask)
    return task


SENTENCES = {
    "tokens": [["Anna", "Ek", "sleeps"]] * 8 + [["in", "New", "York"], ["Bo", "wept", "."]] * 4,
    "tags": [["B-PER", "I-PER", "O"]] * 8 + [["O", "B-LOC", "I-LOC"], ["B-PER", "O", "O"]] * 4,
}
WORDS = datasets.List(datasets.Value("string"))


def tagged_words(task: TaggingTask, found: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    """The tags of each sentence in some batches."""
    return {
        tuple(task.text.tags[tag] for tag in tags[mask])
        for batch in found
        for tags, mask in zip(batch["tags"], batch["mask"], strict=True)
        if mask.any()
    }


def test_tags_that_a_data_set_names_are_known_before_they_come(tmp_path: Path) -> None:
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    numbers = [[names.index(tag) for tag in sentence] for sentence in SENTENCES["tags"]]
    named = datasets.List(datasets.ClassLabel(names=names))
    task = tagger(saved(tmp_path, {**SENTENCES, "tags": numbers}, tokens=WORDS, tags=named))
    found = batches(task, 4)
    # In the spelling that the network learns, of single tokens too.
    assert tagged_words(task, found) == {("B-PER", "E-PER", "O"), ("O", "B-LOC", "E-LOC"), ("S-PER", "O", "O")}
    assert sum(len(batch["rows"]) for batch in found) == 16


def test_sentences_with_tags_that_nothing_named_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = tagger(saved(tmp_path, SENTENCES, tokens=WORDS, tags=WORDS))
    found = batches(task, 6)
    assert tagged_words(task, found) == {("B-PER", "E-PER", "O"), ("S-PER", "O", "O")}
    rows = [row for batch in found[:3] for row in batch["rows"].tolist()]
    assert sorted(rows) == [*range(8), 9, 11, 13, 15]
    assert "row 9: a label or tag that the first rows lack" in caplog.text


def classifier(data: DataConfig, **changes: Any) -> ClassifierRun:
    model = ClassifierConfig(embedding_size=4, encoder_size=4, attention_size=4, ngram_buckets=64, members=1)
    training_config = ClassifierTrainingConfig(epochs=2, epoch_steps=5, warmup_steps=0, **changes)
    return ClassifierRun(output="unused", data=data, batching=BATCHES, model=model, training=training_config)


TEXTS = [f"{'good' if number < 8 else 'bad'} film {number}" for number in range(16)]


def test_labels_that_a_data_set_names_are_learned_though_the_first_rows_lack_them(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["bad", "good", "fair"])
    data = saved(tmp_path, {"text": TEXTS, "label": [1] * 8 + [0] * 8}, label=names)
    task = prepared(classifier(data, class_weights="balanced"))
    assert isinstance(task, ClassificationTask)
    assert task.text.labels == ("bad", "fair", "good")
    found = batches(task, 4)
    labels = {
        row: label.argmax() for batch in found for row, label in zip(batch["rows"], batch["labels"], strict=False)
    }
    assert labels == {row: 2 if row < 8 else 0 for row in range(16)}
    # The first rows are all good ones; labels that they lack count as the rarest that they have.
    assert task._class_weights() == pytest.approx([1, 1, 1])


def test_texts_are_cut_and_not_left_out(tmp_path: Path) -> None:
    texts = [*TEXTS[:15], "long " * 700]
    data = saved(tmp_path, {"text": texts, "label": ["a", "b"] * 8})
    found = batches(prepared(classifier(data)), 5)
    (longest,) = (batch for batch in found if 15 in batch["rows"])
    maximum = ClassifierRun(output="unused").reading.maximum_length
    assert longest["texts"][0]["mask"].sum(axis=1).max() == maximum


@pytest.mark.slow
def test_a_translator_learns_from_a_stream(tmp_path: Path) -> None:
    """In half precision, each step of two batches."""
    examples = samples.load("translation")["train"].select(range(400))
    data = saved(tmp_path, {side: examples[side] for side in ("source", "target")})
    settings: dict[str, Any] = {"epochs": 2, "epoch_steps": 20, "accumulate_steps": 2, "precision": "mixed_bfloat16"}
    run = TranslatorRun(
        output="unused",
        data=dataclasses.replace(data, stream_sample=100, shuffle_buffer=100),
        text=TextConfig(tokenizer="words", vocabulary_size=300),
        batching=BatchConfig(batch_size=20, bucket_width=32, longest_example=31),
        model=TranslatorConfig(embedding_size=8, encoder_size=8, decoder_size=8, attention_size=8),
        search=SearchConfig(beam_size=1, n_best=1, maximum_length=10),
        training=TranslatorTrainingConfig(**settings, learning_rate=0.02, warmup_steps=0, monitor="loss"),
    )
    first, second = training.train(prepared(run).set_up(), run.training)
    assert (first["step"], second["step"]) == (10, 20)
    assert second["loss"] < 0.95 * first["loss"]
    assert 0 < first["padding_share"] < 1
