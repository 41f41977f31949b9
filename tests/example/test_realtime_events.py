"""What is told live, to whom, and to nobody else."""

from contextlib import AsyncExitStack

import pytest

from quart_realtime.client_types import RealtimeError
from quart_realtime.testing import realtime_client, record_events


class Crowd:
    """Ana and Luis, who share conversations, and Zoe, who has none with anybody."""

    def __init__(self, ana, luis, zoe, api):
        self.ana, self.luis, self.zoe, self.api = ana, luis, zoe, api

    async def hears_once(self, event, *listeners):
        """Check that *listeners* hear of it once and the others not at all, and return it."""
        heard = [await listener.expect(event) for listener in listeners]
        for client in (self.ana, self.luis, self.zoe):
            await client.expect_none(event)
        assert all(data == heard[0] for data in heard)
        return heard[0]


@pytest.fixture
async def zoe(anybody):
    new = {"username": "zoe", "name": "Zoe", "password": "long enough"}
    return (await anybody.post("/users", {"user": new})).body["user"]["id"]


@pytest.fixture
async def crowd(app, ana, zoe):
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(realtime_client(app, user_id=user_id))
            for user_id in ("ana", "luis", zoe)
        ]
        yield Crowd(*clients, ana)


@pytest.fixture(params=["REST", "websocket"])
def ana_does(request, crowd):
    """Have Ana ask the same over either transport; returns the answer."""

    async def by_rest(_resource, _action, _payload, method, path, body=None):
        status, answer = await crowd.api.call(method, path, body)
        assert status in (200, 201)
        return answer

    async def by_websocket(resource, action, payload, _method, _path, body=None):
        return await crowd.ana.request(resource, action, payload | (body or {}))

    return by_rest if request.param == "REST" else by_websocket


# Messages


async def test_a_new_message_is_told_to_the_members(crowd, ana_does):
    answer = await ana_does(
        "messages",
        "create",
        {"conversation_id": "conv-welcome"},
        "POST",
        "/conversations/conv-welcome/messages",
        {"message": {"content": "Hola"}},
    )
    event = await crowd.hears_once("new_message", crowd.ana, crowd.luis)
    assert event == answer["message"]
    assert set(event) == {"id", "conversation_id", "content", "sender_id", "timestamp"}


async def test_a_changed_message_is_told_to_the_members(crowd, ana_does):
    answer = await ana_does(
        "messages",
        "update",
        {"message_id": "msg-welcome-1"},
        "PATCH",
        "/messages/msg-welcome-1",
        {"message": {"content": "Buenas"}},
    )
    event = await crowd.hears_once("message_updated", crowd.ana, crowd.luis)
    assert event == answer["message"]
    assert event["content"] == "Buenas"


async def test_a_deleted_message_is_told_to_the_members(crowd, ana_does):
    await ana_does(
        "messages",
        "delete",
        {"message_id": "msg-welcome-1"},
        "DELETE",
        "/messages/msg-welcome-1",
    )
    event = await crowd.hears_once("message_deleted", crowd.ana, crowd.luis)
    assert event == {"message_id": "msg-welcome-1", "conversation_id": "conv-welcome"}


# Conversations


async def test_a_new_conversation_is_told_to_its_members_who_then_hear_it(crowd, ana_does):
    answer = await ana_does(
        "conversations",
        "create",
        {},
        "POST",
        "/conversations",
        {"conversation": {"title": "Plans", "members": ["luis"]}},
    )
    event = await crowd.hears_once("conversation_created", crowd.ana, crowd.luis)
    assert event == answer["conversation"]
    message = await crowd.api.write(event["id"])
    assert await crowd.hears_once("new_message", crowd.ana, crowd.luis) == message


async def test_a_new_title_is_told_to_the_members(crowd, ana_does):
    answer = await ana_does(
        "conversations",
        "update",
        {"conversation_id": "conv-welcome"},
        "PATCH",
        "/conversations/conv-welcome",
        {"conversation": {"title": "Bienvenida"}},
    )
    event = await crowd.hears_once("conversation_updated", crowd.ana, crowd.luis)
    assert event == answer["conversation"]


async def test_a_deleted_conversation_is_told_to_its_members_and_its_room_is_empty(crowd, ana_does):
    room = "conversation:conv-welcome"
    await ana_does(
        "conversations",
        "delete",
        {"conversation_id": "conv-welcome"},
        "DELETE",
        "/conversations/conv-welcome",
    )
    event = await crowd.hears_once("conversation_deleted", crowd.ana, crowd.luis)
    assert event == {"conversation_id": "conv-welcome", "members": ["ana", "eva", "luis"]}
    assert await crowd.hears_once("room_left", crowd.ana, crowd.luis) == {"room": room}
    (answer,) = await crowd.ana.subscribe(room)
    assert answer["error"]["code"] == "forbidden"


# Members


async def test_a_new_member_is_told_to_all_and_hears_the_conversation(crowd, ana_does, zoe):
    answer = await ana_does(
        "members",
        "create",
        {"conversation_id": "conv-welcome"},
        "POST",
        "/conversations/conv-welcome/members",
        {"member": {"user_id": zoe}},
    )
    event = await crowd.hears_once("member_added", crowd.ana, crowd.luis, crowd.zoe)
    assert event == answer
    assert event["member"] == {"conversation_id": "conv-welcome", "user_id": zoe}
    await crowd.api.write("conv-welcome")
    await crowd.hears_once("new_message", crowd.ana, crowd.luis, crowd.zoe)


async def test_a_removed_member_is_told_and_hears_nothing_more(crowd, ana_does):
    await ana_does(
        "members",
        "delete",
        {"conversation_id": "conv-welcome", "user_id": "luis"},
        "DELETE",
        "/conversations/conv-welcome/members/luis",
    )
    event = await crowd.hears_once("member_removed", crowd.ana, crowd.luis)
    assert event == {"conversation_id": "conv-welcome", "user_id": "luis"}
    await crowd.hears_once("room_left", crowd.luis)
    await crowd.api.write("conv-welcome")
    await crowd.hears_once("new_message", crowd.ana)


# Users


async def test_a_new_name_is_told_to_those_in_a_conversation_with_the_user(crowd, ana_does):
    await crowd.api.start_conversation("luis", title="A second one")
    answer = await ana_does(
        "users",
        "update",
        {"user_id": "ana"},
        "PATCH",
        "/users/ana",
        {"user": {"name": "Ana María"}},
    )
    event = await crowd.hears_once("user_updated", crowd.ana, crowd.luis)
    assert event == answer["user"] == {"id": "ana", "username": "ana", "name": "Ana María"}


async def test_a_deleted_account_is_told_as_a_member_who_left(crowd, ana_does):
    await ana_does("users", "delete", {"user_id": "ana"}, "DELETE", "/users/ana")
    event = await crowd.luis.expect("member_removed")
    assert event == {"conversation_id": "conv-welcome", "user_id": "ana"}
    await crowd.luis.expect_none("member_removed")
    await crowd.zoe.expect_none("member_removed")
    assert await crowd.ana.wait_closed() == 4502


# Typing


async def test_typing_is_shown_to_the_other_members(app, crowd):
    async with realtime_client(app, user_id="ana") as second_window:
        await crowd.ana.request("conversations", "typing", conversation_id="conv-welcome")
        event = await crowd.hears_once("typing", crowd.luis)
        assert event == {"conversation_id": "conv-welcome", "user_id": "ana"}
        assert await second_window.expect("typing") == event


@pytest.mark.parametrize("conversation_id", ["conv-welcome", "conv-unknown"])
async def test_typing_is_for_members_only(app, crowd, conversation_id):
    with record_events(app) as events, pytest.raises(RealtimeError) as refused:
        await crowd.zoe.request("conversations", "typing", conversation_id=conversation_id)
    assert refused.value.code == "forbidden"
    assert refused.value.details == {"conversation_id": conversation_id}
    assert len(events) == 0


# All of them, without a socket


async def test_each_change_is_notified_once_to_all_of_its_rooms(app, ana):
    with record_events(app) as events:
        conversation_id = await ana.start_conversation("luis")
        room = f"conversation:{conversation_id}"
        await ana.patch(f"/conversations/{conversation_id}", {"conversation": {"title": "B"}})
        message = await ana.write(conversation_id)
        await ana.patch(f"/messages/{message['id']}", {"message": {"content": "C"}})
        await ana.delete(f"/messages/{message['id']}")
        member = {"member": {"user_id": "eva"}}
        await ana.post(f"/conversations/{conversation_id}/members", member)
        await ana.delete(f"/conversations/{conversation_id}/members/eva")
        await ana.delete(f"/conversations/{conversation_id}")
    assert [(told.type, *told.rooms) for told in events] == [
        ("conversation_created", "user:ana", "user:luis"),
        ("conversation_updated", room),
        ("new_message", room),
        ("message_updated", room),
        ("message_deleted", room),
        ("member_added", room, "user:eva"),
        ("member_removed", room),
        ("conversation_deleted", room),
    ]
    assert events.data("new_message") == [message]


async def test_reading_and_what_is_refused_notify_nothing(app, ana, eva):
    conversation_id = await ana.start_conversation()
    with record_events(app) as events:
        await ana.get(f"/conversations/{conversation_id}")
        await ana.get(f"/conversations/{conversation_id}/messages")
        body = {"message": {"content": "Hola"}}
        assert (await eva.post(f"/conversations/{conversation_id}/messages", body)).status == 403
        assert (await ana.post(f"/conversations/{conversation_id}/messages", {})).status == 400
        assert (await eva.delete("/messages/msg-welcome-1")).status == 403
        assert (await eva.delete(f"/conversations/{conversation_id}")).status == 403
    assert len(events) == 0
