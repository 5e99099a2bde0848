"""What would keep a SavedModel from running on every server, found in ones that were made so."""

from collections.abc import Callable
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from nlp_rnn import portability


def saved(folder: Path, body: Callable[[tf.Tensor], tf.Tensor], **held: object) -> Path:
    """Saves a module with one signature."""
    module = tf.Module()
    for name, value in held.items():
        setattr(module, name, value)
    module.answer = tf.function(body, input_signature=[tf.TensorSpec([None], name="x")], autograph=False)
    tf.saved_model.save(module, str(folder), signatures=module.answer)
    return folder


def test_plain_operations_run_everywhere_and_are_listed(tmp_path: Path) -> None:
    folder = saved(tmp_path, lambda x: tf.sqrt(x) + 1.0)
    assert {"Sqrt", "AddV2", "SaveV2"} <= portability.operations(folder)
    assert portability.problems(folder) == []


def test_operations_inside_of_loops_are_seen(tmp_path: Path) -> None:
    folder = saved(tmp_path, lambda x: tf.while_loop(lambda y: tf.reduce_sum(y) < 9, lambda y: (tf.cosh(y),), (x,))[0])
    assert {"StatelessWhile", "Cosh"} <= portability.operations(folder) or {"While", "Cosh"} <= portability.operations(
        folder
    )


def test_an_operation_that_servers_lack_is_found(tmp_path: Path) -> None:
    folder = saved(
        tmp_path, lambda x: tf.raw_ops.NcclAllReduce(input=x, reduction="sum", num_devices=1, shared_name="a")
    )
    assert portability.problems(folder) == ["NcclAllReduce"]


def test_python_in_a_graph_is_found(tmp_path: Path) -> None:
    folder = saved(tmp_path, lambda x: tf.ensure_shape(tf.numpy_function(lambda y: y, [x], tf.float32), [None]))
    assert "PyFunc" in portability.problems(folder)


def test_a_device_other_than_the_cpu_is_found(tmp_path: Path) -> None:
    def body(x: tf.Tensor) -> tf.Tensor:
        with tf.device("/device:GPU:0"):
            y = tf.sqrt(x)
        with tf.device("/device:CPU:0"):
            return tf.cosh(y)

    assert portability.problems(saved(tmp_path, body)) == ["Sqrt on /device:GPU:0"]


def test_what_xla_must_compile_is_found(tmp_path: Path) -> None:
    compiled = tf.function(tf.sqrt, jit_compile=True, autograph=False)
    assert portability.problems(saved(tmp_path, lambda x: compiled(x))) == ["functions compiled by XLA"]


def test_a_variable_that_only_python_restores_is_found(tmp_path: Path) -> None:
    """As when a Keras variable is saved as it is: Python's loader answers, a server fails at the first request."""
    weight = keras.Variable([2.0], name="weight")
    broken = saved(tmp_path / "broken", lambda x: x * weight, weight=weight)
    assert portability.problems(broken) == ["the variable weight, which only Python restores"]
    assert portability.problems(saved(tmp_path / "mended", lambda x: x * weight, weight=weight.value)) == []


def test_what_is_no_saved_model_is_said_to_be_broken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"saved_model.pb cannot be read .* written or copied in part"):
        portability.problems(tmp_path)
    file = tmp_path / "saved_model.pb"
    file.write_bytes(b"\xff\xff")
    with pytest.raises(ValueError, match=r"saved_model.pb cannot be read .* written or copied in part"):
        portability.operations(tmp_path)
    file.write_bytes(saved_model_pb2.SavedModel().SerializeToString())
    with pytest.raises(ValueError, match="holds no graph: the version was written or copied in part"):
        portability.operations(tmp_path)


def test_the_list_of_operations_has_the_text_s_and_none_of_python_s() -> None:
    known = portability.serving_operations()
    assert {"While", "RegexReplace", "SentencepieceOp", "TFText>Utf8Binarize", "LookupTableFindV2"} <= known
    assert not any(name.startswith(portability.FORBIDDEN) for name in known)
