"""What these tests share: the lines they stand for, their figures, and a client who notices."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any

import pytest

from quart_realtime.client import Client, connect

from ..e2e.conftest import lane, server, token
from ..e2e.raw_socket import BOUND
from ..e2e.server import Server, memory_flat
from ..e2e.sockets import Token

__all__ = ["lane", "server", "token"]

Figures = Callable[[str, Any], None]
"""Notes a figure of a test, for the table of ``python -m tests.resilience``."""
Timed = Callable[[str], AbstractContextManager[None]]
Unnoticed = Callable[[Server], AbstractAsyncContextManager[None]]
"""Sees that whatever is done to a server meanwhile is noticed by nobody else."""


def pytest_configure(config: pytest.Config) -> None:
    line = "line(number, stimulus): the line of the table that the test stands for"
    config.addinivalue_line("markers", line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("line"):
            item.user_properties.append(("line", mark.args))


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    def note(name: str, value: Any) -> None:
        record_property("figure", f"{name} {value}")

    return note


@pytest.fixture
def timed(figures: Figures) -> Timed:
    """Note how long the block takes, under a name."""

    @contextmanager
    def timing(name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        figures(name, f"{time.monotonic() - began:.2f} s")

    return timing


@pytest.fixture
def unnoticed(token: Token, figures: Figures) -> Unnoticed:
    """See that memory stays flat, and that another client has its answers all the while."""

    @asynccontextmanager
    async def noticing(server: Server) -> AsyncIterator[None]:
        over = asyncio.Event()
        waits: list[float] = []

        async def ask_on(client: Client) -> None:
            loop = asyncio.get_running_loop()
            last = False
            while not last:
                last = over.is_set()
                began = loop.time()
                async with asyncio.timeout(BOUND):
                    said = await client.request("who", "native", number="1")
                assert said["who"] == ["luis"] * 3
                waits.append(loop.time() - began)
                await asyncio.sleep(0.05)  # As an ordinary client that has little to ask.

        async with connect(server.ws_url, token=token("luis")) as luis:
            before = luis.connection_id
            with memory_flat(server) as memory:
                asking = asyncio.create_task(ask_on(luis))
                try:
                    yield
                    over.set()
                    await asyncio.wait_for(asking, BOUND)
                finally:
                    asking.cancel()
            assert luis.connection_id == before
        figures("memory", f"+{memory.grown / 1_048_576:.1f} MiB")
        figures("others' median", f"{statistics.median(waits) * 1000:.1f} ms")
        figures("others' longest", f"{max(waits) * 1000:.0f} ms")

    return noticing
