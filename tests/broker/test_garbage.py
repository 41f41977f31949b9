"""Garbage where only brokers should write: ignored, counted, and nothing else is lost by it."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from attrs import frozen

from quart_realtime.broker import Recovery
from quart_realtime.broker_url import parse_broker_url
from quart_realtime.protocol import MAX_OFFSET, HistoryPolicy, Position
from quart_realtime.redis_broker import COMMANDS, RedisBroker, names_of
from quart_realtime.redis_scripts import Names, encode_body

from ..unit.fakes import BOUND, Recorder, event
from ..valkey import Valkey, valkey
from ..waiting import until

KEPT = HistoryPolicy(1000, 300)


class Nasty:
    """Were it unpickled, it would leave a folder behind."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


BODY = encode_body(event("forged"))
GARBAGE = {
    "nothing": b"",
    "blanks": b"  ",
    "zeros": bytes(1000),
    "not UTF-8": b"\xff\xfe\xfd \xff \xff",
    "a body alone": BODY,
    "a place alone": b"e 1 ",
    "an object": b'e 1 {"type":"happened"}',
    "a short array": b'e 1 ["happened"]',
    "data that isn't UTF-8": b'e 1 ["happened","evt-1",null,"\xff"]',
    "a number beyond all reading": b"e " + b"9" * 5000 + b" " + BODY,
    "a megabyte": b"x" * (1 << 20),
    "a negative number": b"e -1 " + BODY,
    "a huge number": b"e " + b"9" * 100 + b" " + BODY,
}
DEEP = 100_000
NESTED = b"e 1 " + b"[" * DEEP + b"]" * DEEP
NESTED_DATA = b'e 1 ["happened","evt-1",null,' + b"[" * DEEP + b"]" * DEEP + b"]"


@frozen
class Setting:
    """A broker that follows ``room``, and whoever can write beside it."""

    broker: RedisBroker
    heard: Recorder
    outsider: redis.Redis
    names: Names

    def forge(self, message: bytes, room: str = "room") -> None:
        assert self.outsider.publish(self.names.channel(room), message) == 1

    async def judged(self, room: str = "room") -> None:
        """Wait until all that was forged in *room* has come, and is taken for what it is.

        A number that is two ahead is the next one as soon as somebody has sent the one between.
        """
        rooms = self.broker._rooms
        before = rooms.ignored
        self.forge(b"garbage", room)
        await until(lambda: rooms.ignored > before and rooms.settled, BOUND)

    async def publish(self, data: Any) -> Position:
        sent = await self.broker.publish(event(data), KEPT)
        return Position("room", sent.epoch, sent.offset or 0)

    async def all_heard(self, *data: Any) -> None:
        """Check that exactly these events have come in order, each once, and nothing was lost."""
        await self.heard.has(events=len(data))
        await self.broker.publish(event("marker"), KEPT)
        await self.heard.has(events=len(data) + 1)
        assert [item.value() for item in self.heard.events] == [*data, "marker"]
        assert self.heard.lost == []


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


@pytest.fixture
async def here(server: Valkey) -> AsyncIterator[Setting]:
    url = parse_broker_url(f"{server.url}?prefix={uuid4().hex}")
    broker, heard = RedisBroker(url), Recorder()
    await broker.start(heard)
    await broker.subscribe("room", KEPT)
    with server.client as outsider:
        yield Setting(broker, heard, outsider, names_of(url))
    await broker.stop()


def has_died(here: Setting) -> bool:
    """Tell whether a task that is to run as long as the broker has ended."""
    rooms = here.broker._rooms
    tasks = [rooms._catching_up, *rooms.links._tasks]
    return any(task is None or task.done() for task in tasks)


# On channels


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_on_a_room_s_channel_is_ignored_and_counted(
    here: Setting, garbage: bytes
) -> None:
    await here.publish(1)
    for _ in range(3):
        here.forge(garbage)
    await here.publish(2)
    await here.all_heard(1, 2)
    assert here.broker.health.ignored == 3
    assert not has_died(here)


@pytest.mark.parametrize("garbage", [NESTED, NESTED_DATA], ids=["body", "data"])
@pytest.mark.parametrize("room", ["room", COMMANDS])
async def test_what_nests_without_end_is_ignored_and_counted(
    here: Setting, garbage: bytes, room: str
) -> None:
    await here.publish(1)
    here.forge(garbage, room)
    await here.publish(2)
    await here.all_heard(1, 2)
    assert here.broker.health.ignored == 1
    assert not has_died(here)


async def test_a_pickle_on_any_channel_is_never_unpickled(here: Setting, tmp_path: Any) -> None:
    folder = tmp_path / "unpickled"
    probe = here.names.probe(here.broker.node, 0)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(Nasty(str(folder)), protocol)
        for room in ("room", COMMANDS):
            here.forge(pickled, room)
            here.forge(b"e 1 " + pickled, room)
        assert here.outsider.publish(probe, pickled) == 1
    await here.publish(1)
    await here.all_heard(1)
    assert not folder.exists()
    assert here.heard.commands == []
    assert here.broker.health.ignored == 4 * (pickle.HIGHEST_PROTOCOL + 1)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_on_the_commands_channel_is_ignored_and_counted(
    here: Setting, garbage: bytes
) -> None:
    await here.broker.command({"do": "first"})
    here.forge(garbage, COMMANDS)
    await here.broker.command({"do": "second"})
    await here.heard.has(commands=2)
    assert here.heard.commands == [{"do": "first"}, {"do": "second"}]
    assert here.heard.lost == []
    assert here.broker.health.ignored == 1


@pytest.mark.parametrize("data", [None, 7, "disconnect", [], [{"do": "disconnect"}], True])
async def test_a_command_that_is_no_object_is_ignored_and_counted(here: Setting, data: Any) -> None:
    here.forge(b"- 0 " + encode_body(event(data, COMMANDS)), COMMANDS)
    await here.broker.command({"do": "something"})
    await here.heard.has(commands=1)
    assert here.heard.commands == [{"do": "something"}]
    assert here.broker.health.ignored == 1


@pytest.mark.parametrize("data", [b"1e400", b"9" * 1000, b'{"do":1e999}'])
async def test_a_command_that_cannot_be_read_is_ignored(here: Setting, data: bytes) -> None:
    here.forge(b'- 0 ["command","evt-1",null,' + data + b"]", COMMANDS)
    await here.broker.command({"do": "something"})
    await here.heard.has(commands=1)
    assert here.heard.commands == [{"do": "something"}]


@pytest.mark.parametrize("garbage", [*GARBAGE.values(), NESTED], ids=[*GARBAGE, "nested"])
async def test_garbage_on_the_probe_s_channel_changes_nothing(
    here: Setting, garbage: bytes
) -> None:
    await here.publish(1)
    probe = here.names.probe(here.broker.node, 0)
    for _ in range(3):
        assert here.outsider.publish(probe, garbage) == 1
    await here.publish(2)
    await here.all_heard(1, 2)
    health = here.broker.health
    assert (health.up, health.links_broken, health.rooms_lost) == (True, 0, 0)


async def test_a_flood_of_garbage_is_counted_and_what_is_between_is_heard(here: Setting) -> None:
    for number in range(100):
        pipe = here.outsider.pipeline(transaction=False)
        for _ in range(50):
            pipe.publish(here.names.channel("room"), b"garbage")
        pipe.execute()
        await here.publish(number)
    await here.all_heard(*range(100))
    assert here.broker.health.ignored == 5000


async def test_garbage_is_told_in_the_log_but_not_each_time(
    here: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(500):
        here.forge(b"garbage")
    await here.publish(1)
    await here.all_heard(1)
    told = [record for record in caplog.records if "makes no sense" in record.message]
    assert len(told) == 1
    assert "room" in told[0].message


# Forged messages, well formed


PLACES = {
    "far ahead": lambda at: f"{at.epoch} {at.offset + 1000}",
    "as far as can be": lambda at: f"{at.epoch} {MAX_OFFSET}",
    "two ahead": lambda at: f"{at.epoch} {at.offset + 2}",
    "heard before": lambda at: f"{at.epoch} {at.offset}",
    "long ago": lambda at: f"{at.epoch} 1",
    "of another epoch": lambda at: f"0123456789abcdef {at.offset + 1}",
    "of an epoch that is none": lambda at: f"\x00 {at.offset + 1}",
    "of another epoch, far ahead": lambda at: f"f {MAX_OFFSET}",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
async def test_a_forged_place_is_not_believed_and_loses_nothing(
    here: Setting, place: Callable[[Position], str]
) -> None:
    at = Position("room")
    for data in (1, 2, 3):
        at = await here.publish(data)
    await here.heard.has(events=3)
    for _ in range(20):
        here.forge(place(at).encode() + b" " + BODY)
    await here.judged()
    for data in (4, 5):
        await here.publish(data)
    await here.all_heard(1, 2, 3, 4, 5)
    assert not has_died(here)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
async def test_a_forged_place_does_not_have_history_asked_for_ever(
    here: Setting, place: Callable[[Position], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    servers = here.broker._servers
    run = servers.run

    async def counting(*words: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        return await run(*words, **options)

    at = await here.publish(1)
    await here.heard.has(events=1)
    monkeypatch.setattr(servers, "run", counting)
    for _ in range(5):
        here.forge(place(at).encode() + b" " + BODY)
    await here.publish(2)
    await here.all_heard(1, 2)
    published, asked = 2, asked
    assert asked <= published + 5 + 1  # The beat's, if it is its time.


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
async def test_a_forged_place_of_a_command_neither_loses_one_nor_is_obeyed(
    here: Setting, place: Callable[[Position], str]
) -> None:
    await here.broker.command({"do": "first"})
    await here.heard.has(commands=1)
    newest = await here.broker.recover(Position(COMMANDS), KEPT)
    forged = encode_body(event({"do": "forged"}, COMMANDS))
    for _ in range(5):
        here.forge(place(newest.position).encode() + b" " + forged, COMMANDS)
    await here.judged(COMMANDS)
    await here.broker.command({"do": "second"})
    await here.heard.has(commands=2)
    assert here.heard.commands == [{"do": "first"}, {"do": "second"}]
    assert here.heard.lost == []


async def test_forged_messages_amid_many_that_are_true_lose_none(here: Setting) -> None:
    at = await here.publish(-1)
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(here.publish(number))
            if number % 10 == 0:
                for place in PLACES.values():
                    here.forge(place(at).encode() + b" " + BODY)
                await asyncio.sleep(0)  # So that the true ones begin.
    await here.heard.has(events=201)
    await here.publish("marker")
    await here.heard.has(events=202)
    assert [item.offset for item in here.heard.events] == list(range(1, 203))
    assert here.heard.lost == []


# In the stream


def numbered(here: Setting, number: str, *fields: bytes) -> None:
    """Write an entry into the room's stream by hand."""
    here.outsider.execute_command("XADD", here.names.history("room"), number, *fields)


ENTRIES = {
    "a body that is none": (b"at", b"99999999999999", b"event", b"garbage"),
    "a pickle": (b"at", b"99999999999999", b"event", pickle.dumps({"a": 1})),
    "another form": (b"x", b"y"),
    "nested without end": (b"at", b"99999999999999", b"event", NESTED_DATA[4:]),
}


async def replaced(here: Setting, fields: tuple[bytes, ...]) -> Position:
    """Publish three events, the second of which is garbage in the stream; return the start."""
    start = (await here.broker.recover(Position("room"), KEPT)).position
    for data in (1, 2, 3):
        await here.publish(data)
    await here.heard.has(events=3)
    history = here.names.history("room")
    entries: Any = here.outsider.xrange(history)
    here.outsider.delete(history)
    for number, written in entries:
        whole = [word for pair in written.items() for word in pair]
        numbered(here, number.decode(), *(fields if number == b"2-0" else whole))
    return start


@pytest.mark.parametrize("fields", ENTRIES.values(), ids=ENTRIES)
@pytest.mark.parametrize("seen", [0, 1])
async def test_who_returns_over_an_entry_that_makes_no_sense_is_told_of_the_loss(
    here: Setting, fields: tuple[bytes, ...], seen: int
) -> None:
    start = await replaced(here, fields)
    newest = Position("room", start.epoch, 3)
    returning = Position("room", start.epoch, seen)
    assert await here.broker.recover(returning, KEPT) == Recovery(newest)
    later = await here.broker.recover(Position("room", start.epoch, 2), KEPT)
    assert [item.value() for item in later.events] == [3]


async def test_an_entry_whose_time_makes_no_sense_is_taken_for_one_that_is_over(
    here: Setting,
) -> None:
    start = await replaced(here, (b"at", b"soon", b"event", BODY))
    second = Position("room", start.epoch, 1)
    recovery = await here.broker.recover(second, KEPT)
    assert recovery == Recovery(Position("room", start.epoch, 3))


@pytest.mark.parametrize("fields", ENTRIES.values(), ids=ENTRIES)
async def test_a_gap_with_an_entry_that_makes_no_sense_is_told_to_be_a_loss(
    here: Setting, fields: tuple[bytes, ...]
) -> None:
    await replaced(here, fields)
    followed = here.broker._rooms._followed["room"]
    followed.offset = 1  # It is as if the second and the third had not come.
    await here.publish(4)
    await here.heard.has(lost=1)
    assert here.heard.lost == ["room"]
    await here.publish(5)
    await until(lambda: here.heard.events[-1].value() == 5)
    assert not has_died(here)


async def test_an_entry_between_two_is_never_delivered_and_tells_of_a_loss(here: Setting) -> None:
    start = await here.publish(1)
    numbered(here, "1-1", b"at", b"99999999999999", b"event", BODY)
    await here.publish(2)
    recovery = await here.broker.recover(Position("room", start.epoch, 0), KEPT)
    assert recovery == Recovery(Position("room", start.epoch, 2))
    after = await here.broker.recover(start, KEPT)
    assert [item.value() for item in after.events] in ([], [2])
    assert after.recovered == bool(after.events)
    await here.all_heard(1, 2)


@pytest.mark.parametrize("number", ["*", "1000000-0", f"{2**64 - 1}-0"])
async def test_an_entry_far_ahead_does_not_keep_the_room_from_being_published_to(
    here: Setting, number: str
) -> None:
    start = await here.publish(1)
    numbered(here, number, b"x", b"y")
    await here.publish(2)
    await until(lambda: here.heard.lost or here.heard.events[-1].value() == 2)
    recovery = await here.broker.recover(start, KEPT)
    assert not recovery.recovered or [item.value() for item in recovery.events] == [2]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda here: here.outsider.delete(here.names.history("room")),
        lambda here: here.outsider.xtrim(here.names.history("room"), 0),
        lambda here: here.outsider.xdel(here.names.history("room"), "2-0"),
        lambda here: here.outsider.delete(here.names.place("room")),
        lambda here: here.outsider.hset(here.names.place("room"), "epoch", "forged"),
        lambda here: here.outsider.hset(here.names.place("room"), "offset", "100"),
    ],
    ids=["deleted", "trimmed", "holed", "unplaced", "renamed", "turned on"],
)
async def test_a_stream_or_a_place_that_was_spoilt_is_told_to_be_a_loss_and_heals(
    here: Setting, spoil: Callable[[Setting], Any]
) -> None:
    start = await here.publish(1)
    for data in (2, 3):
        await here.publish(data)
    await here.heard.has(events=3)
    spoil(here)
    recovery = await here.broker.recover(start, KEPT)
    assert not recovery.recovered
    assert recovery.events == ()

    async def heals() -> None:
        before = len(here.heard.events)
        at = await here.publish("healed")
        await here.heard.has(events=before + 1)
        await here.publish("more")
        await here.heard.has(events=before + 2)
        again = await here.broker.recover(at, KEPT)
        assert [item.value() for item in again.events] == ["more"]

    await settled(here, heals)
    assert not has_died(here)


async def settled(here: Setting, check: Callable[[], Awaitable[None]]) -> None:
    """Publish until the room is heard again, or was lost and is heard again; then *check*."""
    async with asyncio.timeout(BOUND):
        await here.broker.publish(event("first after it"), KEPT)
        await until(lambda: here.heard.lost or here.heard.events[-1].value() == "first after it")
    await check()


def test_the_body_that_is_forged_here_is_one() -> None:
    assert json.loads(BODY)[0] == "happened"
