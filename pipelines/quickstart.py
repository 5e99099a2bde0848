"""Trains a small model on each embedded corpus, exports it, measures the export and asks it something new.

python pipelines/quickstart.py
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nlp_rnn import (
    BatchConfig,
    ClassifierConfig,
    ClassifierRun,
    ClassifierTrainingConfig,
    DataConfig,
    Predictor,
    SearchConfig,
    TaggerConfig,
    TaggerRun,
    TaggerTrainingConfig,
    TextConfig,
    TranslatorConfig,
    TranslatorRun,
    TranslatorTrainingConfig,
    attention_heat_map,
    command_line,
    evaluate,
    train,
    write_explanations,
)

OUTPUT = Path("saved_models/quickstart")
HEADINGS = ("sample", "metric", "seconds", "SavedModel")


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
        run=TranslatorRun(
            output=str(OUTPUT / "translation"),
            data=DataConfig(dataset="sample:translation"),
            text=TextConfig(subword_model="bpe", vocabulary_size=1000),
            batching=BatchConfig(bucket_width=8),
            model=TranslatorConfig(
                embedding_size=64, encoder_size=64, decoder_size=128, attention_size=64, dropout=0.1
            ),
            search=SearchConfig(maximum_length=64),
            training=TranslatorTrainingConfig(epochs=12, learning_rate=5e-3, warmup_steps=50),
        ),
        metric="bleu",
        text="She thinks that my old teacher can show the children our new picture.",
        show=show_translation,
    ),
    Job(
        run=TaggerRun(
            output=str(OUTPUT / "tagging"),
            data=DataConfig(dataset="sample:tagging"),
            batching=BatchConfig(batch_size=32, bucket_width=8),
            model=TaggerConfig(word_size=32, character_size=32, encoder_size=48, encoder_layers=1, dropout=0.3),
            training=TaggerTrainingConfig(epochs=8, learning_rate=1e-2, warmup_steps=50),
        ),
        metric="f1",
        text="Yesterday Anna Baker of Rivers Ltd baked bread in Washington.",
        show=show_entities,
    ),
    Job(
        run=ClassifierRun(
            output=str(OUTPUT / "sentiment"),
            data=DataConfig(dataset="sample:sentiment"),
            batching=BatchConfig(bucket_width=8),
            model=ClassifierConfig(embedding_size=32, encoder_size=32, attention_size=32, dropout=0.1, ngrams=0),
            training=ClassifierTrainingConfig(epochs=6, learning_rate=1e-2, warmup_steps=20, word_dropout=0.0),
        ),
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
    seconds = time.perf_counter() - start
    figure = f"{job.metric} {measured[job.metric]:.3g}"
    row = (str(job.run.data.dataset), figure, f"{seconds:.0f}", str(trained.version))
    shown = job.show(trained.folder, trained.version, job.text)
    return dict(zip(HEADINGS, row, strict=True)), shown


def table(rows: list[dict[str, str]]) -> str:
    """Lays rows out in columns, under their headings."""
    lines = [HEADINGS, *(tuple(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def main() -> None:
    results = [work(job) for job in JOBS]
    print(table([row for row, _ in results]))
    for _, shown in results:
        print("", *shown, sep="\n")


if __name__ == "__main__":
    command_line.run(main)
