"""Requests that are not valid, and failures of the app itself."""

import pytest


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/conversations", {}, "conversation"),
        ("/conversations", {"conversation": {}}, "conversation.title"),
        ("/conversations", {"conversation": {"title": ""}}, "conversation.title"),
        ("/conversations", {"conversation": {"title": " \n"}}, "conversation.title"),
        ("/conversations", {"conversation": {"title": "x" * 201}}, "conversation.title"),
        (
            "/conversations",
            {"conversation": {"title": "x", "members": ["no spaces"]}},
            "conversation.members[0]",
        ),
        (
            "/conversations",
            {"conversation": {"title": "x", "members": ["ana"] * 101}},
            "conversation.members",
        ),
        ("/conversations/conv-welcome/messages", {"message": {}}, "message.content"),
        ("/conversations/conv-welcome/messages", {"message": {"content": 5}}, "message.content"),
        ("/conversations/conv-welcome/messages", {"message": {"content": " "}}, "message.content"),
        (
            "/conversations/conv-welcome/messages",
            {"message": {"content": "x" * 4001}},
            "message.content",
        ),
        (
            "/conversations/conv-welcome/messages",
            {"message": {"content": "nul \0"}},
            "message.content",
        ),
        (
            "/conversations/conv-welcome/messages",
            {"message": {"content": "half a pair \ud800"}},
            "message.content",
        ),
        ("/conversations/conv-welcome/members", {"member": {}}, "member.user_id"),
        (
            "/users",
            {"user": {"username": "No Spaces", "name": "x", "password": "long enough"}},
            "user.username",
        ),
        (
            "/users",
            {"user": {"username": "line-feed\n", "name": "x", "password": "long enough"}},
            "user.username",
        ),
        (
            "/users",
            {"user": {"username": "new", "name": "x", "password": "short"}},
            "user.password",
        ),
        ("/auth/login", {"username": "ana"}, "password"),
        ("/auth/logout", {"refresh_token": 5}, "refresh_token"),
    ],
)
async def test_a_wrong_field_is_named(ana, path, body, field):
    status, body = await ana.post(path, body)
    assert (status, body["code"]) == (400, "validation_error")
    assert list(body["details"]["fields"]) == [field]


async def test_the_longest_message_fits_however_it_is_escaped(ana):
    assert (await ana.write("conv-welcome", "👋" * 4000))["content"] == "👋" * 4000


@pytest.mark.parametrize("body", [None, [], "text"])
async def test_a_body_that_is_no_object_is_refused(ana, body):
    answer = await ana.post("/conversations", body)
    assert (answer.status, answer.body["code"]) == (400, "validation_error")
    assert answer.body["details"] == {"fields": {}}


async def test_a_body_that_is_no_json_is_refused(ana):
    headers = {"Content-Type": "application/json"}
    answer = await ana.call("POST", "/conversations", data=b"{", headers=headers)
    assert (answer.status, answer.body["code"]) == (400, "bad_request")


async def test_a_body_too_large_is_refused(ana):
    status, body = await ana.post("/conversations", {"conversation": {"title": "x" * 70_000}})
    assert (status, body["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize("path", ["/nowhere", "/users/%00", "/users/" + "x" * 65])
async def test_an_unknown_path_is_not_found(ana, path):
    status, body = await ana.get(path)
    assert (status, body["code"], body["details"]) == (404, "not_found", {})


async def test_a_wrong_method_is_told_the_right_ones(app, ana):
    response = await app.test_client().put("/conversations")
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert (await response.get_json())["code"] == "method_not_allowed"


async def test_a_bug_answers_in_json_without_its_trace(app, ana, monkeypatch):
    async def broken(*_args):
        raise RuntimeError("secret detail")

    monkeypatch.setattr("example_app.store.users.list_users", broken)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    status, body = await ana.get("/users")
    assert (status, body["code"]) == (500, "internal_error")
    assert "secret detail" not in str(body)
