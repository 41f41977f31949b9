"""What views and handlers return and raise, as a client is told of it."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import msgspec
import pydantic
import pytest
from quart import Quart, Response, jsonify, make_response
from quart_schema.validation import RequestSchemaValidationError
from werkzeug.exceptions import HTTPException, NotFound, abort
from werkzeug.wrappers import Response as WerkzeugResponse

from quart_realtime import errors
from quart_realtime.results import (
    RouteError,
    error_of,
    is_success,
    json_of,
    refusal_details,
    split_result,
    value_of,
)


def told_of(error: BaseException) -> errors.RealtimeError | None:
    return asyncio.run(error_of(error))


@pytest.mark.parametrize(
    ("result", "value", "status"),
    [
        ({"a": 1}, {"a": 1}, 200),
        (None, None, 200),
        ([1, 2], [1, 2], 200),
        (({"a": 1}, 201), {"a": 1}, 201),
        (({"a": 1}, HTTPStatus.CREATED), {"a": 1}, 201),
        (({"a": 1}, "201 CREATED"), {"a": 1}, 201),
        (({"a": 1}, {"X-A": "b"}), {"a": 1}, 200),
        (({"a": 1}, [("X-A", "b")]), {"a": 1}, 200),
        (({"a": 1}, 202, {"X-A": "b"}), {"a": 1}, 202),
        (({"a": 1},), {"a": 1}, 200),
    ],
)
def test_a_result_is_split_into_value_and_status(result: Any, value: Any, status: int) -> None:
    assert split_result(result) == (value, status)


def json_response(body: str, status: int = 200) -> Response:
    return Response(body, status, content_type="application/json")


@pytest.mark.parametrize(
    ("result", "value", "status"),
    [
        (json_response('{"a": 1}'), {"a": 1}, 200),
        (json_response('{"a": 1}', 404), {"a": 1}, 404),
        ((json_response('{"a": 1}'), 202), {"a": 1}, 202),
        ((json_response('{"a": 1}', 202), {"X-A": "b"}), {"a": 1}, 202),
        (Response("<p>hello</p>"), None, 200),
        (WerkzeugResponse('{"a": 1}', 201, content_type="application/json"), {"a": 1}, 201),
        (WerkzeugResponse("hello", 500), None, 500),
        (("", 204), None, 204),
        ((b"", 204), None, 204),
        ("text", "text", 200),
        (0, 0, 200),
        (False, False, 200),
        ({}, {}, 200),
        ([], [], 200),
    ],
    ids=repr,
)
async def test_a_result_stands_for_a_value_and_a_status(
    result: Any, value: Any, status: int
) -> None:
    got, got_status = await value_of(result)
    assert (got, got_status) == (value, status)
    assert type(got) is type(value)


async def test_a_response_can_still_be_sent_after_it_was_looked_at() -> None:
    async with Quart("tests").app_context():
        response = await make_response(jsonify({"a": 1}), 201)
        assert await value_of(response) == ({"a": 1}, 201)
        assert await response.get_json() == {"a": 1}


@pytest.mark.parametrize(("body", "status"), [("{", 200), ("", 204)])
async def test_a_response_that_claims_json_and_has_none_stands_for_none(
    body: str, status: int
) -> None:
    assert await value_of(json_response(body, status)) == (None, status)


async def test_an_empty_response_has_no_json() -> None:
    assert await json_of(Response("", 204)) is None


@pytest.mark.parametrize(("status", "success"), [(199, 0), (200, 1), (204, 1), (299, 1), (302, 0)])
def test_success_is_two_hundred_something(status: int, success: int) -> None:
    assert is_success(status) == bool(success)


# What a route refuses


@pytest.mark.parametrize("key", ["message", "error", "msg", "detail", "description"])
def test_a_route_s_own_message_is_told(key: str) -> None:
    assert RouteError(404, {key: "no such message"}).as_payload() == {
        "code": "not_found",
        "message": "no such message",
        "details": {"status": 404, "body": {key: "no such message"}},
    }


@pytest.mark.parametrize("body", [None, [], "text", {"message": 7}, {"message": ""}])
def test_a_route_that_says_nothing_is_told_by_its_status(body: Any) -> None:
    error = RouteError(409, body)
    assert str(error) == "conflict"
    assert error.details == refusal_details(409, body)
    assert str(RouteError(409, body, "spare words")) == "spare words"


def test_a_status_that_nobody_knows_is_told_by_its_number() -> None:
    assert RouteError(499).as_payload()["message"] == "status 499"
    assert RouteError(599).as_payload()["code"] == "internal_error"


def test_details_hold_the_body_only_where_there_is_one() -> None:
    assert refusal_details(404, None) == {"status": 404}
    assert refusal_details(404, 0) == {"status": 404, "body": 0}


# What is raised


def test_an_error_for_clients_is_told_as_it_is() -> None:
    error = errors.Conflict("taken")
    assert told_of(error) is error


@pytest.mark.parametrize("error", [ValueError("secret"), KeyError("secret"), TimeoutError()])
def test_any_other_exception_is_nobody_s_business(error: Exception) -> None:
    assert told_of(error) is None


def aborted(*arguments: Any) -> HTTPException:
    with pytest.raises(HTTPException) as caught:
        abort(*arguments)
    return caught.value


@pytest.mark.parametrize(
    ("status", "code"), [(400, "bad_request"), (403, "forbidden"), (404, "not_found")]
)
def test_an_abort_is_told_by_its_status(status: int, code: str) -> None:
    told = told_of(aborted(status))
    assert told is not None
    assert told.as_payload()["code"] == code
    assert told.details == {"status": status}


def test_an_abort_is_told_with_its_words() -> None:
    assert str(told_of(aborted(404, "no such message"))) == "no such message"
    assert str(told_of(NotFound())) == NotFound.description


def test_an_abort_with_a_response_is_told_by_that_s_status() -> None:
    told = told_of(aborted(json_response('{"message": "no"}', 409)))
    assert told is not None
    assert told.as_payload()["code"] == "conflict"


def test_an_abort_with_a_response_is_told_with_its_message() -> None:
    told = told_of(aborted(json_response('{"message": "taken by ann"}', 409)))
    assert str(told) == "taken by ann"


def test_what_quart_schema_refuses_names_the_fields() -> None:
    class Message(pydantic.BaseModel):
        text: str

    with pytest.raises(pydantic.ValidationError) as caught:
        Message.model_validate({})
    told = told_of(RequestSchemaValidationError(caught.value))
    assert isinstance(told, errors.InvalidPayload)
    assert list(told.fields) == ["text"]
    assert told.details["status"] == 400


def test_what_quart_schema_refuses_by_msgspec_names_the_field() -> None:
    class Message(msgspec.Struct):
        text: str

    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"text": 7}, Message)
    told = told_of(RequestSchemaValidationError(caught.value))
    assert isinstance(told, errors.InvalidPayload)
    assert list(told.fields) == ["text"]
