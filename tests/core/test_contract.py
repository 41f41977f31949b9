"""What an app's contract says of its routes, functions, events and rooms."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import wraps
from typing import Any, Literal, NotRequired, TypedDict

import pytest
from attrs import define, field, frozen
from msgspec import UNSET, Struct, UnsetType
from pydantic import BaseModel, Field
from quart import Quart, Response, request
from quart.views import MethodView
from quart_jwt_extended import jwt_required
from quart_schema import validate_querystring, validate_request, validate_response

from quart_realtime import HistoryPolicy, Realtime, SetupError
from quart_realtime.contract import Contract, EventContract, Operation, Origin
from quart_realtime.endpoint import runtime_of
from quart_realtime.python_client import python_client
from quart_realtime.schemas import Schema, followed, name_of
from quart_realtime.survey import contract_of
from quart_realtime.typescript import typescript

from ..conftest import make_app


@frozen
class Message:
    """What was said."""

    message_id: int
    sent_at: datetime.datetime
    reply_to: int | None = None


@frozen
class MessageBody:
    message: Message


@define
class NewMessage:
    text: str
    labels: list[str] = field(factory=list)
    conversation_id: str | None = None


@frozen
class NewMessageBody:
    message: NewMessage


@frozen
class Page:
    limit: int = 50
    sort_by: Literal["time", "sender"] = "time"


class Sender(BaseModel):
    name: str = Field(alias="fullName")
    age: int = 0


@dataclass
class Letter:
    sender: Sender
    labels: list[str] = dataclass_field(default_factory=list)


class Sparse(Struct, omit_defaults=True):
    a: int = 1


class Loose(Struct):
    always: int = 1
    seldom: int | UnsetType = UNSET


class Options(TypedDict):
    a: NotRequired[int]


class Kind(enum.Enum):
    A = "a"


@pytest.fixture
def realtime(app: Quart) -> Realtime:
    return Realtime(app)


def contract(app: Quart) -> Contract:
    runtime = runtime_of(app)
    return contract_of(app, runtime.registry, runtime.settings)


def operation(app: Quart, name: str = "messages.act") -> Operation:
    return next(item for item in contract(app).operations if item.name == name)


def event(app: Quart, name: str) -> EventContract:
    return next(item for item in contract(app).events if item.name == name)


def seen(app: Quart, schema: Schema) -> Schema:
    """Follow a reference into the shared schemas."""
    return followed(schema, contract(app).schemas)


# Functions without a route


def test_a_function_takes_what_its_parameters_are_annotated_as(app, realtime) -> None:
    @realtime.handler("messages", "act", login=False, rate_limit="5/minute", timeout=3)
    async def act(text: str, page: Page, urgent: bool = False) -> list[Message]:
        """Say something,
        to everybody.

        Nobody is left out.
        """
        return []

    told = operation(app)
    assert told.request == {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "page": {"$ref": "#/components/schemas/Page"},
            "urgent": {"type": "boolean", "default": False},
        },
        "required": ["text", "page"],
        "additionalProperties": False,
    }
    assert told.response == {"type": "array", "items": {"$ref": "#/components/schemas/Message"}}
    assert (told.summary, told.description) == (
        "Say something, to everybody.",
        "Nobody is left out.",
    )
    assert (told.login, told.rate_limit, told.timeout, told.origin) == (False, "5/minute", 3, None)


def test_data_is_the_payload_as_a_whole(app, realtime) -> None:
    @realtime.handler("messages", "act")
    async def act(data: NewMessage) -> None: ...

    told = operation(app)
    assert told.request == {"$ref": "#/components/schemas/NewMessage"}
    assert seen(app, told.request)["required"] == ["text"]
    assert told.response == {"type": "null"}


def test_what_stands_beside_data_is_part_of_the_payload_too(app, realtime) -> None:
    @realtime.handler("messages", "act")
    async def act(room: int, data: NewMessage) -> None: ...

    properties = operation(app).request["properties"]
    assert list(properties) == ["room", "text", "labels", "conversation_id"]
    assert operation(app).request["required"] == ["room", "text"]


def test_a_status_beside_the_value_is_no_part_of_the_answer(app, realtime) -> None:
    @realtime.handler("messages", "act")
    async def act() -> tuple[Message, int] | tuple[Page, int, dict[str, str]]:
        raise NotImplementedError

    assert operation(app).response == {
        "anyOf": [{"$ref": "#/components/schemas/Message"}, {"$ref": "#/components/schemas/Page"}]
    }


@pytest.mark.parametrize("annotation", [Response, Any, object, "dict | Response"])
def test_what_cannot_be_told_is_anything(app, realtime, annotation: Any) -> None:
    async def act() -> None: ...

    act.__annotations__["return"] = annotation
    realtime.handler("messages", "act")(act)
    assert operation(app).response == {}


def test_what_the_server_writes_is_there_though_it_has_a_default(app, realtime) -> None:
    @realtime.handler("messages", "act")
    async def act(
        message: Message, sparse: Sparse, loose: Loose, options: Options
    ) -> tuple[dict[str, Message | None], int]:
        raise NotImplementedError

    @realtime.handler("messages", "read")
    async def read() -> (
        tuple[list[Sparse], int] | tuple[dict[str, Loose], int] | tuple[Options, int]
    ): ...

    told = contract(app)
    sent, written = told.schemas["Message"], told.schemas["MessageResponse"]
    assert sent["required"] == ["message_id", "sent_at"]
    assert written["required"] == ["message_id", "sent_at", "reply_to"]
    assert written["properties"]["reply_to"]["default"] is None
    assert not told.schemas["Sparse"].get("required")
    assert told.schemas["LooseResponse"]["required"] == ["always"]
    assert not told.schemas["Options"].get("required")


def test_pydantics_names_are_the_aliases_when_they_are_read_and_their_own_when_written(
    app, realtime
) -> None:
    @realtime.handler("messages", "act")
    async def act(sender: Sender) -> dict[str, Sender]: ...

    told = contract(app)
    assert list(told.schemas["Sender"]["properties"]) == ["fullName", "age"]
    written = told.schemas["SenderResponse"]
    assert list(written["properties"]) == ["name", "age"]
    assert written["required"] == ["name", "age"]


def test_a_pydantic_model_has_its_name_wherever_it_stands(app, realtime) -> None:
    realtime.event("listed", list[Sender])
    realtime.event("changed", Sender | Letter)

    @realtime.handler("messages", "act")
    async def act(sender: Sender | None, senders: list[Sender], letter: Letter) -> None: ...

    @realtime.handler("messages", "read")
    async def read(data: Letter | None) -> Letter: ...

    told = contract(app)
    sender, letter = (
        {"$ref": "#/components/schemas/SenderRequest"},
        {"$ref": "#/components/schemas/LetterRequest"},
    )
    assert operation(app).request["properties"] == {
        "sender": {"anyOf": [sender, {"type": "null"}]},
        "senders": {"type": "array", "items": sender},
        "letter": letter,
    }
    reading = operation(app, "messages.read")
    assert reading.request == {"anyOf": [letter, {"type": "null"}]}
    assert told.schemas["LetterRequest"]["required"] == ["sender"]
    assert seen(app, reading.response)["required"] == ["sender", "labels"]
    assert name_of(reading.response) == "LetterResponse"
    assert name_of(event(app, "listed").schema["items"]) == "Sender"
    assert [*map(name_of, event(app, "changed").schema["anyOf"])] == ["Sender", "Letter"]
    for text in (typescript(told), python_client(told)):
        assert "Letter" in text
    compile(python_client(told), "api.py", "exec")


def test_what_pydantic_has_no_schema_for_counts_as_anything(app, realtime, caplog) -> None:
    class Calling(BaseModel):
        call: Callable[[], int]

    async def act() -> None: ...

    act.__annotations__["return"] = list[Calling]
    realtime.handler("messages", "act")(act)
    assert operation(app).response == {}
    assert "counts as anything" in caplog.text


def test_types_of_one_name_have_two_schemas(app, realtime) -> None:
    def make(kind: type) -> type:
        return type("Thing", (Struct,), {"__annotations__": {"value": kind}})

    first, second = make(int), make(str)

    async def act(a: Any, b: Any) -> None: ...

    act.__annotations__ = {"a": first, "b": second}
    realtime.handler("messages", "act")(act)
    told = contract(app)
    values = [part["properties"]["value"]["type"] for part in told.schemas.values()]
    assert sorted(values) == ["integer", "string"]


def test_names_of_schemas_are_such_as_documents_can_hold(app, realtime) -> None:
    async def act(a: Any) -> None: ...

    act.__annotations__ = {"a": type("Año", (Struct,), {"__annotations__": {"value": int}})}
    realtime.handler("messages", "act")(act)
    assert list(contract(app).schemas) == ["A_o"]


def test_what_pydantic_cannot_describe_is_anything(app, realtime) -> None:
    class Odd(BaseModel):
        called: Callable[[], int] | None = None

    async def act(data: Any) -> None: ...

    act.__annotations__["data"] = Odd
    realtime.handler("messages", "act")(act)
    assert operation(app).request == {"type": "object"}


# Routes


def test_a_route_takes_its_urls_variables_and_its_body(app, realtime) -> None:
    @app.post("/rooms/<int:room>/<uuid:key>/<any(b, a):kind>/<float:x>")
    @jwt_required
    @validate_request(NewMessageBody)
    @validate_response(MessageBody, 201)
    @validate_response(Page, 409)
    @realtime.handler("messages", "act")
    async def act(data: NewMessageBody, **variables: Any) -> tuple[MessageBody, int]:
        raise NotImplementedError

    told = operation(app)
    assert told.request == {
        "type": "object",
        "properties": {
            "room": {"type": "integer"},
            "key": {"type": "string", "format": "uuid"},
            "kind": {"enum": ["a", "b"]},
            "x": {"type": "number"},
            "message": {"$ref": "#/components/schemas/NewMessage"},
        },
        "required": ["room", "key", "kind", "x", "message"],
    }
    assert told.response == {"$ref": "#/components/schemas/MessageBody"}
    assert told.origin == Origin(
        "POST",
        "/rooms/<int:room>/<uuid:key>/<any(b, a):kind>/<float:x>",
        "act",
        ("jwt_required",),
    )


def test_a_variable_may_stand_in_an_object_of_the_payload_instead(app, realtime) -> None:
    @app.post("/conversations/<conversation_id>")
    @validate_request(NewMessageBody)
    @realtime.handler("messages", "act")
    async def act(conversation_id: str, data: NewMessageBody) -> None: ...

    told = operation(app).request
    assert list(told["properties"]) == ["conversation_id", "message"]
    assert told["required"] == ["message"]


def test_a_query_is_part_of_the_payload(app, realtime) -> None:
    @app.get("/messages/<message_id>")
    @validate_querystring(Page)
    @realtime.handler("messages", "act")
    async def act(message_id: str, query_args: Page) -> dict[str, int]: ...

    told = operation(app)
    assert list(told.request["properties"]) == ["message_id", "limit", "sort_by"]
    assert told.request["required"] == ["message_id"]
    assert told.response == {"type": "object", "additionalProperties": {"type": "integer"}}


def test_what_a_view_reads_by_itself_may_be_anything(app, realtime) -> None:
    @app.get("/a")
    @realtime.handler("messages", "act")
    async def act() -> Any:
        return request.args

    @app.get("/b/<int:b>")
    @realtime.handler("messages", "get")
    async def get(b: int) -> Any: ...

    assert operation(app).request["additionalProperties"] is True
    assert operation(app, "messages.get").request["additionalProperties"] is False


def test_names_are_those_on_the_wire() -> None:
    app = make_app()
    app.config["QUART_SCHEMA_CONVERT_CASING"] = True
    realtime = Realtime(app)

    @app.post("/messages/<message_id>")
    @validate_request(Message)
    @validate_response(MessageBody)
    @realtime.handler("messages", "act")
    @realtime.emits("said", data="message")
    async def act(message_id: str, data: Message) -> MessageBody: ...

    @realtime.handler("messages", "read")
    async def read(message: Message) -> None: ...

    told = contract(app)
    assert list(operation(app).request["properties"]) == [
        "message_id",
        "messageId",
        "sentAt",
        "replyTo",
    ]
    body = seen(app, operation(app).response)
    answered = seen(app, body["properties"]["message"])
    assert answered["required"] == ["messageId", "sentAt", "replyTo"]
    # What is told, and what a function without a route takes, quart-schema doesn't see.
    assert "message_id" in seen(app, event(app, "said").schema)["properties"]
    read_schema = operation(app, "messages.read").request["properties"]["message"]
    assert "message_id" in seen(app, read_schema)["properties"]
    assert len([name for name in told.schemas if name.startswith("Message")]) == 4


def test_decorators_are_told_apart_into_guards_and_others(app, realtime) -> None:
    def for_admins(function: Any) -> Any:
        @wraps(function)
        async def checking(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        return checking

    @app.delete("/messages/<message_id>")
    @for_admins
    @jwt_required
    @realtime.handler("messages", "act")
    @realtime.emits("gone")
    async def act(message_id: str) -> dict[str, str]: ...

    assert operation(app).origin == Origin(
        "DELETE", "/messages/<message_id>", "act", ("jwt_required",), ("for_admins",)
    )


def test_a_view_class_is_described_by_its_method(app, realtime) -> None:
    class Messages(MethodView):
        """Nothing to tell."""

        @jwt_required
        @realtime.handler("messages", "act")
        async def get(self) -> list[int]:
            """List them."""
            return []

    app.add_url_rule("/messages", view_func=Messages.as_view("messages"))
    told = operation(app)
    assert told.summary == "List them."
    assert told.response == {"type": "array", "items": {"type": "integer"}}
    assert told.origin is not None
    assert told.origin.guards == ("jwt_required",)


def test_what_start_up_would_refuse_has_no_contract(app, realtime) -> None:
    @app.route("/messages", methods=["GET", "POST"])
    @realtime.handler("messages", "act")
    async def act() -> None: ...

    with pytest.raises(SetupError, match="answers several methods"):
        contract(app)


# Events and rooms


def test_a_declared_event_says_what_it_carries_and_where_it_goes(app, realtime) -> None:
    realtime.event("said", Message, room="room:{message_id}", history=False)
    told = event(app, "said")
    assert seen(app, told.schema)["required"] == ["message_id", "sent_at", "reply_to"]
    assert (told.rooms, told.history, told.everyone) == (("room:{message_id}",), False, False)


def test_an_event_that_is_only_emitted_carries_what_its_view_returns(app, realtime) -> None:
    def hall(data: Any) -> str:
        return "hall"

    def short(body: MessageBody) -> int: ...

    @app.post("/messages")
    @validate_response(MessageBody, 201)
    @realtime.handler("messages", "act")
    @realtime.emits("said", data="message", room=["room:{message_id}", "hall"])
    @realtime.emits("heard", room=hall)
    @realtime.emits("counted", data=short)
    async def act() -> Any: ...

    @app.delete("/messages")
    @realtime.emits("gone")
    async def delete() -> tuple[None, int]: ...

    assert event(app, "said").schema == {"$ref": "#/components/schemas/Message"}
    assert event(app, "said").rooms == ("room:{message_id}", "hall")
    assert event(app, "heard").schema == {"$ref": "#/components/schemas/MessageBody"}
    assert [name.rpartition(".")[2] for name in event(app, "heard").chosen_by] == ["hall"]
    assert event(app, "counted").schema == {"type": "integer"}
    assert event(app, "counted").everyone
    assert event(app, "gone").schema == {"type": "object"}


def test_an_event_of_several_views_is_one_of_what_they_return(app, realtime) -> None:
    @app.post("/a")
    @realtime.emits("said")
    async def a() -> dict[str, Kind]: ...

    @app.post("/b")
    @realtime.emits("said", data="count")
    async def b() -> dict[str, int]: ...

    assert event(app, "said").schema == {
        "anyOf": [
            {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Kind"}},
            {"type": "integer"},
        ]
    }


def test_rooms_tell_their_variables_and_what_they_keep(app, realtime) -> None:
    @realtime.room("thread:<int:thread>:<part>", presence=True, history=7)
    async def may_join(thread: int, part: Literal["a", "b"]) -> bool:
        """Let readers in."""
        return True

    (told,) = contract(app).rooms
    assert told.variables == {"thread": {"type": "integer"}, "part": {"enum": ["a", "b"]}}
    assert (told.presence, told.history) == (True, HistoryPolicy(7, 300))
    assert told.summary == "Let readers in."
