"""How a server stops: what tells of it, and time to say goodbye."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from .transport import Send

STOP_TIMEOUT = 1.0
"""For how many seconds a server may be silent about stopping when its process was told to end."""


class StopSignal(Protocol):
    """What tells that the server has begun to stop."""

    async def wait(self) -> Any:
        """Return when it has."""


def stop_signal(send: Send) -> StopSignal | None:
    """Return what tells that the server under *send* has begun to stop.

    Hypercorn tells nobody, and from Python 3.12 on waits for open sockets for ever. But the object
    that its ``send`` belongs to has the event that its worker sets first.

    Returns:
        None on a server that isn't known, or where its ``send`` is wrapped.
    """
    terminated = getattr(getattr(_stream(send), "context", None), "terminated", None)
    return terminated if callable(getattr(terminated, "wait", None)) else None


def give_time(send: Send, seconds: float) -> None:
    """Have the server under *send* let what is in flight go on for so long when it stops.

    On Python 3.11 Hypercorn would cut it off after its ``graceful_timeout``, 3 seconds by default.
    """
    config = getattr(_stream(send), "config", None)
    if getattr(config, "graceful_timeout", seconds) < seconds:
        config.graceful_timeout = seconds  # type: ignore[union-attr]


def _stream(send: Send) -> object | None:
    """Return Hypercorn's websocket that *send* belongs to, None where it isn't Hypercorn's."""
    stream = getattr(send, "__self__", None)
    return stream if type(stream).__module__.startswith("hypercorn.") else None


async def say_goodbye(stop: StopSignal, goodbye: Callable[[], Awaitable[None]]) -> None:
    """Wait until the server stops, or its process is told to, and do *goodbye* before it ends.

    When one of Hypercorn's workers has ended, its master sends SIGTERM to all the others, which
    would end them in the middle of their own goodbye.
    """
    told = asyncio.Event()
    with _sigterm_sets(told):
        stopping = asyncio.ensure_future(stop.wait())
        ending = asyncio.ensure_future(told.wait())
        try:
            await asyncio.wait([stopping, ending], return_when=asyncio.FIRST_COMPLETED)
            await goodbye()
            await asyncio.wait([stopping], timeout=STOP_TIMEOUT)
            stops = stopping.done()
        finally:
            stopping.cancel()
            ending.cancel()
    if not stops:
        os.kill(os.getpid(), signal.SIGTERM)  # It was meant for this process alone.


@contextmanager
def _sigterm_sets(event: asyncio.Event) -> Iterator[None]:
    """Have SIGTERM set *event*, where it would kill the process otherwise."""
    loop = asyncio.get_running_loop()
    try:
        ours = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if ours:
            loop.add_signal_handler(signal.SIGTERM, event.set)
    except (NotImplementedError, RuntimeError, ValueError):
        ours = False  # Not in the main thread, or not on this system.
    try:
        yield
    finally:
        if ours:
            loop.remove_signal_handler(signal.SIGTERM)
