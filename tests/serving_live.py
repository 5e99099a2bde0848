"""Clients against a real TF Serving, which is not started here; not among the tests that run by default.

    docker run --rm -p 8500:8500 -p 8501:8501 -v "$PWD/saved_models/en-de:/models/en-de" -e MODEL_NAME=en-de \\
        tensorflow/serving:2.20.0
    SERVING_REST=localhost:8501 SERVING_GRPC=localhost:8500 SERVED_MODEL=saved_models/en-de \\
        python -m pytest tests/serving_live.py

The model's name is that of its directory. Answers are compared with the `Predictor`'s of the newest version there.
"""

import os
from pathlib import Path

import pytest
import serving_cases as cases

from nlp_rnn.clients import GrpcClient, RestClient, ServingError
from nlp_rnn.serving import Predictor

CLIENTS = {"SERVING_REST": RestClient, "SERVING_GRPC": GrpcClient}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    if "SERVED_MODEL" not in os.environ:
        pytest.skip("SERVED_MODEL does not name the directory of the model that the server offers")
    return Predictor(os.environ["SERVED_MODEL"], batch_size=3)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, predictor: Predictor) -> RestClient | GrpcClient:
    if request.param not in os.environ:
        pytest.skip(f"{request.param} does not give the server's address")
    model = Path(os.environ["SERVED_MODEL"]).resolve().name
    return CLIENTS[request.param](os.environ[request.param], model=model, batch_size=3)


def test_answers_are_the_predictor_s(client: RestClient | GrpcClient, predictor: Predictor) -> None:
    found, expected = cases.answers(client), cases.answers(predictor)
    assert client.family == predictor.family
    for method, results in expected.items():
        for mine, theirs in zip(results, found[method], strict=True):
            assert cases.close(mine, theirs), (method, mine, theirs)


def test_an_unknown_version_is_named(client: RestClient | GrpcClient) -> None:
    client = type(client)(client.address, model=client.model, version=10**9)
    with pytest.raises(ServingError, match="is not there"):
        client.predict(["a"])
