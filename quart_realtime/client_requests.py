"""The requests of the Python client: which connection they go out on, and what waits for one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .client_link import Link
from .client_types import Closed, ConnectionLost, QueueFull

REMEMBERED = 110.0
"""For how many seconds the server surely remembers a key; it says two minutes."""
BATCH = 50
PAUSE = 1.0
"""How many of those that waited go out at once, and after how many seconds the next: servers
count messages."""


class Requests:
    """Sends requests on the present connection, or the next one if there is none.

    Args:
        queue_messages: How many may wait for a connection; past that :class:`QueueFull` is raised.
        queue_bytes: How many bytes they may have together.

    """

    def __init__(self, queue_messages: int, queue_bytes: int) -> None:
        self._most_messages = queue_messages
        self._most_bytes = queue_bytes
        self._messages = 0
        self._bytes = 0
        self._link: Link | None = None
        self._door = asyncio.Lock()
        self._gone_out = 0
        self._hopeless = True
        self._final: Closed | None = None
        self._logins = 0
        # Set while there is a connection, or none to hope for.
        self._settled = asyncio.Event()

    def begin(self) -> None:
        """Hope for a connection."""
        self._hopeless, self._final = False, None
        self._settled = asyncio.Event()

    def opened(self, link: Link) -> None:
        """Send what waits, and all that follows, on *link*."""
        self._link = link
        self._gone_out = 0
        self._settled.set()

    def lost(self) -> None:
        """Let what follows wait for the next connection."""
        self._link = None
        self._settled.clear()

    def end(self, error: Closed | None) -> None:
        """Refuse what waits and all that follows, because of *error* if there is one."""
        self._hopeless, self._final = True, error
        self._settled.set()

    def refuse(self) -> None:
        """Refuse what waits: what one user asked isn't sent as another."""
        self._logins += 1

    async def link(self) -> Link:
        """Return the present connection, or the next one.

        Raises:
            ConnectionLost: there will be none.

        """
        while self._link is None:
            self.check_hope()
            await self._settled.wait()
        return self._link

    def check_hope(self) -> None:
        """Raise ConnectionLost where no connection is to be hoped for."""
        if self._hopeless:
            raise ConnectionLost(maybe_processed=False) from self._final

    async def ask(self, frame_id: str, text: str, *, retry: bool) -> Any:
        """Return the answer to the frame *text*.

        Args:
            frame_id: Its id.
            text: The frame; with *retry* it has an idempotency key.
            retry: Whether to ask again where the answer was lost.

        Raises:
            RealtimeError: the server refused it.
            ConnectionLost: no connection is to be had, or the answer was lost.
            QueueFull: too many wait already.

        """
        now = asyncio.get_running_loop().time
        first_sent: float | None = None
        login = self._logins
        while True:
            sent = first_sent is not None
            if self._link is None or self._messages > 0:
                # What was sent once isn't refused later.
                with self._place(len(text.encode()), force=sent):
                    await self._turn()
            link = await self.link()
            # Another user's, or the server may have forgotten the key and would do it twice.
            if login != self._logins or (first_sent and now() - first_sent > REMEMBERED):
                raise ConnectionLost(maybe_processed=sent)
            first_sent = first_sent or now()
            try:
                return await link.ask(frame_id, text)
            except ConnectionLost:
                if not retry:
                    raise

    async def _turn(self) -> None:
        """Wait for a connection, and on it for those who waited before."""
        async with self._door:  # Whoever comes first goes first.
            await self.link()
            if self._gone_out == BATCH:
                await asyncio.sleep(PAUSE)
                self._gone_out = 0
                await self.link()
            self._gone_out += 1

    @contextmanager
    def _place(self, size: int, *, force: bool) -> Iterator[None]:
        """Hold a place in the queue for a message of *size* bytes, past its bounds with *force*."""
        full = self._messages >= self._most_messages or self._bytes + size > self._most_bytes
        if full and not force:
            raise QueueFull(self._messages, self._bytes)
        self._messages += 1
        self._bytes += size
        try:
            yield
        finally:
            self._messages -= 1
            self._bytes -= size
