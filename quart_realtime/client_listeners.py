"""How what comes in reaches the app: callbacks and streams, with tasks that have an owner."""

from __future__ import annotations

import asyncio
import inspect
import logging
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self, TypeAlias

from .client_types import Event

logger = logging.getLogger("quart_realtime.client")

BUFFER = 1000
"""How many events may wait for a stream's reader, or for a slow asynchronous callback."""

Callback: TypeAlias = Callable[[Any], object]
Undo: TypeAlias = Callable[[], None]


class Tasks:
    """Tasks with one owner, who ends with none of them left."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work*; an exception that it lets through is a mistake, and logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a task of the client failed", exc_info=error)

    async def end(self, grace: float = 0.0) -> None:
        """Wait *grace* seconds for the tasks, then cancel those that are left.

        One of the tasks may ask for it: that one goes on.
        """
        me = asyncio.current_task()
        # A task that is cancelled before its first step would never await what it was given.
        await asyncio.sleep(0)
        if grace and (others := self._tasks - {me}):
            await asyncio.wait(others, timeout=grace)
        while others := {task for task in self._tasks if task is not me}:
            for task in others:
                task.cancel()
            await asyncio.wait(others)


class Listener:
    """One callback, called with one value after the other.

    While an asynchronous one is busy the next values wait; past :data:`BUFFER` the oldest fall
    out, and that is logged. What it raises is logged too.
    """

    def __init__(self, callback: Callback, tasks: Tasks) -> None:
        self._callback = callback
        self._tasks = tasks
        self._waiting: deque[Any] = deque(maxlen=BUFFER)
        self._busy = False

    def tell(self, value: Any) -> None:
        """Call the callback, or have it called in its turn."""
        if self._busy:
            if len(self._waiting) == BUFFER:
                logger.warning("%r is too slow: an event was dropped", self._callback)
            self._waiting.append(value)
        elif (work := self._call(value)) is not None:
            self._busy = True
            self._tasks.spawn(self._go_on(work))

    def stop(self) -> None:
        """Call it no more, not even with what waits."""
        self._waiting.clear()

    def _call(self, value: Any) -> Awaitable[object] | None:
        try:
            outcome = self._callback(value)
        except Exception:
            logger.exception("%r raised", self._callback)
            return None
        return outcome if inspect.isawaitable(outcome) else None

    async def _go_on(self, work: Awaitable[object] | None) -> None:
        try:
            while True:
                if work is not None:
                    await self._finish(work)
                if not self._waiting:
                    break
                work = self._call(self._waiting.popleft())
        finally:
            self._busy = False

    async def _finish(self, work: Awaitable[object]) -> None:
        try:
            await work
        except Exception:
            logger.exception("%r raised", self._callback)


class Listeners:
    """Callbacks by the name of what they are for."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._by_name: dict[str, list[Listener]] = {}

    def add(self, name: str, callback: Callback) -> Undo:
        """Call *callback* with each value told under *name*, until the returned undo is called."""
        listener = Listener(callback, self._tasks)
        own = self._by_name.setdefault(name, [])
        own.append(listener)

        def undo() -> None:
            if listener in own:
                own.remove(listener)
                listener.stop()

        return undo

    def tell(self, name: str, value: Any) -> None:
        """Hand *value* to each callback under *name*; one that raises doesn't stop the others."""
        # A copy: a callback may register others or undo itself.
        for listener in tuple(self._by_name.get(name, ())):
            listener.tell(value)


class Stream:
    """Events for one reader, who may come late or be slow.

    At most :data:`BUFFER` wait; past that the oldest fall out and :attr:`dropped` counts them.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._events: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None

    def push(self, event: Event) -> None:
        """Let *event* wait for the reader."""
        if len(self._events) == BUFFER:
            self._events.popleft()
            self.dropped += 1
        self._events.append(event)
        self._changed.set()

    def end(self, error: Exception | None = None) -> None:
        """End the iteration after what waits, by raising *error* if there is one."""
        if not self._ended:
            self._ended, self._error = True, error
            self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._ended:
                raise self._error or StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._events.popleft()


class EventSource:
    """What an app can listen to: the part of the client that faces it."""

    def __init__(self) -> None:
        self._tasks = Tasks()
        self._on_event = Listeners(self._tasks)
        self._hooks = Listeners(self._tasks)
        # Weak: a stream that nobody holds any longer needn't be filled.
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()

    def on(self, event: str, callback: Callback) -> Undo:
        """Call ``callback(data)`` with each *event*, of any room, until the undo is called.

        What a callback raises is logged; an asynchronous one gets its events one after the other.
        """
        return self._on_event.add(event, callback)

    def on_connect(self, callback: Callback) -> Undo:
        """Call ``callback(payload)`` with the server's greeting at each connect."""
        return self._hooks.add("connect", callback)

    def on_disconnect(self, callback: Callback) -> Undo:
        """Call ``callback(disconnect)``, a :class:`Disconnect`, at each end of a connection.

        The last one has ``reconnecting=False``, also where no connection could be had again.
        """
        return self._hooks.add("disconnect", callback)

    def on_error(self, callback: Callback) -> Undo:
        """Call ``callback(exception)`` with what no request is answered by.

        That is: an attempt to connect that failed, a token that couldn't be had, a room that was
        given up, an error that the server told out of turn.
        """
        return self._hooks.add("error", callback)

    def on_recovered(self, callback: Callback) -> Undo:
        """Call ``callback(recovery)``, a :class:`Recovery`, for each room after each return."""
        return self._hooks.add("recovered", callback)

    def events(self) -> Stream:
        """Return an iterator over all events from now on.

        At most 1000 wait for a slow reader, past that the oldest fall out; the iterator's
        ``dropped`` counts them. It ends with the client, raising what that ended for.
        """
        stream = Stream()
        self._streams.add(stream)
        return stream

    def _deliver(self, event: Event) -> None:
        self._on_event.tell(event.type, event.data)
        for stream in tuple(self._streams):
            stream.push(event)

    def _end_streams(self, error: Exception | None) -> None:
        for stream in tuple(self._streams):
            stream.end(error)
