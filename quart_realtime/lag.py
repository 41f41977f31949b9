"""How late the event loop is."""

from __future__ import annotations

import asyncio

EVERY = 0.1
"""Every how many seconds it is measured."""


class LagMeter:
    """Measures how much later than it should the event loop comes to what is due.

    Attributes:
        now: By how many seconds it was late the last time.

    """

    def __init__(self) -> None:
        self.now = 0.0
        self._most = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure the loop that runs."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + EVERY
        self._timer = loop.call_at(self._due, self._measure, loop)

    def _measure(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = max(loop.time() - self._due, 0.0)
        self._most = max(self._most, self.now)
        self.start()

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.now = 0.0

    def take_most(self) -> float:
        """Return the most that it has been late since this was asked the last time."""
        most, self._most = self._most, 0.0
        return most
