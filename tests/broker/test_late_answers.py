"""Answers of Redis that come late: the link breaks, or the process stops, meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from quart_realtime.redis_broker import RedisBroker
from quart_realtime.redis_scripts import RECOVER, Script

from ..unit.fakes import event
from ..valkey import Valkey, valkey
from ..waiting import until
from .nodes import KEPT, SLOW, node


@pytest.fixture
def redis() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


async def cut_and_back(broker: RedisBroker, redis: Valkey) -> None:
    """Cut the link, and return when all can be heard again."""
    links = broker._rooms.links
    broken = links.broke
    with redis.client as client:
        client.client_kill_filter(_type="pubsub")
    followed = broker._rooms._followed
    await until(lambda: links.broke > broken and not any(each.cut for each in followed.values()))


Step = Callable[[], Awaitable[None]]


def meanwhile(
    broker: RedisBroker,
    monkeypatch: pytest.MonkeyPatch,
    after_first: Step,
    before_second: Step | None = None,
) -> list[int]:
    """Take steps when it was looked up where the room stands, and before it is once more.

    Returns a list that grows with each answer.
    """
    run, asked, answers = broker._servers.run, 0, list[int]()
    place = broker._names.place("room")

    async def stepping(script: Script, keys: Sequence[str], *words: Any, **options: Any) -> Any:
        nonlocal asked
        if script is not RECOVER or keys[0] != place:
            return await run(script, keys, *words, **options)
        asked += 1
        if asked == 2 and before_second is not None:
            await before_second()
        first = asked == 1
        answer = await run(script, keys, *words, **options)
        if first:
            await after_first()
        answers.append(asked)
        return answer

    monkeypatch.setattr(broker._servers, "run", stepping)
    return answers


async def test_what_is_missed_while_a_room_is_being_joined_is_made_up_for(
    redis: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(redis.url) as (broker, recorder), node(redis.url) as (other, _):

        async def miss() -> None:
            with redis.client as client:
                client.client_kill_filter(_type="pubsub")
            await other.publish(event("missed"), KEPT)
            await until(lambda: bool(broker._rooms.links.broke) and broker._rooms.links.up)

        meanwhile(broker, monkeypatch, miss)
        await broker.subscribe("room", KEPT)
        await recorder.has(events=1)
        await other.publish(event("next"), KEPT)
        await recorder.has(events=2)
        assert [each.value() for each in recorder.events] == ["missed", "next"]
        assert recorder.lost == []


async def test_what_comes_while_it_is_caught_up_again_is_delivered_once(
    redis: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(redis.url) as (broker, recorder), node(redis.url) as (other, _):
        await broker.subscribe("room", KEPT)

        async def break_again() -> None:
            await cut_and_back(broker, redis)

        async def publish() -> None:
            await other.publish(event("once"), KEPT)
            await asyncio.sleep(0.1)  # Long enough to have come over the channel too.

        answers = meanwhile(broker, monkeypatch, break_again, publish)
        await cut_and_back(broker, redis)
        await recorder.has(events=1)
        await until(lambda: len(answers) == 2 and broker._rooms.settled)
        await other.publish(event("last"), KEPT)
        await until(lambda: recorder.events[-1].value() == "last")
        assert [each.value() for each in recorder.events] == ["once", "last"]
        assert recorder.lost == []


async def test_an_answer_that_is_owed_is_handed_in_before_a_stop(redis: Valkey) -> None:
    async with node(redis.url) as (other, _):
        async with node(redis.url) as (broker, _):
            assert await broker.begin("key", "what", 60) is None
            redis.pause()
            await broker.finish("key", b"answer")
            redis.go_on()
            # Redis is asked again a moment after it gave no answer.
            await until(lambda: broker.health.up)
        async with asyncio.timeout(SLOW):
            assert await other.begin("key", "what", 60) == b"answer"


async def test_an_answer_is_owed_though_handing_it_in_is_cancelled(redis: Valkey) -> None:
    async with node(redis.url) as (broker, _), node(redis.url) as (other, _):
        assert await broker.begin("key", "what", 60) is None
        redis.pause()
        finishing = asyncio.create_task(broker.finish("key", b"answer"))
        await asyncio.sleep(0.2)  # Long enough to have been sent.
        finishing.cancel()
        await asyncio.wait([finishing])
        redis.go_on()
        async with asyncio.timeout(SLOW):
            assert await other.begin("key", "what", 60) == b"answer"
