"""Writes model directories in the present format, with what they answer, for the tests of later versions.

    python tests/make_formats.py

Run it once after `nlp_rnn.store.FORMAT` was raised, or when a family is new: what is there already stays as it is, for
a later version must read what this one wrote. Commit what it writes. The models are tiny, their weights random; answers
are those of the live network.
"""

import json
from pathlib import Path
from typing import Any

import keras
import small_exports

from nlp_rnn import command_line, export, parity, signature_inputs, store
from nlp_rnn.jobs import ExportRun

FORMATS = Path(__file__).with_name("formats")
MODELS = {
    "translator": "letters",
    "translator_of_pieces": "subwords",
    "tagger": "entities",
    "tagger_by_softmax": "parts of speech",
    "classifier": "opinions",
}
TEXTS = ("abc dead", "", "Anna Smith lives in New York.", "The zebra", "hgfedcba cab a", "漢字")
ANSWERS = "answers.json"


def answers(model: Path) -> dict[str, list[dict[str, Any]]]:
    """Returns what a stored model answers to the texts, by signature, as its network computes it here."""
    stored = store.load(model)
    module = export.build_module(stored, ExportRun(model=str(model)).fixed(stored.config))
    calls = signature_inputs.calls(module.signatures, signature_inputs.from_texts(TEXTS))
    return {name: parity.ask(module.signatures[name], batches[0]) for name, batches in calls.items()}


def main() -> None:
    for name, kind in MODELS.items():
        folder = FORMATS / str(store.FORMAT) / name
        if folder.exists():
            print(f"{folder} is there already")
            continue
        keras.utils.set_random_seed(1)
        small_exports.write_stored(kind, folder)
        (folder / ANSWERS).write_text(json.dumps(answers(folder)) + "\n", encoding="utf-8")
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{folder}: {size / 1000:.0f} kB")


if __name__ == "__main__":
    command_line.run(main)
