"""What is known of the server under us, and what happens where nothing is."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import frozen
from wsproto.connection import Connection, ConnectionType

from quart_realtime import inside
from quart_realtime.asgi import ASGITransport
from quart_realtime.frames import Frame
from quart_realtime.servers import HypercornTransport, Transports
from quart_realtime.settings import Settings
from quart_realtime.stopping import give_time, stop_signal

from ..waiting import until
from .fakes import BOUND

STREAM = "hypercorn.protocol.ws_stream", "WSStream"
HTTP = "hypercorn.protocol.h11", "H11Protocol"
HTTP2 = "hypercorn.protocol.h2", "H2Protocol"
SERVER = "hypercorn.asyncio.tcp_server", "TCPServer"
PARTS = STREAM, HTTP, SERVER


class FakeTransport(asyncio.Transport):
    """asyncio's, as far as a socket that isn't open yet needs it."""


def part(kind: tuple[str, str], **attributes: Any) -> Any:
    """Make an object whose class says that it is Hypercorn's *kind*."""

    async def put(self: Any, message: Any) -> None:
        self.sent.append(message)

    module, name = kind
    made = type(name, (), {"__module__": module, "put": put})()
    vars(made).update(attributes, sent=[])
    return made


def hypercorn(parts: tuple[tuple[str, str], ...] = PARTS, **server: Any) -> Any:
    """Make the parts that lie under Hypercorn's send; return that of its websocket."""
    under = part(parts[-1], **(server or {"writer": SimpleNamespace(transport=FakeTransport())}))
    for kind in reversed(parts[:-1]):
        under = part(kind, send=under.put, handshake=SimpleNamespace())
    return under


async def receive() -> dict[str, Any]:
    return {"type": "websocket.disconnect"}


async def plain_send(message: dict[str, Any]) -> None:
    """Belongs to no object."""


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "quart_realtime"):
        yield caplog


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have Hypercorn say that it is of a version that is known, or of another."""
    known = [f"{inside.KNOWN_HYPERCORNS[0]}3"]
    monkeypatch.setattr(inside, "_hypercorn_version", lambda: known[0])
    return known


@pytest.fixture
def transports() -> Transports:
    return Transports(Settings())


@pytest.mark.parametrize("known", inside.KNOWN_HYPERCORNS)
def test_a_hypercorn_that_is_known_has_the_fast_lane(
    transports: Transports, log: pytest.LogCaptureFixture, version: list[str], known: str
) -> None:
    version[0] = known + "0"
    assert isinstance(transports.make(receive, hypercorn().put), HypercornTransport)
    assert log.messages == []


def test_the_fast_lane_can_be_switched_off(log: pytest.LogCaptureFixture) -> None:
    transports = Transports(Settings(fast_lane=False))
    assert isinstance(transports.make(receive, hypercorn().put), ASGITransport)
    assert log.messages == []


def test_another_server_is_served_by_plain_asgi_and_told_so(
    transports: Transports, log: pytest.LogCaptureFixture
) -> None:
    other = part(("uvicorn.protocols.websockets", "WSProtocol"))
    assert isinstance(transports.make(receive, other.put), ASGITransport)
    (message,) = log.messages
    assert "uvicorn.protocols.websockets.WSProtocol" in message
    assert "hypercorn.protocol.ws_stream.WSStream" in message


def test_a_send_that_is_wrapped_is_served_by_plain_asgi(
    transports: Transports, log: pytest.LogCaptureFixture
) -> None:
    assert isinstance(transports.make(receive, plain_send), ASGITransport)
    assert len(log.messages) == 1


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ((STREAM, HTTP2, SERVER), "h2.H2Protocol"),
        ((STREAM, HTTP, ("hypercorn.trio.tcp_server", "TCPServer")), "trio.tcp_server.TCPServer"),
        ((("hypercorn.protocol.ws_stream", "Other"), HTTP, SERVER), "ws_stream.Other"),
        ((("elsewhere", "WSStream"), HTTP, SERVER), "elsewhere.WSStream"),
        ((STREAM,), "builtins.NoneType"),
    ],
)
def test_an_unfamiliar_part_is_served_by_plain_asgi_and_named(
    transports: Transports,
    log: pytest.LogCaptureFixture,
    parts: tuple[tuple[str, str], ...],
    found: str,
) -> None:
    send = hypercorn(parts).put
    assert isinstance(transports.make(receive, send), ASGITransport)
    (message,) = log.messages
    assert found in message


def test_a_subclass_of_a_part_is_unfamiliar(
    transports: Transports, log: pytest.LogCaptureFixture
) -> None:
    class Changed(type(hypercorn())):  # type: ignore[misc]
        pass

    stream = hypercorn()
    stream.__class__ = Changed
    assert isinstance(transports.make(receive, stream.put), ASGITransport)
    assert "Changed" in log.text


@pytest.mark.parametrize("unknown", ["0.16.0", "0.19.0", "0.170.0", "1.0.0"])
def test_an_unknown_version_of_hypercorn_is_served_by_plain_asgi_and_named(
    transports: Transports, log: pytest.LogCaptureFixture, version: list[str], unknown: str
) -> None:
    version[0] = unknown
    assert isinstance(transports.make(receive, hypercorn().put), ASGITransport)
    (message,) = log.messages
    assert unknown in message


@pytest.mark.parametrize(
    "server",
    [
        {"reader": None},
        {"writer": None},
        {"writer": SimpleNamespace()},
        {"writer": SimpleNamespace(transport=object())},
    ],
)
def test_a_hypercorn_without_the_transport_where_it_was_is_served_by_plain_asgi(
    transports: Transports, log: pytest.LogCaptureFixture, server: dict[str, Any]
) -> None:
    assert isinstance(transports.make(receive, hypercorn(**server).put), ASGITransport)
    assert len(log.messages) == 1


def test_a_hypercorn_whose_websocket_has_no_handshake_is_served_by_plain_asgi(
    transports: Transports, log: pytest.LogCaptureFixture
) -> None:
    stream = hypercorn()
    del stream.handshake
    assert isinstance(transports.make(receive, stream.put), ASGITransport)
    assert len(log.messages) == 1


@pytest.mark.parametrize(
    "missing", ["stream_buffers", "connection", "_window_updated", "_flush", "closed"]
)
def test_a_stream_of_http_2_without_the_parts_that_were_known_is_unfamiliar(missing: str) -> None:
    parts = ("hypercorn.protocol.http_stream", "HTTPStream"), HTTP2, SERVER
    known = {
        "stream_buffers": {},
        "connection": SimpleNamespace(reset_stream=None),
        "_window_updated": None,
        "_flush": None,
    }
    stream = hypercorn(parts)
    stream.closed = False
    vars(stream.send.__self__).update(known)
    inside.HTTP2Line(stream.put, 1.0)
    delattr(stream if missing == "closed" else stream.send.__self__, missing)
    with pytest.raises(inside.Unfamiliar):
        inside.HTTP2Line(stream.put, 1.0)


def test_each_reason_is_told_once(
    transports: Transports, log: pytest.LogCaptureFixture, version: list[str]
) -> None:
    for _ in range(3):
        transports.make(receive, plain_send)
    assert len(log.messages) == 1
    version[0] = "0.1"
    for _ in range(3):
        transports.make(receive, hypercorn().put)
    assert len(log.messages) == 2


def test_the_version_of_the_hypercorn_that_is_installed_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    assert inside._hypercorn_version().startswith(inside.KNOWN_HYPERCORNS)


async def test_what_all_sockets_are_owed_can_be_waited_for(transports: Transports) -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    for _ in range(10):
        transports.make(receive, send).send(Frame(b"{}"))
    assert sent == []
    async with asyncio.timeout(BOUND):
        await transports.catch_up()
    assert [message["text"] for message in sent] == ["{}"] * 10


# How a server stops


def test_the_sign_that_hypercorn_stops_is_its_worker_s() -> None:
    terminated = asyncio.Event()
    stream = part(STREAM, context=SimpleNamespace(terminated=terminated))
    assert stop_signal(stream.put) is terminated


@pytest.mark.parametrize(
    "send",
    [
        plain_send,
        part(("uvicorn", "WSProtocol"), context=SimpleNamespace(terminated=asyncio.Event())).put,
        part(("hypercornish", "Stream"), context=SimpleNamespace(terminated=asyncio.Event())).put,
        part(STREAM).put,
        part(STREAM, context=SimpleNamespace()).put,
        part(STREAM, context=SimpleNamespace(terminated=True)).put,
    ],
    ids=["wrapped", "another server", "another name", "no context", "no event", "no wait"],
)
def test_where_it_is_not_known_there_is_no_sign(send: Any) -> None:
    assert stop_signal(send) is None


# The fast lane


@frozen
class Lane:
    """A socket on the fast lane: our transport, asyncio's below it, and the client's end."""

    transport: HypercornTransport
    under: asyncio.Transport
    client: socket.socket
    catch_up: Callable[[], Awaitable[None]]
    ended: asyncio.Event


@asynccontextmanager
async def lane() -> AsyncIterator[Lane]:
    """Open a socket that is served until the client has gone."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ended = asyncio.Event()

    class Replaced(asyncio.Protocol):
        def connection_lost(self, error: Exception | None) -> None:
            ended.set()

    async def disconnect() -> dict[str, Any]:
        await ended.wait()
        return {"type": "websocket.disconnect"}

    under, _ = await loop.create_connection(Replaced, sock=ours)
    stream = hypercorn(writer=SimpleNamespace(transport=under))
    stream.handshake.extensions, stream.closed = None, False
    stream.connection = Connection(ConnectionType.SERVER)
    stream.send.__self__.connection = None
    transports = Transports(Settings())
    transport = transports.make(disconnect, stream.put)
    assert isinstance(transport, HypercornTransport)
    assert await transport.accept(None)
    serving = asyncio.ensure_future(transport.serve(lambda _: None))
    async with asyncio.timeout(BOUND):
        await until(under.is_reading)
        yield Lane(transport, under, theirs, transports.catch_up, ended)
        theirs.close()
        await serving


async def test_a_client_that_breaks_the_protocol_and_does_not_read_ends_without_an_error() -> None:
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    async with lane() as lane_:
        for _ in range(10):
            lane_.transport.send(Frame(b"x" * 60_000))
        await lane_.catch_up()
        assert lane_.transport.pending > 0
        await loop.sock_sendall(lane_.client, b"\xff\xff\xff\xff")
        with suppress(ConnectionError):
            while await loop.sock_recv(lane_.client, 65_536):
                pass
    assert told == []


async def test_who_sends_on_after_our_close_can_still_read_why_and_is_cut_off_later() -> None:
    loop = asyncio.get_running_loop()
    async with lane() as lane_:
        await lane_.transport.close(1009, "")
        sending = asyncio.ensure_future(loop.sock_sendall(lane_.client, b"x" * 8 * 1_048_576))
        await until(lambda: sending.done() or not lane_.under.is_reading())
        assert not lane_.under.is_closing()
        assert await loop.sock_recv(lane_.client, 4) == b"\x88\x02\x03\xf1"
        await lane_.ended.wait()
        with pytest.raises(OSError, match=r"."):
            await sending


@pytest.mark.parametrize(("its_own", "after"), [(3.0, 11.0), (30.0, 30.0)])
def test_hypercorn_is_given_more_time_to_stop_never_less(its_own: float, after: float) -> None:
    config = SimpleNamespace(graceful_timeout=its_own)
    give_time(part(STREAM, config=config).put, 11.0)
    assert config.graceful_timeout == after


def test_another_server_s_time_to_stop_is_its_own() -> None:
    config = SimpleNamespace(graceful_timeout=3.0)
    give_time(part(("uvicorn", "WSProtocol"), config=config).put, 11.0)
    give_time(part(STREAM).put, 11.0)
    give_time(plain_send, 11.0)
    assert config.graceful_timeout == 3.0
