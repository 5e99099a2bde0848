"""Trains a small model on each embedded corpus, exports it, measures the export and asks it something new.

The models' settings are in pipelines/configs/quickstart_*.yaml.

python pipelines/quickstart.py
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nlp_rnn import (
    ClassifierRun,
    Predictor,
    TaggerRun,
    TranslatorRun,
    attention_heat_map,
    command_line,
    evaluate,
    train,
    write_explanations,
)

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One corpus, one model, a text that the corpus does not hold, and what to show of it."""

    run: TranslatorRun | TaggerRun | ClassifierRun
    metric: str
    text: str
    show: Callable[[Path, Path, str], list[str]]


def show_translation(folder: Path, version: Path, text: str) -> list[str]:
    answer = Predictor(version).explain([text])[0]
    # Beside the model directory, in which only the package writes.
    picture = folder.with_suffix(".png")
    attention_heat_map(answer.source_tokens, answer.target_tokens, answer.attention, picture)
    return [f"{text} -> {answer.translation.text}", f"Its attention: {picture}"]


def show_entities(folder: Path, version: Path, text: str) -> list[str]:
    (tagging,) = Predictor(version).predict([text])
    found = (f"{entity.text} ({entity.label}, {entity.score:.2f})" for entity in tagging.entities)
    return [f"{text} -> {', '.join(found)}"]


def show_label(folder: Path, version: Path, text: str) -> list[str]:
    (evidence,) = Predictor(version).explain([text])
    page = folder.with_suffix(".html")
    write_explanations(page, [evidence])
    answer = evidence.classification
    return [f"{text} -> {answer.labels[0]} ({answer.score:.2f})", f"What that leans on: {page}"]


JOBS = [
    Job(
        run=command_line.parse(TranslatorRun, ["--config", str(CONFIGS / "quickstart_translation.yaml")]),
        metric="bleu",
        text="She thinks that my old teacher can show the children our new picture.",
        show=show_translation,
    ),
    Job(
        run=command_line.parse(TaggerRun, ["--config", str(CONFIGS / "quickstart_tagging.yaml")]),
        metric="f1",
        text="Yesterday Anna Baker of Rivers Ltd baked bread in Washington.",
        show=show_entities,
    ),
    Job(
        run=command_line.parse(ClassifierRun, ["--config", str(CONFIGS / "quickstart_sentiment.yaml")]),
        metric="accuracy",
        text="Everybody called the garden dreary, but the path of the garden was far from neglected.",
        show=show_label,
    ),
]


def work(job: Job) -> tuple[dict[str, str], list[str]]:
    """Returns a job's row of the table, and what to show of the model besides."""
    start = time.perf_counter()
    trained = train(job.run, callbacks=[command_line.progress_bar()])
    measured = evaluate(trained.folder, job.run.data)
    row = {
        "sample": str(job.run.data.dataset),
        "metric": f"{job.metric} {measured[job.metric]:.3g}",
        "seconds": f"{time.perf_counter() - start:.0f}",
        "SavedModel": str(trained.version),
    }
    return row, job.show(trained.folder, trained.version, job.text)


def main() -> None:
    rows, shown = zip(*map(work, JOBS), strict=True)
    command_line.print_table(rows)
    for lines in shown:
        print("", *lines, sep="\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    command_line.run(main)
