"""One timer for all connections: a wheel of ticks, each with those that are due in it.

After G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels" (1987), with a heap of the
ticks in use in place of a turning hand, so that an idle process isn't woken.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from typing import Protocol

logger = logging.getLogger("quart_realtime")

TICK = 0.05
"""By how many seconds an alarm may be late."""


class Sleeper(Protocol):
    """Whoever is to be woken; *alarm* is the wheel's own."""

    alarm: int | None

    def wake(self) -> None:
        """Do what is due."""


class TimerWheel:
    """Wakes each sleeper once at its time, all by one timer of the event loop."""

    def __init__(self) -> None:
        self._sleepers: dict[int, set[Sleeper]] = {}
        self._ticks: list[int] = []
        self._timer: asyncio.TimerHandle | None = None

    def set(self, sleeper: Sleeper, when: float) -> None:
        """Wake *sleeper* at *when*, in seconds of the event loop's clock, and not before.

        What was set for it before is void.
        """
        tick = math.ceil(when / TICK)
        if sleeper.alarm == tick:
            return
        self.cancel(sleeper)
        sleeper.alarm = tick
        sleepers = self._sleepers.get(tick)
        if sleepers is None:
            sleepers = self._sleepers[tick] = set()
            heapq.heappush(self._ticks, tick)
            if self._ticks[0] == tick:
                self._wind()
        sleepers.add(sleeper)

    def cancel(self, sleeper: Sleeper) -> None:
        """Let *sleeper* sleep."""
        if sleeper.alarm is not None:
            self._sleepers.get(sleeper.alarm, set()).discard(sleeper)
            sleeper.alarm = None

    def _wind(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ticks:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._ticks[0] * TICK, self._ring)

    def _ring(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._ticks and self._ticks[0] * TICK <= now:
            tick = heapq.heappop(self._ticks)
            for sleeper in self._sleepers.pop(tick):
                if sleeper.alarm != tick:
                    continue  # Another's alarm has put it to sleep again, or set it anew.
                sleeper.alarm = None
                try:
                    sleeper.wake()
                except Exception:
                    logger.exception("an alarm of %r failed; the others ring", sleeper)
        self._wind()
