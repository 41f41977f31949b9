"""Messages and handshakes that are wrong in every way: an error, or a close, and nothing else."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ..e2e.conftest import APP
from ..e2e.raw_socket import BINARY, BOUND, TEXT, frame, raw_socket, upgrade
from ..e2e.server import Server, serving
from ..e2e.sockets import Token, ask, close_code, opened, read
from .conftest import Unnoticed


def request(action: str = "say", frame_id: Any = "1", **payload: Any) -> dict[str, Any]:
    payload = {"action": action, **payload}
    return {"type": "request", "id": frame_id, "resource": "echo", "payload": payload}


def saying(text: str) -> str:
    """Write a request that says what is no JSON for Python to write."""
    return (
        '{"type": "request", "id": "1", "resource": "echo", "payload": '
        f'{{"action": "say", "text": {text}}}}}'
    )


async def refused(server: Server, token: Token, message: str, code: str) -> None:
    """See that *message* is answered by an error, and that the connection lives."""
    async with opened(server, token("ana")) as socket:
        error = await ask(socket, message)
        assert (error["type"], error["payload"]["code"]) == ("error", code)
        assert "secret" not in json.dumps(error)
        assert await ask(socket, {"type": "ping"}) == {"type": "pong"}


@pytest.mark.line(28, "JSON that breaks readers")
@pytest.mark.parametrize(
    "message",
    [
        "[" * 60_000,
        '{"a":' * 10_000,
        saying("[" * 20_000 + "]" * 20_000),
        saying("NaN"),
        saying("-Infinity"),
        saying("1e400"),
        saying('"\\ud800"'),
        saying('{"\\udfff": 1}'),
        saying("1" * 5_000),
    ],
)
async def test_json_that_breaks_readers_is_refused_and_never_passed_on(
    server: Server, token: Token, message: str
) -> None:
    async with opened(server, token("luis")) as other:
        await refused(server, token, message, "bad_request")
        assert await ask(other, {"type": "ping"}) == {"type": "pong"}


@pytest.mark.line(28, "JSON nested a million deep, where so long a message may be")
async def test_json_nested_a_million_deep_is_refused(token: Token, unnoticed: Unnoticed) -> None:
    with serving(APP, MAX_MESSAGE_SIZE=4_000_000, RATE_LIMIT=None) as roomy:
        async with unnoticed(roomy):
            for message in ("[" * 10**6, saying("[" * 10**6 + "]" * 10**6)):
                await refused(roomy, token, message, "bad_request")


SLOW_TO_READ = [
    "[" * 129 + '"' + '\\"' * 32_000,
    "[" * 129 + '"' + "\\" * 64_000,
    "[" * 129 + '""' * 32_000,
    "[" * 65_000,
    "[" * 32_000 + "]" * 32_000,
    "{" * 129 + '"' * 65_000,
]
"""What makes a reader that goes back on itself take seconds."""


@pytest.mark.line(28, "JSON that takes bad readers seconds, in the largest message that may be")
async def test_json_that_is_slow_to_read_holds_nobody_up(
    server: Server, token: Token, unnoticed: Unnoticed
) -> None:
    async with unnoticed(server):
        for message in SLOW_TO_READ:
            await refused(server, token, message, "bad_request")


@pytest.mark.line(29, "what is no message")
@pytest.mark.parametrize("message", ["", " ", "[]", "null", '"x"', "17", "{}", "{"])
async def test_what_is_no_message_is_an_error(server: Server, token: Token, message: str) -> None:
    await refused(server, token, message, "bad_request")


@pytest.mark.line(29, "binary frames, and a message that is too long")
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(BINARY, b""), 4501),
        (frame(BINARY, b"binary"), 4501),
        (frame(BINARY, b"\x80\x04K\x01."), 4501),
        (frame(TEXT, b"x" * 65_537), 1009),
    ],
)
async def test_what_can_not_be_answered_closes(
    server: Server, token: Token, sent: bytes, code: int
) -> None:
    async with raw_socket(server.port, token("ana")) as raw:
        await raw.send(sent)
        assert await raw.closed() == code
    async with opened(server, token("ana")) as socket:
        assert await ask(socket, {"type": "ping"}) == {"type": "pong"}


@pytest.mark.line(29, "malformed messages on end")
async def test_who_sends_nothing_but_nonsense_is_sent_away(server: Server, token: Token) -> None:
    async with opened(server, token("ana")) as socket:
        for _ in range(20):
            await socket.send("nonsense")
        assert await close_code(socket) == 4501


@pytest.mark.line(30, "ids that are none")
@pytest.mark.parametrize("frame_id", [True, 1, 1.5, None, [], {}, "", "x" * 65, "a\x00b", "\n"])
async def test_an_id_that_is_none_is_an_error(server: Server, token: Token, frame_id: Any) -> None:
    await refused(server, token, json.dumps(request(frame_id=frame_id, text="a")), "bad_request")


@pytest.mark.line(30, "an id that is missing")
async def test_an_id_that_is_missing_is_an_error(server: Server, token: Token) -> None:
    message = request(text="a")
    del message["id"]
    await refused(server, token, json.dumps(message), "bad_request")


@pytest.mark.line(30, "an id that is in flight")
async def test_an_id_in_flight_is_an_error_and_each_has_one_answer(
    server: Server, token: Token
) -> None:
    slow = {**request("wait", "same", seconds=0.3), "resource": "slow"}
    async with opened(server, token("ana")) as socket:
        await socket.send(json.dumps(slow))
        assert (await ask(socket, slow))["payload"]["code"] == "conflict"
        answer = await read(socket)
        assert (answer["id"], answer["payload"]) == ("same", "done")
        assert await ask(socket, {"type": "ping"}) == {"type": "pong"}


NAMES = ["a\x00b", "x" * 1_000, "a\nb", "\u2028", "", 7, None, [], {"a": 1}]


@pytest.mark.line(31, "names of rooms and resources that are none")
@pytest.mark.parametrize("name", NAMES)
async def test_names_that_can_be_none_are_refused(server: Server, token: Token, name: Any) -> None:
    subscribe = {"type": "subscribe", "id": "1", "payload": {"rooms": [name]}}
    await refused(server, token, json.dumps(subscribe), "bad_request")
    await refused(server, token, json.dumps({**request(), "resource": name}), "bad_request")


@pytest.mark.line(31, "names that mean something elsewhere")
@pytest.mark.parametrize("name", ["*", "?", "[a]", "{tag}", "__proto__", "..", "%00"])
async def test_names_that_mean_something_elsewhere_mean_nothing(
    server: Server, token: Token, name: str
) -> None:
    subscribe = {"type": "subscribe", "id": "1", "payload": {"rooms": [name, f"numbers:{name}"]}}
    async with opened(server, token("ana")) as socket:
        error = await ask(socket, {**request(), "resource": name})
        assert error["payload"]["code"] == "not_found"
        rooms = (await ask(socket, subscribe))["payload"]["rooms"]
        assert rooms[0]["error"]["code"] == "forbidden"
        assert rooms[1]["room"] == f"numbers:{name}"
        assert rooms[1]["offset"] == 0


def listed(kind: str, count: int) -> list[str]:
    """Write so many lines of a handshake's head."""
    if kind == "headers":
        return [f"X-Header-{number}: {number}" for number in range(count)]
    protocols = ", ".join(f"protocol-{number}" for number in range(count))
    return [f"Sec-WebSocket-Protocol: {protocols}"]


@pytest.mark.line(34, "1 000 headers, 500 subprotocols, a megabyte of head")
@pytest.mark.parametrize(
    "lines",
    [
        listed("headers", 5_000),
        listed("protocols", 20_000),
        ["X-Long: " + "x" * 1_000_000],
    ],
)
async def test_a_head_that_is_too_large_is_refused(
    server: Server, lines: list[str], unnoticed: Unnoticed
) -> None:
    async with unnoticed(server), asyncio.timeout(BOUND):
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(upgrade("/ws", None, *lines))
            head = b""
            try:
                while part := await reader.read(65_536):
                    head += part
            except ConnectionError:
                pass  # It hung up before it had read everything.
            finally:
                writer.close()
            assert not head.startswith(b"HTTP/1.1 101")


@pytest.mark.line(34, "1 000 headers and 500 subprotocols that are just small enough")
async def test_many_headers_and_subprotocols_are_no_burden(
    server: Server, token: Token, unnoticed: Unnoticed
) -> None:
    lines = [*listed("headers", 1_000), *listed("protocols", 500)]
    async with unnoticed(server), raw_socket(server.port, None, *lines) as raw:
        assert "sec-websocket-protocol" not in raw.response.lower()


@pytest.mark.line(35, "one user, 1 000 sockets")
async def test_a_user_s_sockets_beyond_the_limit_are_closed(
    token: Token, unnoticed: Unnoticed
) -> None:
    with serving(APP, RATE_LIMIT=None) as server:
        async with unnoticed(server), AsyncExitStack() as stack:
            good = token("ana")
            codes: list[int] = []

            async def open_one() -> None:
                raw = await stack.enter_async_context(raw_socket(server.port, None))
                auth = {"type": "auth", "id": "a", "payload": {"token": good}}
                await raw.send(frame(TEXT, json.dumps(auth).encode()))
                if (await raw.message())["type"] == "closing":
                    codes.append(await raw.closed())

            for _ in range(20):
                await asyncio.gather(*(open_one() for _ in range(50)))
            assert codes == [4503] * 980
