"""Writing to a socket over plain ASGI."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quart_realtime.asgi import ASGITransport, Writers
from quart_realtime.frames import Frame
from quart_realtime.settings import Settings

from .fakes import BOUND


class Socket:
    """An ASGI server's send, which can be held up or fail."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = asyncio.Event()
        self.news = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, message: dict[str, Any]) -> None:
        self.waiting.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(message)
        self.news.set()

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.sent if "text" in message]

    async def has(self, number: int) -> None:
        async with asyncio.timeout(BOUND):
            while len(self.sent) < number:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def socket() -> Socket:
    return Socket()


@pytest.fixture
async def transport(socket: Socket) -> ASGITransport:
    return ASGITransport(nothing, socket, Writers(), Settings())


async def nothing() -> dict[str, Any]:
    return await asyncio.Event().wait() or {}


def frame(text: str) -> Frame:
    return Frame(text.encode())


async def settled() -> None:
    """Wait until no writer is left."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, running = await asyncio.wait(others, timeout=BOUND)
        assert not running


def writers() -> int:
    return len(asyncio.all_tasks()) - 1


async def test_accepting_names_the_subprotocol(transport: ASGITransport, socket: Socket) -> None:
    await transport.accept("realtime.v1")
    assert socket.sent == [
        {"type": "websocket.accept", "subprotocol": "realtime.v1", "headers": []}
    ]


async def test_frames_are_written_as_text_in_their_order(
    transport: ASGITransport, socket: Socket
) -> None:
    for n in range(100):
        transport.send(frame(f"é{n}"))
    await socket.has(100)
    assert socket.texts == [f"é{n}" for n in range(100)]
    assert socket.sent[0] == {"type": "websocket.send", "text": "é0", "bytes": None}


async def test_sending_does_not_wait_and_counts_what_waits(
    transport: ASGITransport, socket: Socket
) -> None:
    socket.open.clear()
    transport.send(frame("é"))
    transport.send(frame("abc"))
    assert transport.pending == 5
    await socket.waiting.wait()
    assert transport.pending == 5
    socket.open.set()
    await socket.has(2)
    await settled()
    assert transport.pending == 0


async def test_an_idle_transport_has_no_task(transport: ASGITransport, socket: Socket) -> None:
    assert writers() == 0
    for _ in range(2):
        transport.send(frame("a"))
        assert writers() == 1
        await settled()
        assert writers() == 0
    assert socket.texts == ["a", "a"]


async def test_what_is_sent_while_the_writer_waits_follows(
    transport: ASGITransport, socket: Socket
) -> None:
    socket.open.clear()
    transport.send(frame("a"))
    await socket.waiting.wait()
    transport.send(frame("b"))
    assert writers() == 1
    socket.open.set()
    await socket.has(2)
    assert socket.texts == ["a", "b"]


async def test_a_socket_that_fails_ends_the_transport_quietly(
    transport: ASGITransport, socket: Socket
) -> None:
    socket.error = ConnectionResetError("the peer has gone")
    transport.send(frame("a"))
    transport.send(frame("b"))
    await settled()
    assert transport.pending == 0
    socket.error = None
    transport.send(frame("c"))
    await transport.close(1000, "")
    assert socket.sent == []
    assert writers() == 0


async def test_a_close_writes_what_waits_first(transport: ASGITransport, socket: Socket) -> None:
    for n in range(3):
        transport.send(frame(str(n)))
    async with asyncio.timeout(BOUND):
        await transport.close(4500, "no")
    assert socket.texts == ["0", "1", "2"]
    assert socket.sent[-1] == {"type": "websocket.close", "code": 4500, "reason": "no"}


async def test_after_a_close_nothing_is_written(transport: ASGITransport, socket: Socket) -> None:
    await transport.close(1000, "")
    transport.send(frame("a"))
    await transport.close(4500, "again")
    assert [message["type"] for message in socket.sent] == ["websocket.close"]
    assert transport.pending == 0
    assert writers() == 0


async def test_two_closes_at_once_write_one_close_frame(
    transport: ASGITransport, socket: Socket
) -> None:
    transport.send(frame("a"))
    async with asyncio.timeout(BOUND):
        await asyncio.gather(transport.close(1000, ""), transport.close(4500, ""))
    assert [message["type"] for message in socket.sent] == ["websocket.send", "websocket.close"]


async def test_a_close_waits_for_a_bounded_time_only(
    transport: ASGITransport, socket: Socket
) -> None:
    socket.open.clear()
    transport.send(frame("a"))
    transport.send(frame("b"))
    async with asyncio.timeout(BOUND):
        await transport.close(1000, "", patience=0.02)
    assert transport.pending == 0
    socket.open.set()
    await settled()
    assert socket.texts == []


async def test_a_close_reaches_a_socket_that_is_only_slow(
    transport: ASGITransport, socket: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket.open.clear()
    transport.send(frame("a"))
    await socket.waiting.wait()
    socket.waiting.clear()
    monkeypatch.setattr(transport, "put", closing_only(socket, transport.put))
    async with asyncio.timeout(BOUND):
        await transport.close(4005, "slow", patience=0.02)
    assert [message["type"] for message in socket.sent] == ["websocket.close"]


def closing_only(socket: Socket, send: Any) -> Any:
    """A server that puts a close frame past what waits."""

    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close":
            socket.open.set()
        await send(message)

    return sending


async def test_a_close_that_fails_raises_nothing(transport: ASGITransport, socket: Socket) -> None:
    socket.error = RuntimeError("closed already")
    await transport.close(1000, "")
    assert socket.sent == []


async def test_a_close_can_be_cancelled(transport: ASGITransport, socket: Socket) -> None:
    socket.open.clear()
    transport.send(frame("a"))
    closing = asyncio.ensure_future(transport.close(1000, ""))
    await socket.waiting.wait()
    closing.cancel()
    async with asyncio.timeout(BOUND):
        await asyncio.wait([closing])
    assert closing.cancelled()
    transport.abort()
    await settled()


async def test_an_abort_drops_what_waits_and_ends_the_writer(
    transport: ASGITransport, socket: Socket
) -> None:
    socket.open.clear()
    transport.send(frame("a"))
    transport.send(frame("b"))
    await socket.waiting.wait()
    transport.abort()
    assert transport.pending == 0
    await settled()
    socket.open.set()
    transport.send(frame("c"))
    transport.abort()
    await asyncio.sleep(0)
    assert socket.sent == []
    assert transport.pending == 0
