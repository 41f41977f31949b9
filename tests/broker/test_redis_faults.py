"""What a broker over Redis does when Redis, or the way there, fails: RESILIENCE's lines 6 to 12."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from quart_realtime.broker import Once, Recovery
from quart_realtime.broker_url import parse_broker_url
from quart_realtime.errors import BrokerUnavailable, SetupError
from quart_realtime.protocol import HistoryPolicy, Position
from quart_realtime.redis_broker import RedisBroker
from quart_realtime.redis_link import NOTICED_WITHIN

from ..proxy import proxying
from ..unit.fakes import Recorder, event
from ..valkey import Valkey, valkey
from .nodes import KEPT, SLOW, heard, is_up, node, publish_until_it_works


@pytest.fixture
def redis() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


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


def test_a_deaf_link_is_noticed_within_five_seconds_though_no_command_gets_through_either() -> None:
    assert NOTICED_WITHIN <= 5


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
            await asyncio.sleep(0)  # So that the join begins.
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
        await recorder.has(events=1)
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


@pytest.mark.parametrize("rooms", [("room",), ()], ids=["followed", "not followed"])
async def test_a_server_that_returns_with_an_old_snapshot_gives_no_number_twice(
    redis: Valkey, rooms: tuple[str, ...]
) -> None:
    async with node(redis.url, *rooms) as (broker, recorder):
        for number in range(3):
            await broker.publish(event(number), KEPT)
        with redis.client as client:
            client.save()
        newest = await broker.publish(event("forgotten"), KEPT)
        await recorder.has(events=4 * len(rooms))
        redis.restart()
        await recorder.has(lost=1 + len(rooms), within=SLOW)
        assert set(recorder.lost) == {*rooms, None}
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


async def test_who_is_connected_joins_what_is_followed_though_redis_is_paused(
    redis: Valkey,
) -> None:
    async with node(redis.url, "room") as (broker, recorder):
        sent = await broker.publish(event(1), KEPT)
        await recorder.has(events=1)
        redis.pause()
        stands = Position("room", sent.epoch, 1)
        assert await broker.recover(Position("room"), KEPT) == Recovery(stands)
        redis.go_on()


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
