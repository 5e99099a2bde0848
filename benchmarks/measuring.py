"""How every benchmark here measures: in turns within one run, medians, and figures that name their machine.

Only the standard library, as workers may run in an environment that holds nothing but a peer.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "latest.json"
PACKAGES = ("tensorflow", "keras", "tensorflow-text", "numpy")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
WARM_UP = 3
PAUSE = 0.05  # seconds in which the threads of the process that was busy go to sleep


@dataclass(frozen=True, kw_only=True)
class Result:
    """One figure of ours beside one of theirs.

    `ratio` is above 1 where ours is better: theirs over ours where less is
    better, ours over theirs where more is. `share` is always ours over theirs.
    """

    name: str
    value: float
    unit: str
    against: str
    theirs: float
    ratio: float
    share: float
    date: str


def less_is_better(name: str, value: float, unit: str, against: str, theirs: float) -> Result:
    """A result such as a time or a size."""
    return _result(name, value, unit, against, theirs, theirs / value)


def more_is_better(name: str, value: float, unit: str, against: str, theirs: float) -> Result:
    """A result such as a rate or a score."""
    return _result(name, value, unit, against, theirs, value / theirs)


def _result(name: str, value: float, unit: str, against: str, theirs: float, ratio: float) -> Result:
    return Result(
        name=name,
        value=round(value, 4),
        unit=unit,
        against=against,
        theirs=round(theirs, 4),
        ratio=round(ratio, 4),
        share=round(value / theirs, 4),
        date=datetime.date.today().isoformat(),
    )


# ---- Timing


Seconds = dict[str, list[float]]


class Timed(float):
    """The seconds that something took which was timed where it ran, such as in another process."""


def in_turns(callables: Mapping[str, Callable[[], Any]], repeats: int) -> Seconds:
    """Runs all callables once, then all again, `repeats` times, and returns the seconds each took each time."""
    seconds: Seconds = {name: [] for name in callables}
    for _ in range(repeats):
        for name, function in callables.items():
            started = time.perf_counter()
            result = function()
            seconds[name].append(result if isinstance(result, Timed) else time.perf_counter() - started)
    return seconds


def serve(callables: Mapping[str, Callable[[], Any]], versions: Mapping[str, str]) -> None:
    """A worker's part: warms up, says what it runs, and then times it as often as it is asked."""
    in_turns(callables, WARM_UP)
    print(json.dumps(dict(versions)), flush=True)
    for line in sys.stdin:
        repeats, _, ending = line.strip().partition(" ")
        chosen = {name: function for name, function in callables.items() if name.endswith(ending)}
        print(json.dumps(in_turns(chosen, int(repeats))), flush=True)


class Worker:
    """A process that runs `serve`; only one works at a time."""

    def __init__(self, command: Sequence[str]):
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
        )
        self.versions: dict[str, str] = self._answer()

    def time(self, repeats: int, ending: str = "") -> Seconds:
        """Returns the seconds of each of its callables, run in turns; of those whose names end so."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{repeats} {ending}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with status {self._process.wait()}; see its messages above")
        return json.loads(line)


@contextlib.contextmanager
def workers(commands: Iterable[Sequence[str]]) -> Iterator[list[Worker]]:
    """Starts one worker after the other, and ends them all."""
    started: list[Worker] = []
    try:
        for command in commands:
            started.append(Worker(command))
        yield started
    finally:
        for worker in started:
            worker.close()


def medians(running: Sequence[Worker], *, rounds: int, repeats: int) -> dict[str, float]:
    """Times the workers by turns and returns the median seconds of every callable, of rounds * repeats runs."""
    seconds: Seconds = {}
    for _ in range(rounds):
        for worker in running:
            time.sleep(PAUSE)
            for name, found in worker.time(repeats).items():
                seconds.setdefault(name, []).extend(found)
    return {name: statistics.median(found) for name, found in seconds.items()}


def run_json(command: Sequence[str]) -> Any:
    """Runs a program that prints one JSON value, and returns it."""
    done = subprocess.run(command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def can_import(python: str, package: str) -> bool:
    """Tells whether an interpreter has a package."""
    return subprocess.run([python, "-c", f"import {package}"], capture_output=True, cwd=ROOT).returncode == 0


def _environment() -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


# ---- Where, and with what


def machine() -> dict[str, Any]:
    """Describes the processor, as far as figures depend on it."""
    model, flags = platform.processor() or platform.machine(), set()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = (part.strip() for part in line.partition(":"))
            if name == "model name":
                model = value
            elif name == "flags":
                flags = set(value.split())
    cores = len(os.sched_getaffinity(0))
    return {"processor": model, "cores": cores, "flags": [flag for flag in FLAGS if flag in flags]}


def versions() -> dict[str, str]:
    """The versions of Python and of what all our figures depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


# ---- What is shown and kept


def table(results: Sequence[Result]) -> str:
    """The results as aligned text."""
    rows = [("", "ours", "theirs", "unit", "ours/theirs", "against")]
    rows += [
        (result.name, f"{result.value:.2f}", f"{result.theirs:.2f}", result.unit, f"{result.share:.2f}", result.against)
        for result in results
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = {1, 2, 4}
    lines = []
    for row in rows:
        cells = zip(row, widths, range(len(row)), strict=True)
        lines.append("  ".join(cell.rjust(width) if at in right else cell.ljust(width) for cell, width, at in cells))
    return "\n".join(line.rstrip() for line in lines)


def save(results: Sequence[Result], path: Path = LATEST) -> None:
    """Writes the results beside those of other machines, and of earlier runs of the same versions on this one."""
    run = {"machine": machine(), "versions": versions()}
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    others = [other for other in before if other["machine"] != run["machine"]]
    kept = [result for other in before if run.items() <= other.items() for result in other["results"]]
    ours = {(result.name, result.against): asdict(result) for result in results}
    merged = {(result["name"], result["against"]): result for result in kept} | ours
    run |= {"date": datetime.date.today().isoformat(), "results": list(merged.values())}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps([*others, run], indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
