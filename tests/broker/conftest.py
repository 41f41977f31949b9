"""A broker of each kind, and the servers behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from quart_realtime.broker import Broker, MemoryBroker
from quart_realtime.broker_url import parse_broker_url
from quart_realtime.redis_broker import RedisBroker

from ..unit.fakes import Recorder
from ..valkey import BINARIES, cluster, cluster_url, valkey

KINDS = ("memory", *BINARIES, "cluster")


@pytest.fixture
def listener() -> Recorder:
    return Recorder()


@pytest.fixture(scope="session", params=KINDS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a broker of each kind."""
    if request.param == "memory":
        yield "memory://"
    elif request.param == "cluster":
        with cluster() as servers:
            yield cluster_url(servers)
    else:
        with valkey(binary=BINARIES[request.param]) as server:
            yield server.url


def make_broker(url: str) -> Broker:
    """Return a broker at *url*."""
    parsed = parse_broker_url(url)
    return RedisBroker(parsed) if parsed.servers else MemoryBroker()


@pytest.fixture
def own_url(url: str) -> str:
    """The URL with a prefix of the test's own, so that each begins with nothing."""
    return url if url == "memory://" else f"{url}?prefix={uuid4().hex}"


@pytest.fixture
async def broker(own_url: str, listener: Recorder) -> AsyncIterator[Broker]:
    broker = make_broker(own_url)
    await broker.start(listener)
    yield broker
    await broker.stop()
