"""The broker: what carries events between publishers and rooms, and remembers them a while.

:class:`Broker` says what is guaranteed; :class:`MemoryBroker` keeps it within one process, and
:class:`~quart_realtime.redis_broker.RedisBroker` among many.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from uuid import uuid4

from attrs import evolve, field, frozen

from .errors import BrokerUnavailable, Conflict
from .limits import Rates, Windows
from .models import dump
from .protocol import PRESENCE_JOIN, PRESENCE_LEAVE, Event, HistoryPolicy, Position


@frozen
class Recovery:
    """What a subscriber missed.

    *position* is the room's newest; its epoch is None where the room keeps no history.
    Where *recovered* is false *events* is empty: never a part of what was missed.
    """

    position: Position
    events: tuple[Event, ...] = ()
    recovered: bool = False


@frozen
class Presence:
    """A user who is in a room, over so many connections."""

    user_id: str
    connections: int


@frozen
class Attendance:
    """Who is in a room, and up to where it is told by the events of :func:`comings`."""

    users: tuple[Presence, ...]
    position: Position


PRIVATE = "\0"
"""What the names of rooms begin with that no client's can have."""
PRESENCE_HISTORY = HistoryPolicy(1000, 300)
"""How much is kept of who comes and goes, for processes that could not hear it for a while."""


def comings(room: str) -> str:
    """Return the room through which is told who comes to *room* and goes."""
    return f"{PRIVATE}presence:{room}"


@frozen
class Once:
    """What makes an event be sent once, though it may be published again: *ttl* is in seconds."""

    key: str
    ttl: float


class Listener(Protocol):
    """Where a broker brings what was published, on every process that wants it."""

    def deliver(self, event: Event) -> None:
        """Hand *event* to the subscribers of its room in this process."""

    def obey(self, command: Mapping[str, Any]) -> None:
        """Carry out a command that was sent to all processes."""

    def lose(self, room: str | None) -> None:
        """Learn that events of *room* were lost, or events of any room and commands if None."""

    async def rest(self) -> None:
        """Return when more may be delivered."""


@frozen
class BrokerHealth:
    """How a broker is, and what has gone wrong since it started.

    Args:
        up: Whether it can be reached, and heard.
        links_broken: How often what is published could not be heard for a while.
        gaps_filled: How often events missed in that way were delivered late, from history.
        rooms_lost: How often that was not possible, and a room's members had to resume.
        ignored: How many messages made no sense.
    """

    up: bool = True
    links_broken: int = 0
    gaps_filled: int = 0
    rooms_lost: int = 0
    ignored: int = 0


class Broker(ABC):
    """Carries events and commands to all processes.

    What an implementation guarantees:

    - The events of one room are delivered in the order of their offsets, the same to everybody,
      each once.
    - An event that :meth:`publish` accepted is in the room's history before it is delivered.
    - An event with history that it accepted is delivered wherever the room is subscribed, or
      ``lose`` is called there; one without history at most once. One that it didn't accept may
      still be delivered; published again under the same key it is delivered once.
    - :meth:`recover` returns all that came after a position, or says that it can't.
    - What :func:`comings` tells of a room agrees with what :meth:`present` returns, in order.
    - Of the requests that begin under one key, one runs; the others get its answer.

    Every method but :meth:`count` may raise :class:`~quart_realtime.errors.BrokerUnavailable`.
    """

    @abstractmethod
    async def start(self, listener: Listener) -> None:
        """Begin to bring what is published to *listener*."""

    @abstractmethod
    async def stop(self) -> None:
        """Let go of everything; nothing is delivered afterwards."""

    @abstractmethod
    async def subscribe(self, room: str, history: HistoryPolicy) -> None:
        """Have the events of *room* delivered here: its first local member has come."""

    @abstractmethod
    async def unsubscribe(self, room: str) -> None:
        """End that: the last local member of *room* has gone."""

    @abstractmethod
    async def publish(
        self, event: Event, history: HistoryPolicy, once: Once | None = None
    ) -> Event:
        """Number *event*, keep it, and deliver it to all subscribers of its room.

        Args:
            event: What is sent.
            history: How much the room keeps; nothing of an event that isn't worth it.
            once: Has it sent only if nothing was sent to the room under the same key before.

        Returns:
            The event with its offset and epoch, where the room keeps history; those of the
            first, where it was sent before.

        """

    @abstractmethod
    async def recover(self, position: Position, history: HistoryPolicy) -> Recovery:
        """Return what came after *position*; without an epoch, only where the room stands."""

    @abstractmethod
    async def enter(self, room: str, user_id: str, connection_id: str) -> int:
        """Record a user's connection as present in *room*.

        The room's :func:`comings` are told of a user who wasn't there before, and of one who no
        longer is, by whatever way that comes about; those of a :data:`PRIVATE` room aren't.

        Returns:
            How many connections of that user are there now.

        """

    @abstractmethod
    async def exit(self, room: str, user_id: str, connection_id: str) -> int | None:
        """Strike it off again.

        Returns:
            How many connections of the user are left there; None where it wasn't there.
        """

    @abstractmethod
    async def present(self, room: str) -> Attendance:
        """Return who is in *room*, each user once."""

    @abstractmethod
    async def command(self, command: Mapping[str, Any], *, keep: bool = True) -> None:
        """Have each process carry out *command*, JSON values by name.

        Args:
            command: What is to be done.
            keep: Whether it is kept for processes that can't hear it now.
        """

    @abstractmethod
    async def begin(self, key: str, fingerprint: str, ttl: float) -> bytes | None:
        """Begin a request that is to run once.

        Args:
            key: The request's key, unique to its user.
            fingerprint: What the request asks for.
            ttl: For how many seconds the key and the answer are kept.

        Returns:
            None when it is ours to run: :meth:`finish` or :meth:`abandon` must follow. Otherwise
            the answer of the one that ran, waited for where need be.

        Raises:
            Conflict: the key was used for a request that asks for something else.

        """

    @abstractmethod
    async def finish(self, key: str, answer: bytes) -> None:
        """Keep *answer* for whoever comes with *key* again."""

    @abstractmethod
    async def abandon(self, key: str) -> None:
        """Forget *key*: its request did not run to an answer, and may be tried again."""

    @abstractmethod
    async def count(self, key: str, rates: Rates) -> float:
        """Count one hit under *key*, on all processes; within this one while they can't be asked.

        Returns:
            0.0, or for how many seconds it would be more than *rates* allow; it isn't counted
            then.

        """

    def stands(self, room: str) -> Position | None:
        """Return where *room* stands, as far as that is known without asking; else None."""
        return None

    @property
    def health(self) -> BrokerHealth:
        """How it is."""
        return BrokerHealth()


class _Room:
    """A room's history: the newest events of one epoch, numbered without a gap."""

    __slots__ = ("epoch", "events", "expires", "offset")

    def __init__(self) -> None:
        self.epoch = uuid4().hex[:16]
        self.offset = 0
        self.expires = 0.0
        # A tuple until there are any: most rooms of one user never have.
        self.events: deque[tuple[float, Event]] | tuple[()] = ()

    def append(self, event: Event, history: HistoryPolicy, now: float) -> Event:
        """Number *event*, and keep it as *history* says."""
        self.offset += 1
        event = evolve(event, offset=self.offset, epoch=self.epoch)
        if not self.events:
            self.events = deque()
        self.events.append((now + history.ttl, event))
        while len(self.events) > history.size:
            self.events.popleft()
        return event

    def forget(self, now: float) -> None:
        while self.events and self.events[0][0] <= now:
            self.events.popleft()

    def after(self, position: Position) -> tuple[Event, ...] | None:
        """Return all events after *position*, or None where that isn't all of them."""
        missed = self.offset - position.offset
        if position.epoch != self.epoch or not 0 <= missed <= len(self.events):
            return None
        return tuple(event for _, event in self.events if (event.offset or 0) > position.offset)


@frozen(eq=False)
class _Answer:
    """A request that runs once: what it asks for, till when it is kept, and its answer."""

    fingerprint: str
    expires: float
    answer: asyncio.Future[bytes | None] = field(
        factory=lambda: asyncio.get_running_loop().create_future()
    )

    def is_over(self, now: float) -> bool:
        """Whether it may be forgotten; never while somebody may still wait for the answer."""
        return self.expires <= now and self.answer.done()


class MemoryBroker(Broker):
    """Everything within this process; what a single worker needs.

    A room's numbering outlives its events by :data:`EPOCH_LIFE`, so that a client that returns to
    a quiet room isn't told of a loss that wasn't.
    """

    EPOCH_LIFE = 3600.0
    SWEEP_EVERY = 10.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._listener: Listener | None = None
        self._subscribed: set[str] = set()
        self._rooms: dict[str, _Room] = {}
        # Lists, since a user's connections are few, and a set takes three times as much for one.
        self._present: dict[str, dict[str, list[str]]] = {}
        self._once: dict[str, _Answer] = {}
        self._sent: dict[tuple[str, str], tuple[float, Event]] = {}
        self._windows = Windows()
        self._next_sweep = 0.0

    async def start(self, listener: Listener) -> None:
        """Begin to bring what is published to *listener*."""
        self._listener = listener

    async def stop(self) -> None:
        """Let go of everything; nothing is delivered afterwards."""
        self._listener = None
        for once in self._once.values():
            if not once.answer.done():
                once.answer.set_exception(BrokerUnavailable("the broker has stopped"))
                once.answer.exception()  # Looked at, in case that nobody waits for it.
        self._once.clear()

    async def subscribe(self, room: str, history: HistoryPolicy) -> None:
        """Have the events of *room* delivered here."""
        self._subscribed.add(room)

    async def unsubscribe(self, room: str) -> None:
        """No longer have them delivered."""
        self._subscribed.discard(room)

    async def publish(
        self, event: Event, history: HistoryPolicy, once: Once | None = None
    ) -> Event:
        """Number *event*, keep it, and deliver it to all subscribers of its room."""
        if once is not None:
            now = self._clock()
            self._sweep(now)
            expires, sent = self._sent.get((event.room, once.key), (now, None))
            if sent is not None and expires > now:
                return sent
            event = await self.publish(event, history)
            self._sent[event.room, once.key] = (now + once.ttl, event)
            return event
        if history.keeps:
            event = self._room(event.room, history).append(event, history, self._clock())
        if self._listener is not None and event.room in self._subscribed:
            self._listener.deliver(event)
        return event

    async def recover(self, position: Position, history: HistoryPolicy) -> Recovery:
        """Return what came after *position*; without an epoch, only where the room stands."""
        if not history.keeps:
            return Recovery(Position(position.room))
        room = self._room(position.room, history)
        newest = Position(position.room, room.epoch, room.offset)
        if position.epoch is None:
            return Recovery(newest)
        missed = room.after(position)
        return Recovery(newest) if missed is None else Recovery(newest, missed, recovered=True)

    def stands(self, room: str) -> Position | None:
        """Return where *room* stands; None where it has had no event that was kept."""
        known = self._rooms.get(room)
        return None if known is None else Position(room, known.epoch, known.offset)

    def _room(self, name: str, history: HistoryPolicy) -> _Room:
        now = self._clock()
        self._sweep(now)
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = _Room()
        room.forget(now)
        room.expires = now + history.ttl + self.EPOCH_LIFE
        return room

    def _sweep(self, now: float) -> None:
        """Drop what has expired, every few seconds at most."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + self.SWEEP_EVERY
        for name in [name for name, room in self._rooms.items() if room.expires <= now]:
            del self._rooms[name]
        for room in self._rooms.values():
            room.forget(now)
        for key in [key for key, once in self._once.items() if once.is_over(now)]:
            del self._once[key]
        for sent in [sent for sent, (expires, _) in self._sent.items() if expires <= now]:
            del self._sent[sent]

    async def enter(self, room: str, user_id: str, connection_id: str) -> int:
        """Record a user's connection as present in *room*."""
        connections = self._present.setdefault(room, {}).setdefault(user_id, [])
        if connection_id not in connections:
            connections.append(connection_id)
            if len(connections) == 1:
                await self._tell(PRESENCE_JOIN, room, user_id)
        return len(connections)

    async def _tell(self, kind: str, room: str, user_id: str) -> None:
        if not room.startswith(PRIVATE):
            event = Event(kind, dump({"user_id": user_id}), comings(room))
            await self.publish(event, PRESENCE_HISTORY)

    async def exit(self, room: str, user_id: str, connection_id: str) -> int | None:
        """Strike it off again."""
        users = self._present.get(room, {})
        connections = users.get(user_id, [])
        if connection_id not in connections:
            return None
        connections.remove(connection_id)
        if not connections:
            users.pop(user_id, None)
        if not users:
            self._present.pop(room, None)
        left = len(connections)
        if left == 0:
            await self._tell(PRESENCE_LEAVE, room, user_id)
        return left

    async def present(self, room: str) -> Attendance:
        """Return who is in *room*, each user once."""
        users = tuple(
            Presence(user_id, len(connections))
            for user_id, connections in self._present.get(room, {}).items()
        )
        told = comings(room)
        if room.startswith(PRIVATE):
            return Attendance(users, Position(told))
        stands = self._room(told, PRESENCE_HISTORY)
        return Attendance(users, Position(told, stands.epoch, stands.offset))

    async def command(self, command: Mapping[str, Any], *, keep: bool = True) -> None:
        """Carry out *command* in this process, the only one."""
        if self._listener is not None:
            self._listener.obey(command)

    async def begin(self, key: str, fingerprint: str, ttl: float) -> bytes | None:
        """Begin a request that is to run once."""
        while True:
            now = self._clock()
            self._sweep(now)
            once = self._once.get(key)
            if once is None or once.is_over(now):
                self._once[key] = _Answer(fingerprint, now + ttl)
                return None
            if once.fingerprint != fingerprint:
                raise Conflict("this key was used for another request: choose a new one")
            answer = await asyncio.shield(once.answer)
            if answer is not None:
                return answer

    async def finish(self, key: str, answer: bytes) -> None:
        """Keep *answer* for whoever comes with *key* again."""
        once = self._once.get(key)
        if once is not None and not once.answer.done():
            once.answer.set_result(answer)

    async def abandon(self, key: str) -> None:
        """Forget *key*, and let one of those that wait for its answer run instead."""
        once = self._once.pop(key, None)
        if once is not None and not once.answer.done():
            once.answer.set_result(None)

    async def count(self, key: str, rates: Rates) -> float:
        """Count one hit under *key*."""
        return self._windows.count(key, rates)
