"""Processes that share a Redis: who is present, what runs once, and who is dead."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from quart_realtime.broker import comings
from quart_realtime.broker_url import parse_broker_url
from quart_realtime.limits import parse_rates
from quart_realtime.redis_broker import RedisBroker

from ..unit.fakes import Recorder
from ..valkey import Valkey, valkey
from ..waiting import until
from .nodes import SLOW, is_up, node, there, told


@pytest.fixture
def redis() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


# Presence


async def test_presence_is_put_back_when_redis_has_forgotten_it(redis: Valkey) -> None:
    async with node(redis.url) as (broker, _), node(redis.url) as (other, _):
        await broker.enter("hall", "ana", "c1")
        await broker.enter("hall", "ana", "c2")
        await other.enter("hall", "bob", "c3")
        redis.restart()
        expected = {"ana": 2, "bob": 1}

        async def is_back() -> bool:
            return await there(broker) == expected

        await until(is_back, SLOW)


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
        async def beats() -> bool:
            await dead._once_more()
            return len(recorder.events) >= 4

        await until(beats, SLOW)
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


async def test_a_request_that_is_abandoned_while_redis_is_away_can_be_begun_when_it_returns(
    redis: Valkey,
) -> None:
    async with node(redis.url) as (one, _), node(redis.url) as (other, _):
        assert await one.begin("key", "what", 60) is None
        redis.pause()
        await one.abandon("key")
        redis.go_on()
        async with asyncio.timeout(SLOW):
            assert await other.begin("key", "what", 60) is None


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


async def test_a_process_with_much_to_do_goes_on_telling_that_it_lives(
    redis: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quart_realtime.redis_broker.BEAT_EVERY", 0.1)
    async with node(redis.url) as (broker, _):
        busy = asyncio.Event()

        async def tend() -> None:
            busy.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(broker._presences, "tend", tend)
        async with asyncio.timeout(SLOW):
            await busy.wait()
        with redis.client as client:
            heard = client.zscore(broker._names.nodes(), broker.node)
            await until(lambda: client.zscore(broker._names.nodes(), broker.node) != heard, SLOW)


async def test_a_process_that_came_back_before_it_was_cleared_up_after_keeps_what_it_has(
    redis: Valkey,
) -> None:
    async with node(redis.url) as (back, _), node(redis.url) as (other, _):
        await back.enter("hall", "ana", "c1")
        other._presences._dead = {back.node}  # As it looked a moment ago.
        await other._presences.tend()
        assert await there(other) == {"ana": 1}


# Counting


async def test_what_is_counted_holds_for_all_processes(redis: Valkey) -> None:
    rates = parse_rates("2/hour")
    async with node(redis.url) as (one, _), node(redis.url) as (other, _):
        assert await one.count("ann", rates) == 0
        assert await other.count("ann", rates) == 0
        assert await one.count("ann", rates) > 0
        assert await other.count("ann", rates) > 0


async def test_while_redis_is_away_a_process_counts_for_itself(redis: Valkey) -> None:
    rates = parse_rates("2/hour")
    async with node(redis.url) as (broker, _):
        redis.pause()
        assert [await broker.count("ann", rates) for _ in range(2)] == [0, 0]
        assert await broker.count("ann", rates) > 0
        redis.go_on()


async def test_a_clock_that_is_set_back_in_redis_locks_nobody_out(redis: Valkey) -> None:
    rates = parse_rates("1/hour")
    async with node(redis.url) as (broker, _):
        assert await broker.count("ann", rates) == 0
        with redis.client as client:
            (key,) = client.scan_iter("*counted*")
            an_hour_on = int(client.lindex(key, 0)) + 3_600_000_000
            client.lset(key, 0, an_hour_on)
        assert await broker.count("ann", rates) == 0
