"""The rooms of one connection: its client's wishes, the app's word, and resuming."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from attrs import asdict

from .broker import Recovery
from .errors import BadRequest, RealtimeError, RoomForbidden
from .hub import Entry, Hub, Subscriber
from .protocol import Position, event_object, is_room_name


class RoomRules(Protocol):
    """What the app says of rooms."""

    async def admit(self, subscriber: Any, room: str) -> None:
        """Raise RoomForbidden where *subscriber* may not join *room* by itself."""

    def has_presence(self, room: str) -> bool:
        """Tell whether *room* tells who is in it."""


class Subscriptions:
    """Joins and leaves rooms for one subscriber, and makes what its client is told of it.

    Args:
        subscriber: Whose rooms.
        hub: Where the rooms are.
        rules: Who may join, and which rooms tell who is there.
        answer_limit: How many bytes of missed events one answer may carry.

    """

    def __init__(
        self, subscriber: Subscriber, hub: Hub, rules: RoomRules, answer_limit: int
    ) -> None:
        self._subscriber = subscriber
        self._hub = hub
        self._rules = rules
        self._answer_limit = answer_limit
        self._granted: set[str] = set()
        # One at a time: a client's subscribe and unsubscribe of a room keep their order.
        self._turn = asyncio.Lock()

    async def grant(self, room: str) -> Entry | None:
        """Join *room* on the app's word; None when the subscriber is there already."""
        if not is_room_name(room):
            raise BadRequest(f"{room!r} can't name a room: write 1 to 256 printable characters")
        self._granted.add(room)
        if room in self._subscriber.rooms:
            return None
        return await self._join(Position(room))

    async def withdraw(self, room: str) -> bool:
        """Leave *room* on the app's word; False when the subscriber wasn't there."""
        self._granted.discard(room)
        return await self._hub.leave(self._subscriber, room)

    async def subscribe(
        self, positions: tuple[Position, ...], answer: Callable[[dict[str, Any]], None]
    ) -> None:
        """Join or resume rooms at the client's wish.

        Args:
            positions: The rooms, and where the client stands in each.
            answer: Sends the answer's payload. The live events follow only after it.

        """
        async with self._turn:
            entries: list[Entry] = []
            rooms: list[dict[str, Any]] = []
            left = self._answer_limit
            for position in positions:
                try:
                    entry = await self._enter(position)
                except RealtimeError as error:
                    told = {"code": error.code, "message": str(error)}
                    rooms.append({"room": position.room, "error": told})
                    continue
                entries.append(entry)
                size = sum(len(event.data) for event in entry.recovery.events)
                rooms.append(await self._payload(entry.recovery, fits=size <= left))
                left = max(left - size, 0)
            answer({"rooms": rooms})
            for entry in entries:
                entry.open()

    async def unsubscribe(self, rooms: tuple[str, ...], answer: Callable[[], None]) -> None:
        """Leave *rooms* at the client's wish."""
        async with self._turn:
            for room in rooms:
                await self.withdraw(room)
            answer()

    async def _enter(self, position: Position) -> Entry:
        room = position.room
        if room not in self._granted:
            try:
                await self._rules.admit(self._subscriber, room)
            except RoomForbidden:
                # What was allowed before and no longer is ends here too.
                await self._hub.leave(self._subscriber, room)
                raise
        return await self._join(position)

    def _join(self, position: Position) -> Awaitable[Entry]:
        presence = self._rules.has_presence(position.room)
        return self._hub.join(self._subscriber, position, presence=presence)

    async def _payload(self, recovery: Recovery, *, fits: bool) -> dict[str, Any]:
        """Return a room's answer; missed events that don't fit aren't recovered at all."""
        room = recovery.position.room
        told = position_payload(recovery.position)
        told["recovered"] = recovery.recovered and fits
        told["events"] = [event_object(event) for event in recovery.events] if fits else []
        if self._rules.has_presence(room):
            told["presence"] = [asdict(user) for user in await self._hub.present(room)]
        return told


def position_payload(position: Position) -> dict[str, Any]:
    """Return *position* as the wire tells it."""
    return {"room": position.room, "epoch": position.epoch, "offset": position.offset}
