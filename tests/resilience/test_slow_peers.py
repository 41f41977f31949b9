"""Peers that stop reading, or vanish: they are let go, and nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from quart_realtime.backoff import Backoff
from quart_realtime.client import connect

from ..e2e.conftest import APP, make_token
from ..e2e.raw_socket import BOUND, PING, PONG, RawSocket, frame, raw_socket, text
from ..e2e.server import Server, memory_flat, serving
from ..e2e.sockets import Token, freed, post, subscribe
from ..proxy import proxying
from .conftest import Figures, Timed

MIB = 1_048_576

EVENTS = 10_000
GONE = 20.0
"""Within how many seconds a peer is gone where pings go each second: that, 10 s, and some."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Serve with little room for slow readers."""
    with serving(APP, SEND_BUFFER=65_536, RATE_LIMIT=None, HISTORY_SIZE=EVENTS) as server:
        yield server


@pytest.fixture(scope="module")
def patient() -> Iterator[Server]:
    """Serve with more room than is ever filled here, so that only the heartbeat ends things.

    Pings go every second; the 10 s of grace that follow are as they always are.
    """
    with serving(
        APP, SEND_BUFFER=64 * MIB, PING_INTERVAL=1, IDLE_TIMEOUT=4, RATE_LIMIT=None
    ) as server:
        yield server


@asynccontextmanager
async def watching(server: Server, token: Token, *gone: str) -> AsyncIterator[asyncio.Event]:
    """Have luis in the hall; the event is set when all of *gone* have left it."""
    left = asyncio.Event()
    async with connect(server.ws_url, token=token("luis")) as luis:
        hall = await luis.subscribe("hall:a")

        def note(data: Any) -> None:
            if not set(gone) & set(hall.presence):
                left.set()

        hall.on("presence_leave", note)
        yield left
        assert set(hall.presence) == {"luis"}


async def fill(server: Server, token: Token, room: str, *, mib: int) -> None:
    """Publish to *room* as much as no kernel keeps for a peer that doesn't read."""
    url = f"{server.url}/numbers/{room}/0/{mib * 16}/padded/65536"
    assert await post(url, token("eva")) == 204


@pytest.mark.line(1, "a reader that stops, 10 000 events sent")
async def test_who_stops_reading_is_closed_and_the_others_hear_all_in_order(
    server: Server, token: Token, figures: Figures
) -> None:
    heard: list[int] = []
    all_heard = asyncio.Event()

    def hear(data: dict[str, Any]) -> None:
        heard.append(data["number"])
        if len(heard) == EVENTS:
            all_heard.set()

    async with (
        watching(server, token, "ana") as left,
        connect(server.ws_url, token=token("pilar")) as pilar,
        raw_socket(server.port, token("ana"), receive_buffer=4096) as ana,
    ):
        room = await pilar.subscribe("numbers:flow")
        room.on("padded", hear)
        start = await subscribe(ana, "numbers:flow", "hall:a")
        ana.stop_reading()
        with memory_flat(server) as measured:
            for first in range(0, EVENTS, 500):
                url = f"{server.url}/numbers/flow/{first}/{first + 500}/padded/800"
                assert await post(url, token("eva")) == 204
            await asyncio.wait_for(all_heard.wait(), BOUND)
            await asyncio.wait_for(left.wait(), BOUND)
        figures("memory", f"+{measured.grown / MIB:.1f} MiB")
        assert heard == list(range(EVENTS))
        assert room.recovered
        assert server.logs("4005 too much was waiting")
        await freed(server, ana, BOUND)
        ana.read_on()
        await ana.dropped()
    async with raw_socket(server.port, token("ana")) as ana:
        # All of it would be more than may wait for a reader, and so it is none of it.
        back = await subscribe(ana, {**start, "offset": 0})
        assert (back["recovered"], back["events"]) == (False, [])
        back = await subscribe(ana, {**start, "offset": EVENTS - 20})
        missed = [event["payload"]["data"]["number"] for event in back["events"]]
        assert (back["recovered"], missed) == (True, list(range(EVENTS - 20, EVENTS)))


@pytest.mark.line(1, "a reader that stops and returns")
async def test_a_client_that_read_nothing_for_a_while_returns_and_misses_nothing(
    token: Token,
) -> None:
    heard: list[int] = []
    all_heard = asyncio.Event()

    def hear(number: int) -> None:
        heard.append(number)
        if number == EVENTS - 1:
            all_heard.set()

    with serving(APP, SEND_BUFFER=8 * MIB, PING_INTERVAL=1, HISTORY_SIZE=EVENTS) as server:
        async with proxying(server.port) as proxy:
            url = f"ws://127.0.0.1:{proxy.port}/ws"
            backoff = Backoff(base=0.05, ceiling=0.1)
            async with connect(url, token=token("ana"), backoff=backoff) as ana:
                room = await ana.subscribe("numbers:away")
                room.on("number", hear)
                proxy.swallow()
                for first in range(0, EVENTS, 1000):
                    path = f"/numbers/away/{first}/{first + 1000}"
                    assert await post(server.url + path, token("eva")) == 204
                proxy.cut()
                proxy.pass_on()
                await asyncio.wait_for(all_heard.wait(), BOUND)
                assert room.recovered
    assert heard == list(range(EVENTS))


@pytest.mark.line(2, "a TCP window of zero for ever")
async def test_who_never_reads_again_is_gone_when_the_heartbeat_has_waited_long_enough(
    patient: Server, token: Token, timed: Timed
) -> None:
    async with (
        watching(patient, token, "ana", "eva", "pilar") as left,
        raw_socket(patient.port, token("ana"), receive_buffer=4096) as silent,
        raw_socket(patient.port, token("eva"), receive_buffer=4096) as answered,
        raw_socket(patient.port, token("pilar"), receive_buffer=4096) as pinging,
    ):
        raws = (silent, answered, pinging)
        await answered.send(text({"type": "pong"}))
        for raw in raws:
            await subscribe(raw, "numbers:stuck", "hall:a")
            raw.stop_reading()
        with memory_flat(patient):
            await fill(patient, token, "stuck", mib=8)
            going_on = asyncio.create_task(go_on(pinging, frame(PING) + frame(PONG)))
            with timed("gone after"):
                await asyncio.wait_for(left.wait(), GONE)
                await asyncio.gather(*(freed(patient, raw, BOUND) for raw in raws))
        await going_on


async def go_on(raw: RawSocket, data: bytes) -> None:
    """Send *data* five times a second until the server has gone."""
    try:
        while True:
            await raw.send(data)
            await asyncio.sleep(0.2)  # Its pace; nothing is waited for.
    except (OSError, TimeoutError):
        pass


async def blind(server: Server, token: Token, room: str, within: float) -> None:
    """See that who answers the app's pings without reading any is gone, and its socket with it."""
    async with (
        watching(server, token, "ana") as left,
        raw_socket(server.port, token("ana"), receive_buffer=4096) as ana,
    ):
        await subscribe(ana, f"numbers:{room}", "hall:a")
        ana.stop_reading()
        going_on = asyncio.create_task(go_on(ana, text({"type": "pong"})))
        try:
            await fill(server, token, room, mib=8)
            await asyncio.wait_for(left.wait(), within)
            await freed(server, ana, BOUND)
        finally:
            going_on.cancel()


@pytest.mark.line(4, "pings answered, nothing read")
async def test_who_answers_the_apps_pings_and_reads_nothing_is_gone_too(
    patient: Server, token: Token
) -> None:
    await blind(patient, token, "blind", GONE)


@pytest.mark.line(4, "pings answered, nothing read, events sent")
async def test_who_answers_the_apps_pings_and_reads_nothing_is_closed_by_what_comes(
    server: Server, token: Token
) -> None:
    await blind(server, token, "more", BOUND)


async def test_who_answers_the_websockets_pings_alone_is_closed_for_silence(
    patient: Server, token: Token
) -> None:
    async with raw_socket(patient.port, token("ana")) as ana:
        going_on = asyncio.create_task(go_on(ana, frame(PING) + frame(PONG)))
        assert await ana.closed() == 4003
        going_on.cancel()


async def vanish(token: Token) -> float:
    """Have a peer vanish; return after how many seconds another is told that it has left."""
    loop = asyncio.get_running_loop()
    with serving(APP) as server:
        async with (
            watching(server, token, "ana") as left,
            proxying(server.port) as proxy,
            raw_socket(proxy.port, token("ana")) as ana,
        ):
            await subscribe(ana, "hall:a")
            await ana.send(text({"type": "pong"}))
            await ana.send(text({"type": "ping", "id": "last"}))
            assert await ana.message() == {"type": "pong", "id": "last"}
            proxy.swallow()
            start = loop.time()
            await asyncio.wait_for(left.wait(), 60)
            return loop.time() - start


@pytest.fixture(scope="module", autouse=True)
def vanishing(request: pytest.FixtureRequest) -> Iterator[Future[float] | None]:
    """Have it done while the other tests run, as it takes so long."""
    last = test_a_peer_that_vanishes_is_gone_within_36_seconds_by_default.__name__
    if not any(item.name == last for item in request.session.items):
        yield None
        return
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(asyncio.run, vanish(make_token))


@pytest.mark.line(3, "a peer that vanished")
async def test_a_peer_that_vanishes_is_gone_within_36_seconds_by_default(
    vanishing: Future[float], figures: Figures
) -> None:
    seconds = await asyncio.wrap_future(vanishing)
    figures("gone after", f"{seconds:.1f} s")
    assert seconds <= 36
