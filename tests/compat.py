"""Exports run in the versions of TensorFlow and TensorFlow Text that the newest released TF Serving holds.

    python tests/compat.py .venv-compat/bin/python        # `make compat`

Writes the list of operations that exports are checked against, and compares
what a tiny model of each family answers there, in Python and in a C program,
with what it answers here.
"""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import c_api_cases
import small_exports

from nlp_rnn import command_line, portability, verification

# Run over there. What has no kernel for a CPU cannot run on every server, and the Python functions on none.
_LIST = """
import glob, os, sys
import tensorflow as tf
import tensorflow_text
from tensorflow.python.framework import kernels, op_def_registry

for library in glob.glob(os.path.join(os.path.dirname(tensorflow_text.__file__), "python", "*", "_*.so")):
    tf.load_op_library(library)
found = kernels.get_all_registered_kernels().kernel
names = {kernel.op for kernel in found if kernel.device_type in ("CPU", "DEFAULT")}
forbidden = tuple(sys.argv[1:])
found = sorted(name for name in names if op_def_registry.get(name) and not name.startswith(forbidden))
print(f"# Operations of tensorflow-cpu {tf.__version__} and tensorflow-text {tensorflow_text.__version__}, which")
print("# TensorFlow Serving 2.20 is built from, that have a kernel for the CPU. Written by `make compat`.")
print(*found, sep="\\n")
"""


def write_operations(python: str, file: Path) -> int:
    """Writes the operations that an environment has, one a line, and returns how many they are."""
    done = subprocess.run([python, "-c", _LIST, *portability.FORBIDDEN], check=True, capture_output=True, text=True)
    file.write_text(done.stdout, encoding="utf-8")
    return sum(not line.startswith("#") for line in done.stdout.splitlines())


def package(python: str, name: str) -> Path:
    """Returns the folder of a package in an environment."""
    program = f"import importlib.util; print(importlib.util.find_spec({name!r}).origin)"
    done = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip()).parent


def main() -> None:
    (python,) = sys.argv[1:]
    file = Path(portability.__file__).with_name(portability.OPERATIONS_FILE)
    print(f"{file.name}: {write_operations(python, file)} operations")
    tensorflow, tensorflow_text = (package(python, name) for name in ("tensorflow", "tensorflow_text"))
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        program = c_api_cases.build(tensorflow, Path(folder, "answer"))
        halves = itertools.product(("letters", "entities", "opinions"), ("bfloat16", "float16"))
        for name, weights in (*((name, "float32") for name in small_exports.STORED), *halves):
            model = small_exports.write(name, Path(folder, f"{name} {weights}"), weights=weights)
            found = verification.verify(model, python=python)
            print(f"{name} in {weights}:\n{found.report()}", flush=True)
            passed = passed and found.passed
            c_api_cases.compare(program, Path(found.version), tensorflow_text, weights=weights)
            print("The C program answers as Python does.", flush=True)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    command_line.run(main)
