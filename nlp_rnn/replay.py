"""SavedModels answer in a process of its own, which has what a server has: TensorFlow, and the operations of its texts.

Importing TensorFlow takes that process several seconds, so it is kept, and
each SavedModel is loaded by a fork of it, which has loaded no other.
"""

import atexit
import contextlib
import functools
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Reads one request a line: folders and files; says with which status the fork ended that met it.
_PROGRAM = """
import glob, importlib.util, json, os, sys
sys.modules["keras"] = None  # No server has it, and TensorFlow would import it, which takes as long as all else.
import numpy as np
import tensorflow as tf

(package,) = importlib.util.find_spec("tensorflow_text").submodule_search_locations
for library in glob.glob(os.path.join(package, "python", "*", "_*.so")):
    tf.load_library(library)

def encode(value):
    if isinstance(value, list):
        return [encode(item) for item in value]
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value

def tensors(signature, inputs):
    specs = signature.structured_input_signature[1]
    return {name: tf.reshape(tf.constant(encode(values), specs[name].dtype), shape)
            for name, (values, shape) in inputs.items()}

def answer(model, asked, answers):
    signatures = tf.saved_model.load(model).signatures
    with open(asked, encoding="utf-8") as file:
        calls = json.load(file)
    found = {
        name: [{key: tensor.numpy().tolist() for key, tensor in signature(**tensors(signature, inputs)).items()}
               for inputs in batches]
        for name, batches in calls.items()
        for signature in [signatures[name]]
    }
    with open(answers, "w", encoding="utf-8") as file:
        json.dump(found, file, default=lambda text: text.decode("utf-8", "surrogateescape"))

for line in sys.stdin:
    model, asked, answers, errors = json.loads(line)
    child = os.fork()
    if not child:
        status = 1
        try:
            log = os.open(errors, os.O_WRONLY)
            for stream in (sys.stdout, sys.stderr):
                os.dup2(log, stream.fileno())
            answer(model, asked, answers)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

_END_OF_ERRORS = 2000  # characters


class ReplayError(RuntimeError):
    """A SavedModel cannot be loaded and called; the message is the end of what was said on standard error."""


def start(python: str) -> None:
    """Starts an interpreter that will be asked soon, unless it runs already; returns at once."""
    _interpreter(python, os.getpid())


def answers(
    folder: Path, calls: Mapping[str, Sequence[Mapping[str, tuple[Any, Sequence[int]]]]], *, python: str
) -> dict[str, list[dict[str, Any]]]:
    """Asks a SavedModel.

    Args:
        folder: The SavedModel.
        calls: For each signature, the arguments of some calls: by name a nest
            of lists, bytes that are no UTF-8 spelt by surrogates, and the
            shape of the tensor that it makes.
        python: The interpreter to ask with.

    Returns:
        The outputs of each call by name, nests of lists, bytes spelt alike.

    Raises:
        ReplayError: It cannot be loaded and called.
    """
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered, errors = (Path(scratch, name) for name in ("asked", "answered", "errors"))
        asked.write_text(json.dumps(calls), encoding="utf-8")
        errors.touch()
        status = _interpreter(python, os.getpid()).run([folder.absolute(), asked, answered, errors])
        if status:
            raise ReplayError(_end(errors.read_bytes()) or f"Status {status}.")
        found: dict[str, list[dict[str, Any]]] = json.loads(answered.read_text(encoding="utf-8"))
        return found


class _Interpreter:
    """An interpreter that waits for requests as long as this process lives."""

    def __init__(self, python: str) -> None:
        self._one_at_a_time = threading.Lock()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        self._process = subprocess.Popen(
            [python, "-P", "-c", _PROGRAM],  # it reads nothing from where this process was started
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"},
            cwd=tempfile.gettempdir(),
            text=True,
            encoding="utf-8",
        )
        atexit.register(self._close)

    def run(self, request: Sequence[Path]) -> int:
        """Returns the status of the fork that met a request."""
        requests, statuses = self._process.stdin, self._process.stdout
        assert requests is not None and statuses is not None
        with self._one_at_a_time:
            try:
                requests.write(json.dumps([str(path) for path in request]) + "\n")
                requests.flush()
                return int(statuses.readline())
            except (OSError, ValueError) as error:  # it has ended, for want of TensorFlow maybe
                _interpreter.cache_clear()
                self._process.wait()
                self._errors.seek(0)
                said = self._errors.read()
                self._close()
                raise ReplayError(_end(said)) from error

    def _close(self) -> None:
        atexit.unregister(self._close)
        # What is left to be sent to one that has ended is lost.
        with self._errors, contextlib.suppress(BrokenPipeError), self._process:
            pass


def _end(errors: bytes) -> str:
    return errors.decode("utf-8", "replace")[-_END_OF_ERRORS:]


@functools.cache
def _interpreter(python: str, process: int) -> _Interpreter:
    """Returns the one that waits for a process: what that forks needs another one."""
    del process
    return _Interpreter(python)
