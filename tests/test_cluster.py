"""TF_CONFIG, well formed or not, and workers that meet, or do not: threads of this process stand for them."""

import json
import re
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from nlp_rnn.cluster import Cluster, LostWorkerError, lost_worker, meet, read_cluster, silent
from nlp_rnn.config import ConfigError

TWO = ["10.0.0.1:2222", "10.0.0.2:2222"]


def tf_config(cluster: Any, task: Any) -> str:
    return json.dumps({"cluster": cluster, "task": task})


def test_workers_are_numbered_as_they_are_listed() -> None:
    found = read_cluster(tf_config({"worker": TWO}, {"type": "worker", "index": 1}))
    assert found == Cluster(addresses=tuple(TWO), index=1)
    assert found.peers == [0]


def test_a_chief_is_the_first_worker() -> None:
    jobs = {"worker": TWO, "chief": ["[::1]:2222"]}
    assert read_cluster(tf_config(jobs, {"type": "chief", "index": 0})).index == 0
    found = read_cluster(tf_config(jobs, {"type": "worker", "index": 0}))
    assert found == Cluster(addresses=("[::1]:2222", *TWO), index=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "multi-worker needs TF_CONFIG in the environment of each worker"),
        ("", "multi-worker needs TF_CONFIG"),
        ("{worker}", "TF_CONFIG must be JSON, as .*, not '{worker}'"),
        ("[]", r"TF_CONFIG must be a JSON object, and is \[\]"),
        ("{}", "cluster in TF_CONFIG must be a JSON object, and is missing"),
        (tf_config({}, {"type": "worker", "index": 0}), "must list the addresses of the workers"),
        (tf_config({"worker": []}, {"type": "worker", "index": 0}), "must list the addresses of the workers"),
        (tf_config({"worker": "a:1"}, {"type": "worker", "index": 0}), 'must be a list of HOST:PORT, not "a:1"'),
        (tf_config({"worker": ["a"]}, {"type": "worker", "index": 0}), "must be a list of HOST:PORT"),
        (tf_config({"worker": ["a:0"]}, {"type": "worker", "index": 0}), "must be a list of HOST:PORT"),
        (tf_config({"worker": ["a:1", "a:1"]}, {"type": "worker", "index": 0}), "names an address twice"),
        (tf_config({"worker": TWO, "ps": ["a:1"]}, {"type": "ps", "index": 0}), "may hold worker, and a chief, not ps"),
        (tf_config({"worker": TWO}, None), "task in TF_CONFIG must be a JSON object, and is missing"),
        (tf_config({"worker": TWO}, {"type": "evaluator", "index": 0}), "must be worker, .*, not 'evaluator'"),
        (tf_config({"worker": TWO}, {"index": 0}), "must be worker, .*, not None"),
        (tf_config({"worker": TWO}, {"type": "worker"}), "list of worker, 0 to 1, not None"),
        (tf_config({"worker": TWO}, {"type": "worker", "index": 2}), "list of worker, 0 to 1, not 2"),
        (tf_config({"worker": TWO}, {"type": "worker", "index": -1}), "0 to 1, not -1"),
        (tf_config({"worker": TWO}, {"type": "worker", "index": "0"}), "0 to 1, not '0'"),
        (tf_config({"worker": TWO}, {"type": "worker", "index": True}), "0 to 1, not True"),
    ],
)
def test_what_is_malformed_is_told(text: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_cluster(text)


def free_addresses(count: int) -> tuple[str, ...]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = tuple(f"127.0.0.1:{server.getsockname()[1]}" for server in sockets)
    for server in sockets:
        server.close()
    return addresses


def gathered(
    clusters: Sequence[Cluster], timeout: float = 10.0, pause: float = 0.0, gpus: Sequence[int] = (0, 0, 0)
) -> list[Exception | None]:
    """Lets workers meet, each a little later than the one before; returns what each was told."""
    ends: list[Exception | None] = [None] * len(clusters)

    def one(place: int) -> None:
        time.sleep(pause * place)
        try:
            meet(clusters[place], timeout, gpus=gpus[place])
        except Exception as error:
            ends[place] = error

    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(clusters))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_workers_wait_for_the_last_of_them_and_leave_their_ports() -> None:
    addresses = free_addresses(3)
    clusters = [Cluster(addresses=addresses, index=place) for place in range(3)]
    assert gathered(clusters, pause=0.4) == [None] * 3
    assert silent(clusters[0]) == [1, 2]
    for address in addresses:
        socket.create_server(("", int(address.rpartition(":")[2]))).close()


def test_a_worker_alone_waits_for_nobody() -> None:
    meet(Cluster(addresses=free_addresses(1), index=0), 0.1)


def test_who_does_not_come_is_named_in_bounded_time() -> None:
    addresses = free_addresses(3)
    began = time.monotonic()
    ends = gathered([Cluster(addresses=addresses, index=place) for place in (0, 2)], timeout=0.7)
    assert time.monotonic() - began < 5
    for end in ends:
        assert isinstance(end, LostWorkerError)
        assert f"Within 0.7 seconds worker 1 at {addresses[1]} did not answer" in str(end)
        assert "--worker-timeout" in str(end)


def test_workers_that_were_told_of_others_are_refused() -> None:
    first, second, third = free_addresses(3)
    ends = gathered([
        Cluster(addresses=(first, second), index=0),
        Cluster(addresses=(first, second, third), index=1),
    ], timeout=5)  # fmt: skip
    assert any(isinstance(end, ConfigError) and "tell all of them the same" in str(end) for end in ends)


def test_a_port_that_is_in_use_is_told() -> None:
    with socket.create_server(("", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match=re.escape(f"worker 0 at {address}, this one, cannot be listened on")):
            meet(Cluster(addresses=(address, "127.0.0.1:9"), index=0), 1.0)


def test_strangers_at_the_port_do_no_harm() -> None:
    addresses = free_addresses(2)
    clusters = [Cluster(addresses=addresses, index=place) for place in range(2)]

    def knock() -> None:
        host, port = addresses[0].split(":")
        time.sleep(0.2)
        with socket.create_connection((host, int(port)), 5) as stranger:
            stranger.sendall(b'GET / HTTP/1.1\r\n{"index": 1}\n[]\n')

    thread = threading.Thread(target=knock)
    thread.start()
    assert gathered(clusters, pause=0.5) == [None, None]
    thread.join()


def test_workers_with_other_numbers_of_gpus_are_refused() -> None:
    addresses = free_addresses(2)
    ends = gathered([Cluster(addresses=addresses, index=place) for place in range(2)], timeout=5.0, gpus=(2, 1))
    complaints = [str(end) for end in ends if isinstance(end, ConfigError)]
    assert complaints, ends
    assert all(re.search("has [12] GPUs, and .*, this one, [12]", complaint) for complaint in complaints)


def test_only_what_the_loss_of_a_worker_led_to_is_told_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = f"127.0.0.1:{server.getsockname()[1]}"
        cluster = Cluster(addresses=(*free_addresses(1), there), index=0)
        assert lost_worker(cluster, RuntimeError("cuDNN failed to launch")) is None
        # It keeps its port, but TensorFlow has heard nothing of it.
        stopped = lost_worker(cluster, RuntimeError("/job:worker/replica:0/task:1 was not heard"))
        assert f"worker 1 at {there} no longer answers" in str(stopped)
        assert "(RuntimeError: /job:worker" in str(stopped)
    gone = lost_worker(cluster, RuntimeError("first\nCollective ops is aborted by: reset\nlast"))
    assert f"worker 1 at {there} no longer answers" in str(gone)
    assert "(RuntimeError: Collective ops is aborted by: reset)" in str(gone)
