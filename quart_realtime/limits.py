"""How much may be asked: rates by the ``limits`` library, and requests at once."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeAlias

from limits import RateLimitItem, parse, parse_many
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from .errors import RateLimited
from .proxies import site_of

Rates: TypeAlias = tuple[RateLimitItem, ...]
"""So much in so long a time, and so much in another; all of them hold."""

RUNNING_RETRY_AFTER = 1.0
"""After how many seconds to try again when too many requests run already."""
STRIKES: Rates = (parse("100/10 seconds"),)
"""So many messages may be refused in so long a time before the connection is closed."""


def parse_rates(text: str | None) -> Rates:
    """Read rates in the notation of the ``limits`` library; None is no limit."""
    return () if text is None else tuple(parse_many(text))


class _Storage(Storage, MovingWindowSupport):
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


class Windows:
    """Counts what happens, in moving windows, within this process."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(_Storage())

    def count(self, key: str, rates: Rates) -> float:
        """Count one hit under *key*.

        Returns:
            0.0, or for how many seconds it would be one too many; it isn't counted then.

        """
        if len(rates) > 1 and any(not self._limiter.test(rate, key) for rate in rates):
            # By none of them is it counted, then.
            return max(self._wait(rate, key) for rate in rates)
        for rate in rates:
            if not self._limiter.hit(rate, key):
                return self._wait(rate, key)
        return 0.0

    def _wait(self, rate: RateLimitItem, key: str) -> float:
        """Return for how many seconds there is no room for one more, at least 1 ms."""
        stats = self._limiter.get_window_stats(rate, key)
        return 0.001 if stats.remaining else max(stats.reset_time - time.monotonic(), 0.001)

    def wait(self, key: str, rates: Rates) -> float:
        """Return for how many seconds there is no room under *key*; nothing is counted."""
        full = [rate for rate in rates if not self._limiter.test(rate, key)]
        return max((self._wait(rate, key) for rate in full), default=0.0)

    def forget(self, key: str, rates: Rates) -> None:
        """Drop what is counted under *key*."""
        for rate in rates:
            self._limiter.clear(rate, key)


class MessageLimiter:
    """Counts what each connection sends.

    Args:
        rate: What one connection may send, None for no limit.
    """

    def __init__(self, rate: str | None) -> None:
        self._rates = parse_rates(rate)
        self._windows = Windows()

    def check(self, connection_id: str) -> None:
        """Count one message of a connection.

        Raises:
            RateLimited: it is one too many.
        """
        _refuse_after(self._windows.count(connection_id, self._rates), "connection")

    def strike(self, connection_id: str) -> bool:
        """Count a refused message; False when there have been too many."""
        return not self._windows.count(f"strikes\0{connection_id}", STRIKES)

    def forget(self, connection_id: str) -> None:
        """Drop what is counted for a connection that has ended."""
        self._windows.forget(connection_id, self._rates)
        self._windows.forget(f"strikes\0{connection_id}", STRIKES)


class HandshakeLimiter:
    """Counts the handshakes of each address.

    Args:
        rate: How many one address may make, None for no limit.
    """

    def __init__(self, rate: str | None) -> None:
        self._rates = parse_rates(rate)
        self._windows = Windows()

    def check(self, address: str) -> None:
        """Count one handshake from *address*.

        Raises:
            RateLimited: it is one too many.
        """
        site = site_of(address)
        if site is not None:
            _refuse_after(self._windows.count(site, self._rates), "handshake")

    def look(self, address: str) -> None:
        """See whether *address* may make another, without counting one.

        Raises:
            RateLimited: it may not.
        """
        site = site_of(address)
        if site is not None:
            _refuse_after(self._windows.wait(site, self._rates), "handshake")


class Counts(Protocol):
    """Counts on behalf of all processes."""

    async def count(self, key: str, rates: Rates) -> float:
        """Count one hit under *key*, as :meth:`Windows.count` does."""


class UserLimiter:
    """Counts what each user asks for, over all connections and processes.

    Args:
        counts: What counts.
        rate: What one user may ask for, None for no limit.
    """

    def __init__(self, counts: Counts, rate: str | None) -> None:
        self._counts = counts
        self._rates = parse_rates(rate)
        self._of_handlers: dict[str, Rates] = {}

    async def check(self, who: str) -> None:
        """Count whatever *who* asks for.

        Raises:
            RateLimited: it is one too many.
        """
        if self._rates:
            _refuse_after(await self._counts.count(f"user\0{who}", self._rates), "user")

    async def check_handler(self, name: str, rate: str, who: str) -> None:
        """Count one request of *who* to the handler *name*, which allows *rate*.

        Raises:
            RateLimited: it is one too many.
        """
        rates = self._of_handlers.get(name)
        if rates is None:
            rates = self._of_handlers[name] = parse_rates(rate)
        # No name of a handler has a NUL in it, so no two pairs make the same key.
        _refuse_after(await self._counts.count(f"handler\0{name}\0{who}", rates), "handler")


class KeptAnswers:
    """Bounds what is kept of each user's requests that run once.

    Args:
        most: How many bytes of answers one user may have kept in this process.
        clock: Seconds that only grow.
    """

    EACH = 512
    """What one request takes beside its answer, in bytes."""

    def __init__(self, most: int = 4 * 2**20, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._kept: dict[str, deque[tuple[float, int]]] = {}
        self._sizes: dict[str, int] = {}
        self._next_sweep = 0.0

    def check(self, who: str) -> None:
        """See whether one more may be kept of *who*.

        Raises:
            RateLimited: too much is kept already.
        """
        now = self._clock()
        self._sweep(now)
        if self._sizes.get(who, 0) >= self._most:
            self._forget(who, now)
        if self._sizes.get(who, 0) >= self._most:
            raise RateLimited(round(self._kept[who][0][0] - now, 3) or 0.001, limit="keys")

    def add(self, who: str, size: int, ttl: float) -> None:
        """Note that an answer of *size* bytes is kept of *who* for *ttl* seconds."""
        self._kept.setdefault(who, deque()).append((self._clock() + ttl, size + self.EACH))
        self._sizes[who] = self._sizes.get(who, 0) + size + self.EACH

    def _forget(self, who: str, now: float) -> None:
        kept = self._kept[who]
        while kept and kept[0][0] <= now:
            self._sizes[who] -= kept.popleft()[1]
        if not kept:
            del self._kept[who], self._sizes[who]

    def _sweep(self, now: float) -> None:
        if now >= self._next_sweep:
            self._next_sweep = now + _Storage.SWEEP_EVERY
            for who in list(self._kept):
                self._forget(who, now)


class Running:
    """Counts the requests of each user that run in this process, also of connections that ended.

    Args:
        most: How many may run at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()

    @contextmanager
    def one(self, who: str) -> Iterator[None]:
        """Count a request of *who* while the block runs.

        Raises:
            RateLimited: too many run already.
        """
        if self._counts[who] >= self._most:
            raise RateLimited(RUNNING_RETRY_AFTER, limit="running")
        self._counts[who] += 1
        try:
            yield
        finally:
            self._counts[who] -= 1
            if not self._counts[who]:
                del self._counts[who]


def _refuse_after(seconds: float, limit: str) -> None:
    """Raise RateLimited where that is to be waited for."""
    if seconds:
        raise RateLimited(math.ceil(seconds * 1000) / 1000, limit=limit)


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
