"""The rooms of the Python client: where it stands in each, and what the app holds of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeAlias

import msgspec
from attrs import define, field

from .client_link import EventFrame, Told
from .client_listeners import BUFFER, Callback, Listeners, Stream, Tasks, Undo
from .client_types import ConnectionLost, Event

HOPELESS = frozenset(
    {
        "bad_request",
        "validation_error",
        "unauthorized",
        "forbidden",
        "not_found",
        "payload_too_large",
    }
)
"""The errors of a room that won't pass by asking again."""


class Present(msgspec.Struct):
    """A user who is in a room, over so many connections."""

    user_id: str
    connections: int = 1


class RoomAnswer(msgspec.Struct):
    """What the server answered about one room."""

    room: str
    epoch: str | None = None
    offset: int | None = None
    recovered: bool = False
    events: list[EventFrame] = []
    presence: list[Present] | None = None
    error: Told | None = None


class Verdict(Enum):
    """What to do with an event, by its place in its room."""

    DELIVER = "deliver"
    DROP = "drop"
    """It was delivered before."""
    HOLD = "hold"
    """It is ahead of an answer that is on its way, and may be in there."""
    GAP = "gap"
    """Events before it are missing."""
    NEW_EPOCH = "new epoch"
    """The room's history began anew: what was missed can't be told."""


@define(eq=False)
class Track:
    """Where the client stands in a room.

    Attributes:
        joined: Whether the server put us in.
        subscribed: Whether a subscribe of ours was answered on this connection.
        awaiting: Whether one is on its way, or about to be tried again.
        returning: Whether we were in there before, so that an answer tells of a return.
        failures: How often it failed, or showed a gap, without a calm time in between.
        calm_since: Since when it has been without a failure; infinity: it hasn't.
        held: Live events that wait for its answer.
        present: Who is in the room, by user id.
        rooms: What the app holds of it.

    """

    name: str
    epoch: str | None = None
    offset: int = 0
    joined: bool = False
    subscribed: bool = False
    awaiting: bool = False
    returning: bool = False
    failures: int = 0
    calm_since: float = math.inf
    held: list[EventFrame] = field(factory=list)
    present: dict[str, int] = field(factory=dict)
    rooms: list[Room] = field(factory=list)

    def place(self) -> str | dict[str, Any]:
        """Return the room as a ``subscribe`` names it, with its position if there is one."""
        if self.epoch is None:
            return self.name
        return {"room": self.name, "epoch": self.epoch, "offset": self.offset}

    def move(self, epoch: str | None, offset: int | None) -> None:
        """Stand at another place."""
        self.epoch, self.offset = epoch, offset or 0

    def lose_connection(self) -> None:
        """Forget what held for one connection only."""
        self.subscribed = self.awaiting = False
        self.failures, self.calm_since = 0, math.inf
        self.held.clear()

    def judge(self, frame: EventFrame) -> Verdict:
        """Tell what to do with a live event; the position moves with what is to be delivered."""
        if frame.offset is None:
            return Verdict.DELIVER
        same = frame.epoch in (None, self.epoch)
        if self.epoch is not None and same:
            if frame.offset <= self.offset:
                return Verdict.DROP
            if frame.offset > self.offset + 1:
                return Verdict.HOLD if self.awaiting else Verdict.GAP
        elif self.awaiting:
            return Verdict.HOLD
        verdict = Verdict.DELIVER if same or self.epoch is None else Verdict.NEW_EPOCH
        self.move(self.epoch if same else frame.epoch, frame.offset)
        return verdict

    def hold(self, frame: EventFrame) -> None:
        """Keep *frame* until the answer is there.

        Past the limit the one before it isn't kept, so that the last shows what is missing.
        """
        if len(self.held) == BUFFER:
            self.held.pop()
        self.held.append(frame)

    def release(self) -> list[EventFrame]:
        """Return what was held."""
        held, self.held = self.held, []
        return held

    def take(self, answer: RoomAnswer) -> list[EventFrame]:
        """Stand where *answer* says, and return the missed events that weren't delivered before."""
        missed = []
        if answer.recovered and answer.epoch == self.epoch:
            missed = [frame for frame in answer.events if (frame.offset or 0) > self.offset]
        if answer.epoch != self.epoch:
            self.move(answer.epoch, answer.offset)
        else:
            # A live event may have come before the answer, and after it was made.
            self.offset = max(self.offset, answer.offset or 0)
        if answer.presence is not None:
            self.present = {user.user_id: user.connections for user in answer.presence}
        self.awaiting, self.subscribed = False, True
        return missed

    def note_presence(self, kind: str, data: Any) -> None:
        """Note who came or went."""
        user_id = data.get("user_id") if isinstance(data, dict) else None
        if not isinstance(user_id, str):
            return
        if kind == "presence_join":
            self.present.setdefault(user_id, 1)
        elif kind == "presence_leave":
            self.present.pop(user_id, None)


Leave: TypeAlias = Callable[["Room"], Awaitable[None]]


class Room:
    """A room that the app follows; iterate over it, or register callbacks.

    Events wait for the iteration from :meth:`Client.subscribe` on: at most 1000, past that the
    oldest fall out and :attr:`dropped` counts them. The iteration ends with :meth:`unsubscribe`,
    when the server takes the client out of the room, and with the client; it raises what the
    client or the room was given up for.

    Attributes:
        name: The room's name.
        recovered: Whether the last return to the room missed nothing.

    """

    def __init__(self, track: Track, leave: Leave, tasks: Tasks) -> None:
        self.name = track.name
        self.recovered = True
        self._track = track
        self._leave = leave
        self._stream = Stream()
        self._on_event = Listeners(tasks)
        self._on_recovered = Listeners(tasks)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Room {self.name!r}>"

    @property
    def presence(self) -> dict[str, int]:
        """Who is in the room, by user id, and how many connections each had when we were told."""
        return dict(self._track.present)

    @property
    def dropped(self) -> int:
        """How many events fell out, because the iteration was too slow."""
        return self._stream.dropped

    def on(self, event: str, callback: Callback) -> Undo:
        """Call ``callback(data)`` with each *event* of this room, until the undo is called."""
        return self._on_event.add(event, callback)

    def on_recovered(self, callback: Callback) -> Undo:
        """Call ``callback(recovered)`` after each return to the room, until the undo is called."""
        return self._on_recovered.add("recovered", callback)

    async def unsubscribe(self) -> None:
        """Leave the room; the iteration ends after what waits."""
        await self._leave(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.unsubscribe()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._stream)

    # What the client needs

    @property
    def is_ready(self) -> bool:
        """Whether the first subscribe was answered."""
        return self._ready.done()

    async def wait_ready(self) -> None:
        """Wait for the answer to the first subscribe, and raise what it was refused for."""
        await self._ready

    def deliver(self, event: Event) -> None:
        """Hand *event* to the app."""
        self._stream.push(event)
        self._on_event.tell(event.type, event.data)

    def resumed(self, recovered: bool) -> None:
        """Take note of an answer: the first makes the room ready, the others tell of a return."""
        if not self._ready.done():
            self._ready.set_result(None)
            return
        self.recovered = recovered
        self._on_recovered.tell("recovered", recovered)

    def end(self, error: Exception | None = None) -> None:
        """End the iteration, by raising *error* if there is one."""
        if not self._ready.done():
            self._ready.set_exception(error or ConnectionLost(maybe_processed=False))
        self._stream.end(error)
