"""Writing to many sockets: once a turn of the event loop for each, and not all in one turn."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

logger = logging.getLogger("quart_realtime")

SOCKETS_A_TURN = 512
"""How many sockets are written to before other work gets its turn."""


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
            socket = owed.popleft()
            try:
                socket.flush()
            except Exception:
                logger.exception("writing to %r failed; the others are written to", socket)
        if owed:
            asyncio.get_running_loop().call_soon(self._run)
        else:
            self._idle.set()
