"""What a client is told of an error."""

from __future__ import annotations

import pytest

from quart_realtime import errors
from quart_realtime.errors import (
    BadRequest,
    InternalError,
    InvalidPayload,
    NotFound,
    RateLimited,
    RealtimeError,
    RequestTimeout,
    RoomForbidden,
    SetupError,
    TokenRefused,
    Unauthorized,
    code_for_status,
)

CODES = {
    "bad_request": 400,
    "validation_error": 422,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "payload_too_large": 413,
    "rate_limited": 429,
    "internal_error": 500,
    "unavailable": 503,
    "timeout": 504,
}


@pytest.mark.parametrize(("code", "status"), CODES.items())
def test_each_code_of_the_wire_stands_for_its_status(code: str, status: int) -> None:
    assert code_for_status(status) == code


def test_no_error_class_has_a_code_that_the_wire_does_not_know() -> None:
    classes = [getattr(errors, name) for name in errors.__all__]
    told = [item for item in classes if isinstance(item, type) and issubclass(item, RealtimeError)]
    assert len(told) > len(CODES)
    for item in told:
        assert CODES[item.code] == item.status


@pytest.mark.parametrize(
    ("status", "code"),
    [(302, "bad_request"), (405, "bad_request"), (418, "bad_request"), (502, "internal_error")],
)
def test_a_status_without_a_code_takes_that_of_its_class(status: int, code: str) -> None:
    assert code_for_status(status) == code


def test_an_error_tells_its_message_and_details() -> None:
    error = NotFound("no such conversation", conversation_id="42")
    assert error.as_payload() == {
        "code": "not_found",
        "message": "no such conversation",
        "details": {"conversation_id": "42"},
    }
    assert str(error) == "no such conversation"


def test_an_error_without_a_message_says_its_class_s_own() -> None:
    assert str(BadRequest()) == BadRequest.default_message
    assert NotFound().as_payload()["details"] == {}


def test_two_errors_do_not_share_their_details() -> None:
    NotFound().details["a"] = 1
    assert NotFound().details == {}


def test_an_invalid_payload_names_each_field_in_text_and_details() -> None:
    error = InvalidPayload({"a.b": "is missing", "c": "is not a number"})
    assert str(error) == "a.b: is missing; c: is not a number"
    assert error.as_payload()["details"] == {
        "fields": {"a.b": "is missing", "c": "is not a number"}
    }


def test_an_invalid_payload_may_say_something_else() -> None:
    assert str(InvalidPayload({"a": "is missing"}, "no")) == "no"


def test_rate_limited_tells_how_long_to_wait() -> None:
    error = RateLimited(1.23456)
    assert error.as_payload()["details"] == {"retry_after": 1.235}
    assert "1.23 s" in str(error)


def test_a_timeout_says_how_long_it_had() -> None:
    assert str(RequestTimeout(2.5)) == "no answer within 2.5 s"


def test_a_refused_token_is_unauthorized_and_tells_whether_a_fresh_one_would_do() -> None:
    error = TokenRefused("the token has expired", expired=True)
    assert isinstance(error, Unauthorized)
    assert error.expired
    assert not TokenRefused("no").expired
    assert error.as_payload()["message"] == "the token has expired"


def test_a_forbidden_room_is_told_by_its_name_only() -> None:
    assert RoomForbidden("user:7").as_payload() == {
        "code": "forbidden",
        "message": "not allowed in room 'user:7'",
        "details": {},
    }


def test_an_internal_error_says_nothing_of_its_cause() -> None:
    error = InternalError()
    error.__cause__ = ZeroDivisionError("secret")
    assert "secret" not in str(error.as_payload())


def test_a_setup_error_lists_all_problems_a_line_each() -> None:
    error = SetupError("this is wrong.", "that too.")
    assert str(error) == "this is wrong.\nthat too."
    assert error.problems == ("this is wrong.", "that too.")
