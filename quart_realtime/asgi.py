"""Plain ASGI, right on any server: one task writes to all sockets that don't let it wait."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any, cast

from .frames import Frame
from .inside import reset, would_wait
from .settings import Settings
from .transport import CLOSE_GRACE, PATIENCE, Receive, Send, Take

logger = logging.getLogger("quart_realtime")

SECONDS_A_TURN = 0.01
"""For how long sockets are written to before other work gets its turn."""
SOCKETS_A_LOOK = 8
"""After how many of them the clock is looked at."""
PATIENCE_AFTER_END = 60.0
"""For how many seconds what a client sends after its end is taken from the server, unread."""


class ASGITransport:
    """A socket by way of ASGI's receive and send.

    Args:
        receive: The server's.
        send: The server's.
        writers: Write to it.
        settings: The app's.
        under: What lies under it, None where that isn't known: the server frees it then.

    """

    __slots__ = (
        "_deadline",
        "_ended",
        "_interrupted",
        "_limit",
        "_parted",
        "_reading",
        "_receive",
        "_turn",
        "_under",
        "_writers",
        "_written",
        "in_flight",
        "looked_at",
        "owed",
        "pending",
        "put",
        "writer",
    )

    def __init__(
        self,
        receive: Receive,
        send: Send,
        writers: Writers,
        settings: Settings,
        under: asyncio.Transport | None = None,
    ) -> None:
        self.put = send
        self._under = under
        self._receive = receive
        self._writers = writers
        self._limit = settings.send_buffer
        # The writers': what is owed, what is being written and by which task, the size of both, and
        # what was being written when that was last looked at.
        self.owed: Frame | deque[Frame] | None = None
        self.in_flight: Frame | None = None
        self.writer: asyncio.Task[None] | None = None
        self.pending = 0
        self.looked_at: Frame | None = None
        self._written: asyncio.Future[None] | None = None
        self._reading: asyncio.Timeout | None = None
        self._deadline: float | None = None
        self._ended = False
        # Who receives has it, or who puts the close frame: Granian can't close while it receives.
        self._turn = asyncio.Lock()
        self._interrupted = False
        # Whether the server has said that the websocket has ended.
        self._parted = False

    def is_stalled(self) -> bool:
        """Tell whether something waits, and nothing has been written since this was last asked."""
        before, self.looked_at = self.looked_at, self.in_flight
        return before is not None and before is self.in_flight

    async def accept(self, subprotocol: str | None) -> bool:
        """Complete the handshake, with the subprotocol chosen."""
        await self.put({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
        return True

    async def serve(self, take: Take, first: Awaitable[None] | None = None) -> int:
        """Hand each message to *take* until the socket has ended; return its close code."""
        try:
            while True:
                try:
                    async with asyncio.timeout_at(self._deadline) as self._reading:
                        return await self._listen(take, first)
                except TimeoutError:
                    if self._reading is None or not self._reading.expired():
                        raise
                    if not self._interrupted:
                        # Closed by us, and the client took too long to answer: it ends all the
                        # same.
                        self._writers.outlive(self._ignore_the_rest())
                        return 1006
                # The close frame is put first; what comes then may well be the client's answer.
                self._interrupted, first = False, None
        finally:
            self._reading = None

    async def _listen(self, take: Take, first: Awaitable[None] | None) -> int:
        while True:
            if first is not None:
                await first
                first = None
            async with self._turn:
                while first is None:
                    event = await self._receive()
                    if event["type"] == "websocket.disconnect":
                        self._parted = True
                        return int(event.get("code", 1005))
                    if event["type"] == "websocket.receive":
                        text = event.get("text")
                        first = take(event.get("bytes") or b"" if text is None else text)

    async def _ignore_the_rest(self) -> None:
        """Receive what still comes, for a while, or the server might never come to its end.

        Hypercorn puts its own end into the same queue, and hangs up after that: a client that goes
        on sending would keep the queue full, and its socket open.
        """
        with suppress(Exception):  # Servers differ in what they say after the end.
            async with asyncio.timeout(PATIENCE_AFTER_END):
                while (await self._receive())["type"] != "websocket.disconnect":
                    pass

    def send(self, frame: Frame, *, last: bool = False) -> bool:
        """Write *frame* after all that was sent before, without waiting for it."""
        if self._ended:
            return True
        size = len(frame.data)
        if self.pending and self.pending + size > self._limit and not last:
            return False
        self.pending += size
        owed = self.owed
        if owed is None:
            self.owed = frame
            if self.in_flight is None:
                self._writers.add(self)
        elif isinstance(owed, deque):
            owed.append(frame)
        else:
            self.owed = deque((owed, frame))
        return True

    def next_frame(self) -> Frame | None:
        """Return the frame that is to be written next, None where nothing is owed."""
        owed = self.owed
        if not isinstance(owed, deque):
            self.owed = None
            return owed
        frame = owed.popleft()
        if not owed:
            self.owed = None
        return frame

    def tell_written(self) -> None:
        """Let the close go on that waits for it."""
        if self._written is not None and not self._written.done():
            self._written.set_result(None)

    async def close(self, code: int, reason: str, patience: float = PATIENCE) -> None:
        """Write what waits, for *patience* seconds at most, and then the close frame."""
        if self.pending:
            if self._written is None:
                self._written = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._written], timeout=patience)
        if self.pending and self._under is not None:
            self.abort()
            return
        if not self._ended:
            self.drop()
            try:
                async with asyncio.timeout(patience):
                    self._interrupt()
                    async with self._turn:
                        await self.put({"type": "websocket.close", "code": code, "reason": reason})
            except Exception:
                logger.debug("closing a socket failed", exc_info=True)
        self._end_reading(CLOSE_GRACE)

    def _interrupt(self) -> None:
        """Have who receives give up its turn; whoever waits for that already has the next."""
        if self._turn.locked() and self._reading is not None:
            with suppress(RuntimeError):  # It may be ending by itself.
                self._reading.reschedule(asyncio.get_running_loop().time())
                self._interrupted = True

    def _end_reading(self, seconds: float) -> None:
        self._deadline = asyncio.get_running_loop().time() + seconds
        if self._reading is not None:
            with suppress(RuntimeError):  # It may have ended by itself.
                self._reading.reschedule(self._deadline)

    def abort(self) -> None:
        """Drop what waits and end; the server frees the socket when it can, or it is freed here."""
        self.drop()
        under, self._under = self._under, None
        if under is not None:
            if self._reading is not None:
                reset(under)
            elif self._parted:
                # Who has said goodbye may still be reading what was written before.
                asyncio.get_running_loop().call_later(CLOSE_GRACE, _free, under)
            else:
                _free(under)
        self._end_reading(0)

    def drop(self) -> None:
        """Drop what waits; nothing is written any more."""
        self._ended = True
        self.owed = self.in_flight = None
        self.pending = 0
        self.tell_written()
        writer = self.writer
        if writer is not None and writer is not asyncio.current_task():
            self._writers.leave_behind(writer)
            writer.cancel()


def _free(under: asyncio.Transport) -> None:
    """Free a socket where the server would wait for a peer that takes no more."""
    if would_wait(under):
        reset(under)


class Writers:
    """Writes to one socket after the other, in one task, and leaves behind whoever lets it wait.

    A task for each socket would cost more than the writing; waiting for each would let one slow
    peer hold up all. So when a write makes the task wait, another one goes on with the rest.
    """

    def __init__(self) -> None:
        self._owed: deque[ASGITransport] = deque()
        self._task: asyncio.Task[None] | None = None
        self._busy = False
        # The event loop keeps only weak references to tasks.
        self._left_behind: set[asyncio.Task[None]] = set()

    def add(self, socket: ASGITransport) -> None:
        """Have *socket* written to; once is enough until then."""
        self._owed.append(socket)
        if self._task is None:
            self._go_on()

    async def catch_up(self) -> None:
        """Wait until no socket is owed anything, but for those that let it wait."""
        while (task := self._task) is not None:
            await asyncio.wait([task], timeout=SECONDS_A_TURN)

    def leave_behind(self, task: asyncio.Task[None]) -> None:
        """Go on without *task*, which waits for the socket that it writes to."""
        if task is self._task and self._busy:
            self._left_behind.add(task)
            task.add_done_callback(self._left_behind.discard)
            self._go_on()

    def outlive(self, work: Coroutine[Any, Any, None]) -> None:
        """Have *work* done, though the connection that it is for has ended."""
        task = asyncio.get_running_loop().create_task(work)
        self._left_behind.add(task)
        task.add_done_callback(self._left_behind.discard)

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
                if not await self._write(min(len(self._owed), SOCKETS_A_LOOK), task):
                    return
                self._busy = False
            await asyncio.sleep(0)
        self._task = None

    async def _write(self, sockets: int, task: asyncio.Task[None]) -> bool:
        """Write to so many sockets; False where one has let *task* wait and be left behind."""
        for _ in range(sockets):
            socket = self._owed.popleft()
            socket.writer = task
            try:
                while (frame := socket.next_frame()) is not None:
                    socket.in_flight = frame
                    await socket.put({"type": "websocket.send", "text": frame.text, "bytes": None})
                    if socket.in_flight is None:  # It was aborted meanwhile.
                        break
                    socket.pending -= len(frame.data)
                    socket.in_flight = socket.looked_at = None
                    if socket.owed is None:
                        socket.tell_written()
                        break
            except Exception:
                # Each server raises errors of its own when the peer has gone; it says so by
                # websocket.disconnect too, which ends the connection.
                logger.debug("writing to a socket failed", exc_info=True)
                socket.drop()
            finally:
                socket.writer = None
            if self._task is not task:
                return False
        return True
