"""Which processes train together, by the environment variable TF_CONFIG, and whether they answer.

TensorFlow itself waits an hour for a worker that does not come, and does not
say for which one. Hence the workers first meet here, over plain connections to
the addresses that TensorFlow takes over afterwards.
"""

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nlp_rnn.config import ConfigError

VARIABLE = "TF_CONFIG"
_EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'
_JOBS = ("chief", "worker")
_PATIENCE = 5.0  # seconds for one answer
_PAUSE = 0.1  # seconds before those that did not answer are asked again
_LONGEST_MESSAGE = 1 << 20  # bytes


class LostWorkerError(RuntimeError):
    """Other processes of the training cannot be reached, or are gone."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The processes of one training.

    Attributes:
        addresses: HOST:PORT of all workers, the chief's first.
        index: This worker's place among them.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def peers(self) -> list[int]:
        """The places of the others."""
        return [place for place in range(len(self.addresses)) if place != self.index]

    def named(self, places: Iterable[int]) -> str:
        """Returns workers in words."""
        return ", ".join(f"worker {place} at {self.addresses[place]}" for place in sorted(places))


def read_cluster(text: str | None) -> Cluster:
    """Reads the content of TF_CONFIG.

    Besides workers it may name a chief, which then is the first of them.

    Raises:
        ConfigError: It is missing or malformed.
    """
    if not text:
        raise ConfigError(f"strategy multi-worker needs {VARIABLE} in the environment of each worker, as {_EXAMPLE}.")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{VARIABLE} must be JSON, as {_EXAMPLE}, not {text[:200]!r}: {error}.") from error
    jobs = _table(_table(content, VARIABLE).get("cluster"), f"cluster in {VARIABLE}")
    if strange := sorted(set(jobs) - set(_JOBS)):
        raise ConfigError(
            f"cluster in {VARIABLE} may hold worker, and a chief, not {', '.join(strange)}: all processes of a "
            "training do the same work. Leave out the others."
        )
    addresses = {job: _addresses(jobs[job], job) for job in _JOBS if job in jobs}
    if not any(addresses.values()):
        raise ConfigError(f"cluster in {VARIABLE} must list the addresses of the workers, as {_EXAMPLE}.")
    everyone = tuple(address for job in _JOBS for address in addresses.get(job, ()))
    if len(set(everyone)) < len(everyone):
        raise ConfigError(f"cluster in {VARIABLE} names an address twice: {', '.join(everyone)}.")
    task = _table(_table(content, VARIABLE).get("task"), f"task in {VARIABLE}")
    return Cluster(addresses=everyone, index=_place(task, addresses))


def _table(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        given = "is missing" if value is None else f"is {json.dumps(value)[:200]}"
        raise ConfigError(f"{name} must be a JSON object, and {given}. An example of the whole: {_EXAMPLE}.")
    return value


def _addresses(value: object, job: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) and _is_address(item) for item in value):
        shown = json.dumps(value)[:200]
        raise ConfigError(f"{job} in the cluster of {VARIABLE} must be a list of HOST:PORT, not {shown}.")
    return value


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 1 << 16


def _place(task: dict[str, Any], addresses: dict[str, list[str]]) -> int:
    kind, index = task.get("type"), task.get("index")
    if kind not in addresses:
        known = " or ".join(addresses)
        raise ConfigError(f"type in the task of {VARIABLE} must be {known}, as in its cluster, not {kind!r}.")
    last = len(addresses[kind]) - 1
    # In JSON, true is not a number; in Python it is.
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index <= last:
        raise ConfigError(
            f"index in the task of {VARIABLE} must be a place in the cluster's list of {kind}, 0 to {last}, "
            f"not {index!r}."
        )
    return index + (len(addresses.get("chief", ())) if kind == "worker" else 0)


def meet(cluster: Cluster, timeout: float, *, gpus: int = 0) -> None:
    """Waits until all workers have reached each other, and leaves their addresses free again.

    Args:
        cluster: All workers, and which one this is.
        timeout: Seconds to wait for the last of them.
        gpus: How many this one has.

    Raises:
        LostWorkerError: Some did not come in time.
        ConfigError: This worker's port is in use, or another one was told something else in its TF_CONFIG, or has
            another number of GPUs.
    """
    missing, deadline = set(cluster.peers), time.monotonic() + timeout
    with _at_home(cluster, gpus) as door:
        while missing:
            for place in sorted(missing - door.answered):
                door.judge(_ask(cluster.addresses[place], door.greeting), answers=True)
            if door.complaint:
                raise ConfigError(door.complaint)
            # Whoever was heard here and has answered needs nothing more of this worker.
            missing -= door.answered & door.heard
            if missing and time.monotonic() > deadline:
                raise LostWorkerError(
                    f"Within {timeout:g} seconds {cluster.named(missing)} did not answer "
                    f"{cluster.named([cluster.index])}, this one. Start the same command on every worker, each with "
                    f"its own {VARIABLE}; see that the addresses are right and the ports open; or wait longer "
                    "(--worker-timeout)."
                )
            if missing:
                time.sleep(_PAUSE)


def lost_worker(cluster: Cluster, error: Exception) -> LostWorkerError | None:
    """Returns what to say of an error that the loss of a worker led to; None if it is this one's own."""
    said = str(error)
    # One that has stopped, but not ended, keeps its port open: then TensorFlow says which one it was.
    told = {int(place) for place in re.findall(r"/task:(\d+)", said)} - {cluster.index}
    gone = silent(cluster) or told
    reasons = [line.strip() for line in said.splitlines() if re.search("abort|collective", line, re.IGNORECASE)]
    if not gone and not reasons:
        return None
    reason = reasons[-1] if reasons else said.partition("\n")[0]
    return LostWorkerError(
        f"{cluster.named(gone or cluster.peers)} no longer answers {cluster.named([cluster.index])}, this one; what it "
        "said last may tell why. The checkpoints are still there: start all workers again with --resume to go on from "
        f"the newest. ({type(error).__name__}: {reason})"
    )


def silent(cluster: Cluster) -> list[int]:
    """Returns the places of the workers that nobody answers for, some seconds after one was lost."""
    deadline = time.monotonic() + _PATIENCE
    # The system takes a moment to close the ports of a process that has died.
    while not (found := [place for place in cluster.peers if not _is_open(cluster.addresses[place])]):
        if time.monotonic() > deadline:
            break
        time.sleep(_PAUSE)
    return found


def _is_open(address: str) -> bool:
    try:
        _connect(address).close()
    except OSError:
        return False
    return True


class _Door:
    """What a worker says to those who ask at its address, and whom it has heard."""

    def __init__(self, cluster: Cluster, gpus: int) -> None:
        self._cluster, self._gpus = cluster, gpus
        self.heard: set[int] = set()
        self.answered: set[int] = set()
        self.complaint: str | None = None
        content = {"addresses": cluster.addresses, "index": cluster.index, "gpus": gpus}
        self.greeting = json.dumps(content).encode() + b"\n"

    def serve(self, server: socket.socket, closed: threading.Event) -> None:
        while not closed.is_set():
            with contextlib.suppress(OSError):  # nobody came, or somebody left again
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(_PATIENCE)
                    said = _line(connection)
                    connection.sendall(self.greeting)
                    self.judge(said, answers=False)

    def judge(self, said: bytes, *, answers: bool) -> None:
        """Takes note of a worker's greeting; whatever else comes to a port is no worker's."""
        try:
            content = json.loads(said)
            addresses, index, gpus = tuple(content["addresses"]), content["index"], content["gpus"]
        except (ValueError, KeyError, TypeError):
            return
        own = self._cluster
        if addresses != own.addresses:
            self.complaint = (
                f"Worker {index} was told in its {VARIABLE} of the workers {', '.join(map(str, addresses))}, and this "
                f"one of {', '.join(own.addresses)}: tell all of them the same."
            )
        elif index == own.index:
            self.complaint = f"Two processes were told by {VARIABLE} that they are {own.named([index])}."
        elif gpus != self._gpus:
            self.complaint = (
                f"{own.named([index])} has {gpus} GPUs, and {own.named([own.index])}, this one, {self._gpus}: each "
                "computes as large a part of a batch as the others. Hide some (CUDA_VISIBLE_DEVICES)."
            )
        else:
            (self.answered if answers else self.heard).add(index)


@contextlib.contextmanager
def _at_home(cluster: Cluster, gpus: int) -> Iterator[_Door]:
    """Answers at this worker's address."""
    host, port = _split(cluster.addresses[cluster.index])
    door, closed = _Door(cluster, gpus), threading.Event()
    try:
        server = socket.create_server(("", port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"Port {port} of {cluster.named([cluster.index])}, this one, cannot be listened on ({error.strerror}): end "
            f"what uses it, or name another in the {VARIABLE} of all workers."
        ) from error
    with server:
        server.settimeout(_PAUSE)
        thread = threading.Thread(target=door.serve, args=(server, closed), daemon=True)
        thread.start()
        try:
            yield door
        finally:
            closed.set()
            thread.join()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _connect(address: str) -> socket.socket:
    connection = socket.create_connection(_split(address), _PATIENCE)
    if connection.getsockname() == connection.getpeername():
        # Nobody listens there, and the system happened to give this end the very same port.
        connection.close()
        raise ConnectionRefusedError(address)
    return connection


def _ask(address: str, greeting: bytes) -> bytes:
    """Returns what is answered to a greeting at an address; nothing, if nothing is."""
    try:
        with _connect(address) as connection:
            connection.sendall(greeting)
            return _line(connection)
    except OSError:
        return b""


def _line(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        return stream.readline(_LONGEST_MESSAGE)
