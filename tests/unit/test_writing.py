"""Writing what a socket is owed, in few writes and without copying."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trustme

from quart_realtime.turns import Flusher
from quart_realtime.writing import CHUNK, BatchingProtocol

from .fakes import BOUND


class FakeTransport(asyncio.Transport):
    """A transport that keeps what is written to it, and says so as it is told to."""

    def __init__(self, under: object = None) -> None:
        super().__init__({"socket": under})
        self.writes: list[bytes] = []
        self.protocol: BatchingProtocol
        self.full = False
        self.held = 0
        self.limits: tuple[int | None, int | None] | None = None

    def write(self, data: Any) -> None:
        self.writes.append(data)
        if self.full:
            self.held += len(data)
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self.held

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = high, low

    def drain(self) -> None:
        """Let the kernel take all."""
        self.full = False
        self.held = 0
        self.protocol.resume_writing()


class Plain(FakeTransport):
    """One that asyncio's own for a plain socket looks like."""


Plain.__qualname__ = "_SelectorSocketTransport"


class Kernel(socket.socket):
    """A socket whose kernel takes as much as it is told to: None takes all."""

    takes: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.sends: list[bytes] = []

    def send(self, data: Any, flags: int = 0) -> int:
        if self.takes == 0:
            raise BlockingIOError
        taken = bytes(data[: self.takes])
        self.sends.append(taken)
        return len(taken)


class Wrapped:
    """What asyncio gives out in place of a socket."""

    def __init__(self, under: socket.socket) -> None:
        self._sock = under


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with Kernel() as kernel:
        yield kernel


def batching(transport: FakeTransport) -> tuple[BatchingProtocol, Flusher]:
    flusher = Flusher()
    protocol = BatchingProtocol(transport, flusher)
    transport.protocol = protocol
    return protocol, flusher


async def caught_up(flusher: Flusher) -> None:
    async with asyncio.timeout(BOUND):
        await flusher.catch_up()


async def written(protocol: BatchingProtocol) -> bool:
    return await protocol.written(BOUND)


# Over a transport that isn't known


async def test_what_is_owed_in_a_turn_is_one_write() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    for n in range(10):
        protocol.owe(b"%d" % n)
    assert transport.writes == []
    assert protocol.pending == 10
    await caught_up(flusher)
    assert transport.writes == [b"0123456789"]
    assert protocol.pending == 0


async def test_a_single_frame_is_written_as_it_is() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    wire = b"x" * 1000
    protocol.owe(wire)
    await caught_up(flusher)
    assert len(transport.writes) == 1
    assert transport.writes[0] is wire


async def test_each_turn_is_a_write_of_its_own() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    for wire in (b"a", b"b"):
        protocol.owe(wire)
        await caught_up(flusher)
    assert transport.writes == [b"a", b"b"]


async def test_no_more_is_joined_than_a_chunk() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    half = CHUNK // 2
    owed = [b"a" * half, b"b" * half, b"c", b"d" * half, b"e" * half, b"f" * (CHUNK + 1), b"g"]
    for wire in owed:
        protocol.owe(wire)
    await caught_up(flusher)
    assert b"".join(transport.writes) == b"".join(owed)
    assert [len(data) for data in transport.writes] == [CHUNK, 1 + half, half, CHUNK + 1, 1]


async def test_what_the_kernel_does_not_take_is_kept_by_reference_and_written_when_it_does() -> (
    None
):
    protocol, flusher = batching(transport := FakeTransport())
    transport.full = True
    protocol.owe(b"first")
    await caught_up(flusher)
    assert protocol.pending == 5
    wire = b"x" * 100_000
    protocol.owe(wire)
    await caught_up(flusher)
    assert transport.writes == [b"first"]
    assert protocol.pending == 100_005
    transport.drain()
    assert transport.writes[1] is wire
    assert protocol.pending == 0


async def test_a_kernel_that_is_full_in_the_midst_gets_the_rest_later_and_in_order() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    owed = [bytes([n]) * 50_000 for n in range(5)]
    transport.full = True
    for wire in owed:
        protocol.owe(wire)
    await caught_up(flusher)
    assert transport.writes == owed[:1]
    assert protocol.pending == 250_000
    protocol.owe(b"last")
    transport.held = 0
    protocol.resume_writing()  # It takes one more, and is full again.
    assert transport.writes == owed[:2]
    assert protocol.pending == 200_004
    transport.drain()
    assert b"".join(transport.writes) == b"".join(owed) + b"last"
    assert protocol.pending == 0


async def test_what_comes_after_the_kernel_was_full_is_flushed_again() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    transport.full = True
    protocol.owe(b"a")
    await caught_up(flusher)
    transport.drain()
    protocol.owe(b"b")
    await caught_up(flusher)
    assert transport.writes == [b"a", b"b"]


async def test_a_flush_before_the_turn_is_over_writes_nothing_twice() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    protocol.owe(b"a")
    protocol.flush()
    protocol.owe(b"b")
    assert transport.writes == [b"a"]
    await caught_up(flusher)
    assert transport.writes == [b"a", b"b"]


# Past the transport


async def test_a_plain_socket_is_written_to_past_its_transport(kernel: Kernel) -> None:
    protocol, flusher = batching(transport := Plain(Wrapped(kernel)))
    protocol.owe(b"a")
    protocol.owe(b"b")
    await caught_up(flusher)
    assert kernel.sends == [b"ab"]
    assert transport.writes == []
    assert protocol.pending == 0


async def test_the_rest_of_a_partial_send_goes_to_the_transport(kernel: Kernel) -> None:
    protocol, flusher = batching(transport := Plain(Wrapped(kernel)))
    kernel.takes = 3
    transport.full = True
    protocol.owe(b"abcdef")
    await caught_up(flusher)
    assert kernel.sends == [b"abc"]
    assert transport.writes == [b"def"]
    protocol.owe(b"ghi")
    await caught_up(flusher)
    assert protocol.pending == 6
    assert kernel.sends == [b"abc"]
    kernel.takes = None
    transport.drain()
    assert kernel.sends == [b"abc", b"ghi"]
    assert transport.writes == [b"def"]


async def test_chunks_that_follow_a_partial_send_wait_for_the_rest(kernel: Kernel) -> None:
    protocol, flusher = batching(transport := Plain(Wrapped(kernel)))
    kernel.takes = 10
    transport.full = True
    owed = [bytes([n]) * CHUNK for n in range(3)]
    for wire in owed:
        protocol.owe(wire)
    await caught_up(flusher)
    assert transport.writes == [owed[0][10:]]
    assert protocol.pending == 3 * CHUNK - 10
    kernel.takes = None
    transport.drain()
    assert kernel.sends == [owed[0][:10], owed[1], owed[2]]


@pytest.mark.parametrize("error", [BlockingIOError(), ConnectionResetError(), OSError()])
async def test_what_the_socket_refuses_is_the_transport_s(
    error: OSError, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: bytes) -> int:
        raise error

    monkeypatch.setattr(kernel, "send", refuse)
    protocol, flusher = batching(transport := Plain(Wrapped(kernel)))
    protocol.owe(b"abc")
    await caught_up(flusher)
    assert transport.writes == [b"abc"]


@pytest.mark.parametrize("kind", ["another transport", "no socket", "another socket"])
async def test_what_is_not_plainly_a_socket_is_written_to_by_its_transport(
    kind: str, kernel: Kernel
) -> None:
    """As TLS's is, whose socket wants what has been encrypted."""
    transport = {
        "another transport": FakeTransport(Wrapped(kernel)),
        "no socket": Plain(None),
        "another socket": Plain(object()),
    }[kind]
    protocol, flusher = batching(transport)
    protocol.owe(b"a")
    await caught_up(flusher)
    assert transport.writes == [b"a"]
    assert kernel.sends == []


def test_a_plain_transport_says_so_when_a_single_byte_is_held_back(kernel: Kernel) -> None:
    protocol, _ = batching(transport := Plain(Wrapped(kernel)))
    protocol.watch_buffer()
    assert transport.limits == (0, 0)


def test_another_transport_is_given_a_limit_that_is_not_always_passed() -> None:
    protocol, _ = batching(transport := FakeTransport())
    protocol.watch_buffer()
    assert transport.limits == (1, 0)


# Waiting


async def test_what_is_written_need_not_be_waited_for() -> None:
    protocol, flusher = batching(FakeTransport())
    assert await protocol.written(0)
    protocol.owe(b"a")
    await caught_up(flusher)
    assert await protocol.written(0)


async def test_waiting_ends_when_the_turn_is_over() -> None:
    protocol, _ = batching(transport := FakeTransport())
    protocol.owe(b"a")
    assert await written(protocol)
    assert transport.writes == [b"a"]


async def test_waiting_goes_on_until_the_kernel_has_taken_all() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    transport.full = True
    protocol.owe(b"a")
    await caught_up(flusher)
    waiting = asyncio.ensure_future(written(protocol))
    await asyncio.sleep(0)
    protocol.owe(b"b")
    transport.held = 0
    protocol.resume_writing()  # And full again.
    await asyncio.sleep(0)
    assert not waiting.done()
    transport.drain()
    assert await waiting
    assert transport.writes == [b"a", b"b"]


async def test_patience_comes_to_an_end() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    transport.full = True
    protocol.owe(b"a")
    await caught_up(flusher)
    assert not await protocol.written(0.01)
    protocol.owe(b"b")
    assert not await protocol.written(0.01)
    assert protocol.pending == 2


async def test_several_may_wait_at_once() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    transport.full = True
    protocol.owe(b"a")
    await caught_up(flusher)
    waiting = [asyncio.ensure_future(written(protocol)) for _ in range(3)]
    await asyncio.sleep(0)
    transport.drain()
    assert await asyncio.gather(*waiting) == [True] * 3


async def test_one_may_wait_again_for_what_comes_later() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    protocol.owe(b"a")
    assert await written(protocol)
    transport.full = True
    protocol.owe(b"b")
    await caught_up(flusher)
    waiting = asyncio.ensure_future(written(protocol))
    # A write's end would be told within so many turns.
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    transport.drain()
    assert await waiting


async def test_dropping_ends_the_wait_and_writes_nothing() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    protocol.owe(b"a")
    waiting = asyncio.ensure_future(written(protocol))
    await asyncio.sleep(0)
    protocol.owe(b"b")
    protocol.drop()
    assert protocol.pending == 0
    assert await waiting
    await caught_up(flusher)
    assert b"b" not in b"".join(transport.writes)


async def test_what_is_dropped_before_the_turn_is_over_is_not_written() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    protocol.owe(b"a")
    protocol.owe(b"b")
    protocol.drop()
    await caught_up(flusher)
    assert transport.writes == []
    assert await protocol.written(0)


async def test_what_the_transport_holds_back_still_waits_after_a_drop() -> None:
    protocol, flusher = batching(transport := FakeTransport())
    transport.full = True
    protocol.owe(b"abc")
    await caught_up(flusher)
    protocol.owe(b"d")
    protocol.drop()
    assert protocol.pending == 3
    assert not await protocol.written(0)
    transport.drain()
    assert transport.writes == [b"abc"]


# Who doesn't read


async def stuck() -> tuple[BatchingProtocol, FakeTransport]:
    """Return one whose kernel takes no more, with ten bytes that wait for it."""
    protocol, flusher = batching(transport := FakeTransport())
    transport.full = True
    protocol.owe(b"0123456789")
    await caught_up(flusher)
    return protocol, transport


async def test_one_that_takes_all_is_not_stalled() -> None:
    protocol, flusher = batching(FakeTransport())
    protocol.owe(b"a")
    assert [protocol.is_stalled() for _ in range(2)] == [False, False]
    await caught_up(flusher)
    assert [protocol.is_stalled() for _ in range(2)] == [False, False]


async def test_one_is_stalled_when_nothing_was_written_since_it_was_asked_last() -> None:
    protocol, transport = await stuck()
    assert [protocol.is_stalled() for _ in range(3)] == [False, True, True]
    transport.drain()
    assert [protocol.is_stalled() for _ in range(2)] == [False, False]


async def test_what_is_owed_anew_does_not_hide_that_one_is_stalled() -> None:
    protocol, _ = await stuck()
    assert not protocol.is_stalled()
    protocol.owe(b"more")
    assert protocol.is_stalled()


async def test_one_that_takes_little_by_little_is_not_stalled() -> None:
    protocol, transport = await stuck()
    stalled = []
    for held in (10, 9, 5, 1):
        transport.held = held
        stalled.append(protocol.is_stalled())
    assert stalled == [False] * 4


async def test_one_that_has_taken_all_is_not_stalled_though_as_much_waits_again() -> None:
    protocol, transport = await stuck()
    assert not protocol.is_stalled()
    protocol.owe(b"abcdefghij")
    transport.held = 0
    protocol.resume_writing()  # Full again, with the next ten bytes.
    assert transport.writes == [b"0123456789", b"abcdefghij"]
    assert not protocol.is_stalled()
    assert protocol.is_stalled()


async def test_what_the_server_writes_itself_does_not_hide_that_one_is_stalled() -> None:
    protocol, transport = await stuck()
    assert not protocol.is_stalled()
    transport.held += 2  # Hypercorn's own ping.
    assert protocol.is_stalled()


# With a real socket


class Accepting(BatchingProtocol):
    """Knows of its end."""

    def __init__(self, transport: asyncio.Transport, flusher: Flusher) -> None:
        super().__init__(transport, flusher)
        self.lost = asyncio.Event()

    def connection_lost(self, error: Exception | None) -> None:
        self.drop()
        self.lost.set()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Accepting, Flusher, asyncio.Transport, socket.socket]]:
    """Open a pair of sockets: a protocol's, and one that reads what it is told to."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    flusher = Flusher()
    protocol = Accepting(transport, flusher)
    transport.set_protocol(protocol)
    protocol.watch_buffer()
    try:
        yield protocol, flusher, transport, theirs
    finally:
        transport.abort()
        async with asyncio.timeout(BOUND):
            await protocol.lost.wait()
        theirs.close()


async def read(theirs: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    async with asyncio.timeout(BOUND):
        while len(data) < size:
            data += await loop.sock_recv(theirs, min(size - len(data), 65_536))
    return bytes(data)


async def test_a_peer_reads_what_it_is_owed_in_its_order() -> None:
    async with connected() as (protocol, flusher, transport, theirs):
        for n in range(100):
            protocol.owe(b"%03d" % n)
        await caught_up(flusher)
        assert transport.get_write_buffer_size() == 0
        assert await read(theirs, 300) == b"".join(b"%03d" % n for n in range(100))
        assert await protocol.written(0)


async def test_a_peer_that_does_not_read_gets_all_when_it_does() -> None:
    async with connected() as (protocol, flusher, transport, theirs):
        owed = [bytes([n]) * 60_000 for n in range(50)]
        for wire in owed[:25]:
            protocol.owe(wire)
        await caught_up(flusher)
        assert 0 < transport.get_write_buffer_size() <= CHUNK
        for wire in owed[25:]:
            protocol.owe(wire)
        await caught_up(flusher)
        assert 2_000_000 < protocol.pending < 3_000_000
        assert transport.get_write_buffer_size() <= CHUNK
        assert not await protocol.written(0.01)
        assert [protocol.is_stalled() for _ in range(2)] == [False, True]
        assert await read(theirs, 3_000_000) == b"".join(owed)
        assert protocol.pending == 0
        assert not protocol.is_stalled()


async def test_one_may_wait_until_a_slow_peer_has_read_all() -> None:
    async with connected() as (protocol, flusher, _, theirs):
        for n in range(20):
            protocol.owe(bytes([n]) * 60_000)
        await caught_up(flusher)
        waiting = asyncio.ensure_future(written(protocol))
        await read(theirs, 1_200_000)
        assert await waiting


async def test_a_peer_that_has_gone_is_the_transport_s_to_find_out() -> None:
    async with connected() as (protocol, _, transport, theirs):
        theirs.close()
        protocol.owe(b"a")
        assert await written(protocol)
        async with asyncio.timeout(BOUND):
            await protocol.lost.wait()
        assert transport.is_closing()
        assert protocol.pending == 0


async def test_over_tls_a_peer_reads_what_it_is_owed() -> None:
    authority = trustme.CA()
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[asyncio.Transport] = loop.create_future()

    class First(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            accepted.set_result(transport)

    server = await loop.create_server(First, "127.0.0.1", 0, ssl=server_tls)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(BOUND):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_tls, server_hostname="localhost"
        )
        transport = await accepted
        flusher = Flusher()
        protocol = Accepting(transport, flusher)
        transport.set_protocol(protocol)
        protocol.watch_buffer()
        owed = [bytes([n]) * 60_000 for n in range(50)]
        for wire in owed:
            protocol.owe(wire)
        await caught_up(flusher)
        assert await reader.readexactly(3_000_000) == b"".join(owed)
        assert await written(protocol)
        assert protocol.pending == 0
        transport.abort()
        await protocol.lost.wait()
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):  # It was aborted by the other side.
            await writer.wait_closed()
        server.close()
        await server.wait_closed()
