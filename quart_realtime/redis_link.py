"""What is heard from Redis: channels over one connection to each server, and whether it is deaf.

Pub/sub is at most once: whatever is published while a connection is down, or while a connection is
up that nothing comes through, is gone. Here that is noticed; :mod:`quart_realtime.redis_rooms`
makes up for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from .backoff import Backoff
from .errors import BrokerUnavailable
from .redis_servers import PATIENCE, UNREACHABLE, Servers, told

logger = logging.getLogger("quart_realtime")

PROBE_EVERY = 1.5
"""How many seconds after one probe has come back the next is sent."""
TAKEN_WITHIN = 1.0
"""Within how many seconds a probe is to be taken; then it is sent again, by another connection:
where nothing comes through one, nothing may come through the others either."""
SEND_AGAIN = 0.1
"""After how many seconds a probe that wasn't taken is sent again."""
DEAF_AFTER = 2.0
"""For how many seconds nothing may come, though a probe was published."""
UNREAD = 0.1
"""For how many seconds more what came while this process was busy may wait to be read."""
NOTICED_WITHIN = PROBE_EVERY + TAKEN_WITHIN + SEND_AGAIN + DEAF_AFTER + UNREAD
"""Within how many seconds it is noticed that nothing comes through any connection."""
PROBES = 10_000
"""How many names are tried until one is in a slot of a server; more than there are servers."""
ORDERS_AT_ONCE = 500
"""How many channels one command names; a cluster's names one."""
BACKOFF = Backoff(base=0.05, ceiling=1.0)


class Ear(Protocol):
    """Who hears the channels."""

    def heard(self, channel: str, message: bytes) -> None:
        """Take what came over *channel*."""

    def cut_off(self, channels: Iterable[str]) -> None:
        """Learn that nothing can be heard of *channels* for now; what comes there is lost."""

    def hears_again(self, channel: str) -> None:
        """Learn that *channel* can be heard from now on."""

    async def rest(self) -> None:
        """Return when more may come."""


class Deaf(Exception):
    """A connection is up, and nothing comes through it."""

    def __str__(self) -> str:
        return f"what was published did not come within {DEAF_AFTER:g} s"


class Strayed(Exception):
    """A channel is heard from another server by now."""

    def __init__(self, channel: str) -> None:
        super().__init__(channel)
        self.channel = channel

    def __str__(self) -> str:
        return f"{self.channel} has moved to another server"


LOST = (Deaf, Strayed)


class Link:
    """One connection to one server, opened again as often as it breaks.

    Args:
        servers: All servers.
        endpoint: Which of them.
        probe: Returns the channel on which it hears itself, anew for each connection: its slot
            may have moved.
        ear: Who hears.
        hand_over: Gives a channel to another link, where it is at another server by now.
        came_up: Is set each time that the connection is open.
    """

    def __init__(
        self,
        servers: Servers,
        endpoint: str,
        probe: Callable[[str], str],
        ear: Ear,
        hand_over: Callable[[str, asyncio.Future[None]], bool],
        came_up: asyncio.Event,
    ) -> None:
        self.up = False
        self.broke = 0
        self._servers = servers
        self._endpoint = endpoint
        self._choose_probe = probe
        self._probe = ""
        self._ear = ear
        self._hand_over = hand_over
        self._came_up = came_up
        # Each channel that is to be heard, and what waits until it is for the first time.
        self._wanted: dict[str, asyncio.Future[None]] = {}
        # How many answers are still to come to orders about each channel.
        self._unanswered: dict[str, int] = {}
        self._orders: list[tuple[str, str]] = []
        self._ordered = asyncio.Event()
        self._news = asyncio.Event()
        self._resting = False
        self._stopped = False
        self._connection: AbstractConnection | None = None

    def listen(self, channel: str) -> asyncio.Future[None]:
        """Have *channel* heard; the future is done when it is."""
        future = self._wanted.get(channel)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self.take_over(channel, future)
        return future

    def take_over(self, channel: str, future: asyncio.Future[None]) -> None:
        """Have *channel* heard here; *future* waits until it is."""
        self._wanted[channel] = future
        self._order(self._servers.subscribe, channel)

    def leave(self, channel: str) -> bool:
        """Have *channel* no longer heard; False where it wasn't."""
        future = self._wanted.pop(channel, None)
        if future is None:
            return False
        future.cancel()
        self._order(self._servers.unsubscribe, channel)
        return True

    def _order(self, verb: str, channel: str) -> None:
        if self._connection is not None:
            self._unanswered[channel] = self._unanswered.get(channel, 0) + 1
            self._orders.append((verb, channel))
            self._ordered.set()

    async def run(self) -> None:
        """Hear, until cancelled or nothing is to be heard here; what goes wrong begins again."""
        failures = 0
        while not self._stopped:
            began = asyncio.get_running_loop().time()
            reason: Exception = Deaf()
            try:
                await self._serve()
            except Exception as error:
                reason = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
            if asyncio.get_running_loop().time() - began > BACKOFF.stable_after:
                failures = 0
            if not isinstance(reason, (RedisError, BrokerUnavailable, *LOST, *UNREACHABLE)):
                logger.error("the link to Redis failed", exc_info=reason)
            elif failures == 0:
                logger.warning("the link to Redis is down: %s", told(reason))
            failures += 1
            await asyncio.sleep(BACKOFF.delay(failures))
            await self._sort_out()
            if not self._wanted and not self._servers.leads(self._endpoint):
                return

    def stop(self) -> None:
        """Hear no more, once the task that runs this is cancelled."""
        # A group of tasks forgets that it was cancelled where one of them fails at that moment.
        self._stopped = True

    async def _sort_out(self) -> None:
        """Give away what is at other servers by now."""
        try:
            await self._servers.look_around()
        except Exception as error:
            logger.info("it could not be found out where Redis is: %s", told(error))
        for channel, future in list(self._wanted.items()):
            with suppress(BrokerUnavailable):
                if self._hand_over(channel, future):
                    del self._wanted[channel]

    async def _serve(self) -> None:
        self._probe = self._choose_probe(self._endpoint)
        connection = self._servers.connection(self._endpoint)
        try:
            async with asyncio.timeout(PATIENCE):
                await connection.connect()
            self._unanswered.clear()
            self._orders.clear()
            self._connection = connection
            for channel in (self._probe, *self._wanted):
                self._order(self._servers.subscribe, channel)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(connection))
                group.create_task(self._write(connection))
                group.create_task(self._listen_for_itself())
        finally:
            self._connection = None
            if self.up:
                self.up = False
                self.broke += 1
            self._ear.cut_off([name for name, future in self._wanted.items() if future.done()])
            # What is stuck in a dead socket isn't waited for.
            with suppress(Exception):
                await connection.disconnect(nowait=True)

    async def _write(self, connection: AbstractConnection) -> None:
        most = 1 if self._servers.subscribe == "SSUBSCRIBE" else ORDERS_AT_ONCE
        while True:
            await self._ordered.wait()
            self._ordered.clear()
            orders, self._orders = self._orders, []
            while orders:
                verb = orders[0][0]
                count = 1
                while count < min(most, len(orders)) and orders[count][0] == verb:
                    count += 1
                names = [channel for _, channel in orders[:count]]
                del orders[:count]
                # A socket that takes nothing more is no better than a deaf one.
                async with asyncio.timeout(PATIENCE):
                    await connection.send_command(verb, *names, check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            message = await connection.read_response(disconnect_on_error=False)
            self._news.set()
            self._take(message)
            self._resting = True
            await self._ear.rest()
            self._resting = False

    def _take(self, message: Any) -> None:
        kind = message[0]
        if kind in (b"message", b"smessage"):
            channel = message[1].decode(errors="replace")
            if channel != self._probe:
                self._ear.heard(channel, message[2])
        elif kind in (b"subscribe", b"ssubscribe"):
            if self._is_latest(channel := message[1].decode()):
                self._acknowledged(channel)
        elif kind in (b"unsubscribe", b"sunsubscribe"):
            if (channel := message[1].decode()) not in self._unanswered:
                # Nobody ordered so: its slot has moved.
                raise Strayed(channel)
            self._is_latest(channel)

    def _is_latest(self, channel: str) -> bool:
        """Note an answer, and tell whether it is to the last that was ordered about *channel*."""
        left = self._unanswered.pop(channel, 0) - 1
        if left > 0:
            self._unanswered[channel] = left
        return left <= 0

    def _acknowledged(self, channel: str) -> None:
        if channel == self._probe:
            if self.broke:
                logger.info("the link to Redis is up again")
            self._servers.is_back(self._endpoint)
            self.up = True
            self._came_up.set()
            return
        future = self._wanted.get(channel)
        if future is None:
            return
        if future.done():
            self._ear.hears_again(channel)
        else:
            future.set_result(None)

    async def _listen_for_itself(self) -> None:
        """Raise Deaf when what is published doesn't come, though it was taken."""
        while True:
            self._news.clear()
            if not await self._send_probe():
                await asyncio.sleep(SEND_AGAIN)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(DEAF_AFTER):
                    await self._news.wait()
            await asyncio.sleep(UNREAD)
            if not self._news.is_set() and not self._resting:
                raise Deaf
            await asyncio.sleep(PROBE_EVERY)

    async def _send_probe(self) -> bool:
        """Publish a probe; False where it isn't known to have been taken."""
        try:
            async with asyncio.timeout(TAKEN_WITHIN):
                await self._servers.command(self._servers.publish, self._probe, b"")
        except (BrokerUnavailable, TimeoutError):
            return False
        return True


class Links:
    """A link to each server from which something is to be heard.

    Args:
        servers: The servers.
        ear: Who hears.
        probe: Returns the name of a channel, another for each number.

    Attributes:
        came_up: Is set each time that a link is up.
    """

    def __init__(self, servers: Servers, ear: Ear, probe: Callable[[int], str]) -> None:
        self._servers = servers
        self._ear = ear
        self._probe = probe
        self.came_up = asyncio.Event()
        self._links: dict[str, Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = 0
        self._stopped = False

    @property
    def up(self) -> bool:
        """Whether all can be heard."""
        return bool(self._links) and all(link.up for link in self._links.values())

    @property
    def broke(self) -> int:
        """How often one has broken."""
        return self._ended + sum(link.broke for link in self._links.values())

    def listen(self, channel: str) -> Awaitable[None]:
        """Have *channel* heard; what is returned is over when it is.

        Raises:
            BrokerUnavailable: there is no server for it at the moment.
        """
        if self._stopped:
            raise BrokerUnavailable("it has stopped")
        return asyncio.shield(self._link(self._servers.endpoint(channel)).listen(channel))

    def leave(self, channel: str) -> None:
        """Have *channel* no longer heard."""
        any(link.leave(channel) for link in list(self._links.values()))

    def _link(self, endpoint: str) -> Link:
        link = self._links.get(endpoint)
        if link is None:
            link = Link(
                self._servers,
                endpoint,
                self._probe_at,
                self._ear,
                lambda channel, future: self._hand_over(endpoint, channel, future),
                self.came_up,
            )
            self._links[endpoint] = link
            task = asyncio.get_running_loop().create_task(self._keep(endpoint, link))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return link

    async def _keep(self, endpoint: str, link: Link) -> None:
        try:
            await link.run()
        finally:
            self._ended += link.broke
            del self._links[endpoint]

    def _probe_at(self, endpoint: str) -> str:
        """Return the name of a probe that is heard from *endpoint*."""
        for salt in range(PROBES):
            if self._servers.endpoint(self._probe(salt)) == endpoint:
                return self._probe(salt)
        raise BrokerUnavailable(f"nothing is heard from {endpoint}")

    def _hand_over(self, endpoint: str, channel: str, future: asyncio.Future[None]) -> bool:
        there = self._servers.endpoint(channel)
        if there != endpoint:
            self._link(there).take_over(channel, future)
        return there != endpoint

    async def stop(self) -> None:
        """Close all."""
        self._stopped = True
        for link in self._links.values():
            link.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
