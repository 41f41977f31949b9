from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from quart_realtime.client import Backoff, Client, connect

from .fake_server import FakeServer, within


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Collector(list):
    """A callback that keeps what it is called with; :meth:`have` waits for so many."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def __call__(self, value: object) -> None:
        self.append(value)
        self._changed.set()

    async def have(self, count: int) -> list:
        async def enough() -> None:
            while len(self) < count:
                self._changed.clear()
                await self._changed.wait()

        await within(enough())
        return list(self)


def open_descriptors() -> int:
    """Return how many there are, where the system tells."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


@pytest.fixture(autouse=True)
async def nothing_is_left_behind() -> AsyncIterator[None]:
    """Whatever a test did with its clients, no task and no descriptor is left at its end."""
    before = asyncio.all_tasks()
    descriptors = open_descriptors()
    yield
    for _ in range(100):
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            break
        await asyncio.sleep(0.01)
    assert not left
    assert open_descriptors() <= descriptors


@pytest.fixture
async def server(nothing_is_left_behind: None) -> AsyncIterator[FakeServer]:
    async with FakeServer() as server:
        yield server


@pytest.fixture
def collector() -> type[Collector]:
    return Collector


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backoff(clock: Clock) -> Backoff:
    """Comes back nearly at once."""
    return Backoff(base=0.001, ceiling=0.01, clock=clock)


@pytest.fixture
async def make(server: FakeServer, backoff: Backoff) -> AsyncIterator[object]:
    """Make clients of the fake server that are disconnected at the end."""
    clients: list[Client] = []

    def make(token: object = "token", url: str | None = None, **options: object) -> Client:
        client = connect(url or server.url, token, **{"backoff": backoff, **options})
        clients.append(client)
        return client

    yield make
    for client in clients:
        await within(client.disconnect())


@pytest.fixture
async def client(make) -> Client:
    client = make()
    await within(client.connect())
    return client
