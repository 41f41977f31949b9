"""Publishers, nodes and clients do this and that in any order, and it comes out as modelled.

The same machine runs over memory, as one node, and over a real Valkey, as two nodes of which each
has a proxy of its own on the way there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import combinations, count
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from quart_realtime.broker import MemoryBroker, Once
from quart_realtime.broker_url import parse_broker_url
from quart_realtime.errors import BrokerUnavailable
from quart_realtime.hub import Hub
from quart_realtime.models import dump
from quart_realtime.protocol import Event, Position
from quart_realtime.redis_broker import RedisBroker

from ..proxy import Proxy, proxying
from ..unit.fakes import Member
from ..valkey import Valkey, valkey
from .model import (
    FLEETING,
    NUMBERED,
    PRESENCE,
    ROOMS,
    Accepted,
    Books,
    Client,
    Marker,
    Node,
    Seat,
    insist,
)

STEP = 30.0
"""How many seconds a step may take before something hangs."""
BOUND = 20.0
"""How many seconds are waited for what must come."""
ROUNDS = 8
"""How often clients may have to come back before all is settled."""
OUTAGE = 0.03
"""For how many seconds Redis is away while something else is done, if that doesn't end before."""
PAUSE = 0.01
"""How many seconds pass between two events of a slow burst."""
USERS = ("ann", "bob", "cleo", "dan")


class World:
    """The nodes, their clients, and what may be done. Each operation may run beside others."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.books = Books()
        self.clients = [Client(user, self.books) for user in USERS]
        self.markers = [Marker(f"marker {n}", self.books) for n in range(len(nodes))]
        self._numbers = count(1)
        self._keyed: dict[str, tuple[int, str | None, int | None]] = {}

    async def start(self) -> None:
        for node, marker in zip(self.nodes, self.markers, strict=True):
            await node.hub.start()
            await node.hub.attach(marker, "marker")

    async def stop(self) -> None:
        await asyncio.gather(*(client.vanish() for client in self.clients))
        for node, marker in zip(self.nodes, self.markers, strict=True):
            await node.hub.detach(marker)
            await node.hub.stop()

    def node(self, number: int) -> Node:
        return self.nodes[number % len(self.nodes)]

    async def do(self, *operations: tuple[Any, ...]) -> None:
        """Do all at once."""
        await asyncio.gather(*(getattr(self, name)(*how) for name, *how in operations))

    # Operations

    async def say(
        self, node: int, room: str, key: int | None, left_out: int | None, numbered: bool
    ) -> None:
        """Publish an event, without a number in a room that has some, or leaving out a client."""
        seat = None if left_out is None else self.clients[left_out].seat
        exclude = None if seat is None else seat.id
        event = Event("said", dump(f"event {next(self._numbers)}"), room, exclude=exclude)
        hub = self.node(node).hub
        if key is not None:
            await self._say_once(node, room, key)
        elif numbered and room in NUMBERED:
            self._accept(await insist(hub.publish, event))
        else:
            # Not twice: without a number or a key nobody would know the second from the first.
            with suppress(BrokerUnavailable):
                self._accept(await hub.publish(event, history=numbered))

    async def burst(self, node: int, room: str, count: int, slowly: bool) -> None:
        """Publish many, so that some come while other things happen."""
        for _ in range(count):
            await self.say(node, room, None, None, True)
            await asyncio.sleep(PAUSE if slowly and len(self.nodes) > 1 else 0)

    async def _say_once(self, node: int, room: str, key: int) -> None:
        """Publish an event under a key; it is the same as was or will be published under it."""
        data = f"{room} key {key}"
        event = Event("said", dump(data), room)
        forgets = self.books.forgets
        sent = await insist(self.node(node).hub.publish, event, once=Once(data, 60))
        first = self._keyed.get(data)
        if first is None or (first[0] != forgets and first[1:] != (sent.epoch, sent.offset)):
            self._keyed[data] = (forgets, sent.epoch, sent.offset)
            self._accept(sent)
        elif first[0] == self.books.forgets and first[1:] != (sent.epoch, sent.offset):
            self.books.faults.append(f"{data} is at {first} and at {sent.epoch}:{sent.offset}")

    def _accept(self, sent: Event) -> None:
        data, books = sent.value(), self.books
        books.accepted[sent.room].append(
            Accepted(books.step, data, sent.epoch, sent.offset, sent.exclude)
        )
        if sent.offset is not None:
            books.witness(sent.room, sent.epoch, sent.offset, data)

    async def join(self, client: int, room: str, afresh: bool) -> None:
        """Subscribe, with the position that it had when it left, or *afresh* with none."""
        who = self.clients[client]
        async with who.lock:
            who.wants.add(room)
            await who.enter([room], afresh=afresh)

    async def leave(self, client: int, room: str) -> None:
        async with self.clients[client].lock:
            await self.clients[client].leave(room)

    async def vanish(self, client: int) -> None:
        """Drop the connection, whatever goes on."""
        await self.clients[client].vanish()

    async def move(self, client: int, node: int) -> None:
        """Drop the connection, if there is one, and come back at *node*."""
        who = self.clients[client]
        await who.vanish()
        async with who.lock:
            await who.arrive(self.node(node))

    async def beat(self, node: int) -> None:
        """Have a node do now what it does every few seconds."""
        broker = self.node(node).hub.broker
        if isinstance(broker, RedisBroker):
            await broker._once_more()

    # What is done alone

    async def put(self, client: int, node: int, do: str, room: str) -> None:
        """Put a client, wherever it is, in or out on the word of the app at *node*."""
        who = self.clients[client]
        await insist(self.node(node).hub.command, do=do, user_id=who.user_id, room=room)
        if (seat := who.seat) is not None:
            await self._until(
                lambda: [] if seat.lost or (room in seat.rooms) == (do == "join") else [do, seat.id]
            )

    async def reap(self) -> None:
        """Have those who lost their place come back, elsewhere."""
        for number, client in enumerate(self.clients):
            if client.seat is not None and client.seat.lost:
                await self.move(number, self.nodes.index(client.seat.node) + 1)

    async def settle(self) -> None:
        """Bring everybody up to date, and hold what they know against what they should."""
        for _ in range(ROUNDS):
            await self.reap()
            for client in self.clients:
                if client.seat is not None:
                    await client.enter(client.wants - client.seat.rooms)
            await self._until_presence_is_right()
            if await self._mark():
                break
        else:
            raise AssertionError("clients lose their place again and again")
        for node in self.nodes:
            node.cuts, node.forgets = self.books.cuts, self.books.forgets
        wrong = self.books.faults + [item for seat in self._seats() for item in self._wrong(seat)]
        assert not wrong, "\n".join(wrong)
        self._check_the_order_of_loose_events()
        self._check_the_numbers()

    def _seats(self) -> Iterator[Seat]:
        yield from (client.seat for client in self.clients if client.seat is not None)

    def _wrong(self, seat: Seat) -> Iterator[str]:
        yield from seat.faults
        for room in seat.rooms:
            yield from (f"{seat.id}: {item}" for item in seat.client.misses(room))
        if seat.rooms != seat.client.wants:
            yield f"{seat.id} is in {seat.rooms}, and wants to be in {seat.client.wants}"
        if PRESENCE in seat.rooms and seat.client.stays[PRESENCE].present != {*self._who()}:
            told = seat.client.stays[PRESENCE].present
            yield f"{seat.id} was told that {told} are there, and {self._who()} are"

    def _check_the_order_of_loose_events(self) -> None:
        for room in ROOMS:
            told = [seat.client.stays[room].loose for seat in self._seats() if room in seat.rooms]
            for one, other in combinations(told, 2):
                both = {*one} & {*other}
                assert [x for x in one if x in both] == [x for x in other if x in both]

    def _check_the_numbers(self) -> None:
        for room in NUMBERED if self.books.forgets == 0 else ():
            numbers = [each.offset for each in self.books.accepted[room] if each.offset]
            assert sorted(numbers) == list(range(1, len(numbers) + 1))

    def _who(self) -> dict[str, int]:
        """Who is to be present: here each user has one connection."""
        return {seat.client.user_id: 1 for seat in self._seats() if PRESENCE in seat.rooms}

    async def _until_presence_is_right(self) -> None:
        logins = {seat.client.user_id: 1 for seat in self._seats()} | {"marker": len(self.nodes)}
        there = [self._who()] * len(self.nodes)
        found: list[Any] = []
        try:
            async with asyncio.timeout(BOUND):
                while found[-1:] != [(there, logins)]:
                    for number in range(len(self.nodes)):
                        await self.beat(number)
                    found.append(await self._found())
        except TimeoutError:
            raise AssertionError(f"present are {found}, not {(there, logins)}") from None

    async def _found(self) -> tuple[list[dict[str, int]], dict[str, int]]:
        """Return who is present, as each node tells, and who has logged in."""
        told = [await insist(node.hub.present, PRESENCE) for node in self.nodes]
        logins = [await insist(self.nodes[0].hub.logins, user) for user in (*USERS, "marker")]
        return (
            [{user.user_id: user.connections for user in users} for users in told],
            {user.user_id: user.connections for users in logins for user in users},
        )

    async def _mark(self) -> bool:
        """Send what is the last in each room, and wait for it; False where a place was lost."""
        mark = f"mark {next(self._numbers)}"
        hub = self.nodes[0].hub
        for marker in self.markers:
            marker.lost_places = 0
        for number, node in enumerate(self.nodes):
            await insist(node.hub.command, do="leave", user_id="marker", room=f"{mark} {number}")
        await self._come_and_go(hub, mark)
        for room in NUMBERED:
            self._accept(await insist(hub.publish, Event("said", dump(mark), room)))
        await self._until(lambda: self._behind(mark, NUMBERED))
        # What has no number is heard where what has one is.
        await insist(hub.publish, Event("said", dump(mark), FLEETING))
        await self._until(lambda: self._behind(mark, (FLEETING,)))
        return not any(seat.lost for seat in self._seats()) and not any(
            marker.lost_places for marker in self.markers
        )

    async def _come_and_go(self, hub: Hub, user_id: str) -> None:
        """Have everybody told that somebody has left."""
        member = Member(user_id)
        await insist(hub.attach, member, user_id)
        (await insist(hub.join, member, Position(PRESENCE), presence=True)).open()
        await hub.detach(member)

    def _behind(self, mark: str, rooms: tuple[str, ...]) -> list[str]:
        """Return who hasn't been told *mark*, but for those who lost their place."""
        behind = [
            marker.id
            for marker in self.markers
            for number in range(len(self.nodes))
            if not marker.lost_places and f"{mark} {number}" not in marker.told_to_leave
        ]
        for seat in self._seats():
            for room in seat.rooms & {*rooms} if not seat.lost else ():
                stay = seat.client.stays[room]
                if mark not in stay.loose and mark not in stay.said.values():
                    behind.append(f"{seat.id} in {room}")
                if room == PRESENCE and mark not in stay.gone:
                    behind.append(f"{seat.id}, of who is in {room}")
        return behind

    async def _until(self, left: Callable[[], list[str]]) -> None:
        """Wait, for a bounded time, until nothing is *left*."""
        try:
            async with asyncio.timeout(BOUND):
                while left():
                    self.books.news.clear()
                    await self.books.news.wait()
        except TimeoutError:
            raise AssertionError(f"waiting in vain for {left()}; {self.books.faults}") from None


class Harm:
    """What may be done to a Valkey and to the ways there."""

    def __init__(self, world: World, server: Valkey, proxies: list[Proxy]) -> None:
        self._world = world
        self._server = server
        self._proxies = proxies

    async def beside(self, kind: str, node: int, operations: list[tuple[Any, ...]]) -> None:
        """Do harm while *operations* are under way."""
        books, forgetting = self._world.books, kind in ("flush", "restart")
        books.cuts += kind not in ("flush", "script_flush")
        books.forgets += forgetting
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._world.do(*operations))
            await getattr(self, kind)(self._proxies[node], task)
            books.forgets += forgetting

    async def kill_links(self, proxy: Proxy, task: asyncio.Task[None]) -> None:
        """End all connections that something is heard over."""
        with self._server.client as client:
            client.client_kill_filter(_type="pubsub")

    async def cut(self, proxy: Proxy, task: asyncio.Task[None]) -> None:
        """End all connections of a node."""
        proxy.cut()

    async def go_away(self, proxy: Proxy, task: asyncio.Task[None]) -> None:
        """End them, and let none be made for a while."""
        proxy.go_away()
        await asyncio.wait([task], timeout=OUTAGE)
        proxy.come_back()

    async def deafen(self, proxy: Proxy, task: asyncio.Task[None]) -> None:
        """Have a node hear nothing for a while, though it is heard, and then end all."""
        proxy.swallow_answers()
        await asyncio.wait([task], timeout=OUTAGE)
        proxy.cut()

    async def script_flush(self, proxy: Proxy, task: asyncio.Task[None]) -> None:
        """Have the server forget the scripts."""
        with self._server.client as client:
            client.script_flush()

    async def flush(self, proxy: Proxy, task: asyncio.Task[None]) -> None:
        """Have it forget everything, its connections left alone."""
        with self._server.client as client:
            client.flushall()

    async def restart(self, proxy: Proxy, task: asyncio.Task[None]) -> None:
        """Kill it, and run it again, empty."""
        await asyncio.to_thread(self._server.restart)


NODE = st.integers(0, 1)
CLIENT = st.integers(0, len(USERS) - 1)
ROOM = st.sampled_from(list(ROOMS))
SAYING = st.tuples(
    st.just("say"), NODE, ROOM, st.none() | st.integers(0, 2), st.none() | CLIENT, st.booleans()
)
BURST = st.tuples(
    st.just("burst"), NODE, st.sampled_from(NUMBERED), st.integers(4, 16), st.booleans()
)
JOINING = st.tuples(st.just("join"), CLIENT, ROOM, st.booleans())
OPERATION = st.one_of(
    SAYING,
    BURST,
    JOINING,
    JOINING,
    st.tuples(st.just("leave"), CLIENT, ROOM),
    st.tuples(st.just("move"), CLIENT, NODE),
    st.tuples(st.just("vanish"), CLIENT),
    st.tuples(st.just("beat"), NODE),
)


class Machine(RuleBasedStateMachine):
    """What may happen over any broker. No rule depends on what came of another: all may always."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.run(self._begin())

    def run(self, step: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(STEP):
                await step

        self._runner.run(bounded())

    async def _begin(self) -> None:
        self.world = await self._stack.enter_async_context(self.running())
        # So that all is under way from the first step on.
        for number in range(len(USERS)):
            await self.world.move(number, number)
            for room in ROOMS:
                await self.world.join(number, room, False)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        world = World([Node.over(MemoryBroker())])
        await world.start()
        yield world
        await world.stop()

    def step(self, what: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def step() -> None:
            self.world.books.step += 1
            await self.world.reap()
            await what()

        self.run(step())

    @rule(operation=OPERATION)
    def one(self, operation: tuple[Any, ...]) -> None:
        self.step(lambda: self.world.do(operation))

    @rule(operations=st.lists(OPERATION, min_size=2, max_size=8))
    def at_once(self, operations: list[tuple[Any, ...]]) -> None:
        self.step(lambda: self.world.do(*operations))

    @rule(client=CLIENT, node=NODE, do=st.sampled_from(["join", "leave"]), room=ROOM)
    def put(self, client: int, node: int, do: str, room: str) -> None:
        self.step(lambda: self.world.put(client, node, do, room))

    @rule()
    def settle(self) -> None:
        self.step(self.world.settle)

    def teardown(self) -> None:
        try:
            self.step(self.world.settle)
        finally:
            self.run(self._stack.aclose())
            self._runner.close()


class ValkeyMachine(Machine):
    """What may happen over a Valkey, beside harm."""

    server: Valkey

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        prefix = uuid4().hex
        async with proxying(self.server.port) as one, proxying(self.server.port) as other:
            urls = [f"redis://127.0.0.1:{proxy.port}/0?prefix={prefix}" for proxy in (one, other)]
            world = World([Node.over(RedisBroker(parse_broker_url(url))) for url in urls])
            self.harm = Harm(world, self.server, [one, other])
            await world.start()
            yield world
            await world.stop()

    @rule(
        kind=st.sampled_from(
            ["kill_links", "cut", "go_away", "deafen", "script_flush", "flush", "restart"]
        ),
        node=NODE,
        operations=st.lists(OPERATION, max_size=8),
    )
    def harmed(self, kind: str, node: int, operations: list[tuple[Any, ...]]) -> None:
        self.step(lambda: self.harm.beside(kind, node, operations))


def check(machine: type[Machine], examples: int, steps: int, **options: Any) -> None:
    """Let *machine* run so often, for so many steps; *options* are hypothesis'."""
    fixed = {"derandomize": True, "database": None}
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # What waits in vain takes long, and would do so for each attempt at a shorter example.
            phases=[Phase.generate],
            **{**fixed, **options},
        ),
    )


def test_in_memory_each_client_knows_what_it_should() -> None:
    check(Machine, examples=100, steps=30)


@pytest.mark.timeout(240)
def test_over_valkey_each_client_knows_what_it_should_whatever_breaks() -> None:
    with valkey() as server:
        machine = type("ValkeyMachine", (ValkeyMachine,), {"server": server})
        check(machine, examples=30, steps=25)
