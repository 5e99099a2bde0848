"""A stand-in for TF Serving: its two protocols over real sockets, its own messages, and real SavedModels behind them.

What it says and how it spells it follows TF Serving's sources: the paths, the formats by row and by column, how JSON
spells texts, bytes and float32, the errors and their status codes. It puts no requests together, but refuses those that
a server would with --enable_batching --enable_per_model_batching_parameters.

    python tests/serving_stub.py NAME=FOLDER ...      # prints its addresses and serves until its input ends
"""

import base64
import contextlib
import json
import math
import re
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  (its import registers the operations)
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(:predict|/metadata)")
_LARGEST = re.compile(r"^max_batch_size *\{ *value: *(\d+) *\}", re.MULTILINE)
_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400, grpc.StatusCode.NOT_FOUND: 404, grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.INTERNAL: 500,
}  # fmt: skip


class Failure(Exception):  # noqa: N818  (a status that is answered)
    """What is answered instead of a result."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code, self.message = code, message


def invalid(message: str) -> Failure:
    return Failure(grpc.StatusCode.INVALID_ARGUMENT, message)


def largest_request(version: Path) -> float:
    """Returns how many examples at once a server takes that batches as the version says."""
    file = version / "batching_params.pbtxt"
    found = _LARGEST.search(file.read_text()) if file.exists() else None
    return int(found[1]) if found else math.inf


class Models:
    """SavedModels by name and version.

    Args:
        folders: For each name a folder with numbered versions in it.
    """

    def __init__(self, folders: Mapping[str, Path]):
        self._loaded = {}
        self._signatures = {}
        self._largest = {}
        for name, folder in folders.items():
            for version in folder.iterdir():
                if version.name.isdecimal():
                    key = name, int(version.name)
                    self._largest[key] = largest_request(version)
                    self._loaded[key] = tf.saved_model.load(str(version)).signatures
                    content = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
                    self._signatures[key] = content.meta_graphs[0].signature_def

    def find(self, spec: model_pb2.ModelSpec) -> tuple[str, int]:
        wanted = spec.version.value if spec.HasField("version") else None
        found = [key for key in self._loaded if key[0] == spec.name and wanted in (None, key[1])]
        if not found:
            which = f"Latest({spec.name})" if wanted is None else f"Specific({spec.name}, {wanted})"
            raise Failure(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {which}")
        return max(found)

    def metadata(self, request: get_model_metadata_pb2.GetModelMetadataRequest) -> Any:
        key = self.find(request.model_spec)
        if list(request.metadata_field) != ["signature_def"]:
            raise invalid(f"Metadata field {list(request.metadata_field)} is not supported")
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name, answer.model_spec.version.value = key
        listed = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in self._signatures[key].items():
            listed.signature_def[name].CopyFrom(signature)
        answer.metadata["signature_def"].Pack(listed)
        return answer

    def inputs(self, spec: model_pb2.ModelSpec) -> Mapping[str, Any]:
        """Returns what a signature takes."""
        name = spec.signature_name or "serving_default"
        signatures = self._signatures[self.find(spec)]
        if name not in signatures:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        return signatures[name].inputs

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        if set(request.inputs) != set(self.inputs(request.model_spec)):
            raise invalid(f"input size does not match signature: {sorted(request.inputs)}")
        key, name = self.find(request.model_spec), request.model_spec.signature_name or "serving_default"
        tensors = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        size, largest = len(next(iter(tensors.values()))), self._largest[key]
        if size > largest:
            raise invalid(f"Task size {size} is larger than maximum input batch size {largest}")
        try:
            answer = self._loaded[key][name](**tensors)
        except tf.errors.OpError as error:
            raise invalid(error.message) from error
        except Exception as error:
            raise Failure(grpc.StatusCode.INTERNAL, str(error)) from error
        response = predict_pb2.PredictResponse()
        response.model_spec.name, response.model_spec.version.value = key
        for name, tensor in answer.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
        return response


class Stub:
    """Serves until it is closed.

    Args:
        models: What it offers.
        grpc_port, rest_port: 0 is any that is free.

    Attributes:
        faults: What the next requests meet, each one taken once: a `Failure`,
            bytes to answer instead of JSON, or seconds to wait.
        requests: How many requests came, those that failed too.
    """

    def __init__(self, models: Models, *, grpc_port: int = 0, rest_port: int = 0):
        self.models = models
        self.faults: deque[Failure | bytes | float] = deque()
        self.requests = 0
        self._lock = threading.Lock()
        self._grpc = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Service(self), self._grpc)
        self.grpc_port = self._grpc.add_insecure_port(f"localhost:{grpc_port}")
        self._grpc.start()
        self._rest = _RestServer(("localhost", rest_port), type("Handler", (_Handler,), {"stub": self}))
        self.rest_port = self._rest.server_port
        threading.Thread(target=self._rest.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def addresses(self) -> dict[str, str]:
        return {"rest": f"localhost:{self.rest_port}", "grpc": f"localhost:{self.grpc_port}"}

    def meet(self) -> bytes | None:
        """Counts a request and lets it meet the next fault."""
        with self._lock:
            self.requests += 1
            fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, Failure):
            raise fault
        if isinstance(fault, float):
            time.sleep(fault)
            return None
        return fault

    def close(self) -> None:
        self._grpc.stop(None).wait()
        self._rest.shutdown()
        self._rest.server_close()


class _Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, stub: Stub):
        self._stub = stub

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._answer(self._stub.models.predict, request, context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        return self._answer(self._stub.models.metadata, request, context)

    def _answer(self, function: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            self._stub.meet()
            return function(request)
        except Failure as failure:
            context.abort(failure.code, failure.message)


class _RestServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, *arguments: Any):
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Ends the connections too that clients keep open, as the end of a process does."""
        super().server_close()
        for request in list(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept
    disable_nagle_algorithm = True
    stub: Stub

    def do_GET(self) -> None:  # noqa: N802
        self._answer(b"")

    def do_POST(self) -> None:  # noqa: N802
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, body: bytes) -> None:
        status = 200
        try:
            content = self.stub.meet() or self._content(body)
        except Failure as failure:
            status, content = _HTTP_STATUS[failure.code], json.dumps({"error": failure.message}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _content(self, body: bytes) -> bytes:
        found = _PATH.fullmatch(self.path)
        if not found or (self.command == "POST") != (found[3] == ":predict"):
            raise invalid(f"Malformed request: {self.command} {self.path}")
        spec = model_pb2.ModelSpec(name=found[1])
        if found[2]:
            spec.version.value = int(found[2])
        if self.command == "GET":
            return _metadata(self.stub.models, spec)
        return _predict(self.stub.models, spec, body)


def _metadata(models: Models, spec: model_pb2.ModelSpec) -> bytes:
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
    return json_format.MessageToJson(models.metadata(request), preserving_proto_field_name=True).encode()


def _predict(models: Models, spec: model_pb2.ModelSpec, body: bytes) -> bytes:
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise invalid(f"JSON Parse error: {error}") from error
    spec.signature_name = asked.get("signature_name", "")
    request = predict_pb2.PredictRequest(model_spec=spec)
    taken = models.inputs(spec)
    by_row = "instances" in asked
    if by_row == ("inputs" in asked):
        raise invalid("Missing 'inputs' or 'instances' key")
    for name, values in (_rows if by_row else _columns)(asked, taken).items():
        dtype = tf.dtypes.as_dtype(taken[name].dtype)
        try:
            request.inputs[name].CopyFrom(tf.make_tensor_proto(_from_json(values), dtype))
        except (TypeError, ValueError) as error:
            raise invalid(f"JSON Value: {values} is not of expected type or shape: {error}") from error
    outputs = models.predict(request).outputs
    columns = {name: _to_json(name, tf.make_ndarray(tensor)) for name, tensor in outputs.items()}
    if by_row:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return _written({"predictions": rows if len(columns) > 1 else next(iter(columns.values()))})
    return _written({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})


def _rows(asked: Mapping[str, Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    rows = asked["instances"]
    if not isinstance(rows, list) or not rows:
        raise invalid("No values in 'instances' array")
    if not isinstance(rows[0], dict) or set(rows[0]) == {"b64"}:
        if len(taken) > 1:
            raise invalid("instances is a plain list, but expecting list of objects as multiple input tensors required")
        return {next(iter(taken)): rows}
    if any(set(row) != set(taken) for row in rows):
        raise invalid(f"keys must be equal to: {','.join(sorted(taken))}")
    return {name: [row[name] for row in rows] for name in taken}


def _columns(asked: Mapping[str, Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    columns = asked["inputs"]
    if not isinstance(columns, dict) or set(columns) == {"b64"}:
        if len(taken) > 1:
            raise invalid("inputs is a plain value/list, but expecting an object as multiple input tensors required")
        return {next(iter(taken)): columns}
    for name in taken:
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: columns[name] for name in taken}


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"], validate=True)
    return value.encode() if isinstance(value, str) else value


def _to_json(name: str, values: np.ndarray) -> Any:
    if values.dtype == np.float32:
        return _decimals(values.tolist(), values)
    if values.dtype != object:
        return values.tolist()
    return _texts(values.tolist(), as_bytes=name.endswith("_bytes"))


def _decimals(value: Any, single: Any) -> Any:
    """Six digits where they give the number back, else nine."""
    if isinstance(value, list):
        return [_decimals(*item) for item in zip(value, single, strict=True)]
    short = float(f"{value:g}")
    return short if np.float32(short) == single else float(f"{value:.9g}")


def _texts(value: Any, *, as_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_texts(item, as_bytes=as_bytes) for item in value]
    if as_bytes:
        return {"b64": base64.b64encode(value).decode()}
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise invalid("Failed to write JSON value for tensor type: string") from None


def _written(answer: Any) -> bytes:
    return json.dumps(answer, indent=4, ensure_ascii=False).encode()


def main() -> None:
    models = Models({name: Path(folder) for name, _, folder in (given.partition("=") for given in sys.argv[1:])})
    stub = Stub(models)
    print(json.dumps(stub.addresses), flush=True)
    sys.stdin.read()
    stub.close()


if __name__ == "__main__":
    main()
