"""Brokers over a Redis that is done things to, and how their state is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from quart_realtime.broker import Once
from quart_realtime.broker_url import parse_broker_url
from quart_realtime.errors import BrokerUnavailable
from quart_realtime.protocol import Event, HistoryPolicy, Position
from quart_realtime.redis_broker import RedisBroker

from ..unit.fakes import Recorder, event
from ..waiting import until

KEPT = HistoryPolicy(1000, 300)
SLOW = 15.0
"""How many seconds it may take to get over a fault."""


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
    await until(lambda: broker.health.up and broker.health.links_broken >= broken, SLOW)


async def publish_until_it_works(broker: RedisBroker, data: Any, room: str = "room") -> Position:
    """Publish as one does who tries again, under one key; return where it stands."""

    async def sent() -> Event | None:
        with suppress(BrokerUnavailable):
            return await broker.publish(event(data, room), KEPT, Once(f"try {data}", 60))
        return None

    published: Event = await until(sent, SLOW)
    return Position(room, published.epoch, published.offset or 0)


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
