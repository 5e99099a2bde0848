"""SavedModels in a process of their own: what it reads, what it answers, and what becomes of it."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from nlp_rnn import replay
from nlp_rnn.replay import ReplayError, answers

CALLS: dict[str, Any] = {"answer": [{"text": (["a", "b\udcff"], [2])}, {"text": ([], [0])}]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, module = tmp_path_factory.mktemp("models") / "1", tf.Module()
    module.number = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def answer(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"twice": text + text, "number": tf.fill(tf.shape(text), module.number)}

    tf.saved_model.save(module, str(path), signatures={"answer": answer.get_concrete_function()})
    return path


def script(path: Path, command: str) -> str:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)
    return str(path)


def process(python: str) -> int:
    return replay._interpreter(python, os.getpid())._process.pid


EXPECTED = {"answer": [{"twice": ["aa", "b\udcffb\udcff"], "number": [2.0, 2.0]}, {"twice": [], "number": []}]}


def test_it_has_tensorflow_alone(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("keras", "nlp_rnn", "sentencepiece"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} is imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert answers(model, CALLS, python=script(tmp_path / "python", f'exec {sys.executable} "$@"')) == EXPECTED


def test_one_interpreter_answers_for_all_and_outlives_what_cannot_be_loaded(model: Path, tmp_path: Path) -> None:
    assert answers(model, CALLS, python=sys.executable) == EXPECTED
    first = process(sys.executable)
    with pytest.raises(ReplayError, match="does not exist"):
        answers(tmp_path, CALLS, python=sys.executable)
    with pytest.raises(ReplayError, match="KeyError: 'question'"):
        answers(model, {"question": []}, python=sys.executable)
    assert answers(model, CALLS, python=sys.executable) == EXPECTED
    assert process(sys.executable) == first


def test_where_it_was_killed_the_next_one_answers(model: Path) -> None:
    os.kill(process(sys.executable), signal.SIGKILL)
    with pytest.raises(ReplayError):
        answers(model, CALLS, python=sys.executable)
    assert answers(model, CALLS, python=sys.executable) == EXPECTED


def test_an_interpreter_that_does_not_start_says_why(model: Path, tmp_path: Path) -> None:
    python = script(tmp_path / "python", "echo there is no TensorFlow here >&2; exit 3")
    with pytest.raises(ReplayError, match="there is no TensorFlow here"):
        answers(model, CALLS, python=python)
