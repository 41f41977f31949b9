"""This process's rooms and their subscribers; it drives the broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, Protocol
from uuid import uuid4
from weakref import WeakValueDictionary

from attrs import define, evolve

from .broker import (
    PRESENCE_HISTORY,
    PRIVATE,
    Attendance,
    Broker,
    Once,
    Presence,
    comings,
)
from .errors import BrokerUnavailable, RealtimeError, RoomForbidden
from .frames import Frame
from .members import Entry, Member, Subscriber, frame_of, watched_room
from .metrics import Metrics
from .protocol import (
    EVERYONE,
    Event,
    HistoryPolicy,
    Position,
)
from .registry import HistoryPolicies

logger = logging.getLogger("quart_realtime")

NO_HISTORY = HistoryPolicy(0, 0)
DELIVERIES = 1 << 14
"""After how many deliveries whoever brings more waits until they have been written."""


class Tap(Protocol):
    """Whoever looks at the events that go by."""

    def delivered(self, event: Event, room: str, frame: Frame, members: Collection[str]) -> None:
        """Look at *frame*, which the members of *room*, by their ids, are about to be handed."""


@define
class Load:
    """How much has been delivered: to how many subscribers, and the events' *size* in bytes."""

    deliveries: int = 0
    size: int = 0


class Hub:
    """Who is in which room here.

    Args:
        broker: What carries the events.
        histories: What each room keeps of its past.
        most: After how many bytes whoever brings events waits for the sockets.
        metrics: What counts events.

    Attributes:
        catch_up: Returns when the sockets have been written what was delivered.
        tap: Who looks at what is delivered, None while nobody does.

    """

    def __init__(
        self,
        broker: Broker,
        histories: HistoryPolicies,
        most: int = 1 << 18,
        metrics: Metrics | None = None,
    ) -> None:
        self.broker = broker
        self._metrics = metrics or Metrics()
        self.catch_up: Callable[[], Awaitable[None]] | None = None
        self.tap: Tap | None = None
        self._load = Load()
        self._most = most
        self.node = uuid4().hex
        self._histories = histories
        self._rooms: dict[str, dict[str, Member]] = {}
        self._subscribers: dict[str, Subscriber] = {}
        self._user_ids: dict[str, str] = {}
        self._users: dict[str, list[Subscriber]] = {}
        # Weak, so that a lock lives while somebody holds it or waits for it, and no longer.
        self._changing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to receive events and commands."""
        await self.broker.start(self)

    async def stop(self) -> None:
        """Stop receiving, and wait for the commands that are being carried out."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.broker.stop()
        # Nothing is subscribed any more: whoever joins after another start begins anew.
        self._rooms.clear()

    async def attach(self, subscriber: Subscriber, user_id: str) -> int:
        """Take in a subscriber that *user_id* has logged in on.

        Returns:
            How many connections the user has now, on all processes.

        """
        # Known first: what is told to the user meanwhile is told to this connection too.
        self._subscribers[subscriber.id] = subscriber
        self._user_ids[subscriber.id] = user_id
        self._users.setdefault(user_id, []).append(subscriber)
        try:
            count = await self.broker.enter(_logins(user_id), user_id, subscriber.id)
        except BaseException:
            self._forget(subscriber)
            raise
        if subscriber.id not in self._subscribers:
            # It ended meanwhile, too early for its detach to strike it off.
            await self.broker.exit(_logins(user_id), user_id, subscriber.id)
        return count

    def _forget(self, subscriber: Subscriber) -> str | None:
        """Know a subscriber no longer; return whose it was, None where it wasn't known."""
        if self._subscribers.pop(subscriber.id, None) is None:
            return None
        user_id = self._user_ids.pop(subscriber.id)
        own = self._users[user_id]
        own.remove(subscriber)
        if not own:
            del self._users[user_id]
        return user_id

    async def detach(self, subscriber: Subscriber) -> None:
        """Let go of a subscriber that has ended, out of all rooms."""
        user_id = self._forget(subscriber)
        if user_id is None:
            return
        try:
            # First, since its user may be coming back already, and finds no room before.
            await self.broker.exit(_logins(user_id), user_id, subscriber.id)
        except RealtimeError:
            logger.warning("logging %r out failed", user_id, exc_info=True)
        for room in list(subscriber.rooms):
            try:
                await self.leave(subscriber, room)
            except RealtimeError:
                logger.warning("leaving room %r failed", room, exc_info=True)

    def subscribers(self, room: str | None = None) -> list[Subscriber]:
        """Return the subscribers in *room*, or all, of this process."""
        if room is None:
            return list(self._subscribers.values())
        return [member.subscriber for member in self._rooms.get(room, {}).values()]

    def owner(self, subscriber_id: str) -> str | None:
        """Return whose subscriber that is, None where there is none of that id here."""
        return self._user_ids.get(subscriber_id)

    def rooms(self) -> dict[str, int]:
        """Return the rooms that somebody is in here, each with how many are."""
        return {room: len(members) for room, members in self._rooms.items() if members}

    async def join(
        self, subscriber: Subscriber, position: Position, *, presence: bool = False
    ) -> Entry:
        """Put *subscriber* into a room, its live events held back until the entry is opened.

        Args:
            subscriber: Who joins; one who is in the room already is resumed there.
            position: The room, and where the subscriber stood in it.
            presence: Whether the room tells who is there.

        Raises:
            BrokerUnavailable: nothing has changed then.
            RoomForbidden: it was put out meanwhile.

        """
        room = position.room
        known = self._rooms.get(room, {}).get(subscriber.id)
        member = known or await self._enter(subscriber, room, presence=presence)
        member.hold()
        try:
            recovery = await self.broker.recover(position, self._histories.of(room))
            attendance = await self._appear(room, member) if presence else None
        except BaseException:
            if known is None:
                await self.leave(subscriber, room)
            else:
                member.release(None)
            raise
        if subscriber.id not in self._subscribers:
            # It ended while the broker was asked, too late for its detach to see this room.
            await self.leave(subscriber, room)
        if self._rooms.get(room, {}).get(subscriber.id) is not member:
            await self._vanish(room, member)
            if subscriber.id in self._subscribers:
                # Put out while it was let in: saying that it is in would leave its client deaf.
                raise RoomForbidden(room)
        recovery = evolve(
            recovery,
            events=tuple(event for event in recovery.events if event.exclude != subscriber.id),
        )
        # Who was there already and asks for no history is owed what came meanwhile.
        told = None if known and position.epoch is None else recovery.position
        present = None if attendance is None else attendance.users
        return Entry(recovery, present, member, told)

    async def _enter(self, subscriber: Subscriber, room: str, *, presence: bool) -> Member:
        async with self._change(room):
            members = self._rooms.get(room)
            if members is None:
                # Subscribe before recording the member: if that fails the room stays empty, so
                # that the next join tries again.
                await self._follow(room, presence=presence)
                members = self._rooms[room] = {}
            user_id = self._user_ids.get(subscriber.id)
            subscriber.rooms.add(room)
            return members.setdefault(subscriber.id, Member(subscriber, user_id))

    async def _follow(self, room: str, *, presence: bool) -> None:
        await self.broker.subscribe(room, self._histories.of(room))
        if presence:
            try:
                await self.broker.subscribe(comings(room), PRESENCE_HISTORY)
            except BaseException:
                await self.broker.unsubscribe(room)
                raise

    async def leave(self, subscriber: Subscriber, room: str) -> bool:
        """Take *subscriber* out of *room*; False when it wasn't in there."""
        member = self._rooms.get(room, {}).pop(subscriber.id, None)
        subscriber.rooms.discard(room)
        if member is None:
            return False
        try:
            async with self._change(room):
                if room in self._rooms and not self._rooms[room]:
                    del self._rooms[room]
                    await self.broker.unsubscribe(room)
                    await self.broker.unsubscribe(comings(room))
        finally:
            await self._vanish(room, member)
        return True

    def _change(self, room: str) -> asyncio.Lock:
        """Return what keeps first joins and last leaves of one room from overtaking each other."""
        lock = self._changing.get(room)
        if lock is None:
            lock = self._changing[room] = asyncio.Lock()
        return lock

    async def _appear(self, room: str, member: Member) -> Attendance:
        """Make a member known to the room, and return who is there."""
        if member.user_id is not None and not member.present:
            # Noted before it is done: whoever leaves meanwhile has to undo it.
            member.present = True
            await self.broker.enter(room, member.user_id, member.subscriber.id)
        attendance = await self.broker.present(room)
        member.attendance = attendance.position
        return attendance

    async def _vanish(self, room: str, member: Member) -> None:
        if member.present and member.user_id is not None:
            await self.broker.exit(room, member.user_id, member.subscriber.id)

    async def present(self, room: str) -> list[Presence]:
        """Return who is in *room*, on all processes."""
        return list((await self.broker.present(room)).users)

    async def logins(self, user_id: str) -> list[Presence]:
        """Return the user with the number of connections, on all processes; nobody if none."""
        return await self.present(_logins(user_id))

    async def publish(
        self, event: Event, *, history: bool = True, once: Once | None = None
    ) -> Event:
        """Send *event* to its room, on all processes.

        Args:
            event: What is sent.
            history: Whether the room keeps it, if it keeps any; False for what is worth nothing
                a moment later.
            once: Has it sent only once, though it may be published again.
        """
        policy = self._histories.of(event.room) if history else NO_HISTORY
        try:
            sent = await self.broker.publish(event, policy, once)
        except BrokerUnavailable:
            self._metrics.failed()
            raise
        self._metrics.published()
        await self.rest()
        return sent

    async def rest(self) -> None:
        """Wait for the sockets where much has been delivered.

        Else whoever brings events in a loop would leave them no turn to be written in: all their
        readers would look slow, and the event loop would stall.
        """
        if self._load.deliveries > DELIVERIES or self._load.size > self._most:
            self._load = Load()
            if self.catch_up is not None:
                await self.catch_up()

    def deliver(self, event: Event) -> None:
        """Hand *event*, encoded once, to each subscriber of its room here."""
        room = watched_room(event.room)
        members = self._rooms.get(room)
        if not members:
            return
        frame = frame_of(event)
        if self.tap is not None:
            self.tap.delivered(event, room, frame, members.keys())
        self._metrics.delivered(len(members))
        self._load.deliveries += len(members)
        self._load.size += len(frame)
        for member in members.values():
            try:
                if member.direct and event.exclude is None:
                    # All but a few, and a call less for each.
                    member.subscriber.deliver(frame)
                else:
                    member.deliver(event, frame)
            except Exception:
                logger.exception("delivering to %r failed; the others are served", member)

    def lose(self, room: str | None) -> None:
        """Have the members of *room*, or all, resume: events were lost on the way."""
        for subscriber in self.subscribers(room and watched_room(room)):
            subscriber.lose_place()

    async def command(self, **command: Any) -> None:
        """Carry out a command here, and have all other processes do so too.

        Args:
            **command: ``do`` is ``disconnect``, ``join``, ``leave`` or ``recheck``; ``user_id``
                whom it is about; ``room`` or ``reason`` as that needs.

        """
        await self._carry_out(command)
        await self.broker.command({**command, "node": self.node})

    async def reach(self, subscriber_id: str, **command: Any) -> None:
        """Carry out a command for one subscriber alone, in whichever process it is.

        Args:
            subscriber_id: Whose id; where there is none, or it is another user's, nothing happens.
            **command: As for :meth:`command`, but for ``recheck``; besides, ``do`` is ``hear`` with
                ``text``, ``send`` with ``event`` and ``data``, or ``close`` with ``code`` and
                ``reason``.

        Raises:
            BrokerUnavailable: it isn't here, and can't be reached elsewhere.

        """
        command["subscriber"] = subscriber_id
        if subscriber_id in self._subscribers:
            await self._carry_out(command)
        else:
            # What a client says may displace nothing that the app has said: it asks again.
            keep = command["do"] != "hear"
            await self.broker.command({**command, "node": self.node}, keep=keep)

    def obey(self, command: Mapping[str, Any]) -> None:
        """Carry out a command of another process."""
        if command.get("node") == self.node:
            return
        if not all(isinstance(command.get(name), str) for name in ("do", "user_id")):
            logger.warning("a command that makes no sense was ignored: %r", command)
            return
        self._spawn(self._try_to_carry_out(command))

    async def _try_to_carry_out(self, command: Mapping[str, Any]) -> None:
        """Carry out what nobody here waits for."""
        try:
            await self._carry_out(command)
        except (RealtimeError, TypeError, ValueError):
            logger.warning("%s of a user failed here", command["do"], exc_info=True)

    async def _carry_out(self, command: Mapping[str, Any]) -> None:
        # None of a user's connections has to wait for what another is doing.
        own = list(self._users.get(command["user_id"], ()))
        if "subscriber" in command:
            own = [subscriber for subscriber in own if subscriber.id == command["subscriber"]]
        work = [self._carry_out_for(subscriber, command) for subscriber in own]
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _carry_out_for(self, subscriber: Subscriber, command: Mapping[str, Any]) -> None:
        match command["do"]:
            case "disconnect":
                subscriber.send_away(str(command.get("reason", "")))
            case "join":
                await subscriber.join(str(command.get("room", "")))
            case "leave":
                await subscriber.leave(str(command.get("room", "")))
            case "recheck":
                await subscriber.recheck()
            case "send":
                await subscriber.send(str(command.get("event", "")), command.get("data"))
            case "close":
                await subscriber.close(int(command.get("code", 0)), str(command.get("reason", "")))
            case "hear":
                subscriber.hear(str(command.get("text", "")))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _logins(user_id: str) -> str:
    """Return the key that a user's connections are counted under."""
    return f"{PRIVATE}logins:{user_id}"


def user_of_logins(room: str) -> str | None:
    """Return whose connections are counted under the key *room*; None where it is no such key."""
    start = _logins("")
    return room.removeprefix(start) if room.startswith(start) else None


def user_room(user_id: str) -> str:
    """Return the room that all connections of a user are in."""
    return f"user:{user_id}"


def rooms_of_login(user_id: str) -> tuple[str, ...]:
    """Return the rooms that a connection is in from its login on."""
    return (user_room(user_id), EVERYONE)
