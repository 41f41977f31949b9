"""What views and handlers return: values, tuples, responses; and what they raise."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, cast

import msgspec
from quart.wrappers import Response
from quart_schema.validation import RequestSchemaValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from .errors import InvalidPayload, RealtimeError, code_for_status
from .models import field_errors

_MESSAGE_KEYS = ("message", "error", "msg", "detail", "description")


class RouteError(RealtimeError):
    """A view answered with a status that is no success; its body goes into the details.

    A body that is an error of the wire's own shape, ``{"code", "message", "details"}``, is told as
    it is.

    Args:
        status: The HTTP status.
        body: The JSON of its body, None where that is no JSON.
        message: What to say where the body says nothing.
    """

    def __init__(self, status: int, body: Any = None, message: str | None = None) -> None:
        if tells_an_error(status, body):
            super().__init__(body["message"], **(body.get("details") or {}))
            self.code = body["code"]
        else:
            details = refusal_details(status, body)
            super().__init__(_message_of(body) or message or _phrase(status), **details)
            self.code = code_for_status(status)
        self.status = status


def tells_an_error(status: int, body: Any) -> bool:
    """Tell whether *body* is an error as the wire has it already, fit for *status*."""
    if not isinstance(body, dict) or not body.keys() <= {"code", "message", "details"}:
        return False
    details = body.get("details")
    if not isinstance(body.get("message"), str) or not isinstance(details, dict | None):
        return False
    code = body.get("code")
    return code == code_for_status(status) or (status, code) == (400, InvalidPayload.code)


def refusal_details(status: int, body: Any) -> dict[str, Any]:
    """Return the details of a refusal: its status, and its body where that is JSON."""
    return {"status": status} if body is None else {"status": status, "body": body}


def _message_of(body: Any) -> str | None:
    if isinstance(body, dict):
        for key in _MESSAGE_KEYS:
            if isinstance(body.get(key), str):
                return cast(str, body[key])
    return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower()
    except ValueError:
        return f"status {status}"


def split_result(result: Any) -> tuple[Any, int]:
    """Split what a view returned into its value and its status.

    Args:
        result: A value, ``(value, status)``, ``(value, headers)``, ``(value, status, headers)``,
            or a response.
    """
    status: Any = None
    if isinstance(result, tuple):
        value = result[0]
        if len(result) > 1 and isinstance(result[1], (int, str)):
            status = result[1]
    else:
        value = result
    if status is None:
        status = value.status_code if isinstance(value, (Response, WerkzeugResponse)) else 200
    return value, int(str(status).split()[0])


def is_success(status: int) -> bool:
    """Tell whether an HTTP status says that all went well."""
    return 200 <= status < 300


async def body_of(response: Response | WerkzeugResponse) -> bytes:
    """Return a response's body, without the white space around it."""
    if isinstance(response, Response):
        body = await response.get_data(as_text=False)
    else:
        body = response.get_data(as_text=False)
    return body.strip()


async def json_of(response: Response | WerkzeugResponse) -> Any:
    """Return the JSON of a response's body, None where it has none.

    Numbers that JSON doesn't know, which Python writes all the same, are read too.
    """
    if not response.is_json:
        return None
    body = await body_of(response)
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        try:
            return json.loads(body)
        except ValueError:
            return None


async def value_of(result: Any) -> tuple[Any, int]:
    """Return the value that a view's result stands for, and its status.

    An empty body is None.
    """
    value, status = split_result(result)
    if isinstance(value, (Response, WerkzeugResponse)):
        value = await json_of(value)
    return (None if value in ("", b"") else value), status


async def error_of(error: BaseException) -> RealtimeError | None:
    """Return what a client is told of an exception, None where that is not its business."""
    if isinstance(error, RealtimeError):
        return error
    if isinstance(error, RequestSchemaValidationError):
        return InvalidPayload(field_errors(error.validation_error), status=error.code)
    if isinstance(error, HTTPException):
        given = cast("Response | None", error.response)  # By abort(response).
        if given is None:
            return RouteError(error.code or 500, message=error.description)
        return RouteError(given.status_code, await json_of(given))
    return None
