"""How much one client may ask: rates by the ``limits`` library, and requests at once."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from limits import RateLimitItem, parse, parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from .errors import RateLimited

STRIKES = parse("100/10 seconds")
"""So many messages may be refused in so long a time before the connection is closed."""


class RateLimiter:
    """Counts what each connection and each user does, within this process."""

    def __init__(self, rate: str | None) -> None:
        self._rates = _parse(rate)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._handler_rates: dict[str, list[RateLimitItem]] = {}

    def check_message(self, connection_id: str) -> None:
        """Count one message of a connection.

        Raises:
            RateLimited: it is one too many.

        """
        self._check(self._rates, connection_id)

    def check_handler(self, name: str, rate: str, who: str) -> None:
        """Count one request of *who* to the handler *name*, which allows *rate*.

        Raises:
            RateLimited: it is one too many.

        """
        rates = self._handler_rates.get(name)
        if rates is None:
            rates = self._handler_rates[name] = _parse(rate)
        self._check(rates, name, who)

    def _check(self, rates: list[RateLimitItem], *key: str) -> None:
        for rate in rates:
            if not self._limiter.hit(rate, *key):
                reset = self._limiter.get_window_stats(rate, *key).reset_time
                # The longest wait that makes sense bounds what a clock set back can do.
                wait = min(max(reset - time.time(), 0.001), rate.get_expiry())
                raise RateLimited(math.ceil(wait * 1000) / 1000)

    def strike(self, connection_id: str) -> bool:
        """Count a refused message; False when there have been too many."""
        return self._limiter.hit(STRIKES, connection_id, "strikes")

    def forget(self, connection_id: str) -> None:
        """Drop what is counted for a connection that has ended."""
        for rate in self._rates:
            self._limiter.clear(rate, connection_id)
        self._limiter.clear(STRIKES, connection_id, "strikes")


def _parse(rate: str | None) -> list[RateLimitItem]:
    return [] if rate is None else parse_many(rate)


class Slots:
    """Runs at most so many jobs of a connection at once and has a bounded number wait.

    Args:
        running: How many may run at once.
        waiting: How many more may wait; what comes beyond is refused.

    """

    def __init__(self, running: int, waiting: int) -> None:
        self._free = running
        self._places = waiting
        self._queue: deque[Callable[[], None]] = deque()

    def offer(self, start: Callable[[], None]) -> bool:
        """Call *start* now or when a slot is free; False when too many wait already.

        Whatever is started must call :meth:`done` when it has ended.
        """
        if self._free > 0:
            self._free -= 1
            start()
            return True
        if len(self._queue) >= self._places:
            return False
        self._queue.append(start)
        return True

    def done(self) -> None:
        """Give the slot of a job that has ended to the one that has waited longest."""
        if self._queue:
            self._queue.popleft()()
        else:
            self._free += 1

    def clear(self) -> None:
        """Forget the jobs that wait."""
        self._queue.clear()
