"""The rooms of one connection: its client's wishes, the app's word, and resuming."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from attrs import asdict, evolve

from .errors import BadRequest, RealtimeError, RoomForbidden
from .frames import event_object
from .hub import Hub
from .members import Entry, Subscriber
from .protocol import Position, is_room_name

ENVELOPE = 150
"""About how many bytes an event takes beside its data and its room's name."""
MAX_ROOMS = 1000
"""How many rooms a connection may be in."""


class RoomRules(Protocol):
    """What the app says of rooms."""

    async def admit(self, subscriber: Any, room: str) -> None:
        """Raise RoomForbidden where *subscriber* may not join *room* by itself."""

    def has_presence(self, room: str) -> bool:
        """Tell whether *room* tells who is in it."""

    def let_in(self, subscriber: Any, told: list[dict[str, Any]], resumed: set[str]) -> None:
        """Learn what *subscriber* is told of the rooms it asked for, and which it resumed."""


class Subscriptions:
    """Joins and leaves rooms for one subscriber, and makes what its client is told of it.

    Args:
        subscriber: Whose rooms.
        hub: Where the rooms are.
        rules: Who may join, and which rooms tell who is there.
        answer_limit: How many bytes of missed events one answer may carry.

    """

    __slots__ = (
        "_answer_limit",
        "_asking",
        "_granted",
        "_hub",
        "_joining",
        "_rules",
        "_subscriber",
        "_wishes",
        "_word",
    )

    def __init__(
        self, subscriber: Subscriber, hub: Hub, rules: RoomRules, answer_limit: int
    ) -> None:
        self._subscriber = subscriber
        self._hub = hub
        self._rules = rules
        self._answer_limit = answer_limit
        self._granted: set[str] = set()
        # Rooms that the client may join as far as is known yet; the app may withdraw them while
        # an authoriser is still looking. None until something is asked, to be small.
        self._asking: set[str] | None = None
        # A client's wishes are fulfilled one by one, so that subscribe and unsubscribe of a room
        # keep their order.
        self._wishes: asyncio.Lock | None = None
        # And from a join to the opening of its entry there is no other one, whosever wish it is.
        # The authorisers are asked outside of it, since they may join rooms themselves.
        self._joining = asyncio.Lock()
        # How often the app has said that its word about rooms may have changed.
        self._word = 0

    async def grant(self, room: str, tell: Callable[[dict[str, Any], Entry], None]) -> None:
        """Join *room* on the app's word, unless the subscriber is there already.

        Args:
            room: Which.
            tell: Tells the client where the room stands; it opens the entry, now or later.

        Raises:
            BadRequest: that can't name a room.
        """
        if not is_room_name(room):
            raise BadRequest(f"{room!r} can't name a room: write 1 to 256 printable characters")
        async with self._joining:
            if room not in self._subscriber.rooms:
                try:
                    entry = await self._join(Position(room))
                except RoomForbidden:
                    return  # The app's later word is that it leaves.
                tell(_place(entry), entry)
            self._granted.add(room)

    async def withdraw(self, room: str) -> bool:
        """Leave *room* on the app's word; False when the subscriber wasn't there."""
        self._granted.discard(room)
        if self._asking is not None:
            self._asking.discard(room)
        return await self._hub.leave(self._subscriber, room)

    async def subscribe(
        self, positions: tuple[Position, ...], answer: Callable[[dict[str, Any]], None]
    ) -> None:
        """Join or resume rooms at the client's wish.

        Args:
            positions: The rooms, and where the client stands in each.
            answer: Sends the answer's payload. The live events follow only after it.
        """
        if len(positions) > MAX_ROOMS:
            raise BadRequest(f"a connection may be in {MAX_ROOMS} rooms, not in {len(positions)}")
        async with self._one_by_one():
            while True:
                word = self._word
                refusals = [await self._refusal(position.room) for position in positions]
                async with self._joining:
                    if word == self._word:
                        await self._join_all(positions, refusals, answer)
                        return

    def _one_by_one(self) -> asyncio.Lock:
        if self._wishes is None:
            self._wishes = asyncio.Lock()
        return self._wishes

    async def _refusal(self, room: str) -> RealtimeError | None:
        """Ask whether the client may join *room*, and return what is to be told if not."""
        if room in self._granted:
            return None
        self._asking = self._asking or set()
        self._asking.add(room)
        try:
            await self._rules.admit(self._subscriber, room)
        except RoomForbidden as error:
            # What was allowed before and no longer is ends here too.
            await self._hub.leave(self._subscriber, room)
            return error
        except RealtimeError as error:
            return error
        return None

    async def _join_all(
        self,
        positions: tuple[Position, ...],
        refusals: list[RealtimeError | None],
        answer: Callable[[dict[str, Any]], None],
    ) -> None:
        entries: list[Entry] = []
        rooms: list[dict[str, Any]] = []
        space = self._answer_limit
        try:
            for position, refusal in zip(positions, refusals, strict=True):
                try:
                    if refusal is not None:
                        raise refusal
                    if position.room not in self._granted | (self._asking or set()):
                        raise RoomForbidden(position.room)
                    # Without space for anything missed, only where the room stands is asked.
                    entry = await self._join(position if space else Position(position.room))
                    entries.append(entry)
                    missed = entry.recovery.events
                    size = sum(len(event.data) + len(event.room) + ENVELOPE for event in missed)
                    rooms.append(_payload(entry, fits=size <= space))
                    space -= min(size, space)
                    if size:
                        entry.recovery = evolve(entry.recovery, events=())
                    # Else the process stands still while a thousand rooms are looked at.
                    await asyncio.sleep(0)
                except RealtimeError as error:
                    told = {"code": error.code, "message": str(error)}
                    rooms.append({"room": position.room, "error": told})
            answer({"rooms": rooms})
            resumed = {each.room for each in positions if each.epoch is not None}
            self._rules.let_in(self._subscriber, rooms, resumed)
        finally:
            self._asking = None
            for entry in entries:
                entry.open()

    async def unsubscribe(self, rooms: tuple[str, ...], answer: Callable[[], None]) -> None:
        """Leave *rooms* at the client's wish."""
        async with self._one_by_one():
            for room in rooms:
                await self.withdraw(room)
            answer()

    async def recheck(self) -> list[str]:
        """Leave the rooms that the client may no longer be in, and return which those are.

        What the app has put it into isn't asked about.
        """
        # Not in its turn: a client could have it wait. What is being asked for is asked for anew.
        self._word += 1
        async with self._joining:
            rooms = sorted(self._subscriber.rooms - self._granted)
        return [room for room in rooms if await self._is_put_out(room)]

    async def _is_put_out(self, room: str) -> bool:
        """Take the client out of *room* where it may no longer be in it."""
        try:
            await self._rules.admit(self._subscriber, room)
        except RoomForbidden:
            return room not in self._granted and await self._hub.leave(self._subscriber, room)
        except RealtimeError:
            pass
        return False

    async def _join(self, position: Position) -> Entry:
        room = position.room
        rooms = self._subscriber.rooms
        if room not in rooms and len(rooms) >= MAX_ROOMS:
            raise BadRequest(f"a connection may be in {MAX_ROOMS} rooms: leave one first")
        presence = self._rules.has_presence(room)
        return await self._hub.join(self._subscriber, position, presence=presence)


def _payload(entry: Entry, *, fits: bool) -> dict[str, Any]:
    """Return a room's answer; missed events that don't fit aren't recovered at all."""
    recovery = entry.recovery
    told = _place(entry)
    told["recovered"] = recovery.recovered and fits
    told["events"] = [event_object(event) for event in recovery.events] if fits else []
    return told


def _place(entry: Entry) -> dict[str, Any]:
    """Return where a room stands, and who is there if it tells."""
    told: dict[str, Any] = asdict(entry.recovery.position)
    if entry.present is not None:
        told["presence"] = [asdict(user) for user in entry.present]
    return told
