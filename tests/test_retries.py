"""One time limit for all attempts: over real sockets, with urllib3 alone."""

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import urllib3

from nlp_rnn.retries import Retry, TimeLeft

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def server(answer: bytes, *, after: float = 0.0) -> Iterator[tuple[str, list[float]]]:
    """A server that gives each request the same answer; its address, and when it was asked."""
    asked: list[float] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            asked.append(time.monotonic())
            time.sleep(after)
            self.request.sendall(answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the client has gone

    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}", asked
        finally:
            running.shutdown()
            thread.join()


def ask(address: str, *, seconds: float, retries: int = 4) -> None:
    deadline = time.monotonic() + seconds
    retry = Retry(total=retries, backoff_factor=0.2, status_forcelist=[503]).until(deadline)
    with urllib3.PoolManager() as pool:
        pool.request("GET", address, retries=retry, timeout=TimeLeft(deadline))


def test_attempts_end_with_their_number_or_with_the_time_whichever_is_first() -> None:
    with server(BUSY) as (address, asked):
        with pytest.raises(urllib3.exceptions.MaxRetryError):
            ask(address, seconds=30, retries=1)
        assert len(asked) == 2
        asked.clear()
        began = time.monotonic()
        # Pauses of 0, 0.4, 0.8 and 1.6 seconds: the third one would be over too late.
        with pytest.raises(urllib3.exceptions.MaxRetryError):
            ask(address, seconds=0.7)
        assert (len(asked), time.monotonic() - began < 0.7) == (3, True)


def test_what_took_too_long_is_not_asked_for_again() -> None:
    with server(BUSY, after=0.6) as (address, asked):
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            ask(address, seconds=0.2)
        assert len(asked) == 1


def test_each_attempt_has_what_is_left_and_no_more_than_five_seconds_to_connect() -> None:
    limit = TimeLeft(time.monotonic() + 60).clone()
    assert limit.total == pytest.approx(60, abs=0.1)
    assert limit.connect_timeout == 5
    late = TimeLeft(time.monotonic() - 1).clone()
    assert 0 < late.total < 0.01  # urllib3 refuses 0
