"""When events that are published at a fixed rate come to each of many sockets."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from attrs import frozen

from .control import Remote
from .counting import SHORTEST, Counters
from .dialects import Dialect

NUMBER = re.compile(rb'"number": ?(\d+)[,}]')
LONGEST = 24
"""How many bytes what carries an event's number has at most."""
FIRST = 1000
"""The number of the first event; those that came before are below it."""
AT_ONCE = 32
"""How many sockets are read between two looks at what is to be published: some 0.1 ms."""


@frozen
class Arrived:
    """How late events were, in seconds.

    What had not come when the watching ended is as late as it was then, which is less than it is.

    Args:
        latencies: Of each event on each socket, since it was due to be published.
        missing: How many of them had not come.
        behind: How long after it was due each event was asked for.
    """

    latencies: list[float]
    missing: int
    behind: list[float]


class Arrivals(Counters):
    """Counters that tell the events apart, by the number that each carries."""

    def __init__(self, speech: Dialect, wait: float) -> None:
        super().__init__(speech, wait)
        self._tails: dict[int, bytes] = {}
        self._due: list[float] = []
        self._came: list[int] = []
        self._latencies: list[float] = []

    def pace(
        self, remote: Remote, room: str, *, members: int, due: Iterable[float], patience: float
    ) -> Arrived:
        """Have an event published to *room* each time it is due, and see when it comes.

        Args:
            remote: Tells the server.
            room: Where to.
            members: How many sockets are to get each event.
            due: When, by ``time.perf_counter``.
            patience: For how many seconds after the last one what is missing is waited for.
        """
        self._due, self._latencies = list(due), []
        self._came = [0] * len(self._due)
        behind: list[float] = []
        clock = time.perf_counter
        count, goal, end = len(self._due), members * len(self._due), self._due[-1] + patience
        while len(self._latencies) < goal and (now := clock()) < end:
            number = len(behind)
            # A server that is busy for long doesn't take orders either; its sockets are read on.
            if number < count and now >= self._due[number] and remote.offer(room, FIRST + number):
                behind.append(now - self._due[number])
            awaited = self._due[len(behind)] if len(behind) < count else end
            self._read(max(0.0, min(self._wait, awaited - now)))
        now = clock()
        behind += [now - due for due in self._due[len(behind) :]]
        missing = [members - came for came in self._came]
        for number, lacking in enumerate(missing):
            self._latencies += [now - self._due[number]] * lacking
        return Arrived(self._latencies, sum(missing), behind)

    def _read(self, wait: float) -> None:
        """Read a few of the sockets where something is to be read."""
        for number, _ in self._epoll.poll(wait, AT_ONCE):
            size = self._receive[number](self._buffer)
            now = time.perf_counter()
            if size < SHORTEST:
                self._small(number, size)
            text = self._tails.get(number, b"") + self._buffer[:size]
            ended = 0
            for found in NUMBER.finditer(text):
                ended = found.end()
                self._note(int(found[1]) - FIRST, now)
            self._tails[number] = text[max(ended, len(text) - LONGEST) :]

    def _note(self, number: int, now: float) -> None:
        if number >= 0:
            self._came[number] += 1
            self._latencies.append(now - self._due[number])
