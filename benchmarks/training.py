"""What number formats and length buckets give each family on real data, and how long a step waits for its batch.

Each family has the sizes of its committed config and its real corpus. All are timed over the same batches of one epoch
in turns, every shape compiled beforehand. Plain batches hold rows in random order, each padded to its longest text
rounded up to 8 tokens, so that their shapes are few enough to be compiled; an epoch is its number of batches times the
mean step. "Waiting" is the part of a pass over an epoch's batches in which the loop had no batch to work on. Another
process takes the same steps with the memory that it frees given back to the system, as without `keep_freed_memory`.

With `--quality EPOCHS` each family is trained that long in both formats, from the same seed, and measured on its
validation set.

    python -m benchmarks.training tagger             # one family; the figures are printed and not kept
    python -m benchmarks.training tagger --quality 3
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks import measuring, peers
from benchmarks.measuring import Result, less_is_better

DATA = peers.DATA.parent
CONFIGS = measuring.ROOT / "pipelines" / "configs"
EWT = "ud_english_ewt/en_ewt-ud-{}.conllu"
FAMILIES: dict[str, tuple[str, dict[str, Sequence[str]]]] = {
    "translator": (
        "multi30k_en_de.yaml",
        {
            "train": ("multi30k/train.en", "multi30k/train.de"),
            "validation": ("multi30k/val.en", "multi30k/val.de"),
        },
    ),
    "tagger": ("ewt_upos.yaml", {"train": (EWT.format("train"),), "validation": (EWT.format("dev"),)}),
    "classifier": ("sst2.yaml", {"train": ("sst2/train.jsonl",), "validation": ("sst2/validation.jsonl",)}),
}
PRECISIONS = ("float32", "mixed_bfloat16")
METRICS = {"translator": "bleu", "tagger": "accuracy", "classifier": "accuracy"}
BATCHES, ROUNDS, ROUNDED = 30, 5, 8
LEFT_OUT = 4  # batches after which those read ahead while the step was not yet running are used up


def measure(options: argparse.Namespace) -> list[Result]:
    """Measures every family, each in a process of its own."""
    del options
    return [result for family in FAMILIES for result in _measured(family)]


def _measured(family: str) -> list[Result]:
    kept, given_back = (
        measuring.run_json([sys.executable, "-m", "benchmarks.training", family, *how])
        for how in (["--json"], ["--json", "--given-back"])
    )
    return _results(family, kept) + [
        less_is_better(
            f"training, {family}, step in {precision}", kept[precision], "ms", "freed memory given back",
            given_back[precision],
        )
        for precision in PRECISIONS
    ]  # fmt: skip


def _results(family: str, found: dict[str, float]) -> list[Result]:
    title = f"training, {family}"
    return [
        less_is_better(
            f"{title}, step in bfloat16", found["mixed_bfloat16"], "ms", "the same in float32", found["float32"]
        ),
        less_is_better(f"{title}, epoch", found["epoch"], "s", "plain batches", found["plain epoch"]),
        less_is_better(f"{title}, padding", found["padding"], "%", "plain batches", found["plain padding"]),
        less_is_better(f"{title}, waiting for batches", max(found["waiting"], 1e-3), "%", "3 %", 3.0),
    ]


# ---- What the worker runs


@dataclasses.dataclass
class PlainPlan:
    """Batches of rows in random order; what `nlp_rnn.batching` asks of a `BatchPlan`.

    Attributes:
        lengths: Of the rows, sources and targets, with what batches add to them; (rows, 2).
        batch_size: Rows in a batch; the rest of the last one is left out.
    """

    lengths: Any
    batch_size: int

    @property
    def rows_in_corpus(self) -> int:
        return len(self.lengths)

    def __len__(self) -> int:
        return len(self.lengths) // self.batch_size

    def shuffled(self, *, seed: int, epoch: int) -> list[Any]:
        """The batches of one epoch."""
        import numpy as np

        from nlp_rnn.plans import PlannedBatch, Shape

        rows = np.random.default_rng((seed, epoch)).permutation(len(self.lengths))[: len(self) * self.batch_size]
        batches = []
        for part in rows.reshape(len(self), self.batch_size):
            longest = -(-self.lengths[part].max(axis=0) // ROUNDED) * ROUNDED
            batches.append(PlannedBatch(part, Shape(self.batch_size, int(longest[0]), int(longest[1]))))
        return batches

    @property
    def padding(self) -> float:
        """Share of an epoch's positions that are padding."""
        batches = self.shuffled(seed=1, epoch=0)
        tokens = sum(int(self.lengths[batch.rows].sum()) for batch in batches)
        return 1 - tokens / sum(batch.shape.examples * (batch.shape.source + batch.shape.target) for batch in batches)


def prepare(family: str, precision: str, **settings: Any) -> Any:
    """Returns a family's task on its corpus, with the committed config."""
    from nlp_rnn import runs
    from nlp_rnn.jobs import ClassifierRun, TaggerRun, TranslatorRun
    from nlp_rnn.settings import from_dict, read_table

    config, files = FAMILIES[family]
    kind = {"translator": TranslatorRun, "tagger": TaggerRun, "classifier": ClassifierRun}[family]
    paths = {split: tuple(str(DATA / name) for name in names) for split, names in files.items()}
    given = read_table(str(CONFIGS / config)) | paths | {"output": "none", "precision": precision} | settings
    run = from_dict(kind, given)
    return runs.prepare(run, runs.load_corpus(run))


def plain_batches(task: Any) -> tuple[PlainPlan, Any]:
    """Returns plain batches of a task's training set, and their plan."""
    import numpy as np

    from nlp_rnn import batching
    from nlp_rnn.tasks.tagging import TaggingTask
    from nlp_rnn.tasks.translation import TranslationTask

    size, longest = task.run.batching.batch_size, task.run.batching.longest_example
    order = {"seed": 1, "epoch": 0}
    if isinstance(task, TranslationTask):
        sides = {"source_tokenizer": task.text.source, "target_tokenizer": task.text.target}
        lengths = batching.measure(task.corpus.train, **sides)
        plan = PlainPlan(np.stack([lengths.source, lengths.target], axis=1) + 1, size)
        return plan, batching.translation_batches(task.corpus.train, plan=plan, **order, **sides)
    if isinstance(task, TaggingTask):
        lengths = batching.measure_sentences(task.numbered).at_most(longest)
        plan = PlainPlan(np.stack([lengths.source, lengths.target], axis=1), size)
        return plan, batching.tagging_batches(task.numbered, plan=plan, read_words=task.text.reader, **order)
    lengths = batching.measure_texts(task.numbered, cut=task.text.reader.cut).at_most(task.run.reading.maximum_length)
    plan = PlainPlan(np.stack([lengths.source, lengths.target], axis=1), size)
    known = {"reader": task.text.reader, "classes": len(task.text.labels)}
    return plan, batching.classification_batches(task.numbered, plan=plan, **known, **order)


def steps_alone(family: str) -> dict[str, float]:
    """Returns milliseconds a step where freed memory is given back."""
    from benchmarks.steps import step_of, train
    from nlp_rnn import hardware

    hardware.keep_freed_memory = lambda: False
    tasks = {precision: prepare(family, precision) for precision in PRECISIONS}
    made = {precision: task.set_up() for precision, task in tasks.items()}
    ready = list(made["float32"].epoch_batches(0).take(BATCHES))
    calls = {precision: partial(train, step_of(task, made[precision]), ready) for precision, task in tasks.items()}
    measuring.in_turns(calls, 1)
    seconds = measuring.in_turns(calls, ROUNDS)
    return {precision: 1000 * statistics.median(seconds[precision]) / BATCHES for precision in PRECISIONS}


def work(family: str) -> dict[str, float]:
    """Returns milliseconds a step, seconds an epoch, and shares in per cent."""
    from benchmarks.steps import step_of, train

    tasks = {precision: prepare(family, precision) for precision in PRECISIONS}
    made = {precision: task.set_up() for precision, task in tasks.items()}
    steps = {precision: step_of(task, made[precision]) for precision, task in tasks.items()}
    task, bucketed = tasks["float32"], made["float32"]
    plan, plain = plain_batches(task)
    ready, plain_ready = (list(batches.take(BATCHES)) for batches in (bucketed.epoch_batches(0), plain))
    calls = {precision: partial(train, step, ready) for precision, step in steps.items()}
    calls["plain"] = partial(train, steps["float32"], plain_ready)
    measuring.in_turns(calls, 1)
    seconds = {name: statistics.median(found) for name, found in measuring.in_turns(calls, ROUNDS).items()}
    _waiting(steps["mixed_bfloat16"], bucketed.epoch_batches(0).take(BATCHES))
    return {
        **{precision: 1000 * seconds[precision] / BATCHES for precision in PRECISIONS},
        "epoch": seconds["float32"] / BATCHES * bucketed.steps_per_epoch,
        "plain epoch": seconds["plain"] / BATCHES * len(plan),
        "padding": 100 * bucketed.padding_share,
        "plain padding": 100 * plan.padding,
        "waiting": 100 * _waiting(steps["mixed_bfloat16"], bucketed.epoch_batches(1)),
    }


def _waiting(step: Callable[[Any], Any], batches: Any) -> float:
    """Returns the share of the time that went by before each batch was there."""
    waited, steps, began = 0.0, iter(batches), 0.0
    for number in itertools.count():
        if number == LEFT_OUT:
            waited, began = 0.0, time.perf_counter()
        asked = time.perf_counter()
        batch = next(steps, None)
        if batch is None:
            return waited / (time.perf_counter() - began)
        waited += time.perf_counter() - asked
        float(step(batch)[0])
    raise AssertionError("unreachable")


def quality(family: str, epochs: int) -> dict[str, float]:
    """Returns the best validation metric of a training in each format."""
    from nlp_rnn import training

    found = {}
    for precision in PRECISIONS:
        task = prepare(family, precision, epochs=epochs, average_checkpoints=1)
        history = training.train(task.set_up(), task.run.training)
        found[precision] = max(float(row[METRICS[family]]) for row in history)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--given-back", action="store_true", help="steps alone, without keeping freed memory")
    parser.add_argument("--quality", type=int, metavar="EPOCHS", help="train, and compare what is learned")
    options = parser.parse_args()
    if options.quality:
        print(json.dumps({"metric": METRICS[options.family], **quality(options.family, options.quality)}))
        return
    if options.json:
        print(json.dumps(steps_alone(options.family) if options.given_back else work(options.family)))
        return
    print(measuring.table(_measured(options.family)))


if __name__ == "__main__":
    main()
