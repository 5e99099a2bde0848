"""Clients of TF Serving that answer as `nlp_rnn.Predictor` does, with the same objects.

`RestClient` needs neither TensorFlow nor anything else of this package but
`answers`. `GrpcClient` needs TensorFlow and the messages of TF Serving, which
are imported when a client is made.

A client asks the server once, when it is first used, for the model's
signatures, and knows from them which family it is of. Clients may be used by
several threads at once.
"""

import base64
import json
import time
from abc import abstractmethod
from array import array
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote, urlsplit

import urllib3

from nlp_rnn.answers import Client, Signature, padded
from nlp_rnn.retries import Retry, TimeLeft

# The most that gRPC takes from a service configuration, the first attempt left out.
_MOST_RETRIES = 4
# Seconds; from retry to retry it doubles.
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_PORTS = "REST is usually at port 8501 and gRPC at port 8500"
# What TF Serving says of a request beyond its max_batch_size.
_TOO_MANY = "larger than maximum input batch size"


class ServingError(RuntimeError):
    """A server cannot be reached, or does not answer the request."""


class _ServerClient(Client):
    """What the two clients share: the model's name, its signatures, and what errors say.

    Raises:
        ValueError: An argument is out of its range.
    """

    _refusal = ServingError

    def __init__(
        self,
        address: str,
        *,
        model: str,
        version: int | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        batch_size: int = 64,
    ):
        super().__init__(batch_size=batch_size)
        if not model:
            raise ValueError("model must be the name under which the server offers it, not ''.")
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout}.")
        if not 0 <= retries <= _MOST_RETRIES:
            raise ValueError(f"retries must be between 0 and {_MOST_RETRIES}, not {retries}.")
        self.address = address
        self.model = model
        self.version = version
        self._timeout = timeout
        self._known: Mapping[str, Signature] | None = None
        self._closed = False
        self._prepare(retries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections to the server; nothing more can be asked."""
        self._closed = True
        self._disconnect()

    @abstractmethod
    def _disconnect(self) -> None:
        """Closes the connections to the server."""

    @abstractmethod
    def _prepare(self, retries: int) -> None:
        """Gets ready to connect to the address, if it can be one; nothing is sent yet."""

    @abstractmethod
    def _ask_signatures(self) -> Mapping[str, Signature]:
        """Asks the server for the model's signatures."""

    def _signatures(self) -> Mapping[str, Signature]:
        if self._closed:
            raise ValueError(f"The client of the model {self.model} at {self.address} is closed: make a new one.")
        if self._known is None:
            # What TensorFlow runs when it loads a model is listed too, as "__saved_model_init_op".
            self._known = {
                name: signature for name, signature in self._ask_signatures().items() if not name.startswith("__")
            }
        return self._known

    def _model_name(self) -> str:
        version = "" if self.version is None else f", version {self.version},"
        return f"The model {self.model}{version} at {self.address}"

    def _unreachable(self, reason: object) -> ServingError:
        return ServingError(
            f"No model server at {self.address} takes the request ({reason}). Start it, or give its address: {_PORTS}. "
            "If it runs, it has too much to do: send fewer texts at once, or later."
        )

    def _too_slow(self) -> ServingError:
        return ServingError(
            f"{self._model_name()} did not answer within {self._timeout:g} seconds. "
            "Give a longer timeout, or fewer texts at once by a smaller batch_size."
        )

    def _unknown(self, message: str) -> ServingError:
        return ServingError(
            f"{self._model_name()} is not there: {message}. "
            "Give the name and the version that the server was started with, or wait until it has loaded the model."
        )

    def _failed(self, message: str) -> ServingError:
        advice = ". Give this client no larger a batch_size than that." if _TOO_MANY in message else ""
        return ServingError(f"{self._model_name()} answers with an error: {message}{advice}")


class RestClient(_ServerClient):
    """Answers with a model that TF Serving offers by REST.

    Args:
        address: Where the server is: `localhost:8501`, or a URL such as `https://example.org/serving`.
        model: The name under which the server offers the model.
        version: The version; None is the newest one there.
        timeout: Seconds to wait for the answer to one batch, retries included.
        retries: Further attempts, at growing intervals, when the server
            cannot be reached, has too much to do, or does not have the model
            (it may be loading it): 0 to 4, within about 3 seconds.
        batch_size: Texts sent to the server at once; one that batches as
            exports' `batching_params.pbtxt` say takes no more than 64. They are
            put together by length; the results come in the order of the texts.

    Raises:
        ValueError: An argument is out of its range; of every method: the client is closed.
        ServingError: Of every method: the server cannot be reached, does not
            answer in time, has no such model, or answers with an error; or
            the model's family does not have the method.
    """

    def _prepare(self, retries: int) -> None:
        url = self.address if "://" in self.address else f"http://{self.address}"
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"address must be like localhost:8501 or https://example.org/serving, not {self.address!r}."
            )
        chosen = "" if self.version is None else f"/versions/{self.version}"
        self._url = f"{url.rstrip('/')}/v1/models/{quote(self.model, safe='')}{chosen}"
        self._connections = urllib3.PoolManager(maxsize=16)
        self._retries = Retry(
            total=retries,
            allowed_methods=None,  # all of them: asking a model twice changes nothing
            # A server that is loading a model does not know it yet.
            status_forcelist=(404, 502, 503),
            backoff_factor=_FIRST_PAUSE,
            backoff_max=_LONGEST_PAUSE,
            respect_retry_after_header=False,
            raise_on_status=False,
        )

    def _disconnect(self) -> None:
        self._connections.clear()

    def _ask_signatures(self) -> Mapping[str, Signature]:
        answer = self._request("GET", "/metadata")
        signatures = self._part(answer, "metadata", "signature_def", "signature_def")
        return {
            name: Signature(inputs=tuple(signature.get("inputs", {})), outputs=tuple(signature.get("outputs", {})))
            for name, signature in signatures.items()
        }

    def _call(self, signature: str, inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        body = {
            "signature_name": signature,
            "inputs": {name: _to_json(padded(values)) for name, values in inputs.items()},
        }
        columns = self._part(self._request("POST", ":predict", body), "outputs")
        return {name: _in_single_precision(values) for name, values in columns.items()}

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        deadline = time.monotonic() + self._timeout
        limits: dict[str, Any] = {"retries": self._retries.until(deadline), "timeout": TimeLeft(deadline)}
        try:
            response = self._connections.request(method, self._url + path, json=body, **limits)
        except urllib3.exceptions.ReadTimeoutError:
            raise self._too_slow() from None
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(getattr(error, "reason", None) or error) from error
        if response.status == 200:
            try:
                return response.json()
            except ValueError:
                raise self._not_ours(response.data) from None
        message = _message(response.data)
        if response.status == 404:
            raise self._unknown(message)
        raise self._failed(f"{response.status}, {message}")

    def _part(self, answer: Any, *names: str) -> Any:
        found = answer
        for name in names:
            if not isinstance(found, dict) or not isinstance(found.get(name), dict):
                raise self._not_ours(json.dumps(answer).encode())
            found = found[name]
        return found

    def _not_ours(self, data: bytes) -> ServingError:
        return ServingError(
            f"{self.address} does not answer as TF Serving's REST API: {_shown(data)}. Give its address: {_PORTS}."
        )


class GrpcClient(_ServerClient):
    """Answers with a model that TF Serving offers by gRPC, not encrypted.

    Args:
        address: Where the server is: `localhost:8500`.
        model: The name under which the server offers the model.
        version: The version; None is the newest one there.
        timeout: Seconds to wait for the answer to one batch, retries included.
        retries: Further attempts, at growing intervals, when the server
            cannot be reached, has too much to do, or does not have the model
            (it may be loading it): 0 to 4, within about 3 seconds.
        batch_size: Texts sent to the server at once; one that batches as
            exports' `batching_params.pbtxt` say takes no more than 64. They are
            put together by length; the results come in the order of the texts.

    Raises:
        ValueError: An argument is out of its range; of every method: the client is closed.
        ServingError: Of every method: the server cannot be reached, does not
            answer in time, has no such model, or answers with an error; or
            the model's family does not have the method.
    """

    def _prepare(self, retries: int) -> None:
        if not self.address or "://" in self.address:
            raise ValueError(f"address must be like localhost:8500, not {self.address!r}.")
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._channel = grpc.insecure_channel(self.address, options=_channel_options(retries))
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def _disconnect(self) -> None:
        self._channel.close()

    def _ask_signatures(self) -> Mapping[str, Signature]:
        from tensorflow_serving.apis import get_model_metadata_pb2 as messages

        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        answer = self._request(self._service.GetModelMetadata, request)
        signatures = messages.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return {
            name: Signature(inputs=tuple(signature.inputs), outputs=tuple(signature.outputs))
            for name, signature in signatures.signature_def.items()
        }

    def _call(self, signature: str, inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        for name, values in inputs.items():
            dtype = tf.int32 if isinstance(values[0], int) else tf.string
            request.inputs[name].CopyFrom(tf.make_tensor_proto(padded(values), dtype))
        answer = self._request(self._service.Predict, request)
        return {name: tf.make_ndarray(tensor).tolist() for name, tensor in answer.outputs.items()}

    def _request(self, method: Any, request: Any) -> Any:
        import grpc

        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            code, message = error.code(), error.details()
        if code == grpc.StatusCode.UNAVAILABLE:
            raise self._unreachable(message)
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            raise self._too_slow()
        if code == grpc.StatusCode.NOT_FOUND:
            raise self._unknown(message)
        raise self._failed(f"{code.name}, {message}")


def _channel_options(retries: int) -> list[tuple[str, Any]]:
    """Returns gRPC's options: answers of any size, and retries."""
    policy = {
        "maxAttempts": retries + 1,
        "initialBackoff": f"{_FIRST_PAUSE}s",
        "maxBackoff": f"{_LONGEST_PAUSE}s",
        "backoffMultiplier": 2,
        # A server that is loading a model does not know it yet.
        "retryableStatusCodes": ["UNAVAILABLE", "NOT_FOUND"],
    }
    methods = {"name": [{"service": "tensorflow.serving.PredictionService"}], "retryPolicy": policy}
    return [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # A retry should find a server that has come back meanwhile, and not gRPC still waiting to connect.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        *([("grpc.service_config", json.dumps({"methodConfig": [methods]}))] if retries else []),
    ]


def _to_json(value: Any) -> Any:
    """Spells bytes as TF Serving reads them: text as it is, other bytes in base64."""
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode("ascii")}


def _in_single_precision(value: Any) -> Any:
    """Rounds decimal numbers to float32: the server writes enough digits to get the model's very number back."""
    if not isinstance(value, list) or not value:
        return value
    if isinstance(value[0], float):
        return array("f", value).tolist()
    return [_in_single_precision(item) for item in value]


def _message(data: bytes) -> str:
    """Reads the error in an answer; some of TF Serving's, and all that stands between, is no valid JSON."""
    try:
        return str(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        return _shown(data)


def _shown(data: bytes) -> str:
    return repr(data.decode("utf-8", "replace").strip()[:500])
