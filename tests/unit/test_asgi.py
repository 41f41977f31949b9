"""Writing to a socket over plain ASGI."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quart_realtime import asgi
from quart_realtime.asgi import SECONDS_A_TURN, SOCKETS_A_LOOK, ASGITransport, Writers
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


class Under(asyncio.Transport):
    """What lies under a socket."""

    def __init__(self, unwritten: int = 0, **extra: Any) -> None:
        super().__init__(extra)
        self.unwritten = unwritten
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        return self.unwritten

    def abort(self) -> None:
        self.unwritten = 0
        self.aborted.set()


async def test_a_close_frees_a_socket_that_takes_nothing(socket: Socket) -> None:
    under = Under(1)
    transport = ASGITransport(nothing, socket, Writers(), Settings(), under)
    serving = asyncio.ensure_future(transport.serve(lambda _: None))
    socket.open.clear()
    transport.send(frame("a"))
    async with asyncio.timeout(BOUND):
        await transport.close(4005, "slow", patience=0.02)
        assert under.aborted.is_set()
        assert await serving == 1006
    assert (socket.sent, transport.pending) == ([], 0)


async def test_whoever_is_given_up_on_is_freed_at_once() -> None:
    under = Under()
    transport, receive = reading(under=under)
    serving = asyncio.ensure_future(transport.serve(lambda _: None))
    async with asyncio.timeout(BOUND):
        await receive.asked.wait()
        transport.abort()
        assert under.aborted.is_set()
        assert await serving == 1006


@pytest.mark.parametrize(
    ("unwritten", "extra", "freed"),
    [(0, {}, False), (1, {}, True), (0, {"ssl_object": object()}, True)],
    ids=["all written", "something left", "TLS"],
)
@pytest.mark.parametrize("answered", [True, False])
async def test_after_a_close_only_what_the_server_would_wait_for_is_freed(
    monkeypatch: pytest.MonkeyPatch,
    unwritten: int,
    extra: dict[str, Any],
    freed: bool,
    answered: bool,
) -> None:
    monkeypatch.setattr("quart_realtime.asgi.CLOSE_GRACE", 0.02)
    under = Under(unwritten, **extra)
    events = [{"type": "websocket.disconnect", "code": 1000}] if answered else []
    transport, _ = reading(*events, under=under)
    async with asyncio.timeout(BOUND):
        await transport.close(1000, "")
        assert await transport.serve(lambda _: None) == (1000 if answered else 1006)
        transport.abort()
        assert under.aborted.is_set() == (freed and not answered)
        await grace_over()
        transport.abort()
    assert under.aborted.is_set() == freed


async def test_of_a_socket_that_has_ended_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = asyncio.Event()

    class EndedTLS(Under):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            asked.set()
            raise AttributeError(name)

    monkeypatch.setattr("quart_realtime.asgi.CLOSE_GRACE", 0.01)
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    under = EndedTLS()
    transport, _ = reading({"type": "websocket.disconnect", "code": 1000}, under=under)
    await transport.serve(lambda _: None)
    transport.abort()
    async with asyncio.timeout(BOUND):
        await asked.wait()
    assert (told, under.aborted.is_set()) == ([], False)


async def grace_over() -> None:
    """Wait until the grace of a close that has just begun is over, and what is due then is done."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(asgi.CLOSE_GRACE, over.set)
    async with asyncio.timeout(BOUND):
        await over.wait()


async def test_what_was_written_before_a_goodbye_can_be_read_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("quart_realtime.asgi.CLOSE_GRACE", 0.05)
    under = Under(1)
    transport, _ = reading({"type": "websocket.disconnect", "code": 1000}, under=under)
    await transport.serve(lambda _: None)
    transport.abort()
    await asyncio.sleep(0)  # What would be done at once has been.
    under.unwritten = 0  # The client has taken it.
    await grace_over()
    assert not under.aborted.is_set()


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


# Many sockets


class Peers:
    """Sockets that one Writers writes to."""

    def __init__(self, number: int) -> None:
        self.writers = Writers()
        self.sockets = [Socket() for _ in range(number)]
        self.transports = [
            ASGITransport(nothing, socket, self.writers, Settings()) for socket in self.sockets
        ]

    def send(self, text: str) -> None:
        for transport in self.transports:
            transport.send(frame(text))


async def started(socket: Socket) -> None:
    """Wait until something is being written to *socket*."""
    async with asyncio.timeout(BOUND):
        await socket.waiting.wait()


async def caught_up(writers: Writers) -> None:
    async with asyncio.timeout(BOUND):
        await writers.catch_up()


async def test_sockets_that_do_not_let_it_wait_are_written_to_by_one_task() -> None:
    peers = Peers(200)
    peers.send("a")
    assert writers() == 1
    peers.send("b")
    assert writers() == 1
    await caught_up(peers.writers)
    assert [socket.texts for socket in peers.sockets] == [["a", "b"]] * 200
    assert writers() == 0


async def test_a_socket_that_lets_it_wait_is_left_behind_and_the_others_are_written_to() -> None:
    peers = Peers(20)
    slow = peers.sockets[3]
    slow.open.clear()
    for n in range(3):
        peers.send(str(n))
    for socket in peers.sockets:
        if socket is not slow:
            await socket.has(3)
    assert slow.sent == []
    await caught_up(peers.writers)
    assert writers() == 1  # The one that was left behind.
    peers.send("3")
    await caught_up(peers.writers)
    slow.open.set()
    await settled()
    assert [socket.texts for socket in peers.sockets] == [["0", "1", "2", "3"]] * 20
    assert [transport.pending for transport in peers.transports] == [0] * 20


async def test_each_slow_socket_keeps_its_order() -> None:
    peers = Peers(6)
    slow = peers.sockets[::2]
    for socket in slow:
        socket.open.clear()
    peers.send("0")
    for socket in slow:
        await started(socket)
    for n in range(1, 50):
        peers.send(str(n))
    for socket in reversed(slow):
        socket.open.set()
    for n in range(50, 60):
        peers.send(str(n))
        await asyncio.sleep(0)
    await settled()
    assert [socket.texts for socket in peers.sockets] == [[str(n) for n in range(60)]] * 6


async def test_a_socket_that_waits_at_each_write_loses_nothing() -> None:
    """As servers do that await something however ready they are."""
    peers = Peers(10)

    def yielding(socket: Socket) -> Any:
        async def put(message: dict[str, Any]) -> None:
            await asyncio.sleep(0)
            await socket(message)

        return put

    for transport, socket in zip(peers.transports, peers.sockets, strict=True):
        transport.put = yielding(socket)
    for n in range(5):
        peers.send(str(n))
        await asyncio.sleep(0)
    for socket in peers.sockets:
        await socket.has(5)
    await settled()
    assert [socket.texts for socket in peers.sockets] == [["0", "1", "2", "3", "4"]] * 10


async def test_writing_to_many_leaves_other_work_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that each write takes a turn's time of."""
    loop = asyncio.get_running_loop()
    peers = Peers(3 * SOCKETS_A_LOOK)
    now = loop.time()
    written = 0

    async def take_long(_: dict[str, Any]) -> None:
        nonlocal now, written
        now += SECONDS_A_TURN
        written += 1

    for transport in peers.transports:
        transport.put = take_long
    peers.send("a")
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: now)
        while writers():
            await asyncio.sleep(0)
            seen.append(written)
    assert sorted(set(seen)) == [SOCKETS_A_LOOK, 2 * SOCKETS_A_LOOK, 3 * SOCKETS_A_LOOK]


async def test_many_sockets_are_written_to_in_one_turn_while_it_is_not_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    peers = Peers(10 * SOCKETS_A_LOOK)
    now = loop.time()
    peers.send("a")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: now)
        await asyncio.sleep(0)
    assert all(socket.texts == ["a"] for socket in peers.sockets)
    await settled()


async def test_an_abort_of_a_socket_that_lets_it_wait_ends_the_task_of_that_one_only() -> None:
    peers = Peers(10)
    aborted, waiting = peers.sockets[2], peers.sockets[5]
    aborted.open.clear()
    waiting.open.clear()
    peers.send("a")
    await started(aborted)
    await started(waiting)
    peers.send("b")
    assert writers() >= 2
    peers.transports[2].abort()
    waiting.open.set()
    aborted.open.set()
    await settled()
    rest = [socket.texts for socket in peers.sockets if socket is not aborted]
    assert rest == [["a", "b"]] * 9
    assert aborted.sent == []


async def test_an_abort_before_the_task_has_gone_on_loses_nothing_of_the_others() -> None:
    """The task is cancelled that was to write to them."""
    peers = Peers(10)
    aborted = peers.sockets[0]
    aborted.open.clear()
    aborting = asyncio.ensure_future(started(aborted))
    aborting.add_done_callback(lambda _: peers.transports[0].abort())
    peers.send("a")
    await aborting
    await settled()
    assert [socket.texts for socket in peers.sockets] == [[]] + [["a"]] * 9


async def test_a_socket_s_own_send_may_abort_it() -> None:
    peers = Peers(3)

    async def abort(_: dict[str, Any]) -> None:
        peers.transports[1].abort()

    peers.transports[1].put = abort
    peers.send("a")
    peers.send("b")
    await settled()
    assert [socket.texts for socket in peers.sockets] == [["a", "b"], [], ["a", "b"]]
    assert peers.transports[1].pending == 0
    peers.send("c")
    await settled()
    assert peers.sockets[2].texts == ["a", "b", "c"]


async def test_a_socket_that_is_aborted_while_it_is_owed_something_is_passed_over() -> None:
    peers = Peers(3)
    peers.send("a")
    peers.transports[1].abort()
    await settled()
    assert [socket.texts for socket in peers.sockets] == [["a"], [], ["a"]]


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), RuntimeError("closed")])
async def test_a_socket_that_fails_stops_no_other(error: Exception) -> None:
    peers = Peers(20)
    for socket in peers.sockets[::2]:
        socket.error = error
    peers.send("a")
    peers.send("b")
    await settled()
    assert [socket.texts for socket in peers.sockets] == [[], ["a", "b"]] * 10
    peers.send("c")
    await settled()
    assert [socket.texts for socket in peers.sockets] == [[], ["a", "b", "c"]] * 10


async def test_a_slow_socket_that_fails_in_the_end_stops_no_other() -> None:
    peers = Peers(3)
    slow = peers.sockets[0]
    slow.open.clear()
    slow.error = ConnectionResetError("gone")
    peers.send("a")
    await peers.sockets[2].has(1)
    slow.open.set()
    await settled()
    peers.send("b")
    await settled()
    assert [socket.texts for socket in peers.sockets] == [[], ["a", "b"], ["a", "b"]]
    assert peers.transports[0].pending == 0


async def test_a_send_that_was_cancelled_stops_no_other() -> None:
    """As a server's is that ends the tasks of a socket."""
    peers = Peers(3)

    async def cancelled(_: dict[str, Any]) -> None:
        raise asyncio.CancelledError

    peers.transports[0].put = cancelled
    peers.send("a")
    await settled()
    peers.send("b")
    await settled()
    assert [socket.texts for socket in peers.sockets[1:]] == [["a", "b"]] * 2


async def test_catching_up_does_not_wait_for_a_socket_that_lets_it_wait() -> None:
    peers = Peers(2)
    peers.sockets[0].open.clear()
    peers.send("a")
    await caught_up(peers.writers)
    assert peers.sockets[1].texts == ["a"]
    assert peers.transports[0].pending == 1
    peers.transports[0].abort()
    await settled()


async def test_a_close_of_one_waits_for_what_it_is_owed_and_for_no_other() -> None:
    peers = Peers(2)
    peers.sockets[0].open.clear()
    peers.send("a")
    peers.send("b")
    async with asyncio.timeout(BOUND):
        await peers.transports[1].close(1000, "")
    assert [message["type"] for message in peers.sockets[1].sent] == [
        "websocket.send",
        "websocket.send",
        "websocket.close",
    ]
    peers.transports[0].abort()
    await settled()


async def test_a_close_waits_until_a_slow_socket_has_taken_all() -> None:
    peers = Peers(1)
    (socket,), (transport,) = peers.sockets, peers.transports
    socket.open.clear()
    peers.send("a")
    peers.send("b")
    await started(socket)
    closing = asyncio.ensure_future(transport.close(1000, ""))
    await asyncio.sleep(0)
    assert socket.sent == []
    socket.open.set()
    async with asyncio.timeout(BOUND):
        await closing
    assert socket.texts == ["a", "b"]
    assert socket.sent[-1]["type"] == "websocket.close"


# How much may wait


async def test_more_than_the_send_buffer_does_not_wait(socket: Socket) -> None:
    transport = ASGITransport(nothing, socket, Writers(), Settings(send_buffer=10))
    socket.open.clear()
    assert transport.send(frame("a" * 6))
    assert not transport.send(frame("b" * 5))
    assert transport.send(frame("c" * 4))
    assert transport.pending == 10
    assert transport.send(frame("last"), last=True)
    socket.open.set()
    await settled()
    assert socket.texts == ["a" * 6, "c" * 4, "last"]


async def test_a_frame_that_is_larger_than_the_send_buffer_goes_out_alone(socket: Socket) -> None:
    transport = ASGITransport(nothing, socket, Writers(), Settings(send_buffer=10))
    assert transport.send(frame("a" * 20))
    assert not transport.send(frame("b"))
    await settled()
    assert socket.texts == ["a" * 20]


# Who doesn't read


async def test_an_idle_socket_is_not_stalled(transport: ASGITransport) -> None:
    assert [transport.is_stalled() for _ in range(3)] == [False] * 3


async def test_a_socket_is_stalled_when_nothing_was_written_since_it_was_asked_last(
    transport: ASGITransport, socket: Socket
) -> None:
    socket.open.clear()
    transport.send(frame("a"))
    await started(socket)
    assert not transport.is_stalled()
    assert transport.is_stalled()
    assert transport.is_stalled()
    socket.open.set()
    await settled()
    assert not transport.is_stalled()


class Turnstile:
    """An ASGI server's send that takes one message whenever it is told to."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self._permits = asyncio.Semaphore(0)

    async def __call__(self, _: dict[str, Any]) -> None:
        self.waiting.set()
        await self._permits.acquire()
        self.waiting.clear()

    async def waits(self) -> None:
        async with asyncio.timeout(BOUND):
            await self.waiting.wait()

    async def take_one(self) -> None:
        """Take one message, and wait until the next waits."""
        await self.waits()
        self.waiting.clear()
        self._permits.release()
        await self.waits()


@pytest.mark.parametrize("kind", ["of different frames", "of the same frame"])
async def test_a_socket_that_takes_one_frame_after_the_other_is_not_stalled(kind: str) -> None:
    turnstile = Turnstile()
    transport = ASGITransport(nothing, turnstile, Writers(), Settings())
    same = frame("same")
    for n in range(5):
        transport.send(same if kind == "of the same frame" else frame(str(n)))
    stalled = []
    for _ in range(4):
        await turnstile.take_one()
        stalled.append(transport.is_stalled())
    assert stalled == [False] * 4
    assert transport.is_stalled()
    transport.abort()
    await settled()


# What comes in


class Events:
    """An ASGI server's receive."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = list(events)
        self.asked = asyncio.Event()

    async def __call__(self) -> dict[str, Any]:
        if self._events:
            return self._events.pop(0)
        self.asked.set()
        return await nothing()


def reading(
    *events: dict[str, Any], under: asyncio.Transport | None = None
) -> tuple[ASGITransport, Events]:
    receive = Events(*events)
    return ASGITransport(receive, Socket(), Writers(), Settings(), under), receive


async def test_messages_are_handed_on_until_the_socket_has_ended() -> None:
    taken: list[Any] = []
    transport, _ = reading(
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "a", "bytes": None},
        {"type": "websocket.receive", "text": None, "bytes": b"b"},
        {"type": "websocket.receive", "bytes": b"c"},
        {"type": "websocket.receive", "text": ""},
        {"type": "websocket.disconnect", "code": 1001},
    )
    assert await transport.serve(taken.append) == 1001
    assert taken == ["a", b"b", b"c", ""]


async def test_a_socket_that_ends_without_a_code_has_none() -> None:
    transport, _ = reading({"type": "websocket.disconnect"})
    assert await transport.serve(lambda _: None) == 1005


async def test_the_next_message_waits_for_what_the_last_one_has_to_wait_for() -> None:
    log: list[str] = []

    async def wait(message: Any) -> None:
        await asyncio.sleep(0)
        log.append(f"done {message}")

    def take(message: Any) -> Any:
        log.append(f"took {message}")
        return wait(message) if message == "a" else None

    transport, _ = reading(
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.receive", "text": "b"},
        {"type": "websocket.disconnect", "code": 1000},
    )
    await transport.serve(take, first=wait("first"))
    assert log == ["done first", "took a", "done a", "took b"]


async def test_an_abort_ends_serving() -> None:
    transport, receive = reading()
    serving = asyncio.ensure_future(transport.serve(lambda _: None))
    async with asyncio.timeout(BOUND):
        await receive.asked.wait()
        transport.abort()
        assert await serving == 1006


async def test_an_abort_ends_the_wait_for_what_comes_first() -> None:
    transport, _ = reading()
    begun = asyncio.Event()

    async def first() -> None:
        begun.set()
        await nothing()

    serving = asyncio.ensure_future(transport.serve(lambda _: None, first()))
    async with asyncio.timeout(BOUND):
        await begun.wait()
        transport.abort()
        assert await serving == 1006


async def test_an_abort_before_serving_ends_it_too() -> None:
    transport, _ = reading()
    transport.abort()
    async with asyncio.timeout(BOUND):
        assert await transport.serve(lambda _: None) == 1006


async def test_an_abort_after_the_socket_has_ended_is_quiet() -> None:
    transport, _ = reading({"type": "websocket.disconnect", "code": 1000})
    assert await transport.serve(lambda _: None) == 1000
    transport.abort()
    assert transport.pending == 0


async def test_a_client_that_does_not_answer_a_close_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("quart_realtime.asgi.CLOSE_GRACE", 0.01)
    transport, receive = reading()
    serving = asyncio.ensure_future(transport.serve(lambda _: None))
    async with asyncio.timeout(BOUND):
        await receive.asked.wait()
        await transport.close(1000, "")
        assert await serving == 1006


class OneAtATime:
    """An ASGI server that can't close while it receives, as Granian."""

    def __init__(self) -> None:
        self.closes: list[dict[str, Any]] = []
        self.asked = asyncio.Event()
        self.closing = asyncio.Event()
        self.closable = asyncio.Event()
        self.closable.set()
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._busy = asyncio.Lock()

    def has(self, event: dict[str, Any]) -> None:
        self._events.put_nowait(event)

    async def receive(self) -> dict[str, Any]:
        async with self._busy:
            self.asked.set()
            return await self._events.get()

    async def send(self, message: dict[str, Any]) -> None:
        async with self._busy:
            self.closing.set()
            await self.closable.wait()
            self.closes.append(message)


def one_at_a_time() -> tuple[ASGITransport, OneAtATime]:
    server = OneAtATime()
    return ASGITransport(server.receive, server.send, Writers(), Settings()), server


async def test_a_server_that_can_not_close_while_it_receives_closes_and_tells_the_answer() -> None:
    transport, server = one_at_a_time()
    serving = asyncio.ensure_future(transport.serve(lambda _: None))
    async with asyncio.timeout(BOUND):
        await server.asked.wait()
        await transport.close(4502, "sent away")
        assert server.closes == [{"type": "websocket.close", "code": 4502, "reason": "sent away"}]
        server.has({"type": "websocket.receive", "text": "on its way", "bytes": None})
        server.has({"type": "websocket.disconnect", "code": 4502})
        assert await serving == 4502


async def test_an_end_that_comes_in_the_moment_of_a_close_is_not_lost() -> None:
    transport, server = one_at_a_time()
    serving = asyncio.ensure_future(transport.serve(lambda _: None))
    async with asyncio.timeout(BOUND):
        await server.asked.wait()
        server.has({"type": "websocket.disconnect", "code": 1001})
        await transport.close(4502, "")
        assert await serving == 1001


async def test_a_close_does_not_cut_short_what_a_message_waits_for() -> None:
    transport, server = one_at_a_time()
    begun, finished = asyncio.Event(), asyncio.Event()
    log: list[str] = []

    async def log_in() -> None:
        begun.set()
        await finished.wait()
        log.append("logged in")

    serving = asyncio.ensure_future(transport.serve(lambda _: log_in()))
    server.has({"type": "websocket.receive", "text": "auth", "bytes": None})
    async with asyncio.timeout(BOUND):
        await begun.wait()
        await transport.close(4502, "")
        assert len(server.closes) == 1
        finished.set()
        server.has({"type": "websocket.disconnect", "code": 4502})
        assert await serving == 4502
    assert log == ["logged in"]


async def test_an_abort_ends_serving_though_a_close_frame_is_still_being_written() -> None:
    transport, server = one_at_a_time()
    server.closable.clear()
    serving = asyncio.ensure_future(transport.serve(lambda _: None))
    async with asyncio.timeout(BOUND):
        await server.asked.wait()
        closing = asyncio.ensure_future(transport.close(4502, "", patience=BOUND))
        await server.closing.wait()
        transport.abort()
        assert await serving == 1006
        server.closable.set()
        await closing
        server.has({"type": "websocket.disconnect", "code": 1006})
        await settled()


async def test_what_a_client_sends_after_its_end_makes_room_for_the_servers_own_end() -> None:
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
    taken: list[Any] = []
    transport = ASGITransport(queue.get, Socket(), Writers(), Settings())
    transport.abort()
    async with asyncio.timeout(BOUND):
        assert await transport.serve(taken.append) == 1006
        for _ in range(100):
            await queue.put({"type": "websocket.receive", "text": "a", "bytes": None})
        await queue.put({"type": "websocket.disconnect", "code": 1006})
    await settled()
    assert queue.empty()
    assert taken == []


@pytest.mark.parametrize("error", [TimeoutError("of its own"), RuntimeError("broken")])
async def test_what_taking_raises_is_raised(error: Exception) -> None:
    def fail(_: Any) -> None:
        raise error

    transport, _ = reading({"type": "websocket.receive", "text": "a"})
    with pytest.raises(type(error), match=str(error)):
        await transport.serve(fail)
