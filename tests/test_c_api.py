"""Exports in TensorFlow's C++ runtime, in a process without Python: what stands in for a model server's binary."""

import shutil
from collections.abc import Callable
from pathlib import Path

import c_api_cases as cases
import pytest
import tensorflow as tf
import tensorflow_text
from tensorflow.core.protobuf import saved_model_pb2

TEXT_OPERATIONS = Path(tensorflow_text.__file__).parent


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, to build a program on TensorFlow's C API")
    return cases.build(Path(tf.__file__).parent, tmp_path_factory.mktemp("c_api") / "answer")


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("subwords", "float32"),
        ("entities", "float32"),
        ("opinions", "float32"),
        pytest.param("letters", "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_an_export_answers_in_a_process_without_python(
    program: Path, exported: Callable[..., Path], name: str, weights: str
) -> None:
    cases.compare(program, exported(name, weights) / "1", TEXT_OPERATIONS, weights=weights)


def test_the_program_takes_the_time_of_an_answer(program: Path, exported: Callable[..., Path]) -> None:
    version = exported("entities") / "1"
    (graph,) = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs
    specs = {"text": tf.TensorSpec([None], tf.string, name="text")}
    request = list(cases.request(graph.signature_def["serving_default"], specs, {"text": ["Anna Smith"]}))
    done = cases.run(program, version, [*cases.libraries(TEXT_OPERATIONS), "load", *request, "time", *request, "time"])
    assert done.returncode == 0, done.stderr
    seconds = list(map(float, done.stdout.split()))
    assert len(seconds) == 2
    assert all(0 < taken < 60 for taken in seconds)


def test_the_text_operations_are_all_that_is_added(program: Path, exported: Callable[..., Path]) -> None:
    """Without their libraries the same export does not load: the program has no other source of them."""
    done = cases.run(program, exported("subwords") / "1", ["load"])
    assert done.returncode == 1
    assert "Op type not registered 'SentencepieceOp'" in done.stderr
