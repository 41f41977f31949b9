"""What the inspector's pages are told: the connections, rooms, frames and rates of one process.

Nothing is looked at while no page is open: whoever writes frames asks whether there is a tap, and
there is none then.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal, Protocol

import msgspec
from attrs import asdict, define, field, frozen

from .frames import Frame
from .glimpses import Glimpse, glimpse
from .hub import Hub
from .protocol import Event
from .transport import Incoming

SAMPLES = 300
"""How many samples are kept, one a second."""
FRAMES = 400
"""How many frames wait for one page; what more comes is counted and not shown."""
LISTED = 200
"""How many connections, and how many rooms, a page is told at once."""
NAMED = 20
"""How many rooms of one connection are named."""
MEMBERS = 100
"""How many members of the room that is looked at are named."""


class Seen(Protocol):
    """A connection, as far as it is shown."""

    id: str
    remote_addr: str
    connected_at: float
    rooms: set[str]

    @property
    def user_id(self) -> str | None:
        """Who is logged in, None before login."""

    @property
    def pending(self) -> int:
        """How many bytes wait to be written."""


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What a page wishes to see: the whole of it, each time it changes.

    *connection*, *direction*, *type* and *room* choose frames, each None for all; *paused* is
    whether it wants none. *search* is a part of what is listed, and *opened* the room whose members
    are.
    """

    paused: bool = False
    connection: str | None = None
    direction: Literal["in", "out"] | None = None
    type: str | None = None
    room: str | None = None
    search: str = ""
    opened: str | None = None


@define(eq=False)
class Sighting:
    """A frame that goes by.

    Args:
        direction: ``in`` from a client, ``out`` to one or many.
        data: The frame.
        connection: Whose it is alone; None for an event, which is its members'.
        room: The room that an event goes to.
        members: Who is in it, by id.
    """

    direction: Literal["in", "out"]
    data: str | bytes
    connection: Seen | None = None
    room: str | None = None
    members: Collection[str] = ()
    at: float = field(factory=time.time)
    _glimpse: Glimpse | None = None

    @property
    def glimpse(self) -> Glimpse:
        """What may be shown of it, made out when it is asked for the first time."""
        if self._glimpse is None:
            self._glimpse = glimpse(self.data)
        return self._glimpse

    def told(self) -> dict[str, Any]:
        """Return it as pages are told."""
        shown = asdict(self.glimpse)
        return {
            **shown,
            "at": self.at,
            "direction": self.direction,
            "room": shown["room"] if self.room is None else self.room,
            "connection": None if self.connection is None else self.connection.id,
            "user": None if self.connection is None else self.connection.user_id,
            "receivers": len(self.members) if self.connection is None else 1,
        }


class View:
    """What one page sees of what goes by.

    Attributes:
        wish: What it wishes to see.

    """

    def __init__(self) -> None:
        self.wish = Wish()
        self._frames: list[dict[str, Any]] = []
        self._dropped = 0

    def offer(self, sighting: Sighting) -> None:
        """Keep *sighting* until the page takes it, if the page wishes to see such."""
        if not self._may_want(sighting):
            return
        if len(self._frames) >= FRAMES:
            # Before it is read: a flood must cost less than it would to show it.
            self._dropped += 1
        elif self._wants(sighting):
            self._frames.append(sighting.told())

    def _may_want(self, sighting: Sighting) -> bool:
        """Tell whether the page may wish to see it, as far as that shows without reading it."""
        wish = self.wish
        if wish.paused or wish.direction not in (None, sighting.direction):
            return False
        if wish.connection is None:
            return True
        if sighting.connection is None:
            return wish.connection in sighting.members
        return wish.connection == sighting.connection.id

    def _wants(self, sighting: Sighting) -> bool:
        wish = self.wish
        if wish.room is not None and wish.room not in (sighting.room, sighting.glimpse.room):
            return False
        return wish.type in (None, sighting.glimpse.type)

    def take(self) -> tuple[list[dict[str, Any]], int]:
        """Return the frames that wait, and how many were dropped since this was last asked."""
        frames, self._frames = self._frames, []
        dropped, self._dropped = self._dropped, 0
        return frames, dropped

    def lose(self, frames: int) -> None:
        """Count what the page has taken and was not told after all."""
        self._dropped += frames


@define
class _Count:
    """How many frames came from a connection and went to it since somebody looks."""

    received: int = 0
    sent: int = 0


@frozen
class Sample:
    """One second: *messages* and *deliveries* are None where nobody looked; *lag* is in seconds."""

    at: float
    connections: int
    messages: int | None
    deliveries: int | None
    closes: int
    lag: float


class Inspector:
    """Looks at one app in this process, for as long as a page is open.

    Args:
        hub: The app's.
        connections: Returns its connections, logged in or not.
        tap: Is called with this while somebody looks, and with None when nobody does any more.
    """

    def __init__(
        self,
        hub: Hub,
        connections: Callable[[], Collection[Seen]],
        tap: Callable[[Inspector | None], None],
    ) -> None:
        self._hub = hub
        self._connections = connections
        self._tap = tap
        self._views: list[View] = []
        self._counts: dict[str, _Count] = {}
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._messages = self._deliveries = self._closes = 0

    def begin(self, view: View) -> None:
        """Look, for the page that has *view*."""
        self._views.append(view)
        if len(self._views) == 1:
            self._messages = self._deliveries = 0
            self._tap(self)

    def end(self, view: View) -> None:
        """Look for that page no longer."""
        self._views.remove(view)
        if not self._views:
            self._tap(None)
            self._counts.clear()

    # What goes by

    def received(self, connection: Seen, incoming: Incoming) -> None:
        """Look at what the client of *connection* has sent."""
        if not isinstance(incoming, (str, bytes)):
            return
        self._messages += 1
        self._count(connection.id).received += 1
        self._show(Sighting("in", incoming, connection))

    def sent(self, connection: Seen, frame: Frame) -> None:
        """Look at *frame*, which is for *connection* alone."""
        self._count(connection.id).sent += 1
        self._show(Sighting("out", frame.data, connection))

    def delivered(self, event: Event, room: str, frame: Frame, members: Collection[str]) -> None:
        """Look at *frame*, which the members of *room* are about to be handed."""
        self._deliveries += len(members)
        for member in members:
            self._count(member).sent += 1
        self._show(Sighting("out", frame.data, room=room, members=members))

    def _count(self, connection_id: str) -> _Count:
        found = self._counts.get(connection_id)
        if found is None:
            found = self._counts[connection_id] = _Count()
        return found

    def _show(self, sighting: Sighting) -> None:
        for view in self._views:
            view.offer(sighting)

    def closed(self) -> None:
        """Count a connection that has ended."""
        self._closes += 1

    # What there is

    def sample(self, lag: float) -> None:
        """Note what the last second was like, in which the event loop was *lag* seconds late."""
        looked = bool(self._views)
        connections = self._connections()
        self._samples.append(
            Sample(
                time.time(),
                len(connections),
                self._messages if looked else None,
                self._deliveries if looked else None,
                self._closes,
                lag,
            )
        )
        self._messages = self._deliveries = self._closes = 0
        if looked:
            alive = {connection.id for connection in connections}
            for gone in self._counts.keys() - alive:
                del self._counts[gone]

    def samples(self, after: float = 0.0) -> list[dict[str, Any]]:
        """Return the samples taken after a time, in seconds since the epoch; the oldest first."""
        return [asdict(sample) for sample in self._samples if sample.at > after]

    def state(self, wish: Wish) -> dict[str, Any]:
        """Return the connections and rooms that there are, as far as *wish* asks for them."""
        connections = self._connections()
        rooms = self._hub.rooms()
        search = wish.search.casefold()
        found = [one for one in connections if search in _words(one)]
        matching = [room for room in rooms if search in room.casefold()]
        matching.sort(key=lambda room: (-rooms[room], room))
        found.sort(key=lambda one: -one.connected_at)
        return {
            "connections": [self._connection(one) for one in found[:LISTED]],
            "connections_found": len(found),
            "connections_total": len(connections),
            "rooms": [self._room(room, rooms[room]) for room in matching[:LISTED]],
            "rooms_found": len(matching),
            "rooms_total": len(rooms),
            "opened": None if wish.opened is None else self._opened(wish.opened),
        }

    def _connection(self, connection: Seen) -> dict[str, Any]:
        count = self._counts.get(connection.id) or _Count()
        return {
            "id": connection.id,
            "user": connection.user_id,
            "address": connection.remote_addr,
            "since": connection.connected_at,
            "rooms": sorted(connection.rooms)[:NAMED],
            "rooms_total": len(connection.rooms),
            "received": count.received,
            "sent": count.sent,
            "waiting": connection.pending,
        }

    def _room(self, room: str, members: int) -> dict[str, Any]:
        stands = self._hub.broker.stands(room)
        epoch, offset = (None, None) if stands is None else (stands.epoch, stands.offset)
        return {"room": room, "members": members, "epoch": epoch, "offset": offset}

    def _opened(self, room: str) -> dict[str, Any]:
        members: Iterable[Any] = self._hub.subscribers(room)[:MEMBERS]
        return {"room": room, "members": [{"id": one.id, "user": one.user_id} for one in members]}


def _words(connection: Seen) -> str:
    """Return what a connection is searched by."""
    words = (connection.id, connection.user_id or "", connection.remote_addr)
    return "\n".join(words).casefold()
