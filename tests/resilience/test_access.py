"""Who gets in, and for how long; and what those see who don't."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, suppress
from functools import cache
from http.client import HTTPConnection
from typing import Any
from uuid import uuid4

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import ConnectionClosed

from quart_realtime.errors import code_for_status

from ..conftest import SECRET
from ..e2e.raw_socket import BOUND, CLOSE, TEXT, close, raw_socket, text, upgrade
from ..e2e.server import Server, serving
from ..e2e.sockets import close_code, opened, read, subscribe
from ..valkey import valkey
from .conftest import Timed
from .forgery import FORGED, FORGED_FOR_KEY_PAIR, Forge, key_pair, signed

APP = "tests.resilience.access_app:app"
US = {"DECODE_ISSUER": "us", "DECODE_AUDIENCE": "us"}
EVERYWHERE = US | {"TOKEN_LOCATION": ["headers", "cookies", "query_string"]}
LOUD = ("--access-logfile", "-", "--log-level", "DEBUG")
DOORS = ("subprotocol", "header", "cookie", "query", "auth message")
OWN, LISTED = "http://127.0.0.1", "https://app.example.com"
FOREIGN = (
    *("https://evil.example", "null", "http://app.evil", "", "file://", "http://localhost"),
    *("http://127.0.0.1.evil.example", "http://evil-127.0.0.1", "http://127.0.0.10"),
    *("http://127.0.0.1:81", "https://127.0.0.1", "http://127.0.0.1@evil.example"),
    *("http://evil.example/127.0.0.1", "http://evil.example#127.0.0.1", f"{OWN} {OWN}"),
)
UNLISTED = (
    *("https://app.example.com.evil.com", "https://evilapp.example.com", "https://example.com"),
    *("http://app.example.com", "https://app.example.com:8443", "https://x.app.example.com"),
    *("null", OWN, f"{LISTED}, https://evil.example", "https://app-example.com"),
)
DENIED = (
    *("user:luis", "user:nobody", "user:*", "user:", "user:ana:x", "USER:ana", "nowhere:1"),
    *("hall:secret", "hall:none", "hall:gone", "hall:broken", "hall:", "hall:lobby ", "*", "?"),
    *("hall:*", "hall:<name>", "hall:[l]obby", "hall:lobb?", "hall:lobby*", "{hall:lobby}"),
    *("hall:%6Cobby", "hall:lobby/x", "every*", "__proto__"),
)
NO_OFFSETS = (-1, -(2**63), 2**53, 2**64, 10**400, 1.5, 1.0, 1e300, "1", True, None, [], {})
NO_EPOCHS = (5, 1.5, True, [], {}, "", "x" * 65, "\0")
line = pytest.mark.line
cases = pytest.mark.parametrize
Pair = tuple[Server, Server]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("marks"))


@pytest.fixture(scope="module")
def server(folder: str) -> Iterator[Server]:
    """Serve an app that takes tokens everywhere, and logs all there is to say."""
    how: dict[str, Any] = {"JWT": EVERYWHERE, "FOLDER": folder, "options": LOUD}
    with serving(APP, RATE_LIMIT=None, AUTH_TIMEOUT=4, **how) as server:
        yield server


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    """Serve an app whose tokens are signed with a private key."""
    private, public = key_pair()
    keys = {"ALGORITHM": "RS256", "PRIVATE_KEY": private, "PUBLIC_KEY": public}
    with serving(APP, JWT=EVERYWHERE | keys) as server:
        yield server


@pytest.fixture(scope="module")
def listing() -> Iterator[Server]:
    """Serve an app to pages of one origin."""
    with serving(APP, ALLOWED_ORIGINS=[LISTED], JWT=US) as server:
        yield server


@pytest.fixture(scope="module")
def pairs(folder: str) -> Iterator[Callable[[float], Pair]]:
    """Serve two processes with one Valkey between them, for each ping interval once."""
    with ExitStack() as stack:
        redis = stack.enter_context(valkey())

        @cache
        def pair(interval: float) -> Pair:
            how: dict[str, Any] = {"BROKER_URL": f"{redis.url}?prefix=p{interval}", "JWT": US}
            how |= {"PING_INTERVAL": interval, "RATE_LIMIT": None, "FOLDER": folder}
            first, second = (stack.enter_context(serving(APP, **how)) for _ in range(2))
            return first, second

        yield pair


@pytest.fixture(params=["one process", "two processes"])
def ends(request: pytest.FixtureRequest) -> Pair:
    """Return the server that clients are connected to, and the one that the app acts on."""
    if request.param == "one process":
        server = request.getfixturevalue("server")
        return server, server
    pair: Pair = request.getfixturevalue("pairs")(600)
    return pair


# Clients


async def call(server: Server, path: str, method: str = "POST", **headers: str) -> tuple[int, Any]:
    """Ask over HTTP; returns the status, and what the body holds."""

    def send() -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=BOUND)) as link:
            link.request(method, path, headers=headers)
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())

    return await asyncio.to_thread(send)


async def publish(server: Server, room: str, number: int) -> None:
    assert (await call(server, f"/rooms/{room}/numbers/{number}"))[0] == 200


async def times_run(server: Server, name: str) -> int:
    return int((await call(server, f"/ran/{name}", "GET"))[1]["times"])


def framed(kind: str, resource: str | None = None, /, **payload: Any) -> dict[str, Any]:
    return {"type": kind, "id": uuid4().hex, "resource": resource, "payload": payload}


def open_vault(name: str) -> list[dict[str, Any]]:
    """Ask a native handler and a route."""
    return [framed("request", "vault", action=each, name=name) for each in ("native", "route")]


async def ask(socket: ClientConnection, frame: dict[str, Any]) -> dict[str, Any]:
    """Send *frame*, and return the answer to it, whatever comes before that."""
    await socket.send(json.dumps(frame))
    async with asyncio.timeout(BOUND):
        while (answer := await read(socket)).get("id") != frame["id"]:
            pass
    return answer


async def fails(socket: ClientConnection, frame: dict[str, Any], code: str) -> None:
    answer = await ask(socket, frame)
    assert (answer["type"], answer["payload"]["code"]) == ("error", code)


async def joined(socket: ClientConnection, room: Any) -> dict[str, Any]:
    """Return what the answer to a subscription says of *room*."""
    return dict((await ask(socket, framed("subscribe", rooms=[room])))["payload"]["rooms"][0])


async def is_still(socket: ClientConnection, user_id: str) -> None:
    said = await ask(socket, framed("request", "users", action="whoami"))
    assert said["payload"] == [user_id, user_id]


async def heard(socket: ClientConnection, server: Server, user_id: str) -> list[dict[str, Any]]:
    """Return what *socket* hears before an event that *server* sends to its user now."""
    fence = int(uuid4().hex[:8], 16)
    await publish(server, f"user:{user_id}", fence)
    before = []
    async with asyncio.timeout(BOUND):
        while (frame := await read(socket))["payload"].get("data", {}).get("number") != fence:
            before.append(frame)
    return before


@asynccontextmanager
async def knocking(server: Server, door: str, token: str) -> AsyncIterator[ClientConnection]:
    """Open a socket, and show *token* at one of the DOORS."""
    url = f"{server.ws_url}?jwt={token}" if door == "query" else server.ws_url
    bearer = f"Bearer {token}"
    cookie = {"Cookie": f"access_token_cookie={token}", "Origin": server.url}
    headers = {"header": {"Authorization": bearer}, "cookie": cookie}.get(door)
    protocols: Any = ["realtime.v1", f"bearer.{token}"] if door == "subprotocol" else None
    async with connect_socket(url, additional_headers=headers, subprotocols=protocols) as socket:
        if door == "auth message":
            await socket.send(json.dumps(framed("auth", token=token)))
        yield socket


# Tokens that are none


async def refused(server: Server, door: str, forge: Forge) -> int:
    """Try to get in and to have something run; returns the code that one is closed with."""
    mallory = uuid4().hex
    token = forge(mallory)
    frames = []
    async with knocking(server, door, token) as socket:
        with suppress(ConnectionClosed):
            for command in open_vault(mallory):
                await socket.send(json.dumps(command))
        with suppress(ConnectionClosed):
            while len(frames) < 10:
                frames.append(await read(socket))
        assert socket.close_code is not None
    assert {frame["type"] for frame in frames} == {"error", "closing"}
    errors = [frame["payload"]["code"] for frame in frames if frame["type"] == "error"]
    assert set(errors) == {"unauthorized"}
    assert token not in json.dumps(frames)
    assert await times_run(server, mallory) == 0
    return socket.close_code


@line(14, "no token")
async def test_who_shows_no_token_in_time_is_closed(server: Server) -> None:
    async with opened(server, None) as silent, opened(server, None) as talking:
        await talking.send(json.dumps({"type": "ping"}))
        assert await asyncio.gather(close_code(silent), close_code(talking)) == [4002, 4002]


@line(14, "a good token")
@cases("door", DOORS)
async def test_a_good_token_opens_each_door(server: Server, strict: Server, door: str) -> None:
    for one, key, algorithm in ((server, SECRET, "HS256"), (strict, key_pair()[0], "RS256")):
        ana = uuid4().hex
        async with knocking(one, door, signed(ana, key, algorithm)) as socket:
            while (await read(socket))["type"] != "connected":
                pass
            for command in open_vault(ana):
                assert (await ask(socket, command))["type"] == "response"
        assert await times_run(one, ana) == 3


@line(14, "alg none, RS256 for HS256, wrong issuer, audience, key or type, future nbf, expired")
@cases("door", DOORS)
@cases("bad", [*FORGED, *FORGED_FOR_KEY_PAIR])
async def test_a_bad_token_is_refused_at_each_door_and_nothing_runs(
    server: Server, strict: Server, bad: str, door: str
) -> None:
    forge = (FORGED | FORGED_FOR_KEY_PAIR)[bad]
    code = await refused(strict if bad in FORGED_FOR_KEY_PAIR else server, door, forge)
    assert code == (4001 if bad == "expired" else 4500)


# Tokens that no longer are any


@line(15, "a token that expires while events are sent")
async def test_when_its_token_has_expired_a_connection_hears_no_more(server: Server) -> None:
    over = asyncio.Event()

    async def publish_on() -> None:
        number = 0
        while not over.is_set():
            await publish(server, "hall:lobby", number)
            number += 1

    short = signed("ana", exp=int(time.time()) + 2)
    async with opened(server, signed("luis")) as luis, raw_socket(server.port, short) as ana:
        await joined(luis, "hall:lobby")
        await subscribe(ana, "hall:lobby")
        publishing = asyncio.create_task(publish_on())
        try:
            told = []
            async with asyncio.timeout(BOUND):
                while (got := await ana.read()).opcode == TEXT:
                    told.append(got.json())
            assert (got.opcode, got.code) == (CLOSE, 4001)
            assert told.pop()["type"] == "closing"
            numbers = [each["payload"]["data"]["number"] for each in told]
            assert numbers == list(range(len(numbers)))
            async with asyncio.timeout(BOUND):
                while (await read(luis))["payload"]["data"]["number"] < len(numbers) + 20:
                    pass
            await ana.send(close(4001))
            with pytest.raises((EOFError, ConnectionError)):
                await ana.read()
        finally:
            over.set()
            await publishing


@line(16, "auth with another user's token, or a bad one")
@cases("changes", [{"user": "luis"}, {"key": SECRET[1:]}, {"exp": 1}, {"type": "refresh"}])
async def test_a_connection_stays_its_users(server: Server, changes: dict[str, Any]) -> None:
    async with opened(server, signed("ana")) as socket:
        token = signed(**({"user": "ana"} | changes))
        await fails(socket, framed("auth", token=token), "unauthorized")
        await is_still(socket, "ana")
        await publish(server, "user:luis", 1)
        assert await heard(socket, server, "ana") == []


@line(17, "logged out on one node: seen by the ping, or by recheck()")
@cases(("ping_interval", "query"), [(1, ""), (600, "?recheck")])
async def test_a_revoked_token_is_thrown_out_of_both_nodes(
    pairs: Callable[[float], Pair], ping_interval: float, query: str, timed: Timed
) -> None:
    pair = pairs(ping_interval)
    lost, kept = signed("ana"), signed("ana")
    async with AsyncExitStack() as stack:
        out = [await stack.enter_async_context(opened(node, lost)) for node in pair]
        still = [await stack.enter_async_context(opened(node, kept)) for node in pair]
        with timed("by recheck()" if query else "by the ping"):
            status, _ = await call(pair[0], f"/log-out{query}", Authorization=f"Bearer {lost}")
            assert status == 200
            assert await asyncio.gather(*map(close_code, out)) == [4500, 4500]
        for socket in still:
            await is_still(socket, "ana")
    for node in pair:
        assert await refused(node, "subprotocol", lambda _: lost) == 4500


# Origins


async def status_of(server: Server, token: str, *origins: str, path: str = "/ws") -> int:
    """Return the HTTP status that a handshake from *origins* is answered with."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(upgrade(path, token, *(f"Origin: {origin}" for origin in origins)))
        async with asyncio.timeout(BOUND):
            return int((await reader.readuntil(b"\r\n\r\n")).split()[1])
    finally:
        writer.transport.abort()


@line(18, "origins that are foreign, null, alike, or two")
@cases("origins", [*((each,) for each in FOREIGN), (OWN, OWN), (OWN, "null"), ("null", OWN)])
async def test_a_foreign_origin_is_refused_with_403(server: Server, origins: list[str]) -> None:
    ana = uuid4().hex
    assert await status_of(server, signed(ana), *origins) == 403
    assert await times_run(server, ana) == 0


@line(18, "origins that are not on the list")
@cases("origin", UNLISTED)
async def test_an_origin_that_is_not_listed_is_refused(listing: Server, origin: str) -> None:
    assert await status_of(listing, signed("ana"), origin) == 403


@line(18, "the app's own origin, a listed one, and none")
async def test_its_own_origin_and_none_are_let_in(server: Server, listing: Server) -> None:
    for one, own in ((server, OWN), (listing, LISTED)):
        assert await status_of(one, signed("ana"), own) == 101
        assert await status_of(one, signed("ana")) == 101


# Before login, and in the log


@line(19, "commands before auth")
async def test_a_command_before_auth_is_not_run_and_auth_still_works(server: Server) -> None:
    ana = uuid4().hex
    rooms = [framed(kind, rooms=["hall:lobby"]) for kind in ("subscribe", "unsubscribe")]
    async with opened(server, None) as socket:
        for command in [*open_vault(ana), framed("request", "none", action="none"), *rooms]:
            await fails(socket, command, "unauthorized")
        assert await times_run(server, ana) == 0
        await ask(socket, framed("auth", token=signed(ana)))
        await publish(server, "hall:lobby", 1)
        assert [each["type"] for each in await heard(socket, server, ana)] == ["connected"]
        for command in open_vault(ana):
            assert (await ask(socket, command))["type"] == "response"
    assert await times_run(server, ana) == 3


@line(20, "tokens in the query and elsewhere, in the loudest log and hypercorn's access log")
async def test_no_token_is_in_any_line_of_the_log(server: Server) -> None:
    tokens = []

    def made(**changes: Any) -> str:
        tokens.append(signed("ana", **changes))
        return tokens[-1]

    for door in DOORS:
        async with knocking(server, door, made()) as socket:
            await ask(socket, framed("request", "bugs", action="raise"))
            await ask(socket, framed("request", "vault", action="route", name="log"))
            await ask(socket, framed("auth", token=[made()]))
            await ask(socket, framed("auth", token=made(type="refresh")))
            await socket.send(json.dumps(framed("auth", token=made()))[:-1])
        await refused(server, door, lambda _: made(exp=1))
        await refused(server, door, lambda _: made(key=SECRET[1:]))
    assert await status_of(server, made(), "null", path=f"/ws?jwt={made()}") == 403
    assert await status_of(server, made(), path=f"/nowhere?jwt={made()}") == 404
    assert (await call(server, f"/vault/log?jwt={made()}", "GET"))[0] == 200
    await times_run(server, marker := uuid4().hex)
    assert await asyncio.to_thread(server.logs, marker)
    log = "".join(server.log)
    assert log.count('"GET /ws ') >= len(DOORS)
    assert "a bug of the app's" in log
    assert [each for token in tokens for each in token.split(".") if each in log] == []


# Rooms


@line(21, "another's room, undeclared ones, and patterns")
async def test_rooms_that_are_denied_all_look_alike(ends: Pair) -> None:
    async with opened(ends[0], signed("luis")), raw_socket(ends[0].port, signed("ana")) as raw:
        await publish(ends[1], "hall:secret", 1)
        told = set()
        for room in DENIED:
            await raw.send(text({"type": "subscribe", "id": "s", "payload": {"rooms": [room]}}))
            said = (await raw.read()).payload
            assert json.loads(said)["payload"]["rooms"][0]["error"]["code"] == "forbidden"
            told.add(said.replace(room.encode(), b"ROOM"))
        assert len(told) == 1


@line(21, "patterns where anybody may be in any room")
async def test_a_pattern_is_the_name_of_one_room_and_matches_no_other(ends: Pair) -> None:
    async with opened(ends[0], signed("ana")) as socket:
        for room in ("club:*", "club:g?ld", "club:[g]old", "club:<name>", "club:gold*"):
            assert "error" not in await joined(socket, room)
        await publish(ends[1], "club:gold", 1)
        await publish(ends[1], "club:*", 2)
        assert [event["room"] for event in await heard(socket, ends[1], "ana")] == ["club:*"]


@line(22, "permission withdrawn while subscribed")
async def test_who_is_put_out_of_a_room_hears_no_more_and_may_not_resume(ends: Pair) -> None:
    eva = uuid4().hex
    async with opened(ends[0], signed(eva)) as socket:
        await joined(socket, "club:gold")
        await publish(ends[1], "club:gold", 1)
        event = await read(socket)
        assert (await call(ends[1], f"/members/{eva}/put-out"))[0] == 200
        left = {"type": "room_left", "data": {"room": "club:gold"}}
        assert (await read(socket))["payload"] == left
        place = {name: event[name] for name in ("room", "epoch", "offset")}
        for number in (2, 3):
            await publish(ends[1], "club:gold", number)
            assert await heard(socket, ends[1], eva) == []
            said = await joined(socket, place)
            assert said.keys() == {"room", "error"}
            assert said["error"]["code"] == "forbidden"


def not_in(epoch: str, other: str) -> list[dict[str, Any]]:
    """Return positions of which a room with 3 events of *epoch* has no history."""
    return [
        *({"epoch": other, "offset": offset} for offset in (0, 1, 3)),
        *({"epoch": epoch, "offset": offset} for offset in (4, 10**6, 2**53 - 1)),
        *({"epoch": odd, "offset": 0} for odd in ("*", "no", "0", "x" * 64, "{a}", epoch[:-1])),
        *({"offset": 0}, {"offset": 1}, {"epoch": None, "offset": 1}),
    ]


@line(23, "another room's position, the future, an unknown epoch")
async def test_a_position_that_is_not_the_rooms_gets_no_history(ends: Pair) -> None:
    room, other = f"club:{uuid4().hex}", f"club:{uuid4().hex}"
    for number in range(3):
        await publish(ends[1], room, number)
        await publish(ends[1], other, number + 100)
    await publish(ends[1], "hall:secret", 1)
    async with opened(ends[0], signed("ana")) as socket:
        epoch, others = [(await joined(socket, name))["epoch"] for name in (room, other)]
        for position in not_in(epoch, others):
            said = await joined(socket, {"room": room, **position})
            assert (said["recovered"], said["events"], said["offset"]) == (False, [], 3), position
        for denied in ("hall:secret", "user:luis"):
            said = await joined(socket, {"room": denied, "epoch": epoch, "offset": 0})
            assert said.keys() == {"room", "error"}
        said = await joined(socket, {"room": room, "epoch": epoch, "offset": 1})
        assert [event["payload"]["data"]["number"] for event in said["events"]] == [1, 2]


@line(23, "negative, 2**64, a float, null, an epoch of another type")
@cases("position", [{"offset": no} for no in NO_OFFSETS] + [{"epoch": no} for no in NO_EPOCHS])
async def test_a_position_that_is_none_is_a_bad_request(
    server: Server, position: dict[str, Any]
) -> None:
    place = {"room": "club:gold", "epoch": "e", "offset": 0} | position
    async with opened(server, signed("ana")) as socket:
        await fails(socket, framed("subscribe", rooms=[place]), "bad_request")
        await publish(server, "club:gold", 1)
        assert await heard(socket, server, "ana") == []
        await is_still(socket, "ana")


# Routes that refuse


@line(24, "@jwt_required, a role check and before_request deny")
@cases("place", ["above", "top", "middle", "bottom"])
@cases(
    ("role", "tenant", "expected"),
    [
        (None, "", 401),
        ("", "", 403),
        ("clerk", "", 403),
        ("admin", "", 200),
        ("admin", "closed", 503),
    ],
)
async def test_a_route_denies_over_the_socket_what_it_denies_over_http(
    server: Server, place: str, role: str | None, tenant: str, expected: int
) -> None:
    token = None if role is None else signed("ana", user_claims={"role": role})
    headers = {"X-Tenant": tenant} | ({"Authorization": f"Bearer {token}"} if token else {})
    name = uuid4().hex
    status, body = await call(server, f"/secrets/{place}/{name}", "GET", **headers)
    assert status == expected
    async with opened(server, token, additional_headers={"X-Tenant": tenant}) as socket:
        answer = await ask(socket, framed("request", "secrets", action=place, name=name))
    if status == 200:
        assert (answer["type"], answer["payload"]) == ("response", body)
    else:
        assert answer["payload"]["code"] == code_for_status(status)
        assert answer["payload"]["details"] == {"status": status, "body": body}
    assert await times_run(server, name) == (2 if status == 200 else 0)
