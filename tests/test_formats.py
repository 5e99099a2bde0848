"""Model directories of this format and of those before are read, and answer as they did when they were written."""

import json
import shutil
from pathlib import Path

import make_formats
import pytest

from nlp_rnn import parity, store, text, words
from nlp_rnn.config import ConfigError
from nlp_rnn.families import FAMILIES

MODELS = sorted(path.parent for path in make_formats.FORMATS.glob(f"*/*/{make_formats.ANSWERS}"))


@pytest.mark.parametrize("model", MODELS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_model_of_this_format_or_an_earlier_one_answers_as_it_did(model: Path) -> None:
    expected = json.loads((model / make_formats.ANSWERS).read_text(encoding="utf-8"))
    found = make_formats.answers(model)
    assert list(found) == list(expected)
    for name, rows in expected.items():
        assert len(rows) == len(found[name]) > len(make_formats.TEXTS)
        for then, now in zip(rows, found[name], strict=True):
            assert parity.equal(then, now), parity.difference(name, {}, then, now)


def test_every_format_is_there_with_every_family() -> None:
    """Where this fails, FORMAT was raised, or there is a new family: see make_formats.py."""
    assert {int(model.parent.name) for model in MODELS} == set(range(1, store.FORMAT + 1))
    families = {json.loads((model / "model" / "config.json").read_text())["family"] for model in MODELS}
    assert families == {family.name for family in FAMILIES}
    for model in MODELS:
        assert json.loads((model / "model" / "config.json").read_text())["format"] == int(model.parent.name)


def test_a_newer_format_is_named_with_what_to_do(tmp_path: Path) -> None:
    model = shutil.copytree(MODELS[-1], tmp_path / "model_directory")
    file = model / "model" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "format": store.FORMAT + 1}))
    message = rf"in format {store.FORMAT + 1}; .* up to format {store.FORMAT}\. Install the version that wrote it"
    with pytest.raises(ConfigError, match=message):
        store.load(model)


@pytest.mark.parametrize(
    ("kind", "file", "load"),
    [
        ("translator", "source_tokenizer/tokenizer.json", text.load),
        ("tagger", "words/words.json", words.load),
    ],
)
def test_a_newer_format_of_the_text_side_is_refused(tmp_path: Path, kind: str, file: str, load: object) -> None:
    model = next(model for model in MODELS if model.name == kind)
    path = shutil.copytree(model, tmp_path / kind) / "model" / file
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "format": 2}))
    assert callable(load)
    with pytest.raises(ConfigError, match="has format 2; this version reads format 1"):
        load(path.parent)
