"""Who may open a stream or post a message, by what the app configures; how long a stream lasts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from quart import Quart
from quart.testing.connections import TestHTTPConnection as HTTPConnection
from quart_jwt_extended import create_access_token, get_jwt_identity

from quart_realtime import Realtime, SetupError
from quart_realtime.bookmark import SUBSCRIBED, Places, read_bookmark
from quart_realtime.connection import Connection
from quart_realtime.frames import Frame, connected_frame, event_frame, response_frame
from quart_realtime.protocol import Event
from quart_realtime.streaming import StreamTransport

from ..conftest import make_app

OWN = "http://localhost"
FOREIGN = "https://evil.example"
WHOAMI = {"type": "request", "id": "1", "resource": "users", "payload": {"action": "whoami"}}


def with_cookies(**settings: Any) -> Quart:
    app = make_app(**settings)
    app.config["JWT_TOKEN_LOCATION"] = ["cookies", "query_string"]
    realtime = Realtime(app)

    @realtime.handler("users", "whoami")
    async def whoami() -> str:
        return str(get_jwt_identity())

    return app


async def token(app: Quart) -> str:
    async with app.app_context():
        return str(create_access_token("ana"))


@asynccontextmanager
async def stream(
    app: Quart, path: str = "/ws/events", **headers: str
) -> AsyncIterator[HTTPConnection]:
    """Open a stream, and leave it again; underscores in *headers* stand for dashes."""
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    async with app.test_client().request(path, headers=lines) as connection:
        await connection.send_complete()
        yield connection
        await connection.disconnect()


async def frame(connection: HTTPConnection) -> dict[str, Any]:
    async with asyncio.timeout(5):
        event = (await connection.receive()).decode()
    data = next(line for line in event.split("\n") if line.startswith("data: "))
    return dict(json.loads(data.removeprefix("data: ")))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": OWN}, 200),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Origin": FOREIGN}, 403),
        ({"Origin": "null"}, 403),
        # A foreign page's image or script: it sends cookies, and no origin.
        ({"Sec_Fetch_Site": "cross-site"}, 401),
        ({}, 401),
    ],
)
async def test_a_cookie_counts_only_for_a_page_that_may_ask(
    headers: dict[str, str], status: int
) -> None:
    app = with_cookies()
    cookie = f"access_token_cookie={await token(app)}"
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    async with app.test_app():
        async with stream(app, Cookie=cookie, **headers) as opened:
            async with asyncio.timeout(5):
                await opened.receive()
            assert opened.status_code == status
        answer = await app.test_client().post(
            "/ws/requests", json=WHOAMI, headers={"Cookie": cookie, **lines}
        )
        assert answer.status_code == status
        if status == 200:
            assert (await answer.get_json())["payload"] == "ana"


async def test_a_token_may_come_in_the_query_where_the_app_allows_that() -> None:
    app = with_cookies()
    async with app.test_app(), stream(app, f"/ws/events?jwt={await token(app)}") as opened:
        assert (await frame(opened))["type"] == "connected"


async def test_a_stream_is_told_how_rooms_are_named() -> None:
    app = with_cookies()
    url = f"/ws/events?jwt={await token(app)}&room=hall"
    async with app.test_app():
        answer = await app.test_client().get(url)
    assert answer.status_code == 400
    assert "name each room as rooms=…" in (await answer.get_data()).decode()


async def test_a_stream_outlives_the_time_that_a_response_may_take() -> None:
    app = with_cookies(PING_INTERVAL=0.1)
    app.config["RESPONSE_TIMEOUT"] = 0.05
    async with app.test_app(), stream(app, f"/ws/events?jwt={await token(app)}") as opened:
        kinds = [(await frame(opened))["type"] for _ in range(4)]
        assert kinds == ["connected", "ping", "ping", "ping"]


async def test_a_reader_that_answers_no_ping_is_left_alone() -> None:
    app = with_cookies(PING_INTERVAL=0.1, IDLE_TIMEOUT=0.15)
    async with app.test_app(), stream(app, f"/ws/events?jwt={await token(app)}") as opened:
        kinds = [(await frame(opened))["type"] for _ in range(5)]
        assert kinds == ["connected", *["ping"] * 4]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
async def test_a_stream_is_got_and_nothing_else(method: str) -> None:
    app = with_cookies()
    path = f"/ws/events?jwt={await token(app)}"
    async with app.test_app():
        answer = await app.test_client().open(path, method=method)
        assert answer.status_code == 405


async def test_a_class_of_the_app_s_own_set_too_late_shows_at_start_up() -> None:
    app = with_cookies()
    app.asgi_http_class = Quart.asgi_http_class
    with pytest.raises(SetupError, match="asgi_http_class was set after"):
        await app.startup()


@pytest.mark.parametrize("name", ["events", "requests"])
async def test_a_route_of_the_app_s_own_in_their_place_shows_at_start_up(name: str) -> None:
    app = with_cookies()

    @app.get(f"/ws/{name}")
    async def own() -> str:
        return ""

    with pytest.raises(SetupError, match=f"route of its own at /ws/{name}, 'own'"):
        await app.startup()


@pytest.mark.parametrize(("code", "status"), [(4100, 503), (4700, 403)])
async def test_a_hook_that_closes_is_told_by_the_status(code: int, status: int) -> None:
    app = make_app()
    realtime = Realtime(app)

    @realtime.on_connect
    async def turn_away(connection: Connection) -> None:
        await connection.close(code, "not today")

    async with app.test_app():
        bearer = f"Bearer {await token(app)}"
        async with stream(app, Authorization=bearer) as refused:
            assert (await frame(refused))["type"] == "closing"
            assert refused.status_code == status


# What is written at once


def told(offset: int, room: str = "a", data: bytes = b"1") -> Frame:
    return event_frame(Event("told", data, room, offset=offset, epoch="e"))


def read(chunk: bytes) -> tuple[list[Any], list[tuple[int, Places]]]:
    """Return a chunk's frames, and the places in its ids, each with the event it stands at."""
    frames, ids = [], []
    for number, block in enumerate(chunk.decode().removesuffix("\n\n").split("\n\n")):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        frames.append(json.loads(fields["data"]))
        if "id" in fields:
            ids.append((number, read_bookmark(fields["id"], [])))
    return frames, ids


async def test_a_chunk_has_one_id_with_the_last_event_that_moves_it() -> None:
    stream = StreamTransport(1_000_000, {})
    chunks = stream.chunks()
    for number in range(400):
        assert stream.send(told(number + 1, f"room-{number % 3}"))
    assert stream.send(Frame(b'{"type":"ping"}'))
    chunk = await anext(chunks)
    frames, ids = read(chunk)
    assert (len(frames), frames[-1]) == (401, {"type": "ping"})
    assert ids == [(399, {"room-1": ("e", 398), "room-2": ("e", 399), "room-0": ("e", 400)})]
    assert stream.pending == len(chunk)
    stream.send(Frame(b'{"type":"ping"}'))
    assert read(await anext(chunks))[1] == []


async def test_an_id_claims_nothing_that_is_yet_to_be_written() -> None:
    stream = StreamTransport(1_000_000, {})
    chunks = stream.chunks()
    for number in range(10):
        assert stream.send(told(number, data=b'"%s"' % (b"x" * 30_000)))
    heard = []
    while len(heard) < 10:
        waiting = stream.pending
        frames, ids = read(await anext(chunks))
        heard += [frame["offset"] for frame in frames]
        assert ids == [(len(frames) - 1, {"a": ("e", heard[-1])})]
        assert stream.pending <= waiting + 100
    assert heard == [*range(10)]


async def test_what_waits_behind_the_answer_about_its_room_is_not_lost() -> None:
    stream = StreamTransport(1_000_000, {"a": ("e", 3)})
    stream.send(connected_frame({"rooms": []}))
    stream.send(told(4))
    place = {"room": "a", "epoch": "e", "offset": 4}
    stream.send(response_frame(SUBSCRIBED, {"rooms": [place]}))
    stream.send(told(5))
    frames, ids = read(await anext(stream.chunks()))
    assert [frame["type"] for frame in frames] == ["connected", "response", "event"]
    assert frames[-1]["offset"] == 5
    assert ids == [(2, {"a": ("e", 5)})]


async def test_no_more_waits_than_may() -> None:
    stream = StreamTransport(1000, {})
    chunks = stream.chunks()
    sent = 0
    while stream.send(told(sent + 1)):
        sent += 1
    assert stream.pending <= 1000 + len("data: \n\n")
    chunk = await anext(chunks)
    assert len(read(chunk)[0]) == sent
    # Until the server asks for more, what it was given counts, the id too.
    assert stream.pending == len(chunk)
    assert not stream.send(told(sent + 1))
