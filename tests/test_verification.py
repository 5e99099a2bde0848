"""What the check of an export finds: nothing in a good one, and what is wrong in one that was broken."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_exports
import tensorflow as tf
from pipeline_cases import Script, complaint, results

from nlp_rnn import export, jobs, parity, signature_inputs, store, verification
from nlp_rnn.verification import Finding, Verification

CHECKS = ["portability", "weights", "parity", "batch invariance", "edge inputs"]
Exported = Callable[..., Path]


def found(done: Any) -> dict[str, Any]:
    return {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}


@pytest.mark.parametrize(
    ("name", "weights"), [("entities", "float32"), pytest.param("letters", "bfloat16", marks=pytest.mark.slow)]
)
def test_a_good_export_passes_every_check(run: Script, exported: Exported, name: str, weights: str) -> None:
    done = run("verify.py", "--model", exported(name, weights), "--json")
    (result,) = results(done)
    family = {"entities": "tagger", "letters": "translator"}[name]
    assert (result["passed"], result["family"]) == (True, family)
    assert result["version"] == str(exported(name, weights) / "1")
    assert f"numbers in {weights}, against those of" in result["findings"][1]["summary"]
    assert [finding["check"] for finding in result["findings"]] == CHECKS
    assert all(finding["passed"] and not finding["problems"] for finding in result["findings"])


def perturb(folder: Path) -> None:
    """Changes one number of an export's variables, and leaves the file well-formed."""
    prefix = str(folder / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    name = next(name for name, value in sorted(values.items()) if "kernel" in name and np.ndim(value) == 2)
    values[name][0, 0] += 0.5
    names = sorted(values)
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names),
        tensors=[tf.constant(values[name]) for name in names],
    )  # fmt: skip


def test_one_changed_weight_is_reported_by_the_weights_and_by_the_answers(
    run: Script, exported: Exported, tmp_path: Path
) -> None:
    model = shutil.copytree(exported("entities"), tmp_path / "model")
    perturb(model / "1")
    done = run("verify.py", "--model", model)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"{model / '1'}, a tagger"
    (changed,) = [line for line in lines if "is not as in the stored model" in line]
    assert "kernel" in changed
    assert [line.split()[2] for line in lines if line.startswith("NOT PASSED")] == ["weights", "parity"]
    assert any("gives" in line and "scores" in line for line in lines)
    assert lines[-1] == "The export is not what it should be: export it again."


@pytest.mark.parametrize("broken", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_damaged_file_is_a_finding(exported: Exported, tmp_path: Path, broken: str) -> None:
    model = shutil.copytree(exported("entities"), tmp_path / "model")
    file = model / "1" / broken
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :: 7] = bytes(len(content[len(content) // 2 :: 7]))
    file.write_bytes(content)
    stored = store.load(model)
    checks = [
        verification._found("portability", lambda: verification.check_portability(model / "1")),
        verification._found("weights", lambda: verification.check_weights(model / "1", stored)),
    ]
    assert not all(check.passed for check in checks)
    assert all(check.problems or check.passed for check in checks)


def test_a_version_copied_in_part_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    check = verification._found("portability", lambda: verification.check_portability(tmp_path / "2"))
    assert not check.passed
    assert "saved_model.pb cannot be read" in check.problems[0]
    assert "the version was written or copied in part" in check.problems[0]


def test_what_is_no_export_is_the_user_s_error(run: Script, exported: Exported, tmp_path: Path) -> None:
    message = complaint(run("verify.py", "--model", exported("entities"), "--version", "7"))
    assert "version must be one of 1, which" in message
    message = complaint(run("verify.py", "--model", exported("entities"), "--python", "no/python"))
    assert "python must be a Python interpreter, and no/python is no program" in message
    shutil.copytree(exported("entities") / "model", tmp_path / "model")
    assert "holds no export; make one by pipelines/export.py" in complaint(run("verify.py", "--model", tmp_path))
    assert "There is no folder" in complaint(run("verify.py", "--model", tmp_path / "nothing"))


SAMPLES = signature_inputs.from_texts(["abc", "dead beef", "a"])


def test_greedy_and_beam_search_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    small_exports.store_letters(tmp_path / "model")
    stored, searches, modules = store.load(tmp_path / "model"), [], []
    for size in (1, 3):
        fixed = jobs.ExportRun(model="m", beam_size=size).fixed(stored.config)
        modules.append(export.build_module(stored, fixed))
        searches.append({"serving_default": modules[-1].signatures["serving_default"]})
    check = verification.check_invariance(searches, SAMPLES)
    assert (check.passed, check.problems) == (True, ())
    # Of eight examples seven are shuffled into batches of 2, 5, 16 and 8; the longest is in every other batch.
    assert check.summary == f"{2 * (9 + 8 + 8 + 8)} answers in batches, against those to texts alone"


def signature(tmp_path: Path, body: Callable[[tf.Tensor], dict[str, tf.Tensor]]) -> Any:
    """Returns a loaded SavedModel with one signature."""
    module = tf.Module()
    module.answer = tf.function(body, input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.answer})
    return tf.saved_model.load(str(tmp_path))


def test_an_answer_that_depends_on_the_batch_is_found(tmp_path: Path) -> None:
    def body(text: tf.Tensor) -> dict[str, tf.Tensor]:
        lengths = tf.cast(tf.strings.length(text), tf.float32)
        return {"score": lengths - tf.reduce_mean(lengths), "text": text}

    model = signature(tmp_path, body)
    check = verification.check_invariance([model.signatures], SAMPLES)
    assert not check.passed
    assert "serving_default of {'text': " in check.problems[0]
    assert "gives score" in check.problems[0]
    assert check.problems[-1].startswith("and ")


def test_a_choice_between_equals_is_counted_as_a_tie(tmp_path: Path) -> None:
    def body(text: tf.Tensor) -> dict[str, tf.Tensor]:
        alone = tf.equal(tf.shape(text)[0], 1)
        return {
            "label": tf.where(alone, tf.fill(tf.shape(text), "a"), tf.fill(tf.shape(text), "b")),
            "score": tf.fill(tf.shape(text), 0.5),
        }

    model = signature(tmp_path, body)
    check = verification.check_invariance([model.signatures], SAMPLES)
    assert check.passed
    assert check.ties > 0


def test_only_the_choice_may_differ_in_a_tie_of_another_family() -> None:
    live = {"label": "a", "score": 0.5, "probabilities": [0.5, 0.5]}
    assert parity.near_tie(live, {**live, "label": "b"}, {})
    assert not parity.near_tie(live, {**live, "label": "b", "score": 0.6}, {})
    assert not parity.near_tie(live, live, {})
    assert not parity.near_tie({"completion": "a"}, {"completion": "b"}, {})


def test_a_model_that_edge_inputs_break_is_found(tmp_path: Path) -> None:
    def body(text: tf.Tensor) -> dict[str, tf.Tensor]:
        letters = tf.cast(tf.strings.length(text), tf.float32)
        starts = tf.ones_like(text, tf.int32)[:, tf.newaxis]
        return {
            "score": 1 / letters - 1 / letters,  # NaN of an empty text
            "echo": text,
            "starts": starts,
            "ends": starts + 2,
            "lengths": starts[:, 0],
            "best": tf.strings.reduce_join(text[:1], axis=0, keepdims=True),  # of the batch, not of the text
        }

    model = signature(tmp_path, body)
    check = verification.check_edges(model.signatures)
    assert not check.passed
    problems = " ".join(check.problems)
    assert "serving_default of an empty text: score is NaN or infinite" in problems
    assert "best has the shape (1,) for 0 examples" in problems or "best has the shape (1,) for 4 examples" in problems


def test_the_report_says_what_is_wrong_and_what_was_compared() -> None:
    good = Finding(check="parity", passed=True, summary="8 texts", ties=2, problems=())
    bad = Finding(check="edge inputs", passed=False, summary="9 texts", ties=0, problems=("it fails",))
    verification = Verification(version="m/1", family="tagger", findings=(good, bad))
    assert verification.report().splitlines() == [
        "m/1, a tagger",
        "passed      parity            8 texts. 2 ties of two scores.",
        "NOT PASSED  edge inputs       9 texts.",
        "            - it fails",
        "The export is not what it should be: export it again.",
    ]
    assert not verification.passed
