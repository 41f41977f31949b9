from __future__ import annotations

import asyncio
import gc

import pytest

from quart_realtime import client_listeners
from quart_realtime.client import ConnectionState, Event, RealtimeError

from .fake_server import within


async def test_a_callback_gets_the_data_of_its_events_until_it_is_undone(server, client, collector):
    peer = await server.peer()
    heard = collector()
    undo = client.on("new_message", heard)
    await peer.event("new_message", {"text": "hi"})
    await peer.event("other", 1)
    await peer.settle()
    undo()
    undo()
    await peer.event("new_message", {"text": "again"})
    await peer.settle()
    assert heard == [{"text": "hi"}]


async def test_a_callback_that_raises_is_logged_and_stops_nobody(server, client, collector, caplog):
    async def fails(data):
        await asyncio.sleep(0)
        raise RuntimeError("async boom")

    peer = await server.peer()
    heard = collector()
    client.on("e", lambda data: 1 / 0)
    client.on("e", fails)
    client.on("e", heard)
    await peer.event("e", 1)
    await peer.event("e", 2)
    await peer.settle()
    assert await heard.have(2) == [1, 2]
    assert client.state is ConnectionState.CONNECTED
    raised = {type(r.exc_info[1]) for r in caplog.records if r.name == "quart_realtime.client"}
    assert raised == {ZeroDivisionError, RuntimeError}


async def test_hooks_that_raise_are_logged_too(server, make, caplog):
    client = make()
    client.on_connect(lambda payload: 1 / 0)
    client.on_disconnect(lambda disconnect: 1 / 0)
    client.on_error(lambda error: 1 / 0)
    await within(client.connect())
    peer = await server.peer()
    await peer.send("error", id=None, payload={"code": "rate_limited"})
    await peer.settle()
    await within(client.disconnect())
    assert caplog.text.count("ZeroDivisionError") == 3


async def test_an_asynchronous_callback_gets_its_events_one_after_the_other(server, client):
    peer = await server.peer()
    going_on = asyncio.Event()
    log = []

    async def slow(data):
        log.append(f"{data} begins")
        await going_on.wait()
        log.append(f"{data} ends")

    client.on("e", slow)
    for number in range(3):
        await peer.event("e", number)
    await peer.settle()
    assert log == ["0 begins"]
    going_on.set()
    await peer.settle()
    assert log == [f"{n} {what}" for n in range(3) for what in ("begins", "ends")]


async def test_a_callback_may_ask_the_server_something(server, client, collector):
    server.replies["request"] = lambda peer, frame: peer.answer(frame, "answer")
    peer = await server.peer()
    answers = collector()

    async def ask(data):
        answers(await client.request("a", "b"))

    client.on("e", ask)
    await peer.event("e")
    assert await answers.have(1) == ["answer"]


async def test_what_waits_for_a_slow_callback_is_bounded_and_undone_with_it(
    server, client, monkeypatch, caplog
):
    monkeypatch.setattr(client_listeners, "BUFFER", 2)
    peer = await server.peer()
    going_on = asyncio.Event()
    seen = []

    async def slow(data):
        seen.append(data)
        await going_on.wait()

    client.on("e", slow)
    undo = client.on("f", slow)
    for number in range(5):
        await peer.event("e", number)
        await peer.event("f", "f")
    await peer.settle()
    undo()
    assert caplog.text.count("an event was dropped") == 4
    going_on.set()
    await peer.settle()
    assert seen == [0, "f", 3, 4]


async def test_a_callback_that_hangs_is_cancelled_by_a_disconnect(server, client, monkeypatch):
    monkeypatch.setattr("quart_realtime.client.FAREWELL", 0.05)
    peer = await server.peer()
    ended = []

    async def hangs(data):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(data)

    async def saves(disconnect):
        await asyncio.sleep(0)
        ended.append("saved")

    client.on("e", hangs)
    client.on_disconnect(saves)
    await peer.event("e", "hung")
    await peer.settle()
    await within(client.disconnect())
    assert ended == ["saved", "hung"]


async def test_a_callback_may_register_another(server, client, collector):
    peer = await server.peer()
    heard = collector()
    client.on("e", lambda data: client.on("e", heard))
    await peer.event("e", 1)
    await peer.event("e", 2)
    assert await heard.have(1) == [2]


async def test_all_events_can_be_iterated_over_from_the_call_on(server, client):
    peer = await server.peer()
    stream = client.events()
    await peer.event("a", 1, room="room")
    await peer.event("b", 2)
    await peer.settle()
    assert await within(anext(stream)) == Event("a", 1, "room", "evt-1")
    assert await within(anext(stream)) == Event("b", 2, "everyone", "evt-1")
    waiting = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    await peer.event("c", 3)
    assert (await within(waiting)).data == 3


async def test_an_iteration_ends_with_a_disconnect_after_what_waits(server, client):
    peer = await server.peer()
    stream = client.events()
    await peer.event("a", 1)
    await peer.settle()
    await within(client.disconnect())
    assert [event.data async for event in stream] == [1]
    assert [event async for event in stream] == []


async def test_of_what_a_slow_reader_leaves_the_oldest_falls_out_and_is_counted(
    server, client, monkeypatch
):
    monkeypatch.setattr(client_listeners, "BUFFER", 2)
    peer = await server.peer()
    stream = client.events()
    for number in range(5):
        await peer.event("e", number)
    await peer.settle()
    assert stream.dropped == 3
    assert [(await anext(stream)).data for _ in range(2)] == [3, 4]


async def test_a_stream_that_nobody_holds_is_forgotten(server, client):
    client.events()
    gc.collect()
    assert len(client._streams) == 0


async def test_an_error_out_of_turn_is_told(server, client, collector):
    peer = await server.peer()
    told = collector()
    undo = client.on_error(told)
    await peer.send("error", id=None, payload={"code": "bad_request", "message": "what?"})
    (error,) = await told.have(1)
    assert isinstance(error, RealtimeError)
    assert (str(error), error.details) == ("bad_request: what?", {})
    assert str(RealtimeError("timeout")) == "timeout"
    undo()


NONSENSE = [
    b"\x00binary",
    b'{"type":"event","payload":{"type":"e"}}',
    "",
    "no json",
    "null",
    "[]",
    '"text"',
    "{}",
    '{"type":7}',
    '{"type":"unheard_of","payload":{}}',
    '{"type":"event"}',
    '{"type":"event","payload":[]}',
    '{"type":"event","payload":{"type":3}}',
    '{"type":"event","payload":{"type":"e"},"offset":"one"}',
    '{"type":"event","payload":{"type":"e"},"room":3}',
    '{"type":"response","id":"nobody","payload":1}',
    '{"type":"response","id":null}',
    '{"type":"response"}',
    '{"type":"error","id":"nobody","payload":{"code":"x"}}',
    '{"type":"error","id":5,"payload":{"code":"x"}}',
    '{"type":"error","id":null,"payload":"x"}',
    '{"type":"connected"}',
    '{"type":"connected","payload":{"user_id":"somebody else"}}',
    '{"type":"closing"}',
    '{"type":"pong"}',
    '{"type":"event","payload":{"type":"room_joined","data":null}}',
    '{"type":"event","payload":{"type":"room_joined","data":{"room":7}}}',
    '{"type":"event","payload":{"type":"room_left","data":[]}}',
    '{"type":"event","payload":{"type":"room_left","data":{"room":"never heard of"}}}',
    '{"type":"event","payload":{"type":"e","data":' + "[" * 200_000 + "]" * 200_000 + "}}",
    '{"type":"event","payload":{"type":"presence_join","data":3}}',
]


@pytest.mark.parametrize("text", NONSENSE, ids=lambda text: repr(text)[:60])
async def test_nonsense_from_the_server_is_passed_over(text, server, client, collector):
    peer = await server.peer()
    told = collector()
    heard = collector()
    client.on_error(told)
    client.on("e", heard)
    await peer.send_text(text)
    await peer.event("e", "after")
    assert await heard.have(1) == ["after"]
    assert told == []
    assert client.user_id == "7"
    assert client.state is ConnectionState.CONNECTED


async def test_what_is_no_text_breaks_the_connection_and_the_client_comes_back(server, client):
    peer = await server.peer()
    peer.socket.protocol.send_text(b"\xff\xfe")
    peer.socket.send_data()
    again = await server.peer()
    await again.settle()


async def test_a_greeting_that_can_not_be_read_is_none(server, make, collector):
    async def greet_twice(peer):
        await peer.send_text('{"type":"event","payload":{"type":"e","data":"too early"}}')
        await peer.greet(rooms="all of them")
        await peer.greet(user_id="8")

    server.on_open = greet_twice
    client = make()
    heard = collector()
    client.on("e", heard)
    await within(client.connect())
    assert client.user_id == "8"
    assert heard == []


async def test_a_task_of_the_client_that_fails_is_logged(caplog):
    tasks = client_listeners.Tasks()

    async def fails():
        raise RuntimeError("boom")

    tasks.spawn(fails())
    await asyncio.sleep(0)
    await tasks.end()
    assert "a task of the client failed" in caplog.text
