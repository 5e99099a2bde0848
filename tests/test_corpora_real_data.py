"""Real corpora beside the repository are read whole; without them, these tests are skipped."""

from pathlib import Path

import pytest

from nlp_rnn import corpora
from nlp_rnn.config import DataConfig

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared(*names):
    paths = [SHARED / name for name in names]
    for path in paths:
        if not path.exists():
            pytest.skip(f"needs the shared data set file {path.name}")
    return tuple(map(str, paths))


def test_multi30k():
    names = {"train": "train", "validation": "val"}
    files = {split: shared(f"multi30k/{name}.en", f"multi30k/{name}.de") for split, name in names.items()}
    corpus = corpora.load(DataConfig(**files), "translation")
    assert (len(corpus.train), len(corpus.validation)) == (29_000, 1014)
    assert "\t" in corpus.train[7365]["target"]
    assert corpus.notes == ()


@pytest.mark.parametrize(
    ("name", "task", "options", "count", "notes"),
    [
        ("wnut17/emerging.test.annotated", "tagging", {"format": "conll"}, 1287, 0),
        ("btc/f.conll", "tagging", {}, 2000, 1),
        ("ud_english_ewt/en_ewt-ud-train.conllu", "tagging", {"tag_column": "xpos"}, 12_544, 0),
        ("tatoeba_spa_eng/train.tsv", "translation", {}, 114_181, 0),
        ("cmudict/train.tsv", "translation", {}, 113_310, 0),
        ("banking77/test.csv", "classification", {"label_column": "category"}, 3080, 0),
        ("wikitext2/test.txt", "language_modelling", {}, 4358, 0),
        ("names/train.jsonl", "classification", {}, 15_957, 0),
    ],
)
def test_real_files_have_the_stated_sizes(name, task, options, count, notes):
    loaded, said = corpora.load_split(DataConfig(test=shared(name), **options), task)
    assert len(loaded) == count
    assert len(said) == notes
