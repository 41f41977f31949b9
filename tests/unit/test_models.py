"""Payloads to typed values and back."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from attrs import define, validators
from attrs import field as attrs_field

from quart_realtime.errors import InvalidPayload
from quart_realtime.models import check_type, convert, dump, dump_as, field_errors, to_builtins


@define
class AttrsPoint:
    x: int
    y: int = 0


@dataclass
class DataPoint:
    x: int
    y: int = 0


class StructPoint(msgspec.Struct):
    x: int
    y: int = 0


class DictPoint(TypedDict):
    x: int
    y: NotRequired[int]


class PydanticPoint(pydantic.BaseModel):
    x: int
    y: int = 0


@pydantic.dataclasses.dataclass
class PydanticData:
    x: int
    y: int = 0


CLASSES = [AttrsPoint, DataPoint, StructPoint, PydanticPoint, PydanticData]
MSGSPEC = [AttrsPoint, DataPoint, StructPoint]


class Colour(Enum):
    RED = "red"


# Reading


@pytest.mark.parametrize("kind", CLASSES)
def test_an_object_becomes_a_model_with_its_defaults(kind: Any) -> None:
    assert convert({"x": 1, "more": "ignored"}, kind) == kind(x=1, y=0)


def test_an_object_becomes_a_typed_dict() -> None:
    assert convert({"x": 1}, DictPoint) == {"x": 1}


@pytest.mark.parametrize("kind", CLASSES)
def test_models_within_lists_dictionaries_and_options_are_read(kind: Any) -> None:
    expected = dict[str, list[kind | None]]
    assert convert({"a": [{"x": 1}, None]}, expected) == {"a": [kind(x=1), None]}


@pytest.mark.parametrize(
    ("value", "expected", "result"),
    [
        ("a", str, "a"),
        (1, float, 1.0),
        (None, str | None, None),
        ("2025-05-20T12:34:56Z", datetime, datetime(2025, 5, 20, 12, 34, 56, tzinfo=UTC)),
        ("12345678-1234-5678-1234-567812345678", UUID, UUID("12345678123456781234567812345678")),
        ("red", Colour, Colour.RED),
        ("a", Literal["a", "b"], "a"),
        ({"anything": [1]}, Any, {"anything": [1]}),
        ({"anything": [1]}, dict, {"anything": [1]}),
        (3, Annotated[int, msgspec.Meta(ge=1)], 3),
    ],
)
def test_builtins_are_read_as_annotated(value: Any, expected: Any, result: Any) -> None:
    assert convert(value, expected) == result


def test_text_is_no_number_unless_it_comes_from_a_name() -> None:
    with pytest.raises(InvalidPayload):
        convert("7", int)
    assert convert("7", int, strict=False) == 7


# What is wrong


@pytest.mark.parametrize("kind", [*CLASSES, DictPoint])
def test_a_field_of_the_wrong_type_is_named(kind: Any) -> None:
    with pytest.raises(InvalidPayload) as caught:
        convert({"x": "one"}, kind)
    assert list(caught.value.fields) == ["x"]
    assert caught.value.details["fields"] == caught.value.fields
    assert caught.value.code == "validation_error"


@pytest.mark.parametrize("kind", [*CLASSES, DictPoint])
def test_a_missing_field_is_named(kind: Any) -> None:
    with pytest.raises(InvalidPayload) as caught:
        convert({}, kind)
    assert list(caught.value.fields) == ["x"]


@pytest.mark.parametrize("kind", [*CLASSES, DictPoint])
def test_a_value_that_is_no_object_is_the_payload_s_fault(kind: Any) -> None:
    with pytest.raises(InvalidPayload) as caught:
        convert(7, kind)
    assert list(caught.value.fields) == ["payload"]


@define
class Line:
    start: AttrsPoint
    points: list[AttrsPoint] = attrs_field(factory=list)


class PydanticLine(pydantic.BaseModel):
    start: PydanticPoint
    points: list[PydanticPoint] = []


@pytest.mark.parametrize("kind", [Line, PydanticLine])
@pytest.mark.parametrize("wrong", [{"x": "one"}, {}])
def test_a_field_of_a_field_is_named_by_its_dotted_name(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayload) as caught:
        convert({"start": wrong}, kind)
    assert list(caught.value.fields) == ["start.x"]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(Line),
        PydanticLine,
    ],
)
def test_a_field_within_a_list_is_named_by_its_dotted_name(kind: Any) -> None:
    with pytest.raises(InvalidPayload) as caught:
        convert({"start": {"x": 1}, "points": [{"x": 1}, {"x": "two"}]}, kind)
    assert list(caught.value.fields) == ["points.1.x"]


def test_a_field_of_a_pydantic_model_within_a_list_is_named_with_its_place() -> None:
    with pytest.raises(InvalidPayload) as caught:
        convert({"a": [{"x": "one"}]}, dict[str, list[PydanticPoint]])
    (name,) = caught.value.fields
    assert name == "a.0.x"


class PydanticName(pydantic.BaseModel):
    name: str


@dataclass
class DataLine:
    start: PydanticPoint
    label: str = ""


class DictLine(TypedDict):
    start: PydanticPoint


class TupleLine(NamedTuple):
    start: PydanticPoint


@define
class AttrsLine:
    start: PydanticPoint | None
    points: list[PydanticPoint] = attrs_field(factory=list)


@dataclass
class MixedLine:
    start: PydanticPoint
    end: AttrsPoint


ALIAS = NewType("ALIAS", PydanticPoint)
POINT = PydanticPoint(x=1)


@pytest.mark.parametrize(
    ("expected", "value", "result", "wrong", "fields"),
    [
        (PydanticPoint | None, {"x": 1}, POINT, {}, ["x"]),
        (PydanticPoint | None, None, None, 7, ["payload"]),
        (list[PydanticPoint], [{"x": 1}], [POINT], [{"x": 1}, {"x": "two"}], ["1.x"]),
        (dict[str, PydanticPoint], {"a": {"x": 1}}, {"a": POINT}, {"a": {}}, ["a.x"]),
        (
            PydanticPoint | PydanticName,
            {"name": "a"},
            PydanticName(name="a"),
            {},
            ["PydanticPoint.x", "PydanticName.name"],
        ),
        (PydanticPoint | int, 7, 7, {}, ["PydanticPoint.x", "int"]),
        (DataLine, {"start": {"x": 1}}, DataLine(POINT), {"start": {}}, ["start.x"]),
        (DictLine, {"start": {"x": 1}}, {"start": POINT}, {"start": {}}, ["start.x"]),
        (TupleLine, [{"x": 1}], TupleLine(POINT), [{}], ["0.x"]),
        (AttrsLine, {"start": {"x": 1}}, AttrsLine(POINT), {"start": {}}, ["start.x"]),
        (
            MixedLine,
            {"start": {"x": 1}, "end": {"x": 1}},
            MixedLine(POINT, AttrsPoint(1)),
            {"start": {"x": 1}, "end": {}},
            ["end.x"],
        ),
        (
            Annotated[list[PydanticPoint], pydantic.Field(max_length=1)],
            [{"x": 1}],
            [POINT],
            [{"x": 1}, {"x": 1}],
            ["payload"],
        ),
        (list[ALIAS], [{"x": 1}], [POINT], [{}], ["0.x"]),
    ],
)
def test_a_pydantic_model_is_read_wherever_it_stands(
    expected: Any, value: Any, result: Any, wrong: Any, fields: list[str]
) -> None:
    check_type(expected)
    assert convert(value, expected) == result
    assert dump_as(expected, result) == dump(result)
    with pytest.raises(InvalidPayload) as caught:
        convert(wrong, expected)
    assert list(caught.value.fields) == fields


@pytest.mark.parametrize("kind", [AttrsPoint, StructPoint])
def test_what_pydantic_can_not_read_beside_its_model_is_told(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"pydantic, which knows no attrs classes and no Structs"):
        check_type(list[kind | PydanticPoint])


def test_without_pydantic_all_else_is_read() -> None:
    code = """if True:
        import sys
        sys.modules["pydantic"] = None
        from quart_realtime.models import check_type, convert, dump_as
        check_type(list[int] | None)
        assert convert([1], list[int] | None) == [1]
        assert dump_as(list[int], [1]) == b"[1]"
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_pydantic_names_all_fields_that_are_wrong() -> None:
    with pytest.raises(InvalidPayload) as caught:
        convert({"x": "one", "y": "two"}, PydanticPoint)
    assert set(caught.value.fields) == {"x", "y"}


def test_what_a_validator_of_the_model_says_is_told() -> None:
    @define
    class Positive:
        x: int = attrs_field(validator=validators.gt(0))

    with pytest.raises(InvalidPayload, match="must be > 0"):
        convert({"x": -1}, Positive)


def test_a_broken_limit_is_told_with_its_field() -> None:
    class Named(msgspec.Struct):
        name: Annotated[str, msgspec.Meta(max_length=3)]

    with pytest.raises(InvalidPayload) as caught:
        convert({"name": "abcd"}, Named)
    assert caught.value.fields == {"name": "Expected `str` of length <= 3"}


def test_an_error_that_names_no_field_is_the_payload_s_fault() -> None:
    assert field_errors(ValueError("no")) == {"payload": "no"}


def test_the_text_of_a_value_cannot_make_up_a_field() -> None:
    with pytest.raises(InvalidPayload) as caught:
        convert({"x": "` - at `$.admin`"}, StructPoint)
    assert list(caught.value.fields) == ["x"]


# Writing


@pytest.mark.parametrize("kind", CLASSES)
def test_a_model_is_written_as_an_object(kind: Any) -> None:
    assert msgspec.json.decode(dump({"a": [kind(x=1)]})) == {"a": [{"x": 1, "y": 0}]}
    assert to_builtins([kind(x=1)]) == [{"x": 1, "y": 0}]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_in_json_becomes_null(number: float) -> None:
    assert dump([number]) == b"[null]"


def test_dates_uuids_and_enums_are_written_as_text() -> None:
    when = datetime(2025, 5, 20, 12, 34, 56, tzinfo=UTC)
    assert dump([when, UUID(int=1), Colour.RED]) == (
        b'["2025-05-20T12:34:56Z","00000000-0000-0000-0000-000000000001","red"]'
    )


@pytest.mark.parametrize("value", [object(), {"a": object()}, len, {(1, 2): 3}])
def test_what_has_no_json_form_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        dump(value)


def test_a_lone_surrogate_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        dump({"a": "\ud800"})


def test_data_is_checked_against_what_is_declared_for_it() -> None:
    assert dump_as(AttrsPoint, AttrsPoint(1)) == b'{"x":1,"y":0}'
    assert dump_as(PydanticPoint, {"x": 1}) == b'{"x":1}'
    assert dump_as(None, {"whatever": 1}) == b'{"whatever":1}'
    with pytest.raises(InvalidPayload) as caught:
        dump_as(AttrsPoint, {"y": 1})
    assert list(caught.value.fields) == ["x"]
