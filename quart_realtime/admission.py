"""How many clients are let in at a time, so that a crowd that returns doesn't stop the process."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from .errors import Unavailable

AT_ONCE = 32
"""How many clients log in at once."""
WAITING = 500
"""How many more wait for that; those beyond are told to come back."""
TOO_LATE = 0.25
"""While the event loop is so many seconds late, nobody is let in who would have to wait."""
PACE = 100.0
"""How many clients a second are taken to get in where it isn't known yet."""
LATELY = 5.0
"""Over how many seconds their pace is measured."""
LONGEST = 60.0
"""Within how many seconds at most whoever is turned away is told to come back."""
AT_A_TURN = 8
"""How many handshakes are begun in one turn of the event loop."""


class Busy(Unavailable):
    """The process lets in as many as it can already.

    Args:
        retry_after: Within how many seconds to come back.

    """

    def __init__(self, retry_after: float) -> None:
        super().__init__("the server is busy: come back in a moment")
        self.retry_after = retry_after


class Admission:
    """Lets clients in at a pace that the process can bear.

    Args:
        lag: Tells by how many seconds the event loop is late.
        retry_after: Within how many seconds who is turned away is to come back, at least.
        patience: For how many seconds one waits for one's turn at most.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        lag: Callable[[], float],
        retry_after: float,
        patience: float = LONGEST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lag = lag
        self._retry_after = retry_after
        self._patience = patience
        self._clock = clock
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._entered: deque[float] = deque(maxlen=10_000)
        self._turned_away: deque[float] = deque(maxlen=100_000)

    @asynccontextmanager
    async def entering(self) -> AsyncIterator[None]:
        """Wait for one's turn, and hold it while the block runs.

        Raises:
            Busy: too many wait already, or it takes too long.
        """
        if self._slots.locked() and (self._waiting >= WAITING or self._lag() > TOO_LATE):
            raise Busy(self._turn_away())
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._slots.acquire()
        except TimeoutError:
            raise Busy(self._turn_away()) from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()
        # Whoever was refused took next to no time, and says nothing of the pace.
        self._entered.append(self._clock())

    def _turn_away(self) -> float:
        """Return within how many seconds to come back: as long as all who were told so need."""
        now = self._clock()
        while self._turned_away and self._turned_away[0] <= now:
            self._turned_away.popleft()
        needed = len(self._turned_away) / self._pace(now)
        window = min(max(self._retry_after, needed), LONGEST)
        self._turned_away.append(now + window)
        return window

    def _pace(self, now: float) -> float:
        """Return how many have got in within a second lately."""
        while self._entered and self._entered[0] <= now - LATELY:
            self._entered.popleft()
        if not self._entered:
            return PACE
        return len(self._entered) / max(now - self._entered[0], 1.0)


class Turnstile:
    """Lets so many through in each turn of the event loop, in their order.

    However many come at once, what else the process has to do has its turn in between.

    Args:
        most: How many in a turn.
    """

    def __init__(self, most: int = AT_A_TURN) -> None:
        self._most = most
        self._passed = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def pass_through(self) -> None:
        """Return when it is one's turn."""
        if self._passed < self._most:
            self._count()
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _count(self) -> None:
        if self._passed == 0:
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._passed += 1

    def _next_turn(self) -> None:
        self._passed = 0
        while self._waiting and self._passed < self._most:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._count()
                waiter.set_result(None)
