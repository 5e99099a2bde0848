"""Whether a SavedModel runs wherever there is TensorFlow Serving: by the operations, devices and compilers it names."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

SERVER = "TensorFlow Serving 2.20"
# Written by `make compat`.
OPERATIONS_FILE = "serving_operations.txt"

# TensorFlow's Python package has these, and a server does not; or only where there is a GPU.
FORBIDDEN = ("Cudnn", "PyFunc", "EagerPyFunc", "NumpyFunc", "Xla")

# TensorFlow names the CPU, which every machine has, where a SavedModel's variables are read.
_DEVICES = ("", "/device:CPU:0", "/device:CPU:*")


def serving_operations() -> frozenset[str]:
    """Returns the names of the operations that `SERVER` can run on a CPU."""
    lines = resources.files("nlp_rnn").joinpath(OPERATIONS_FILE).read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def operations(folder: Path) -> set[str]:
    """Returns the names of all operations that a SavedModel holds, functions' included.

    Raises:
        ValueError: There is no SavedModel that can be read.
    """
    return {node.op for node, _ in _nodes(folder)}


def problems(folder: Path) -> list[str]:
    """Returns what would keep a SavedModel from running on every server.

    These are operations that `SERVER` does not have or that need Python, XLA
    or a GPU, devices other than the CPU, functions to be compiled by XLA, and
    variables that are restored by Python's loader alone.

    Raises:
        ValueError: There is no SavedModel that can be read.
    """
    known, found = serving_operations(), set()
    for node, functions in _nodes(folder):
        # What calls a function of the graph's own may bear that function's name.
        if node.op not in functions and (node.op not in known or node.op.startswith(FORBIDDEN)):
            found.add(node.op)
        if node.device not in _DEVICES:
            found.add(f"{node.op} on {node.device}")
        if _compiled(node):
            found.add("functions compiled by XLA")
    for graph in _graphs(folder):
        if any(_compiled(function) for function in graph.graph_def.library.function):
            found.add("functions compiled by XLA")
        found |= {f"the variable {name}, which only Python restores" for name in _unrestored(graph)}
    return sorted(found)


def _unrestored(graph: Any) -> set[str]:
    """Returns the variables that a server's way of loading, the graph's own restoring operation, leaves empty."""
    nodes = {node.name: node for node in graph.graph_def.node}
    held = {name for name, node in nodes.items() if node.op == "VarHandleOp"}
    restoring = nodes.get(graph.saver_def.restore_op_name)
    return held - {name.partition(":")[0] for name in restoring.input} if restoring is not None else held


def _graphs(folder: Path) -> list[Any]:
    file = folder / "saved_model.pb"
    try:
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except (FileNotFoundError, DecodeError) as error:
        raise ValueError(f"{file} cannot be read ({error}): the version was written or copied in part.") from error
    if not model.meta_graphs:
        raise ValueError(f"{file} holds no graph: the version was written or copied in part.")
    return list(model.meta_graphs)


def _nodes(folder: Path) -> Iterator[tuple[Any, frozenset[str]]]:
    """Gives every node of a SavedModel, with the names of the functions in its graph."""
    for graph in (meta.graph_def for meta in _graphs(folder)):
        names = frozenset(function.signature.name for function in graph.library.function)
        for node in graph.node:
            yield node, names
        for function in graph.library.function:
            for node in function.node_def:
                yield node, names


def _compiled(item: Any) -> bool:
    return "_XlaMustCompile" in item.attr and item.attr["_XlaMustCompile"].b
