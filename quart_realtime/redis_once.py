"""Requests that run once over Redis, whichever process they come to."""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import suppress
from uuid import uuid4

from attrs import frozen

from .broker import MemoryBroker
from .errors import BrokerUnavailable, Conflict
from .redis_scripts import ABANDON, BEGIN, FINISH, RENEW, Names
from .redis_servers import Servers, in_turns

LEASE = 30.0
"""For how many seconds a request that runs is taken to run; its process renews that.

When the process dies, whoever waits runs it instead: nobody can tell how far it got.
"""
ASK_AGAIN = (0.02, 0.5)
"""How many seconds who waits for an answer asks again after, at first and at most."""
OWED = 10_000
"""How many answers may wait for Redis to return."""


@frozen
class _Run:
    """A request that runs here: what it asks for, under which name, and how long it is kept."""

    fingerprint: str
    owner: str
    ttl: float


@frozen
class _Owed:
    """An answer that Redis has not got yet."""

    run: _Run
    answer: bytes
    expires: float


class Onces:
    """Has each request run once.

    While Redis is away that holds within this process; the answers are handed in afterwards, so
    that the other processes know them too.
    """

    def __init__(self, servers: Servers, names: Names, local: MemoryBroker) -> None:
        self._servers = servers
        self._names = names
        self._local = local
        self._running: dict[str, _Run] = {}
        self._dropped: dict[str, str] = {}
        self._owed: dict[str, _Owed] = {}

    async def begin(self, key: str, fingerprint: str, ttl: float) -> bytes | None:
        """Begin a request, as a broker does."""
        # Here first: so many at once ask Redis only once, and it holds when Redis is away.
        kept = await self._local.begin(key, fingerprint, ttl)
        if kept is not None:
            return kept
        run = _Run(hashlib.sha256(fingerprint.encode()).hexdigest(), uuid4().hex, ttl)
        try:
            kept = await self._ask(key, run)
        except BrokerUnavailable:
            kept = None
        except BaseException as error:
            if not isinstance(error, Conflict):
                # It may count as running there, though nobody runs it.
                self._dropped[run.owner] = key
            await self._local.abandon(key)
            raise
        if kept is not None:
            await self._local.finish(key, kept)
            return kept
        self._running[key] = run
        return None

    async def _ask(self, key: str, run: _Run) -> bytes | None:
        """Return None where it is ours to run, or the answer of the one that ran."""
        pause, longest = ASK_AGAIN
        names = (self._names.once(key),)
        while True:
            said = await self._servers.run(
                BEGIN, names, run.fingerprint, run.owner, round(LEASE * 1000)
            )
            match said[0]:
                case b"mine":
                    return None
                case b"answer":
                    return bytes(said[1])
                case b"other":
                    raise Conflict("this key was used for another request: choose a new one")
            await asyncio.sleep(pause)
            pause = min(longest, pause * 2)

    async def finish(self, key: str, answer: bytes) -> None:
        """Keep an answer; what Redis can't be told now it is told later."""
        await self._local.finish(key, answer)
        run = self._running.pop(key, None)
        if run is None:
            return
        # Owed until it is handed in, whatever comes between.
        self._owed[key] = _Owed(run, answer, time.monotonic() + run.ttl)
        while len(self._owed) > OWED:
            del self._owed[next(iter(self._owed))]
        with suppress(BrokerUnavailable):
            await self._hand_in(key)

    async def _hand_in(self, key: str) -> None:
        owed = self._owed.get(key)
        if owed is None:
            return
        left = owed.expires - time.monotonic()
        if left > 0:
            run = owed.run
            names = (self._names.once(key),)
            await self._servers.run(
                FINISH, names, run.fingerprint, run.owner, round(left * 1000) or 1, owed.answer
            )
        if self._owed.get(key) is owed:
            del self._owed[key]

    async def abandon(self, key: str) -> None:
        """Forget a request that came to nothing."""
        run = self._running.pop(key, None)
        try:
            if run is not None:
                await self._servers.run(ABANDON, (self._names.once(key),), run.owner)
        except BrokerUnavailable:
            if run is not None:
                self._dropped[run.owner] = key
        finally:
            await self._local.abandon(key)

    async def renew(self) -> None:
        """Tell that what runs here still does."""
        await in_turns(
            self._servers.run(RENEW, (self._names.once(key),), run.owner, round(LEASE * 1000))
            for key, run in list(self._running.items())
        )

    async def tend(self) -> None:
        """Hand in what is owed, and let go of what was dropped."""
        await in_turns(self._hand_in(key) for key in list(self._owed))
        await in_turns(self._let_go(owner) for owner in list(self._dropped))

    async def _let_go(self, owner: str) -> None:
        await self._servers.run(ABANDON, (self._names.once(self._dropped[owner]),), owner)
        self._dropped.pop(owner, None)
