"""Events to rooms: publish, wait until all have all of it, publish again."""

from __future__ import annotations

import statistics
import time

from attrs import frozen

from .control import Remote
from .counting import Counters

STALLED = 3.0
"""After how many seconds without any frame the missing ones are lost."""


@frozen
class Published:
    """How far a run of events came; *each* is how long a publication took, in the median."""

    publications: int
    delivered: int
    lost: int
    seconds: float
    each: float


def run(
    remote: Remote,
    counters: Counters,
    room: str,
    *,
    members: int,
    burst: int = 1,
    seconds: float,
    most: int = 10**9,
) -> Published:
    """Publish to *room*, each time when all of its members have what was published before.

    Args:
        remote: Tells the server.
        counters: The sockets, the room's members among them.
        room: Where to.
        members: How many are to get each event.
        burst: How many events are published back to back.
        seconds: After which no more is published.
        most: How often at most.
    """
    first = counters.count
    publications = lost = 0
    ended = started = time.perf_counter()
    took: list[float] = []
    while not publications or (ended - started < seconds and publications < most):
        publications += 1
        goal, began = counters.count + members * burst, time.perf_counter()
        remote.publish(room, burst)
        ended = counters.read_until(goal, STALLED)
        took.append(ended - began)
        if counters.count < goal:
            lost += goal - counters.count
            break
    each = statistics.median(took)
    return Published(publications, counters.count - first, lost, ended - started, each)


def settle(remote: Remote, counters: Counters, room: str, members: int) -> None:
    """Publish single events until one has come to everybody, and a few more.

    Raises:
        RuntimeError: it came to too few.
    """
    for _ in range(5):
        result = run(remote, counters, room, members=members, seconds=0)
        if not result.lost:
            run(remote, counters, room, members=members, seconds=0.2, most=20)
            return
    raise RuntimeError(f"{result.lost} of {members} got no event")
