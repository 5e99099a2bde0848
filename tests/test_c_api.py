"""Exports in TensorFlow's C++ runtime, in a process without Python: what stands in for a model server's binary."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text
from tensorflow.core.protobuf import saved_model_pb2

from nlp_rnn import parity, signature_inputs

SOURCE = Path(__file__).with_name("c_api") / "answer.c"
TEXTS = ("abc dead", "", "Anna Smith lives in New York.", "a\udcffb", "漢字 \N{WAVING HAND SIGN}", "word " * 100)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C program, linked to the installed TensorFlow's libraries and nothing else."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, to build a program on TensorFlow's C API")
    folder, target = Path(tf.sysconfig.get_lib()), tmp_path_factory.mktemp("c_api") / "answer"
    libraries = [f"-L{folder}", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{folder}"]
    command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Werror", f"-I{tf.sysconfig.get_include()}", str(SOURCE)]
    done = subprocess.run([*command, "-o", str(target), *libraries], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def values_of(value: Any) -> Iterator[str]:
    """Gives a nest's values as the program reads them."""
    if isinstance(value, list):
        for item in value:
            yield from values_of(item)
    else:
        yield value.encode("utf-8", "surrogateescape").hex() if isinstance(value, str) else str(value)


def place(tensor: str) -> str:
    return tensor.replace(":", " ")


def request(signature: Any, specs: dict[str, tf.TensorSpec], inputs: dict[str, Any]) -> Iterator[str]:
    for name, tensor in parity.tensors(specs, inputs).items():
        sizes = " ".join(map(str, (tensor.shape.rank, *tensor.shape)))
        yield f"input {place(signature.inputs[name].name)} {tensor.dtype.name} {sizes}"
        yield from values_of(inputs[name])
    for name, output in sorted(signature.outputs.items()):
        yield f"output {name} {place(output.name)}"
    yield "run"


def read_answers(lines: list[str]) -> Iterator[tuple[str, np.ndarray]]:
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


@pytest.mark.parametrize("name", ["subwords", "entities"])
def test_an_export_answers_in_a_process_without_python(
    program: Path, exported: Callable[[str], Path], name: str
) -> None:
    folder = exported(name) / "1"
    (graph,) = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    loaded = tf.saved_model.load(str(folder))
    libraries = sorted(Path(tensorflow_text.__file__).parent.glob("python/*/_*.so"))
    assert libraries
    asked, expected = [*(f"library {library}" for library in libraries), "load"], []
    for key, function in loaded.signatures.items():
        specs = parity.specs_of(function)
        rows = [signature_inputs.arguments(specs, sample) for sample in signature_inputs.from_texts(TEXTS)]
        for chosen in (rows, rows[:1], []):
            inputs = signature_inputs.batch(specs, chosen)
            asked += request(graph.signature_def[key], specs, inputs)
            answer = parity.call(function, inputs)
            expected += [(output, answer[output]) for output in sorted(answer)]
    done = subprocess.run(
        [program, folder], input="\n".join(asked) + "\n", capture_output=True, text=True, timeout=300,
        env={"PATH": os.defpath, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = list(read_answers(done.stdout.splitlines()))
    assert [output for output, _ in found] == [output for output, _ in expected]
    for (output, theirs), (_, ours) in zip(found, expected, strict=True):
        assert theirs.shape == tuple(ours.shape), output
        if ours.dtype == tf.float32:
            np.testing.assert_allclose(theirs.astype(np.float32), ours.numpy(), rtol=1e-4, atol=1e-4, err_msg=output)
        else:
            assert theirs.tolist() == ours.numpy().tolist(), output


def test_the_text_operations_are_all_that_is_added(program: Path, exported: Callable[[str], Path]) -> None:
    """Without their libraries the same export does not load: the program has no other source of them."""
    folder = exported("subwords") / "1"
    done = subprocess.run(
        [program, folder], input="load\n", capture_output=True, text=True, timeout=300, env={"PATH": os.defpath}
    )
    assert done.returncode == 1
    assert "Op type not registered 'SentencepieceOp'" in done.stderr
