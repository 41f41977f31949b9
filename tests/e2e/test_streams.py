"""Events as a stream, and messages one by one, where websockets don't get through."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from ..waiting import until
from .conftest import APP, make_token
from .nginx import fronting
from .nodes import call, nodes, publish
from .raw_socket import BOUND
from .server import Server, memory_flat, serving
from .sockets import freed
from .streams import Response, asking, post_message, streaming

MIB = 1_048_576
WHOAMI = {"type": "request", "id": "1", "resource": "who", "payload": {"action": "native"}}
OTHER = "https://app.example.com"


def request(resource: str, action: str, key: str | None = None, **payload: Any) -> dict[str, Any]:
    payload = {"action": action, **payload}
    return {"type": "request", "id": "r1", "resource": resource, "key": key, "payload": payload}


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    with serving(APP, ALLOWED_ORIGINS=[OTHER], RATE_LIMIT="5/minute") as server:
        yield server


@pytest.fixture(scope="module")
def narrow() -> Iterator[Server]:
    """Serve with little room for slow readers."""
    with serving(APP, SEND_BUFFER=MIB, RATE_LIMIT=None, HISTORY_SIZE=0) as server:
        yield server


async def greeted(stream: Response) -> str:
    """Read the greeting of a stream that is open; return the connection's id."""
    assert stream.status == 200
    greeting = await stream.read()
    assert greeting["type"] == "connected"
    return str(greeting["payload"]["connection_id"])


async def answered(stream: Response) -> dict[str, Any]:
    """Return what a stream's client is told of its rooms, by name."""
    answer = await stream.until("response")
    return {place["room"]: place for place in answer["payload"]["rooms"]}


async def test_events_come_as_a_stream(server: Server) -> None:
    async with streaming(server, make_token("ana"), "numbers:a", "numbers:b") as ana:
        await greeted(ana)
        assert set(await answered(ana)) == {"numbers:a", "numbers:b"}
        await publish(server, "a", 0, 3)
        assert await ana.events(3) == [0, 1, 2]
        assert ana.headers["content-type"].startswith("text/event-stream")
        assert ana.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("seconds", [None, 300, -5])
async def test_who_shows_no_good_token_is_told_so_by_the_status_and_in_the_body(
    server: Server, seconds: int | None
) -> None:
    token = None if seconds is None else make_token("ana", seconds)
    token = f"{token}x" if seconds == 300 else token
    async with streaming(server, token) as refused:
        assert refused.status == 401
        assert (await refused.read())["payload"]["code"] == "unauthorized"
        closing = await refused.ended()
        assert closing["code"] == ("token_expired" if seconds == -5 else "unauthorized")


async def test_a_foreign_page_gets_neither_stream_nor_answer(server: Server) -> None:
    token = make_token("ana")
    async with streaming(server, token, Origin="https://evil.example") as refused:
        assert refused.status == 403
        assert "access-control-allow-origin" not in refused.headers
    status, _ = await post_message(server, token, WHOAMI, Origin="https://evil.example")
    assert status == 403


async def test_a_page_of_an_allowed_origin_may_read(strict: Server, token: Any) -> None:
    ask = {"Origin": OTHER, "Access_Control_Request_Method": "GET"}
    async with asking(strict, "OPTIONS", "/ws/events", **ask) as preflight:
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-origin"] == OTHER
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
    for path, body in (("/ws/events", None), ("/ws/requests", request("echo", "say", text=""))):
        method = "GET" if body is None else "POST"
        async with asking(
            strict, method, path, token=token("ana"), body=body, Origin=OTHER
        ) as answer:
            assert answer.status == 200
            assert answer.headers["access-control-allow-origin"] == OTHER
            assert answer.headers["vary"] == "Origin"


async def test_a_forbidden_room_is_refused_and_the_others_are_heard(server: Server) -> None:
    async with streaming(server, make_token("ana"), "nowhere:1", "numbers:c") as ana:
        await greeted(ana)
        told = await answered(ana)
        assert told["nowhere:1"]["error"]["code"] == "forbidden"
        await publish(server, "c", 7, 8)
        assert await ana.events(1) == [7]


async def test_nothing_is_missed_or_doubled_however_often_the_reader_comes_back(
    server: Server,
) -> None:
    heard: list[int] = []
    last = None
    for start in range(0, 60, 6):
        async with streaming(server, make_token("ana"), "numbers:back", last=last) as ana:
            await greeted(ana)
            room = (await answered(ana))["numbers:back"]
            assert last is None or room["recovered"]
            heard += [event["payload"]["data"] for event in room["events"]]
            await publish(server, "back", start, start + 3)
            heard += await ana.events(3)
            last = ana.last_id
        await publish(server, "back", start + 3, start + 6)
    assert heard == list(range(57))


async def test_what_comes_while_it_is_resumed_stands_once_in_the_answer_or_after_it(
    server: Server,
) -> None:
    async with streaming(server, make_token("ana"), "numbers:busy") as ana:
        await greeted(ana)
        await answered(ana)
        last = ana.last_id
    publishing = asyncio.create_task(publish(server, "busy", 0, 90))
    async with streaming(server, make_token("ana"), "numbers:busy", last=last) as ana:
        await greeted(ana)
        room = (await answered(ana))["numbers:busy"]
        heard = [event["payload"]["data"] for event in room["events"]]
        heard += await ana.events(90 - len(heard))
    await publishing
    assert heard == list(range(90))


async def test_a_browser_that_can_set_no_header_resumes_by_an_argument(server: Server) -> None:
    async with streaming(server, make_token("ana"), "numbers:argument") as ana:
        await greeted(ana)
        await answered(ana)
        last = ana.last_id
    await publish(server, "argument", 0, 2)
    path = f"/ws/events?rooms=numbers%3Aargument&last_event_id={last}"
    async with streaming(server, make_token("ana"), path=path) as ana:
        await greeted(ana)
        events = (await answered(ana))["numbers:argument"]["events"]
        assert [event["payload"]["data"] for event in events] == [0, 1]


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "last",
    [
        "!",
        "A" * 5000,
        encoded([]),
        encoded({"numbers:a": ["e", -1]}),
        encoded({"numbers:a": ["e", 2**64]}),
        encoded({"numbers:a": ["e", 1.5]}),
        encoded({"numbers:a": ["e" * 100, 1]}),
        encoded({"numbers:a\0": ["e", 1]}),
        encoded({"numbers:a": "e"}),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
    ],
)
async def test_an_id_that_the_server_never_gave_is_refused(server: Server, last: str) -> None:
    async with streaming(server, make_token("ana"), "numbers:a", last=last) as refused:
        assert refused.status == 400
        assert (await refused.read())["payload"]["code"] == "bad_request"


async def test_the_place_of_another_or_of_no_room_brings_no_history(server: Server) -> None:
    await publish(server, "secret", 0, 3)
    last = encoded({"user:luis": ["-", 0], "club:none": ["-", 0], "numbers:secret": ["other", 1]})
    async with streaming(server, make_token("ana"), last=last) as ana:
        await greeted(ana)
        told = await answered(ana)
        assert told["user:luis"]["error"]["code"] == "forbidden"
        assert (told["numbers:secret"]["recovered"], told["numbers:secret"]["events"]) == (
            False,
            [],
        )


async def test_places_that_did_not_fit_into_an_id_are_told_as_lost(server: Server) -> None:
    rooms = [f"numbers:{number}{'x' * 150}" for number in range(30)]
    async with streaming(server, make_token("ana"), *rooms) as ana:
        await greeted(ana)
        await answered(ana)
        assert ana.last_id is not None
        assert len(ana.last_id) <= 4096
        last = ana.last_id
    async with streaming(server, make_token("ana"), *rooms, last=last) as ana:
        await greeted(ana)
        told = await answered(ana)
        recovered = [told[room]["recovered"] for room in rooms]
        assert (True in recovered, False in recovered) == (True, True)


async def test_a_stream_ends_with_its_token(server: Server) -> None:
    async with streaming(server, make_token("ana", 2)) as ana:
        await greeted(ana)
        assert (await ana.ended())["code"] == "token_expired"


async def test_the_app_may_put_a_stream_into_rooms_and_send_it_away(server: Server) -> None:
    async with streaming(server, make_token("eva")) as eva:
        await greeted(eva)
        await call(server, "POST", "/users/eva/rooms/numbers:put")
        joined = await eva.until("event")
        assert joined["payload"]["data"]["room"] == "numbers:put"
        await publish(server, "put", 1, 2)
        assert await eva.events(1) == [1]
        await call(server, "DELETE", "/users/eva/rooms/numbers:put")
        assert (await eva.until("event"))["payload"]["type"] == "room_left"
        await call(server, "POST", "/users/eva/disconnect")
        assert (await eva.ended())["code"] == "disconnected"


async def test_who_hangs_up_is_gone_at_once(server: Server) -> None:
    async def present() -> Any:
        return await call(server, "GET", "/presence/hall:s")

    async with streaming(server, make_token("ana"), "hall:s") as ana:
        await greeted(ana)
        assert (await answered(ana))["hall:s"]["presence"] == [{"user_id": "ana", "connections": 1}]
        assert await present() == {"ana": 1}
    async with asyncio.timeout(BOUND):
        await until(lambda: _is_empty(present))


async def _is_empty(present: Any) -> bool:
    return bool(await present() == {})


async def test_a_stopping_server_sends_streams_away_and_exits() -> None:
    with serving(APP) as server:
        async with (
            streaming(server, make_token("ana")) as ana,
            streaming(server, make_token("luis")) as luis,
        ):
            await greeted(ana)
            await greeted(luis)
            server.process.send_signal(signal.SIGTERM)
            for stream in (ana, luis):
                closing = await stream.ended()
                assert (closing["code"], closing["reconnect"]) == ("restart", True)
                assert stream.retry is not None
                assert 0 <= stream.retry <= closing["retry_after_ms"]
            await asyncio.to_thread(server.process.wait, 8)


async def test_who_is_too_many_or_comes_too_late_is_told_so_by_the_status() -> None:
    with serving(APP, MAX_CONNECTIONS_PER_USER=1, HANDSHAKE_RATE_LIMIT="4/minute") as server:
        async with streaming(server, make_token("ana")) as ana:
            await greeted(ana)
            async with streaming(server, make_token("ana")) as second:
                assert second.status == 429
                assert (await second.ended())["code"] == "too_many_connections"
        await call(server, "POST", "/drain")
        async with streaming(server, make_token("ana")) as late:
            assert (late.status, int(late.headers["retry-after"]) >= 1) == (503, True)
            assert (await late.ended())["code"] == "try_later"
        status, answer = await post_message(server, make_token("ana"), WHOAMI)
        assert (status, answer["payload"]["code"]) == (503, "unavailable")
        async with streaming(server, make_token("ana")):
            pass
        async with streaming(server, make_token("ana")) as limited:
            assert limited.status == 429


async def test_a_reader_that_stops_is_ended_and_leaves_nothing_behind(narrow: Server) -> None:
    heard: list[int] = []
    async with (
        streaming(narrow, make_token("ana"), "numbers:slow", receive_buffer=8192) as slow,
        streaming(narrow, make_token("luis"), "numbers:slow") as luis,
    ):
        for stream in (slow, luis):
            await greeted(stream)
            await answered(stream)
        slow.stop_reading()
        with memory_flat(narrow, 16 * MIB):
            # More than the kernel keeps, and then the narrow.
            for start in range(0, 400, 20):
                await call(narrow, "POST", f"/numbers/slow/{start}/{start + 20}/padded/32768")
                heard += [data["number"] for data in await luis.events(20)]
            assert narrow.logs("4005 too much was waiting")
            await until(lambda: _connections(narrow, 1))
        assert heard == list(range(400))
        await freed(narrow, slow, 5)


async def _connections(server: Server, count: int) -> bool:
    return bool((await call(server, "GET", "/health"))["connections"] == count)


async def test_a_stream_is_not_given_to_who_sends_a_body_with_the_request(server: Server) -> None:
    ana = make_token("ana")
    async with asking(server, "GET", "/ws/events", token=ana, body=b"{}") as refused:
        assert refused.status == 400
    chunked = {"Transfer_Encoding": "chunked"}
    async with asking(server, "GET", "/ws/events", token=ana, **chunked) as refused:
        assert refused.status == 400


# Messages


@asynccontextmanager
async def posting_slowly(server: Server) -> AsyncIterator[asyncio.StreamReader]:
    """Send the beginning of a message, and no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(b"POST /ws/requests HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{")
        yield reader
    finally:
        writer.transport.abort()


async def test_a_message_that_does_not_come_whole_in_time_keeps_nobody_from_stopping() -> None:
    with serving(APP, DRAIN_TIMEOUT=2) as server:
        async with posting_slowly(server) as reader, asyncio.timeout(BOUND):
            assert b" 408 " in await reader.readline()
        async with posting_slowly(server):
            await call(server, "GET", "/health")  # It has been read by then.
            server.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.process.wait, BOUND) == 0


async def test_a_message_is_answered_as_over_a_socket_and_the_status_says_how(
    server: Server,
) -> None:
    ana = make_token("ana")
    status, answer = await post_message(server, ana, request("echo", "say", text="hi"))
    assert (status, answer) == (200, {"type": "response", "id": "r1", "payload": "hi"})
    gone = request("conversations", "get", conversation_id="none")
    for frame, token, expected in (
        (gone, ana, 404),
        (request("nothing", "nothing"), ana, 404),
        (request("echo", "say"), ana, 422),
        (request("bugs", "raise"), ana, 500),
        (request("echo", "say", text="hi"), None, 401),
        (request("echo", "say", text="hi"), make_token("ana", -5), 401),
        (b"{", ana, 400),
        (b"\xff", ana, 400),
        ({"type": "pong"}, ana, 400),
        ({"type": "auth", "id": "1", "payload": {"token": ana}}, ana, 400),
        (b'{"type":"request"' + b" " * 70_000 + b"}", ana, 413),
    ):
        status, answer = await post_message(server, token, frame)
        assert (status, answer["type"]) == (expected, "error"), frame
    status, answer = await post_message(server, None, request("door", "knock"))
    assert (status, answer["payload"]) == (200, "come in")
    status, answer = await post_message(server, ana, request("who", "route", number="7"))
    assert answer["payload"]["who"] == ["ana", "ana", "ana"]


async def test_a_message_sent_twice_under_one_key_is_run_once(server: Server) -> None:
    ana = make_token("ana")
    again = request("slow", "run", key="k1", name="posted", seconds=0.2)
    answers = await asyncio.gather(*(post_message(server, ana, again) for _ in range(3)))
    assert [answer["payload"] for _, answer in answers] == [1, 1, 1]
    assert (await post_message(server, ana, request("slow", "ran", name="posted")))[1][
        "payload"
    ] == 1


async def test_who_posts_too_much_is_limited_whatever_stream_it_claims(strict: Server) -> None:
    statuses = [
        (
            await post_message(
                strict,
                make_token("eva"),
                request("echo", "say", text=""),
                X_Realtime_Connection=f"made-up-{number}",
            )
        )[0]
        for number in range(7)
    ]
    assert statuses == [200] * 5 + [429] * 2
    status, _ = await post_message(strict, make_token("luis"), request("echo", "say", text=""))
    assert status == 200


async def test_a_stream_subscribes_and_pings_by_posted_messages(server: Server) -> None:
    token = make_token("ana")
    async with streaming(server, token) as ana:
        own = {"X_Realtime_Connection": await greeted(ana)}
        subscribe = {"type": "subscribe", "id": "s1", "payload": {"rooms": ["numbers:later"]}}
        assert await post_message(server, token, subscribe, **own) == (202, None)
        answer = await ana.until("response")
        assert (answer["id"], answer["payload"]["rooms"][0]["room"]) == ("s1", "numbers:later")
        await publish(server, "later", 0, 1)
        assert await ana.events(1) == [0]
        assert await post_message(server, token, {"type": "ping", "id": "p"}, **own) == (202, None)
        assert await ana.until("pong") == {"type": "pong", "id": "p"}
        leave = {**subscribe, "type": "unsubscribe", "id": "u1"}
        # Another user who has got hold of its id has no power over it.
        assert (await post_message(server, make_token("eve"), leave, **own))[0] == 202
        assert (await post_message(server, token, {**leave, "id": "u2"}, **own))[0] == 202
        assert (await ana.until("response"))["id"] == "u2"


async def test_others_only_leaves_out_the_stream_whose_client_has_posted(server: Server) -> None:
    token = make_token("ana")
    async with streaming(server, token, "numbers:others") as ana:
        own = {"X_Realtime_Connection": await greeted(ana)}
        await answered(ana)
        telling = request("others", "tell", name="others")
        assert (await post_message(server, token, telling, **own))[0] == 200
        assert (await post_message(server, token, telling))[0] == 200
        kinds = [(await ana.until("event"))["payload"]["type"] for _ in range(2)]
        assert kinds == ["skipped", "told"]


async def test_a_handler_may_put_the_stream_that_has_posted_into_a_room(server: Server) -> None:
    async with streaming(server, make_token("ana")) as ana:
        own = {"X_Realtime_Connection": await greeted(ana)}
        entering = request("hall", "enter", name="posted")
        assert (await post_message(server, make_token("ana"), entering, **own))[0] == 200
        joined = await ana.until("event")
        assert joined["payload"]["data"]["room"] == "hall:posted"


# Between


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Server]]:
    with nodes() as (_, servers):
        yield servers


async def test_a_reader_that_returns_to_another_node_has_missed_nothing(
    pair: list[Server],
) -> None:
    one, other = pair
    token = make_token("ana")
    async with streaming(one, token, "numbers:moving") as ana:
        await greeted(ana)
        await answered(ana)
        await publish(other, "moving", 0, 2)
        assert await ana.events(2) == [0, 1]
        last = ana.last_id
    await publish(one, "moving", 2, 5)
    async with streaming(other, token, "numbers:moving", last=last) as ana:
        await greeted(ana)
        room = (await answered(ana))["numbers:moving"]
        assert room["recovered"]
        assert [event["payload"]["data"] for event in room["events"]] == [2, 3, 4]
        await publish(one, "moving", 5, 6)
        assert await ana.events(1) == [5]


async def test_a_message_that_another_node_takes_reaches_the_stream(pair: list[Server]) -> None:
    one, other = pair
    token = make_token("ana")
    async with streaming(one, token) as ana:
        own = {"X_Realtime_Connection": await greeted(ana)}
        subscribe = {"type": "subscribe", "id": "s1", "payload": {"rooms": ["numbers:far"]}}
        assert (await post_message(other, token, subscribe, **own))[0] == 202
        assert (await ana.until("response"))["id"] == "s1"
        await publish(other, "far", 3, 4)
        assert await ana.events(1) == [3]


class OverHTTP2:
    """Streams that share an HTTP/2 connection; they take more only when the test reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h2.connection.H2Connection(h2.config.H2Configuration())
        self._http.initiate_connection()
        # One that stops has its own window shut, and the others none.
        self._http.increment_flow_control_window(16 * MIB)
        self._stopped: set[int] = set()
        self.texts: dict[int, str] = {}
        self.statuses: dict[int, str] = {}
        self.reset: dict[int, int] = {}

    async def open(self, token: str, room: str, *, whole: bool = True) -> int:
        """Open another stream, and return its number when it is in *room*.

        Where the request isn't *whole*, a body may follow that its headers say nothing of.
        """
        number = self._http.get_next_available_stream_id()
        path = f"/ws/events?rooms={quote(room)}"
        head = {":method": "GET", ":scheme": "http", ":path": path, ":authority": "127.0.0.1"}
        headers = [*head.items(), ("authorization", f"Bearer {token}")]
        self.texts[number] = ""
        self._http.send_headers(number, headers, end_stream=whole)
        self._writer.write(self._http.data_to_send())
        await self.until(number, '"id":"rooms"')
        return number

    async def send_body(self, number: int, size: int) -> None:
        """Send so many bytes, as fast as the server gives leave."""
        while size:
            leave = self._http.local_flow_control_window(number)
            part = min(size, leave, self._http.max_outbound_frame_size)
            if part:
                self._http.send_data(number, b"x" * part)
                self._writer.write(self._http.data_to_send())
                size -= part
            else:
                await self.read()

    def stop_reading(self, number: int) -> None:
        """Give one stream no more leave to send."""
        self._stopped.add(number)

    async def read(self) -> None:
        """Take what has come, and make room for more."""
        async with asyncio.timeout(BOUND):
            data = await self._reader.read(65_536)
        assert data
        for event in self._http.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.statuses[event.stream_id] = dict(event.headers)[b":status"].decode()
            elif isinstance(event, h2.events.DataReceived):
                self.texts[event.stream_id] += event.data.decode()
                if event.stream_id not in self._stopped:
                    size = event.flow_controlled_length
                    self._http.acknowledge_received_data(size, event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.reset[event.stream_id] = int(event.error_code)
        self._writer.write(self._http.data_to_send())

    async def until(self, number: int, text: str) -> None:
        while text not in self.texts[number]:
            await self.read()


@asynccontextmanager
async def over_http2(server: Server) -> AsyncIterator[OverHTTP2]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield OverHTTP2(reader, writer)
    finally:
        writer.transport.abort()


async def test_a_stream_of_http_2_is_like_any_other(server: Server) -> None:
    async with over_http2(server) as streams:
        ana = await streams.open(make_token("ana"), "numbers:two")
        assert streams.statuses == {ana: "200"}
        await publish(server, "two", 41, 43)
        await streams.until(ana, '"data":42')
    await until(lambda: _connections(server, 0))


async def test_what_is_sent_with_a_request_for_a_stream_over_http_2_is_not_kept(
    narrow: Server,
) -> None:
    async with over_http2(narrow) as streams:
        ana = await streams.open(make_token("ana"), "numbers:body", whole=False)
        with memory_flat(narrow, 6 * MIB):
            await streams.send_body(ana, 12 * MIB)
            await publish(narrow, "body", 1, 2)
            await streams.until(ana, '"data":1')
    await until(lambda: _connections(narrow, 0))


async def test_a_reader_over_http_2_that_stops_is_ended(narrow: Server) -> None:
    async with over_http2(narrow) as streams:
        await streams.open(make_token("ana"), "numbers:slow")
        # Without its leave no more than its window of 64 KiB goes out.
        with memory_flat(narrow, 16 * MIB):
            await call(narrow, "POST", "/numbers/slow/0/100/padded/32768")
            await until(lambda: _connections(narrow, 0))


async def test_of_an_http_2_connection_only_the_stream_that_stops_is_reset(
    narrow: Server,
) -> None:
    async with over_http2(narrow) as streams:
        slow = await streams.open(make_token("ana"), "numbers:slow")
        other = await streams.open(make_token("luis"), "numbers:other")
        streams.stop_reading(slow)
        await call(narrow, "POST", "/numbers/slow/0/100/padded/32768")
        while not streams.reset:
            await streams.read()
        assert streams.reset == {slow: h2.errors.ErrorCodes.CANCEL}
        await publish(narrow, "other", 41, 43)
        await streams.until(other, '"data":42')
        again = await streams.open(make_token("ana"), "numbers:slow")
        await publish(narrow, "slow", 7, 8)
        await streams.until(again, '"data":7')
        await until(lambda: _connections(narrow, 2))
    await until(lambda: _connections(narrow, 0))


async def test_it_comes_through_nginx_at_once(server: Server, tmp_path: Path) -> None:
    with fronting(tmp_path, [server.port, server.port]) as nginx:
        token = make_token("ana")
        async with streaming(nginx, token, "numbers:nginx") as ana:  # type: ignore[arg-type]
            own = {"X_Realtime_Connection": await greeted(ana)}
            await answered(ana)
            for number in range(3):
                await publish(server, "nginx", number, number + 1)
                assert await ana.events(1) == [number]
            ping = {"type": "ping", "id": "p"}
            assert (await post_message(nginx, token, ping, **own))[0] == 202  # type: ignore[arg-type]
            assert (await ana.until("pong"))["id"] == "p"
        await until(lambda: _connections(server, 0))
        assert token not in nginx.logs()
