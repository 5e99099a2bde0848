"""The files by which TF Serving warms up, batches and finds exports; in its own messages, text and TFRecord."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from nlp_rnn import folders, parity, signature_inputs
from nlp_rnn.config import ConfigError

WARM_UP, BATCHING, MODELS = "tf_serving_warmup_requests", "batching_params.pbtxt", "models.config"

_ALONE = 4
_TOGETHER = 16

_BATCHING = """\
# Read by TF Serving with --enable_batching --enable_per_model_batching_parameters.
# A larger request is refused: clients should send no more texts at once.
max_batch_size { value: 64 }
# A request waits no longer than this for others to come.
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 256 }
# Words of sentences that are split already; the lengths tell which of them are padding.
pad_variable_length_inputs: true
"""


def write_server_files(folder: Path, signatures: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> None:
    """Writes into an export what TF Serving reads beside the SavedModel.

    Args:
        folder: The version folder.
        signatures: Its signatures, live.
        samples: Held-out examples; a few sentences stand in if there are none.
    """
    extra = folder / "assets.extra"
    extra.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(extra / WARM_UP)) as writer:
        for request in _requests(signatures, signature_inputs.from_samples(samples)):
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
    (folder / BATCHING).write_text(_BATCHING, encoding="utf-8")


def write_models_config(
    models: str | Path, *, base_path: str | None = None, output: str | Path | None = None
) -> dict[str, str]:
    """Writes the list of all exported models below a folder, for TF Serving's `--model_config_file`.

    A model is called by its path below the folder, with - for /.

    Args:
        models: The folder, such as `saved_models`.
        base_path: Where the server finds the folder; as in this process, if not given.
        output: The file to write; `models.config` in the folder, if not given.

    Returns:
        Where the server finds each model, by name.

    Raises:
        ConfigError: There is no exported model, or two have one name.
    """
    models = Path(models)
    base = PurePosixPath(base_path or models.absolute())
    found: dict[str, str] = {}
    for folder in _exported(models):
        inside = folder.relative_to(models)
        name = "-".join(inside.parts) or folder.absolute().name
        if name in found:
            raise ConfigError(f"Two models below {models} would be called {name}: {found[name]}, {base / inside}.")
        found[name] = str(base / inside)
    if not found:
        raise ConfigError(f"There is no exported model below {models}; give a folder such as saved_models.")
    configs = [
        model_server_config_pb2.ModelConfig(name=name, base_path=path, model_platform="tensorflow")
        for name, path in found.items()
    ]
    listed = model_server_config_pb2.ModelConfigList(config=configs)
    message = model_server_config_pb2.ModelServerConfig(model_config_list=listed)
    text = text_format.MessageToString(message, as_utf8=True)
    folders.replace_file(Path(output) if output else models / MODELS, text)
    return found


def _requests(
    signatures: Mapping[str, Any], samples: Sequence[signature_inputs.Sample]
) -> Iterator[predict_pb2.PredictRequest]:
    """Gives each signature some examples alone, and more of them in a batch."""
    for name, function in signatures.items():
        specs = parity.specs_of(function)
        rows = [signature_inputs.arguments(specs, sample) for sample in samples[:_TOGETHER]]
        for chosen in (*([row] for row in rows[:_ALONE]), rows):
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = name
            for key, tensor in parity.tensors(specs, signature_inputs.batch(specs, chosen)).items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(tensor.numpy(), tensor.dtype))
            yield request


def _exported(models: Path) -> Iterator[Path]:
    """Gives the folders that hold numbered SavedModels, hidden ones left out."""
    for place, names, _ in os.walk(models):
        names[:] = sorted(name for name in names if not name.startswith("."))
        folder = Path(place)
        if any((folder / str(version) / "saved_model.pb").is_file() for version in folders.versions(folder)):
            names.clear()
            yield folder
