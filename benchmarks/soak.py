"""Thousands of requests of all sizes to a server, by both protocols and from several threads at once.

    make quickstart && python -m benchmarks.soak
    python -m benchmarks.soak --requests 500 --models saved_models/en-de saved_models/names

The server is the stand-in of the tests, in a process of its own. Every answer is compared with what `Predictor` says of
the same text by itself; where they differ, but the scores of both are the same up to 1e-4, it counts as a tie. Memory
is that of each process after the first 1,000 requests, or the first fifth of fewer, and at the end. What is found goes
to standard output as JSON; the exit status is 1 if anything failed or grew by more than 5 %.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import measuring
from nlp_rnn.answers import Classification, Tagging
from nlp_rnn.clients import GrpcClient, RestClient
from nlp_rnn.serving import Predictor

QUICKSTART = [Path("saved_models/quickstart") / name for name in ("translation", "tagging", "sentiment")]
STUB = measuring.ROOT / "tests" / "serving_stub.py"
TEXTS = 200  # of each model; requests draw from them
LONGEST_TEXT = 200  # words
LARGEST_REQUEST = 32  # texts
SETTLED = 1000  # requests after which memory should grow no more
AT_ONCE = 100  # requests that wait for a thread: they take memory themselves
GROWTH = 1.05
SAME = 1e-4
WORDS = (
    "the", "a", "my", "man", "woman", "Anna", "Smith", "lives", "works", "sees", "in", "New", "York", "two", "old",
    "dogs", "picture", "and", ",", ".", "漢字", "\N{WAVING HAND SIGN}", "\udc80", '"', "\\", "\0", "Größe", "\u2028",
)  # fmt: skip


class Soak:
    """What the threads share.

    Args:
        models: For each name the texts that are sent, and `Predictor`'s answers to them.
        addresses: The server's, by protocol.
    """

    def __init__(self, models: dict[str, tuple[list[str], list[Any]]], addresses: dict[str, str]):
        self.counts: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []
        self._models = models
        self._lock = threading.Lock()
        kinds = {"rest": RestClient, "grpc": GrpcClient}
        self._clients = [
            (name, protocol, kind(addresses[protocol], model=name, timeout=120, batch_size=LARGEST_REQUEST))
            for protocol, kind in kinds.items()
            for name in models
        ]

    def close(self) -> None:
        for _, _, client in self._clients:
            client.close()

    def request(self, number: int) -> None:
        """Sends one request and compares its answers."""
        draw = random.Random(number)
        name, protocol, client = self._clients[number % len(self._clients)]
        texts, expected = self._models[name]
        chosen = draw.choices(range(len(texts)), k=skewed(draw, LARGEST_REQUEST))
        try:
            answers = client.predict([texts[index] for index in chosen])
        except Exception as error:
            with self._lock:
                self.counts["errors"] += 1
                self.problems.append(f"{protocol} {name}: {error!r}")
            return
        with self._lock:
            self.counts.update([protocol, "requests", name])
            for index, answer in zip(chosen, answers, strict=True):
                verdict = compare(answer, expected[index])
                self.counts.update(["texts", verdict])
                if verdict == "different":
                    self.problems.append(f"{protocol} {name}: {answer} instead of {expected[index]}")


def skewed(draw: random.Random, most: int) -> int:
    """Draws 1 to `most`, small numbers as often as large ones are rare: its logarithm is evenly spread."""
    return min(most, int(math.exp(draw.uniform(0, math.log(most + 1)))))


def make_texts(seed: int) -> list[str]:
    """Makes texts of 1 to 200 words, some of which no corpus holds."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=skewed(draw, LONGEST_TEXT))) for _ in range(TEXTS)]


def compare(found: Any, expected: Any) -> str:
    """Tells whether two answers are the same, or differ by a tie of two scores."""
    if found == expected:
        return "equal"
    mine, theirs = parts(found), parts(expected)
    if mine.fixed != theirs.fixed or not near(mine.scores, theirs.scores):
        return "different"
    if mine.chosen != theirs.chosen:
        return "ties"
    same = mine.following == theirs.following and near(mine.their_scores, theirs.their_scores)
    return "equal up to rounding" if same else "different"


def near(scores: Sequence[float], others: Sequence[float]) -> bool:
    """Tells whether scores differ by no more than rounding."""
    return len(scores) == len(others) and all(
        math.isclose(*both, rel_tol=SAME, abs_tol=SAME) for both in zip(scores, others, strict=True)
    )


class Parts(NamedTuple):
    """An answer, taken apart."""

    fixed: Any  # hangs on no score
    chosen: Any  # is decided by scores
    scores: list[float]
    following: Any = None  # hangs on what was chosen
    their_scores: Sequence[float] = ()


def parts(answer: Any) -> Parts:
    """Takes an answer of any family apart."""
    if isinstance(answer, Tagging):
        places = [(token.text, token.start, token.end) for token in answer.tokens]
        spans = [(entity.text, entity.label, entity.start, entity.end) for entity in answer.entities]
        return Parts(
            fixed=(answer.truncated, places),
            chosen=[token.tag for token in answer.tokens],
            scores=[token.score for token in answer.tokens],
            following=spans,
            their_scores=[entity.score for entity in answer.entities],
        )
    if isinstance(answer, Classification):
        fixed = answer.truncated, tuple(answer.probabilities)
        return Parts(fixed=fixed, chosen=answer.labels, scores=list(answer.probabilities.values()))
    return Parts(fixed=answer.truncated, chosen=answer.text, scores=[answer.score])


def memory(process: int) -> float:
    """Returns a process's resident set in MiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {process} has ended")


@contextlib.contextmanager
def server(models: dict[str, Path]) -> Iterator[tuple[int, dict[str, str]]]:
    """Starts the stand-in; gives its process and its addresses."""
    command = [sys.executable, str(STUB), *(f"{name}={folder}" for name, folder in models.items())]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as running:
        assert running.stdout is not None
        yield running.pid, json.loads(running.stdout.readline())


def answer_alone(folder: Path, seed: int) -> tuple[list[str], list[Any]]:
    """Returns texts and what a model says of each."""
    client = Predictor(folder, batch_size=1)
    texts = make_texts(seed)
    return texts, client.predict(texts)


def soak(folders: Sequence[Path], requests: int, threads: int) -> dict[str, Any]:
    """Sends all requests and returns what was found."""
    named = {f"{folder.resolve().name}-{number}": folder for number, folder in enumerate(folders)}
    settled = min(SETTLED, requests // 5)
    with server(named) as (process, addresses), ThreadPoolExecutor(threads) as pool:
        models = {name: answer_alone(folder, seed) for seed, (name, folder) in enumerate(named.items())}
        running, memories, start = Soak(models, addresses), [], time.monotonic()
        for part in (range(settled), range(settled, requests)):
            for first in range(part.start, part.stop, AT_ONCE):
                list(pool.map(running.request, range(first, min(first + AT_ONCE, part.stop))))
            memories.append({"client": memory(os.getpid()), "server": memory(process)})
        seconds = time.monotonic() - start
        running.close()
    before, after = memories
    return {
        "counts": dict(running.counts),
        "seconds": round(seconds, 1),
        "mebibytes": {name: [round(before[name]), round(after[name])] for name in before},
        "growth": {name: round(after[name] / before[name], 4) for name in before},
        "problems": running.problems[:10],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--models", type=Path, nargs="+", default=QUICKSTART, help="default: those of make quickstart")
    options = parser.parse_args()
    if missing := [str(folder) for folder in options.models if not folder.is_dir()]:
        parser.error(f"no model in {', '.join(missing)}: make quickstart first, or give --models")
    if options.requests < 10:
        parser.error(f"expected --requests of 10 or more, not {options.requests}")
    found = soak(options.models, options.requests, options.threads)
    print(json.dumps(found, indent=2, ensure_ascii=False))
    grown = [name for name, growth in found["growth"].items() if growth > GROWTH]
    sys.exit(bool(grown or found["problems"]))


if __name__ == "__main__":
    main()
