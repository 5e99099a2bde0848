"""Clients of TF Serving against a stand-in that speaks its protocols: `Predictor`'s answers, and errors that help."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import serving_cases as cases
import tensorflow as tf
import urllib3
from serving_stub import Failure, Models, Stub

from nlp_rnn import clients, server_files
from nlp_rnn.clients import GrpcClient, RestClient, ServingError
from nlp_rnn.serving import Predictor

CLIENTS = {"rest": RestClient, "grpc": GrpcClient}
# What a server says that has too much to do, and one that has not loaded the model yet.
OVERLOADED = Failure(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full")
LOADING = Failure(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(letters)")

Open = Callable[..., RestClient | GrpcClient]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    cases.save(cases.translation_module(), folder / "letters" / "2")
    cases.save(cases.tagging_module(), folder / "names" / "1")
    cases.save(cases.pair_classification_module(), folder / "pairs" / "1")
    other = tf.Module()
    other.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([None])], autograph=False)
    tf.saved_model.save(other, str(folder / "other" / "1"), signatures=other.double)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> Models:
    return Models(folders)


@pytest.fixture
def stub(models: Models) -> Iterator[Stub]:
    running = Stub(models)
    yield running
    running.close()


@pytest.fixture(params=CLIENTS)
def opened(request: pytest.FixtureRequest, stub: Stub) -> Iterator[Open]:
    """Makes clients of the stub, of one protocol and then of the other."""
    made = []

    def open_client(model: str = "letters", **changes: object) -> RestClient | GrpcClient:
        made.append(CLIENTS[request.param](stub.addresses[request.param], model=model, **changes))
        return made[-1]

    yield open_client
    for client in made:
        client.close()


@pytest.mark.parametrize("model", ["letters", "names", "pairs"])
def test_every_client_gives_the_predictor_s_objects(folders: dict[str, Path], stub: Stub, model: str) -> None:
    predictor = Predictor(folders[model], batch_size=3)
    expected = cases.answers(predictor)
    for protocol, kind in CLIENTS.items():
        with kind(stub.addresses[protocol], model=model, version=int(predictor.folder.name), batch_size=3) as client:
            assert client.family == predictor.family
            assert cases.answers(client) == expected


def test_types_are_python_s_own(opened: Open) -> None:
    with opened() as translator:
        (found,) = translator.explain(["abc"])
    assert [type(value) for value in (found.translation.text, found.translation.score)] == [str, float]
    assert type(found.translation.truncated) is bool
    assert {type(weight) for row in found.attention for weight in row} == {float}
    with opened("names") as tagger:
        (tagging,) = tagger.predict(["Anna Smith"])
    assert [type(value) for value in (tagging.tokens[0].tag, tagging.tokens[0].start)] == [str, int]


def test_nothing_is_sent_for_no_texts(opened: Open, stub: Stub) -> None:
    client = opened()
    assert client.predict([]) == []
    assert stub.requests == 1  # for the signatures


def test_several_threads_may_share_a_client(opened: Open) -> None:
    client = opened(batch_size=2)
    expected = client.predict(cases.TEXTS)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: client.predict(cases.TEXTS), range(12)))
    assert found == [expected] * 12


def test_what_is_overloaded_or_loads_the_model_is_asked_again(opened: Open, stub: Stub) -> None:
    client = opened(retries=2)
    expected = client.predict(["abc"])
    stub.faults.extend([OVERLOADED, LOADING])
    assert client.predict(["abc"]) == expected
    assert stub.requests == 1 + 1 + 3


@pytest.mark.parametrize("fault", [OVERLOADED, LOADING], ids=["overloaded", "loading"])
@pytest.mark.parametrize("retries", [0, 1])
def test_retries_come_to_an_end(opened: Open, stub: Stub, retries: int, fault: Failure) -> None:
    stub.faults.extend([fault] * 3)
    with pytest.raises(ServingError, match=re.escape(fault.message)):
        opened(retries=retries).predict(["abc"])
    assert stub.requests == retries + 1


def test_a_server_that_is_overloaded_is_not_taken_for_one_that_is_not_there(stub: Stub) -> None:
    stub.faults.append(OVERLOADED)
    with (
        GrpcClient(stub.addresses["grpc"], model="letters", retries=0) as client,
        pytest.raises(ServingError, match=r"If it runs, it has too much to do: send fewer texts at once, or later\."),
    ):
        client.predict(["abc"])


@pytest.fixture
def hangs_up() -> Iterator[str]:
    """The address of a server that ends each connection after 0.4 seconds, without an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    time.sleep(0.4)
                    connection.close()

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        serving.join()


def test_the_timeout_is_for_all_attempts_together(hangs_up: str) -> None:
    start = time.monotonic()
    with (
        RestClient(hangs_up, model="letters", timeout=0.6, retries=4) as client,
        pytest.raises(ServingError, match=r"did not answer within 0\.6 seconds"),
    ):
        client.predict(["abc"])
    assert time.monotonic() - start < 1.5  # five attempts would take 4.8


def test_what_is_too_large_for_the_server_s_batches_is_refused_with_advice(
    opened: Open, stub: Stub, folders: dict[str, Path]
) -> None:
    (folders["letters"] / "2" / server_files.BATCHING).write_text(server_files._BATCHING)
    stub.models = Models({"letters": folders["letters"]})
    assert len(opened(batch_size=64).predict(["abc"] * 65)) == 65
    with pytest.raises(ServingError, match="Task size 65 is larger than .* size 64.* no larger a batch_size"):
        opened(batch_size=65).predict(["abc"] * 65)


def test_a_closed_client_says_so(opened: Open) -> None:
    client = opened()
    client.close()
    with pytest.raises(ValueError, match=r"client of the model letters at localhost:\d+ is closed: make a new one"):
        client.predict(["abc"])


def test_what_takes_too_long_is_given_up_and_not_repeated(opened: Open, stub: Stub) -> None:
    client = opened(timeout=1)
    client.predict([])
    stub.faults.append(4.0)
    start = time.monotonic()
    with pytest.raises(ServingError, match=r"model letters at localhost:\d+ did not answer within 1 seconds. Give a"):
        client.predict(["abc"])
    assert time.monotonic() - start < 3
    assert stub.requests == 2


def test_a_server_that_is_gone_is_named_and_found_again_when_it_is_back(
    opened: Open, stub: Stub, models: Models
) -> None:
    client = opened(retries=1)
    expected = client.predict(["abc"])
    stub.close()
    start = time.monotonic()
    with pytest.raises(ServingError, match=rf"No model server at {client.address} takes the request \(.+\). Start it"):
        client.predict(["abc"])
    assert time.monotonic() - start < 10
    again = Stub(models, grpc_port=stub.grpc_port, rest_port=stub.rest_port)
    try:
        assert client.predict(["abc"]) == expected
    finally:
        again.close()


def test_an_unknown_model_or_version_is_named(opened: Open) -> None:
    with pytest.raises(ServingError, match=r"model wrong at localhost:\d+ is not there: .*Latest\(wrong\).* Give the"):
        opened("wrong", retries=0).predict(["abc"])
    with pytest.raises(ServingError, match=r"letters, version 9, at .* is not there: .*Specific\(letters, 9\)"):
        opened(version=9, retries=0).predict(["abc"])


def test_the_server_s_own_message_is_passed_on(opened: Open, stub: Stub) -> None:
    client = opened()
    client.predict([])
    stub.faults.append(Failure(grpc.StatusCode.INTERNAL, "out of cheese"))
    with pytest.raises(ServingError, match="model letters at localhost:.* answers with an error: .*out of cheese"):
        client.predict(["abc"])


def test_what_a_family_has_not_and_what_is_no_family_is_refused(opened: Open) -> None:
    with pytest.raises(ServingError, match=r"model names at localhost:\d+ is a tagger, which has no signature n_best"):
        opened("names").n_best(["Anna"])
    with pytest.raises(ServingError, match=r"model pairs at localhost:\d+ reads pairs of texts: give pairs"):
        opened("pairs").predict(["a"])
    with pytest.raises(
        ServingError, match=r"model other at .* no model of this package: its signatures are \['serving_default'\]"
    ):
        opened("other").predict(["Anna"])


def test_the_other_protocol_s_port_is_no_server(stub: Stub) -> None:
    with (
        RestClient(stub.addresses["grpc"], model="letters", retries=0) as client,
        pytest.raises(ServingError, match="REST is usually at port 8501"),
    ):
        client.predict(["abc"])
    with (
        GrpcClient(stub.addresses["rest"], model="letters", retries=0) as client,
        pytest.raises(ServingError, match="gRPC at port 8500"),
    ):
        client.predict(["abc"])


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"metadata": {}}'])
def test_another_server_s_answer_is_shown(stub: Stub, content: bytes) -> None:
    stub.faults.append(content)
    with (
        RestClient(f"http://{stub.addresses['rest']}/", model="letters") as client,
        pytest.raises(ServingError, match="does not answer as TF Serving's REST API: ") as caught,
    ):
        client.predict(["abc"])
    assert content.decode() in str(caught.value)


def test_errors_need_not_be_json() -> None:
    """TF Serving escapes messages as C does, which JSON does not know."""
    assert clients._message(b'{ "error": "caf\\303\\251" }') == repr('{ "error": "caf\\303\\251" }')
    assert clients._message(b'{"error": "gone"}') == "gone"


def test_only_what_is_no_text_is_sent_in_base64() -> None:
    sent = clients._to_json([["é".encode(), b"\xff"], [b"", b"a\0"]])
    assert sent == [["é", {"b64": "/w=="}], ["", "a\0"]]


def test_decimals_become_the_float32_they_stand_for() -> None:
    third = clients._in_single_precision([[0.333333343]])[0][0]
    assert third == 11184811 / 2**25  # the float32 next to a third
    assert clients._in_single_precision([[], [1, 2], ["a"], [True]]) == [[], [1, 2], ["a"], [True]]


def test_the_rest_client_needs_no_tensorflow(stub: Stub) -> None:
    program = (
        "import sys, nlp_rnn; client = nlp_rnn.RestClient(sys.argv[1], model='letters')\n"
        "print(client.predict(['abc'])[0].text); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, stub.addresses["rest"]],
        capture_output=True, encoding="utf-8", check=True, timeout=60, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    text, loaded = done.stdout.splitlines()
    assert text
    assert set(loaded.split()) & {"tensorflow", "tensorflow_text", "keras", "grpc", "numpy"} == set()


def test_impossible_arguments_are_refused() -> None:
    for kind, address in ((RestClient, "ftp://x"), (RestClient, ""), (GrpcClient, "http://x:8500"), (GrpcClient, "")):
        with pytest.raises(ValueError, match="address must be like"):
            kind(address, model="x")
    for wrong in ({"model": ""}, {"timeout": 0}, {"retries": 5}, {"retries": -1}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
            RestClient("localhost", **{"model": "x", **wrong})


def test_the_stand_in_answers_by_row_as_by_column(stub: Stub) -> None:
    url = f"http://{stub.addresses['rest']}/v1/models/names/versions/1:predict"
    rows = [{"tokens": ["Anna", "Smith"], "lengths": 2}, {"tokens": ["York", ""], "lengths": 1}]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    by_row = urllib3.request("POST", url, json={"signature_name": "tokens", "instances": rows}).json()["predictions"]
    by_column = urllib3.request("POST", url, json={"signature_name": "tokens", "inputs": columns}).json()["outputs"]
    assert by_row == [dict(zip(by_column, row, strict=True)) for row in zip(*by_column.values(), strict=True)]
    assert set(by_column) == {"tags", "scores", "lengths", "truncated"}
    wrong = urllib3.request("POST", url, json={"signature_name": "nothing", "inputs": columns}, retries=False)
    assert (wrong.status, json.loads(wrong.data)["error"][:22]) == (400, "Serving signature name")
