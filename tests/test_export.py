"""Exports: what they hold, what they answer in a bare process, and what the gate refuses."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small_exports
import tensorflow as tf
from small_exports import SOURCES

from nlp_rnn import export, folders, parity, signature_inputs, store, verification
from nlp_rnn.config import ConfigError
from nlp_rnn.jobs import ExportRun
from nlp_rnn.models.tagging import TaggingModule
from nlp_rnn.models.translation import TranslationModule

OVERRIDES = {"beam_size": 2, "maximum_length": 12, "n_best": 2}


@pytest.fixture(scope="module")
def model(exported: Callable[..., Path]) -> Path:
    """A model directory with one export, whose search is not the model's own."""
    return exported("letters")


@pytest.fixture(scope="module")
def module(model: Path) -> TranslationModule:
    """What was exported; its network has been through a step of training, which XLA compiles."""
    stored = store.load(model)
    batch = {
        "source": tf.constant([[4, 5, 3]]), "source_mask": tf.ones([1, 3], tf.bool),
        "target": tf.constant([[4, 3]]), "target_mask": tf.ones([1, 2], tf.bool),
    }  # fmt: skip
    with tf.GradientTape() as tape:
        loss, _ = stored.network.loss_sum(batch, label_smoothing=0.1, training=True)
    assert all(gradient is not None for gradient in tape.gradient(loss, stored.network.trainable_variables))
    return export.build_module(stored, ExportRun(model=str(model), **OVERRIDES).fixed(stored.config))


def test_an_export_is_a_saved_model_and_its_settings(model: Path) -> None:
    assert sorted(os.listdir(model)) == ["1", "model"]
    files = {str(file.relative_to(model / "1")) for file in (model / "1").rglob("*") if file.is_file()}
    assert files == {
        "saved_model.pb", "fingerprint.pb", "variables/variables.index", "variables/variables.data-00000-of-00001",
        "assets.extra/settings.json", "assets.extra/tf_serving_warmup_requests", "batching_params.pbtxt",
    }  # fmt: skip
    assert json.loads((model / "1" / "assets.extra" / "settings.json").read_text()) == {
        "weights": "float32", "beam_size": 2, "length_penalty": 1.0, "coverage_penalty": 0.0, "minimum_length": 0,
        "maximum_length": 12, "maximum_length_ratio": 2.0, "n_best": 2,
    }  # fmt: skip


def test_the_signatures_are_as_documented(model: Path) -> None:
    loaded = tf.saved_model.load(str(model / "1"))
    found = {}
    for name, function in loaded.signatures.items():
        positional, named = function.structured_input_signature
        assert positional == ()
        assert {key: (spec.dtype, tuple(spec.shape), spec.name) for key, spec in named.items()} == {
            "text": (tf.string, (None,), "text")
        }
        found[name] = {key: (spec.dtype, tuple(spec.shape)) for key, spec in function.structured_outputs.items()}
    b = None
    best = {"translation": (tf.string, (b,)), "score": (tf.float32, (b,)), "truncated": (tf.bool, (b,))}
    assert found == {
        "serving_default": best,
        "n_best": {
            "translations": (tf.string, (b, 2)), "scores": (tf.float32, (b, 2)), "truncated": (tf.bool, (b,)),
        },
        "explain": {
            **best,
            "source_tokens": (tf.string, (b, None)), "source_lengths": (tf.int32, (b,)),
            "target_tokens": (tf.string, (b, None)), "target_lengths": (tf.int32, (b,)),
            "attention": (tf.float32, (b, None, None)),
        },
    }  # fmt: skip


# A client's machine: TensorFlow, TensorFlow Text, and nothing of ours.
CLIENT = """
import importlib.abc, json, sys

class Nothing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("nlp_rnn", "sentencepiece"):
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Nothing())
import tensorflow as tf
import tensorflow_text

signatures = tf.saved_model.load(sys.argv[1]).signatures
answers = []
for batch in json.load(sys.stdin):
    texts = tf.constant([text.encode("utf-8", "surrogateescape") for text in batch], tf.string)
    answers.append({name: {key: (list(value.shape), value.numpy().tolist()) for key, value in f(text=texts).items()}
                    for name, f in signatures.items()})
assert not {"nlp_rnn", "sentencepiece"} & set(sys.modules)
print(json.dumps(answers, default=bytes.decode))
"""


def test_it_answers_like_the_model_where_nothing_else_is_installed(model: Path, module: TranslationModule) -> None:
    batches = [[*SOURCES, "", "a\udcffb", "abc " * 10_000], ["a"], []]
    done = subprocess.run(
        [sys.executable, "-I", "-c", CLIENT, str(model / "1")], input=json.dumps(batches), capture_output=True,
        text=True, cwd="/", timeout=300, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for batch, answer in zip(batches, answers, strict=True):
        texts = tf.constant([text.encode("utf-8", "surrogateescape") for text in batch], tf.string)
        for name, function in module.signatures.items():
            for key, expected in function(texts).items():
                shape, values = answer[name][key]
                assert shape == expected.shape
                if expected.dtype == tf.float32:
                    np.testing.assert_allclose(np.reshape(values, shape), expected, rtol=1e-5, atol=1e-5)
                else:
                    decoded = np.array([value.encode() if expected.dtype == tf.string else value
                                        for value in np.ravel(values).tolist()], object)  # fmt: skip
                    assert decoded.reshape(shape).tolist() == expected.numpy().tolist()
    full, one, none = (answer["serving_default"] for answer in answers)
    assert full["truncated"][1] == [False, False, False, False, False, False, True]
    assert full["translation"][1][0] != full["translation"][1][4] == ""
    assert (one["score"][0], none["score"]) == ([1], [[0], []])


def test_the_gate_refuses_other_weights_and_leaves_the_versions_before(
    model: Path, module: TranslationModule, tmp_path: Path
) -> None:
    """Saved, then changed by a hundredth: no longer the same model."""
    model = shutil.copytree(model, tmp_path / "model")
    before = {file: file.read_bytes() for file in (model / "1").rglob("*") if file.is_file()}
    kernel = module.network.decoder.output_kernel
    value = kernel.numpy()

    def write(folder: Path) -> None:
        export.write_saved_model(module, folder, OVERRIDES)
        export.check_operations(folder)  # the compiled training stays outside
        kernel.assign(value * 1.01)
        export.check_parity(folder, module, [{"source": text} for text in SOURCES])

    try:
        with pytest.raises(export.ExportError, match=r"Export refused: serving_default of .*'abc'.* gives .*score -"):
            folders.add_version(model, write)
    finally:
        kernel.assign(value)
    assert sorted(os.listdir(model)) == ["1", "model"]
    assert before == {file: file.read_bytes() for file in (model / "1").rglob("*") if file.is_file()}


def test_a_model_that_has_diverged_is_not_exported(tmp_path: Path) -> None:
    small_exports.store_letters(tmp_path, spread=float("nan"))
    with pytest.raises(export.ExportError, match="holds weights that are NaN or infinite: its training diverged"):
        export.export_model(tmp_path)
    assert os.listdir(tmp_path) == ["model"]


def test_settings_that_contradict_each_other_are_refused(model: Path) -> None:
    with pytest.raises(ConfigError, match="minimum_length must be between 0 and maximum_length"):
        export.export_model(model, minimum_length=21)
    with pytest.raises(ConfigError, match="There is no folder"):
        export.export_model(model / "nothing")
    assert sorted(os.listdir(model)) == ["1", "model"]


@pytest.fixture(scope="module")
def tagger(exported: Callable[..., Path]) -> Path:
    """A tagger's model directory with one export."""
    return exported("entities")


@pytest.fixture(scope="module")
def tagging_module(tagger: Path) -> TaggingModule:
    return export.build_module(store.load(tagger), {"maximum_length": 6})


def test_a_tagger_is_exported_with_its_settings(tagger: Path, tagging_module: TaggingModule) -> None:
    assert json.loads((tagger / "1" / "assets.extra" / "settings.json").read_text()) == {
        "weights": "float32", "maximum_length": 6,
    }  # fmt: skip
    loaded = tf.saved_model.load(str(tagger / "1"))
    assert set(loaded.signatures) == {"serving_default", "tokens"}
    texts = tf.constant(["Anna lives in New York, in Ohio.", ""])
    answer = loaded.signatures["serving_default"](text=texts)
    assert answer["lengths"].numpy().tolist() == [6, 0]
    assert answer["truncated"].numpy().tolist() == [True, False]
    for name, value in tagging_module.signatures["serving_default"](texts).items():
        if value.dtype == tf.float32:
            np.testing.assert_allclose(answer[name], value, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(answer[name], value, err_msg=name)


def test_the_gate_refuses_a_tagger_with_other_weights(tagger: Path, tagging_module: TaggingModule) -> None:
    kernel = tagging_module.network.emission.kernel
    value = kernel.numpy()
    kernel.assign(value * 1.01)
    try:
        with pytest.raises(export.ExportError, match="Export refused: serving_default of .* gives .*scores "):
            export.check_parity(tagger / "1", tagging_module, store.load(tagger).samples)
    finally:
        kernel.assign(value)


def test_settings_of_another_family_are_refused(tagger: Path) -> None:
    with pytest.raises(ConfigError, match="beam_size: a tagger has no such setting"):
        export.export_model(tagger, beam_size=2)
    assert sorted(os.listdir(tagger)) == ["1", "model"]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("letters", "bfloat16"),
        pytest.param("subwords", "float16", marks=pytest.mark.slow),
        ("entities", "float16"),
        ("opinions", "bfloat16"),
    ],
)
def test_an_export_in_16_bits_answers_as_the_network_in_that_format(tmp_path: Path, name: str, weights: str) -> None:
    """Other weights are refused if numbers are more than eight binary digits apart; verify.py compares the weights."""
    model = small_exports.write_stored(name, tmp_path / "model")
    stored, exact = store.load(model, weights=weights), store.load(model)
    fixed = ExportRun(model=str(model)).fixed(stored.config)
    module = export.build_module(stored, fixed)
    export.write_saved_model(module, tmp_path / "1", fixed)
    export.check_operations(tmp_path / "1")
    assert export.read_settings(tmp_path / "1") == (weights, fixed)
    assert verification.check_weights(tmp_path / "1", stored).passed
    assert not verification.check_weights(tmp_path / "1", exact).passed
    live, loaded = module.signatures, tf.saved_model.load(str(tmp_path / "1"))
    for signature, calls in signature_inputs.calls(live, signature_inputs.from_samples(stored.samples)).items():
        for inputs in calls:
            answers = (parity.ask(functions[signature], inputs) for functions in (live, loaded.signatures))
            for mine, theirs in zip(*answers, strict=True):
                assert parity.equal(mine, theirs), parity.difference(signature, {}, mine, theirs)
    matrices = [weight for weight in module.network.trainable_variables if weight.shape[1:]]
    matrices[-1].assign(2 * matrices[-1])
    with pytest.raises(export.ExportError, match=r"Export refused: .* gives "):
        export.check_parity(tmp_path / "1", module, stored.samples)


@pytest.mark.parametrize("weights", ["bfloat16", "float16"])
def test_weights_are_rounded_to_the_format_and_take_half_the_room(tmp_path: Path, weights: str) -> None:
    model = small_exports.write_stored("opinions", tmp_path)
    exact, rounded = store.load(model).network, store.load(model, weights=weights).network
    matrices = [place for place, weight in enumerate(exact.weights) if weight.shape[1:] and weight.dtype == "float32"]
    halves = [place for place in matrices if rounded.weights[place].dtype == weights]
    assert {exact.weights[place].name for place in set(matrices) - set(halves)} == {"score", "bias"}
    for place in halves:
        expected = tf.cast(tf.cast(exact.weights[place].value, weights), tf.float32)
        np.testing.assert_array_equal(tf.cast(rounded.weights[place].value, tf.float32), expected)
    room = [sum(value.nbytes for value in network.get_weights()) for network in (exact, rounded)]
    assert room[1] < 0.6 * room[0]


def test_weights_beyond_the_range_of_a_format_are_not_exported_in_it(tmp_path: Path) -> None:
    small_exports.store_letters(tmp_path, spread=1e5)
    with pytest.raises(ConfigError, match="not float16, whose range they exceed: give float32 or bfloat16"):
        export.export_model(tmp_path, weights="float16")
    with pytest.raises(ConfigError, match="weights must be one of float32, bfloat16, float16, not 'half'"):
        export.export_model(tmp_path, weights="half")
    assert os.listdir(tmp_path) == ["model"]


def test_a_sentencepiece_model_is_stored_once(tmp_path: Path) -> None:
    stored = store.load(small_exports.write_stored("subwords", tmp_path / "model"))
    fixed = ExportRun(model=str(tmp_path)).fixed(stored.config)
    export.write_saved_model(export.build_module(stored, fixed), tmp_path / "1", fixed)
    assert (tmp_path / "1" / "saved_model.pb").read_bytes().count(stored.text.source.model) == 1


def cudnn(inputs: tf.Tensor) -> tf.Tensor:
    state = tf.zeros([1, tf.shape(inputs)[1], 2])
    lengths = tf.ones([tf.shape(inputs)[1]], tf.int32)
    parameters = tf.zeros([48])
    return tf.raw_ops.CudnnRNNV3(
        input=inputs, input_h=state, input_c=state, params=parameters, sequence_lengths=lengths
    ).output


def python(inputs: tf.Tensor) -> tf.Tensor:
    return tf.py_function(lambda x: x, [inputs], tf.float32)


def on_a_gpu(inputs: tf.Tensor) -> tf.Tensor:
    with tf.device("/GPU:0"):
        return inputs + 1.0


def in_a_loop(inputs: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, tf.numpy_function(lambda y: y, [x], tf.float32)),
                         (0, inputs), shape_invariants=(tf.TensorShape([]), tf.TensorShape(None)))[1]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (cudnn, "CudnnRNNV3"),
        (python, "EagerPyFunc"),
        (in_a_loop, "PyFunc"),
        (tf.function(lambda inputs: inputs + 1.0, jit_compile=True), "compiled by XLA"),
        (on_a_gpu, "AddV2 on /device:GPU:0"),
    ],
    ids=["cudnn", "python", "in a loop", "xla", "gpu"],
)
def test_what_would_not_run_everywhere_is_refused(
    tmp_path: Path, body: Callable[[tf.Tensor], tf.Tensor], message: str
) -> None:
    module = tf.Module()
    module.function = tf.function(body, input_signature=[tf.TensorSpec([None, None, 2])], autograph=False)
    tf.saved_model.save(module, str(tmp_path), signatures=module.function)
    with pytest.raises(export.ExportError, match=f"would not run everywhere: it holds .*{message}"):
        export.check_operations(tmp_path)


def test_room_is_asked_for_beforehand_so_that_the_error_says_why(tmp_path: Path) -> None:
    small_exports.store_letters(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            export.export_model(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == ["model"]
