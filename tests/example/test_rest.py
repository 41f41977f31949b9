"""The routes for users, conversations, members and messages."""

import re

import pytest

ROUTES = [
    ("GET", "/users"),
    ("GET", "/users/ana"),
    ("PATCH", "/users/ana"),
    ("DELETE", "/users/ana"),
    ("GET", "/conversations"),
    ("POST", "/conversations"),
    ("GET", "/conversations/conv-welcome"),
    ("PATCH", "/conversations/conv-welcome"),
    ("DELETE", "/conversations/conv-welcome"),
    ("GET", "/conversations/conv-welcome/members"),
    ("POST", "/conversations/conv-welcome/members"),
    ("DELETE", "/conversations/conv-welcome/members/ana"),
    ("GET", "/conversations/conv-welcome/messages"),
    ("POST", "/conversations/conv-welcome/messages"),
    ("GET", "/messages/msg-welcome-1"),
    ("PATCH", "/messages/msg-welcome-1"),
    ("DELETE", "/messages/msg-welcome-1"),
    ("POST", "/auth/logout"),
    ("POST", "/auth/refresh"),
]
IN_A_CONVERSATION = [
    ("GET", "/conversations/{}", None),
    ("PATCH", "/conversations/{}", {"conversation": {"title": "Other"}}),
    ("DELETE", "/conversations/{}", None),
    ("GET", "/conversations/{}/members", None),
    ("POST", "/conversations/{}/members", {"member": {"user_id": "eva"}}),
    ("DELETE", "/conversations/{}/members/ana", None),
    ("GET", "/conversations/{}/messages", None),
    ("POST", "/conversations/{}/messages", {"message": {"content": "Hola"}}),
]
ON_A_MESSAGE = [
    ("GET", None),
    ("PATCH", {"message": {"content": "Other"}}),
    ("DELETE", None),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_route_is_closed_without_a_token(anybody, method, path):
    status, body = await anybody.call(method, path)
    assert status == 401
    assert body == {
        "code": "unauthorized",
        "message": "Missing Authorization Header",
        "details": {},
    }


# Conversations


async def test_a_conversation_starts_with_its_creator_and_those_named(ana):
    body = {"conversation": {"title": "Plans", "members": ["luis", "luis"]}}
    status, body = await ana.post("/conversations", body)
    conversation = body["conversation"]
    assert status == 201
    assert conversation["title"] == "Plans"
    assert conversation["members"] == ["ana", "luis"]
    assert re.fullmatch(r"conv-[0-9a-f]+", conversation["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", conversation["created_at"])
    again = await ana.get(f"/conversations/{conversation['id']}")
    assert again == (200, {"conversation": conversation})


async def test_a_conversation_can_start_with_its_creator_alone(ana):
    _, body = await ana.post("/conversations", {"conversation": {"title": "Notes"}})
    assert body["conversation"]["members"] == ["ana"]


async def test_a_conversation_with_unknown_users_is_not_created(ana):
    body = {"conversation": {"title": "Plans", "members": ["luis", "nobody"]}}
    status, body = await ana.post("/conversations", body)
    assert status == 404
    assert body == {
        "code": "not_found",
        "message": "user not found",
        "details": {"user_id": "nobody"},
    }
    assert len((await ana.get("/conversations")).body["conversations"]) == 1


async def test_everybody_lists_their_own_conversations_only(ana, luis):
    await ana.start_conversation("luis", title="Both")
    await ana.start_conversation(title="Hers")
    status, body = await luis.get("/conversations")
    assert status == 200
    assert [one["title"] for one in body["conversations"]] == ["Welcome", "Both"]
    assert body["next_cursor"] is None


async def test_the_conversations_of_somebody_else_are_forbidden(ana):
    assert (await ana.get("/conversations", user_id="ana")).status == 200
    status, body = await ana.get("/conversations", user_id="luis")
    assert (status, body["code"]) == (403, "forbidden")
    assert body["details"] == {"user_id": "luis"}


async def test_any_member_renames_a_conversation(ana, luis):
    conversation_id = await ana.start_conversation("luis")
    change = {"conversation": {"title": "Better plans"}}
    status, body = await luis.patch(f"/conversations/{conversation_id}", change)
    assert status == 200
    assert body["conversation"]["title"] == "Better plans"
    assert (await ana.get(f"/conversations/{conversation_id}")).body == body


async def test_only_the_creator_deletes_a_conversation(ana, luis):
    conversation_id = await ana.start_conversation("luis")
    message = await luis.write(conversation_id)
    status, body = await luis.delete(f"/conversations/{conversation_id}")
    assert (status, body["code"]) == (403, "forbidden")
    answer = await ana.delete(f"/conversations/{conversation_id}")
    assert answer == (200, {"conversation_id": conversation_id, "members": ["ana", "luis"]})
    assert (await ana.get(f"/conversations/{conversation_id}")).status == 404
    assert (await ana.get(f"/messages/{message['id']}")).status == 404


@pytest.mark.parametrize(("method", "path", "body"), IN_A_CONVERSATION)
async def test_only_members_have_access_to_a_conversation(ana, eva, method, path, body):
    conversation_id = await ana.start_conversation("luis")
    status, body = await eva.call(method, path.format(conversation_id), body)
    assert (status, body["code"]) == (403, "forbidden")
    assert body["details"] == {"conversation_id": conversation_id}


@pytest.mark.parametrize(("method", "path", "body"), IN_A_CONVERSATION)
async def test_an_unknown_conversation_is_not_found(ana, method, path, body):
    status, body = await ana.call(method, path.format("conv-unknown"), body)
    assert status == 404
    assert body == {
        "code": "not_found",
        "message": "conversation not found",
        "details": {"conversation_id": "conv-unknown"},
    }


# Members


async def test_any_member_adds_a_member(ana, luis, eva):
    conversation_id = await ana.start_conversation("luis")
    status, body = await luis.post(
        f"/conversations/{conversation_id}/members", {"member": {"user_id": "eva"}}
    )
    assert status == 201
    assert body["member"] == {"conversation_id": conversation_id, "user_id": "eva"}
    assert body["conversation"]["members"] == ["ana", "eva", "luis"]
    status, body = await eva.get(f"/conversations/{conversation_id}/members")
    assert status == 200
    assert [member["user_id"] for member in body["members"]] == ["ana", "eva", "luis"]
    assert body["next_cursor"] is None


async def test_a_member_is_added_only_once(ana):
    conversation_id = await ana.start_conversation("luis")
    status, body = await ana.post(
        f"/conversations/{conversation_id}/members", {"member": {"user_id": "luis"}}
    )
    assert (status, body["code"]) == (409, "conflict")


async def test_a_stranger_to_the_app_can_not_be_added(ana):
    conversation_id = await ana.start_conversation()
    status, body = await ana.post(
        f"/conversations/{conversation_id}/members", {"member": {"user_id": "nobody"}}
    )
    assert (status, body["details"]) == (404, {"user_id": "nobody"})


async def test_losing_a_race_is_a_conflict(ana, monkeypatch):
    async def too_early(_session, _user_ids):
        """Find the users there, as if they were deleted right after."""

    monkeypatch.setattr("example_app.store.members.require_users", too_early)
    conversation_id = await ana.start_conversation()
    status, body = await ana.post(
        f"/conversations/{conversation_id}/members", {"member": {"user_id": "nobody"}}
    )
    assert (status, body["code"]) == (409, "conflict")


async def test_a_member_leaves(ana, luis):
    conversation_id = await ana.start_conversation("luis")
    answer = await luis.delete(f"/conversations/{conversation_id}/members/luis")
    assert answer == (200, {"conversation_id": conversation_id, "user_id": "luis"})
    assert (await luis.get(f"/conversations/{conversation_id}")).status == 403
    assert (await ana.get(f"/conversations/{conversation_id}")).status == 200


async def test_the_creator_removes_others_and_nobody_else_does(ana, luis, eva):
    conversation_id = await ana.start_conversation("luis", "eva")
    status, body = await luis.delete(f"/conversations/{conversation_id}/members/eva")
    assert (status, body["code"]) == (403, "forbidden")
    assert (await ana.delete(f"/conversations/{conversation_id}/members/eva")).status == 200
    assert (await eva.get(f"/conversations/{conversation_id}")).status == 403


async def test_who_is_not_a_member_can_not_be_removed(ana):
    conversation_id = await ana.start_conversation()
    status, body = await ana.delete(f"/conversations/{conversation_id}/members/luis")
    assert (status, body["details"]) == (404, {"user_id": "luis"})


async def test_a_conversation_goes_with_its_last_member(ana, luis):
    conversation_id = await ana.start_conversation("luis")
    await ana.delete(f"/conversations/{conversation_id}/members/ana")
    assert (await luis.get(f"/conversations/{conversation_id}")).status == 200
    await luis.delete(f"/conversations/{conversation_id}/members/luis")
    assert (await luis.get(f"/conversations/{conversation_id}")).status == 404


# Messages


async def test_a_message_is_written_and_read(ana, luis):
    conversation_id = await ana.start_conversation("luis")
    message = await ana.write(conversation_id, "¡Hola! 👋")
    assert message | {"id": "", "timestamp": ""} == {
        "id": "",
        "conversation_id": conversation_id,
        "content": "¡Hola! 👋",
        "sender_id": "ana",
        "timestamp": "",
    }
    assert re.fullmatch(r"msg-[0-9a-f]+", message["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", message["timestamp"])
    assert await luis.get(f"/messages/{message['id']}") == (200, {"message": message})
    answer = await luis.get(f"/conversations/{conversation_id}/messages")
    assert answer == (200, {"messages": [message], "next_cursor": None})


async def test_a_message_may_repeat_what_url_and_token_say(ana):
    message = {"content": "Hola", "conversation_id": "conv-welcome", "sender_id": "ana"}
    answer = await ana.post("/conversations/conv-welcome/messages", {"message": message})
    assert answer.status == 201


async def test_a_message_for_another_conversation_than_the_urls_is_refused(ana):
    message = {"content": "Hola", "conversation_id": "conv-other"}
    answer = await ana.post("/conversations/conv-welcome/messages", {"message": message})
    assert (answer.status, answer.body["code"]) == (400, "bad_request")


async def test_nobody_writes_in_the_name_of_somebody_else(ana):
    message = {"content": "Hola", "sender_id": "luis"}
    answer = await ana.post("/conversations/conv-welcome/messages", {"message": message})
    assert (answer.status, answer.body["code"]) == (403, "forbidden")


async def test_only_the_author_edits_a_message(ana, luis):
    message = await ana.write("conv-welcome", "Hola")
    change = {"message": {"content": "Adiós"}}
    status, body = await luis.patch(f"/messages/{message['id']}", change)
    assert (status, body["code"]) == (403, "forbidden")
    answer = await ana.patch(f"/messages/{message['id']}", change)
    assert answer == (200, {"message": message | {"content": "Adiós"}})
    assert await luis.get(f"/messages/{message['id']}") == answer


async def test_only_the_author_deletes_a_message(ana, luis):
    message = await ana.write("conv-welcome")
    status, body = await luis.delete(f"/messages/{message['id']}")
    assert (status, body["code"]) == (403, "forbidden")
    answer = await ana.delete(f"/messages/{message['id']}")
    assert answer == (200, {"message_id": message["id"], "conversation_id": "conv-welcome"})
    assert (await ana.get(f"/messages/{message['id']}")).status == 404


@pytest.mark.parametrize(("method", "body"), ON_A_MESSAGE)
async def test_a_message_is_closed_to_those_outside_its_conversation(ana, eva, method, body):
    message = await ana.write(await ana.start_conversation("luis"))
    status, body = await eva.call(method, f"/messages/{message['id']}", body)
    assert (status, body["code"]) == (403, "forbidden")


@pytest.mark.parametrize(("method", "body"), ON_A_MESSAGE)
async def test_an_unknown_message_is_not_found(ana, method, body):
    status, body = await ana.call(method, "/messages/msg-unknown", body)
    assert (status, body["details"]) == (404, {"message_id": "msg-unknown"})


# Users


async def test_users_are_listed_without_their_passwords(ana):
    status, body = await ana.get("/users")
    assert status == 200
    assert body == {
        "users": [
            {"id": "ana", "username": "ana", "name": "Ana"},
            {"id": "eva", "username": "eva", "name": "Eva"},
            {"id": "luis", "username": "luis", "name": "Luis"},
        ],
        "next_cursor": None,
    }


async def test_anybody_registers_and_logs_in(anybody, caller):
    new = {"username": "new.user", "name": "New User", "password": "long enough"}
    status, body = await anybody.post("/users", {"user": new})
    user = body["user"]
    assert status == 201
    assert re.fullmatch(r"user-[0-9a-f]+", user["id"])
    assert user == {"id": user["id"], "username": "new.user", "name": "New User"}
    answer = await anybody.post("/auth/login", {"username": "new.user", "password": "long enough"})
    assert answer.status == 200
    assert await (await caller(user["id"])).get(f"/users/{user['id']}") == (200, body)


async def test_a_username_is_given_once(anybody):
    new = {"username": "ana", "name": "Another", "password": "long enough"}
    status, body = await anybody.post("/users", {"user": new})
    assert (status, body["code"]) == (409, "conflict")
    assert body["details"] == {"username": "ana"}


async def test_an_unknown_user_is_not_found(ana):
    for method, body in (("GET", None), ("PATCH", {"user": {"name": "X"}}), ("DELETE", None)):
        answer = await ana.call(method, "/users/nobody", body)
        assert (answer.status, answer.body["details"]) == (404, {"user_id": "nobody"})


async def test_users_change_only_their_own_name(ana):
    change = {"user": {"name": "Ana María"}}
    status, body = await ana.patch("/users/ana", change)
    assert status == 200
    assert body == {"user": {"id": "ana", "username": "ana", "name": "Ana María"}}
    assert await ana.get("/users/ana") == (200, body)
    status, body = await ana.patch("/users/luis", change)
    assert (status, body["code"]) == (403, "forbidden")


async def test_users_delete_only_their_own_account(ana, luis):
    shared = await ana.start_conversation("luis")
    alone = await ana.start_conversation()
    message = await ana.write(shared)
    assert (await ana.delete("/users/luis")).status == 403

    assert await ana.delete("/users/ana") == (200, {"user_id": "ana"})
    assert (await luis.get("/users/ana")).status == 404
    assert (await luis.get(f"/messages/{message['id']}")).status == 404
    _, body = await luis.get(f"/conversations/{shared}")
    assert body["conversation"]["members"] == ["luis"]
    assert (await luis.get(f"/conversations/{alone}")).status == 404


# The description


def references(value):
    """Find every "$ref" in a JSON document."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


async def test_the_description_names_every_route_and_is_complete(anybody):
    status, body = await anybody.get("/openapi.json")
    assert status == 200
    described = {
        (method.upper(), path) for path, methods in body["paths"].items() for method in methods
    }
    assert len(described) == len(ROUTES) + 2  # logging in and registering need no token
    assert ("PATCH", "/messages/{message_id}") in described
    assert {tag["name"] for tag in body["tags"]} == {
        tag
        for methods in body["paths"].values()
        for operation in methods.values()
        for tag in operation["tags"]
    }
    known = {f"#/components/schemas/{name}" for name in body["components"]["schemas"]}
    assert set(references(body)) <= known


async def test_the_description_has_a_page(app):
    response = await app.test_client().get("/docs")
    assert response.status_code == 200
    assert "swagger-ui" in await response.get_data(as_text=True)
