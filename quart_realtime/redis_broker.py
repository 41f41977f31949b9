"""The broker over Redis 7 or Valkey: one server, one of Sentinel's, or a cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

import msgspec
from attrs import frozen

from .broker import (
    PRIVATE,
    Attendance,
    Broker,
    BrokerHealth,
    Listener,
    MemoryBroker,
    Once,
    Recovery,
)
from .broker_url import BrokerUrl
from .errors import BrokerUnavailable, SetupError
from .limits import Rates
from .models import dump
from .protocol import Event, HistoryPolicy, Position
from .redis_once import Onces
from .redis_presence import DEAD_AFTER, LIFE, Presences
from .redis_rooms import Rooms
from .redis_scripts import (
    BEAT,
    COUNT,
    FORMAT,
    PUBLISH,
    Names,
    encode_body,
    how_to_send,
    placed,
    spans,
)
from .redis_servers import connect

logger = logging.getLogger("quart_realtime")

BEAT_EVERY = 3.0
"""How many seconds a process is silent at most."""
KEEP_EVERY = 6 * 3600.0
"""How many seconds pass until all that is this process's is kept from expiring again."""
FAREWELL = 4.0
"""For how many seconds a process that stops takes leave of Redis at most."""
REMEMBER = 10.0
"""For how many seconds an event is known to have been sent, so that it can be sent again safely
where the answer was lost."""
COMMANDS = "\0commands"
"""The room that commands go through, so that one that was missed is made up for like an event."""
COMMANDS_KEPT = HistoryPolicy(1000, 300)


@frozen
class Publication:
    """How an event is published: PUBLISH's keys and arguments, and whether it may run again."""

    keys: tuple[str, ...]
    arguments: tuple[str | bytes | int, ...]
    again: bool


def publication(
    names: Names, verb: str, event: Event, history: HistoryPolicy, once: Once | None = None
) -> Publication:
    """Return how *event* is published.

    It may not run again where nothing is remembered: nobody would know whether it was sent
    already.
    """
    room = event.room
    key = event.id if once is None else f"key:{once.key}"
    remember = (REMEMBER if history.keeps else 0.0) if once is None else once.ttl
    return Publication(
        (names.place(room), names.history(room), names.channel(room), names.sent(room, key)),
        (*how_to_send(verb, history), round(remember * 1000), encode_body(event)),
        remember > 0,
    )


def names_of(url: BrokerUrl) -> Names:
    """Return what keys and channels are called behind *url*."""
    return Names(f"{url.prefix}:v{FORMAT}")


class RedisBroker(Broker):
    """Carries events and commands among all processes that share a URL.

    Args:
        url: Where Redis is.

    Raises:
        SetupError: an option of the URL is unknown.
    """

    def __init__(self, url: BrokerUrl) -> None:
        self._url = url
        self._names = names_of(url)
        self.node = ""

    async def start(self, listener: Listener) -> None:
        """Begin to bring what is published to *listener*.

        Where Redis is away it begins without, and says so in the log.

        Raises:
            SetupError: Redis can't be used as it is.
        """
        node = uuid4().hex
        self._servers = connect(self._url)
        self._rooms = Rooms(self._servers, self._names, _Sorting(listener, self._ignore), node)
        self._presences = Presences(self._servers, self._names, node)
        self._local = MemoryBroker()
        self._onces = Onces(self._servers, self._names, self._local)
        self._hearing_commands = asyncio.Lock()
        try:
            await self._greet(node)
            self._rooms.start()
            await self._once_more()
        except BaseException:
            await self._rooms.stop()
            await self._servers.close()
            raise
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._beat()), loop.create_task(self._tend())]
        self.node = node

    async def _greet(self, node: str) -> None:
        """See that all that this process does in Redis is possible there."""
        beat = (node, round(DEAD_AFTER * 1000), uuid4().hex, LIFE)
        nodes = (self._names.nodes(), self._names.notes())
        why = await self._servers.greet(BEAT, nodes, *beat)
        if why is None:
            greeting = Event("greeting", b"null", f"{PRIVATE}greetings")
            sending = publication(self._names, self._servers.publish, greeting, HistoryPolicy(1, 1))
            why = await self._servers.greet(PUBLISH, sending.keys, *sending.arguments)
        if why is not None:
            logger.error(
                "Redis can't be used (QUART_REALTIME_BROKER_URL; %s): requests are answered, but "
                "nobody can connect and no event goes out until it can.",
                why,
            )
        elif await self._servers.is_part_of_a_cluster():
            raise SetupError(
                "QUART_REALTIME_BROKER_URL names one server of a cluster: write redis+cluster:// "
                "and its host."
            )

    def _ignore(self, why: object) -> None:
        self._rooms.ignore(COMMANDS, why)

    async def stop(self) -> None:
        """Let go of everything; nothing is delivered afterwards."""
        if not self.node:
            return
        self.node = ""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._rooms.stop()
        try:
            async with asyncio.timeout(FAREWELL):
                await self._onces.tend()
                await self._presences.leave()
        except (BrokerUnavailable, TimeoutError):
            logger.warning("Redis could not be told that this process stops: it will notice")
        await self._servers.close()

    async def _beat(self) -> None:
        """Tell that this process lives; nothing else is to hold that up."""
        while True:
            await self._try(self._presences.beat())
            await self._try(self._onces.renew())
            await asyncio.sleep(BEAT_EVERY)

    async def _tend(self) -> None:
        """Look after this process's part, every few seconds, and at once when Redis is back."""
        loop = asyncio.get_running_loop()
        kept = loop.time()
        broken = 0
        links = self._rooms.links
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_EVERY):
                    await links.came_up.wait()
            links.came_up.clear()
            due = loop.time() - kept > KEEP_EVERY
            if due or links.broke != broken:
                broken = links.broke
                self._presences.suspect_all()
            if due:
                kept = loop.time()
                await self._try(self._rooms.keep())
            await self._look_after()

    async def _once_more(self) -> None:
        """Do all that is done every few seconds."""
        await self._try(self._presences.beat())
        await self._look_after()

    async def _look_after(self) -> None:
        await self._try(self._hear_commands())
        await self._try(self._presences.tend())
        await self._try(self._onces.tend())

    async def _try(self, work: Awaitable[None]) -> None:
        """Do *work*; what fails is tried again with the next beat."""
        try:
            await work
        except BrokerUnavailable:
            pass
        except Exception:
            logger.exception("looking after this process's part in Redis failed")

    async def _hear_commands(self) -> None:
        async with self._hearing_commands:
            await self._rooms.follow(COMMANDS, COMMANDS_KEPT)

    async def subscribe(self, room: str, history: HistoryPolicy) -> None:
        """Have the events of *room* delivered here."""
        await self._rooms.follow(room, history)

    async def unsubscribe(self, room: str) -> None:
        """No longer have them delivered."""
        self._rooms.unfollow(room)

    async def publish(
        self, event: Event, history: HistoryPolicy, once: Once | None = None
    ) -> Event:
        """Number *event*, keep it, and deliver it to all subscribers of its room."""
        sending = publication(self._names, self._servers.publish, event, history, once)
        where = await self._servers.run(
            PUBLISH, sending.keys, *sending.arguments, again=sending.again
        )
        return placed(event, where)

    def stands(self, room: str) -> Position | None:
        """Return up to where the events of *room* were brought here; None where none were."""
        return self._rooms.stands(room)

    async def recover(self, position: Position, history: HistoryPolicy) -> Recovery:
        """Return what came after *position*; without an epoch, only where the room stands."""
        if not history.keeps:
            return Recovery(Position(position.room))
        stands = self._rooms.stands(position.room) if position.epoch is None else None
        if stands is not None:
            # All up to there was brought here, and all that comes after it will be.
            return Recovery(stands)
        return await self._rooms.recover(position, history)

    async def enter(self, room: str, user_id: str, connection_id: str) -> int:
        """Record a user's connection as present in *room*."""
        # Nobody is let in whom a command would not reach.
        await self._hear_commands()
        return await self._presences.enter(room, user_id, connection_id)

    async def exit(self, room: str, user_id: str, connection_id: str) -> int | None:
        """Strike it off again."""
        return await self._presences.exit(room, user_id, connection_id)

    async def present(self, room: str) -> Attendance:
        """Return who is in *room*, each user once."""
        return await self._presences.present(room)

    async def command(self, command: Mapping[str, Any], *, keep: bool = True) -> None:
        """Have each process carry out *command*, JSON values by name."""
        kept = COMMANDS_KEPT if keep else HistoryPolicy(0, 0)
        await self.publish(Event("command", dump(dict(command)), COMMANDS), kept)

    async def begin(self, key: str, fingerprint: str, ttl: float) -> bytes | None:
        """Begin a request that is to run once."""
        return await self._onces.begin(key, fingerprint, ttl)

    async def finish(self, key: str, answer: bytes) -> None:
        """Keep *answer* for whoever comes with *key* again."""
        await self._onces.finish(key, answer)

    async def abandon(self, key: str) -> None:
        """Forget *key*, and let one of those that wait for its answer run instead."""
        await self._onces.abandon(key)

    async def count(self, key: str, rates: Rates) -> float:
        """Count one hit under *key*, on all processes; here alone while Redis is away."""
        try:
            wait = await self._servers.run(COUNT, (self._names.counted(key),), *spans(rates))
        except BrokerUnavailable:
            return await self._local.count(key, rates)
        return int(wait) / 1_000_000

    @property
    def health(self) -> BrokerHealth:
        """How it is."""
        if not self.node:
            return BrokerHealth(up=False)
        rooms = self._rooms
        return BrokerHealth(
            up=(
                rooms.links.up
                and rooms.settled
                and rooms.follows(COMMANDS)
                and self._servers.answers
            ),
            links_broken=rooms.links.broke,
            gaps_filled=rooms.gaps,
            rooms_lost=rooms.lost,
            ignored=rooms.ignored,
        )


class _Sorting:
    """Tells commands from events, and passes both on to *listener*; *ignore* counts the rest."""

    def __init__(self, listener: Listener, ignore: Callable[[object], None]) -> None:
        self._listener = listener
        self._ignore = ignore
        self.rest = listener.rest

    def deliver(self, event: Event) -> None:
        """Pass on an event, or obey what it says."""
        if event.room != COMMANDS:
            self._listener.deliver(event)
            return
        try:
            command = event.value()
        except (msgspec.DecodeError, RecursionError):
            command = None
        if isinstance(command, dict):
            self._listener.obey(command)
        else:
            self._ignore("not a command")

    def obey(self, command: Mapping[str, Any]) -> None:
        """Obey a command."""
        self._listener.obey(command)

    def lose(self, room: str | None) -> None:
        """Tell that a room was lost, or everything where it was the commands'."""
        self._listener.lose(None if room == COMMANDS else room)
