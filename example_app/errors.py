"""Refusals, and how each becomes a JSON body with a code, a message and details."""

import re
from typing import Any

from quart import Quart, json
from quart_schema import RequestSchemaValidationError
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from quart_realtime import RealtimeError

# Where the code isn't the status's own name in lower case.
CODES = {413: "payload_too_large", 429: "rate_limited", 500: "internal_error", 503: "unavailable"}


class ApiError(RealtimeError):
    """A refusal that the client is told about: *message* for people, *details* for programs.

    It reads the same over the websocket, as a RealtimeError's code, message and details do.
    """


class BadRequestError(ApiError):
    """The request contradicts itself."""

    status = 400
    code = "bad_request"


class InvalidFieldsError(ApiError):
    """Fields of the request aren't what they should be; *fields* tells why, by name."""

    status = 400
    code = "validation_error"

    def __init__(self, fields: dict[str, str], message: str | None = None) -> None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in fields.items())
        super().__init__(message or reasons, fields=fields)


class UnauthorizedError(ApiError):
    """We don't know who is asking."""

    status = 401
    code = "unauthorized"


class ForbiddenError(ApiError):
    """We know who is asking, and they may not."""

    status = 403
    code = "forbidden"


class NotFoundError(ApiError):
    """There is no *kind* (such as "message") with this *identifier*."""

    status = 404
    code = "not_found"

    def __init__(self, kind: str, identifier: str) -> None:
        super().__init__(f"{kind} not found", **{f"{kind}_id": identifier})


class ConflictError(ApiError):
    """What is asked for can't stand beside what is there."""

    status = 409
    code = "conflict"


def init_app(app: Quart) -> None:
    """Make every failure of *app* answer in the same shape."""
    app.register_error_handler(ApiError, _answer)
    app.register_error_handler(RequestSchemaValidationError, _answer_invalid_request)
    app.register_error_handler(IntegrityError, _answer_lost_race)
    app.register_error_handler(HTTPException, _answer_http_exception)


def error_body(code: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "details": details or {}}


async def _answer(error: ApiError) -> tuple[dict[str, Any], int]:
    return error_body(error.code, str(error), error.details), error.status


async def _answer_invalid_request(
    error: RequestSchemaValidationError,
) -> tuple[dict[str, Any], int]:
    return await _answer(_invalid_fields(str(error.validation_error)))


async def _answer_lost_race(error: IntegrityError) -> tuple[dict[str, Any], int]:
    # The store checks before it writes; only another request in between gets us here.
    return await _answer(ConflictError("somebody else changed the same thing at the same time"))


async def _answer_http_exception(error: HTTPException) -> WerkzeugResponse:
    status = error.code or 500
    code = CODES.get(status, error.name.lower().replace(" ", "_"))
    # The exception's own response carries headers such as Allow.
    response = error.get_response()
    response.data = json.dumps(error_body(code, error.description or error.name))
    response.content_type = "application/json"
    return response


def _invalid_fields(reason: str) -> InvalidFieldsError:
    """Find the field in msgspec's *reason*, such as "Expected `str` - at `$.message.content`"."""
    expectation, _, place = reason.partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    missing = re.search(r"missing required field `(\w+)`", expectation)
    if missing:
        path = f"{path}.{missing[1]}".lstrip(".")
    # A pattern says little to people; it's in the API's description, with the same field.
    expectation = re.sub(r"matching regex .*", "of the documented form", expectation)
    if not path:
        return InvalidFieldsError({}, expectation)
    return InvalidFieldsError({path: expectation})
