"""One time limit for a request by HTTP and all its retries."""

import math
import time
from types import TracebackType
from typing import Any, Self

import urllib3

# Seconds. A server that cannot be reached is not waited for as long as one that computes.
_CONNECT_TIMEOUT = 5.0
_SHORTEST_TIMEOUT = 0.001


class TimeLeft(urllib3.Timeout):
    """What is left, at each attempt, of the time until a deadline by `time.monotonic`."""

    def __init__(self, deadline: float):
        super().__init__()
        self._deadline = deadline

    def clone(self) -> urllib3.Timeout:
        """Is called for each attempt."""
        left = max(self._deadline - time.monotonic(), _SHORTEST_TIMEOUT)
        return urllib3.Timeout(connect=min(left, _CONNECT_TIMEOUT), total=left)


class Retry(urllib3.Retry):
    """Repeats until a deadline; what took too long not at all: the server would be given the same work once more."""

    deadline = math.inf

    def until(self, deadline: float) -> Self:
        """Returns what one request needs; the deadline is by `time.monotonic`."""
        limited = self.new()
        limited.deadline = deadline
        return limited

    def new(self, **changes: Any) -> Self:
        """Is called for each attempt."""
        following = super().new(**changes)
        following.deadline = self.deadline
        return following

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        """Is called after each attempt but one that was answered well."""
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            raise error
        following = super().increment(method, url, response, error, _pool, _stacktrace)
        if time.monotonic() + following.get_backoff_time() >= self.deadline:
            raise urllib3.exceptions.MaxRetryError(_pool, url, error)
        return following
