"""Translates, tags or classifies texts, one a line, of a file or of standard input; one JSON object a line comes out.

Of a classifier of pairs, a line holds two texts separated by a TAB.

python pipelines/predict.py --model saved_models/en-de --input x.txt
echo "a man rides a horse ." | python pipelines/predict.py --model saved_models/en-de --n-best 3
python pipelines/predict.py --model saved_models/sentiment --input reviews.txt --explain reviews.html
"""

import codecs
import contextlib
import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import nlp_rnn  # what needs TensorFlow is found on first use: wrong flags are told at once
from nlp_rnn import PredictRun, command_line

FAMILY_OF = {"n_best": "translator", "attention_plots": "translator", "explain": "classifier"}


def main() -> None:
    run = command_line.parse(PredictRun, description=__doc__)
    if run.explain and not Path(run.explain).absolute().parent.is_dir():
        raise nlp_rnn.ConfigError(
            f"explain {run.explain} cannot be written: make its folder first, or give another one."
        )
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(open(run.input, "rb")) if run.input else sys.stdin.buffer
        if run.attention_plots:
            Path(run.attention_plots).mkdir(parents=True, exist_ok=True)
        predictor = nlp_rnn.Predictor(run.model, batch_size=run.batch_size)
        for name, family in FAMILY_OF.items():
            if getattr(run, name) and predictor.family != family:
                raise nlp_rnn.ConfigError(f"{name} is for {family}s, and this is a {predictor.family}: leave it out.")
        if run.explain and not predictor.explains:
            raise nlp_rnn.ConfigError(
                "explain is for classifiers trained with attention among --pools, which this one is not: leave it out."
            )
        answers = answer_all(predictor, run, texts_of(lines))
        if run.explain:
            answers = list(answers)
            nlp_rnn.write_explanations(run.explain, answers)
            answers = (answer.classification for answer in answers)
        for answer in answers:
            command_line.print_json(answer if isinstance(answer, dict) else asdict(answer))


def texts_of(lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        yield (line if number else line.removeprefix(codecs.BOM_UTF8)).rstrip(b"\r\n")


def answer_all(predictor: "nlp_rnn.Predictor", run: PredictRun, texts: Iterator[bytes]) -> Iterator:
    # Some batches at a time: the predictor sorts them by length.
    for number in itertools.count():
        some = list(itertools.islice(texts, 16 * run.batch_size))
        if not some:
            return
        yield from answer(predictor, run, some, first=number * 16 * run.batch_size + 1)


def split_pairs(lines: list[bytes], *, first: int) -> tuple[list[bytes], list[bytes]]:
    """Cuts lines at their TAB into first and second texts."""
    for number, line in enumerate(lines, first):
        if line.count(b"\t") != 1:
            raise nlp_rnn.ConfigError(f"line {number}: this model reads pairs: give two texts separated by one TAB.")
    texts, pairs = zip(*(line.split(b"\t") for line in lines), strict=True)
    return list(texts), list(pairs)


def answer(predictor: "nlp_rnn.Predictor", run: PredictRun, texts: list[bytes], *, first: int) -> Iterator:
    texts, pairs = split_pairs(texts, first=first) if predictor.reads_pairs else (texts, None)
    if run.attention_plots:
        for line, found in enumerate(predictor.explain(texts), first):
            if found.target_tokens:
                picture = Path(run.attention_plots) / f"{line}.png"
                nlp_rnn.attention_heat_map(found.source_tokens, found.target_tokens, found.attention, picture)
            yield found.translation
    elif run.explain:
        yield from predictor.explain(texts, pairs=pairs)
    elif run.n_best:
        for translations in predictor.n_best(texts):
            yield {"translations": [asdict(translation) for translation in translations[: run.n_best]]}
    else:
        yield from predictor.predict(texts, pairs=pairs)


if __name__ == "__main__":
    command_line.run(main)
