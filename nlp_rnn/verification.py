"""What an export promises, checked on an export: the weights, parity, batch invariance, portability, edge inputs.

Driven by the signatures of the SavedModel, and so the same for every family.
"""

import logging
import os
import random
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  (its import registers the operations)

from nlp_rnn import edge_inputs, folders, parity, portability, signature_inputs, store
from nlp_rnn.config import ConfigError
from nlp_rnn.export import build_module, compare, read_settings
from nlp_rnn.families import family_of

_SAMPLES = 32
_BATCH_SIZES = (2, 5, 16)
# Words of the text that others are put beside, unless a held-out one is longer still.
_LONG = 120
_PROBLEMS_SHOWN = 5
_BEAM = 4

Functions = Mapping[str, Any]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: Its name.
        passed: Nothing is wrong.
        summary: What was compared.
        ties: Answers that differ between two of nearly equal scores, which is not wrong.
        problems: What is wrong, the first few of it.
    """

    check: str
    passed: bool
    summary: str
    ties: int
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What all checks of an export found.

    Attributes:
        version: The version folder.
        family: Of the model.
        findings: One a check.
    """

    version: str
    family: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Nothing is wrong."""
        return all(finding.passed for finding in self.findings)

    def report(self) -> str:
        """Returns the findings as lines to be read by people."""
        lines = [f"{self.version}, a {self.family}"]
        for finding in self.findings:
            ties = f" {finding.ties} ties of two scores." if finding.ties else ""
            verdict = "passed" if finding.passed else "NOT PASSED"
            lines.append(f"{verdict:<12}{finding.check:<18}{finding.summary}.{ties}")
            lines += [f"{'':<12}- {problem}" for problem in finding.problems]
        lines.append(
            "All checks are passed." if self.passed else "The export is not what it should be: export it again."
        )
        return "\n".join(lines)


class _Tally:
    """Counts what a check compares, and keeps what is wrong."""

    def __init__(self, tolerance: float = parity.TOLERANCE) -> None:
        self.compared, self.ties = 0, 0
        self.tolerance = tolerance
        self.problems: list[str] = []

    def compare(self, name: str, example: parity.Row, expected: parity.Row, found: parity.Row, others: Any) -> None:
        self.compared += 1
        if parity.equal(expected, found, tolerance=self.tolerance):
            return
        if parity.near_tie(expected, found, others, tolerance=self.tolerance):
            self.ties += 1
        else:
            self.problems.append(parity.difference(name, example, expected, found, tolerance=self.tolerance))

    def finding(self, check: str, summary: str) -> Finding:
        shown, further = self.problems[:_PROBLEMS_SHOWN], len(self.problems) - _PROBLEMS_SHOWN
        more = [f"and {further} more"] if further > 0 else []
        return Finding(check=check, passed=not shown, summary=summary, ties=self.ties, problems=(*shown, *more))


def verify(path: str | Path, *, version: int | None = None, python: str | None = None) -> Verification:
    """Checks an export against the stored model it was made of, and against what every export promises.

    Args:
        path: The model directory.
        version: The export's number; the newest, if not given.
        python: The interpreter that answers for the SavedModel in the parity
            check, such as one with TensorFlow in a server's version.

    Raises:
        ConfigError: No model directory, no such version, or no such interpreter.
    """
    folder, interpreter = _version_folder(Path(path), version), _interpreter(python)
    # As the gate at export: the parity check's other process sees no GPU either.
    with tf.device("/CPU:0"):
        stored = store.load(path, weights=_weights(folder))
        samples = signature_inputs.from_samples(stored.samples[:_SAMPLES])
        checks: list[tuple[str, Callable[[], Finding]]] = [
            ("portability", lambda: check_portability(folder)),
            ("weights", lambda: check_weights(folder, stored)),
            ("parity", lambda: _check_parity(folder, stored, samples, interpreter)),
            ("batch invariance", lambda: _check_invariance(folder, stored, samples)),
            ("edge inputs", lambda: _check_edges(folder)),
        ]
        findings = tuple(_found(name, check) for name, check in checks)
    return Verification(version=str(folder), family=family_of(stored.config).name, findings=findings)


def check_portability(folder: Path) -> Finding:
    """Compares a SavedModel's operations with those that servers have, see `portability`."""
    tally, kinds = _Tally(), portability.operations(folder)
    tally.problems += [f"it holds {problem}" for problem in portability.problems(folder)]
    return tally.finding("portability", f"{len(kinds)} kinds of operations, against those of {portability.SERVER}")


def check_weights(folder: Path, stored: store.StoredModel) -> Finding:
    """Compares every trained number of a SavedModel with the stored model's in the same format, bit by bit."""
    tally, reader = _Tally(), tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    exported = {
        name: reader.get_tensor(name) for name, kind in reader.get_variable_to_dtype_map().items() if kind.is_floating
    }
    trained = [value for value in stored.network.get_weights() if tf.as_dtype(value.dtype).is_floating]
    known = {_content(value) for value in trained}
    for name, value in exported.items():
        if _content(value) not in known:
            variable = name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
            tally.problems.append(f"{variable}, of shape {value.shape}, is not as in the stored model")
    for shape, *_ in known - {_content(value) for value in exported.values()}:
        tally.problems.append(f"a weight of the stored model, of shape {shape}, is not in it")
    numbers = sum(value.size for value in exported.values())
    stored_in = stored.network.variable_dtype
    return tally.finding("weights", f"{numbers:,} numbers in {stored_in}, against those of the stored model")


def _content(value: np.ndarray) -> tuple[tuple[int, ...], str, bytes]:
    return value.shape, str(value.dtype), value.tobytes()


def check_invariance(
    searches: Sequence[Functions], samples: Sequence[signature_inputs.Sample], *, tolerance: float = parity.TOLERANCE
) -> Finding:
    """Compares each answer to an example alone with those to it in batches.

    The batches are of several sizes, shuffled, each with and without a much
    longer example in it.

    Args:
        searches: Signatures by name, once for each way in which the model can search for its answer.
        samples: Examples.
        tolerance: How far numbers may be apart, see `parity.TOLERANCES`.
    """
    tally = _Tally(tolerance)
    longest = max(samples, key=lambda sample: len(sample["text"]))["text"].split() or ["a"]
    (long,) = signature_inputs.from_texts([" ".join(longest * (1 + _LONG // len(longest)))])
    everything = [*samples, *signature_inputs.from_texts(signature_inputs.EDGES), long]
    for functions in searches:
        alone = {name: _answers(functions[name], [[sample] for sample in everything]) for name in functions}
        others = alone.get("n_best", [{}] * len(everything))
        for name, function in functions.items():
            specs = parity.specs_of(function)
            for order in _batches(len(everything)):
                rows = _answers(function, [[everything[place] for place in order]])
                for place, row in zip(order, rows, strict=True):
                    given = signature_inputs.arguments(specs, everything[place])
                    tally.compare(name, given, alone[name][place], row, others[place])
    return tally.finding("batch invariance", f"{tally.compared:,} answers in batches, against those to texts alone")


def check_edges(functions: Functions) -> Finding:
    """Asks every signature what no model was trained with: empty batches, blank, broken and endless texts, all scripts.

    Args:
        functions: Signatures as loaded from a SavedModel.
    """
    tally = _Tally()
    cases = {"a batch of size 0": [], **edge_inputs.named_texts()}
    for name, function in functions.items():
        specs = parity.specs_of(function)
        for case, texts in cases.items():
            tally.compared += len(texts) or 1
            samples = signature_inputs.from_texts(texts)
            rows = [signature_inputs.arguments(specs, sample) for sample in samples]
            inputs = signature_inputs.batch(specs, rows)
            try:
                answer = parity.call(function, inputs)
            except tf.errors.OpError as error:
                tally.problems.append(f"{name} of {case} fails: {str(error)[:300]}")
                continue
            found = edge_inputs.answer_problems(function.structured_outputs, inputs, answer)
            tally.problems += [f"{name} of {case}: {problem}" for problem in found]
    return tally.finding("edge inputs", f"{tally.compared} texts of {len(cases)} kinds")


def _found(name: str, check: Callable[[], Finding]) -> Finding:
    """Runs a check; that a SavedModel cannot be read or loaded at all is a finding as well."""
    _log.info("Checking %s ...", name)
    try:
        return check()
    except (tf.errors.OpError, OSError, ValueError, KeyError, RuntimeError) as error:
        tally = _Tally()
        tally.problems.append(" ".join(str(error).split())[:1000])
        return tally.finding(name, "could not be checked")


def _check_parity(
    folder: Path, stored: store.StoredModel, samples: Sequence[signature_inputs.Sample], python: str | None
) -> Finding:
    """Compares a SavedModel in a process of its own with the stored model, see `parity.check`."""
    # The functions live no longer than the module that they belong to; so it is with those of a SavedModel.
    tally, module = _Tally(), build_module(stored, read_settings(folder)[1])
    try:
        tally.ties = compare(folder, module, samples, python=python)
    except parity.ParityError as error:
        tally.problems.append(str(error))
    names = ", ".join(module.signatures)
    return tally.finding("parity", f"{len(samples)} texts and edges through {names}, against the stored model")


def _check_invariance(folder: Path, stored: store.StoredModel, samples: Sequence[signature_inputs.Sample]) -> Finding:
    """Checks all signatures of an export and, where texts are searched for, the search that it does not use."""
    model, (_, fixed) = tf.saved_model.load(str(folder)), read_settings(folder)
    searches: list[Functions] = [model.signatures]
    if "beam_size" in fixed:
        other = {"beam_size": 1 if fixed["beam_size"] > 1 else _BEAM}
        module = build_module(stored, {**fixed, **other})
        searches.append({name: module.signatures[name] for name in ("serving_default", "n_best")})
    return check_invariance(searches, samples, tolerance=parity.TOLERANCES[stored.network.compute_dtype])


def _check_edges(folder: Path) -> Finding:
    model = tf.saved_model.load(str(folder))
    return check_edges(model.signatures)


def _answers(function: Any, batches: Iterable[Sequence[signature_inputs.Sample]]) -> list[parity.Row]:
    specs = parity.specs_of(function)
    given = ([signature_inputs.arguments(specs, sample) for sample in samples] for samples in batches)
    return [row for rows in given for row in parity.ask(function, signature_inputs.batch(specs, rows))]


def _batches(count: int) -> Iterable[list[int]]:
    """Gives batches of places, shuffled, with and without the last one, which is the longest."""
    generator = random.Random(1)
    for size in (*_BATCH_SIZES, count):
        order = list(range(count - 1))
        generator.shuffle(order)
        for number, start in enumerate(range(0, len(order), size)):
            chosen = order[start : start + size]
            yield [*chosen, count - 1] if number % 2 == 0 else chosen


def _weights(folder: Path) -> str:
    """Returns the number format of a version's weights; where that cannot be read, the checks will tell."""
    try:
        return read_settings(folder)[0]
    except (OSError, ValueError, AttributeError):
        return "float32"


def _interpreter(python: str | None) -> str | None:
    found = None if python is None else shutil.which(python)
    if python is not None and found is None:
        raise ConfigError(f"python must be a Python interpreter, and {python} is no program; give its path.")
    # The other process runs in a folder of its own.
    return found and os.path.abspath(found)


def _version_folder(path: Path, version: int | None) -> Path:
    store.read_config(path)  # says what is wrong with a folder that is no model directory
    known = folders.versions(path)
    if not known:
        raise ConfigError(f"{path} holds no export; make one by pipelines/export.py --model {path}.")
    if version is not None and version not in known:
        raise ConfigError(f"version must be one of {', '.join(map(str, known))}, which {path} holds, not {version}.")
    return path / str(known[-1] if version is None else version)
