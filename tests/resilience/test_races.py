"""Much at once, in the worst order, and an app that fails: nothing leaks, nobody is misled."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import ClientConnection

from ..e2e.raw_socket import BOUND, CLOSE, RawSocket, close, raw_socket, text
from ..e2e.server import Server, memory, memory_flat, serving
from ..e2e.sockets import Token, ask, close_code, opened, read
from ..waiting import until
from .conftest import Figures

APP = "tests.resilience.races_app:app"
SECONDS = float(os.environ.get("SOAK_SECONDS", "12"))
CROWD = 5_000
SETTLED = 15.0
"""Within how many seconds a server has let go of those who went without a word."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    how: dict[str, Any] = {"RATE_LIMIT": None, "MAX_CONNECTIONS_PER_USER": 10_000}
    with serving(APP, REQUEST_TIMEOUT=1, HISTORY_SIZE=5_000, **how) as server:
        yield server


async def fetch(server: Server, method: str, path: str) -> Any:
    def send() -> Any:
        with urlopen(Request(server.url + path, method=method), timeout=30) as response:
            return response.read().decode()

    said = await asyncio.to_thread(send)
    return json.loads(said) if said.startswith(("{", "[")) else said


async def stats(server: Server) -> dict[str, Any]:
    return dict(await fetch(server, "GET", "/stats"))


async def settles(server: Server, before: dict[str, Any]) -> None:
    """Wait until the server has nothing more than *before*, but for a task or two of HTTP's."""

    async def has() -> bool:
        now = await stats(server)
        spare = {"tasks": 5, "descriptors": 5}
        names = ("connections", "rooms", "tasks", "descriptors")
        return all(now[name] <= before[name] + spare.get(name, 0) for name in names)

    await until(has, SETTLED)


def subscribing(room: str, frame_id: str = "s", kind: str = "subscribe") -> dict[str, Any]:
    return {"type": kind, "id": frame_id, "payload": {"rooms": [room]}}


@pytest.mark.line(36, "10 000 joins and leaves at once")
async def test_joins_and_leaves_at_once_leave_no_ghost(
    server: Server, token: Token, figures: Figures
) -> None:
    before = await stats(server)
    rooms = [f"hall:{number}" for number in range(5)]
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(opened(server, token(f"user{number}")))
            for number in range(20)
        ]

        async def come_and_go(socket: ClientConnection) -> int:
            answered = 0
            for number in range(10):
                # So many are in flight and wait their turn at once as may be.
                frames = [
                    subscribing(random.choice(rooms), f"{number}-{place}", kind)
                    for place, kind in enumerate(["subscribe", "unsubscribe"] * 25)
                ]
                for each in frames:
                    await socket.send(json.dumps(each))
                left = {each["id"] for each in frames}
                while left:
                    frame = await read(socket)
                    if frame["type"] == "response":
                        left.remove(frame["id"])
                        answered += 1
            return answered

        with memory_flat(server) as measured:
            async with asyncio.timeout(60):
                answered = await asyncio.gather(*map(come_and_go, sockets))
        assert sum(answered) == 10_000
        for socket in sockets[:10]:
            for room in rooms:
                await socket.send(json.dumps(subscribing(room, f"end-{room}", "unsubscribe")))
            left = {f"end-{room}" for room in rooms}
            while left:
                left.discard(str((await read(socket)).get("id")))
        expected = {f"user{number}" for number in range(10, 20)}
        for room in rooms:
            assert set(await fetch(server, "GET", f"/presence/{room}")) <= expected
        figures("memory", f"+{measured.grown / 1_048_576:.1f} MiB")
    for room in rooms:
        assert await fetch(server, "GET", f"/presence/{room}") == {}
    await settles(server, before)


@pytest.mark.line(37, "subscribing while events are published")
async def test_who_subscribes_while_events_are_published_has_no_gap_and_no_double(
    server: Server, token: Token
) -> None:
    room, total = "hall:busy", 3_000

    async def follow(socket: ClientConnection) -> list[int]:
        """Leave and resume at random moments; returns all that was told after the first join."""
        told: list[int] = []
        place: Any = room
        numbers = itertools.count()
        while not told or told[-1] < total:
            wanted = f"s{next(numbers)}"
            await socket.send(
                json.dumps(subscribing(room) | {"id": wanted} | {"payload": {"rooms": [place]}})
            )
            while (frame := await read(socket)).get("id") != wanted:
                pass
            (answer,) = frame["payload"]["rooms"]
            if not isinstance(place, str):
                assert answer["recovered"]
                told += [event["offset"] for event in answer["events"]]
            elif answer["offset"] == total:
                break
            last = answer["offset"]
            for _ in range(random.randrange(60)):
                if last == total:
                    break
                frame = await read(socket)
                if frame["type"] == "event" and "offset" in frame:
                    told.append(frame["offset"])
                    last = frame["offset"]
            await socket.send(json.dumps(subscribing(room, "u", "unsubscribe")))
            while (frame := await read(socket)).get("id") != "u":
                if frame["type"] == "event" and "offset" in frame:
                    told.append(frame["offset"])
                    last = frame["offset"]
            place = {"room": room, "epoch": answer["epoch"], "offset": last}
            told = told or [last]
        return told

    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(opened(server, token(f"user{number}")))
            for number in range(10)
        ]
        async with asyncio.timeout(60):
            publishing = asyncio.create_task(fetch(server, "POST", f"/tell/{room}/0/{total}"))
            stories = await asyncio.gather(*map(follow, sockets))
            await publishing
    for story in stories:
        assert story == list(range(story[0], total + 1))


@pytest.mark.line(38, "the connection cut inside a subscribe")
async def test_a_connection_that_ends_inside_a_subscribe_leaves_no_ghost(
    server: Server, token: Token
) -> None:
    before = await stats(server)

    async def come_and_break(number: int) -> None:
        async with raw_socket(server.port, token(f"user{number}")) as raw:
            await raw.send(text(subscribing("slow:room")))
            await asyncio.sleep(random.uniform(0, 0.04))  # Before, while and after it is decided.
            raw.abort()

    async with opened(server, token("luis")) as luis:
        await ask(luis, subscribing("slow:room"))
        for _ in range(10):
            await asyncio.gather(*map(come_and_break, range(20)))

        async def alone() -> bool:
            return bool(await fetch(server, "GET", "/presence/slow:room") == {"luis": 1})

        await until(alone, SETTLED)
    await settles(server, before)


def bug(action: str, frame_id: str = "b", **payload: Any) -> dict[str, Any]:
    payload = {"action": action, **payload}
    return {"type": "request", "id": frame_id, "resource": "bugs", "payload": payload}


@pytest.mark.line(39, "a handler that raises, hangs or returns what isn't JSON")
@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (bug("raise"), "internal_error"),
        (bug("route"), "internal_error"),
        (bug("hang"), "timeout"),
        *(
            (bug("return", what=what), "internal_error")
            for what in ("object", "keys", "circle", "surrogate", "status")
        ),
    ],
    ids=lambda value: str(value)[-40:],
)
async def test_a_handler_that_fails_is_one_error_and_the_connection_lives(
    server: Server, token: Token, asked: dict[str, Any], code: str
) -> None:
    async with opened(server, token("ana")) as socket:
        error = await ask(socket, asked)
        assert (error["type"], error["id"]) == ("error", "b")
        assert error["payload"]["code"] == code
        assert "secret" not in json.dumps(error)
        assert await ask(socket, {"type": "ping"}) == {"type": "pong"}


@pytest.mark.line(39, "a handler that returns numbers which JSON doesn't have")
@pytest.mark.parametrize("what", ["not a number", "infinity", "huge"])
async def test_a_number_that_json_does_not_have_is_no_broken_frame(
    server: Server, token: Token, what: str
) -> None:
    async with opened(server, token("ana")) as socket:
        await socket.send(json.dumps(bug("return", what=what)))
        async with asyncio.timeout(BOUND):
            said = str(await socket.recv())
        assert not {"NaN", "Infinity"} & set(said.replace('"', " ").split())
        answer = json.loads(said)
        assert answer["id"] == "b"
        assert answer["type"] in {"response", "error"}
        assert await ask(socket, {"type": "ping"}) == {"type": "pong"}


@pytest.mark.line(39, "a handler that is interrupted, and returns all the same")
async def test_a_handler_that_ignores_its_interruption_has_one_answer(
    server: Server, token: Token
) -> None:
    async with opened(server, token("ana")) as socket:
        assert (await ask(socket, bug("hang_on")))["id"] == "b"
        assert await ask(socket, {"type": "ping"}) == {"type": "pong"}


@pytest.mark.line(39, "a handler that closes the connection")
async def test_a_handler_that_closes_is_answered_first(server: Server, token: Token) -> None:
    async with opened(server, token("ana")) as socket:
        assert (await ask(socket, bug("close", code=4321)))["payload"] == "closed"
        assert await close_code(socket) == 4321


@pytest.mark.line(40, "a listener and a hook that raise")
async def test_a_listener_that_raises_is_logged_and_the_event_delivered(
    server: Server, token: Token
) -> None:
    async with opened(server, token("ana")) as socket:
        await ask(socket, subscribing("hall:listened"))
        await fetch(server, "POST", "/tell/hall:listened/7/8")
        frame = await read(socket)
        while frame["payload"]["type"] != "number":
            frame = await read(socket)
        assert frame["payload"]["data"] == 7
    assert server.logs("LookupError: the listener fails")
    assert server.logs("LookupError: the hook fails")
    async with opened(server, token("ana")) as socket:
        assert await ask(socket, {"type": "ping"}) == {"type": "pong"}


def raise_file_limit(count: int) -> int:
    """Let this process, and those it starts, have so many files open; returns how many it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return max(soft, wanted)


class Returning:
    """A client of a crowd that comes back until it is in, as both clients of ours do.

    *told* counts what the crowd was told instead.
    """

    def __init__(
        self, server: Server, token: str, stack: AsyncExitStack, told: Counter[str]
    ) -> None:
        self.told = told
        self.server = server
        self.token = token
        self.stack = stack

    async def come(self) -> RawSocket:
        for attempt in itertools.count():
            try:
                raw = await self.stack.enter_async_context(raw_socket(self.server.port, None))
                auth = {"type": "auth", "id": "a", "payload": {"token": self.token}}
                await raw.send(text(auth))
                frame = await raw.message()
                while frame["type"] not in {"closing", "connected"}:
                    frame = await raw.message()
            except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError):
                self.told["refused by the kernel"] += 1
                await asyncio.sleep(random.uniform(0, min(5, 0.5 * 2**attempt)))
                continue
            if frame["type"] == "connected":
                return raw
            self.told[frame["payload"]["code"]] += 1
            raw.abort()
            await asyncio.sleep(random.uniform(0, frame["payload"]["retry_after_ms"] / 1000))
        raise AssertionError


@pytest.mark.line(41, "5 000 clients return at once")
@pytest.mark.timeout(240)
async def test_a_crowd_that_returns_at_once_is_let_in_and_the_event_loop_goes_on(
    token: Token, figures: Figures
) -> None:
    count = min(CROWD, raise_file_limit(CROWD + 1_000) - 500)
    assert count >= 1_000
    how: dict[str, Any] = {"RATE_LIMIT": None, "MAX_CONNECTIONS_PER_USER": CROWD}
    with serving(APP, RETRY_AFTER=2, AUTH_TIMEOUT=60, **how) as server:
        async with AsyncExitStack() as stack:
            told: Counter[str] = Counter()
            crowd = [Returning(server, token(f"user{n % 500}"), stack, told) for n in range(count)]
            await stats(server)
            async with asyncio.timeout(180):
                await asyncio.gather(*(each.come() for each in crowd))
                now = await stats(server)
            assert now["connections"] == count
            figures("clients", count)
            figures("told to come back", dict(told))
            figures("event loop blocked at most", f"{now['blocked'] * 1000:.0f} ms")


@pytest.mark.line(42, "the clock jumps an hour, forth and back")
async def test_a_clock_that_jumps_throws_nobody_out(token: Token) -> None:
    with serving(APP, PING_INTERVAL=0.3, IDLE_TIMEOUT=2) as server:
        async with opened(server, token("ana", seconds=3_000)) as ana:
            for seconds in (3_600, -3_600, 0):
                await fetch(server, "POST", f"/clock/{seconds}")
                async with opened(server, token("luis", seconds=10_000)) as luis:
                    assert await ask(luis, {"type": "ping", "id": "1"}) == {
                        "type": "pong",
                        "id": "1",
                    }
                    pings = 0
                    async with asyncio.timeout(BOUND):
                        while pings < 5:
                            assert await read(ana) == {"type": "ping"}
                            await ana.send('{"type": "pong"}')
                            await luis.send('{"type": "pong"}')
                            pings += 1


@pytest.mark.line(43, "connecting and disconnecting for long")
@pytest.mark.timeout(120 + 2 * SECONDS)
async def test_connecting_and_disconnecting_for_long_leaves_nothing_behind(
    server: Server, token: Token, figures: Figures
) -> None:
    loop = asyncio.get_running_loop()
    cycles = 0

    async def come_and_go(until_when: float) -> None:
        nonlocal cycles
        while loop.time() < until_when:
            async with raw_socket(server.port, token(f"user{random.randrange(50)}")) as raw:
                if random.random() < 0.5:
                    await raw.send(text(subscribing(random.choice(["slow:a", "hall:b"]))))
                if random.random() < 0.5:
                    await raw.send(close(1000))
                    with suppress(EOFError, OSError):
                        while (await raw.read()).opcode != CLOSE:
                            pass
                else:
                    raw.abort()
            cycles += 1

    async def for_seconds(seconds: float) -> None:
        ends = loop.time() + seconds
        await asyncio.gather(*(come_and_go(ends) for _ in range(20)))

    await for_seconds(3)  # What is made once is made by now.
    await until(lambda: _empty(server), SETTLED)
    before, grown = await stats(server), memory(server.worker, "VmRSS")
    await for_seconds(SECONDS)
    await settles(server, before)
    grown = memory(server.worker, "VmRSS") - grown
    assert grown < 32 * 1_048_576
    figures("connections", cycles)
    figures("memory", f"{grown / 1_048_576:+.1f} MiB")


async def _empty(server: Server) -> bool:
    return bool((await stats(server))["connections"] == 0)
