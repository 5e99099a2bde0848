"""Builds and asks the C program that answers with an export through TensorFlow's C API."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from nlp_rnn import parity, signature_inputs

SOURCE = Path(__file__).with_name("c_api") / "answer.c"
TEXTS = ("abc dead", "", "Anna Smith lives in New York.", "a\udcffb", "漢字 \N{WAVING HAND SIGN}", "word " * 100)

Answers = list[tuple[str, np.ndarray]]


def build(tensorflow: Path, target: Path) -> Path:
    """Builds the program on the headers and libraries of an installed `tensorflow` package, and nothing else."""
    libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{tensorflow}"]
    command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Werror", f"-I{tensorflow / 'include'}", str(SOURCE)]
    done = subprocess.run([*command, "-o", target, f"-L{tensorflow}", *libraries], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def run(program: Path, version: Path, lines: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs the program, which sees no GPU and no environment."""
    environment = {"PATH": os.defpath, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    text = "".join(f"{line}\n" for line in lines)
    return subprocess.run([program, version], input=text, capture_output=True, text=True, timeout=300, env=environment)


def libraries(tensorflow_text: Path) -> list[str]:
    """Returns the lines that load the operations of an installed `tensorflow_text` package."""
    found = sorted(tensorflow_text.glob("python/*/_*.so"))
    assert found
    return [f"library {path}" for path in found]


def compare(program: Path, version: Path, tensorflow_text: Path, *, weights: str = "float32") -> None:
    """Asserts that the program answers through each signature as Python does: some texts, one, and none."""
    (graph,) = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs
    loaded, expected = tf.saved_model.load(str(version)), []
    asked = [*libraries(tensorflow_text), "load"]
    for key, function in loaded.signatures.items():
        specs = parity.specs_of(function)
        rows = [signature_inputs.arguments(specs, sample) for sample in signature_inputs.from_texts(TEXTS)]
        for chosen in (rows, rows[:1], []):
            inputs = signature_inputs.batch(specs, chosen)
            asked += [*request(graph.signature_def[key], specs, inputs), "run"]
            answer = parity.call(function, inputs)
            expected += [(output, answer[output]) for output in sorted(answer)]
    done = run(program, version, asked)
    assert done.returncode == 0, done.stderr
    found = list(_answers(done.stdout.splitlines()))
    assert [output for output, _ in found] == [output for output, _ in expected]
    for (output, theirs), (_, ours) in zip(found, expected, strict=True):
        assert theirs.shape == tuple(ours.shape), output
        if ours.dtype == tf.float32:
            tolerance = parity.TOLERANCES.get(weights, parity.TOLERANCE)
            np.testing.assert_allclose(theirs.astype(np.float32), ours.numpy(), tolerance, tolerance, err_msg=output)
        else:
            assert theirs.tolist() == ours.numpy().tolist(), output


def request(signature: Any, specs: dict[str, tf.TensorSpec], inputs: dict[str, Any]) -> Iterator[str]:
    """Gives the lines that name a signature's inputs and outputs; what to do with them comes after."""
    for name, tensor in parity.tensors(specs, inputs).items():
        sizes = " ".join(map(str, (tensor.shape.rank, *tensor.shape)))
        yield f"input {_place(signature.inputs[name].name)} {tensor.dtype.name} {sizes}"
        yield from _values(inputs[name])
    for name, output in sorted(signature.outputs.items()):
        yield f"output {name} {_place(output.name)}"


def _place(tensor: str) -> str:
    return tensor.replace(":", " ")


def _values(value: Any) -> Iterator[str]:
    """Gives a nest's values as the program reads them."""
    if isinstance(value, list):
        for item in value:
            yield from _values(item)
    else:
        yield value.encode("utf-8", "surrogateescape").hex() if isinstance(value, str) else str(value)


def _answers(lines: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    at = 0
    while at < len(lines):
        name, kind, _, *sizes = lines[at].split()
        shape = tuple(map(int, sizes))
        count = int(np.prod(shape))
        read = {"string": bytes.fromhex, "float32": np.float32, "int32": int, "bool": lambda text: text == "1"}[kind]
        values = np.empty(count, object)
        values[:] = [read(line) for line in lines[at + 1 : at + 1 + count]]
        yield name, values.reshape(shape)
        at += 1 + count
