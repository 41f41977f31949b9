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
from contextlib import AsyncExitStack
from typing import Any
from urllib.request import Request, urlopen

import jwt
import pytest

from quart_realtime.backoff import Backoff
from quart_realtime.client import connect

from ..conftest import SECRET
from ..e2e.raw_socket import BOUND, RawSocket, close, raw_socket, text
from ..e2e.server import Server, memory, memory_flat, serving
from ..e2e.sockets import Token, ask, close_code, opened, read, subscribe
from ..waiting import until
from .conftest import Figures

APP = "tests.resilience.races_app:app"
SECONDS = float(os.environ.get("SOAK_SECONDS", "12"))
SETTLED = 15.0
"""Within how many seconds a server has let go of those who went without a word."""
MIB = 1_048_576


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    how: dict[str, Any] = {"RATE_LIMIT": None, "MAX_CONNECTIONS_PER_USER": 10_000}
    # A whole history has room in one answer.
    how |= {"HISTORY_SIZE": 10_000, "SEND_BUFFER": 4 * 2**20}
    with serving(APP, REQUEST_TIMEOUT=2, **how) as server:
        yield server


async def fetch(server: Server, method: str, path: str) -> Any:
    def send() -> Any:
        with urlopen(Request(server.url + path, method=method), timeout=60) as response:
            return json.loads(response.read() or b"null")

    return await asyncio.to_thread(send)


async def stats(server: Server) -> dict[str, Any]:
    return dict(await fetch(server, "GET", "/stats"))


async def settles(server: Server, before: dict[str, Any]) -> None:
    """Wait until the server has nothing more than *before*, but for a task or two of HTTP's."""
    spare = {"connections": 0, "members": 0, "rooms": 0, "tasks": 5, "descriptors": 5}

    async def has() -> bool:
        now = await stats(server)
        return all(now[name] <= before[name] + more for name, more in spare.items())

    await until(has, SETTLED)


async def present(server: Server, expected: dict[str, Counter[str]]) -> None:
    """Wait until there are in each room the users of *expected*, with as many connections."""

    async def exact() -> bool:
        found = [await fetch(server, "GET", f"/presence/{room}") for room in expected]
        return found == [dict(users) for users in expected.values()]

    await until(exact, SETTLED)


def wish(kind: str, frame_id: str, room: Any) -> dict[str, Any]:
    return {"type": kind, "id": frame_id, "payload": {"rooms": [room]}}


class Wisher:
    """Joins and leaves rooms at random, and knows in which it should be in the end."""

    def __init__(self, user: str, raw: RawSocket) -> None:
        self.user = user
        self.raw = raw
        self.rooms: set[str] = set()

    async def wish(self, names: list[str], count: int) -> None:
        """Send *count* wishes at once, and read their answers."""
        ids = [str(number) for number in range(count)]
        frames = []
        for frame_id in ids:
            kind, room = random.choice(["subscribe", "unsubscribe"]), random.choice(names)
            (self.rooms.add if kind == "subscribe" else self.rooms.discard)(room)
            frames.append(text(wish(kind, frame_id, room)))
        await self.raw.send(b"".join(frames))
        answered = []
        while len(answered) < count:
            if (frame := await self.raw.message())["type"] != "event":
                assert frame["type"] == "response", frame
                answered.append(frame["id"])
        assert sorted(answered) == sorted(ids)


@pytest.mark.line(36, "10 000 joins and leaves at once")
async def test_after_joins_and_leaves_at_once_exactly_those_are_there_who_should_be(
    server: Server, token: Token, figures: Figures
) -> None:
    before = await stats(server)
    rooms = [f"hall:{number}" for number in range(20)]
    async with AsyncExitStack() as stack:
        wishers = []
        for number in range(25):
            user = f"user{number % 10}"
            raw = await stack.enter_async_context(raw_socket(server.port, token(user)))
            wishers.append(Wisher(user, raw))

        def of(some: list[Wisher]) -> dict[str, Counter[str]]:
            return {room: Counter(w.user for w in some if room in w.rooms) for room in rooms}

        with memory_flat(server) as measured:
            async with asyncio.timeout(60):
                for _ in range(4):  # So many as may be in flight and wait their turn at once.
                    await asyncio.gather(*(wisher.wish(rooms, 100) for wisher in wishers))
        figures("memory", f"+{measured.grown / MIB:.1f} MiB")
        await present(server, of(wishers))
        for wisher in wishers[:12]:
            wisher.raw.abort()
        await present(server, of(wishers[12:]))
    await present(server, {room: Counter() for room in rooms})
    await settles(server, before)


class Follower:
    """Follows a room through several connections; *told* are the offsets that it was told."""

    def __init__(self, server: Server, token: str, room: str, last: int) -> None:
        self.server = server
        self.token = token
        self.room = room
        self.last = last
        self.told: list[int] = []
        self.returns: Counter[str] = Counter()

    def hear(self, frame: dict[str, Any]) -> None:
        if "offset" in frame:
            self.told.append(frame["offset"])

    async def ask(self, raw: RawSocket, kind: str, room: Any) -> Any:
        """Have the answer, and hear the events that come before it."""
        await raw.send(text(wish(kind, "w", room)))
        while (frame := await raw.message()).get("id") != "w":
            self.hear(frame)
        return frame["payload"]["rooms"][0]

    async def resume(self, raw: RawSocket, epoch: str) -> None:
        place = {"room": self.room, "epoch": epoch, "offset": self.told[-1]}
        answer = await self.ask(raw, "subscribe", place)
        assert answer["recovered"]
        for event in answer["events"]:
            self.hear(event)

    async def follow(self) -> None:
        """Leave, come back, or ask once more, at random moments, until the last event has come."""
        epoch = ""
        while not self.told or self.told[-1] < self.last:
            async with raw_socket(self.server.port, self.token) as raw:
                if self.told:
                    self.returns["connection"] += 1
                    await self.resume(raw, epoch)
                else:
                    answer = await self.ask(raw, "subscribe", self.room)
                    epoch = answer["epoch"]
                    self.told.append(answer["offset"])
                for _ in range(random.randrange(8)):
                    await self.stay(raw, random.randrange(40))
                    if random.random() < 0.5:
                        await self.ask(raw, "unsubscribe", self.room)
                        await self.resume(raw, epoch)
                        self.returns["subscription"] += 1
                    else:
                        await self.ask(raw, "subscribe", self.room)
                        self.returns["once more"] += 1

    async def stay(self, raw: RawSocket, events: int) -> None:
        for _ in range(events):
            if self.told[-1] < self.last:
                self.hear(await raw.message())


@pytest.mark.line(37, "subscribing and resuming while events are published without pause")
async def test_who_subscribes_while_events_are_published_has_no_gap_and_no_double(
    server: Server, token: Token, figures: Figures
) -> None:
    last = 5_000
    followers = [Follower(server, token(f"user{n}"), "hall:busy", last) for n in range(10)]
    async with asyncio.timeout(60):
        first = followers[0]
        async with raw_socket(server.port, first.token) as raw:
            await subscribe(raw, first.room)
            publishing = asyncio.create_task(
                fetch(server, "POST", f"/tell/{first.room}/number/0/{last}")
            )
            while "offset" not in await raw.message():
                pass
            await asyncio.gather(*(follower.follow() for follower in followers), publishing)
    for follower in followers:
        assert follower.told == list(range(follower.told[0], last + 1))
    returns = sum((follower.returns for follower in followers), Counter[str]())
    assert len(returns) == 3, "the last event had come before anybody came back"
    figures("resumed", dict(returns))


@pytest.mark.line(38, "the connection cut inside a subscribe, 400 times")
async def test_a_connection_that_ends_inside_a_subscribe_leaves_no_ghost(
    server: Server, token: Token
) -> None:
    async def come_and_break(user: str) -> None:
        async with raw_socket(server.port, user) as raw:
            await raw.send(text(wish("subscribe", "s", "slow:room")))
            # Before, while and after it is decided; in a third of them at once.
            await asyncio.sleep(max(0.0, random.uniform(-0.02, 0.04)))
            raw.abort()

    before = await stats(server)
    async with connect(server.ws_url, token=token("luis")) as luis:
        room = await luis.subscribe("slow:room")
        tokens = [token(f"user{number}") for number in range(20)]
        async with asyncio.timeout(60):
            for _ in range(20):
                await asyncio.gather(*map(come_and_break, tokens))
        await present(server, {"slow:room": Counter({"luis": 1})})
        await until(lambda: room.presence == {"luis": 1}, SETTLED)
    await settles(server, before)


def bug(action: str, frame_id: str = "b", **payload: Any) -> dict[str, Any]:
    asked = {"type": "request", "id": frame_id, "resource": "bugs"}
    return {**asked, "payload": {"action": action, **payload}}


async def only_answer(raw: RawSocket, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to *asked*, seeing that there is one, and that the connection lives."""
    await raw.send(text(asked))
    answer = await raw.message()
    assert answer["id"] == asked["id"], answer
    assert "secret" not in json.dumps(answer)
    for frame in (bug("fail", "after", how="nothing"), {"type": "ping", "id": "last"}):
        await raw.send(text(frame))
        assert (await raw.message())["id"] == frame["id"]
    return answer


either = pytest.mark.parametrize("way", ["", "_by_route"], ids=["native", "route"])


@pytest.mark.line(39, "a handler that raises or hangs")
@either
@pytest.mark.parametrize("how", ["raise", "group", "recurse", "ill", "close badly", "hang"])
async def test_a_handler_that_fails_is_one_error_and_the_connection_lives(
    server: Server, token: Token, how: str, way: str
) -> None:
    async with raw_socket(server.port, token("ana")) as raw:
        error = await only_answer(raw, bug(f"fail{way}", how=how))
        code = "timeout" if how == "hang" else "internal_error"
        assert (error["type"], error["payload"]["code"]) == ("error", code)


@pytest.mark.line(39, "a handler that awaits what has been cancelled")
@either
async def test_a_handler_that_awaits_what_was_cancelled_is_one_error(
    server: Server, token: Token, way: str
) -> None:
    async with raw_socket(server.port, token("ana")) as raw, asyncio.timeout(BOUND):
        error = await only_answer(raw, bug(f"fail{way}", how="interrupted"))
        assert error["payload"]["code"] == "internal_error"


@pytest.mark.line(39, "a handler that returns what isn't JSON")
@either
@pytest.mark.parametrize(
    "what", ["object", "keys", "generator", "circle", "surrogate", "status", "huge"]
)
async def test_what_is_not_json_is_one_error_and_the_connection_lives(
    server: Server, token: Token, what: str, way: str
) -> None:
    async with raw_socket(server.port, token("ana")) as raw:
        error = await only_answer(raw, bug(f"return{way}", what=what))
        assert (error["type"], error["payload"]["code"]) == ("error", "internal_error")


@pytest.mark.line(39, "a handler that returns what JSON has another form for")
@pytest.mark.parametrize(
    ("what", "payload"),
    [("not a number", None), ("infinity", [None, None]), ("bytes", "/w=="), ("set", [1])],
)
async def test_what_json_has_another_form_for_is_told_in_that(
    server: Server, token: Token, what: str, payload: Any
) -> None:
    async with raw_socket(server.port, token("ana")) as raw:
        answer = await only_answer(raw, bug("return", what=what))
        assert answer == {"type": "response", "id": "b", "payload": payload}


@pytest.mark.line(39, "a handler that is interrupted, and returns all the same")
@either
async def test_a_handler_that_ignores_its_interruption_has_one_answer(
    server: Server, token: Token, way: str
) -> None:
    async with raw_socket(server.port, token("ana")) as raw:
        assert (await only_answer(raw, bug(f"fail{way}", how="swallow")))["id"] == "b"


@pytest.mark.line(39, "a handler that closes the connection, and returns, raises or hangs")
@pytest.mark.parametrize(
    ("then", "told"), [("return", "response"), ("raise", "error"), ("hang", "error")]
)
async def test_a_handler_that_closes_is_answered_first(
    server: Server, token: Token, then: str, told: str
) -> None:
    async with opened(server, token("ana")) as socket:
        answer = await ask(socket, bug("close", code=4321, then=then))
        assert (answer["id"], answer["type"]) == ("b", told)
        assert (await read(socket))["type"] == "closing"
        assert await close_code(socket) == 4321


@pytest.mark.line(40, "a listener that raises")
async def test_a_listener_that_raises_is_logged_and_the_event_told_and_heard(
    server: Server, token: Token
) -> None:
    async with connect(server.ws_url, token=token("ana")) as ana:
        room = await ana.subscribe("hall:listened")
        await fetch(server, "POST", "/tell/hall:listened/unlucky/7/8")
        assert await ana.request("events", "emit", number=8) == 8
        async with asyncio.timeout(BOUND):
            told = [await anext(room) for _ in range(4)]
    expected = [(kind, number) for number in (7, 8) for kind in ("unlucky", "heard")]
    assert [(event.type, event.data) for event in told] == expected
    assert server.logs("LookupError: the listener fails")


@pytest.mark.line(40, "a hook of the end that raises")
async def test_a_hook_that_raises_at_the_end_is_logged_and_the_others_run(
    server: Server, token: Token
) -> None:
    before = await stats(server)
    async with connect(server.ws_url, token=token("ana")) as ana:
        room = await ana.subscribe("hall:listened")
        async with connect(server.ws_url, token=token("unlucky")) as unlucky:
            await unlucky.subscribe("hall:listened")
        async with asyncio.timeout(BOUND):
            while (event := await anext(room)).type != "goodbye":
                pass
            assert event.data == "unlucky"
        await present(server, {"hall:listened": Counter({"ana": 1})})
    assert server.logs("LookupError: the last hook fails")
    await settles(server, before)


def raise_file_limit() -> int:
    """Let this process, and those it starts, have as many files open as may be."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


async def come(server: Server, token: str, stack: AsyncExitStack, told: Counter[str]) -> None:
    """Come back until let in, as both of our clients do; *told* counts what was told instead."""
    backoff = Backoff()
    protocols = f"Sec-WebSocket-Protocol: realtime.v1, bearer.{token}"
    for failures in itertools.count():
        async with AsyncExitStack() as attempt:
            try:
                raw = await attempt.enter_async_context(raw_socket(server.port, None, protocols))
                while (frame := await raw.message())["type"] not in {"closing", "connected"}:
                    pass
            except (OSError, EOFError, TimeoutError):
                frame = {"type": "nothing"}
            if frame["type"] == "connected":
                await stack.enter_async_context(attempt.pop_all())
                return
        if frame["type"] == "nothing":
            told["nothing"] += 1
            await asyncio.sleep(backoff.delay(failures))
        else:
            told[frame["payload"]["code"]] += 1
            await asyncio.sleep(backoff.spread(frame["payload"]["retry_after_ms"] / 1000))


@pytest.mark.line(41, "a crowd returns at once")
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("crowd", "connecting"), [(5_000, 0), (2_000, 0.1)])
async def test_a_crowd_that_returns_at_once_is_let_in(
    token: Token, figures: Figures, crowd: int, connecting: float
) -> None:
    count = min(crowd, raise_file_limit() - 500)
    assert count >= 2_000
    told: Counter[str] = Counter()
    tokens = [token(f"user{number}", seconds=3_600) for number in range(250)]
    how = {"RATE_LIMIT": None, "MAX_CONNECTIONS_PER_USER": crowd, "CONNECTING": connecting}
    with serving(APP, RETRY_AFTER=2, **how) as server:
        async with AsyncExitStack() as stack, asyncio.timeout(240):
            await stats(server)
            began = asyncio.get_running_loop().time()
            users = [tokens[number % 250] for number in range(count)]
            await asyncio.gather(*(come(server, user, stack, told) for user in users))
            took = asyncio.get_running_loop().time() - began
            now = await stats(server)
    assert now["members"] == now["connections"] == count
    assert told["try_later"] or not connecting
    figures("clients", f"{count} in {took:.0f} s, each hook {connecting:g} s")
    figures("told to come back", dict(told))
    # No bound: a full garbage collection, and thousands of callbacks in a turn, take longer.
    figures("event loop late", f"{now['late'] * 1000:.0f} ms, busy {now['busy'] * 1000:.0f} ms")


@pytest.mark.line(42, "the clock jumps an hour, forth and back")
@pytest.mark.parametrize("seconds", [3_600, -3_600])
@pytest.mark.parametrize("revocable", [False, True])
async def test_a_clock_that_jumps_throws_nobody_out(
    token: Token, seconds: int, revocable: bool
) -> None:
    with serving(APP, PING_INTERVAL=0.1, IDLE_TIMEOUT=4, REVOCABLE=revocable) as server:
        async with raw_socket(server.port, token("ana", seconds=10_000)) as ana:
            for jump in (seconds, 0):
                await fetch(server, "POST", f"/clock/{jump}")
                await stay(ana, pings=5)
                shifted = moved(token("luis", seconds=10_000), jump)
                async with raw_socket(server.port, shifted) as luis:
                    await stay(luis, pings=5)


def moved(token: str, seconds: int) -> str:
    """Return *token* as it would have been made by a clock that is *seconds* ahead."""
    claims = jwt.decode(token, SECRET, ["HS256"])
    for name in ("iat", "nbf", "exp"):
        claims[name] += seconds
    return jwt.encode(claims, SECRET, "HS256")


async def stay(raw: RawSocket, pings: int) -> None:
    """Answer so many pings, and then have two requests answered."""
    ping, pong = {"type": "ping"}, text({"type": "pong"})
    for _ in range(pings):
        assert await raw.message() == ping
        await raw.send(pong)
    for action in ("native", "route"):
        await raw.send(text({**bug(action, action), "resource": "clock"}))
        while (frame := await raw.message()) == ping:
            await raw.send(pong)
        assert (frame["type"], frame["id"]) == ("response", action), frame


async def come_and_go(server: Server, token: str) -> None:
    """Connect, a third of the time subscribe, and then close properly or cut the connection."""
    async with raw_socket(server.port, token) as raw:
        if random.random() < 1 / 3:
            room = random.choice(["slow:a", "hall:b"])
            await raw.send(text(wish("subscribe", "s", room)))
        if random.random() < 0.5:
            await raw.send(close(1000))
            assert await raw.closed() == 1000
        raw.abort()


async def come_and_go_for(server: Server, tokens: list[str], seconds: float) -> int:
    """Have many come and go at once; return how many they were."""
    loop = asyncio.get_running_loop()
    ends, cycles = loop.time() + seconds, itertools.count()

    async def again_and_again() -> None:
        while loop.time() < ends:
            next(cycles)
            await come_and_go(server, random.choice(tokens))

    await asyncio.gather(*(again_and_again() for _ in range(20)))
    return next(cycles)


@pytest.mark.line(43, "connecting and disconnecting for long")
@pytest.mark.timeout(120 + 2 * SECONDS)
async def test_connecting_and_disconnecting_for_long_leaves_nothing_behind(
    server: Server, token: Token, figures: Figures
) -> None:
    tokens = [token(f"user{number}", seconds=round(SECONDS) + 600) for number in range(50)]
    fresh = await stats(server)
    await come_and_go_for(server, tokens, 3)  # What is made once is made by now.
    await settles(server, fresh)
    before, held = await stats(server), memory(server.worker, "VmRSS")
    cycles = await come_and_go_for(server, tokens, SECONDS)
    await settles(server, before)
    await present(server, {"slow:a": Counter(), "hall:b": Counter()})
    grown = memory(server.worker, "VmRSS") - held
    figures("connections", cycles)
    figures("memory", f"{grown / MIB:+.1f} MiB")
    assert grown <= 32 * MIB
