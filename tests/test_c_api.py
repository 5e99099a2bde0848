"""Exports in TensorFlow's C++ runtime, in a process without Python: what stands in for a model server's binary."""

import shutil
from collections.abc import Callable
from pathlib import Path

import c_api_cases as cases
import pytest
import tensorflow as tf
import tensorflow_text

TEXT_OPERATIONS = Path(tensorflow_text.__file__).parent


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, to build a program on TensorFlow's C API")
    return cases.build(Path(tf.__file__).parent, tmp_path_factory.mktemp("c_api") / "answer")


@pytest.mark.parametrize("name", ["subwords", "entities", "opinions"])
def test_an_export_answers_in_a_process_without_python(
    program: Path, exported: Callable[[str], Path], name: str
) -> None:
    cases.compare(program, exported(name) / "1", TEXT_OPERATIONS)


def test_the_text_operations_are_all_that_is_added(program: Path, exported: Callable[[str], Path]) -> None:
    """Without their libraries the same export does not load: the program has no other source of them."""
    done = cases.run(program, exported("subwords") / "1", ["load"])
    assert done.returncode == 1
    assert "Op type not registered 'SentencepieceOp'" in done.stderr
