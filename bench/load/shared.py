"""The jobs for nodes that share a Valkey server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from .arriving import Arrivals
from .control import Remote
from .counting import SLOWEST, Counters
from .dialects import Ours
from .process import Processes
from .publishing import STALLED, settle
from .sockets import Asker, Socket, close_all, open_many
from .target import Node, Target
from .watching import Look, Watch

ROOM = "bench"
BEGINS = 0.05
"""How many seconds pass before the first event of a row is due."""
SETTLES = 1.0
"""How many seconds pass before a look at the memory."""
SUBSCRIBING = 60.0
"""How many seconds it may take to subscribe to all rooms."""
TOGETHER = 20
"""How many events are published before it is waited for them, where only their cost counts."""


async def paced(
    target: Target, sockets: int, rate: int, seconds: float, patience: float
) -> dict[str, Any]:
    """Publish *rate* events a second on the first node, and see when they come to all sockets."""
    speech = target.speak(sockets)
    remote = Remote(target.control)
    opened = await target.open_evenly([Socket(speech, (ROOM,)) for _ in range(sockets)])
    arrivals = Arrivals(speech, 0.0 if target.spin else SLOWEST)
    arrivals.add(opened)
    settle(remote, arrivals, ROOM, sockets)
    meter = target.meter()
    begin, count = time.perf_counter() + BEGINS, round(rate * seconds)
    due = [begin + number / rate for number in range(count)]
    arrived = arrivals.pace(remote, ROOM, members=sockets, due=due, patience=patience)
    busy = meter.read()
    arrivals.close()
    await close_all(opened)
    if arrivals.closed:
        raise RuntimeError(f"{arrivals.closed} sockets were closed meanwhile")
    ordered, behind = sorted(arrived.latencies), sorted(arrived.behind)
    return {
        "median_us": ordered[len(ordered) // 2] * 1e6,
        "p99_us": ordered[int(len(ordered) * 0.99)] * 1e6,
        "missing": arrived.missing / len(ordered),
        "behind_us": behind[int(len(behind) * 0.99)] * 1e6,
        **busy,
    }


async def many_rooms(target: Target, rooms: int, each: int, warm: int) -> dict[str, Any]:
    """Subscribe sockets of the first node to many rooms, *each* of them to that many.

    The first *warm* rooms are there before the memory is looked at.
    """
    node = target.nodes[0]
    speech = Ours(-(-rooms // each))
    askers = [Asker(speech, ()) for _ in range(-(-rooms // each))]
    await open_many(node.port, askers)
    remote, processes = Remote(node.control), Processes(node.pids)
    watch = Watch(target) if target.valkey else None

    async def look() -> tuple[int, int]:
        await asyncio.sleep(SETTLES)
        remote.collect()
        return processes.memory(), watch.memory() if watch else 0

    await _subscribe(askers[0], [f"warm-{number}" for number in range(warm)])
    before = await look()
    names = [f"room-{number}" for number in range(rooms)]
    shares = [names[first : first + each] for first in range(0, rooms, each)]
    started = time.perf_counter()
    await asyncio.gather(*map(_subscribe, askers, shares))
    seconds = time.perf_counter() - started
    own, valkeys = (now - then for now, then in zip(await look(), before, strict=True))
    await _hears(askers[-1], target.nodes[-1], names[-1])
    result = {"bytes": own / rooms, "subscribed": rooms / seconds}
    if watch:
        result |= {"valkey_bytes": valkeys / rooms, "connections": watch.connections(node)}
        watch.close()
    await close_all(askers)
    return result


async def _subscribe(asker: Asker, rooms: list[str]) -> None:
    """Have *asker* in *rooms* too."""
    asker.say(Ours.subscribe(tuple(rooms)))
    answer = await _next(asker)
    if answer.count(b'"epoch"') != len(rooms):
        raise RuntimeError(f"not in all rooms: {answer[:300]!r}")


async def _hears(asker: Asker, node: Node, room: str) -> None:
    """Make sure that what *node* publishes to *room* comes to *asker*."""
    Remote(node.control).publish(room, 1)
    event = await _next(asker)
    if b'"number"' not in event:
        raise RuntimeError(f"no event: {event[:300]!r}")


async def _next(asker: Asker) -> bytes:
    """Return the next large frame that comes to *asker*."""
    came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    asker.answered = came.set_result
    async with asyncio.timeout(SUBSCRIBING):
        return await came


async def cost(
    target: Target, sizes: list[int], elsewhere: int, publications: int, deliveries: int
) -> dict[str, Any]:
    """Publish on the first node to rooms of several sizes there, and see what Valkey has to do.

    The other node's sockets are in another room.

    Args:
        target: Two nodes.
        sizes: How many members the rooms have.
        elsewhere: How many sockets the other node has.
        publications: How many events are published to a room at most.
        deliveries: How many events in all are to come to its members at most.
    """
    near, far = target.nodes
    speech = target.speak(sum(sizes) + elsewhere)
    opened = [Socket(speech, (_room(size),)) for size in sizes for _ in range(size)]
    others = [Socket(speech, ("elsewhere",)) for _ in range(elsewhere)]
    await open_many(near.port, opened)
    await open_many(far.port, others, len(opened))
    counters = target.counters(speech)
    counters.add([*opened, *others])
    remote, watch = Remote(near.control), Watch(target)
    times = [min(publications, deliveries // max(size, 1)) for size in sizes]
    spent: list[Look] = []
    for size, count in zip(sizes, times, strict=True):
        settle(remote, counters, _room(size), size)
        remote.finish()
        before = watch.look()
        _publish(remote, counters, size, count)
        spent.append(watch.look().since(before))
    counters.close()
    watch.close()
    await close_all([*opened, *others])
    result: dict[str, Any] = {}
    for size, count, look in zip(sizes, times, spent, strict=True):
        result[f"requests_{size}"] = look.requests / count
        result[f"calls_{size}"] = look.calls / count
        result[f"valkey_us_{size}"] = look.valkey / count * 1e6
    return {
        **result,
        "bytes_near": spent[-1].sent[0] / times[-1],
        "bytes_far": sum(look.sent[1] for look in spent) / sum(times),
        "far_us": sum(look.computed[1] for look in spent) / sum(times) * 1e6,
    }


def _room(size: int) -> str:
    return f"cost-{size}"


def _publish(remote: Remote, counters: Counters, size: int, times: int) -> None:
    """Have so many events published to the room of that size, and come to its members."""
    goal = counters.count + size * times
    for first in range(0, times, TOGETHER):
        count = min(TOGETHER, times - first)
        remote.publish(_room(size), count)
        counters.read_until(counters.count + count * size, STALLED)
        remote.finish()
    if counters.count != goal:
        raise RuntimeError(f"{goal - counters.count} events of {size * times} did not come")


JOBS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    job.__name__: job for job in (paced, many_rooms, cost)
}
