"""Who is in which room over Redis, each process's part under its own name.

A process tells every few seconds that it lives. When it no longer does, the others strike off what
was its part. When it was only silent, or Redis may have forgotten something, it puts its part
right. Each change and the event that tells of it are one script: nobody counts what another tells.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

from .broker import PRESENCE_HISTORY, PRIVATE, Attendance, Presence, comings
from .errors import BrokerUnavailable
from .protocol import Position, new_event_id
from .redis_scripts import BEAT, ENTER, EXIT, PRESENT, SETTLE, Names, Script, how_to_send, life
from .redis_servers import Servers, in_turns

logger = logging.getLogger("quart_realtime")

DEAD_AFTER = 9.0
"""After how many seconds without a word a process is suspected to be dead.

It is taken for dead when it is still silent one beat later: after a pause of Redis itself everybody
looks late for a moment.
"""
CLEARING = 30.0
"""For how many seconds the one that clears up after a process keeps the others from it."""
CLEARED_AT_ONCE = 1000
LIFE = 24 * 3600 * 1000
"""After how many milliseconds Redis forgets what nobody has touched; that is touched every few
hours, as long as a process lives."""


class Presences:
    """This process's part of who is where.

    Args:
        servers: Where all parts are kept.
        names: What they are called there.
        node: This process's name.
    """

    def __init__(self, servers: Servers, names: Names, node: str) -> None:
        self._servers = servers
        self._names = names
        self._node = node
        # Weak, so that a lock lives while somebody holds it or waits for it, and no longer.
        self._changing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._here: dict[str, dict[str, str]] = {}
        # Rooms of which Redis may not have what is here.
        self._stale: set[str] = set()
        # Those that others find if this process dies; kept a while beyond the last connection.
        self._announced: set[str] = set()
        self._note = b""
        self._unsure = True
        self._suspects: set[str] = set()
        self._dead: set[str] = set()

    def _change(self, room: str) -> asyncio.Lock:
        """Return what keeps the changes of one room from overtaking each other."""
        lock = self._changing.get(room)
        if lock is None:
            lock = self._changing[room] = asyncio.Lock()
        return lock

    async def _run(self, script: Script, room: str, node: str, *who: str) -> Any:
        """Run a script over *node*'s part of *room*, and have it tell whom it must."""
        names = self._names
        keys: tuple[str, ...]
        if room.startswith(PRIVATE):
            keys = (names.present(room, node), names.users(room))
        else:
            # All under the name of the room by which it is told, to be in one slot with it.
            told = comings(room)
            keys = (
                *(names.present(told, node), names.users(told)),
                *(names.place(told), names.history(told), names.channel(told)),
            )
        how = how_to_send(self._servers.publish, PRESENCE_HISTORY)
        return await self._servers.run(script, keys, new_event_id(), *how, *who)

    async def enter(self, room: str, user_id: str, connection_id: str) -> int:
        """Record a connection, as a broker does."""
        async with self._change(room):
            self._here.setdefault(room, {})[connection_id] = user_id
            try:
                await self._announce(room)
                return int(await self._run(ENTER, room, self._node, connection_id, user_id))
            except BaseException:
                self._strike(room, connection_id)
                # It may have been recorded all the same.
                self._stale.add(room)
                raise

    async def _announce(self, room: str) -> None:
        # Before it is entered: a process that dies in between leaves nothing that nobody finds.
        if room not in self._announced:
            rooms = self._names.rooms_of(self._node)
            await self._servers.command("SADD", rooms, room)
            if not self._announced:
                await self._servers.command("PEXPIRE", rooms, LIFE)
            self._announced.add(room)

    def _strike(self, room: str, connection_id: str) -> None:
        here = self._here.get(room, {})
        here.pop(connection_id, None)
        if not here:
            self._here.pop(room, None)

    async def exit(self, room: str, user_id: str, connection_id: str) -> int | None:
        """Strike it off, as a broker does; what can't be told to Redis now is told later."""
        async with self._change(room):
            if self._here.get(room, {}).get(connection_id) != user_id:
                return None
            self._strike(room, connection_id)
            try:
                return int(await self._run(EXIT, room, self._node, connection_id, user_id))
            except BaseException as error:
                self._stale.add(room)
                if isinstance(error, BrokerUnavailable):
                    return None
                raise

    async def present(self, room: str) -> Attendance:
        """Return who is in *room*, from all processes."""
        names = self._names
        told = comings(room)
        if room.startswith(PRIVATE):
            found = await self._servers.command("HGETALL", names.users(room))
            return Attendance(_users(found), Position(told))
        epoch, newest, pairs = await self._servers.run(
            PRESENT,
            (names.users(told), names.place(told), names.history(told)),
            uuid4().hex[:16],
            life(PRESENCE_HISTORY),
        )
        found = dict(zip(pairs[::2], pairs[1::2], strict=True))
        return Attendance(_users(found), Position(told, epoch.decode(), int(newest)))

    async def rooms(self) -> list[str]:
        """Return the rooms that tell who is in them and have somebody in, on any process.

        Those of :data:`PRIVATE` names, which count connections, are among them.
        """
        nodes = await self._servers.command("ZRANGE", self._names.nodes(), 0, -1)
        found: set[bytes] = set()
        for node in nodes:
            rooms = self._names.rooms_of(node.decode())
            found.update(await self._servers.command("SMEMBERS", rooms))
        return sorted(room.decode() for room in found)

    def suspect_all(self) -> None:
        """Have all put right with the next beat: Redis may have lost, or found, some of it."""
        self._unsure = True

    # Every few seconds

    async def beat(self) -> None:
        """Tell that this process lives, whatever else there is to do.

        Raises:
            BrokerUnavailable: it could not be told.
        """
        note, late = await self._ask_who_is_late()
        self._dead |= late & self._suspects
        self._dead &= late
        self._suspects = late
        if note != self._note:
            # It had been forgotten. Where that answer is lost, the next one says so too.
            self._note, self._unsure = note, True

    async def _ask_who_is_late(self) -> tuple[bytes, set[str]]:
        """Tell that this process lives; return what is noted of it, and who is late."""
        keys = (self._names.nodes(), self._names.notes())
        note, late = await self._servers.run(
            BEAT, keys, self._node, round(DEAD_AFTER * 1000), uuid4().hex, LIFE
        )
        return note, {node.decode() for node in late}

    async def tend(self) -> None:
        """Put right what is stale, and clear up after the dead.

        Raises:
            BrokerUnavailable: some of it is left for the next time.
        """
        if self._unsure:
            there = await self._servers.command("SMEMBERS", self._names.rooms_of(self._node))
            self._stale.update(self._here, (room.decode() for room in there))
            self._announced.clear()
            self._unsure = False
        await in_turns(self._settle(room) for room in list(self._stale))
        await self._sweep()
        await self._bury()

    async def _settle(self, room: str) -> None:
        """Have Redis know of *room* what is here."""
        async with self._change(room):
            self._stale.discard(room)
            try:
                if room in self._here:
                    await self._announce(room)
                here = self._here.get(room, {})
                who = [word for pair in here.items() for word in pair]
                await self._run(SETTLE, room, self._node, *who)
            except BaseException:
                self._stale.add(room)
                raise

    async def _sweep(self) -> None:
        """No longer announce what is over."""
        over = [room for room in self._announced if room not in self._here]
        if not over:
            return
        self._announced.difference_update(over)
        try:
            await self._servers.command("SREM", self._names.rooms_of(self._node), *over)
        except BrokerUnavailable:
            self._announced.update(over)
            raise
        # Somebody may have come meanwhile, whose announcement was overtaken.
        for room in over:
            if room in self._here:
                self._announced.discard(room)
                await self._announce(room)

    async def _bury(self) -> None:
        for node in self._dead - {self._node}:
            clearing = self._names.clearing(node)
            ours = await self._servers.command(
                "SET", clearing, self._node, "NX", "PX", round(CLEARING * 1000)
            )
            if not ours:
                continue
            _, late = await self._ask_who_is_late()
            if node not in late:
                # Another process has cleared up meanwhile, and it may even have come back.
                await self._servers.command("DEL", clearing)
                self._dead.discard(node)
            else:
                logger.warning("process %s is gone: its part of presence is struck off", node)
                await self._clear(node)

    async def _clear(self, node: str) -> None:
        """Strike off all that was *node*'s."""
        rooms = list(await self._servers.command("SMEMBERS", self._names.rooms_of(node)))
        for start in range(0, len(rooms), CLEARED_AT_ONCE):
            batch = rooms[start : start + CLEARED_AT_ONCE]
            await in_turns(self._run(SETTLE, room.decode(), node) for room in batch)
            await self._servers.command(
                "PEXPIRE", self._names.clearing(node), round(CLEARING * 1000)
            )
        await self._servers.command("DEL", self._names.rooms_of(node))
        await self._servers.command("ZREM", self._names.nodes(), node)
        await self._servers.command("HDEL", self._names.notes(), node)
        await self._servers.command("DEL", self._names.clearing(node))

    async def leave(self) -> None:
        """Strike off all that is this process's: it stops.

        Raises:
            BrokerUnavailable: the others will see it when it is taken for dead.
        """
        self._here.clear()
        self._stale.clear()
        await self._clear(self._node)


def _users(counts: dict[bytes, bytes]) -> tuple[Presence, ...]:
    return tuple(Presence(user.decode(), int(count)) for user, count in counts.items())
