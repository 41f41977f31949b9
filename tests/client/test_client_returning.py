from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from quart_realtime import client_link
from quart_realtime.client import (
    Backoff,
    Closed,
    ConnectionRefused,
    ConnectionState,
    Disconnect,
)

from .fake_server import FakeServer, Gate, within


async def test_connecting_offers_the_token_as_a_subprotocol_and_takes_the_greeting(server, make):
    client = make("abc.def-ghi_")
    greetings = []
    client.on_connect(greetings.append)
    assert client.state is ConnectionState.DISCONNECTED
    async with client:
        peer = await server.peer()
        assert peer.offered == ["realtime.v1", "bearer.abc.def-ghi_"]
        assert client.state is ConnectionState.CONNECTED
        assert (client.user_id, client.connection_id) == ("7", "conn-1")
        assert greetings[0]["idle_timeout"] == 300
        assert repr(client) == "<Client connected user='7'>"
    assert client.state is ConnectionState.DISCONNECTED
    await within(peer.closed.wait())
    assert peer.socket.protocol.close_code == 1000


@pytest.mark.parametrize(
    ("subprotocol", "greeting"), [(None, {}), ("realtime.v2", {}), ("realtime.v1", {"protocol": 2})]
)
async def test_a_server_that_speaks_another_version_is_told_of_and_not_asked_again(
    server, make, subprotocol, greeting
):
    server.subprotocol, server.greeting = subprotocol, greeting
    client = make()
    gone = []
    client.on_disconnect(gone.append)
    with pytest.raises(Closed, match=r"this client speaks realtime\.v1 alone") as refused:
        await within(client.connect())
    assert refused.value.code == 4501
    assert client.state is ConnectionState.DISCONNECTED
    assert [(one.code, one.reconnecting) for one in gone] == [(4501, False)]
    assert len(server.peers) == 1


async def test_headers_go_with_the_handshake(server, make):
    client = make(None, headers={"Authorization": "Bearer abc"})
    await within(client.connect())
    peer = await server.peer()
    assert peer.socket.request.headers["Authorization"] == "Bearer abc"
    assert peer.offered == ["realtime.v1"]


async def test_the_token_reaches_no_log_not_even_at_debug(server, make, caplog):
    caplog.set_level("DEBUG")
    client = make("very-secret-token")
    await within(client.connect())
    peer = await server.peer()
    await peer.cut()
    await server.peer()
    told = [record.getMessage() for record in caplog.records if "server" not in record.name]
    assert not [text for text in told if "very-secret-token" in text]


async def test_connecting_twice_opens_one_connection(server, make):
    client = make()
    await within(asyncio.gather(client.connect(), client.connect()))
    await within(client.connect())
    assert len(server.peers) == 1


async def test_a_client_that_was_disconnected_can_connect_again(server, make):
    client = make()
    for _ in range(2):
        async with client:
            assert client.state is ConnectionState.CONNECTED
    assert len(server.peers) == 2


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 4002, 4003, 4004, 4005, 4006, 4499])
async def test_it_comes_back_after(code, server, client, collector):
    lost = collector()
    client.on_disconnect(lost)
    peer = await server.peer()
    await peer.close(code, "reason")
    await server.peer()
    assert await lost.have(1) == [Disconnect(code, "reason", reconnecting=True)]
    await within(client.connect())


async def test_it_comes_back_when_the_socket_drops_without_a_word(server, client, collector):
    lost = collector()
    client.on_disconnect(lost)
    peer = await server.peer()
    await peer.cut()
    await server.peer()
    assert await lost.have(1) == [Disconnect(1006, "", reconnecting=True)]


@pytest.mark.parametrize("code", [1000, 1007, 1009, 4501, 4502, 4503, 4999])
async def test_it_stays_away_after(code, server, client, collector):
    lost = collector()
    client.on_disconnect(lost)
    stream = client.events()
    peer = await server.peer()
    await peer.close(code, "enough")
    assert await lost.have(1) == [Disconnect(code, "enough", reconnecting=False)]
    assert client.state is ConnectionState.DISCONNECTED
    with pytest.raises(Closed, match="enough") as caught:
        await within(anext(stream))
    assert caught.value.code == code
    assert len(server.peers) == 1


@pytest.mark.parametrize(("code", "told"), [(4503, "4503 (too_many_connections)"), (4777, "4777")])
async def test_a_final_close_is_raised_by_connect(code, told, server, make):
    server.on_open = lambda peer: peer.close(code, "why")
    client = make()
    with pytest.raises(Closed) as caught:
        await within(client.connect())
    assert str(caught.value) == f"closed with {told}: why"
    assert client.state is ConnectionState.DISCONNECTED


async def test_the_closing_frame_decides_whether_to_come_back(server, client, collector):
    lost = collector()
    client.on_disconnect(lost)
    peer = await server.peer()
    await peer.close(4444, code="whatever", reconnect=False, retry_after_ms=None)
    assert await lost.have(1) == [Disconnect(4444, "", reconnecting=False)]


async def test_the_closing_frame_tells_the_code_of_a_socket_that_just_drops(
    server, client, collector
):
    lost = collector()
    client.on_disconnect(lost)
    peer = await server.peer()
    await peer.send("closing", payload={"code": "disconnected", "reconnect": False})
    await peer.settle()
    await peer.cut()
    assert await lost.have(1) == [Disconnect(4502, "", reconnecting=False)]


class Drawn:
    """Randomness that draws the most there is, and remembers nothing; waits are noted."""

    def __init__(self, monkeypatch) -> None:
        self.waits: list[float] = []
        self._sleep = asyncio.sleep
        monkeypatch.setattr("quart_realtime.client.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        # 0 is somebody who lets others go first; whole seconds are the watch over a socket.
        if 0 < seconds != 5.0:
            self.waits.append(seconds)
            seconds = 0
        await self._sleep(seconds)


async def test_a_server_that_drains_has_its_clients_come_back_within_the_time_it_names(
    server, make, monkeypatch
):
    drawn = Drawn(monkeypatch)
    client = make(backoff=Backoff(random=lambda: 0.5))
    await within(client.connect())
    peer = await server.peer()
    await peer.close(1012, code="restart", reconnect=True, retry_after_ms=3000)
    peer = await server.peer()
    await peer.close(1012, code="restart", reconnect=True, retry_after_ms=3_600_000)
    await server.peer()
    assert drawn.waits == [1.5, 30.0]


async def test_the_wait_grows_while_a_server_accepts_and_closes(server, make, clock, monkeypatch):
    drawn = Drawn(monkeypatch)
    client = make(backoff=Backoff(random=lambda: 1.0, clock=clock))
    await within(client.connect())
    for _ in range(4):
        peer = await server.peer()
        await peer.close(1011)
    peer = await server.peer()
    await peer.settle()
    assert drawn.waits == [1.0, 1.5, 2.5, 4.5]
    clock.now += 5
    await peer.close(1011)
    await server.peer()
    assert drawn.waits[-1] == 1.0


async def test_it_waits_for_a_server_that_is_not_there_yet(server, make, collector):
    await server.stop()
    client = make()
    failed = collector()
    client.on_error(failed)
    connecting = asyncio.create_task(client.connect())
    await failed.have(3)
    assert all(isinstance(error, OSError) for error in failed)
    await server.start()
    await within(connecting)


async def test_an_attempt_that_is_never_greeted_is_given_up_and_made_again(server, make, collector):
    server.on_open = gate = Gate()
    client = make(connect_timeout=0.05)
    failed = collector()
    client.on_error(failed)
    connecting = asyncio.create_task(client.connect())
    await failed.have(1)
    assert isinstance(failed[0], TimeoutError)
    gate.go_on.set()
    await within(connecting)


async def test_a_close_before_the_greeting_is_an_attempt_that_failed(server, make, collector):
    server.on_open = lambda peer: peer.close(1013, "full")
    client = make()
    failed = collector()
    lost = collector()
    client.on_error(failed)
    client.on_disconnect(lost)
    connecting = asyncio.create_task(client.connect())
    await failed.have(2)
    assert str(failed[0]) == "closed with 1013 (try_later): full"
    assert lost == []
    server.on_open = None
    await within(connecting)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404])
async def test_a_url_without_a_websocket_is_refused_finally(status, server, make):
    server.status = status
    with pytest.raises(ConnectionRefused, match=f"HTTP {status}") as caught:
        await within(make().connect())
    assert caught.value.status == status
    assert caught.value.code == 1006


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_a_server_that_fails_or_is_busy_is_tried_again(status, server, make, collector):
    server.status = status
    client = make()
    failed = collector()
    client.on_error(failed)
    connecting = asyncio.create_task(client.connect())
    await failed.have(2)
    server.status = None
    await within(connecting)


async def test_a_url_that_worked_once_is_tried_again_whatever_it_answers(server, client, collector):
    failed = collector()
    client.on_error(failed)
    peer = await server.peer()
    server.status = 404
    await peer.cut()
    await failed.have(2)
    server.status = None
    await server.peer()


# The heartbeat


async def test_a_ping_is_answered(server, client):
    peer = await server.peer()
    await peer.send("ping")
    assert await peer.next("pong") == {"type": "pong"}


async def test_a_server_that_says_nothing_is_left_for_a_fresh_connection(
    server, make, monkeypatch, collector
):
    monkeypatch.setattr(client_link, "GRACE", 0.05)
    server.greeting["ping_interval"] = 0.05
    client = make()
    lost = collector()
    client.on_disconnect(lost)
    await within(client.connect())
    first = await server.peer()
    server.greeting["ping_interval"] = 25
    await server.peer()
    assert await lost.have(1) == [Disconnect(1006, "", reconnecting=True)]
    await within(first.closed.wait())


@pytest.mark.parametrize("interval", [None, 0, -1])
async def test_a_server_that_does_not_ping_may_be_silent(interval, server, make, monkeypatch):
    monkeypatch.setattr(client_link, "GRACE", 0.01)
    monkeypatch.setattr(client_link, "LONGEST_NAP", 0.01)
    server.greeting["ping_interval"] = interval
    client = make()
    await within(client.connect())
    await asyncio.sleep(0.1)
    assert client.state is ConnectionState.CONNECTED
    assert len(server.peers) == 1


async def test_a_machine_that_slept_asks_the_server_first_and_leaves_one_that_is_gone(
    server, make, clock, monkeypatch
):
    monkeypatch.setattr(client_link, "PROBE_TIMEOUT", 0.05)
    monkeypatch.setattr(client_link, "LONGEST_NAP", 0.01)
    client = make()
    await within(client.connect())
    peer = await server.peer()
    clock.now += 3600
    await peer.next("ping")
    await server.peer()
    await within(peer.closed.wait())


async def test_a_clock_that_was_set_costs_no_connection(server, make, clock, monkeypatch):
    monkeypatch.setattr(client_link, "PROBE_TIMEOUT", 0.05)
    monkeypatch.setattr(client_link, "LONGEST_NAP", 0.01)
    server.replies["ping"] = lambda peer, frame: peer.send("pong")
    client = make()
    await within(client.connect())
    peer = await server.peer()
    for jump in (3600, -7200, 3600):
        clock.now += jump
        await asyncio.sleep(0.1)
    assert len(peer.sent("ping")) >= 1
    assert len(server.peers) == 1


async def test_nothing_of_an_old_socket_arrives_after_it_was_left(
    server, make, monkeypatch, collector
):
    monkeypatch.setattr(client_link, "GRACE", 0.05)
    server.greeting["ping_interval"] = 0.05
    client = make()
    heard = collector()
    client.on("new_message", heard)
    await within(client.connect())
    old = await server.peer()
    server.greeting["ping_interval"] = 25
    new = await server.peer()
    with suppress(ConnectionClosed):
        await old.event("new_message", "old")
    await new.event("new_message", "new")
    assert await heard.have(1) == ["new"]


# Leaving


async def test_a_disconnect_while_connecting_leaves_nothing_and_ends_the_connect(make):
    """A server that takes the connection and never answers the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = make(url=f"ws://127.0.0.1:{listener.getsockname()[1]}/")
        connecting = asyncio.create_task(client.connect())
        accepted, _ = await within(asyncio.to_thread(listener.accept))
        with accepted:
            assert client.state is ConnectionState.CONNECTING
            await within(client.disconnect())
            with pytest.raises(Exception, match="not connected"):
                await within(connecting)
        assert client.state is ConnectionState.DISCONNECTED


async def test_a_disconnect_before_the_greeting_leaves_nothing(server, make):
    server.on_open = gate = Gate()
    client = make()
    connecting = asyncio.create_task(client.connect())
    await within(gate.reached.wait())
    await within(client.disconnect())
    await asyncio.wait([connecting])
    await within(server.peers[0].socket.wait_closed())
    assert connecting.exception() is not None
    gate.go_on.set()


async def test_a_disconnect_while_waiting_leaves_nothing(server, make, collector):
    client = make(backoff=Backoff(base=3600, ceiling=3600))
    lost = collector()
    client.on_disconnect(lost)
    await within(client.connect())
    peer = await server.peer()
    await peer.cut()
    await lost.have(1)
    assert client.state is ConnectionState.WAITING
    await within(client.disconnect())
    assert lost[-1] == Disconnect(1000, "", reconnecting=False)
    assert client.state is ConnectionState.DISCONNECTED


async def test_a_disconnect_of_a_client_that_never_connected_does_nothing(make, collector):
    client = make()
    lost = collector()
    client.on_disconnect(lost)
    await within(client.disconnect())
    await within(asyncio.gather(client.disconnect(), client.disconnect()))
    assert lost == []


async def test_a_connect_that_is_cancelled_leaves_nothing(server, make):
    server.on_open = gate = Gate()
    client = make()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.connect()
    assert client.state is ConnectionState.DISCONNECTED
    gate.go_on.set()


async def test_a_server_that_no_longer_answers_does_not_hold_a_disconnect_up(
    server, client, monkeypatch
):
    peer = await server.peer()
    peer.socket.transport.pause_reading()
    link = await client._requests.link()
    link._socket.close_timeout = 0.05
    await within(client.disconnect())
    assert client.state is ConnectionState.DISCONNECTED


async def test_a_callback_may_disconnect(server, client, collector):
    lost = collector()
    client.on_disconnect(lost)

    async def leave(data):
        await client.disconnect()
        await client.disconnect()

    client.on("go", leave)
    client.on_disconnect(lambda disconnect: client.disconnect())
    peer = await server.peer()
    await peer.event("go")
    await lost.have(1)
    await within(peer.closed.wait())
    assert client.state is ConnectionState.DISCONNECTED


async def test_a_mistake_of_the_client_itself_ends_it_and_is_logged(
    server, client, collector, monkeypatch, caplog
):
    lost = collector()
    client.on_disconnect(lost)
    peer = await server.peer()
    monkeypatch.setattr(client, "_take", lambda link, frame: 1 / 0)
    await peer.event("anything")
    (disconnect,) = await lost.have(1)
    assert "ZeroDivisionError" in disconnect.reason
    assert "the client failed" in caplog.text


async def test_two_servers_after_one_another_on_one_port_are_one_to_the_client(
    server, make, collector
):
    client = make()
    await within(client.connect())
    await server.stop()
    second = FakeServer()
    second.port = server.port
    async with second:
        peer = await second.peer()
        assert peer.token == "token"
        await within(client.disconnect())
