"""An event stream as a connection sees it: a socket that is written to, and read from by no one.

WHATWG HTML, "Server-sent events": each frame is the ``data:`` of one event. The response's body
takes what is owed at its own pace, which is the server's, and so the client's.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from typing import Protocol
from weakref import WeakSet

import msgspec
from attrs import frozen

from .bookmark import Bookmark, Places
from .frames import Frame
from .protocol import CloseCode
from .transport import PATIENCE, Take
from .writing import CHUNK

SECONDS_A_TURN = 0.01
"""For how long whoever brings events waits for the streams that take them."""
_EVENT = b"data: %b\n\n"


class Line(Protocol):
    """What lies under a response, as far as it is known."""

    def hang_up(self) -> None:
        """Free the connection at once, or end what is this response's alone of it."""

    async def drained(self) -> None:
        """Return when the server keeps nothing back of what it was given."""


@frozen
class Opening:
    """How a stream begins: *code* is what it is refused with, None where it is open.

    *retry_after* is within how many seconds to come back, where the refusal says so.
    """

    code: int | None = None
    retry_after: float | None = None


class _Head(msgspec.Struct):
    type: str
    payload: dict[str, msgspec.Raw] = {}


_heads = msgspec.json.Decoder(_Head)
_wait = msgspec.json.Decoder(int | None)


class _Owed(msgspec.Struct, frozen=True, gc=False):
    """A frame that waits to be taken: its JSON, the same bytes for all, and what is told before."""

    data: bytes
    told: bytes

    def __len__(self) -> int:
        return len(self.told) + len(_EVENT) - len(b"%b") + len(self.data)


class StreamTransport:
    """One response's event stream.

    Args:
        limit: How many bytes may wait to be taken.
        places: Where its reader stood before.
        line: What lies under the response, None where that isn't known.

    Attributes:
        pending: How many bytes wait to be written.
        late: Whether it was waited for in vain since something was written.

    """

    def __init__(self, limit: int, places: Places, line: Line | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.pending = 0
        self.late = False
        self._limit = limit
        self._line = line
        self._bookmark = Bookmark(places)
        self._owed: deque[_Owed] = deque()
        self._in_flight = b""
        self._looked_at = b""
        self._news = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()
        self._opening: asyncio.Future[Opening] = loop.create_future()
        self._retry_after: float | None = None
        self._gone: asyncio.Future[int] = loop.create_future()
        self._code: int | None = None
        self._finishing = False
        self._writer: asyncio.Task[object] | None = None

    # What a connection does

    def is_stalled(self) -> bool:
        """Tell whether something waits, and nothing has been written since this was last asked."""
        before, self._looked_at = self._looked_at, self._in_flight
        return bool(before) and before is self._in_flight

    async def accept(self, subprotocol: str | None) -> bool:
        """Agree: the response begins when it is known how."""
        return not self._gone.done()

    async def serve(self, take: Take, first: Awaitable[None] | None = None) -> int:
        """Wait until the stream has ended; return its close code. Nothing comes in here."""
        if first is not None:
            await first
        return await self._gone

    def send(self, frame: Frame, *, last: bool = False) -> bool:
        """Write *frame* after all that was sent before, without waiting for it."""
        if self._gone.done() or self._finishing or self._bookmark.pass_over(frame):
            return True
        size = len(frame)
        if self.pending and self.pending + size > self._limit and not last:
            return False
        told = self._look_at(frame) if last or not self._opening.done() else b""
        owed = _Owed(frame.data, told)
        self._owed.append(owed)
        self.pending += len(owed)
        self._written.clear()
        self._news.set()
        return True

    def _look_at(self, frame: Frame) -> bytes:
        """See whether the stream is open now, or when to come back; return what to say of that."""
        head = _heads.decode(frame.data)
        if head.type == "connected":
            self._opening.set_result(Opening())
        elif head.type == "closing":
            wait = _wait.decode(head.payload["retry_after_ms"])
            if wait is not None:
                self._retry_after = wait / 1000
                # A browser comes back by itself after so long, and not all are to come at once.
                return b"retry: %d\n" % random.randint(0, wait)  # noqa: S311  # nosec B311
        return b""

    async def close(self, code: int, reason: str, patience: float = PATIENCE) -> None:
        """End the response when what waits has been written, or by force *patience* later."""
        self._code = code
        self._finishing = True
        self._news.set()
        if not self._opening.done():
            self._opening.set_result(Opening(code, self._retry_after))
        try:
            async with asyncio.timeout(patience):
                await self._written.wait()
        except TimeoutError:
            self.abort()
        self._end(code)

    def abort(self) -> None:
        """Drop what waits, and free the connection as far as that can be done."""
        writer, self._writer = self._writer, None
        if writer is not None and not self._written.is_set():
            if self._line is not None:
                self._line.hang_up()
            writer.cancel()
        self._drop()
        self._end(CloseCode.ABNORMAL)

    # What the response does

    async def opened(self) -> Opening:
        """Return how the stream begins, when that is known."""
        return await asyncio.shield(self._opening)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what is owed, until the stream ends."""
        self._writer = asyncio.current_task()
        while not self._gone.done() or self._owed:
            if self._owed:
                yield self._take_chunk()
                if self._line is not None:
                    await self._line.drained()
            elif self._finishing:
                break
            else:
                self._drop()
                self._news.clear()
                await self._news.wait()
        self._drop()

    def _take_chunk(self) -> bytes:
        """Return as much as is written at once; what was taken before has been.

        One ``id:`` line is enough for all of it, with the last frame that moved the bookmark:
        those before it have none to be read, and what is yet to be written isn't in it.
        """
        self.pending -= len(self._in_flight)
        self.late = False
        taken: list[bytes] = []
        size = 0
        moved: int | None = None
        while self._owed and (not taken or size + len(self._owed[0]) <= CHUNK):
            owed = self._owed.popleft()
            size += len(owed)
            if self._bookmark.note(owed.data):
                moved = len(taken)
            taken.append(owed.told + _event(owed.data))
        if moved is not None:
            line = b"id: %b\n" % self._bookmark.text().encode()
            taken[moved] = line + taken[moved]
            self.pending += len(line)
        self._in_flight = b"".join(taken)
        return self._in_flight

    def gone(self) -> None:
        """Learn that the response has ended, however that came."""
        self._writer = None
        self._drop()
        self._end(self._code or CloseCode.ABNORMAL)

    def _drop(self) -> None:
        self._owed.clear()
        self._in_flight = self._looked_at = b""
        self.pending = 0
        self.late = False
        self._written.set()

    def _end(self, code: int) -> None:
        if not self._gone.done():
            self._gone.set_result(int(code))
        if not self._opening.done():
            self._opening.set_result(Opening(int(code), self._retry_after))
        self._news.set()


class Streams:
    """All event streams of a process."""

    def __init__(self) -> None:
        self._all: WeakSet[StreamTransport] = WeakSet()

    def add(self, stream: StreamTransport) -> None:
        """Take *stream* in, for as long as it lives."""
        self._all.add(stream)

    async def catch_up(self) -> None:
        """Wait a moment for the streams whose readers take what they are owed."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SECONDS_A_TURN
        busy = [stream for stream in self._all if stream.pending and not stream.late]
        while busy and loop.time() < end:
            await asyncio.sleep(0)
            busy = [stream for stream in busy if stream.pending]
        for stream in busy:
            stream.late = True


def as_event(frame: Frame) -> bytes:
    """Write *frame* as an event of a stream."""
    return _event(frame.data)


def _event(data: bytes) -> bytes:
    if b"\n" in data or b"\r" in data:
        # They can only be white space: within a string JSON has none.
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return _EVENT % data
