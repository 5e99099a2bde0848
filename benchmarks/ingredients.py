"""What each ingredient of the classifiers' configs is worth: by cross-validation, no test set in sight.

    python -m benchmarks.ingredients sst2 --vectors benchmarks/work/vectors.txt
    python -m benchmarks.ingredients trec --vectors benchmarks/work/vectors.txt --folds 2

The training part is dealt into five folds. A committed config, and the same without one ingredient after the other,
is trained on four of them, chooses its best epoch, its share and its temperature on the validation part, and is
measured on the fifth; with `--folds` below five on the first ones alone. Every line has the same folds, seeds and code.
The figures are accuracies in %, of the recurrent members together, of the linear model, of both counting alike, and of
the vote that an export has.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CONFIGS = Path(__file__).resolve().parents[1] / "pipelines" / "configs"
FOLDS = 5
AT_ONCE = 64

UNWEIGHED: dict[str, Any] = {"weighed": False}
WITHOUT: dict[str, dict[str, Any]] = {
    "nothing: the config": {},
    "further recurrent members": {"members": 1},
    "the linear model": {"ngrams": 0},
    "runs of characters": {"character_ngrams": 0},
    "runs weighed by what they tell": UNWEIGHED,
    "vectors": {"vectors": None},
    "vectors that are trained on": {"tune_vectors": False},
    "pooling but the maximum": {"pools": ["max"]},
    "smoothed labels": {"label_smoothing": 0.0},
    "word dropout": {"word_dropout": 0.0},
}


def folds(name: str) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Gives the training part of a set as four folds and the fifth."""
    import numpy as np

    rows = _rows(name, "train")
    places = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    for fold in range(FOLDS):
        yield [rows[i] for i in np.flatnonzero(places != fold)], [rows[i] for i in np.flatnonzero(places == fold)]


def _rows(name: str, part: str) -> list[dict[str, Any]]:
    with (DATA / name / f"{part}.jsonl").open(encoding="utf-8") as file:
        return [{"text": row["text"], "label": str(row["label"])} for row in map(json.loads, file)]


def right(
    name: str, changes: dict[str, Any], train: list[dict[str, Any]], test: list[dict[str, Any]], seed: int
) -> dict[str, int]:
    """Trains on some rows, and returns how many others each side, and their votes, get right."""
    import datasets
    import keras
    import numpy as np

    from nlp_rnn import runs, training
    from nlp_rnn.corpora import Corpus
    from nlp_rnn.jobs import ClassifierRun
    from nlp_rnn.settings import from_dict, read_table

    given = read_table(str(CONFIGS / f"{name}.yaml")) | {"output": "none", "seed": seed} | changes
    weighed = given.pop("weighed", True)
    run = from_dict(ClassifierRun, given)
    parts = {"train": train, "validation": _rows(name, "validation")}
    corpus = Corpus(**{part: datasets.Dataset.from_list(rows) for part, rows in parts.items()}, notes=())
    task = runs.prepare(run, corpus)
    if not weighed:
        setattr(task.network, "weigh_runs", lambda batches: None)  # noqa: B010
    training.train(runs.set_up(task), task.run.training)
    # Before they settle: afterwards the share is a part of the scores.
    sides = scores(task, [row["text"] for row in test])
    _, metrics = task.finish()
    labels = [task.text.labels.index(row["label"]) for row in test]
    counted = {"recurrent": sides[0]}
    if len(sides) > 1:
        share = metrics["linear_share"]
        counted |= {"linear": sides[1], "alike": sides.mean(axis=0), "vote": (1 - share) * sides[0] + share * sides[1]}
    keras.backend.clear_session()
    return {side: int(np.sum(found.argmax(axis=1) == labels)) for side, found in counted.items()}


def scores(task: Any, texts: list[str]) -> Any:
    """Returns what `Classifier.sides` has of raw texts, float32 (sides, texts, classes)."""
    import numpy as np
    import tensorflow as tf

    reader, network = task.text.reader, task.network
    found = []
    for first in range(0, len(texts), AT_ONCE):
        cut = reader.cut(tf.constant(texts[first : first + AT_ONCE]))[:, : task.run.reading.maximum_length]
        units = cut.to_tensor()
        inputs = {**reader.inputs(units), "mask": tf.sequence_mask(cut.row_lengths(), tf.shape(units)[1])}
        found.append(network.sides(network([inputs]).scores).numpy())
    return np.concatenate(found, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ingredients",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="a set of ../shared/data that has a config")
    parser.add_argument("--vectors", help="see benchmarks.vectors")
    parser.add_argument("--folds", type=int, default=FOLDS, help="how many of the five to measure (default: all)")
    parser.add_argument("--without", nargs="+", choices=[*WITHOUT], default=[*WITHOUT], help="some lines alone")
    options = parser.parse_args()
    totals: dict[str, dict[str, int]] = {line: {} for line in options.without}
    measured = 0
    for fold, (train, test) in enumerate(folds(options.name)):
        if fold == options.folds:
            break
        measured += len(test)
        for line, total in totals.items():
            for side, count in right(
                options.name, {"vectors": options.vectors} | WITHOUT[line], train, test, fold + 1
            ).items():
                total[side] = total.get(side, 0) + count
            shares = {side: round(100 * count / measured, 2) for side, count in total.items()}
            print(json.dumps({"without": line, "texts": measured, **shares}), flush=True)


if __name__ == "__main__":
    main()
