"""Trainings that are killed: what the test of resuming runs in processes of its own.

    python resume_worker.py FOLDER FAMILY ATTEMPT ...

Each attempt is a training in a process forked from this one, so that TensorFlow is imported once: `NAME:KILL:RESUME`
trains into FOLDER/NAME, is killed by the signal that cannot be caught after KILL batches (0: never), and goes on from a
checkpoint if RESUME is 1. One that gets to the end writes its weights and history beside, and leaves out the export.
"""

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import datasets
import keras
import numpy as np

from nlp_rnn import runs, samples
from nlp_rnn.config import BatchConfig, DataConfig, TextConfig
from nlp_rnn.families import Run
from nlp_rnn.jobs import ClassifierRun, TaggerRun, TranslatorRun
from nlp_rnn.model_config import (
    ClassifierConfig,
    ClassifierTrainingConfig,
    TaggerConfig,
    TaggerTrainingConfig,
    TranslatorConfig,
    TranslatorTrainingConfig,
    WordsConfig,
)

TRAINING: dict[str, Any] = {
    "epochs": 2, "learning_rate": 0.01, "warmup_steps": 2, "deterministic": True, "checkpoint_steps": 3,
    "average_checkpoints": 2, "schedule": "reduce_on_plateau", "plateau_patience": 1, "monitor": "loss",
}  # fmt: skip
# One shape of batches: compiling it is most of the work. There are eight in an epoch.
BATCHING = BatchConfig(batch_size=16, bucket_width=32)
PARTS = ("train", "validation")


def write_data(folder: Path) -> None:
    """Writes a few rows of the embedded corpora as files."""
    pairs = [row for row in list(samples.load("translation")["train"]) if len(row["source"].split()) < 30][:128]
    for side in ("source", "target"):
        lines = [row[side] + "\n" for row in pairs]
        (folder / f"train.{side}").write_text("".join(lines), encoding="utf-8")
        (folder / f"validation.{side}").write_text("".join(lines[:16]), encoding="utf-8")
    sentences = [row for row in list(samples.load("tagging")["train"]) if len(row["tokens"]) < 30][:128]
    rows = [json.dumps({"tokens": row["tokens"], "tags": row["tags"]}) + "\n" for row in sentences]
    (folder / "train.jsonl").write_text("".join(rows), encoding="utf-8")
    (folder / "validation.jsonl").write_text("".join(rows[:16]), encoding="utf-8")
    for part, count in zip(PARTS, (128, 16), strict=True):  # three files, of a few groups of rows each
        (folder / "set").mkdir(exist_ok=True)
        examples = datasets.Dataset.from_list([json.loads(row) for row in rows[:count]])
        for file in range(3):
            shard = examples.shard(num_shards=3, index=file, contiguous=True)
            shard.to_parquet(folder / "set" / f"{part}-{file}.parquet", batch_size=15)
    opinions = [json.dumps(row) + "\n" for row in list(samples.load("sentiment")["train"])[:128]]
    (folder / "train.opinions").write_text("".join(opinions), encoding="utf-8")
    (folder / "validation.opinions").write_text("".join(opinions[:16]), encoding="utf-8")


def a_run(folder: Path, family: str, name: str, *, resume: bool, **changes: Any) -> Run:
    training = {**TRAINING, "resume": resume, **changes}
    output = str(folder / name)
    if family == "translator":
        train, validation = (tuple(str(folder / f"{part}.{s}") for s in ("source", "target")) for part in PARTS)
        return TranslatorRun(
            output=output,
            data=DataConfig(train=train, validation=validation),
            text=TextConfig(tokenizer="words", vocabulary_size=500),
            batching=BATCHING,
            model=TranslatorConfig(embedding_size=8, encoder_size=8, decoder_size=8, attention_size=8, dropout=0.2),
            training=TranslatorTrainingConfig(**training, scheduled_sampling="linear", scheduled_sampling_steps=20),
        )
    if family == "classifier":
        train, validation = ((str(folder / f"{part}.opinions"),) for part in PARTS)
        return ClassifierRun(
            output=output,
            data=DataConfig(train=train, validation=validation, format="jsonl"),
            batching=BATCHING,
            model=ClassifierConfig(embedding_size=8, encoder_size=8, members=2, ngram_buckets=256, dropout=0.2),
            training=ClassifierTrainingConfig(**training, word_dropout=0.1),
        )
    data = DataConfig(train=(str(folder / "train.jsonl"),), validation=(str(folder / "validation.jsonl"),))
    if family == "streamed tagger":  # in its 16 batches it comes round
        data = DataConfig(dataset=str(folder / "set"), streaming=True, stream_sample=64, shuffle_buffer=60)
        training["epoch_steps"] = 8
    sizes = {"word_size": 8, "shape_size": 4, "character_embedding_size": 4, "character_size": 8, "encoder_size": 8}
    return TaggerRun(
        output=output,
        data=data,
        words=WordsConfig(vocabulary_size=500),
        batching=BATCHING,
        model=TaggerConfig(**sizes, encoder_layers=1, head="softmax", character_encoder="none", dropout=0.2),
        training=TaggerTrainingConfig(**training),
    )


class Dies(keras.callbacks.Callback):
    """Kills its own process after some batches; at the end of a training, ends it before the export."""

    def __init__(self, result: Path, after: int) -> None:
        super().__init__()
        self.result = result
        self.left = after
        self.rows: list[Any] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.rows.append({name: value for name, value in (logs or {}).items() if name not in TIMES})

    def on_train_end(self, logs: Any = None) -> None:
        np.savez(self.result, *self.model.get_weights())
        self.result.with_suffix(".json").write_text(json.dumps(self.rows))
        os._exit(0)


TIMES = ("seconds", "items_per_second")


def main() -> None:
    folder, family, *attempts = sys.argv[1:]
    write_data(Path(folder))
    for attempt in attempts:
        name, kill, resume = attempt.split(":")
        child = os.fork()
        if child == 0:
            logging.basicConfig(level=logging.INFO, format=f"{attempt} %(message)s")
            dies = Dies(Path(folder) / f"{name}.npz", int(kill))
            runs.train(a_run(Path(folder), family, name, resume=resume == "1"), callbacks=[dies])
        _, status = os.waitpid(child, 0)
        print(attempt, os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
