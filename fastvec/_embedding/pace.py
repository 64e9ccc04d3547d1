"""When the next request may be sent: within limits per minute, and after the waits that a server asks for."""

from __future__ import annotations

import time
from collections import deque

from .._forks import ProcessLock

_MINUTE_S = 60.0


class Pace:
    """Gives threads, in order, the moments at which they may send requests.

    Requests are spread evenly over a minute, because servers also count in shorter spans; and in any minute
    their tokens stay within the limit.
    """

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._next = 0.0
        self._minute: deque[tuple[float, float]] = deque()  # moment and tokens of each request in it
        self._sum = 0.0
        self._not_before = 0.0
        self._lock = ProcessLock()

    def reserve(self, tokens: float) -> float:
        """Take the next moment for a request; return the seconds until then."""
        if self._requests is None and self._tokens is None:
            return 0.0
        with self._lock.here:
            now = time.monotonic()
            moment = max(now, self._next)
            apart = 0.0 if self._requests is None else _MINUTE_S / self._requests
            if self._tokens is not None:
                tokens = min(tokens, self._tokens)
                moment = self._with_room(tokens, moment)
                apart = max(apart, _MINUTE_S * tokens / self._tokens)
            self._next = moment + apart
            return moment - now

    def _with_room(self, tokens: float, moment: float) -> float:
        assert self._tokens is not None
        minute = self._minute
        while minute and (minute[0][0] <= moment - _MINUTE_S or self._sum + tokens > self._tokens):
            started, old_tokens = minute.popleft()
            self._sum -= old_tokens
            moment = max(moment, started + _MINUTE_S)
        minute.append((moment, tokens))
        self._sum += tokens
        return moment

    def hold(self, seconds: float) -> None:
        """Send no request for some seconds, as the server has asked."""
        with self._lock.here:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def held(self) -> float:
        """Seconds until requests may be sent again."""
        return max(0.0, self._not_before - time.monotonic())
