"""How long answers take and how large exports are, with a model's own held-out texts, one and 32 at a time.

"Predictor" is the package's own way to ask a SavedModel in Python. Beside it stand the bare call of the same SavedModel
with a tensor of texts (what `Predictor` adds is sorting, and reading the answer into Python objects); the same
SavedModel in TensorFlow's C++ runtime, in the C program of the tests; and a plain Keras network of the same sizes,
exported by `keras.Model.export`, which is given numbers looked up beforehand and answers with numbers, see
`serving_stock`. Exports in bfloat16 and float16, called barely, stand beside the one in float32.

The exports are made anew, not checked, and thrown away. A model takes about two minutes.

    python -m benchmarks serving --models saved_models/en-de saved_models/names
    python -m benchmarks.serving SECONDS DIR ...     # try it: so many seconds a batch size; figures are not kept
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.measuring import Result, Seconds, Timed, less_is_better, more_is_better

BATCHES = (1, 32)
WEIGHTS = ("float32", "bfloat16", "float16")
SECONDS = 35.0  # of measuring, for each batch size
LEAST, MOST = 20, 300  # turns
ROUNDS = 5
PERCENTILES = (50, 95, 99)
AGAINST = {
    "bare float32": "its SavedModel, called with a tensor",
    "c": "its SavedModel in the C program",
    "stock": "keras.Model.export, numbers in and out",
}
TEXTS = ("Two dogs are running across a green field.", "What is the name of this town?", "No.", "Anna lives in York.")


def measure(options: argparse.Namespace) -> list[Result]:
    """Measures the models that were named."""
    if not options.models:
        print("serving: left out, as --models names no model directory", file=sys.stderr)
    return [result for folder in options.models for result in _measure(folder.resolve(), SECONDS)]


def _measure(folder: Path, seconds: float) -> list[Result]:
    print(f"serving: {folder}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        kinds = ["work"] + ["c"] * (shutil.which("gcc") is not None)
        if "c" not in kinds:
            print("serving: the C program is left out, as there is no gcc to build it", file=sys.stderr)
        # The first one makes the exports that the second one loads.
        commands = [[sys.executable, "-m", "benchmarks.serving", kind, str(folder), scratch] for kind in kinds]
        with measuring.workers(commands) as running:
            sizes = {name: int(size) for name, size in running[0].versions.items()}
            taken = [(size, _time(running, size, seconds)) for size in BATCHES]
    against = dict(AGAINST)
    if json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))["family"] == "translator":
        against["stock"] = "keras.Model.export, one pass over given targets, no search"
    results = _sizes(folder.name, sizes)
    for size, found in taken:
        results += _latencies(folder.name, size, found, against)
    return results


def _time(running: Sequence[measuring.Worker], size: int, seconds: float) -> Seconds:
    """Times all that take batches of a size, as often as there is time for, the processes by turns."""
    started = time.perf_counter()
    for worker in running:
        worker.time(1, f" {size}")
    turns = int(seconds / (time.perf_counter() - started))
    repeats, found = -(-min(max(turns, LEAST), MOST) // ROUNDS), {}
    for _ in range(ROUNDS):
        for worker in running:
            time.sleep(measuring.PAUSE)
            for name, taken in worker.time(repeats, f" {size}").items():
                found.setdefault(name.removesuffix(f" {size}"), []).extend(taken)
    return found


def _latencies(model: str, size: int, found: Seconds, against: dict[str, str]) -> list[Result]:
    turns = len(found["predictor"])
    pairs = [("predictor", other, "", text) for other, text in against.items()]
    pairs += [(f"bare {weights}", "bare float32", f" {weights}", "float32, called alike") for weights in WEIGHTS[1:]]
    results = []
    for ours, theirs, what, text in pairs:
        if theirs not in found:
            continue
        for percent in PERCENTILES:
            one, other = (1000 * percentile(found[name], percent) for name in (ours, theirs))
            name = f"serving {model}{what}, batch {size}, p{percent} of {turns}"
            results.append(less_is_better(name, one, "ms", text, other))
        if not what:
            one, other = (size / statistics.mean(found[name]) for name in (ours, theirs))
            results.append(more_is_better(f"serving {model}, batch {size}", one, "texts/s", text, other))
    return results


def _sizes(model: str, sizes: dict[str, int]) -> list[Result]:
    """What the exports take on the disk, in units of a million bytes."""
    theirs = {name: "float32" for name in WEIGHTS[1:]} | ({"float32": "stock"} if "stock" in sizes else {})
    names = {"stock": "keras.Model.export", "float32": "float32"}
    return [
        less_is_better(f"size {model} {name}", sizes[name] / 1e6, "MB", names[other], sizes[other] / 1e6)
        for name, other in theirs.items()
    ]


def percentile(seconds: Sequence[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


# ---- What the worker in Python runs


def calls(folder: Path, scratch: Path) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """Makes the exports; returns what is timed, each call of which takes the next batch, and the exports' sizes."""
    import tensorflow as tf

    from benchmarks import serving_stock
    from nlp_rnn.serving import Predictor

    examples = _write_exports(folder, scratch)
    predictor = Predictor(scratch / "float32", batch_size=max(BATCHES))
    bare = {name: tf.saved_model.load(str(scratch / name)).signatures["serving_default"] for name in WEIGHTS}
    stored = _load(folder)
    stock = serving_stock.load(stored, scratch / "stock")
    if stock is None:
        print("serving: stock Keras has no such layers, and is left out", file=sys.stderr)
    found: dict[str, Callable[[], Any]] = {}
    for size in BATCHES:
        batches = [examples[start : start + size] for start in range(0, len(examples), size)]
        texts = [[_text(example) for example in batch] for batch in batches]
        found[f"predictor {size}"] = _by_turns(predictor.predict, texts)
        for name, function in bare.items():
            found[f"bare {name} {size}"] = _by_turns(function, [tf.constant(batch) for batch in texts])
        if stock is not None:
            found[f"stock {size}"] = _by_turns(stock[0], [stock[1](batch) for batch in batches])
    names = [*WEIGHTS, *(["stock"] if stock else [])]
    return found, {name: str(_size(scratch / name)) for name in names}


def _write_exports(folder: Path, scratch: Path) -> list[Any]:
    """Writes an export in each number format, and one batch's examples; returns the examples."""
    from nlp_rnn import export, server_files
    from nlp_rnn.jobs import ExportRun

    for weights in WEIGHTS:
        stored = _load(folder, weights)
        fixed = ExportRun(model=str(folder)).fixed(stored.config)
        module = export.build_module(stored, fixed)
        export.write_saved_model(module, scratch / weights, fixed)
        server_files.write_server_files(scratch / weights, module.signatures, stored.samples)
    examples = list(itertools.islice(itertools.cycle(stored.samples or TEXTS), max(BATCHES)))
    (scratch / "texts.json").write_text(json.dumps(list(map(_text, examples))), encoding="utf-8")
    return examples


def _load(folder: Path, weights: str = "float32") -> Any:
    import tensorflow as tf

    from nlp_rnn import store

    with tf.device("/CPU:0"):
        return store.load(folder, weights=weights)


def _by_turns(function: Callable[[Any], Any], batches: Sequence[Any]) -> Callable[[], Any]:
    endless = itertools.cycle(batches)
    return lambda: function(next(endless))


def _text(example: Any) -> str:
    if isinstance(example, str):
        return example
    found = next((example[column] for column in ("source", "text") if column in example), None)
    text = " ".join(example["tokens"]) if found is None else found
    return text.encode("utf-8", "replace").decode("utf-8")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


# ---- What the worker beside the C program runs


class _Program:
    """The C program of the tests, with an export loaded."""

    def __init__(self, version: Path, scratch: Path):
        sys.path.insert(0, str(measuring.ROOT / "tests"))
        import c_api_cases
        import tensorflow as tf
        import tensorflow_text
        from tensorflow.core.protobuf import saved_model_pb2

        (graph,) = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs
        self._signature, self._request = graph.signature_def["serving_default"], c_api_cases.request
        self._specs = {"text": tf.TensorSpec([None], tf.string, name="text")}
        program = c_api_cases.build(Path(tf.__file__).parent, scratch / "answer")
        self._process = subprocess.Popen(
            [program, version], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._write([*c_api_cases.libraries(Path(tensorflow_text.__file__).parent), "load"])

    def __call__(self, texts: list[str]) -> Timed:
        """Returns the seconds of one answer, as the program itself takes the time."""
        self._write([*self._request(self._signature, self._specs, {"text": texts}), "time"])
        assert self._process.stdout is not None
        return Timed(self._process.stdout.readline())

    def _write(self, lines: list[str]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{line}\n" for line in lines))
        self._process.stdin.flush()


def c_calls(scratch: Path) -> dict[str, Callable[[], Any]]:
    """Returns what is timed, as `calls` does."""
    program = _Program(scratch / "float32", scratch)
    texts = json.loads((scratch / "texts.json").read_text(encoding="utf-8"))
    return {
        f"c {size}": _by_turns(program, [texts[start : start + size] for start in range(0, len(texts), size)])
        for size in BATCHES
    }


def main() -> None:
    if sys.argv[1] == "work":
        measuring.serve(*calls(Path(sys.argv[2]), Path(sys.argv[3])))
    elif sys.argv[1] == "c":
        measuring.serve(c_calls(Path(sys.argv[3])), {})
    else:
        for folder in sys.argv[2:]:
            print(measuring.table(_measure(Path(folder).resolve(), float(sys.argv[1]))))


if __name__ == "__main__":
    main()
