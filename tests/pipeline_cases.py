"""Runs the pipeline scripts as a user does, and reads what they print.

What costs a process several seconds, importing TensorFlow, is paid once for
each script; further runs of it happen in the process of the tests.
"""

import json
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"

Finished = subprocess.CompletedProcess[str]


def content(folder: Path) -> dict[str, bytes]:
    """Returns what each file in a folder holds, by its path within."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def script(name: str, *arguments: str | Path, given: str = "") -> Finished:
    """Runs a script in a process of its own."""
    command = [sys.executable, str(PIPELINES / name), *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, encoding="utf-8", timeout=600)


@dataclass(frozen=True)
class Script:
    """Runs scripts in this process, which has TensorFlow."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, name: str, *arguments: str | Path) -> Finished:
        command = [str(PIPELINES / name), *map(str, arguments)]
        self.monkeypatch.setattr(sys, "argv", command)
        self.capsys.readouterr()
        status = 0
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as stop:
            status = int(stop.code or 0)
        return Finished(command, status, *self.capsys.readouterr())


def results(done: Finished) -> list[dict[str, Any]]:
    """Returns what standard output holds: JSON objects, one a line, and nothing else."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def complaint(done: Finished) -> str:
    """Returns the one line of standard error that a user's mistake gives."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line
