"""The rooms that a process follows over Redis: each event once, in order, or the room is lost.

A message that comes over a channel says where it stands in its room. What follows on the last is
passed on. Where a number is missing, or the channel could not be heard for a while, the room's
events wait until history has told what came between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from uuid import uuid4

from attrs import define

from .broker import Listener, Recovery
from .errors import BrokerUnavailable
from .protocol import MAX_OFFSET, Event, HistoryPolicy, Position
from .redis_link import Links
from .redis_scripts import RECOVER, Names, decode_entries, decode_message, life
from .redis_servers import PATIENCE, Servers, in_turns

logger = logging.getLogger("quart_realtime")

WAITING = 1000
"""How many events of a room may wait until it is known what came before them."""
CATCH_UP_AT_ONCE = 16
TRY_AGAIN_AFTER = 0.1
"""How many seconds what could not be looked up waits to be looked up again."""


@define(eq=False)
class _Followed:
    """A room that is followed: where it stands, and what waits.

    *waiting* is a list while it isn't known what came before; *cut* tells that the channel can't
    be heard, *cuts* how often that was so, *missed* that it is not made up for yet, *spilt* that
    more came than may wait.
    """

    history: HistoryPolicy
    epoch: str | None = None
    offset: int = 0
    waiting: list[Event] | None = None
    cut: bool = False
    cuts: int = 0
    missed: bool = False
    spilt: bool = False

    @property
    def placed(self) -> bool:
        """Whether it is known where the room stands, or there is nothing to know."""
        return self.epoch is not None or not self.history.keeps


class Rooms:
    """Follows rooms, and reads their history.

    Args:
        servers: Where they are.
        names: What they are called there.
        listener: Who is brought their events.

    Attributes:
        ignored: How many messages made no sense.
        gaps: How often it had to be looked up what was missed.
        lost: How often that was no longer to be had.
    """

    def __init__(self, servers: Servers, names: Names, listener: Listener, node: str) -> None:
        self.ignored = 0
        self.gaps = 0
        self.lost = 0
        self.links = Links(servers, self, lambda salt: names.probe(node, salt))
        self._servers = servers
        self._names = names
        self._listener = listener
        self._followed: dict[str, _Followed] = {}
        self._behind: dict[str, None] = {}
        # Rooms of which it isn't known what was missed.
        self._unsettled: set[str] = set()
        self._any_behind = asyncio.Event()
        self._catching_up: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to catch up where something was missed."""
        self._catching_up = asyncio.get_running_loop().create_task(self._catch_up_all())

    async def stop(self) -> None:
        """Hear nothing any more."""
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.gather(self._catching_up, return_exceptions=True)
        await self.links.stop()
        self._followed.clear()

    def follows(self, room: str) -> bool:
        """Tell whether *room* is followed."""
        return room in self._followed

    def stands(self, room: str) -> Position | None:
        """Return up to where the events of *room* were brought; None where that isn't known."""
        followed = self._followed.get(room)
        if followed is None or followed.epoch is None or followed.waiting is not None:
            return None
        return Position(room, followed.epoch, followed.offset)

    # Following

    async def follow(self, room: str, history: HistoryPolicy) -> None:
        """Have the events of *room* brought to the listener, from now on.

        Raises:
            BrokerUnavailable: it isn't followed then.
        """
        if room in self._followed:
            return
        followed = self._followed[room] = _Followed(history, waiting=[])
        try:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.links.listen(self._names.channel(room))
            except TimeoutError as error:
                raise BrokerUnavailable("Redis can't be listened to") from error
            if history.keeps:
                place = (await self.recover(Position(room), history)).position
                followed.epoch, followed.offset = place.epoch, place.offset
        except BaseException:
            self.unfollow(room)
            raise
        if followed.missed and not followed.cut:
            # Where it stands may have been asked before it was cut off.
            self._fall_behind(room)
        elif not followed.cut:
            self._release(room, followed)

    def unfollow(self, room: str) -> None:
        """Have them no longer brought."""
        if self._followed.pop(room, None) is not None:
            self._behind.pop(room, None)
            self._unsettled.discard(room)
            self.links.leave(self._names.channel(room))

    async def recover(
        self, position: Position, history: HistoryPolicy, *, heard: bool = False
    ) -> Recovery:
        """Return what came after *position*, as a broker does.

        Args:
            position: Where whoever asks stood.
            history: How much the room keeps.
            heard: Whether this process has heard all up to there itself, until a moment ago: then
                nothing after it is too old.
        """
        room = position.room
        known = position.epoch is not None and 0 <= position.offset <= MAX_OFFSET
        epoch, newest, whole, entries = await self._servers.run(
            RECOVER,
            (self._names.place(room), self._names.history(room)),
            (position.epoch or "") if known else "",
            position.offset if known else 0,
            MAX_OFFSET if heard else round(history.ttl * 1000),
            life(history),
            uuid4().hex[:16],
            int(heard),
        )
        stands = Position(room, epoch.decode(), int(newest))
        try:
            events = decode_entries(entries, epoch.decode(), room)
        except ValueError as error:
            self.ignore(room, error)
            return Recovery(stands)
        return Recovery(stands, events, recovered=bool(whole))

    async def keep(self) -> None:
        """Have the numbering of all rooms that are followed live on."""
        await in_turns(
            self._servers.command("PEXPIRE", self._names.place(room), life(each.history))
            for room, each in list(self._followed.items())
            if each.history.keeps
        )

    # What the links bring

    def heard(self, channel: str, message: bytes) -> None:
        """Take a message of a channel; what makes no sense is ignored and counted."""
        room = self._names.room_of(channel)
        followed = self._followed.get(room)
        if followed is None:
            return
        try:
            event = decode_message(message, room)
        except ValueError as error:
            self.ignore(room, error)
            return
        self._take(room, followed, event)

    def ignore(self, room: str, why: object) -> None:
        """Count what makes no sense; of the first, and of every thousandth, it is said why."""
        if self.ignored % 1000 == 0:
            logger.warning("what makes no sense was ignored in room %r: %s", room, why)
        self.ignored += 1

    def cut_off(self, channels: Iterable[str]) -> None:
        """Hold back what comes of these from now on, until it is known what was missed."""
        for channel in channels:
            followed = self._followed.get(self._names.room_of(channel))
            if followed is not None:
                self._unsettled.add(self._names.room_of(channel))
                followed.cut = followed.missed = True
                followed.cuts += 1
                followed.waiting = []
                followed.spilt = False

    def hears_again(self, channel: str) -> None:
        """Look up what was missed of a room."""
        room = self._names.room_of(channel)
        followed = self._followed.get(room)
        if followed is not None:
            followed.cut = False
            if followed.placed:
                # Whatever was looked up before doesn't count: it was cut off since.
                followed.waiting = followed.waiting or []
                self._fall_behind(room)

    async def rest(self) -> None:
        """Wait for those who take the events."""
        await self._listener.rest()

    def _take(self, room: str, followed: _Followed, event: Event) -> None:
        if followed.waiting is not None:
            if len(followed.waiting) < WAITING:
                followed.waiting.append(event)
            else:
                followed.spilt = True
        elif event.offset is None or not followed.history.keeps:
            self._listener.deliver(event)
        elif event.epoch == followed.epoch and event.offset <= followed.offset:
            return
        elif event.epoch == followed.epoch and event.offset == followed.offset + 1:
            followed.offset = event.offset
            self._listener.deliver(event)
        else:
            followed.waiting = [event]
            self._fall_behind(room)

    def _release(self, room: str, followed: _Followed) -> None:
        """Pass on what has waited."""
        self._unsettled.discard(room)
        waiting, followed.waiting = followed.waiting, None
        for event in waiting or ():
            self._take(room, followed, event)

    # Catching up

    @property
    def settled(self) -> bool:
        """Whether nothing is known to have been missed that isn't made up for."""
        return not self._unsettled

    def _fall_behind(self, room: str) -> None:
        self._unsettled.add(room)
        self._behind[room] = None
        self._any_behind.set()

    async def _catch_up_all(self) -> None:
        while True:
            await self._any_behind.wait()
            self._any_behind.clear()
            rooms, self._behind = list(self._behind), {}
            for start in range(0, len(rooms), CATCH_UP_AT_ONCE):
                batch = rooms[start : start + CATCH_UP_AT_ONCE]
                done = await asyncio.gather(*(self._caught_up(room) for room in batch))
                await self.rest()
                if not all(done):
                    await asyncio.sleep(TRY_AGAIN_AFTER)

    async def _caught_up(self, room: str) -> bool:
        try:
            return await self._catch_up(room)
        except Exception:
            logger.exception("catching up in room %r failed: its members will be told", room)
            if room in self._followed:
                self._followed[room].spilt = True
                self._fall_behind(room)
            await asyncio.sleep(1)  # Whatever it is, it isn't asked again as fast as can be.
            return False

    async def _catch_up(self, room: str) -> bool:
        """Pass on what was missed of *room*, or tell that it is lost; False to be tried again."""
        followed = self._followed.get(room)
        if followed is None or followed.cut or not followed.placed:
            return True
        if not followed.history.keeps:
            self._release(room, followed)
            return True
        cuts, before = followed.cuts, len(followed.waiting or ())
        stood = Position(room, followed.epoch, followed.offset)
        try:
            recovery = await self.recover(stood, followed.history, heard=True)
        except BrokerUnavailable:
            self._fall_behind(room)
            return False
        if self._followed.get(room) is not followed or followed.cuts != cuts:
            return True  # It is looked up anew when it can be heard again.
        self.gaps += bool(recovery.events)
        if recovery.recovered and not followed.spilt:
            for event in recovery.events:
                self._listener.deliver(event)
        else:
            self.lost += 1
            logger.warning("events of room %r were lost: its members are told", room)
            self._listener.lose(room)
        followed.epoch, followed.offset = recovery.position.epoch, recovery.position.offset
        followed.spilt = followed.missed = False
        # Of what came before the answer all that has a number was in it, or is none of ours.
        held = followed.waiting or []
        followed.waiting = [event for event in held[:before] if event.offset is None]
        followed.waiting += held[before:]
        self._release(room, followed)
        return True
