"""A model of publishers, nodes and clients: what was accepted, and what each client was told.

The clients are real as far as the hub goes: each has its :class:`Subscriptions` at a real
:class:`Hub`. What they are told is held against what the publishers were told.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, cast

import msgspec
from attrs import define, field, frozen

from quart_realtime.broker import Broker
from quart_realtime.errors import BrokerUnavailable
from quart_realtime.frames import Frame
from quart_realtime.hub import Hub
from quart_realtime.members import Entry
from quart_realtime.protocol import (
    PRESENCE_JOIN,
    PRESENCE_LEAVE,
    SKIPPED,
    HistoryPolicy,
    Position,
)
from quart_realtime.registry import HistoryPolicies
from quart_realtime.subscriptions import Subscriptions

from ..unit.fakes import Member, strict_json

KEPT, SHORT, FLEETING = "kept", "short", "fleeting"
ROOMS = {
    KEPT: HistoryPolicy(1000, 300),
    SHORT: HistoryPolicy(6, 300),
    FLEETING: HistoryPolicy(0, 300),
}
NUMBERED = (KEPT, SHORT)
PRESENCE = KEPT
"""The room that tells who is there."""
TRY_AGAIN = 0.02
"""How many seconds pass until what the broker could not do is tried again."""


T = TypeVar("T")


async def insist(call: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
    """Call until the broker is available; whoever calls this bounds it."""
    while True:
        try:
            return await call(*arguments, **options)
        except BrokerUnavailable:
            await asyncio.sleep(TRY_AGAIN)


class Rules:
    """Everybody may join, and the histories are those of :data:`ROOMS`."""

    async def admit(self, subscriber: Any, room: str) -> None: ...

    def has_presence(self, room: str) -> bool:
        return room == PRESENCE

    def let_in(self, subscriber: Any, told: Any, resumed: set[str]) -> None: ...

    def of(self, room: str) -> HistoryPolicy:
        return ROOMS[room]


@define(eq=False)
class Node:
    """A process: its hub, and the harm that it is known to have got over."""

    hub: Hub
    cuts: int = 0
    forgets: int = 0

    @classmethod
    def over(cls, broker: Broker) -> Node:
        return cls(Hub(broker, cast(HistoryPolicies, Rules())))


@frozen
class Accepted:
    """An event that a broker accepted, in which step, and where it said that it stands."""

    step: int
    data: str
    epoch: str | None
    offset: int | None
    exclude: str | None


@define(eq=False)
class Books:
    """What is known of all rooms.

    Attributes:
        step: How many steps have been made; what happens in one may happen in any order.
        cuts: How often links were cut.
        forgets: How often the server forgot what it had, counted before and after.
        accepted: All events, in the order in which their publishers were told.
        faults: What was told by two in different ways, or for nothing.
        news: Set whenever a client was told something.
    """

    step: int = 0
    cuts: int = 0
    forgets: int = 0
    accepted: dict[str, list[Accepted]] = field(factory=lambda: {room: [] for room in ROOMS})
    faults: list[str] = field(factory=list)
    news: asyncio.Event = field(factory=asyncio.Event)
    _said: dict[tuple[str, str | None, int], str] = field(factory=dict)
    _where: dict[tuple[str, str | None, str], int] = field(factory=dict)

    def witness(self, room: str, epoch: str | None, offset: int, data: str) -> None:
        """Hold what somebody says of an event against what others have said."""
        said = self._said.setdefault((room, epoch, offset), data)
        if said != data:
            self.faults.append(f"{room} {epoch}:{offset} is both {said} and {data}")
        where = self._where.setdefault((room, epoch, data), offset)
        if where != offset:
            self.faults.append(f"{data} is in {room} {epoch} at {where} and at {offset}")


@define(eq=False)
class Stay:
    """What a client has been told of a room since it knows all of it.

    Attributes:
        start: The offset that it was told at first; from there on it knows all of *epoch*.
        offset: The newest it was told.
        step: In which step that began.
        said: The numbered events.
        loose: The events without numbers, since it entered the room in step *entered*.
        calm_since: How often links had been cut by then, None if its node wasn't over all of it.
        gone: The users who left, as it was told.
        gaps: Offsets that it was told nothing of.
        skipped: Those of which it was told that they aren't for it.
    """

    epoch: str | None
    start: int
    step: int
    forgets: int
    offset: int = 0
    said: dict[int, str] = field(factory=dict)
    gaps: list[int] = field(factory=list)
    skipped: list[int] = field(factory=list)
    loose: list[str] = field(factory=list)
    entered: int = 0
    calm_since: int | None = None
    present: set[str] = field(factory=set)
    gone: list[str] = field(factory=list)


class Seat(Member):
    """One connection of a client to one node."""

    def __init__(self, name: str, client: Client, node: Node) -> None:
        super().__init__(name)
        self.client = client
        self.node = node
        self.lost = False
        self.faults: list[str] = []
        self.subscriptions = Subscriptions(self, node.hub, Rules(), 1 << 30)

    def deliver(self, frame: Frame) -> None:
        if self.client.seat is self and not self.lost:
            self.client.hear(self, strict_json(frame.text))

    def lose_place(self) -> None:
        books = self.client.books
        forgot = books.forgets != self.node.forgets
        overrun = SHORT in self.rooms and books.cuts != self.node.cuts
        if not forgot and not overrun:
            books.faults.append(f"{self.id} lost its place for nothing")
        self.lost = True
        self.client.books.news.set()

    async def join(self, room: str) -> None:
        await self.subscriptions.grant(room, self._granted)

    def _granted(self, place: dict[str, Any], entry: Entry) -> None:
        self.client.wants.add(place["room"])
        self.client.begin(self, place, self.client.books.forgets)
        entry.open()
        self.client.books.news.set()

    async def leave(self, room: str) -> None:
        if await self.subscriptions.withdraw(room):
            self.client.wants.discard(room)
            self.client.books.news.set()


class Marker(Member):
    """A connection on each node that is there for commands alone."""

    def __init__(self, name: str, books: Books) -> None:
        super().__init__(name)
        self._books = books

    def lose_place(self) -> None:
        super().lose_place()
        self._books.news.set()

    async def leave(self, room: str) -> None:
        await super().leave(room)
        self._books.news.set()


class Client:
    """A client: the rooms that it wants to be in, and what it knows of each."""

    def __init__(self, user_id: str, books: Books) -> None:
        self.user_id = user_id
        self.books = books
        self.seat: Seat | None = None
        self.wants: set[str] = set()
        self.stays: dict[str, Stay] = {}
        self.lock = asyncio.Lock()
        self._numbers = itertools.count(1)

    # What it is told

    def begin(self, seat: Seat, place: dict[str, Any], forgets: int) -> None:
        """Know nothing of a room but where it stands."""
        offset = place["offset"]
        stay = Stay(place["epoch"], offset, self.books.step, forgets, offset)
        self._enter(seat, stay, place)
        self.stays[place["room"]] = stay

    def _enter(self, seat: Seat, stay: Stay, place: dict[str, Any]) -> None:
        stay.loose, stay.entered = [], self.books.step
        calm = seat.node.cuts == self.books.cuts
        stay.calm_since = self.books.cuts if calm else None
        self._attend(stay, place)

    def _attend(self, stay: Stay, place: dict[str, Any]) -> None:
        stay.present = {user["user_id"] for user in place.get("presence", ())}

    def answered(
        self, seat: Seat, answer: dict[str, Any], asked: Position, inside: bool, forgets: int
    ) -> None:
        """Take a room's answer to what was *asked*, when the server had forgotten so often."""
        room, stay = answer["room"], self.stays.get(asked.room)
        if asked.epoch is None or stay is None or not answer["recovered"]:
            if asked.epoch is not None and stay is not None:
                self._doubt(seat, answer, asked, stay)
            self.begin(seat, answer, forgets)
            return
        if answer["epoch"] != stay.epoch:
            seat.faults.append(f"{room}: recovered from {stay.epoch} to {answer['epoch']}")
        for frame in answer["events"]:
            if not inside or frame["offset"] > stay.offset:
                self._note(seat, room, stay, frame, late=True)
        stay.gaps += range(stay.offset + 1, answer["offset"] + 1)
        stay.offset = max(stay.offset, answer["offset"])
        stay.forgets = forgets
        self._attend(stay, answer)
        if not inside:
            self._enter(seat, stay, answer)

    def _doubt(self, seat: Seat, answer: dict[str, Any], asked: Position, stay: Stay) -> None:
        """Ask why nothing was recovered."""
        room = answer["room"]
        if answer["epoch"] != asked.epoch:
            if self.books.forgets == stay.forgets:
                seat.faults.append(f"{room} has another epoch for nothing")
        elif 0 <= answer["offset"] - asked.offset <= ROOMS[room].size:
            seat.faults.append(f"{room} was not recovered from {asked} to {answer['offset']}")

    def hear(self, seat: Seat, frame: dict[str, Any]) -> None:
        """Take a live event."""
        kind, data, room = frame["payload"]["type"], frame["payload"]["data"], frame["room"]
        stay = self.stays.get(room)
        if stay is None or room not in seat.rooms:
            seat.faults.append(f"{room}: {frame} came to one who isn't there")
        elif kind == PRESENCE_JOIN:
            stay.present.add(data["user_id"])
        elif kind == PRESENCE_LEAVE:
            stay.present.discard(data["user_id"])
            stay.gone.append(data["user_id"])
        elif "offset" not in frame:
            if data in stay.loose and self.books.forgets == stay.forgets:
                seat.faults.append(f"{room}: {data} came twice")
            stay.loose.append(data)
        else:
            self._note(seat, room, stay, frame, late=False)
        self.books.news.set()

    def _note(
        self, seat: Seat, room: str, stay: Stay, frame: dict[str, Any], *, late: bool
    ) -> None:
        """Note a numbered event; it follows on the last, or that is a fault."""
        epoch, offset = frame["epoch"], frame["offset"]
        if epoch != stay.epoch or offset <= stay.offset or (offset > stay.offset + 1 and not late):
            seat.faults.append(f"{room}: {epoch}:{offset} after {stay.epoch}:{stay.offset}")
        if epoch != stay.epoch:
            stay = self.stays[room] = Stay(epoch, offset - 1, self.books.step, stay.forgets)
        stay.gaps += range(stay.offset + 1, offset) if late else ()
        stay.offset = offset
        if frame["payload"]["type"] == SKIPPED:
            stay.skipped.append(offset)
        else:
            stay.said[offset] = frame["payload"]["data"]
            self.books.witness(room, epoch, offset, frame["payload"]["data"])

    # What it does

    async def arrive(self, node: Node) -> None:
        """Connect to *node*, and enter what it wants to be in."""
        if self.seat is None:
            seat = Seat(f"{self.user_id}-{next(self._numbers)}", self, node)
            await insist(node.hub.attach, seat, self.user_id)
            self.seat = seat
            await self.enter(self.wants)

    async def vanish(self) -> None:
        """End the connection, whatever goes on."""
        seat, self.seat = self.seat, None
        if seat is not None:
            await seat.node.hub.detach(seat)

    async def enter(self, rooms: Iterable[str], *, afresh: bool = False) -> None:
        """Subscribe to *rooms*, those that it knows with its position unless *afresh*."""
        left = sorted(rooms)
        while left and (seat := self.seat) is not None and not seat.lost:
            inside = {room: room in seat.rooms for room in left}
            asked = {room: self._position(room, afresh and not inside[room]) for room in left}
            forgets = self.books.forgets
            again = await self._subscribe(seat, asked, inside, forgets)
            left = [room for room in again if room in self.wants]  # The app may have put it out.
            if left:
                await asyncio.sleep(TRY_AGAIN)

    async def _subscribe(
        self, seat: Seat, asked: dict[str, Position], inside: dict[str, bool], forgets: int
    ) -> list[str]:
        """Subscribe once, and return the rooms that are to be asked for again."""
        again = []

        def take(payload: dict[str, Any]) -> None:
            # As it goes over the wire.
            for answer in strict_json(msgspec.json.encode(payload).decode())["rooms"]:
                room = answer["room"]
                if "error" in answer:
                    again.extend([room] if answer["error"]["code"] == "unavailable" else [])
                elif self.seat is seat and not seat.lost:
                    self.answered(seat, answer, asked[room], inside[room], forgets)
            self.books.news.set()

        await seat.subscriptions.subscribe(tuple(asked.values()), take)
        return again

    async def leave(self, room: str) -> None:
        """Unsubscribe."""
        self.wants.discard(room)
        if self.seat is not None:
            await insist(self.seat.subscriptions.unsubscribe, (room,), lambda: None)

    def _position(self, room: str, afresh: bool) -> Position:
        stay = self.stays.get(room)
        if afresh or stay is None or stay.epoch is None:
            return Position(room)
        return Position(room, stay.epoch, stay.offset)

    # What it should know

    def misses(self, room: str) -> list[str]:
        """Return what it should have been told of *room* by now and wasn't, or the reverse."""
        stay, ids = self.stays[room], f"{self.user_id}-"
        wrong = []
        for event in self.books.accepted[room]:
            if event.offset is None:
                owed = event.step > stay.entered and self.books.cuts == stay.calm_since
                left_out = event.exclude is not None and event.exclude.startswith(ids)
                if owed and not left_out and event.data not in stay.loose:
                    wrong.append(f"{room}: {event} did not come")
            elif event.epoch != stay.epoch:
                if event.step > stay.step:
                    wrong.append(f"{room}: {event} did not come to {stay.epoch}:{stay.offset}")
            elif event.offset > stay.start and event.offset not in stay.said:
                silent = event.offset in stay.skipped or event.offset in stay.gaps
                if not (silent and event.exclude is not None and event.exclude.startswith(ids)):
                    wrong.append(f"{room}: {event} did not come")
        known = {event.offset for event in self.books.accepted[room] if event.epoch == stay.epoch}
        wrong += [f"{room}: a gap at {gap}" for gap in stay.gaps if gap not in known]
        return wrong
