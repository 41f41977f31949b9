"""The same resources over the websocket: requests, their answers and refusals."""

import pytest

from example_app.tables import ConversationRow, MemberRow
from quart_realtime.client_types import RealtimeError
from quart_realtime.testing import realtime_client

# resource, action and payload of a request; method, path and body of the same over REST.
REFUSED = {
    "no such conversation": (
        ("conversations", "get", {"conversation_id": "conv-unknown"}),
        ("GET", "/conversations/conv-unknown", None),
    ),
    "somebody else's conversations": (
        ("conversations", "get_all", {"user_id": "luis"}),
        ("GET", "/conversations?user_id=luis", None),
    ),
    "not the creator": (
        ("conversations", "delete", {"conversation_id": "conv-theirs"}),
        ("DELETE", "/conversations/conv-theirs", None),
    ),
    "not a member": (
        ("messages", "get_all", {"conversation_id": "conv-private"}),
        ("GET", "/conversations/conv-private/messages", None),
    ),
    "another sender": (
        (
            "messages",
            "create",
            {"conversation_id": "conv-theirs", "message": {"content": "x", "sender_id": "luis"}},
        ),
        (
            "POST",
            "/conversations/conv-theirs/messages",
            {"message": {"content": "x", "sender_id": "luis"}},
        ),
    ),
    "two conversations": (
        (
            "messages",
            "create",
            {
                "conversation_id": "conv-theirs",
                "message": {"content": "x", "conversation_id": "conv-x"},
            },
        ),
        (
            "POST",
            "/conversations/conv-theirs/messages",
            {"message": {"content": "x", "conversation_id": "conv-x"}},
        ),
    ),
    "a member already": (
        (
            "members",
            "create",
            {"conversation_id": "conv-theirs", "member": {"user_id": "luis"}},
        ),
        ("POST", "/conversations/conv-theirs/members", {"member": {"user_id": "luis"}}),
    ),
    "not the author": (
        ("messages", "update", {"message_id": "msg-welcome-2", "message": {"content": "x"}}),
        ("PATCH", "/messages/msg-welcome-2", {"message": {"content": "x"}}),
    ),
    "somebody else's account": (
        ("users", "delete", {"user_id": "luis"}),
        ("DELETE", "/users/luis", None),
    ),
    "a cursor of nothing": (
        ("users", "get_all", {"cursor": "%%%"}),
        ("GET", "/users?cursor=%25%25%25", None),
    ),
    "a username that is taken": (
        (
            "users",
            "create",
            {"user": {"username": "luis", "name": "L", "password": "long enough"}},
        ),
        ("POST", "/users", {"user": {"username": "luis", "name": "L", "password": "long enough"}}),
    ),
}
INVALID = {
    "blank": (
        ("messages", "create", {"conversation_id": "conv-welcome", "message": {"content": " "}}),
        ("POST", "/conversations/conv-welcome/messages", {"message": {"content": " "}}),
        "message.content",
    ),
    "missing": (
        ("conversations", "create", {"conversation": {}}),
        ("POST", "/conversations", {"conversation": {}}),
        "conversation.title",
    ),
    "out of range": (
        ("users", "get_all", {"limit": 1000}),
        ("GET", "/users?limit=1000", None),
        "limit",
    ),
}


@pytest.fixture
async def conversations(app):
    """Add a conversation that Luis has started with Ana, and one that is his alone."""
    async with app.extensions["CHAT_DATABASE"].writing() as session:
        for name, members in (("theirs", ["ana", "luis"]), ("private", ["luis"])):
            rows = [MemberRow(user_id=user_id) for user_id in members]
            session.add(
                ConversationRow(id=f"conv-{name}", title=name, created_by="luis", members=rows)
            )


async def refusal(client, resource, action, payload):
    with pytest.raises(RealtimeError) as refused:
        await client.request(resource, action, payload)
    return refused.value


async def test_conversations_have_all_their_actions(app, ana):
    async with realtime_client(app, user_id="ana") as socket:
        created = await socket.request(
            "conversations", "create", conversation={"title": "Plans", "members": ["luis"]}
        )
        conversation_id = created["conversation"]["id"]
        assert created["conversation"]["members"] == ["ana", "luis"]
        got = await socket.request("conversations", "get", conversation_id=conversation_id)
        assert got == created
        updated = await socket.request(
            "conversations",
            "update",
            conversation_id=conversation_id,
            conversation={"title": "Better plans"},
        )
        assert updated["conversation"]["title"] == "Better plans"
        listed = await socket.request("conversations", "get_all", user_id="ana", limit=10)
        assert listed == (await ana.get("/conversations")).body
        assert updated["conversation"] in listed["conversations"]
        deleted = await socket.request("conversations", "delete", conversation_id=conversation_id)
    assert deleted == {"conversation_id": conversation_id, "members": ["ana", "luis"]}
    assert (await ana.get(f"/conversations/{conversation_id}")).status == 404


async def test_messages_have_all_their_actions(app, luis):
    async with realtime_client(app, user_id="ana") as socket:
        created = await socket.request(
            "messages", "create", conversation_id="conv-welcome", message={"content": "¡Hola! 👋"}
        )
        message_id = created["message"]["id"]
        assert created["message"]["sender_id"] == "ana"
        assert await socket.request("messages", "get", message_id=message_id) == created
        updated = await socket.request(
            "messages", "update", message_id=message_id, message={"content": "Adiós"}
        )
        assert updated == {"message": created["message"] | {"content": "Adiós"}}
        assert await luis.get(f"/messages/{message_id}") == (200, updated)
        newest = {"conversation_id": "conv-welcome", "order": "desc", "limit": 1}
        page = await socket.request("messages", "get_all", newest)
        assert page["messages"] == [updated["message"]]
        page = await socket.request("messages", "get_all", newest, cursor=page["next_cursor"])
        assert [message["id"] for message in page["messages"]] == ["msg-welcome-2"]
        deleted = await socket.request("messages", "delete", message_id=message_id)
    assert deleted == {"message_id": message_id, "conversation_id": "conv-welcome"}
    assert (await luis.get(f"/messages/{message_id}")).status == 404


async def test_users_have_all_their_actions(app, ana):
    async with realtime_client(app, user_id="ana") as socket:
        new = {"username": "zoe", "name": "Zoe", "password": "long enough"}
        zoe = (await socket.request("users", "create", user=new))["user"]
        assert await socket.request("users", "get", user_id=zoe["id"]) == {"user": zoe}
        everybody = await socket.request("users", "get_all")
        assert everybody == (await ana.get("/users")).body
        assert zoe in everybody["users"]
        updated = await socket.request("users", "update", user_id="ana", user={"name": "Ana M."})
        assert updated["user"]["name"] == "Ana M."
        assert await socket.request("users", "delete", user_id="ana") == {"user_id": "ana"}
    assert (await ana.get("/users")).status == 401


async def test_members_are_listed_added_and_removed(app, ana):
    conversation_id = await ana.start_conversation("luis")
    async with realtime_client(app, user_id="ana") as socket:
        added = await socket.request(
            "members", "create", conversation_id=conversation_id, member={"user_id": "eva"}
        )
        assert added["member"] == {"conversation_id": conversation_id, "user_id": "eva"}
        listed = await socket.request("members", "get_all", conversation_id=conversation_id)
        assert [member["user_id"] for member in listed["members"]] == ["ana", "eva", "luis"]
        removed = await socket.request(
            "members", "delete", conversation_id=conversation_id, user_id="eva"
        )
    assert removed == added["member"]


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.usefixtures("conversations")
async def test_a_refusal_over_the_socket_is_that_of_the_route(app, ana, case):
    asked, (method, path, body) = REFUSED[case]
    async with realtime_client(app, user_id="ana") as socket:
        error = await refusal(socket, *asked)
    status, body = await ana.call(method, path, body)
    assert status >= 400
    told = {"code": error.code, "message": error.message, "details": error.details}
    assert told == body


@pytest.mark.parametrize("case", INVALID)
async def test_an_invalid_field_is_named_as_the_route_names_it(app, ana, case):
    asked, (method, path, body), field = INVALID[case]
    async with realtime_client(app, user_id="ana") as socket:
        error = await refusal(socket, *asked)
    _, body = await ana.call(method, path, body)
    assert (error.code, list(error.details["fields"])) == ("validation_error", [field])
    assert body == {"code": error.code, "message": error.message, "details": error.details}


@pytest.mark.parametrize(
    ("resource", "action"), [("planets", "get_all"), ("messages", "shout"), ("members", "get")]
)
async def test_what_is_no_resource_or_no_action_is_not_found(app, resource, action):
    async with realtime_client(app, user_id="ana") as socket:
        error = await refusal(socket, resource, action, {})
    assert (error.code, error.details) == ("not_found", {"resource": resource, "action": action})


async def test_a_client_learns_what_it_is_connected_as(app):
    async with realtime_client(app, user_id="ana") as socket:
        assert await socket.request("users", "whoami") == {
            "user_id": "ana",
            "connection_id": socket.id,
            "remote_addr": "<local>",
            "rooms": ["conversation:conv-welcome", "everyone", "user:ana"],
        }
