"""What the generator can be told to do; each returns plain values."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ..peers.tokens import token
from .asking import Chain, ask
from .control import Remote
from .counting import Counters
from .dialects import ECHO, Dialect
from .http import KeepAlive, post
from .process import Processes
from .publishing import run, settle
from .sockets import Asker, Socket, close_all, open_many
from .target import Target

ROOM = "bench"
CAPACITY_PAUSE = 0.05
"""How many seconds a server has for writing before the generator reads."""
MEMORY_SETTLES = 1.0
"""How many seconds pass between the last handshake and a look at the memory."""


async def publish(target: Target, sockets: int, burst: int, seconds: float) -> dict[str, Any]:
    """Publish to one room, *burst* events at a time."""
    speech = target.speak(sockets)
    remote = Remote(target.control)
    opened = await target.open_evenly([Socket(speech, (ROOM,)) for _ in range(sockets)])
    counters = target.counters(speech)
    counters.add(opened)
    settle(remote, counters, ROOM, sockets)
    before = dict(counters.got)
    counters.idle = 0.0
    meter = target.meter()
    result = run(remote, counters, ROOM, members=sockets, burst=burst, seconds=seconds)
    busy = meter.read()
    each = result.publications * burst
    uneven = sum(got - before[number] != each for number, got in counters.got.items())
    counters.close()
    await close_all(opened)
    if counters.closed or (uneven and not result.lost):
        raise RuntimeError(f"{counters.closed} closed, {uneven} got more or less than they should")
    return {
        "rate": result.delivered / result.seconds,
        "delivered": result.delivered,
        "lost": result.lost,
        "publications": result.publications,
        "server_us": busy["server_cpu"] / result.delivered * 1e6,
        "generator_waits": counters.idle / result.seconds,
        **busy,
    }


async def capacity(target: Target, sockets: int, burst: int, times: int) -> dict[str, Any]:
    """Measure how many frames the generator itself can read a second, once they are there."""
    speech = target.speak(sockets)
    remote = Remote(target.control)
    opened = await open_many(target.port, [Socket(speech, ()) for _ in range(sockets)])
    counters = target.counters(speech)
    counters.add(opened)
    settle(remote, counters, ROOM, sockets)
    seconds = 0.0
    for _ in range(times):
        remote.publish(ROOM, burst)
        time.sleep(CAPACITY_PAUSE)  # noqa: ASYNC251 - nothing else runs on this loop.
        started = time.perf_counter()
        seconds += counters.read_until(counters.count + sockets * burst, 1.0) - started
    counters.close()
    await close_all(opened)
    return {"rate": times * sockets * burst / seconds}


async def asks(target: Target, sockets: int, seconds: float) -> dict[str, Any]:
    """Ask one thing after the other on each of some sockets."""
    speech = target.speak(sockets)
    askers = await open_many(target.port, [Asker(speech, ()) for _ in range(sockets)])
    wanted = ECHO.encode()
    chains = []
    for asker in askers:
        chain = Chain(_asking(asker, speech), lambda data: wanted in data)
        asker.answered = chain.answered
        chains.append(chain)
    meter = target.meter()
    result = await ask(chains, seconds)
    busy = meter.read()
    await close_all(askers)
    return {**_latencies(result.latencies, result.seconds), **busy}


def _asking(asker: Asker, speech: Dialect) -> Callable[[int], None]:
    return lambda number: asker.say(speech.ask(number))


def _latencies(latencies: list[float], seconds: float) -> dict[str, float]:
    ordered = sorted(latencies)
    return {
        "median_us": ordered[len(ordered) // 2] * 1e6,
        "p99_us": ordered[int(len(ordered) * 0.99)] * 1e6,
        "rate": len(ordered) / seconds,
    }


async def connects(target: Target, sockets: int) -> dict[str, Any]:
    """Open sockets until each is ready, after a tenth of them to warm up."""
    warm = sockets // 10
    speech = target.speak(sockets + warm)
    opened: list[Socket] = list(
        await open_many(target.port, [Socket(speech, ()) for _ in range(warm)])
    )
    fresh = [Socket(speech, ()) for _ in range(sockets)]
    meter = target.meter()
    started = time.perf_counter()
    opened += await open_many(target.port, fresh, warm)
    seconds = time.perf_counter() - started
    busy = meter.read()
    await close_all(opened)
    return {"rate": sockets / seconds, **busy}


async def memory(target: Target, warm: int, sockets: int, rooms: list[str]) -> dict[str, Any]:
    """Open sockets, and see what the server's memory grew by after the first *warm* of them."""
    speech = target.speak(sockets + warm)
    remote = Remote(target.control)
    processes = Processes(target.pids)

    async def used() -> int:
        await asyncio.sleep(MEMORY_SETTLES)
        remote.collect()
        return processes.memory()

    wanted = tuple(rooms)
    opened = list(await open_many(target.port, [Socket(speech, wanted) for _ in range(warm)]))
    before = await used()
    opened += await open_many(target.port, [Socket(speech, wanted) for _ in range(sockets)], warm)
    after = await used()
    gone = sum(socket.closed for socket in opened)
    await close_all(opened)
    if gone:
        raise RuntimeError(f"{gone} sockets were closed meanwhile")
    return {"bytes": (after - before) / sockets}


THING = b'{"text": "%s", "price": 12}' % ECHO.encode()


async def route(target: Target, way: str, seconds: float) -> dict[str, Any]:
    """Call the protected, validated route again and again, over the socket or over HTTP."""
    wanted = ECHO.encode()
    if way == "http":
        http = KeepAlive(target.port)
        await http.open()
        request = post("/shops/7/things", THING, token("user-0"))
        chain = Chain(lambda number: http.send(request), lambda data: wanted in data)

        def answered(status: int, body: bytes) -> None:
            chain.answered(body if status == 201 else b"%d " % status + body)

        http.answered = answered
        close = http.close
    else:
        asker = Asker(target.speak(1), ())
        await open_many(target.port, [asker])
        head = '{"type": "request", "resource": "things", "id": "%d", "payload": '
        rest = '{"action": "create", "shop_id": "7", ' + THING.decode()[1:] + "}"
        chain = Chain(
            lambda number: asker.say(head % number + rest),
            lambda data: b'"response"' in data and wanted in data,
        )
        asker.answered = chain.answered
        close = asker.transport.disconnect
    meter = target.meter()
    result = await ask([chain], seconds)
    busy = meter.read()
    close()
    return {**_latencies(result.latencies, result.seconds), **busy}


async def ladder(target: Target, steps: list[int], seconds: float) -> dict[str, Any]:
    """Publish to rooms of several sizes, while ever more sockets are connected.

    The first ten sockets are in ``room-10``, the first hundred in ``room-100``, and so on.
    """
    speech = target.speak(steps[-1])
    remote = Remote(target.control)
    counters = target.counters(speech)
    opened: list[Socket] = []
    result: dict[str, Any] = {}
    meter = target.meter()
    for connected in steps:
        fresh = [
            Socket(speech, tuple(f"room-{size}" for size in steps if number < size))
            for number in range(len(opened), connected)
        ]
        await open_many(target.port, fresh, len(opened))
        counters.add(fresh)
        opened += fresh
        gc.collect()
        gc.freeze()
        result[f"connected_{connected}"] = _per_event(remote, counters, steps[0], seconds)
    for size in steps:
        remote.lag()
        result[f"room_{size}"] = _per_event(remote, counters, size, seconds)
        result[f"lag_{size}"] = remote.lag()
    busy = meter.read()
    counters.close()
    await close_all(opened)
    if counters.closed:
        raise RuntimeError(f"{counters.closed} sockets were closed meanwhile")
    return {**result, **busy}


def _per_event(remote: Remote, counters: Counters, size: int, seconds: float) -> float:
    """Return how many microseconds an event to the room of that size takes to be everywhere."""
    room = f"room-{size}"
    settle(remote, counters, room, size)
    result = run(remote, counters, room, members=size, seconds=seconds)
    if result.lost:
        raise RuntimeError(f"{result.lost} of {size} got no event")
    return result.each * 1e6


JOBS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    job.__name__: job for job in (publish, capacity, asks, connects, memory, route, ladder)
}
