"""What TF Serving reads beside an export: warm-up requests, batching, the list of models."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from google.protobuf import text_format
from pipeline_cases import Script, complaint, results
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from nlp_rnn import export, server_files
from nlp_rnn.config import ConfigError

Exported = Callable[[str], Path]


def requests(version: Path) -> list:
    """Reads what an export has a server warm up with."""
    records = tf.data.TFRecordDataset(str(version / "assets.extra" / server_files.WARM_UP))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    return [log.predict_log.request for log in logs]


def test_the_warm_up_asks_every_signature_for_held_out_examples(exported: Exported) -> None:
    version = exported("entities") / "1"
    signatures = tf.saved_model.load(str(version)).signatures
    asked = requests(version)
    assert {request.model_spec.signature_name for request in asked} == {"serving_default", "tokens"}
    sizes = []
    for request in asked:
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        signatures[request.model_spec.signature_name](**{name: tf.constant(value) for name, value in inputs.items()})
        sizes.append(len(next(iter(inputs.values()))))
    assert sizes == [1, 1, 1, 1, 4] * 2
    (first, *_) = asked
    assert tf.make_ndarray(first.inputs["text"]).tolist() == [b"Anna Smith lives in New York ."]


def test_without_samples_the_warm_up_holds_none_of_the_data(tmp_path: Path) -> None:
    function = tf.function(lambda text: text, input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    server_files.write_server_files(tmp_path, {"serving_default": function.get_concrete_function()}, ())
    texts = [text for request in requests(tmp_path) for text in tf.make_ndarray(request.inputs["text"])]
    assert texts[:2] == [b"Two dogs are running across a green field.", b"What is the name of this town?"]


def test_batching_is_described_beside_the_saved_model(exported: Exported) -> None:
    lines = (exported("letters") / "1" / "batching_params.pbtxt").read_text().splitlines()
    assert {"max_batch_size { value: 64 }", "pad_variable_length_inputs: true"} <= set(lines)


def make(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()


def test_all_models_below_a_folder_are_listed(run: Script, tmp_path: Path) -> None:
    for version in ("en-de/1", "en-de/2", "quick/tags/7", ".en-de.previous/1", "en-de/model/3"):
        make(tmp_path / version)
    (tmp_path / "unfinished" / "1").mkdir(parents=True)
    (result,) = results(run("server_config.py", "--models", tmp_path, "--base-path", "/models"))
    assert result["models"] == {"en-de": "/models/en-de", "quick-tags": "/models/quick/tags"}
    text = (tmp_path / "models.config").read_text(encoding="utf-8")
    message = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert [(item.name, item.base_path, item.model_platform) for item in message.model_config_list.config] == [
        ("en-de", "/models/en-de", "tensorflow"), ("quick-tags", "/models/quick/tags", "tensorflow"),
    ]  # fmt: skip
    make(tmp_path / "quick-tags" / "1")
    assert "Two models" in complaint(run("server_config.py", "--models", tmp_path))
    assert (tmp_path / "models.config").read_text(encoding="utf-8") == text


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no exported model below"):
        server_files.write_models_config(tmp_path)


def test_an_export_leaves_as_many_versions_as_it_is_told(exported: Exported, tmp_path: Path) -> None:
    model = shutil.copytree(exported("letters"), tmp_path / "model")
    for name in ("2", "3"):
        shutil.copytree(model / "1", model / name)
    with pytest.raises(ConfigError, match="keep must be at least 1: the newest version always stays, not 0"):
        export.export_model(model, keep=0)
    assert export.export_model(model, keep=2) == model / "4"
    assert sorted(path.name for path in model.iterdir()) == ["3", "4", "model"]
