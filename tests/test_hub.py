"""Data sets of a hub: a server on this machine, asked by processes that have nothing but its address."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from hub_server import Hub, commit

TAGS = ["O", "B-PER", "I-PER"]
TAGGED = {"tokens": [["Anna", "sleeps"], ["He", "is", "Bo", "Ek"]], "tags": [[1, 0], [0, 0, 1, 2]]}
PAIRS = [{"en": "I work.", "de": "Ich arbeite."}, {"en": "She works.", "de": "Sie arbeitet."}]
RATED = [{"text": "Good.", "label": 1}, {"text": "Bad.", "label": 0}]
FORMER = [{"text": "As it was.", "label": "good"}]
YAML = """---
configs:
- config_name: {0}
  data_files: [{{split: train, path: {0}/train.jsonl}}]
- config_name: {1}
  data_files: [{{split: train, path: {1}/train.jsonl}}]
---
"""

# Loads one data set after the other, as each process pays for its imports; prints the rows or the error of each.
PROGRAM = """
import json, sys, time
from nlp_rnn import corpora
from nlp_rnn.config import DataConfig
said = []
for task, data in json.loads(sys.argv[1]):
    start = time.perf_counter()
    try:
        corpus = corpora.load(DataConfig(**data), task)
        said.append({"train": corpus.train.to_list(), "validation": corpus.validation.to_list()})
    except corpora.DataError as error:
        said.append({"error": str(error)})
    said[-1]["seconds"] = time.perf_counter() - start
print(json.dumps(said))
"""
# Reads a data set as a stream; prints its windows, from the beginning and again from where the second one begins.
STREAMING = """
import json, sys
from nlp_rnn import corpora
from nlp_rnn.config import DataConfig
from nlp_rnn.streams import Position
def windows(corpus, position):
    found = []
    while (window := corpus.stream.read(position)).read:
        position = Position(row=position.row + window.read, state=json.loads(json.dumps(window.state)))
        found.append(([row for _, row in window.rows], position))
    return found
task, data = json.loads(sys.argv[1])
corpus = corpora.load(DataConfig(**data), task)
whole = windows(corpus, Position())
again = windows(corpora.load(DataConfig(**data), task), whole[0][1])
said = [[rows for rows, _ in found] for found in (whole, again)]
print(json.dumps({"windows": said, "validation": corpus.validation.to_list(), "first": corpus.train.to_list()}))
"""
# The same without the pauses between two attempts to reach a hub, which add up to half a minute.
HURRIED = "import time; time.sleep = lambda seconds: None\n" + PROGRAM

Said = dict[str, Any]


def parquet(columns: dict[str, Any], features: dict[str, Any] | None = None) -> bytes:
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(columns, features=features and datasets.Features(features)).to_parquet(buffer)
    return buffer.getvalue()


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def numbered(part: int) -> dict[str, list[str]]:
    numbers = range(7 * part, 7 * (part + 1))
    return {"source": [f"a{number}" for number in numbers], "target": [f"b{number}" for number in numbers]}


def contents() -> dict[str, dict[str, bytes]]:
    names = datasets.List(datasets.ClassLabel(names=TAGS))
    tagged = parquet(TAGGED, {"tokens": datasets.List(datasets.Value("string")), "tags": names})
    translated = {"translation": datasets.Translation(languages=["en", "de"])}
    label = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    films = {name: [row[name] for row in RATED] for name in ("text", "label")}
    return {
        "org/names": {f"data/{split}-00000-of-00001.parquet": tagged for split in ("train", "validation")},
        "org/pairs": {
            f"{split}.parquet": parquet({"translation": PAIRS}, translated) for split in ("train", "validation")
        },
        "org/lines": {f"{split}.jsonl": jsonl([{"translation": pair} for pair in PAIRS]) for split in ("train", "dev")},
        "org/numbers": {
            **{f"train-{part}.parquet": parquet(numbered(part)) for part in range(2)},
            "validation.parquet": parquet(numbered(9)),
        },
        "org/films": {f"{split}.parquet": parquet(films, label) for split in ("train", "validation")},
        "org/films@v1": {"train.jsonl": jsonl(FORMER), "validation.jsonl": jsonl(FORMER)},
        "org/several": {
            "README.md": YAML.format("one", "two").encode(),
            **{f"{name}/train.jsonl": jsonl(RATED) for name in ("one", "two")},
        },
        "org/gated": {"train.jsonl": jsonl(RATED)},
        "org/script": {"script.py": b"import datasets\n"},
        "org/empty": {"README.md": b"---\nlanguage: en\n---\n"},
        "org/broken": {"train.jsonl": b'{"text": "a", "label": 1}\n{"text": \n'},
    }


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub(contents(), gated=("org/gated",)) as server:
        yield server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what was downloaded is kept."""
    return tmp_path_factory.mktemp("home")


def load(address: str, home: Path, jobs: list[Any], *, program: str = PROGRAM, offline: bool = False) -> list[Said]:
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline))}
    command = [sys.executable, "-c", program, json.dumps(jobs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def rated(dataset: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "classification", {"dataset": dataset, **more}


JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "tags": ("tagging", {"dataset": "org/names"}),
    **{
        name: ("translation", {"dataset": f"org/{name}", "source_language": "de", "target_language": "en"})
        for name in ("pairs", "lines")
    },
    "chosen": rated("org/several", dataset_config="two"),
    "not chosen": rated("org/several"),
    "wrongly chosen": rated("org/several", dataset_config="three"),
    "tag": rated("org/films", dataset_revision="v1"),
    "commit": rated("org/films", dataset_revision=commit("org/films@v1")),
    "no revision": rated("org/films", dataset_revision="v2"),
    **{name: rated(f"org/{name}") for name in ("films", "nothing", "gated", "script", "empty", "broken")},
}


@pytest.fixture(scope="module")
def said(hub: Hub, home: Path) -> dict[str, Said]:
    """What comes of all of them."""
    return dict(zip(JOBS, load(hub.address, home, list(JOBS.values())), strict=True))


def test_tags_of_a_parquet_file_come_by_their_names(said: dict[str, Said]) -> None:
    rows = [
        {"tokens": ["Anna", "sleeps"], "tags": ["B-PER", "O"]},
        {"tokens": ["He", "is", "Bo", "Ek"], "tags": ["O", "O", "B-PER", "I-PER"]},
    ]
    assert (said["tags"]["train"], said["tags"]["validation"]) == (rows, rows)


@pytest.mark.parametrize("name", ["pairs", "lines"])
def test_a_pair_of_languages_is_source_and_target(said: dict[str, Said], name: str) -> None:
    rows = [{"source": pair["de"], "target": pair["en"]} for pair in PAIRS]
    assert (said[name]["train"], said[name]["validation"]) == (rows, rows)


@pytest.mark.usefixtures("said")
def test_what_was_downloaded_is_found_without_the_hub(hub: Hub, home: Path) -> None:
    rows = [{"text": "Good.", "label": "good"}, {"text": "Bad.", "label": "bad"}]
    asked = len(hub.requests)
    jobs = [rated("org/films"), rated("org/other")]
    offline = load(hub.address, home, jobs, offline=True)
    assert len(hub.requests) == asked
    unreachable = load("http://127.0.0.1:9", home, jobs, program=HURRIED)
    for known, unknown in (offline, unreachable):
        assert known["train"] == rows
        # Nobody can tell whether this one exists.
        assert "Couldn't reach 'org/other' on the Hub" in unknown["error"]
        assert "Check the connection, and HF_ENDPOINT and HF_HUB_OFFLINE if you have set them" in unknown["error"]


def test_a_configuration_is_chosen_or_asked_for(said: dict[str, Said]) -> None:
    assert len(said["chosen"]["train"]) + len(said["chosen"]["validation"]) == 2
    assert "'one', 'two'" in said["not chosen"]["error"]
    assert "'three' not found" in said["wrongly chosen"]["error"]
    for name in ("not chosen", "wrongly chosen"):
        assert said[name]["error"].endswith("Name a configuration with --dataset-config.")


def test_a_former_state_is_had_by_its_tag_or_commit(said: dict[str, Said]) -> None:
    for name in ("tag", "commit"):
        assert (said[name]["train"], said[name]["validation"]) == (FORMER, FORMER)
    assert len(said["films"]["train"]) == len(RATED)
    assert re.match("The data set 'org/films' could not be loaded: .*'v2'.*on the Hub", said["no revision"]["error"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nothing", "doesn't exist on the Hub.*Check its spelling; if it is private, log in with `hf auth login`"),
        ("gated", "gated dataset.*Ask for access on its page, then log in with `hf auth login`"),
        ("script", "scripts are no longer supported.*Expected a hub id whose repository holds data files"),
        ("empty", "doesn't contain any data files.*Expected a hub id whose repository holds data files"),
        ("broken", "JSON parse error.*Expected a hub id whose repository holds data files"),
    ],
)
def test_what_cannot_be_had_is_told_at_once_and_on_one_line(said: dict[str, Said], name: str, expected: str) -> None:
    message = said[name]["error"]
    assert message.startswith(f"The data set 'org/{name}' could not be loaded: ")
    assert "\n" not in message
    assert re.search(expected, message), message
    assert said[name]["seconds"] < 10


def test_a_data_set_is_streamed_from_the_hub_and_gone_on_with(hub: Hub, home: Path) -> None:
    data = {"dataset": "org/numbers", "streaming": True, "stream_sample": 3, "shuffle_buffer": 5}
    found = load(hub.address, home, ["translation", data], program=STREAMING)
    rows = [{"source": f"a{number}", "target": f"b{number}"} for number in range(14)]
    windows = [rows[0:5], rows[5:10], rows[10:14]]
    assert found["windows"] == [windows, windows[1:]]
    assert found["first"] == rows[:3]
    assert [row["source"] for row in found["validation"]] == ["a63", "a64", "a65"]
    # Nothing of it was stored.
    assert not [
        path for path in home.rglob("*") if path.is_file() and "numbers" in str(path) and path.suffix == ".arrow"
    ]
    jobs = [rated(f"org/{name}", streaming=True) for name in ("nothing", "broken")]
    nothing, broken = load(hub.address, home, jobs)
    assert "doesn't exist on the Hub" in nothing["error"]
    assert "Expected a hub id whose repository holds data files" in broken["error"]
