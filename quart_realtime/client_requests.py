"""The requests of the Python client: which connection they go out on, and what waits for one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Any

from .client_link import Link
from .client_types import Closed, ConnectionLost, QueueFull

REMEMBERED = 110.0
"""For how many seconds the server surely remembers a key; it says two minutes."""
BATCH = 8
PAUSE = 0.1
"""How many of those that waited go out at once, and after how many seconds the next: servers
count messages."""


class Requests:
    """Sends requests on the present connection, or the next one if there is none.

    Args:
        queue_messages: How many may wait for a connection; past that :class:`QueueFull` is raised.
        queue_bytes: How many bytes they may have together.
        clock: Returns the wall clock's time in seconds, also of a machine that has slept.

    """

    def __init__(self, queue_messages: int, queue_bytes: int, clock: Callable[[], float]) -> None:
        self._most_messages = queue_messages
        self._most_bytes = queue_bytes
        self._clock = clock
        self._bytes = 0
        self._link: Link | None = None
        self._hopeless = True
        self._final: Closed | None = None
        self._numbers = itertools.count()
        # Requests that wait for their turn on a connection, by the order they were made in.
        self._waiting: dict[int, asyncio.Future[Link]] = {}
        self._watching: set[asyncio.Future[Link]] = set()

    def begin(self) -> None:
        """Hope for a connection."""
        self._hopeless, self._final = False, None

    def opened(self, link: Link) -> None:
        """Send what waits, and all that follows, on *link*."""
        self._link = link
        for future in self._watching:
            if not future.done():
                future.set_result(link)
        link.tasks.spawn(self._send_in_turn(link))

    def lost(self) -> None:
        """Let what follows wait for the next connection."""
        self._link = None

    def end(self, error: Closed | None) -> None:
        """Refuse what waits and all that follows, because of *error* if there is one."""
        self._link = None
        self._hopeless, self._final = True, error
        self.refuse()
        self._fail(self._watching)

    def refuse(self) -> None:
        """Refuse what waits: what one user asked isn't sent as another."""
        self._fail(self._waiting.values())

    def _fail(self, futures: Iterable[asyncio.Future[Link]]) -> None:
        for future in futures:
            if not future.done():
                future.set_exception(ConnectionLost(maybe_processed=False))

    async def link(self) -> Link:
        """Return the present connection, or the next one.

        Raises:
            ConnectionLost: there will be none.

        """
        if self._link is not None:
            return self._link
        self.check_hope()
        future: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._watching.add(future)
        try:
            return await future
        finally:
            self._watching.discard(future)

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
        number = next(self._numbers)
        first_sent: float | None = None
        while True:
            link = self._link
            try:
                if link is None or self._waiting:
                    link = await self._turn(number, len(text.encode()), first_sent is not None)
            except ConnectionLost as error:
                raise ConnectionLost(maybe_processed=first_sent is not None) from error.__cause__
            now = self._clock()
            if first_sent is not None and now - first_sent > REMEMBERED:
                # The server may have forgotten the key by now, and do it twice.
                raise ConnectionLost(maybe_processed=True)
            first_sent = now if first_sent is None else first_sent
            try:
                return await link.ask(frame_id, text)
            except ConnectionLost:
                if not retry:
                    raise

    async def _turn(self, number: int, size: int, was_sent: bool) -> Link:
        """Wait for a connection, and on it for those made before; return it."""
        self.check_hope()
        full = len(self._waiting) >= self._most_messages or self._bytes + size > self._most_bytes
        if full and not was_sent:  # What was sent once isn't refused later.
            raise QueueFull(len(self._waiting), self._bytes)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._bytes += size
        try:
            return await self._waiting[number]
        finally:
            del self._waiting[number]
            self._bytes -= size

    async def _send_in_turn(self, link: Link) -> None:
        """Give those who wait their turn on *link*."""
        while self._waiting:
            waiting = [self._waiting[number] for number in sorted(self._waiting)]
            for future in [future for future in waiting if not future.done()][:BATCH]:
                future.set_result(link)
            await asyncio.sleep(PAUSE)
