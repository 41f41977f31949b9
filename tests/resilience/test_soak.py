"""Two nodes under load while Redis is restarted again and again: nobody is misled.

``SOAK_SECONDS`` has it last longer, with as many events a second.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from urllib.error import HTTPError

import pytest
from attrs import define, field

from quart_realtime.client import Client, Room
from quart_realtime.emitter import Emitter
from quart_realtime.errors import BrokerUnavailable

from ..e2e.conftest import make_token
from ..e2e.nodes import SOON, nodes
from ..e2e.nodes import publish as post
from ..e2e.server import Server
from ..proxy import Proxy, proxying
from ..valkey import Valkey

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
EVENTS = round(SECONDS / 60 * 20_000)
PUBLISHERS = 2
RESTART_AFTER = (2.0, 5.0)
"""After how many seconds Redis is restarted: every other time with what it had at some moment."""
AWAY_FOR = (0.0, 0.0, 2.5)
"""For how many seconds it stays away, of which one is drawn."""
CUT_AFTER = (0.5, 2.0)
"""After how many seconds somebody's connection is cut, to return to either node."""
CLIENTS = 12
ROOM = "numbers:soak"
END = -1


@define
class Account:
    """What one client was told: a list for each time that its place was lost."""

    parts: list[list[int]] = field(factory=lambda: [[]])
    ended: asyncio.Event = field(factory=asyncio.Event)

    def follow(self, room: Room) -> None:
        room.on("number", self._event)
        room.on_recovered(self._returned)

    def _event(self, number: int) -> None:
        if number == END:
            self.ended.set()
        else:
            self.parts[-1].append(number)

    def _returned(self, recovered: bool) -> None:
        if not recovered:
            self.parts.append([])


async def publish(
    send: Callable[[int], Awaitable[object]], numbers: range, accepted: set[int]
) -> None:
    """Publish *numbers* one after the other, evenly over the time; note which were accepted."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for done, number in enumerate(numbers):
        try:
            await send(number)
        except (BrokerUnavailable, HTTPError):
            # As one who goes on: else all would be told so at once, in no time.
            await asyncio.sleep(0.01)
        else:
            accepted.add(number)
        await asyncio.sleep(max(0.0, began + done * SECONDS / len(numbers) - loop.time()))


async def restart(redis: Valkey, chance: random.Random) -> None:
    """Restart Redis again and again."""
    for round_number in itertools.count():
        with redis.client as client:
            client.save() if round_number % 2 else client.flushall()
        await asyncio.sleep(chance.uniform(*RESTART_AFTER))
        redis.kill()
        if round_number % 2 == 0:
            (redis.folder / "dump.rdb").unlink(missing_ok=True)
        await asyncio.sleep(chance.choice(AWAY_FOR))
        await asyncio.to_thread(redis.start)


async def disturb(proxies: list[Proxy], servers: list[Server], chance: random.Random) -> None:
    """Cut clients' connections again and again; they return to one node or the other."""
    while True:
        await asyncio.sleep(chance.uniform(*CUT_AFTER))
        proxy = chance.choice(proxies)
        proxy.target = chance.choice(servers).port
        proxy.cut()


@pytest.mark.timeout(SECONDS * 2 + 120)
async def test_who_is_told_that_it_recovered_has_all_and_who_has_not_is_told() -> None:
    chance = random.Random(0)
    accepted: set[int] = set()
    accounts = [Account() for _ in range(CLIENTS)]
    settings = {"RETRY_AFTER": 0.2, "MAX_CONNECTIONS_PER_USER": 100}
    async with AsyncExitStack() as stack:
        redis, servers = stack.enter_context(nodes(**settings))
        proxies = [
            await stack.enter_async_context(proxying(servers[number % 2].port))
            for number in range(3)
        ]
        for number, account in enumerate(accounts):
            url = f"ws://127.0.0.1:{proxies[number % 3].port}/ws"
            client = Client(url, token=make_token(f"user{number}", 3600), backoff=SOON)
            await stack.enter_async_context(client)
            account.follow(await client.subscribe(ROOM))
        emitter = await stack.enter_async_context(Emitter(redis.url))
        senders: list[Callable[[int], Awaitable[object]]] = [
            lambda number: emitter.notify("number", number, room=ROOM),
            lambda number: post(servers[number // 2 % 2], "soak", number, number + 1),
        ]
        harm = [
            asyncio.create_task(restart(redis, chance)),
            asyncio.create_task(disturb(proxies, servers, chance)),
        ]
        try:
            await asyncio.gather(
                *(
                    publish(send, range(first, EVENTS, PUBLISHERS), accepted)
                    for first, send in enumerate(senders)
                )
            )
        finally:
            for task in harm:
                task.cancel()
            await asyncio.gather(*harm, return_exceptions=True)
        await end(redis, emitter, accounts)
    heard = [sum(map(len, account.parts)) for account in accounts]
    print(f"{len(accepted)} of {EVENTS} accepted; heard {heard}")
    print(f"began anew {[len(account.parts) - 1 for account in accounts]}")
    assert len(accepted) > EVENTS / 2
    for account in accounts:
        check(account, accepted)
    for one, other in itertools.combinations(accounts, 2):
        agree(one, other)
    # Some did recover over what was done to them, and some could not.
    assert any(len(account.parts) > 1 for account in accounts)


async def end(redis: Valkey, emitter: Emitter, accounts: list[Account]) -> None:
    """Publish the end until everybody has heard of it."""
    if redis.process.poll() is not None:
        await asyncio.to_thread(redis.start)
    async with asyncio.timeout(60):
        while not all(account.ended.is_set() for account in accounts):
            with suppress(BrokerUnavailable):
                await emitter.notify("number", END, room=ROOM)
            await asyncio.sleep(0.2)  # Whoever is just returning hears the next.


def check(account: Account, accepted: set[int]) -> None:
    """See that each part is without a gap, and that all is in order and nothing twice."""
    for first in range(PUBLISHERS):
        heard = [
            [number for number in part if number % PUBLISHERS == first] for part in account.parts
        ]
        flat = [number for part in heard for number in part]
        assert flat == sorted(set(flat)), "out of order, or twice"
        for part in heard:
            if part:
                # Whoever was told of no loss since has heard all to the end.
                last = EVENTS if part is heard[-1] else part[-1] + 1
                due = {
                    number
                    for number in range(part[0], last)
                    if number % PUBLISHERS == first and number in accepted
                }
                missing = due - set(part)
                assert not missing, f"was told nothing of {sorted(missing)[:10]}"


def agree(one: Account, other: Account) -> None:
    """See that what both heard came to both in one order."""
    both = [[number for part in each.parts for number in part] for each in (one, other)]
    common = set(both[0]) & set(both[1])
    first, second = ([number for number in each if number in common] for each in both)
    assert first == second, "in another order"
