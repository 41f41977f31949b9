"""Writing to many sockets: once a turn of the event loop for each, and not all in one turn."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast

SOCKETS_A_TURN = 512
"""How many sockets are written to before other work gets its turn."""
SECONDS_A_TURN = 0.01
"""For how long sockets are written to before other work gets its turn."""


class Flushable(Protocol):
    """A socket that takes what is written without waiting."""

    def flush(self) -> None:
        """Write what waits."""


class Flusher:
    """Flushes each socket that something is owed to, in the turn after it was owed."""

    def __init__(self) -> None:
        self._owed: deque[Flushable] = deque()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, socket: Flushable) -> None:
        """Have *socket* flushed; once is enough until then."""
        if not self._owed:
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._run)
        self._owed.append(socket)

    async def catch_up(self) -> None:
        """Wait until no socket is owed anything."""
        await self._idle.wait()

    def _run(self) -> None:
        owed = self._owed
        for _ in range(min(len(owed), SOCKETS_A_TURN)):
            owed.popleft().flush()
        if owed:
            asyncio.get_running_loop().call_soon(self._run)
        else:
            self._idle.set()


class Writable(Protocol):
    """A socket whose server may let a write wait."""

    async def write_out(self) -> None:
        """Write what waits; never raises but when it is cancelled."""


class Writers:
    """Writes to one socket after the other, in one task, and leaves behind whoever lets it wait.

    A task for each socket would cost more than the writing; waiting for each would let one slow
    peer hold up all. So when a write makes the task wait, another one goes on with the rest.
    """

    def __init__(self) -> None:
        self._owed: deque[Writable] = deque()
        self._task: asyncio.Task[None] | None = None
        self._busy = False
        # The event loop keeps only weak references to tasks.
        self._left_behind: set[asyncio.Task[None]] = set()

    async def catch_up(self) -> None:
        """Wait until no socket is owed anything, but for those that let it wait."""
        while (task := self._task) is not None:
            await asyncio.wait([task], timeout=SECONDS_A_TURN)

    def add(self, socket: Writable) -> None:
        """Have *socket* written to; once is enough until then."""
        self._owed.append(socket)
        if self._task is None:
            self._go_on()

    def leave_behind(self, task: asyncio.Task[None]) -> None:
        """Go on without *task*, which waits for the socket that it writes to."""
        if task is self._task and self._busy:
            self._left_behind.add(task)
            task.add_done_callback(self._left_behind.discard)
            self._go_on()

    def _go_on(self) -> None:
        self._busy = False
        work = self._work() if self._owed else None
        self._task = None if work is None else asyncio.get_running_loop().create_task(work)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        task = cast("asyncio.Task[None]", asyncio.current_task())
        while self._owed:
            # It runs when this task lets others run: because it has to wait, or to be fair.
            loop.call_soon(self.leave_behind, task)
            end = loop.time() + SECONDS_A_TURN
            while self._owed and loop.time() < end:
                self._busy = True
                await self._owed.popleft().write_out()
                if self._task is not task:
                    return
                self._busy = False
            await asyncio.sleep(0)
        self._task = None
