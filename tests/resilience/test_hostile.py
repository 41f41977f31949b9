"""Clients that mean harm: they are sent away, memory stays flat, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from quart_realtime.client import connect

from ..e2e.conftest import APP
from ..e2e.raw_socket import (
    BINARY,
    BOUND,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    RawSocket,
    close,
    deflated,
    frame,
    raw_socket,
    text,
    upgrade,
)
from ..e2e.server import Server, memory_flat, serving
from ..e2e.sockets import Token, ask, close_code, opened, read
from .conftest import Unnoticed

MIB = 1_048_576
LIMIT = 65_536
"""How large a message may be, by default."""
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"

fast = pytest.mark.lane("fast")
"""On plain ASGI it is Hypercorn that reads frames, and does worse in each of these."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve with the defaults, but for many connections of one user."""
    with serving(APP, MAX_CONNECTIONS_PER_USER=200) as server:
        yield server


@pytest.fixture(scope="module")
def lax() -> Iterator[Server]:
    """Serve without a limit on how fast messages come."""
    with serving(APP, RATE_LIMIT=None) as server:
        yield server


@pytest.fixture(scope="module")
def deflating() -> Iterator[Server]:
    with serving(APP, COMPRESSION=True, RATE_LIMIT=None, MAX_CONNECTIONS_PER_USER=200) as server:
        yield server


async def send_all(raw: RawSocket, data: bytes, times: int) -> None:
    """Send as fast as it goes, until all is sent or the server has hung up."""
    try:
        for _ in range(times):
            await raw.send(data)
    except ConnectionError:
        pass


# Messages without an end


@pytest.mark.line(26, "a frame of 64 MiB")
@fast
async def test_a_frame_of_64_mib_is_cut_off_on_the_way(
    server: Server, token: Token, unnoticed: Unnoticed
) -> None:
    async with raw_socket(server.port, token("ana")) as raw, unnoticed(server):
        closed = asyncio.create_task(raw.closed())
        await raw.send(frame(TEXT, length=64 * MIB))
        await raw.send_until_dropped(b"x" * 65_536, 64 * MIB)
        assert await closed == 1009


@pytest.mark.line(26, "a million fragments")
@pytest.mark.parametrize("part", [b"a", b""])
@fast
async def test_a_million_fragments_are_cut_off_on_the_way(
    lax: Server, token: Token, part: bytes, unnoticed: Unnoticed
) -> None:
    async with raw_socket(lax.port, token("ana")) as raw, unnoticed(lax):
        closed = asyncio.create_task(raw.closed())
        await raw.send(frame(TEXT, part, fin=False))
        await send_all(raw, frame(CONTINUATION, part, fin=False) * 1000, 1000)
        assert await closed == 1009
        await raw.dropped()


@pytest.mark.line(26, "our close ignored, and more sent")
@pytest.mark.parametrize(
    "more",
    [
        text('{"type": "ping"}'),
        # On plain ASGI it is Hypercorn that reads these, and others wait for seconds meanwhile.
        pytest.param(frame(PING, b"x"), marks=fast),
        frame(TEXT, length=10**12) + b"x" * 65_536,
    ],
)
async def test_who_ignores_our_close_and_sends_on_is_cut_off(
    lax: Server, token: Token, more: bytes, unnoticed: Unnoticed
) -> None:
    async with raw_socket(lax.port, token("ana")) as raw, unnoticed(lax):
        await raw.send(frame(BINARY))
        assert await raw.closed() == 4501
        await raw.send_until_dropped(more * (65_536 // len(more) + 1), 64 * MIB)


async def test_who_ignores_our_close_and_stays_is_cut_off(lax: Server, token: Token) -> None:
    async with raw_socket(lax.port, token("ana")) as raw:
        await raw.send(frame(BINARY))
        assert await raw.closed() == 4501
        await raw.dropped()


# Compression


Bombed = Callable[[Server, bytes, int], Awaitable[None]]


@pytest.fixture
def bombed(token: Token, unnoticed: Unnoticed) -> Bombed:
    """Have a hundred clients send a bomb at once; each is closed with the code given."""

    async def throw(server: Server, bomb: bytes, code: int) -> None:
        async with AsyncExitStack() as stack:
            raws = [
                await stack.enter_async_context(raw_socket(server.port, token("ana"), DEFLATE))
                for _ in range(100)
            ]
            async with unnoticed(server):
                codes = [asyncio.create_task(raw.closed()) for raw in raws]
                await asyncio.gather(*(send_all(raw, bomb, 1) for raw in raws))
                assert await asyncio.gather(*codes) == [code] * 100

    return throw


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Return 61 kB that inflate to 63 MB."""
    bomb = deflated(b"\0" * 63_000_000)
    assert len(bomb) < 64_000
    return bomb


@pytest.mark.line(27, "100 bombs where compression is off")
@fast
async def test_where_compression_was_not_agreed_on_bombs_break_the_protocol(
    server: Server, token: Token, bomb: bytes, bombed: Bombed
) -> None:
    async with raw_socket(server.port, token("ana"), DEFLATE) as raw:
        assert "extensions" not in raw.response.lower()
    await bombed(server, frame(TEXT, bomb, rsv=RSV1), 1002)


@pytest.mark.line(27, "100 compression bombs at once")
@fast
async def test_bombs_are_not_inflated(deflating: Server, bomb: bytes, bombed: Bombed) -> None:
    await bombed(deflating, frame(TEXT, bomb, rsv=RSV1), 1009)


@pytest.mark.line(27, "100 compression bombs in pieces")
@fast
async def test_bombs_in_pieces_are_not_inflated(
    deflating: Server, bomb: bytes, bombed: Bombed
) -> None:
    pieces = [bomb[place : place + 16] for place in range(0, len(bomb), 16)]
    fragments = frame(TEXT, pieces[0], rsv=RSV1, fin=False) + b"".join(
        frame(CONTINUATION, piece, fin=False) for piece in pieces[1:]
    )
    await bombed(deflating, fragments, 1009)


@fast
async def test_a_bomb_that_goes_off_after_a_small_message_is_not_inflated(
    deflating: Server, token: Token
) -> None:
    # The second message's size counts from nothing, and it may refer back to the first.
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    ping = b'{"type": "ping"}'
    first, second = (
        (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
        for data in (ping + b" " * (LIMIT - len(ping)), b" " * 16 * MIB)
    )
    async with raw_socket(deflating.port, token("ana"), DEFLATE) as raw:
        with memory_flat(deflating):
            await raw.send(frame(TEXT, first, rsv=RSV1))
            assert (await raw.read()).opcode == TEXT
            await raw.send(frame(TEXT, second, rsv=RSV1))
            assert await raw.closed() == 1009


@fast
async def test_what_follows_the_end_of_a_deflate_stream_is_not_kept(
    deflating: Server, token: Token, unnoticed: Unnoticed
) -> None:
    # Zlib keeps all that comes after a final block, and it inflates to nothing.
    ender = zlib.compressobj(9, zlib.DEFLATED, -15)
    ended = ender.compress(b"x") + ender.flush(zlib.Z_FINISH)
    async with (
        raw_socket(deflating.port, token("ana"), DEFLATE) as raw,
        unnoticed(deflating),
    ):
        closed = asyncio.create_task(raw.closed())
        await raw.send(frame(TEXT, ended, rsv=RSV1, fin=False))
        await send_all(raw, frame(CONTINUATION, b"x" * 65_536, fin=False), 600)
        await send_all(raw, frame(CONTINUATION, b"x"), 1)
        # Or none of these, where it hung up on what was still to come.
        assert await closed in {1002, 1006, 1007, 1009}


async def test_with_compression_both_ways_small_and_large_messages_arrive(
    deflating: Server, token: Token
) -> None:
    async with opened(deflating, token("ana")) as socket:
        assert socket.response is not None
        assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        bare = json.dumps(request("0000", "")).encode()
        for number, size in enumerate([1, 125, 126, 60_000, LIMIT - len(bare)] * 10):
            said = ("é" + "abc" * size)[:size] if size < 60_000 else "x" * size
            answer = await ask(socket, request(f"{number:04}", said))
            assert answer == {"type": "response", "id": f"{number:04}", "payload": said}
        await socket.send(json.dumps(request("0000", "x" * (LIMIT - len(bare) + 1))))
        assert await close_code(socket) == 1009


def request(frame_id: str, said: str) -> dict[str, Any]:
    payload = {"action": "say", "text": said}
    return {"type": "request", "id": frame_id, "resource": "echo", "payload": payload}


@fast
async def test_a_ping_amid_a_compressed_message_leaves_it_whole(
    deflating: Server, token: Token
) -> None:
    data = deflated(json.dumps(request("1", "hello" * 100)).encode())
    async with raw_socket(deflating.port, token("ana"), DEFLATE) as raw:
        await raw.send(frame(TEXT, data[:20], rsv=RSV1, fin=False))
        await raw.send(frame(PING, b"amid"))
        assert await raw.read() == (0x80 | PONG, b"amid")
        await raw.send(frame(CONTINUATION, data[20:]))
        assert (await raw.message())["payload"] == "hello" * 100


# Floods


@pytest.mark.line(32, "60 000 messages as fast as they go")
async def test_60_000_messages_are_refused_and_then_their_sender_is(
    server: Server, token: Token, unnoticed: Unnoticed
) -> None:
    codes: list[str] = []

    async def hear(raw: RawSocket) -> int:
        while (got := await raw.read()).opcode == TEXT:
            if got.json()["type"] == "error":
                codes.append(got.json()["payload"]["code"])
        return got.code

    async with raw_socket(server.port, token("ana")) as raw, unnoticed(server):
        hearing = asyncio.create_task(hear(raw))
        await send_all(raw, text('{"type": "ping", "id": "1"}') * 600, 100)
        assert await hearing == 4006
    assert set(codes) == {"rate_limited"}


@pytest.mark.line(33, "a flood of pings")
@fast
async def test_a_flood_of_pings_is_refused(
    server: Server, token: Token, unnoticed: Unnoticed
) -> None:
    async with raw_socket(server.port, token("ana")) as raw, unnoticed(server):
        closed = asyncio.create_task(raw.closed())
        await send_all(raw, frame(PING, b"x" * 20) * 2000, 100)
        assert await closed == 4006


@pytest.mark.line(33, "a flood of pings, no pong read")
@fast
async def test_a_flood_of_pings_from_who_reads_no_pong_is_refused(
    server: Server, token: Token, unnoticed: Unnoticed
) -> None:
    async with raw_socket(server.port, token("ana"), receive_buffer=4096) as raw:
        raw.stop_reading()
        async with unnoticed(server):
            await send_all(raw, frame(PING, b"x" * 125) * 500, 400)
        raw.read_on()
        await raw.dropped()


@pytest.mark.parametrize("reads", [True, False])
async def test_where_pings_are_not_counted_memory_stays_flat_all_the_same(
    lax: Server, token: Token, reads: bool, unnoticed: Unnoticed
) -> None:
    async with (
        raw_socket(lax.port, token("ana"), receive_buffer=4096) as raw,
        unnoticed(lax),
    ):
        if not reads:
            raw.stop_reading()
            # The server may hang up, or read nothing more either, as Hypercorn does by itself.
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await send_all(raw, frame(PING, b"x" * 125) * 500, 400)
            return
        for _ in range(100):
            await raw.send(frame(PING, b"x" * 20) * 2000)
            # Who sends faster than they read would be a slow reader, and closed for that.
            pongs = 0
            while pongs < 2000:
                pongs += (await raw.read()).opcode == PONG
        await raw.send(close(1000))
        assert await raw.closed() == 1000


# What is no websocket


@pytest.mark.line(29, "text that isn't UTF-8, and frames that are none or out of order")
@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, "é".encode()[:1]), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (frame(TEXT, b"{}", mask=None), 1002),
        (frame(0x3, b"{}"), 1002),
        (frame(0xB), 1002),
        (frame(TEXT, b"{}", rsv=RSV1), 1002),
        (frame(CLOSE, b"\x03\xe8", fin=False) + frame(CONTINUATION), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (close(1005), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CONTINUATION, b"{}"), 1002),
        (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
    ],
)
@fast
async def test_what_breaks_the_protocol_closes_with_the_code_that_says_so(
    server: Server, token: Token, broken: bytes, code: int
) -> None:
    async with raw_socket(server.port, token("ana")) as raw:
        await raw.send(broken)
        assert await raw.closed() == code
        await raw.dropped()


# How the bytes come


async def test_a_message_that_comes_byte_by_byte_is_answered(lax: Server, token: Token) -> None:
    async with raw_socket(lax.port, token("ana")) as raw:
        sent = json.dumps(request("1", "ñandú " * 30)).encode()
        parts = (
            frame(TEXT, sent[:9], mask=b"\x12\x34\x56\x78", fin=False)
            + frame(PING, b"amid", mask=b"\x9a\xbc\xde\xf0")
            + frame(CONTINUATION, sent[9:], mask=b"\xff\x00\x55\xaa")
        )
        for byte in parts:
            await raw.send(bytes([byte]))
        assert await raw.read() == (0x80 | PONG, b"amid")
        assert (await raw.message())["payload"] == "ñandú " * 30


async def test_a_message_that_is_cut_anywhere_is_answered(lax: Server, token: Token) -> None:
    async with raw_socket(lax.port, token("ana")) as raw, raw_socket(lax.port) as other:
        for size in (20, 125, 126, 200):
            ping = frame(TEXT, b'{"type": "ping"}'.ljust(size), mask=b"\x12\x34\x56\x78")
            for place in range(1, min(len(ping), 40)):
                await raw.send(ping[:place])
                # What was said first has come, and been read, once this is answered.
                await other.send(text({"type": "ping"}))
                assert await other.message() == {"type": "pong"}
                await raw.send(ping[place:])
                assert await raw.message() == {"type": "pong"}


async def test_messages_that_come_in_one_piece_are_all_answered_in_order(
    lax: Server, token: Token
) -> None:
    async with raw_socket(lax.port, token("ana")) as raw:
        await raw.send(b"".join(text({"type": "ping", "id": str(n)}) for n in range(500)))
        for number in range(500):
            assert await raw.message() == {"type": "pong", "id": str(number)}


@asynccontextmanager
async def talking_early(
    server: Server, token: str | None = None
) -> AsyncIterator[tuple[bytes, asyncio.StreamReader]]:
    """Send a message with the handshake, before it is answered; return how it is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(upgrade("/ws", token) + text({"type": "ping"}))
        async with asyncio.timeout(BOUND):
            yield await reader.readuntil(b"\r\n\r\n"), reader
    finally:
        writer.transport.abort()


@fast
async def test_who_talks_before_the_handshake_is_answered_is_refused_or_served(
    server: Server, token: Token
) -> None:
    async with talking_early(server, token("ana")) as (head, reader):
        try:
            said = await reader.read(65_536)
        except ConnectionResetError:
            said = b""
        assert (b'"connected"' in said) is head.startswith(b"HTTP/1.1 101"), said


@fast
async def test_who_talks_before_the_handshake_is_answered_leaves_nothing_behind(
    token: Token,
) -> None:
    with serving(APP, MAX_CONNECTIONS_PER_USER=1, IDLE_TIMEOUT=3) as server:
        async with connect(server.ws_url, token=token("luis")) as luis:
            lobby = await luis.subscribe("hall:lobby")
            for _ in range(2):
                async with talking_early(server, token("ana")):
                    pass
                async with opened(server, token("ana")) as socket:
                    assert await ask(socket, {"type": "ping"}) == {"type": "pong"}
            assert lobby.presence == {"luis": 1}


async def test_who_talks_early_and_brings_no_token_leaves_nothing_behind() -> None:
    with serving(APP, AUTH_TIMEOUT=0.5) as server:
        with memory_flat(server):
            for _ in range(10):
                async with AsyncExitStack() as stack:
                    for _ in range(50):
                        await stack.enter_async_context(talking_early(server))
        # It says who is left when it is told to stop, and waits for them.
        server.process.terminate()
        async with asyncio.timeout(BOUND):
            assert await asyncio.to_thread(server.process.wait) == 0
        assert "Traceback" not in "".join(server.log)


async def test_a_token_is_read_with_what_follows_it_in_one_piece(lax: Server, token: Token) -> None:
    async with raw_socket(lax.port) as raw:
        login = {"type": "auth", "id": "1", "payload": {"token": token("ana")}}
        await raw.send(text(login) + text(request("2", "hello")) + text({"type": "ping"}))
        kinds = [(await raw.message())["type"] for _ in range(4)]
        assert sorted(kinds) == ["connected", "pong", "response", "response"]
        assert kinds[0] == "response"


async def test_all_this_was_no_reason_for_an_error_in_the_log(
    server: Server, lax: Server, deflating: Server, token: Token
) -> None:
    for one in (server, lax, deflating):
        async with opened(one, token("eva"), compression=None) as socket:
            await socket.send(json.dumps({"type": "ping"}))
            assert (await read(socket))["type"] in {"ping", "pong"}
        log = "".join(one.log)
        assert "Traceback" not in log, log[-3000:]
