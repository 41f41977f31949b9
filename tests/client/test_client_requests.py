from __future__ import annotations

import asyncio
import sys

import pytest

from quart_realtime.client import (
    ConnectionLost,
    ConnectionState,
    QueueFull,
    RealtimeError,
    RequestTimedOut,
    connect,
)

from .fake_server import Gate, within


async def answer_with_payload(peer, frame):
    await peer.answer(frame, {"asked": frame["payload"], "on": peer.number})


async def test_a_request_travels_as_the_seed_writes_it_and_returns_its_answer(server, client):
    peer = await server.peer()
    asking = asyncio.create_task(client.request("conversations", "get_all", user_id="user123"))
    frame = await peer.next("request")
    assert frame == {
        "type": "request",
        "id": frame["id"],
        "resource": "conversations",
        "payload": {"action": "get_all", "user_id": "user123"},
    }
    await peer.answer(frame, {"conversations": []})
    assert await within(asking) == {"conversations": []}


async def test_a_ping_returns_when_the_server_has_answered_that_one(server, client):
    peer = await server.peer()
    asking = asyncio.create_task(client.ping())
    frame = await peer.next("ping")
    assert frame == {"type": "ping", "id": frame["id"]}
    await peer.send("pong")
    await peer.send("pong", id="another")
    await peer.settle()
    assert not asking.done()
    await peer.send("pong", id=frame["id"])
    assert await within(asking) is None


async def test_a_ping_that_is_refused_raises(server, client):
    peer = await server.peer()
    asking = asyncio.create_task(client.ping())
    await peer.refuse(await peer.next("ping"), "rate_limited")
    with pytest.raises(RealtimeError, match="rate_limited"):
        await within(asking)


async def test_an_error_frame_is_raised_with_all_that_it_says(server, client):
    peer = await server.peer()
    asking = asyncio.create_task(client.request("messages", "create"))
    await peer.refuse(await peer.next("request"), "validation_error", "text is missing")
    with pytest.raises(RealtimeError, match="validation_error: text is missing") as caught:
        await within(asking)
    assert caught.value.code == "validation_error"
    assert caught.value.message == "text is missing"
    assert caught.value.details == {"why": "test"}


async def test_a_payload_may_have_keys_that_are_options_of_the_call(server, client):
    server.replies["request"] = answer_with_payload
    answer = await within(client.request("a", "b", {"timeout": 3, "retry": 4, "self": 5}, more=6))
    assert answer["asked"] == {"action": "b", "timeout": 3, "retry": 4, "self": 5, "more": 6}


async def test_a_payload_may_not_name_another_action(client):
    with pytest.raises(ValueError, match="the action is the second argument"):
        await client.request("a", "b", {"action": "c"})


async def test_answers_find_their_requests_in_any_order(server, client):
    peer = await server.peer()
    first = asyncio.create_task(client.request("a", "first"))
    second = asyncio.create_task(client.request("a", "second"))
    frames = [await peer.next("request"), await peer.next("request")]
    for frame in reversed(frames):
        await peer.answer(frame, frame["payload"]["action"])
    assert await within(asyncio.gather(first, second)) == ["first", "second"]


async def test_a_request_without_an_answer_times_out_and_its_late_answer_is_nobodys(server, client):
    peer = await server.peer()
    with pytest.raises(RequestTimedOut, match=r"a\.b: no answer within 0\.01 s") as caught:
        await client.request("a", "b", timeout=0.01)
    assert isinstance(caught.value, TimeoutError)
    await peer.answer(await peer.next("request"), "late")
    await peer.settle()
    assert client.state is ConnectionState.CONNECTED


async def test_a_cancelled_request_leaves_nothing_waiting(server, client):
    peer = await server.peer()
    asking = asyncio.create_task(client.request("a", "b"))
    frame = await peer.next("request")
    asking.cancel()
    await asyncio.wait([asking])
    await peer.answer(frame, "late")
    await peer.settle()
    assert asking.cancelled()


async def test_an_answer_that_comes_with_a_timeout_or_a_cancel_in_the_same_turn_is_dropped(
    server, client
):
    peer = await server.peer()
    asking = asyncio.create_task(client.request("a", "b"))
    frame = await peer.next("request")
    await peer.refuse(frame, "not_found")
    client.on_error(lambda error: None)
    client.on("now", lambda data: asking.cancel())
    await peer.event("now")
    await peer.settle()
    await asyncio.wait([asking])
    assert asking.cancelled() or isinstance(asking.exception(), RealtimeError)


async def test_requests_made_offline_wait_and_go_out_in_order(server, client):
    peer = await server.peer()
    server.replies["request"] = answer_with_payload
    server.on_open = hold_greeting = Gate()
    await peer.cut()
    await within(hold_greeting.reached.wait())
    asking = [asyncio.create_task(client.request("a", f"number {n}")) for n in range(5)]
    await asyncio.sleep(0)
    hold_greeting.go_on.set()
    answers = await within(asyncio.gather(*asking))
    assert [answer["asked"]["action"] for answer in answers] == [f"number {n}" for n in range(5)]
    frames = server.peers[-1].sent("request")
    assert [frame["payload"]["action"] for frame in frames] == [f"number {n}" for n in range(5)]


async def test_requests_may_be_made_while_the_first_connect_is_under_way(server, make):
    server.on_open = gate = Gate()
    server.replies["request"] = answer_with_payload
    client = make()
    connecting = asyncio.create_task(client.connect())
    await within(gate.reached.wait())
    assert client.state is ConnectionState.CONNECTING
    asking = asyncio.create_task(client.request("a", "b"))
    await asyncio.sleep(0)
    gate.go_on.set()
    assert (await within(asking))["asked"] == {"action": "b"}
    await within(connecting)


async def test_the_queue_takes_no_more_messages_than_it_may(server, make):
    server.on_open = gate = Gate()
    client = make(queue_messages=2)
    connecting = asyncio.create_task(client.connect())
    await within(gate.reached.wait())
    waiting = [asyncio.create_task(client.request("a", "b")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull, match=r"offline, and 2 requests of \d+ bytes") as caught:
        await client.request("a", "b")
    assert caught.value.messages == 2
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    third = asyncio.create_task(client.request("a", "b"))
    server.replies["request"] = answer_with_payload
    gate.go_on.set()
    await within(asyncio.gather(connecting, waiting[1], third))


async def test_the_queue_takes_no_more_bytes_than_it_may(server, make):
    server.on_open = gate = Gate()
    client = make(queue_bytes=1000)
    connecting = asyncio.create_task(client.connect())
    await within(gate.reached.wait())
    with pytest.raises(QueueFull):
        await client.request("a", "b", text="x" * 1000)
    server.replies["request"] = answer_with_payload
    small = asyncio.create_task(client.request("a", "b", text="x" * 500))
    gate.go_on.set()
    await within(asyncio.gather(connecting, small))


async def test_what_waited_goes_out_in_batches_and_what_follows_it_behind(
    server, make, monkeypatch
):
    monkeypatch.setattr("quart_realtime.client_requests.PAUSE", 0.05)
    server.replies["request"] = answer_with_payload
    client = make()
    connecting = asyncio.create_task(client.connect())
    await asyncio.sleep(0)  # Begun, and nothing has come yet.
    asking = [asyncio.create_task(client.request("a", "b", number=number)) for number in range(60)]
    peer = await server.peer()
    await within(asking[7])
    assert len(peer.sent("request")) == 8
    asking.append(asyncio.create_task(client.request("a", "b", number=60)))
    await within(asyncio.gather(connecting, *asking))
    numbers = [frame["payload"]["number"] for frame in peer.sent("request")]
    assert numbers == list(range(61))


async def test_what_is_sent_again_keeps_its_place(server, make, monkeypatch):
    client = make(queue_messages=0)
    await within(client.connect())
    peer = await server.peer()
    asking = [
        asyncio.create_task(client.request("a", "b", retry=True, number=number))
        for number in range(30)
    ]
    for _ in asking:
        await peer.next("request")
    server.replies["request"] = answer_with_payload
    await peer.cut()
    peer = await server.peer()
    await within(asyncio.gather(*asking))
    assert [frame["payload"]["number"] for frame in peer.sent("request")] == list(range(30))


async def test_nothing_that_waits_outlives_a_disconnect(server, client, collector):
    gone = collector()
    client.on_disconnect(gone)
    peer = await server.peer()
    server.greeting["user_id"] = "somebody else"
    sent = asyncio.create_task(client.request("a", "b", retry=True))
    await peer.next("request")
    await peer.cut()
    await gone.have(1)
    waiting = [asyncio.create_task(client.request("a", "c", number=n)) for n in range(50)]
    await asyncio.sleep(0)  # They wait.
    await client.disconnect()
    await within(client.connect())
    for asking, maybe in ((sent, True), *((one, False) for one in waiting)):
        with pytest.raises(ConnectionLost) as caught:
            await within(asking)
        assert caught.value.maybe_processed is maybe
    peer = await server.peer()
    await peer.settle()
    assert peer.sent("request") == []


async def test_an_earlier_connect_that_fails_leaves_the_next_alone(server, make):
    server.status = 503
    client = make()
    first = asyncio.create_task(client.connect())
    await asyncio.sleep(0)  # Begun.
    await client.disconnect()
    server.status = None
    second = asyncio.create_task(client.connect())
    with pytest.raises(ConnectionLost):
        await within(first)
    await within(second)
    assert client.state is ConnectionState.CONNECTED


async def test_the_time_in_the_queue_counts(server, make):
    server.on_open = gate = Gate()
    client = make()
    connecting = asyncio.create_task(client.connect())
    await within(gate.reached.wait())
    with pytest.raises(RequestTimedOut):
        await client.request("a", "b", timeout=0.01)
    gate.go_on.set()
    await within(connecting)
    peer = await server.peer()
    await peer.settle()
    assert peer.sent("request") == []


async def test_a_request_in_flight_when_the_socket_drops_may_have_been_processed(server, client):
    peer = await server.peer()
    asking = asyncio.create_task(client.request("messages", "create"))
    await peer.next("request")
    await peer.cut()
    with pytest.raises(ConnectionLost, match="it may have been processed") as caught:
        await within(asking)
    assert caught.value.maybe_processed
    again = await server.peer()
    await again.settle()
    assert again.sent("request") == []


async def test_with_retry_it_is_sent_again_under_the_same_key(server, client):
    peer = await server.peer()
    asking = asyncio.create_task(client.request("messages", "create", retry=True, text="hi"))
    first = await peer.next("request")
    await peer.cut()
    peer = await server.peer()
    second = await peer.next("request")
    assert first["key"] == second["key"]
    assert 1 <= len(first["key"]) <= 64
    assert first["payload"] == second["payload"]
    await peer.answer(second, "done")
    assert await within(asking) == "done"


async def test_a_request_is_not_sent_again_when_the_server_may_have_forgotten_its_key(
    server, client, monkeypatch
):
    monkeypatch.setattr("quart_realtime.client_requests.REMEMBERED", -1.0)
    peer = await server.peer()
    asking = asyncio.create_task(client.request("a", "b", retry=True))
    await peer.next("request")
    await peer.cut()
    with pytest.raises(ConnectionLost) as caught:
        await within(asking)
    assert caught.value.maybe_processed
    peer = await server.peer()
    await peer.settle()
    assert peer.sent("request") == []


async def test_what_one_user_asked_is_not_sent_as_another(server, client, collector):
    peer = await server.peer()
    gone = collector()
    client.on_disconnect(gone)
    sent = asyncio.create_task(client.request("a", "b", retry=True))
    await peer.next("request")
    server.greeting["user_id"] = "somebody else"
    await peer.cut()
    await gone.have(1)
    waiting = asyncio.create_task(client.request("a", "c"))
    peer = await server.peer()
    for asking, maybe in ((sent, True), (waiting, False)):
        with pytest.raises(ConnectionLost) as caught:
            await within(asking)
        assert caught.value.maybe_processed is maybe
    await peer.settle()
    assert peer.sent("request") == []
    server.replies["request"] = answer_with_payload
    assert await within(client.request("a", "d"))


async def test_the_next_user_of_a_client_may_ask_before_the_greeting(server, client):
    await server.peer()
    await client.disconnect()
    assert client.user_id is None
    server.greeting["user_id"] = "somebody else"
    server.replies["request"] = answer_with_payload
    connecting = asyncio.create_task(client.connect())
    await asyncio.sleep(0)  # Begun, and nothing has come yet.
    assert await within(client.request("a", "b"))
    await within(connecting)


async def test_each_retried_request_has_a_key_of_its_own(server, client):
    server.replies["request"] = lambda peer, frame: peer.answer(frame, frame["key"])
    keys = await within(asyncio.gather(*(client.request("a", "b", retry=True) for _ in range(9))))
    assert len(set(keys)) == 9


async def test_a_request_that_is_sent_again_is_never_refused_by_the_queue(server, make):
    client = make(queue_messages=0)
    await within(client.connect())
    peer = await server.peer()
    asking = asyncio.create_task(client.request("a", "b", retry=True))
    await peer.next("request")
    server.replies["request"] = answer_with_payload
    await peer.cut()
    assert (await within(asking))["on"] == 2


async def test_a_request_on_a_socket_that_has_just_closed_waits_for_the_next(server, client):
    """The socket has ended, and the client hasn't noticed yet."""
    peer = await server.peer()
    server.replies["request"] = answer_with_payload
    link = await client._requests.link()
    link._socket.transport.abort()
    with pytest.raises(ConnectionLost):
        await within(client.request("a", "b"))
    await within(peer.closed.wait())
    assert (await within(client.request("a", "b")))["on"] == 2


async def test_without_a_connection_to_hope_for_requests_are_refused_at_once(server, make):
    client = make()
    with pytest.raises(ConnectionLost, match="nothing was sent") as caught:
        await client.request("a", "b")
    assert not caught.value.maybe_processed
    with pytest.raises(ConnectionLost):
        await client.subscribe("room")
    await within(client.connect())
    await within(client.disconnect())
    with pytest.raises(ConnectionLost):
        await client.request("a", "b")


async def test_a_disconnect_ends_what_waits(server, client):
    peer = await server.peer()
    sent = asyncio.create_task(client.request("a", "sent"))
    retried = asyncio.create_task(client.request("a", "sent", retry=True))
    await peer.next("request")
    await peer.next("request")
    await within(client.disconnect())
    with pytest.raises(ConnectionLost) as caught:
        await within(sent)
    assert caught.value.maybe_processed
    with pytest.raises(ConnectionLost):
        await within(retried)


async def test_what_json_has_no_word_for_is_refused_before_anything_is_sent(client):
    with pytest.raises(TypeError):
        await client.request("a", "b", value=object())


async def test_what_is_larger_than_the_server_takes_is_refused_and_the_connection_lives(
    server, make
):
    server.greeting["max_message_size"] = 300
    server.replies["request"] = answer_with_payload
    client = make()
    await within(client.connect())
    peer = await server.peer()
    with pytest.raises(RealtimeError) as caught:
        await within(client.request("a", "b", text="é" * 120))
    around = '{"type":"request","id":"c1","resource":"a","payload":{"action":"b","text":""}}'
    size = len(around) + 240
    assert str(caught.value) == f"payload_too_large: {size} bytes: the server takes 300"
    with pytest.raises(RealtimeError, match="payload_too_large"):
        await within(client.subscribe("é" * 200))
    fits = "x" * (300 - len(around))
    assert (await within(client.request("a", "b", text=fits)))["on"] == 1
    assert len(peer.frames) == 1


async def test_what_waited_for_a_connection_is_measured_when_it_is_sent(server, make):
    server.greeting["max_message_size"] = 300
    server.replies["request"] = answer_with_payload
    client = make()
    connecting = asyncio.create_task(client.connect())
    await asyncio.sleep(0)  # Begun.
    large = asyncio.create_task(client.request("a", "b", text="x" * 300, retry=True))
    small = asyncio.create_task(client.request("a", "b"))
    await within(connecting)
    with pytest.raises(RealtimeError, match="payload_too_large"):
        await within(large)
    assert (await within(small))["on"] == 1


async def test_without_a_token_there_must_be_another_way_to_tell_who_one_is():
    with pytest.raises(ValueError, match="pass token="):
        connect("ws://localhost/ws")
    connect("ws://localhost/ws?jwt=abc")
    connect("ws://localhost/ws", headers={"Authorization": "Bearer abc"})


@pytest.mark.parametrize("url", ["http://localhost/", "localhost", "", "ws://"])
async def test_a_url_that_is_none_of_a_websocket_is_refused_at_once(url):
    with pytest.raises(ValueError, match="is no ws:// or wss:// URL"):
        connect(url, "token")


async def test_without_the_websockets_library_the_import_says_what_to_install():
    code = "import sys; sys.modules['websockets'] = None; import quart_realtime.client"
    python = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await within(python.communicate())
    assert b'ImportError: the client needs websockets 14 or newer: pip install "quart-rea' in errors
