"""What a broker over Redis does when Redis, or the way there, fails: RESILIENCE's lines 6 to 12."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from quart_realtime.broker import Once, Recovery, comings
from quart_realtime.broker_url import parse_broker_url
from quart_realtime.errors import BrokerUnavailable, SetupError
from quart_realtime.protocol import HistoryPolicy, Position
from quart_realtime.redis_broker import RedisBroker

from ..proxy import proxying
from ..unit.fakes import Recorder, event
from ..valkey import Valkey, valkey

KEPT = HistoryPolicy(1000, 300)
SLOW = 15.0
"""How many seconds it may take to get over a fault."""


@pytest.fixture
def redis() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


@asynccontextmanager
async def node(url: str, *rooms: str) -> AsyncIterator[tuple[RedisBroker, Recorder]]:
    """A broker that follows *rooms*, and what it was brought."""
    broker, recorder = RedisBroker(parse_broker_url(url)), Recorder()
    await broker.start(recorder)
    try:
        for room in rooms:
            await broker.subscribe(room, KEPT)
        yield broker, recorder
    finally:
        await broker.stop()


def heard(recorder: Recorder) -> list[Any]:
    return [item.value() for item in recorder.events]


async def is_up(broker: RedisBroker, *, broken: int = 1) -> None:
    """Wait until the broker says that it is, once its link has broken so often."""
    async with asyncio.timeout(SLOW):
        while not broker.health.up or broker.health.links_broken < broken:  # noqa: ASYNC110 - it is asked, as a health check asks
            await asyncio.sleep(0.02)


async def publish_until_it_works(broker: RedisBroker, data: Any, room: str = "room") -> None:
    """Publish as one does who tries again, under one key."""
    async with asyncio.timeout(SLOW):
        while True:
            try:
                await broker.publish(event(data, room), KEPT, Once(f"try {data}", 60))
            except BrokerUnavailable:
                await asyncio.sleep(0.05)  # Else it would be told at once, again and again.
            else:
                return


async def there(broker: RedisBroker, room: str = "hall") -> dict[str, int]:
    """Return who is in *room*; nobody while that can't be known."""
    try:
        users = (await broker.present(room)).users
    except BrokerUnavailable:
        return {}
    return {user.user_id: user.connections for user in users}


def told(recorder: Recorder) -> list[tuple[str, str]]:
    """Return who came and went, as it was told."""
    return [(event.type, event.value()["user_id"]) for event in recorder.events]


# A link that is cut, deaf, or too slow


async def test_what_is_published_while_the_link_is_cut_is_delivered_late_and_in_order(
    redis: Valkey,
) -> None:
    async with (
        proxying(redis.port) as proxy,
        node(f"redis://127.0.0.1:{proxy.port}", "room", "other") as (far, recorder),
        node(redis.url) as (near, _),
    ):
        await near.publish(event(0), KEPT)
        await recorder.has(events=1)
        proxy.go_away()
        for number in range(1, 6):
            await near.publish(event(number), KEPT)
        proxy.come_back()
        await recorder.has(events=6, within=SLOW)
        await near.publish(event(6), KEPT)
        await near.publish(event("x", "other"), KEPT)
        await recorder.has(events=8)
        assert heard(recorder) == [0, 1, 2, 3, 4, 5, 6, "x"]
        assert recorder.lost == []
        await is_up(far)
        health = far.health
        assert (health.links_broken, health.gaps_filled, health.rooms_lost) == (1, 1, 0)


async def test_a_link_that_is_deaf_is_noticed_and_made_up_for(redis: Valkey) -> None:
    async with (
        proxying(redis.port) as proxy,
        node(f"redis://127.0.0.1:{proxy.port}", "room") as (_, recorder),
        node(redis.url) as (near, _),
    ):
        await near.publish(event(0), KEPT)
        await recorder.has(events=1)
        # Nothing comes through what is open, and nobody is told; what is opened anew works.
        proxy.swallow()
        proxy.pass_new_on()
        for number in range(1, 4):
            await near.publish(event(number), KEPT)
        await recorder.has(events=4, within=SLOW)
        assert heard(recorder) == [0, 1, 2, 3]
        assert recorder.lost == []


async def test_a_subscriber_that_redis_throws_out_loses_nothing(redis: Valkey) -> None:
    async with node(redis.url, "room") as (broker, recorder):
        for number in range(200):
            if number % 50 == 25:
                with redis.client as client:
                    client.client_kill_filter(_type="pubsub")
            await broker.publish(event(number), KEPT)
        await recorder.has(events=200, within=SLOW)
        assert heard(recorder) == list(range(200))
        assert recorder.lost == []


async def test_more_than_history_holds_is_told_to_be_lost(redis: Valkey) -> None:
    small = HistoryPolicy(3, 300)
    async with (
        proxying(redis.port) as proxy,
        node(f"redis://127.0.0.1:{proxy.port}") as (far, recorder),
        node(redis.url) as (near, _),
    ):
        await far.subscribe("room", small)
        proxy.go_away()
        for number in range(4):
            await near.publish(event(number), small)
        proxy.come_back()
        await recorder.has(lost=1, within=SLOW)
        assert recorder.lost == ["room"]
        await near.publish(event("later"), small)
        await recorder.has(events=1)
        assert heard(recorder) == ["later"]


async def test_a_command_that_was_missed_is_carried_out_late(redis: Valkey) -> None:
    async with (
        proxying(redis.port) as proxy,
        node(f"redis://127.0.0.1:{proxy.port}") as (_, recorder),
        node(redis.url) as (near, _),
    ):
        proxy.go_away()
        await near.command({"do": "disconnect", "user_id": "eve"})
        proxy.come_back()
        await recorder.has(commands=1, within=SLOW)
        assert recorder.commands == [{"do": "disconnect", "user_id": "eve"}]


async def test_rooms_joined_and_left_while_the_link_is_down_are_right_afterwards(
    redis: Valkey,
) -> None:
    async with (
        proxying(redis.port) as proxy,
        node(f"redis://127.0.0.1:{proxy.port}", "kept", "left") as (far, recorder),
        node(redis.url) as (near, _),
    ):
        proxy.go_away()
        await far.unsubscribe("left")
        async with asyncio.timeout(SLOW):
            joining = asyncio.create_task(far.subscribe("joined", KEPT))
            await asyncio.sleep(0)
            proxy.come_back()
            await joining
        for room in ("left", "joined", "kept"):
            await near.publish(event(room, room), KEPT)
        await recorder.has(events=2, within=SLOW)
        assert sorted(heard(recorder)) == ["joined", "kept"]


# A server that is killed, paused, emptied


async def test_a_publisher_is_told_or_it_is_delivered_and_a_retry_gives_one_event(
    redis: Valkey,
) -> None:
    async with node(redis.url, "room") as (broker, recorder):
        with redis.client as client:
            client.save()  # So that it comes back with what it had so far.

        async def one(number: int) -> bool:
            try:
                await broker.publish(event(number), KEPT, Once(f"n{number}", 60))
            except BrokerUnavailable:
                return False
            return True

        publishing = [asyncio.create_task(one(number)) for number in range(500)]
        await recorder.has(events=20)
        redis.kill()
        told = await asyncio.gather(*publishing)
        redis.start()
        await is_up(broker)
        for number in range(500):
            await publish_until_it_works(broker, f"again {number}")
            await publish_until_it_works(broker, f"again {number}")
        # Whatever was accepted has been delivered, or the room was lost.
        accepted = {number for number, ok in enumerate(told) if ok}
        assert accepted <= set(heard(recorder)) or {"room", None} & set(recorder.lost)
        async with asyncio.timeout(SLOW):
            while heard(recorder)[-1] != "again 499":
                await recorder.has(events=len(recorder.events) + 1)
        again = [data for data in heard(recorder) if str(data).startswith("again")]
        assert again == [f"again {number}" for number in range(500)]


async def test_a_server_that_returns_empty_is_another_epoch(redis: Valkey) -> None:
    async with node(redis.url, "room") as (broker, recorder):
        sent = await broker.publish(event(1), KEPT)
        redis.restart()
        await recorder.has(lost=2, within=SLOW)
        assert set(recorder.lost) == {"room", None}
        await is_up(broker)
        old = Position("room", sent.epoch, 1)
        recovery = await broker.recover(old, KEPT)
        assert not recovery.recovered
        assert recovery.position.epoch != sent.epoch
        await publish_until_it_works(broker, 2)
        await recorder.has(events=2)
        assert heard(recorder) == [1, 2]


async def test_a_server_that_returns_with_what_it_had_is_not_trusted_to_have_all(
    redis: Valkey,
) -> None:
    async with node(redis.url, "room") as (broker, recorder):
        sent = await broker.publish(event(1), KEPT)
        await recorder.has(events=1)
        with redis.client as client:
            client.save()
        redis.restart()
        await recorder.has(lost=2, within=SLOW)
        assert set(recorder.lost) == {"room", None}
        await is_up(broker)
        assert not (await broker.recover(Position("room", sent.epoch, 1), KEPT)).recovered
        await publish_until_it_works(broker, 2)
        await recorder.has(events=2)
        assert heard(recorder) == [1, 2]


async def test_a_server_that_returns_with_an_old_snapshot_gives_no_number_twice(
    redis: Valkey,
) -> None:
    async with node(redis.url, "room") as (broker, recorder):
        for number in range(3):
            await broker.publish(event(number), KEPT)
        with redis.client as client:
            client.save()
        newest = await broker.publish(event("forgotten"), KEPT)
        await recorder.has(events=4)
        redis.restart()
        await recorder.has(lost=2, within=SLOW)
        assert "room" in recorder.lost
        await is_up(broker)
        for number in range(10):
            await publish_until_it_works(broker, number)
        seen = Position("room", newest.epoch, newest.offset or 0)
        assert not (await broker.recover(seen, KEPT)).recovered


async def test_whoever_was_away_while_a_server_forgot_is_told_though_nobody_followed(
    redis: Valkey,
) -> None:
    async with node(redis.url) as (broker, _):
        for number in range(3):
            await broker.publish(event(number), KEPT)
        with redis.client as client:
            client.save()
        newest = await broker.publish(event("forgotten"), KEPT)
        redis.restart()
        await is_up(broker)
        for number in range(10):
            await publish_until_it_works(broker, number)
        seen = Position("room", newest.epoch, newest.offset or 0)
        assert not (await broker.recover(seen, KEPT)).recovered


async def test_while_it_is_paused_publishing_fails_in_time_and_nothing_is_lost(
    redis: Valkey,
) -> None:
    async with node(redis.url, "room") as (broker, recorder):
        await broker.publish(event("before"), KEPT)
        await recorder.has(events=1)
        redis.pause()
        loop = asyncio.get_running_loop()
        began = loop.time()
        failed = 0
        while loop.time() < began + 10:
            started = loop.time()
            with pytest.raises(BrokerUnavailable):
                await broker.publish(event("meanwhile"), KEPT, Once("meanwhile", 60))
            assert loop.time() - started < 3
            failed += 1
            await asyncio.sleep(0.1)  # As a server does that is asked now and then.
        assert not broker.health.up
        redis.go_on()
        await is_up(broker, broken=0)
        await publish_until_it_works(broker, "after")
        # What was under way when it stopped may still have arrived, once.
        await recorder.has(events=2, within=SLOW)
        async with asyncio.timeout(SLOW):
            while heard(recorder)[-1] != "after":
                await recorder.has(events=len(recorder.events) + 1)
        assert heard(recorder) in (["before", "after"], ["before", "meanwhile", "after"])
        assert recorder.lost == []
        assert failed > 4


async def test_a_flood_of_publishers_does_not_pile_up_while_it_is_paused(redis: Valkey) -> None:
    async with node(redis.url, "room") as (broker, _):
        redis.pause()
        async with asyncio.timeout(SLOW):
            told = await asyncio.gather(
                *(broker.publish(event(number), KEPT) for number in range(10_000)),
                return_exceptions=True,
            )
        assert {type(each) for each in told} == {BrokerUnavailable}
        redis.go_on()
        await is_up(broker, broken=0)


async def test_scripts_that_are_flushed_are_brought_again(redis: Valkey) -> None:
    async with node(redis.url, "room") as (broker, recorder):
        for number in range(6):
            if number % 2:
                with redis.client as client:
                    client.script_flush()
            await broker.publish(event(number), KEPT)
        await recorder.has(events=6)
        assert heard(recorder) == list(range(6))


async def test_two_nodes_that_publish_at_once_are_heard_in_one_order(redis: Valkey) -> None:
    async with (
        node(redis.url, "room") as (one, first),
        node(redis.url, "room") as (other, second),
    ):
        await asyncio.gather(
            *(one.publish(event(f"a{number}"), KEPT) for number in range(100)),
            *(other.publish(event(f"b{number}"), KEPT) for number in range(100)),
        )
        await first.has(events=200)
        await second.has(events=200)
        assert first.events == second.events
        assert [each.offset for each in first.events] == list(range(1, 201))


# Presence


async def test_presence_is_put_back_when_redis_has_forgotten_it(redis: Valkey) -> None:
    async with node(redis.url) as (broker, _), node(redis.url) as (other, _):
        await broker.enter("hall", "ana", "c1")
        await broker.enter("hall", "ana", "c2")
        await other.enter("hall", "bob", "c3")
        redis.restart()
        async with asyncio.timeout(SLOW):
            while await there(broker) != {"ana": 2, "bob": 1}:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)


async def test_who_leaves_while_redis_is_away_is_struck_off_when_it_returns(
    redis: Valkey,
) -> None:
    async with (
        node(redis.url) as (broker, _),
        node(redis.url, comings("hall")) as (other, recorder),
    ):
        await broker.enter("hall", "ana", "c1")
        redis.pause()
        assert await broker.exit("hall", "ana", "c1") is None
        redis.go_on()
        await recorder.has(events=2, within=SLOW)
        assert told(recorder) == [("presence_join", "ana"), ("presence_leave", "ana")]
        assert await there(other) == {}


async def test_a_process_that_stops_takes_its_presence_with_it(redis: Valkey) -> None:
    async with node(redis.url) as (other, _):
        async with node(redis.url) as (broker, _):
            await broker.enter("hall", "ana", "c1")
        assert await there(other) == {}
        with redis.client as client:
            assert list(client.scan_iter("*present*")) + list(client.scan_iter("*rooms*")) == []


async def test_what_a_dead_process_left_is_told_by_one_of_the_others(
    redis: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quart_realtime.redis_presence.DEAD_AFTER", 0.5)
    monkeypatch.setattr("quart_realtime.redis_broker.BEAT_EVERY", 0.2)
    async with (
        node(redis.url, comings("hall")) as (_, recorder),
        node(redis.url) as (other, _),
    ):
        dead = RedisBroker(parse_broker_url(redis.url))
        await dead.start(Recorder())
        await dead.enter("hall", "ana", "c1")
        await other.enter("hall", "ana", "c2")
        await dead.enter("hall", "bob", "c3")
        await recorder.has(events=2)
        for task in dead._tasks:
            task.cancel()  # It is as if the process were gone.
        await recorder.has(events=3, within=SLOW)
        assert told(recorder)[2:] == [("presence_leave", "bob")]
        assert await there(other) == {"ana": 1}
        # It was not dead after all: what is its own comes back.
        async with asyncio.timeout(SLOW):
            while len(recorder.events) < 4:
                await dead._once_more()
                await asyncio.sleep(0.05)  # As often as one beats.
        assert told(recorder)[3:] == [("presence_join", "bob")]
        assert await there(other) == {"ana": 2, "bob": 1}
        await dead.stop()


# Requests that run once


async def test_two_processes_run_one_request(redis: Valkey) -> None:
    async with node(redis.url) as (one, _), node(redis.url) as (other, _):
        assert await one.begin("key", "what", 60) is None
        waiting = asyncio.create_task(other.begin("key", "what", 60))
        await asyncio.sleep(0.1)  # Long enough to have asked, and been told to wait.
        assert not waiting.done()
        await one.finish("key", b"answer")
        async with asyncio.timeout(SLOW):
            assert await waiting == b"answer"


async def test_while_redis_is_away_a_request_runs_once_here_and_is_known_there_afterwards(
    redis: Valkey,
) -> None:
    async with node(redis.url) as (one, _), node(redis.url) as (other, _):
        redis.pause()
        assert await one.begin("key", "what", 60) is None
        await one.finish("key", b"answer")
        assert await one.begin("key", "what", 60) == b"answer"
        redis.go_on()
        await is_up(one, broken=0)
        await is_up(other, broken=0)
        await one._once_more()
        assert await other.begin("key", "what", 60) == b"answer"


async def test_what_ran_on_a_process_that_died_runs_again_when_its_lease_is_over(
    redis: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quart_realtime.redis_once.LEASE", 0.5)
    async with node(redis.url) as (one, _), node(redis.url) as (other, _):
        assert await one.begin("key", "what", 60) is None
        for task in one._tasks:
            task.cancel()
        async with asyncio.timeout(SLOW):
            assert await other.begin("key", "what", 60) is None
        await other.finish("key", b"second")
        # The first was only late: the answer that counts is the one that others were given.
        await one.finish("key", b"first")
        async with node(redis.url) as (third, _):
            assert await third.begin("key", "what", 60) == b"second"


async def test_a_request_that_is_given_up_while_it_is_begun_can_be_begun_again(
    redis: Valkey,
) -> None:
    async with node(redis.url) as (one, _), node(redis.url) as (other, _):
        redis.pause()
        beginning = asyncio.create_task(one.begin("key", "what", 60))
        await asyncio.sleep(0.2)  # Long enough to have been sent.
        beginning.cancel()
        await asyncio.wait([beginning])
        redis.go_on()
        async with asyncio.timeout(SLOW):
            assert await other.begin("key", "what", 60) is None


# Start and stop


async def test_it_starts_without_redis_says_so_and_works_when_it_comes(
    redis: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    redis.kill()
    async with node(redis.url) as (broker, recorder):
        assert any(
            record.levelno == logging.ERROR and "BROKER_URL" in record.message
            for record in caplog.records
        )
        assert not broker.health.up
        with pytest.raises(BrokerUnavailable):
            await broker.subscribe("room", KEPT)
        redis.start()
        await is_up(broker, broken=0)
        await broker.subscribe("room", KEPT)
        await publish_until_it_works(broker, 1)
        await broker.command({"do": "leave", "user_id": "ana", "room": "x"})
        await recorder.has(events=1, commands=1, within=SLOW)


async def test_it_stops_in_time_though_redis_is_away(redis: Valkey) -> None:
    async with asyncio.timeout(SLOW):
        async with node(redis.url, "room") as (broker, _):
            await broker.enter("hall", "ana", "c1")
            redis.pause()
    redis.go_on()


async def test_a_wrong_password_is_an_error_at_start(redis: Valkey) -> None:
    with redis.client as client:
        client.config_set("requirepass", "right")
    broker = RedisBroker(parse_broker_url(f"redis://:wrong@127.0.0.1:{redis.port}/0"))
    with pytest.raises(SetupError, match="password"):
        await broker.start(Recorder())
    async with node(f"redis://:right@127.0.0.1:{redis.port}/0", "room"):
        pass


async def test_two_prefixes_and_two_databases_do_not_hear_each_other(redis: Valkey) -> None:
    urls = [redis.url, f"{redis.url}?prefix=another", f"redis://127.0.0.1:{redis.port}/1"]
    async with (
        node(urls[0], "room") as (one, first),
        node(urls[1], "room") as (two, second),
        node(urls[2], "room") as (three, third),
    ):
        for number, broker in enumerate((one, two, three)):
            await broker.publish(event(number), KEPT)
        for recorder in (first, second, third):
            await recorder.has(events=1)
        assert [heard(each) for each in (first, second, third)] == [[0], [1], [2]]
        assert await two.recover(Position("none"), KEPT) != Recovery(Position("none"))
