"""Who is in which room over Redis, each process's part under its own name.

A process tells every few seconds that it lives. When it no longer does, the others strike off what
was its part. When it was only silent, or Redis has forgotten everything, it puts its part back.
"""

from __future__ import annotations

import asyncio
import logging

from .broker import Listener, Presence
from .errors import BrokerUnavailable
from .redis_scripts import BEAT, ENTER, EXIT, SETTLE, Names
from .redis_servers import Servers

logger = logging.getLogger("quart_realtime")

DEAD_AFTER = 9.0
"""After how many seconds without a word a process is suspected to be dead.

It is taken for dead when it is still silent one beat later: after a pause of Redis itself everybody
looks late for a moment.
"""
CLEARING = 30.0
"""For how many seconds the one that clears up after a process keeps the others from it."""
AT_ONCE = 16


class Presences:
    """This process's part of who is where.

    Args:
        servers: Where all parts are kept.
        names: What they are called there.
        node: This process's name.
        listener: Who learns of users that came or went without being seen to.
    """

    def __init__(self, servers: Servers, names: Names, node: str, listener: Listener) -> None:
        self._servers = servers
        self._names = names
        self._node = node
        self._listener = listener
        self._here: dict[str, dict[str, str]] = {}
        # Rooms of which Redis may not have what is here.
        self._stale: set[str] = set()
        # Those that others find if this process dies; kept a while beyond the last connection.
        self._announced: set[str] = set()
        self._known = False
        self._suspects: set[str] = set()

    def _keys(self, room: str, node: str) -> tuple[str, str]:
        return self._names.present(room, node), self._names.users(room)

    async def enter(self, room: str, user_id: str, connection_id: str) -> int:
        """Record a connection, as a broker does."""
        self._here.setdefault(room, {})[connection_id] = user_id
        try:
            await self._announce(room)
            keys = self._keys(room, self._node)
            return int(await self._servers.run(ENTER, keys, connection_id, user_id))
        except BaseException:
            self._strike(room, connection_id)
            # It may have been recorded all the same.
            self._stale.add(room)
            raise

    async def _announce(self, room: str) -> None:
        # Before it is entered: a process that dies in between leaves nothing that nobody finds.
        if room not in self._announced:
            await self._servers.command("SADD", self._names.rooms_of(self._node), room)
            self._announced.add(room)

    def _strike(self, room: str, connection_id: str) -> bool:
        here = self._here.get(room, {})
        known = here.pop(connection_id, None) is not None
        if not here:
            self._here.pop(room, None)
        return known

    async def exit(self, room: str, user_id: str, connection_id: str) -> int | None:
        """Strike it off, as a broker does; what can't be told to Redis now is told later."""
        if self._here.get(room, {}).get(connection_id) != user_id:
            return None
        self._strike(room, connection_id)
        try:
            # Not twice: the second time it would look as if it had not been there.
            keys = self._keys(room, self._node)
            left = await self._servers.run(EXIT, keys, connection_id, user_id, again=False)
        except BaseException as error:
            self._stale.add(room)
            if isinstance(error, BrokerUnavailable):
                return None
            raise
        return None if left < 0 else int(left)

    async def present(self, room: str) -> list[Presence]:
        """Return who is in *room*, from all processes."""
        found = await self._servers.command("HGETALL", self._names.users(room))
        return [Presence(user.decode(), int(count)) for user, count in found.items()]

    # Every few seconds

    async def beat(self) -> None:
        """Tell that this process lives, put right what is stale, and see who is dead.

        Raises:
            BrokerUnavailable: some of it is left for the next time.
        """
        keys = (self._names.nodes(),)
        new, late = await self._servers.run(BEAT, keys, self._node, round(DEAD_AFTER * 1000))
        if new and self._known:
            logger.warning("Redis had forgotten this process: its part is put back")
            self._announced.clear()
            self._stale.update(self._here)
        self._known = True
        await self._settle_stale()
        await self._sweep()
        await self._bury({node.decode() for node in late})

    async def _settle_stale(self) -> None:
        stale = list(self._stale)
        for start in range(0, len(stale), AT_ONCE):
            await asyncio.gather(*(self._settle(room) for room in stale[start : start + AT_ONCE]))

    async def _settle(self, room: str) -> None:
        """Have Redis know of *room* what is here."""
        self._stale.discard(room)
        try:
            if room in self._here:
                await self._announce(room)
            here = self._here.get(room, {})
            flat = [word for pair in here.items() for word in pair]
            await self._make_so(room, self._node, flat)
        except BaseException:
            self._stale.add(room)
            raise

    async def _make_so(self, room: str, node: str, flat: list[str]) -> None:
        came, went = await self._servers.run(SETTLE, self._keys(room, node), *flat)
        if came or went:
            await self._listener.presence_changed(
                room, [user.decode() for user in came], [user.decode() for user in went]
            )

    async def _sweep(self) -> None:
        """No longer announce what is over."""
        over = [room for room in self._announced if room not in self._here]
        if not over:
            return
        self._announced.difference_update(over)
        await self._servers.command("SREM", self._names.rooms_of(self._node), *over)
        # Somebody may have come meanwhile, whose announcement was overtaken.
        for room in over:
            if room in self._here:
                self._announced.discard(room)
                await self._announce(room)

    async def _bury(self, late: set[str]) -> None:
        dead, self._suspects = late & self._suspects, late
        for node in dead - {self._node}:
            clearing = self._names.clearing(node)
            ours = await self._servers.command(
                "SET", clearing, self._node, "NX", "PX", round(CLEARING * 1000)
            )
            if ours:
                logger.warning("process %s is gone: its part of presence is struck off", node)
                await self._clear(node)

    async def _clear(self, node: str) -> None:
        """Strike off all that was *node*'s."""
        for room in await self._servers.command("SMEMBERS", self._names.rooms_of(node)):
            await self._make_so(room.decode(), node, [])
        await self._servers.command("DEL", self._names.rooms_of(node))
        await self._servers.command("ZREM", self._names.nodes(), node)
        await self._servers.command("DEL", self._names.clearing(node))

    async def leave(self) -> None:
        """Strike off all that is this process's: it stops.

        Raises:
            BrokerUnavailable: the others will see it when it is taken for dead.
        """
        self._here.clear()
        self._stale.clear()
        await self._clear(self._node)
