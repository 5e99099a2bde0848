"""Pre-trains word vectors on the unlabelled text of the data sets, for the results of taggers and classifiers.

    python -m benchmarks.vectors --output benchmarks/work/vectors.txt

Skip-gram with negative sampling (Mikolov et al., 2013) by gensim, in the text format that `--vectors` reads. Only
training parts are read, in lower case, and no label of any kind; a text that some other set holds out, as those of
film reviews hold out each other's training texts, is passed over.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

_WORD = re.compile(r"\w+(?=n't\b)|n't\b|'\w+|\w+(?:[.,:]\w+)*|[^\w\s]+")


def _lines(name: str) -> Iterator[str]:
    with (DATA / name).open(encoding="utf-8") as file:
        yield from file


def _written(name: str) -> Iterator[list[str]]:
    for line in _lines(name):
        yield _WORD.findall(line.lower())


def _split(name: str) -> Iterator[list[str]]:
    """WikiText, whose tokens stand apart; `@-@` and the like mark what was one word."""
    for line in _lines(name):
        yield re.sub(r" @(\W)@ ", r" \1 ", line.lower()).split()


def _first_column(name: str) -> Iterator[list[str]]:
    for line in _lines(name):
        yield _WORD.findall(line.lower().split("\t")[0])


def _json_text(name: str) -> Iterator[list[str]]:
    for line in _lines(name):
        yield _WORD.findall(json.loads(line)["text"].lower())


def _column(name: str, place: int) -> Iterator[list[str]]:
    sentence: list[str] = []
    for line in _lines(name):
        columns = line.rstrip("\n").split("\t")
        if line.strip() and not line.startswith("# ") and len(columns) > place:
            sentence.append(columns[place].lower())
        elif sentence:
            yield sentence
            sentence = []


TEXTS: tuple[tuple[str, Callable[[str], Iterator[list[str]]]], ...] = (
    ("wikitext2/train.txt", _split),
    ("tatoeba_spa_eng/train.tsv", _first_column),
    ("multi30k/train.en", _written),
    ("ud_english_ewt/en_ewt-ud-train.conllu", lambda name: _column(name, 1)),
    ("wnut17/wnut17train.conll", lambda name: _column(name, 0)),
    ("btc/train.conll", lambda name: _column(name, 0)),
    ("rt_polarity/train.jsonl", _json_text),
    ("sst5/train.jsonl", _json_text),
    ("trec/train.jsonl", _json_text),
    ("banking77/train.jsonl", _json_text),
)
_HELD_OUT = tuple(
    f"{name}/{part}.jsonl"
    for name in ("sst2", "sst5", "rt_polarity", "trec", "banking77")
    for part in ("validation", "test")
)


def _key(words: list[str]) -> str:
    """Spells a text alike however it was split into words."""
    return "".join(character for word in words for character in word if character.isalnum())


def sentences() -> list[list[str]]:
    """Returns the training sentences of all data sets, but for those that another set holds out."""
    held_out = {_key(words) for name in _HELD_OUT for words in _json_text(name)}
    return [words for name, read in TEXTS for words in read(name) if words and _key(words) not in held_out]


def main() -> None:
    import gensim

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--size", type=int, default=100, help="width of the vectors")
    parser.add_argument("--epochs", type=int, default=8, help="passes over the text")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    text = sentences()
    print(f"{len(text):,} sentences, {sum(map(len, text)):,} words", file=sys.stderr)
    model = gensim.models.Word2Vec(
        text, vector_size=options.size, sg=1, window=5, negative=8, min_count=2, epochs=options.epochs,
        sample=1e-4, workers=options.threads, seed=1,
    )  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    model.wv.save_word2vec_format(str(options.output))


if __name__ == "__main__":
    main()
