"""What can go wrong, each with the code a client sees and the HTTP status it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any, ClassVar

__all__ = [
    "BadRequest",
    "BrokerUnavailable",
    "Conflict",
    "Forbidden",
    "InternalError",
    "InvalidPayload",
    "NotFound",
    "PayloadTooLarge",
    "RateLimited",
    "RealtimeError",
    "RequestTimeout",
    "RoomForbidden",
    "SetupError",
    "TokenRefused",
    "Unauthorized",
    "Unavailable",
    "UnknownVersion",
    "code_for_status",
    "status_for_code",
]


FIELDS_NAMED = 20
"""How many wrong fields are named at most: a client could have thousands of them answered."""


class SetupError(Exception):
    """The app is put together wrongly; the text names each mistake and what to write instead."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class RealtimeError(Exception):
    """An error that a client is told.

    Raise one of its subclasses in a handler, a route, a room's authoriser or an
    ``on_connect`` hook: over the websocket it becomes an ``error`` frame, over HTTP a JSON body
    of the same content under :attr:`status`.

    Args:
        message: One sentence for the reader; the class's own sentence when it is left out.
        details: Whatever else the client should know, JSON values by name.

    """

    code: str = "internal_error"
    status: int = 500
    default_message: ClassVar[str] = "the request could not be answered"

    def __init__(self, message: str | None = None, /, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        return self.message or self.default_message

    def as_payload(self) -> dict[str, Any]:
        """The ``{"code", "message", "details"}`` that an error frame or an HTTP body carries."""
        return {"code": self.code, "message": str(self), "details": self.details}


class BadRequest(RealtimeError):
    """The message is not one that can be understood."""

    code = "bad_request"
    status = 400
    default_message = "the message could not be understood"


class UnknownVersion(BadRequest):
    """A client offers versions of the protocol, and none that is spoken here.

    Args:
        offered: The subprotocols that it offers instead, the first of them first.
        spoken: Those that stand for the versions spoken here.

    """

    def __init__(self, offered: Sequence[str], spoken: Sequence[str]) -> None:
        super().__init__(
            f"no version in common: this server speaks {', '.join(spoken)}", spoken=list(spoken)
        )
        self.offered = offered


class InvalidPayload(RealtimeError):
    """Fields of the payload have values that are not allowed.

    Args:
        fields: What is wrong with each field, by the field's dotted name; the first are named.

    """

    code = "validation_error"
    status = 422

    def __init__(
        self, fields: dict[str, str], message: str | None = None, /, **details: Any
    ) -> None:
        named = dict(islice(fields.items(), FIELDS_NAMED))
        super().__init__(message, fields=named, **details)
        self.fields = fields

    def __str__(self) -> str:
        if self.message is not None:
            return self.message
        return "; ".join(f"{name}: {what}" for name, what in self.fields.items())


class Unauthorized(RealtimeError):
    """Nobody is logged in, or not by a token that counts."""

    code = "unauthorized"
    status = 401
    default_message = "log in first: send an auth message with a valid token"


class TokenRefused(Unauthorized):
    """A token was looked at and refused.

    Args:
        reason: Why, without any part of the token.
        expired: Whether a fresh token would do.

    """

    def __init__(self, reason: str, *, expired: bool = False) -> None:
        super().__init__(reason)
        self.expired = expired


class Forbidden(RealtimeError):
    """This user may not do that."""

    code = "forbidden"
    status = 403
    default_message = "not allowed"


class RoomForbidden(Forbidden):
    """This user may not join that room, or there is none of that name: which, isn't told."""

    def __init__(self, room: str) -> None:
        super().__init__()
        self.room = room

    def __str__(self) -> str:
        return f"not allowed in room {self.room!r}"


class NotFound(RealtimeError):
    """What was asked for doesn't exist; also an unknown resource or action."""

    code = "not_found"
    status = 404
    default_message = "not found"


class Conflict(RealtimeError):
    """The request contradicts the present state; also an ``id`` that is already in flight."""

    code = "conflict"
    status = 409
    default_message = "the request conflicts with the present state"


class PayloadTooLarge(RealtimeError):
    """The request is larger than the handler takes."""

    code = "payload_too_large"
    status = 413
    default_message = "the request is too large"


class RateLimited(RealtimeError):
    """Too many messages in too short a time.

    Args:
        retry_after: Seconds until another message will be taken.
        limit: Which limit it was, for the log and the metrics.

    """

    code = "rate_limited"
    status = 429

    def __init__(self, retry_after: float, *, limit: str = "app") -> None:
        super().__init__(retry_after=round(retry_after, 3))
        self.retry_after = retry_after
        self.limit = limit

    def __str__(self) -> str:
        return f"too many messages: try again in {self.retry_after:.3g} s"


class InternalError(RealtimeError):
    """A handler failed; the log knows how, the client doesn't."""

    default_message = "the server failed to answer this request"


class Unavailable(RealtimeError):
    """Something that the request needs is away for now."""

    code = "unavailable"
    status = 503
    default_message = "not available at the moment: try again later"


class BrokerUnavailable(Unavailable):
    """The broker could not be reached, so the event or the command did not go out."""


class RequestTimeout(RealtimeError):
    """The handler took longer than it may.

    Args:
        seconds: How long it had.

    """

    code = "timeout"
    status = 504

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def __str__(self) -> str:
        return f"no answer within {self.seconds:g} s"


ERRORS: tuple[type[RealtimeError], ...] = (
    BadRequest,
    InvalidPayload,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    PayloadTooLarge,
    RateLimited,
    InternalError,
    Unavailable,
    RequestTimeout,
)
"""One error for each code that there is on the wire."""
_CODES = {error.status: error.code for error in ERRORS}


def code_for_status(status: int) -> str:
    """Return the error code that stands for an HTTP status outside 200 to 299.

    A status without a code of its own takes its class's: ``bad_request`` below 500,
    ``internal_error`` from there on.
    """
    if status in _CODES:
        return _CODES[status]
    return BadRequest.code if status < HTTPStatus.INTERNAL_SERVER_ERROR else InternalError.code


_STATUSES = {code: status for status, code in _CODES.items()}


def status_for_code(code: str) -> int:
    """Return the HTTP status that an error code stands for; 500 for one that isn't known."""
    return _STATUSES.get(code, InternalError.status)
