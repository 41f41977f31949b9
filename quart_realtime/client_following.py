"""All rooms that one client follows: subscribing, resuming after a return, and what comes in."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from .backoff import Backoff
from .client_link import EventFrame, Joined, Link, encode, time_limit
from .client_listeners import Tasks
from .client_rooms import HOPELESS, Room, RoomAnswer, Track, Verdict
from .client_types import Closed, ConnectionLost, Event, RealtimeError, Recovery
from .protocol import EVERYONE, SKIPPED

SUBSCRIBE_SIZE = 32 * 1024
"""How large one ``subscribe`` is at most; by default a server takes 64 KiB."""


class Following:
    """The rooms that the app subscribed to, and those that the server put the client in.

    Args:
        deliver: Hands an event to the client's own callbacks and streams.
        tell: Calls the client's callbacks of a hook: ``"recovered"`` or ``"error"``.
        ids: Ids for frames.
        backoff: How long a room that failed waits.
        timeout: How many seconds an answer may take.
        tasks: Who runs the callbacks of rooms.

    """

    def __init__(
        self,
        deliver: Callable[[Event], None],
        tell: Callable[[str, object], None],
        *,
        ids: Iterator[str],
        backoff: Backoff,
        timeout: float,
        tasks: Tasks,
    ) -> None:
        self._deliver = deliver
        self._tell = tell
        self._ids = ids
        self._backoff = backoff
        self._timeout = timeout
        self._tasks = tasks
        self._link: Link | None = None
        self._tracks: dict[str, Track] = {}

    @property
    def joined(self) -> tuple[str, ...]:
        """The rooms that the server put this client in."""
        return tuple(track.name for track in self._tracks.values() if track.joined)

    # The connection's coming and going

    def greeted(self, link: Link, joined: Iterable[Joined]) -> None:
        """Resume on *link* all rooms with a position or a reader; *joined* are the server's."""
        self._link = link
        given = {room.room: room for room in joined}
        resumed = []
        for track in list(self._tracks.values()):
            # What the app holds it may let go of; the rest is ours only by the server's will.
            track.joined = track.joined and not track.rooms
            if track.rooms or track.epoch is not None:
                resumed.append(track)
                continue
            # It keeps no history, so whatever happened in the meantime can't be told.
            del self._tracks[track.name]
            if track.name in given:
                self._tell_recovery(track, recovered=False)
        for room in given.values():
            self._join(room)
        self._ask(resumed)

    def lost(self, *, void: bool = False) -> None:
        """Note that the connection ended; *void* where positions mean nothing any longer."""
        self._link = None
        for track in self._tracks.values():
            track.lose_connection()
            if void:
                track.move(None, 0)

    def forget_user(self) -> None:
        """Forget what the server did for the one who was logged in before."""
        for track in self._tracks.values():
            track.joined = False
        self._tracks = {name: track for name, track in self._tracks.items() if track.rooms}

    def end(self, error: Closed | None) -> None:
        """Let go of all rooms, for good."""
        for track in self._tracks.values():
            for room in track.rooms:
                room.end(error)
        self._tracks.clear()

    # What the app wishes

    async def subscribe(self, name: str, timeout: float) -> Room:
        """Follow the room *name*; see :meth:`Client.subscribe`."""
        track = self._tracks.setdefault(name, Track(name))
        room = Room(track, self.leave, self._tasks)
        track.rooms.append(room)
        if track.subscribed and not track.awaiting:
            room.resumed(recovered=True)
        elif not track.awaiting:
            self._ask([track])
        try:
            async with time_limit(f"subscribe to {name}", timeout):
                await room.wait_ready()
        except BaseException:
            # The server may have taken it nevertheless.
            if self._forget(room) and self._link is not None:
                self._link.tasks.spawn(self._unsubscribe(self._link, name))
            raise
        return room

    async def leave(self, room: Room) -> None:
        """Follow *room* no longer; the server is told when nobody else does."""
        if self._forget(room) and self._link is not None:
            await self._unsubscribe(self._link, room.name)

    def _forget(self, room: Room) -> bool:
        """Let go of *room*, and tell whether nothing else holds us in there."""
        track = self._tracks.get(room.name)
        if track is None or room not in track.rooms:
            return False
        track.rooms.remove(room)
        room.end()
        if track.rooms or track.joined:
            return False
        del self._tracks[room.name]
        return True

    async def _unsubscribe(self, link: Link, name: str) -> None:
        frame_id = next(self._ids)
        text = encode("unsubscribe", id=frame_id, payload={"rooms": [name]})
        # Whatever goes wrong: the next connection isn't asked for the room.
        with suppress(RealtimeError, ConnectionLost, TimeoutError):
            async with time_limit("unsubscribe", self._timeout):
                await link.ask(frame_id, text)

    # Subscribing and resuming

    def _ask(self, tracks: Iterable[Track]) -> None:
        """Subscribe to *tracks* in one message, unless that were too large for the server."""
        if self._link is None:
            return  # The next connection asks for all rooms.
        most = SUBSCRIBE_SIZE
        if self._link.most_bytes is not None:
            # The other half is for what stands around the rooms.
            most = min(most, self._link.most_bytes // 2)
        batch: list[Track] = []
        size = 0
        for track in tracks:
            track.awaiting = True
            length = len(msgspec.json.encode(track.place()))
            if batch and size + length > most:
                self._link.tasks.spawn(self._subscribe(self._link, batch))
                batch, size = [], 0
            batch.append(track)
            size += length
        if batch:
            self._link.tasks.spawn(self._subscribe(self._link, batch))

    async def _subscribe(self, link: Link, tracks: list[Track]) -> None:
        frame_id = next(self._ids)
        rooms = [track.place() for track in tracks]
        text = encode("subscribe", id=frame_id, payload={"rooms": rooms})
        error = RealtimeError("timeout", f"no answer within {self._timeout:g} s")
        try:
            async with time_limit("subscribe", self._timeout):
                await link.ask(frame_id, text, partial(self._answered, tracks))
            return
        except ConnectionLost:
            return  # The next connection asks for all rooms.
        except RealtimeError as refusal:
            error = refusal
        except TimeoutError:
            pass
        for track in tracks:
            self._failed(track, error)

    def _answered(self, tracks: list[Track], payload: Any) -> None:
        """Take the answer to a subscribe, before the live events that follow it."""
        asked = {track.name: track for track in tracks}
        items = payload.get("rooms") if isinstance(payload, dict) else None
        for item in items if isinstance(items, list) else ():
            with suppress(msgspec.ValidationError):
                answer = msgspec.convert(item, RoomAnswer)
                track = asked.pop(answer.room, None)
                if track is None or not self._follows(track):
                    continue
                if answer.error is None:
                    self._enter(track, answer)
                else:
                    self._failed(track, answer.error.error())
        for track in asked.values():
            self._failed(track, RealtimeError("internal_error", "the answer says nothing of it"))

    def _enter(self, track: Track, answer: RoomAnswer) -> None:
        track.calm_since = self._backoff.clock()
        for frame in track.take(answer):
            self._hand_out(frame, track)
        self._tell_recovery(track, recovered=answer.recovered)
        for frame in track.release():
            # What was held of an epoch that has ended isn't told after the new one.
            if None in (frame.epoch, track.epoch) or frame.epoch == track.epoch:
                self.take(frame)

    def _tell_recovery(self, track: Track, *, recovered: bool) -> None:
        is_return = track.returning
        track.returning = True
        for room in tuple(track.rooms):
            room.resumed(recovered)
        if is_return:
            self._tell("recovered", Recovery(track.name, recovered))

    def _failed(self, track: Track, error: RealtimeError) -> None:
        """Try *track* again, alone; or give it up where *error* is one to stay."""
        if not self._follows(track):
            return
        error = RealtimeError(error.code, error.message, {"room": track.name})
        followed = track.returning
        hopeless = error.code in HOPELESS
        for room in tuple(track.rooms):
            # A first subscribe raises either way: the app knows best whether to try again.
            if hopeless or not room.is_ready:
                track.rooms.remove(room)
                room.end(error)
        if hopeless or not followed:
            del self._tracks[track.name]
            if followed:
                self._tell("error", error)
        else:
            self._ask_again(track, at_once=False)

    def _ask_again(self, track: Track, *, at_once: bool) -> None:
        """Ask for *track* once more, and the later the more often there was reason to.

        *at_once* tells whether the first time needn't wait.
        """
        if self._link is None:
            return  # The next connection asks for all rooms.
        if self._backoff.clock() - track.calm_since >= self._backoff.stable_after:
            track.failures = 0
        track.calm_since, track.awaiting = math.inf, True
        earlier = track.failures - at_once
        track.failures += 1
        delay = self._backoff.delay(earlier) if earlier >= 0 else 0.0
        self._link.tasks.spawn(self._try_again(self._link, track, delay))

    async def _try_again(self, link: Link, track: Track, delay: float) -> None:
        await asyncio.sleep(delay)
        if self._follows(track):
            await self._subscribe(link, [track])

    def _follows(self, track: Track) -> bool:
        return self._tracks.get(track.name) is track

    # What the server says

    def take(self, frame: EventFrame) -> None:
        """Hand an event to the app, unless it was before, or others have to come first."""
        track = self._tracks.get(frame.room or EVERYONE)
        if frame.offset is None and self._is_notice(frame):
            track = None
        if track is not None:
            match track.judge(frame):
                case Verdict.DROP:
                    return
                case Verdict.HOLD:
                    track.hold(frame)
                    return
                case Verdict.GAP:
                    track.hold(frame)
                    self._ask_again(track, at_once=True)
                    return
                case Verdict.NEW_EPOCH:
                    self._tell_recovery(track, recovered=False)
        self._hand_out(frame, track)

    def _is_notice(self, frame: EventFrame) -> bool:
        """Follow what the server tells about our own rooms, which is no event of a room."""
        data = frame.payload.data
        if frame.payload.type == "room_joined":
            with suppress(msgspec.ValidationError):
                self._join(msgspec.convert(data, Joined))
                return True
        elif frame.payload.type == "room_left":
            with suppress(msgspec.ValidationError):
                self._put_out(msgspec.convert(data, Joined).room)
                return True
        return False

    def _join(self, joined: Joined) -> None:
        """Note that the server put us in a room; our own position there counts more than its."""
        track = self._tracks.get(joined.room)
        if track is None:
            track = Track(joined.room, joined.epoch, joined.offset or 0, returning=True)
            self._tracks[joined.room] = track
        track.joined = True

    def _put_out(self, name: str) -> None:
        track = self._tracks.pop(name, None)
        for room in () if track is None else track.rooms:
            room.end()

    def _hand_out(self, frame: EventFrame, track: Track | None) -> None:
        payload = frame.payload
        if payload.type == SKIPPED:
            return
        room = frame.room or EVERYONE
        event = Event(payload.type, payload.data, room, frame.id, frame.offset, frame.epoch)
        if track is not None:
            if frame.offset is None:
                track.note_presence(event.type, event.data)
            for handle in tuple(track.rooms):
                handle.deliver(event)
        self._deliver(event)
