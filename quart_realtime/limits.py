"""How much one client may ask: rates by the ``limits`` library, and requests at once."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from limits import RateLimitItem, parse, parse_many
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from .errors import RateLimited

STRIKES = parse("100/10 seconds")
"""So many messages may be refused in so long a time before the connection is closed."""


class _Windows(Storage, MovingWindowSupport):
    """Moving windows in memory, by the monotonic clock: setting the clock locks nobody out."""

    SWEEP_EVERY = 60.0

    def __init__(self) -> None:
        super().__init__()
        self._hits: dict[str, deque[float]] = {}
        self._expires: dict[str, float] = {}
        self._next_sweep = 0.0

    @property
    def base_exceptions(self) -> type[Exception]:
        """The errors that a storage of this kind raises: none."""
        return ValueError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count *amount* hits unless that makes more than *limit* in *expiry* seconds."""
        now = time.monotonic()
        self._sweep(now)
        hits = self._hits.setdefault(key, deque())
        while hits and hits[0] <= now - expiry:
            hits.popleft()
        if len(hits) + amount > limit:
            return False
        hits.extend([now] * amount)
        self._expires[key] = now + expiry
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the oldest hit that counts was, and how many count."""
        now = time.monotonic()
        hits = [hit for hit in self._hits.get(key, ()) if hit > now - expiry]
        return (hits[0] if hits else now), len(hits)

    def clear(self, key: str) -> None:
        """Forget *key*."""
        self._hits.pop(key, None)
        self._expires.pop(key, None)

    def _sweep(self, now: float) -> None:
        if now < self._next_sweep:
            return
        self._next_sweep = now + self.SWEEP_EVERY
        for key in [key for key in self._hits if self._expires.get(key, 0) <= now]:
            self.clear(key)

    def reset(self) -> int:
        """Forget everything, and return how much that was."""
        count = len(self._hits)
        self._hits.clear()
        self._expires.clear()
        return count

    def check(self) -> bool:
        """Memory is always there."""
        return True

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Refuse: there are no fixed windows here."""
        raise NotImplementedError

    def get(self, key: str) -> int:
        """Refuse: there are no fixed windows here."""
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        """Refuse: there are no fixed windows here."""
        raise NotImplementedError


class RateLimiter:
    """Counts what each connection and each user does, within this process.

    Args:
        rate: What one connection may send, None for no limit.
    """

    def __init__(self, rate: str | None) -> None:
        self._rates = _parse(rate)
        self._limiter = MovingWindowRateLimiter(_Windows())
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
        # No name of a handler has a NUL in it, so no two pairs make the same key.
        self._check(rates, f"{name}\0{who}")

    def _check(self, rates: list[RateLimitItem], key: str) -> None:
        for rate in rates:
            if not self._limiter.hit(rate, key):
                reset = self._limiter.get_window_stats(rate, key).reset_time
                wait = max(reset - time.monotonic(), 0.001)
                raise RateLimited(math.ceil(wait * 1000) / 1000)

    def strike(self, connection_id: str) -> bool:
        """Count a refused message; False when there have been too many."""
        return self._limiter.hit(STRIKES, f"strikes\0{connection_id}")

    def forget(self, connection_id: str) -> None:
        """Drop what is counted for a connection that has ended."""
        for rate in self._rates:
            self._limiter.clear(rate, connection_id)
        self._limiter.clear(STRIKES, f"strikes\0{connection_id}")


def _parse(rate: str | None) -> list[RateLimitItem]:
    return [] if rate is None else parse_many(rate)


class Slots:
    """Runs at most so many jobs of a connection at once and has a bounded number wait.

    Args:
        running: How many may run at once.
        waiting: How many more may wait; what comes beyond is refused.

    """

    __slots__ = ("_free", "_places", "_queue")

    def __init__(self, running: int, waiting: int) -> None:
        self._free = running
        self._places = waiting
        # None until something waits: there are as many of these as there are connections.
        self._queue: deque[Callable[[], None]] | None = None

    def offer(self, start: Callable[[], None]) -> bool:
        """Call *start* now or when a slot is free; False when too many wait already.

        Whatever is started must call :meth:`done` when it has ended.
        """
        if self._free > 0:
            self._free -= 1
            start()
            return True
        if self._queue is None:
            self._queue = deque()
        if len(self._queue) >= self._places:
            return False
        self._queue.append(start)
        return True

    def done(self) -> None:
        """Give the slot of a job that has ended to the one that has waited longest."""
        if self._queue:
            self._queue.popleft()()
        else:
            self._queue = None
            self._free += 1

    def clear(self) -> None:
        """Forget the jobs that wait."""
        self._queue = None
