"""Which way sockets go, and that all of them lead there: loops, TLS, HTTP/2, other servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import h2.config
import h2.connection
import h2.events
import pytest
import trustme
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket
from websockets.typing import Subprotocol

from quart_realtime import CloseCode

from ..ports import free_port
from .conftest import APP
from .raw_socket import BOUND, PING, TEXT, frame, raw_socket
from .server import Server, serving
from .sockets import Token, ask, close_code, freed, opened, post, read, subscribe

WRAPPED = "tests.e2e.app:wrapped"
TOLD = "websockets are served by plain ASGI, without the fast lane: "
fast = pytest.mark.lane("fast")


def told(server: Server) -> list[str]:
    """Return what the server's log says of the lane."""
    return [line for line in server.log if TOLD in line]


def request(frame_id: str, resource: str, action: str, **payload: Any) -> dict[str, Any]:
    payload = {"action": action, **payload}
    return {"type": "request", "id": frame_id, "resource": resource, "payload": payload}


async def core_story(server: Server, token: Token, tls: ssl.SSLContext | None = None) -> None:
    """See the handshake, a request, an event by REST, a room, a return to it, and refusals."""

    async def refused(socket: ClientConnection, code: CloseCode) -> None:
        while (told := await read(socket))["type"] != "closing":
            pass
        assert told["payload"]["code"] == code.label
        assert await close_code(socket) == code

    async def publish(name: str, first: int, last: int) -> None:
        url = f"{server.url}/numbers/{name}/{first}/{last}"
        bearer = {"Authorization": f"Bearer {token('luis')}"}
        call = Request(url, method="POST", data=b"", headers=bearer)

        def send() -> int:
            with urlopen(call, timeout=BOUND, context=tls) as response:
                return int(response.status)

        assert await asyncio.to_thread(send) == 204

    how: dict[str, Any] = {} if tls is None else {"ssl": tls}
    async with opened(server, token("ana"), **how) as ana:
        answer = await ask(ana, request("1", "who", "route", number="7"))
        assert answer["payload"] == {"number": "7", "who": ["ana"] * 3}
        answer = await ask(ana, request("2", "echo", "say", text="ñ" * 10_000))
        assert answer["payload"] == "ñ" * 10_000
        rooms = {"rooms": ["numbers:story"]}
        answer = await ask(ana, {"type": "subscribe", "id": "3", "payload": rooms})
        (start,) = answer["payload"]["rooms"]
        # A burst, all of it at once.
        await publish("story", 0, 60)
        heard = [(await read(ana))["payload"]["data"] for _ in range(60)]
        assert heard == list(range(60))
    await publish("story", 60, 65)
    async with opened(server, token("ana"), **how) as ana:
        position = {key: start[key] for key in ("room", "epoch")} | {"offset": 60}
        rooms = {"rooms": [position]}
        answer = await ask(ana, {"type": "subscribe", "id": "4", "payload": rooms})
        (back,) = answer["payload"]["rooms"]
        assert back["recovered"] is True
        missed = [event["payload"]["data"] for event in back["events"]]
        assert missed == list(range(60, 65))
        await ana.send("x" * 65_537)
        await refused(ana, CloseCode.MESSAGE_TOO_BIG)
    async with opened(server, token("ana"), **how) as ana:
        await ana.send(b"binary")
        await refused(ana, CloseCode.PROTOCOL_ERROR)
    protocols = [Subprotocol("realtime.v1"), Subprotocol("bearer.no")]
    async with connect_socket(server.ws_url, subprotocols=protocols, **how) as nobody:
        await refused(nobody, CloseCode.UNAUTHORIZED)


# Whether Hypercorn's fast lane is taken


@fast
async def test_a_server_that_is_known_is_taken_by_the_fast_lane_without_a_word(
    token: Token,
) -> None:
    with serving(APP) as server:
        await core_story(server, token)
    assert told(server) == []


async def test_the_setting_keeps_to_plain_asgi_without_a_word(token: Token) -> None:
    with serving(APP, FAST_LANE=False) as server:
        await core_story(server, token)
    assert told(server) == []


@fast
async def test_a_server_that_is_not_known_is_told_of_once_and_serves_by_plain_asgi(
    token: Token,
) -> None:
    with serving(WRAPPED) as server:
        await core_story(server, token)
    (line,) = told(server)
    assert "found builtins.NoneType where hypercorn.protocol.ws_stream.WSStream" in line


class SocketOverHTTP2:
    """A websocket as a stream of an HTTP/2 connection (RFC 8441)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h2.connection.H2Connection(h2.config.H2Configuration())
        self._stream = 1
        self._bytes = bytearray()
        self.status = b""

    def _flush(self) -> None:
        self._writer.write(self._http.data_to_send())

    async def _receive(self) -> None:
        async with asyncio.timeout(BOUND):
            data = await self._reader.read(65_536)
        assert data
        for event in self._http.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.status = dict(event.headers)[b":status"]
            elif isinstance(event, h2.events.DataReceived):
                self._bytes += event.data
                self._http.acknowledge_received_data(event.flow_controlled_length, self._stream)
            elif isinstance(event, h2.events.RemoteSettingsChanged):
                self.may_connect = True
        self._flush()

    async def open(self, token: str) -> None:
        self._http.initiate_connection()
        self._flush()
        await self._receive()
        headers = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/ws"),
            (":authority", "127.0.0.1"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", f"realtime.v1, bearer.{token}"),
        ]
        self._http.send_headers(self._stream, headers)
        self._flush()
        while not self.status:
            await self._receive()

    def send(self, message: dict[str, Any]) -> None:
        self._http.send_data(self._stream, frame(TEXT, json.dumps(message).encode()))
        self._flush()

    async def read(self) -> dict[str, Any]:
        """Return the next message; only small ones, or of two bytes of length."""
        while True:
            head, start = bytes(self._bytes[:2]), 2
            if len(head) == 2:
                size = head[1]
                if size == 126:
                    size, start = int.from_bytes(self._bytes[2:4]), 4
                if len(self._bytes) >= start + size:
                    data = bytes(self._bytes[start : start + size])
                    del self._bytes[: start + size]
                    return dict(json.loads(data))
            await self._receive()


@asynccontextmanager
async def over_http2(server: Server, token: str) -> AsyncIterator[SocketOverHTTP2]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        socket = SocketOverHTTP2(reader, writer)
        await socket.open(token)
        yield socket
    finally:
        writer.transport.abort()


async def test_over_http2_sockets_go_by_plain_asgi(token: Token) -> None:
    with serving(APP) as server:
        for _ in range(2):
            async with over_http2(server, token("ana")) as socket:
                assert socket.status == b"200"
                assert (await socket.read())["type"] == "connected"
                socket.send(request("1", "who", "route", number="7"))
                assert (await socket.read())["payload"]["who"] == ["ana"] * 3
                rooms = {"rooms": ["numbers:h2"]}
                socket.send({"type": "subscribe", "id": "2", "payload": rooms})
                assert (await socket.read())["type"] == "response"
                assert await post(f"{server.url}/numbers/h2/0/60", token("luis")) == 204
                heard = [(await socket.read())["payload"]["data"] for _ in range(60)]
                assert heard == list(range(60))
        # Others still take the lane.
        async with opened(server, token("luis")) as luis:
            assert await ask(luis, {"type": "ping"}) == {"type": "pong"}
    assert len(told(server)) == (1 if Server.fast_lane else 0)
    assert all("H2Protocol" in line for line in told(server))


# Hypercorn's ways


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], ssl.SSLContext]:
    """Return Hypercorn's options for TLS, and what a client is to trust."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    key, chain = directory / "key.pem", directory / "chain.pem"
    issued.private_key_pem.write_to_path(str(key))
    for part in issued.cert_chain_pems:
        part.write_to_path(str(chain), append=True)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return ["--keyfile", str(key), "--certfile", str(chain)], context


@pytest.mark.parametrize(("loop", "tls"), [("uvloop", False), ("asyncio", True), ("uvloop", True)])
async def test_on_any_loop_with_or_without_tls_all_works_and_a_slow_reader_is_let_go(
    token: Token, certificate: tuple[list[str], ssl.SSLContext], loop: str, tls: bool
) -> None:
    options, context = certificate if tls else ([], None)
    with serving(
        APP, options=["--worker-class", loop, *options], SEND_BUFFER=262_144, RATE_LIMIT=None
    ) as server:
        await core_story(server, token, context)
        async with raw_socket(server.port, token("ana"), receive_buffer=4096, ssl=context) as ana:
            await subscribe(ana, "numbers:slow")
            ana.stop_reading()
            async with opened(server, token("luis"), ssl=context) as luis:
                # All of it is for ana, who doesn't read it.
                await fill_room(server, luis, "slow", context)
                await freed(server, ana, BOUND)
                assert await ask(luis, {"type": "ping"}) == {"type": "pong"}
        assert server.logs("4005")
        assert "Traceback" not in "".join(server.log)
    assert told(server) == []


async def test_over_tls_who_never_answers_a_close_is_let_go_all_the_same(
    token: Token, certificate: tuple[list[str], ssl.SSLContext]
) -> None:
    options, context = certificate
    with serving(APP, options=options, AUTH_TIMEOUT=0.5) as server:
        async with raw_socket(server.port, ssl=context) as silent:
            # It has no token, is told so, and then neither reads nor hangs up.
            silent.stop_reading()
            await freed(server, silent, BOUND)


async def test_where_hypercorn_limits_reading_sockets_live_on(token: Token) -> None:
    with serving(APP, options=["--read-timeout", "2"], RATE_LIMIT=None) as server:
        async with opened(server, token("ana")) as socket:
            end = asyncio.get_running_loop().time() + 4
            while asyncio.get_running_loop().time() < end:
                assert await ask(socket, {"type": "ping"}) == {"type": "pong"}
                await asyncio.sleep(0.1)  # As a client does that has little to say.
    if Server.fast_lane:
        assert ["read_timeout" in line for line in told(server)] == [True]


async def fill_room(server: Server, socket: Any, room: str, context: ssl.SSLContext | None) -> None:
    url = f"{server.url}/numbers/{room}/0/128/padded/65536"

    def send() -> int:
        call = Request(url, method="POST", data=b"")
        with urlopen(call, timeout=BOUND, context=context) as response:
            return int(response.status)

    assert await asyncio.to_thread(send) == 204


async def test_hypercorns_own_pings_do_not_disturb_what_is_sent(
    token: Token, tmp_path: Path
) -> None:
    config = tmp_path / "hypercorn.toml"
    config.write_text("websocket_ping_interval = 0.02")
    with serving(APP, options=["--config", str(config)]) as server:
        await core_story(server, token)
        async with raw_socket(server.port, token("ana")) as raw:
            await subscribe(raw, "numbers:pinged")
            url = f"{server.url}/numbers/pinged"
            heard: list[int] = []
            pings = 0
            publishing = asyncio.gather(
                *(post(f"{url}/{n}/{n + 50}", token("luis")) for n in range(0, 500, 50))
            )
            while len(heard) < 500 or pings < 5:
                got = await raw.read()
                if got.opcode == PING:
                    pings += 1
                else:
                    heard.append(got.json()["offset"])
            await publishing
            assert heard == list(range(1, 501))


async def test_what_several_publish_at_once_comes_to_all_in_one_order(
    server: Server, token: Token
) -> None:
    async with (
        opened(server, token("ana")) as ana,
        opened(server, token("luis")) as luis,
    ):
        for socket in (ana, luis):
            rooms = {"rooms": ["numbers:order"]}
            await ask(socket, {"type": "subscribe", "id": "1", "payload": rooms})
        url = f"{server.url}/numbers/order"
        publishing = asyncio.gather(
            *(post(f"{url}/{n}/{n + 100}", token("eva")) for n in range(0, 800, 100))
        )
        told_ana, told_luis = await hear(ana, 800), await hear(luis, 800)
        await publishing
    assert told_ana == told_luis
    assert [offset for offset, _ in told_ana] == list(range(1, 801))
    for first in range(0, 800, 100):
        own = [number for _, number in told_ana if first <= number < first + 100]
        assert own == list(range(first, first + 100))


async def hear(socket: Any, count: int) -> list[tuple[int, int]]:
    events = [await read(socket) for _ in range(count)]
    return [(event["offset"], event["payload"]["data"]) for event in events]


# Other servers


def uvicorn() -> Sequence[str]:
    return ("uvicorn", "--host", "127.0.0.1", "--port", "0")


def granian() -> Sequence[str]:
    # It takes no port 0.
    port = str(free_port())
    return ("granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", port)


async def listening(server: Server) -> None:
    """Wait until the server can be reached: Granian says so before its worker can be."""
    async with asyncio.timeout(BOUND):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            except OSError:
                await asyncio.sleep(0.05)  # Nobody tells when it can.
            else:
                writer.transport.abort()
                return


@pytest.mark.parametrize("command", [uvicorn, granian])
async def test_other_servers_serve_it_all_and_end_when_told(
    token: Token, command: Callable[[], Sequence[str]]
) -> None:
    with serving(APP, command=command(), RETRY_AFTER=0.1) as server:
        await listening(server)
        await core_story(server, token)
        if Server.fast_lane:
            assert len(told(server)) == 1
        async with opened(server, token("ana")) as ana:
            server.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                code = await close_code(ana)
                await asyncio.to_thread(server.process.wait)
        assert code in {1001, 1006, 1012}


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.worker}/fd"))


async def test_granian_passes_the_code_of_a_close_on_and_keeps_none_of_the_sockets(
    token: Token,
) -> None:
    with serving(APP, command=granian()) as server:
        await listening(server)
        before = descriptors(server)
        for _ in range(20):
            async with opened(server, token("ana")) as ana:
                assert await post(f"{server.url}/users/ana/disconnect", token("luis")) == 204
                assert await close_code(ana) == CloseCode.DISCONNECTED
        async with asyncio.timeout(BOUND):
            # The first of all may have had the server open a few for good.
            while descriptors(server) > before + 5:  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # Nobody tells when.
