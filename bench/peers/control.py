"""How every Python peer is told to publish: lines on a Unix socket, read by its event loop.

It is the same for all and costs next to nothing, so that what is measured is the publishing. A
line is ``publish ROOM COUNT FIRST``, so many events, numbered from that one on; or ``finish``,
answered with ``done`` when all that was to be published has been; or ``collect``, answered with
``done`` when the cyclic garbage has been collected; or ``lag``, answered with the microseconds for
which the event loop was held up at most since the line before, and from then on it watches.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from typing import Any, cast

Publish = Callable[[str, range], Awaitable[None]]

# uvloop closes a server that nobody holds.
_servers: list[asyncio.Server] = []

INTERVAL = 0.001

TEXT = (
    "a line of text that somebody has written to all the others in the same room, "
    "and a little more, so that it is of a usual size"
)
"""What every event carries, beside its number."""


def event(number: int) -> dict[str, Any]:
    """Return the data of one event: about 150 bytes of JSON."""
    return {"number": number, "text": TEXT}


class Lag:
    """For how long the event loop is held up, seen by a timer that should fire each millisecond."""

    def __init__(self) -> None:
        self._worst = 0.0
        self._due = 0.0

    def read(self) -> float:
        """Return the longest, in microseconds, since it was read before."""
        worst, self._worst = self._worst, 0.0
        if not self._due:
            self._set()
        return worst * 1e6

    def _set(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + INTERVAL
        loop.call_at(self._due, self._fire)

    def _fire(self) -> None:
        self._worst = max(self._worst, asyncio.get_running_loop().time() - self._due)
        self._set()


class Control(asyncio.Protocol):
    """One control connection."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._rest = b""
        self._tasks: set[asyncio.Future[None]] = set()
        self._transport: asyncio.WriteTransport
        self._lag = Lag()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers go out by."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Do what each whole line says."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            verb, *arguments = line.decode().split()
            if verb == "publish":
                count, first = int(arguments[1]), int(arguments[2])
                self._run(self._publish(arguments[0], range(first, first + count)))
            elif verb == "finish":
                self._run(self._finish(list(self._tasks)))
            elif verb == "lag":
                self._answer(f"{self._lag.read():.0f}")
            else:
                gc.collect()
                self._answer("done")

    def _answer(self, text: str) -> None:
        self._transport.write(text.encode() + b"\n")

    async def _finish(self, tasks: list[asyncio.Future[None]]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        self._answer("done")

    def _run(self, publishing: Awaitable[None]) -> None:
        task = asyncio.ensure_future(publishing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def serve_control(publish: Publish) -> None:
    """Listen where ``BENCH_CONTROL`` says, if it does, for as long as the process lives."""
    path = os.environ.get("BENCH_CONTROL")
    if path:
        loop = asyncio.get_running_loop()
        _servers.append(await loop.create_unix_server(lambda: Control(publish), path))
