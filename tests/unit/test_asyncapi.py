"""A contract as an AsyncAPI document; the official parser's word on it is in tests/contract."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from quart_realtime import CloseCode, HistoryPolicy
from quart_realtime.asyncapi import asyncapi_document
from quart_realtime.contract import Contract, EventContract, Operation, Origin, RoomContract
from quart_realtime.schemas import Schema

REF = "#/components/schemas/"
HISTORY = HistoryPolicy(100, 300.0)
MESSAGE: Schema = {
    "title": "Message",
    "type": "object",
    "properties": {
        "text": {"type": "string", "default": "hello"},
        "place": {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
            "minItems": 2,
            "maxItems": 2,
            "items": False,
        },
    },
    "required": ["place"],
}
CREATE = Operation(
    "messages",
    "create",
    {"$ref": f"{REF}Message"},
    {"anyOf": [{"$ref": f"{REF}Message"}, {"type": "null"}]},
    "Say it.",
    "To everybody.",
    rate_limit="5/minute",
    origin=Origin("POST", "/messages", "create", ("jwt_required",)),
)
CONTRACT = Contract(
    title="Chat",
    version="1.2.3",
    description="Talk.",
    url="/ws",
    operations=(CREATE,),
    events=(
        EventContract("said", {"$ref": f"{REF}Message"}, ("room:{message.room}",)),
        EventContract("all", {}, everyone=True, history=False),
        EventContract("own", {}, ("user:{id}",)),
        EventContract("some", {}, chosen_by=("friends_of",)),
    ),
    rooms=(
        RoomContract("room:<int:room>", {"room": {"type": "integer"}}, True, HISTORY, "Members."),
        RoomContract("<kind>", {"kind": {"enum": ["a", "b"]}}, False, HistoryPolicy(0, 1)),
    ),
    schemas={"Message": MESSAGE},
    tokens=("headers",),
    token_names={"headers": "Authorization", "cookies": "token", "query_string": "jwt"},
    default_history=HISTORY,
    max_message_size=65_536,
    rate_limit="100/second",
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi_document(CONTRACT)


def messages(document: dict[str, Any]) -> dict[str, Any]:
    return document["channels"]["realtime"]["messages"]


def test_a_request_is_received_and_replied_to(document: dict[str, Any]) -> None:
    operation = document["operations"]["messages.create"]
    assert operation["action"] == "receive"
    assert operation["summary"] == "Say it."
    assert "To everybody." in operation["description"]
    assert "`POST /messages`, guarded by `@jwt_required`" in operation["description"]
    assert "5/minute" in operation["description"]
    assert operation["security"] == [{"$ref": "#/components/securitySchemes/bearer"}]
    refs = [message["$ref"].rpartition("/")[2] for message in operation["reply"]["messages"]]
    assert refs == ["messages.create.response", "error"]


def test_a_request_is_the_whole_frame_with_its_action_in_the_payload(
    document: dict[str, Any],
) -> None:
    frame = messages(document)["messages.create.request"]["payload"]["properties"]
    assert frame["type"] == {"const": "request"}
    assert frame["resource"] == {"const": "messages"}
    assert list(frame["payload"]["properties"]) == ["action", "text", "place"]
    assert frame["payload"]["required"] == ["action", "place"]
    assert frame["payload"]["properties"]["text"]["default"] == "hello"


def test_a_payload_that_is_no_plain_object_has_the_action_beside_it() -> None:
    contract = evolve(
        CONTRACT, operations=(evolve(CREATE, request={"anyOf": [{"type": "object"}]}),)
    )
    frame = messages(asyncapi_document(contract))["messages.create.request"]["payload"]
    action, rest = frame["properties"]["payload"]["allOf"]
    assert action["required"] == ["action"]
    assert rest == {"anyOf": [{"type": "object"}]}


def test_a_request_without_login_needs_no_token() -> None:
    contract = evolve(CONTRACT, operations=(evolve(CREATE, login=False, origin=None),))
    operation = asyncapi_document(contract)["operations"]["messages.create"]
    assert "security" not in operation
    assert "Nobody needs to be logged in." in operation["description"]


def test_an_event_is_sent_and_says_where_it_goes(document: dict[str, Any]) -> None:
    said = document["operations"]["event.said"]
    assert said["action"] == "send"
    assert said["description"] == "Goes to `room:{message.room}`."
    frame = messages(document)["event.said"]["payload"]["properties"]
    assert frame["payload"]["properties"]["data"] == {"$ref": f"{REF}Message"}
    told = {
        name: document["operations"][f"event.{name}"]["description"] for name in ("all", "some")
    }
    assert told["all"].startswith("Goes to everyone who is logged in.")
    assert told["all"].endswith("No room keeps it for those who return.")
    assert told["some"] == "Goes to the rooms that `friends_of` says."


def test_a_room_is_a_channel_with_its_variables_and_events(document: dict[str, Any]) -> None:
    channels = document["channels"]
    by_address = {channel["address"]: channel for channel in channels.values()}
    assert set(by_address) == {"/ws", "room:{room}", "{kind}", "user:{user_id}", "everyone"}
    room = by_address["room:{room}"]
    assert list(room["messages"]) == ["event.said"]
    assert room["parameters"] == {"room": {"description": "Of type integer."}}
    assert room["x-presence"] is True
    assert "The last 100 events are kept for 300 s." in room["description"]
    assert by_address["{kind}"]["parameters"] == {"kind": {"enum": ["a", "b"]}}
    assert list(by_address["user:{user_id}"]["messages"]) == ["event.own"]
    assert list(by_address["everyone"]["messages"]) == ["event.all"]


def test_all_errors_and_close_codes_are_told(document: dict[str, Any]) -> None:
    codes = {error["code"]: error["status"] for error in document["x-error-codes"]}
    error = messages(document)["error"]
    assert codes["not_found"] == 404
    assert list(codes) == error["payload"]["properties"]["payload"]["properties"]["code"]["enum"]
    closes = {item["code"]: item for item in document["x-close-codes"]}
    assert closes[4001] == {"code": 4001, "name": "token_expired", "reconnect": True}
    assert set(closes) == set(CloseCode)
    assert "| 4500 | `unauthorized` | no |" in messages(document)["closing"]["description"]


def test_shared_schemas_are_what_draft_7_knows(document: dict[str, Any]) -> None:
    place = document["components"]["schemas"]["Message"]["properties"]["place"]
    assert place["items"] == [{"type": "integer"}, {"type": "string"}]
    assert place["additionalItems"] is False
    assert "prefixItems" not in place


def test_each_way_of_a_token_is_a_security_scheme() -> None:
    contract = evolve(CONTRACT, tokens=("cookies", "headers", "query_string"))
    schemes = asyncapi_document(contract)["components"]["securitySchemes"]
    assert {name: scheme.get("name") for name, scheme in schemes.items()} == {
        "bearer": None,
        "cookie": "token",
        "query": "jwt",
    }


@pytest.mark.parametrize(
    ("server", "host", "protocol", "pathname"),
    [
        ("ws://localhost:8000", "localhost:8000", "ws", None),
        ("https://example.com/api", "example.com", "wss", "/api"),
    ],
)
def test_the_server_is_where_it_is_said_to_be(
    server: str, host: str, protocol: str, pathname: str | None
) -> None:
    told = asyncapi_document(CONTRACT, server)["servers"]["app"]
    assert (told["host"], told["protocol"], told.get("pathname")) == (host, protocol, pathname)
