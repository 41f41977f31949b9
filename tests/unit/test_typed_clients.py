"""What is written of each kind of schema, in TypeScript and in Python."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from quart_realtime.contract import Contract, EventContract, Operation
from quart_realtime.python_client import python_client
from quart_realtime.schemas import Schema
from quart_realtime.typescript import typescript

from .test_asyncapi import CONTRACT, REF

EMPTY = evolve(CONTRACT, operations=(), events=(), rooms=(), schemas={})
LONG = [f"a rather long value, number {number} of a few" for number in range(3)]


def answering(schema: Schema, **schemas: Schema) -> Contract:
    operation = Operation("things", "get", {"type": "object"}, schema)
    return evolve(EMPTY, operations=(operation,), schemas=schemas)


def in_typescript(schema: Schema) -> str:
    text = typescript(answering(schema))
    return text.partition("response: ")[2].partition(";\n      };\n")[0]


def in_python(schema: Schema) -> str:
    text = python_client(answering(schema))
    return text.partition("answer: ")[2].partition(" = await")[0]


def executed(contract: Contract) -> dict[str, Any]:
    """Run the Python module, and return what it defines."""
    made: dict[str, Any] = {"__name__": "api"}
    exec(compile(python_client(contract), "api.py", "exec"), made)
    return made


@pytest.mark.parametrize(
    ("schema", "typed", "python"),
    [
        ({}, "any", "Any"),
        ({"type": "string", "format": "date-time"}, "string", "str"),
        ({"type": "integer"}, "number", "int"),
        ({"type": "number"}, "number", "float"),
        ({"type": "boolean"}, "boolean", "bool"),
        ({"type": "null"}, "null", "None"),
        ({"type": ["string", "null"]}, "string | null", "str | None"),
        ({"const": 1}, "1", "Literal[1]"),
        ({"const": 1.5}, "any", "Any"),
        ({"enum": ["a", "b", None]}, '"a" | "b" | null', 'Literal["a", "b", None]'),
        ({"enum": ['it\'s "odd"']}, '"it\'s \\"odd\\""', "Literal['it\\'s \"odd\"']"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "null | string", "str | None"),
        ({"oneOf": [{"type": "string"}, {}]}, "any", "Any"),
        (
            {"allOf": [{"type": "object"}, {"type": "string"}]},
            "{ [key: string]: any; } & string",
            "dict[str, Any]",
        ),
        ({"type": "array"}, "any[]", "list[Any]"),
        (
            {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
            "(string | number)[]",
            "list[str | int]",
        ),
        (
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "items": False,
            },
            "[number, string]",
            "list[int | str]",
        ),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}},
            "[number?, ...string[]]",
            "list[int | str]",
        ),
        ({"type": "object"}, "{ [key: string]: any; }", "dict[str, Any]"),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            "{ [key: string]: number; }",
            "dict[str, int]",
        ),
        (
            {
                "anyOf": [
                    {"type": "array", "items": {"type": ["string", "integer"]}},
                    {"type": "null"},
                ]
            },
            "(string | number)[] | null",
            "list[str | int] | None",
        ),
    ],
)
def test_each_kind_of_schema_has_its_type(schema: Schema, typed: str, python: str) -> None:
    assert in_typescript(schema) == typed
    assert in_python(schema) == python


def test_an_object_has_its_properties_with_what_is_said_of_them() -> None:
    thing: Schema = {
        "description": 'A thing, with "quotes", */ and \\ in it.',
        "type": "object",
        "properties": {
            "id": {"type": "integer", "description": "Its number."},
            "name": {"type": "string", "default": "x"},
            "inner": {"$ref": f"{REF}Thing"},
        },
        "required": ["id"],
    }
    contract = answering({"$ref": f"{REF}Thing"}, Thing=thing)
    assert typescript(contract).startswith(
        "// What Chat answers and tells, as of version 1.2.3.\n"
        '// Made by "quart realtime types": make it again rather than change it.\n\n'
        '/** A thing, with "quotes", * / and \\ in it. */\n'
        "export interface Thing {\n"
        "  /** Its number. */\n"
        "  id: number;\n"
        '  /** @default "x" */\n'
        "  name?: string;\n"
        "  inner?: Thing;\n"
        "}\n"
    )
    made = executed(contract)["Thing"]
    assert made.__doc__ == thing["description"]
    assert made.__required_keys__ >= {"id"}
    assert "    inner: NotRequired[Thing]\n" in python_client(contract)


def test_names_that_are_no_identifiers_are_written_all_the_same() -> None:
    odd: Schema = {
        "type": "object",
        "properties": {"full-name": {"type": "string"}, "class": {"type": "integer"}},
        "required": ["full-name"],
    }
    contract = evolve(
        answering({"$ref": f"{REF}Odd"}, Odd=odd),
        operations=(
            Operation("my things", "get-all", {"type": "object"}, {"$ref": f"{REF}Odd"}),
            Operation("my things", "get_all", {"type": "object"}, {}),
            Operation("my things", "delete", {"type": "object"}, {}),
            Operation("my things", "list", {"type": "object"}, {"type": "array"}),
            Operation("2", "class", {"type": "object"}, {}),
        ),
    )
    text = typescript(contract)
    assert '  "full-name": string;\n  class?: number;\n' in text
    assert '    "my things": {\n' in text
    assert '      "get-all": {\n' in text
    made = executed(contract)
    assert set(made["Odd"].__annotations__) == {"full-name", "class"}
    api = made["Api"](None)
    methods = {name for name in dir(api.my_things) if not name.startswith("_")}
    assert methods == {"get_all", "get_all2", "delete", "list_"}
    assert hasattr(api.v2, "class_")


@pytest.mark.parametrize("name", ["Api", "string", "Callable", "class"])
def test_a_type_that_is_called_as_something_else_gets_another_name(name: str) -> None:
    schema: Schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    contract = answering({"$ref": f"{REF}{name}"}, **{name: schema})
    text = typescript(contract)
    assert f"export interface {name} {{\n  n" not in text or name == "Callable"
    assert executed(contract)["Api"].__doc__.startswith("What may be asked")


def test_types_that_need_each_other_stand_in_an_order_that_python_can_read() -> None:
    json: Schema = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": f"{REF}Json"}}]
    }
    first: Schema = {"anyOf": [{"$ref": f"{REF}Second"}, {"type": "null"}]}
    contract = answering({"$ref": f"{REF}First"}, First=first, Second={"enum": LONG}, Json=json)
    text = python_client(contract)
    made = executed(contract)
    assert text.index("Second: TypeAlias") < text.index("First: TypeAlias")
    assert made["Json"] == "str | list[Json]"
    assert "Second: TypeAlias = Literal[\n" + "".join(f'    "{value}",\n' for value in LONG) in text
    assert "export type Json = string | Json[];" in typescript(contract)


def test_what_is_too_long_for_a_line_has_a_name_of_its_own() -> None:
    text = python_client(answering({"type": "array", "items": {"enum": LONG}}))
    assert "-> list[ThingsGetAnswerItem]:" in text
    assert "ThingsGetAnswerItem: TypeAlias = Literal[\n" in text
    assert max(map(len, text.splitlines())) <= 88


def test_a_payload_without_what_must_be_said_may_be_left_out_in_python() -> None:
    loose = answering({})
    strict = evolve(
        loose,
        operations=(
            evolve(
                loose.operations[0],
                request={"type": "object", "properties": {"id": {}}, "required": ["id"]},
            ),
        ),
    )
    assert "payload: dict[str, Any] | None = None,\n" in python_client(loose)
    assert "payload: ThingsGet,\n" in python_client(strict)


def test_events_are_heard_by_their_names() -> None:
    said = EventContract("said", {"type": "string"}, ("room:{id}",))
    odd = EventContract("it is odd", {})
    one, two = (evolve(EMPTY, events=events) for events in ((said,), (said, odd)))
    assert "    /** Goes to room:{id}. */\n    said: string;\n" in typescript(one)
    assert '    "it is odd": any;\n' in typescript(two)
    assert "overload" not in python_client(one)
    assert python_client(two).count("@overload") == 2
    heard: list[str] = []

    class Client:
        def on(self, event: str, callback: Any) -> None:
            heard.append(event)

    executed(two)["Api"](Client()).on("said", print)
    assert heard == ["said"]


def test_a_docstring_stays_one_whatever_is_in_it() -> None:
    contract = answering({})
    operation = evolve(
        contract.operations[0], summary='Ends in "', description='Has """ and \\n.\nAnd more.'
    )
    made = executed(evolve(contract, operations=(operation,)))
    documented = made["ThingsRequests"].get.__doc__
    assert 'Has """ and \\n.' in documented
    assert "Each user may ask" not in documented


def test_an_app_with_nothing_has_clients_of_nothing() -> None:
    assert "export type RoomName = never;" in typescript(EMPTY)
    assert "client" in vars(executed(EMPTY)["Api"](None))
