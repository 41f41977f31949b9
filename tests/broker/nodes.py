"""Brokers over a Redis that is done things to, and how their state is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from quart_realtime.broker import Once
from quart_realtime.broker_url import parse_broker_url
from quart_realtime.errors import BrokerUnavailable
from quart_realtime.protocol import HistoryPolicy
from quart_realtime.redis_broker import RedisBroker

from ..unit.fakes import Recorder, event

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
