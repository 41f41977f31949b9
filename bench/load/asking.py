"""Requests one after the other, each as soon as the one before is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from attrs import frozen

STALLED = 20.0
"""After how many seconds past its end a run without answers is given up."""


@frozen
class Asked:
    """How long answers took, in seconds."""

    latencies: list[float]
    seconds: float


class Chain:
    """One after the other.

    Args:
        send: Sends the request of that number.
        right: Tells whether an answer is the right one.
    """

    def __init__(self, send: Callable[[int], None], right: Callable[[bytes], bool]) -> None:
        self._send = send
        self._right = right
        self._number = 0
        self._sent = 0.0
        self._until = 0.0
        self.latencies: list[float] = []
        self.done: asyncio.Future[None]

    def start(self, until: float) -> None:
        """Ask until the clock says *until*."""
        self.done = asyncio.get_running_loop().create_future()
        self.latencies = []
        self._until = until
        self._next(time.perf_counter())

    def answered(self, data: bytes) -> None:
        """Take an answer, and ask again."""
        now = time.perf_counter()
        if not self._right(data):
            self.done.set_exception(RuntimeError(f"a wrong answer: {data[:300]!r}"))
            return
        self.latencies.append(now - self._sent)
        if now >= self._until:
            self.done.set_result(None)
        else:
            self._next(now)

    def _next(self, now: float) -> None:
        self._number += 1
        self._sent = now
        self._send(self._number)


async def ask(chains: list[Chain], seconds: float) -> Asked:
    """Run all *chains* at once for so many seconds, after a fifth of that to warm up."""
    for warm_up in (True, False):
        started = time.perf_counter()
        for chain in chains:
            chain.start(started + (seconds / 5 if warm_up else seconds))
        async with asyncio.timeout(seconds + STALLED):
            await asyncio.gather(*(chain.done for chain in chains))
    ended = time.perf_counter()
    return Asked([value for chain in chains for value in chain.latencies], ended - started)
