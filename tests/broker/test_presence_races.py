"""Who is where over Redis: what happens at once or is cut off halfway, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast
from uuid import uuid4

import pytest
import redis

from quart_realtime.broker_url import parse_broker_url
from quart_realtime.errors import BrokerUnavailable
from quart_realtime.hub import Hub
from quart_realtime.protocol import PRESENCE_JOIN, PRESENCE_LEAVE, HistoryPolicy, Position
from quart_realtime.redis_broker import RedisBroker
from quart_realtime.redis_scripts import BEAT, ENTER, EXIT, SETTLE, Script
from quart_realtime.registry import HistoryPolicies

from ..proxy import proxying
from ..unit.fakes import BOUND, Member
from ..valkey import Valkey, valkey
from ..waiting import until
from .model import KEPT, Rules

SLOW = 15.0
"""How many seconds it may take to get over a fault."""
MOMENT = 0.1
"""How many seconds something is given that may have to wait for what is held back."""


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


@pytest.fixture
def prefix() -> str:
    return uuid4().hex


class Policies(Rules):
    """All rooms keep history."""

    def of(self, room: str) -> HistoryPolicy:
        return super().of(KEPT)


class Node(Hub):
    """A hub over Redis."""

    def __init__(self, port: int, prefix: str) -> None:
        url = parse_broker_url(f"redis://127.0.0.1:{port}/0?prefix={prefix}")
        self.redis = RedisBroker(url)
        super().__init__(self.redis, cast(HistoryPolicies, Policies()))

    async def who(self, room: str = "hall") -> dict[str, int]:
        return {user.user_id: user.connections for user in await self.present(room)}

    async def arrive(self, name: str, user_id: str) -> Member:
        """Have a user come into the hall."""
        member = Member(name)
        await self.attach(member, user_id)
        (await self.join(member, Position("hall"), presence=True)).open()
        return member


@asynccontextmanager
async def node(port: int, prefix: str) -> AsyncIterator[Node]:
    node = Node(port, prefix)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def becomes(node: Node, room: str, who: dict[str, int]) -> None:
    """Check that sooner or later just these are there, once the node has had time to see to it."""
    found: dict[str, int] | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(SLOW):
            while found != who:
                with suppress(BrokerUnavailable):
                    found = await node.who(room)
                await node.redis._once_more()
    assert found == who


def heard(member: Member) -> list[tuple[str, str]]:
    """Who came and went, as *member* was told."""
    return [
        (frame["payload"]["type"], frame["payload"]["data"]["user_id"])
        for frame in member.told
        if frame["payload"]["type"] in (PRESENCE_JOIN, PRESENCE_LEAVE)
    ]


async def has_heard(member: Member, kind: str, user_id: str) -> None:
    """Check that the last that *member* is told of a user, sooner or later, is this."""

    def last() -> tuple[str, str] | None:
        return next((item for item in heard(member)[::-1] if item[1] == user_id), None)

    with suppress(TimeoutError):
        await until(lambda: last() == (kind, user_id), BOUND)
    assert last() == (kind, user_id)


@asynccontextmanager
async def ann_is_here(port: int, prefix: str) -> AsyncIterator[tuple[Node, Member, Node, Member]]:
    """Two nodes: one on which ann is, and one that has told its watcher so."""
    async with node(port, prefix) as here, node(port, prefix) as there:
        watcher = await there.arrive("w", "watcher")
        ann = await here.arrive("a1", "ann")
        await has_heard(watcher, PRESENCE_JOIN, "ann")
        yield here, ann, there, watcher


async def is_gone(node: Node, user_id: str) -> None:
    """Wait until *user_id* is no longer in the hall."""

    async def gone() -> bool:
        return user_id not in await node.who()

    await until(gone, SLOW)


class Gate:
    """Holds back a script of a node until it is opened, or what comes after it."""

    def __init__(self, node: Node, script: Script, patch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self._script = script
        self._run: Any = node.redis._servers.run
        self._patch = patch
        self._node = node

    def before(self) -> Gate:
        """Hold it back."""
        self._patch.setattr(self._node.redis._servers, "run", self._before)
        return self

    def after(self) -> Gate:
        """Let it through, and hold back all that its node asks for from then on."""
        self._patch.setattr(self._node.redis._servers, "run", self._after)
        return self

    async def _before(self, script: Script, *words: Any, **options: Any) -> Any:
        if script is self._script:
            await self._wait()
        return await self._run(script, *words, **options)

    async def _after(self, script: Script, *words: Any, **options: Any) -> Any:
        if self.reached.is_set():
            await self._wait()
        answer = await self._run(script, *words, **options)
        if script is self._script:
            self.reached.set()
        return answer

    async def _wait(self) -> None:
        self.reached.set()
        async with asyncio.timeout(SLOW):
            await self.opened.wait()


# What a process puts right, beside what happens meanwhile


async def test_who_comes_while_a_room_is_put_right_is_there(
    server: Valkey, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(server.port, prefix) as here:
        await here.arrive("a", "ann")
        here.redis._presences._stale.add("hall")  # As after anything that failed.
        gate = Gate(here, SETTLE, monkeypatch).before()
        beating = asyncio.create_task(here.redis._once_more())
        async with asyncio.timeout(SLOW):
            await gate.reached.wait()
            coming = asyncio.create_task(here.arrive("b", "bob"))
            await asyncio.wait([coming], timeout=MOMENT)
            gate.opened.set()
            await asyncio.gather(beating, coming)
        await becomes(here, "hall", {"ann": 1, "bob": 1})


async def test_who_goes_while_a_room_is_put_right_is_gone(
    server: Valkey, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(server.port, prefix) as here:
        await here.arrive("a", "ann")
        bob = await here.arrive("b", "bob")
        here.redis._presences._stale.add("hall")
        gate = Gate(here, SETTLE, monkeypatch).before()
        beating = asyncio.create_task(here.redis._once_more())
        async with asyncio.timeout(SLOW):
            await gate.reached.wait()
            going = asyncio.create_task(here.detach(bob))
            await asyncio.wait([going], timeout=MOMENT)
            gate.opened.set()
            await asyncio.gather(beating, going)
        await becomes(here, "hall", {"ann": 1})


async def test_who_goes_before_it_was_let_in_is_gone(
    server: Valkey, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(server.port, prefix) as here:
        ann = Member("a")
        await here.attach(ann, "ann")
        gate = Gate(here, ENTER, monkeypatch).before()
        coming = asyncio.create_task(here.join(ann, Position("hall"), presence=True))
        async with asyncio.timeout(SLOW):
            await gate.reached.wait()
            going = asyncio.create_task(here.detach(ann))
            await asyncio.wait([going], timeout=MOMENT)
            gate.opened.set()
            await asyncio.wait([coming, going])
        await becomes(here, "hall", {})


# What Redis has forgotten


async def test_a_server_that_returns_with_an_old_snapshot_is_told_who_is_here(prefix: str) -> None:
    # The last of this process has left a room since.
    with valkey() as server:
        async with node(server.port, prefix) as here:
            ann = await here.arrive("a", "ann")
            (await here.join(ann, Position("left"), presence=True)).open()
            with server.client as client:
                client.save()
            await here.arrive("b", "bob")
            await here.detach(ann)
            await here.redis._once_more()
            server.restart()
            await becomes(here, "hall", {"bob": 1})
            await becomes(here, "left", {})


async def test_a_process_that_redis_forgot_is_put_back_though_the_answer_was_cut_off(
    server: Valkey, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The link to what is heard stays as it is.
    async with node(server.port, prefix) as here:
        await here.arrive("a", "ann")
        with server.client as client:
            for key in client.scan_iter(f"{prefix}*"):
                client.delete(key)
        servers = here.redis._servers
        command, lost = servers._command, iter([True])

        async def losing(*words: Any) -> Any:
            answer = await command(*words)
            if BEAT.sha in words and next(lost, False):
                raise redis.ConnectionError("the answer is lost")
            return answer

        monkeypatch.setattr(servers, "_command", losing)
        await becomes(here, "hall", {"ann": 1})


# What is told


async def test_who_goes_is_told_though_the_answer_was_cut_off(server: Valkey, prefix: str) -> None:
    async with (
        proxying(server.port) as proxy,
        node(proxy.port, prefix) as here,
        node(server.port, prefix) as there,
    ):
        watcher = await there.arrive("w", "watcher")
        ann = await here.arrive("a", "ann")
        await has_heard(watcher, PRESENCE_JOIN, "ann")
        proxy.swallow_answers()
        going = asyncio.create_task(here.detach(ann))
        await is_gone(there, "ann")
        proxy.cut()
        await going
        await becomes(here, "hall", {"watcher": 1})
        await has_heard(watcher, PRESENCE_LEAVE, "ann")


async def test_who_moves_to_another_node_is_told_to_have_come_last(
    server: Valkey, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ann_is_here(server.port, prefix) as (here, ann, there, watcher):
        gate = Gate(here, EXIT, monkeypatch).after()
        going = asyncio.create_task(here.leave(ann, "hall"))
        await is_gone(there, "ann")
        async with asyncio.timeout(SLOW):
            await there.arrive("a2", "ann")
            gate.opened.set()
            await going
        await there.arrive("c", "cleo")
        await has_heard(watcher, PRESENCE_JOIN, "cleo")
        assert await there.who() == {"watcher": 1, "ann": 1, "cleo": 1}
        await has_heard(watcher, PRESENCE_JOIN, "ann")


async def test_who_comes_back_is_not_told_that_it_has_gone(
    server: Valkey, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ann_is_here(server.port, prefix) as (here, ann, there, watcher):
        rooms, late = there.redis._rooms, list[Any]()
        monkeypatch.setattr(rooms, "heard", lambda *message: late.append(message))
        await here.detach(ann)
        back = await there.arrive("a2", "ann")
        await until(lambda: len(late) >= 2, BOUND)
        monkeypatch.undo()
        for message in late:
            rooms.heard(*message)
        assert heard(watcher)[-2:] == [(PRESENCE_LEAVE, "ann"), (PRESENCE_JOIN, "ann")]
        assert heard(back)[-1:] != [(PRESENCE_LEAVE, "ann")]


async def test_a_node_that_stops_while_people_are_there_takes_no_time_for_each_room(
    server: Valkey, prefix: str
) -> None:
    async with node(server.port, prefix) as there:
        watcher = await there.arrive("w", "watcher")
        async with node(server.port, prefix) as here:
            ann = await here.arrive("a", "ann")
            for number in range(5):
                place = Position(f"room {number}")
                (await here.join(ann, place, presence=True)).open()
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 3
        await has_heard(watcher, PRESENCE_LEAVE, "ann")
