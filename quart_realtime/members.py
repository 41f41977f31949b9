"""Who is in a room: what a member is told live, what waits, and what it knows already."""

from __future__ import annotations

from typing import Any, Protocol

from attrs import define, evolve

from .broker import PRIVATE, Presence, Recovery, comings
from .frames import Frame, event_frame, skipped_frame
from .protocol import Event, Position

HELD_EVENTS = 1000
"""How many live events a subscriber's resume may hold back before it has lost its place."""
_COMINGS = comings("")


class Subscriber(Protocol):
    """Whoever is in rooms: a connection, as far as the hub needs to know it."""

    id: str
    rooms: set[str]

    def deliver(self, frame: Frame) -> None:
        """Write *frame*, without waiting."""

    def lose_place(self) -> None:
        """Learn that events were lost: close, so that the client resumes from its positions."""

    def send_away(self, reason: str) -> None:
        """Close, for good: the app wishes it."""

    async def join(self, room: str) -> None:
        """Join *room* on the app's word, and tell the client."""

    async def leave(self, room: str) -> None:
        """Leave *room* on the app's word, and tell the client."""

    async def recheck(self) -> None:
        """Ask again whether it may be here, and in the rooms that it has joined by itself."""

    async def send(self, event: str, data: Any) -> None:
        """Send an event to this one alone."""

    async def close(self, code: int, reason: str) -> None:
        """Close with a code of the app's."""

    def hear(self, text: str) -> None:
        """Take a message that its client has sent by another way."""


@define(eq=False)
class Member:
    """A subscriber in a room.

    While *held* is a list its live events wait there. *told* is the place that it was told when it
    joined: what comes live and isn't past that is known to it already; *attendance* likewise of who
    comes and goes. *direct* is whether none of that matters any more. *present* tells whether the
    user has been made known to the room.
    """

    subscriber: Subscriber
    user_id: str | None
    held: list[Event] | None = None
    told: Position | None = None
    attendance: Position | None = None
    direct: bool = False
    present: bool = False

    def hold(self) -> None:
        """Have live events wait from now on."""
        self.direct = False
        self.held = [] if self.held is None else self.held

    def deliver(self, event: Event, frame: Frame) -> None:
        """Pass *event* on, or hold it back; *frame* is the event, encoded."""
        if self.held is None:
            self._take(event, frame)
        elif len(self.held) < HELD_EVENTS:
            self.held.append(event)
        else:
            self.subscriber.lose_place()

    def release(self, told: Position | None) -> None:
        """Deliver what was held back and is past *told*, and from now on all that is."""
        held, self.held = self.held, None
        if told is not None and told.epoch is not None:
            self.told = told
        self._settle()
        for event in held or ():
            self._take(event, frame_of(event))

    def _settle(self) -> None:
        self.direct = self.held is None and self.told is None and self.attendance is None

    def _take(self, event: Event, frame: Frame) -> None:
        if event.room.startswith(PRIVATE):
            if self.attendance is not None and _is_known(event, self.attendance):
                return
            self.attendance = None
            self._settle()
            self.subscriber.deliver(frame)
            return
        if self.told is not None and event.offset is not None:
            if _is_known(event, self.told):
                return
            # Offsets only grow: from here on there is nothing to compare.
            self.told = None
            self._settle()
        if event.exclude != self.subscriber.id:
            self.subscriber.deliver(frame)
        elif event.offset is not None:
            self.subscriber.deliver(skipped_frame(event))


def _is_known(event: Event, told: Position) -> bool:
    """Tell whether *event* is one of those up to *told*."""
    return event.epoch == told.epoch and (event.offset or 0) <= told.offset


def frame_of(event: Event) -> Frame:
    """Encode *event* as a member is told it."""
    room = watched_room(event.room)
    if room == event.room:
        return event_frame(event)
    # Numbered on the way, so that none is missed; clients count without them.
    return event_frame(evolve(event, room=room, offset=None, epoch=None))


def watched_room(room: str) -> str:
    """Return the room whose members are told what comes by *room*: it, or what it tells of."""
    return room.removeprefix(_COMINGS)


@define(eq=False)
class Entry:
    """A join that has been decided; :meth:`open` lets the live events through.

    Between the two the answer to the client is written, so that nothing overtakes it. One entry of
    a subscriber to a room is to be opened before the next is asked for.

    Attributes:
        recovery: What the subscriber missed.
        present: Who is in the room; None where it doesn't tell.

    """

    recovery: Recovery
    present: tuple[Presence, ...] | None
    _member: Member
    _told: Position | None

    def open(self) -> None:
        """Deliver what was held back and the answer doesn't stand for, and from now on all."""
        self._member.release(self._told)
