"""JSON Web Tokens: set-up, and the tokens that views hand out or take back."""

import re
from typing import Any

from jwt import PyJWTError
from quart import Quart, request
from quart_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    decode_token,
)
from quart_jwt_extended.exceptions import JWTExtendedException

from example_app.errors import InvalidFieldsError, error_body
from example_app.models import TokenPair
from example_app.revocation import Revocations


def init_app(app: Quart) -> None:
    """Make *app* check tokens, and refuse them in the shape of every other error."""
    app.before_request(_drop_blank_header)
    revoked = app.extensions["CHAT_REVOCATIONS"] = Revocations()
    manager = JWTManager(app)
    manager.token_in_blacklist_loader(revoked.covers)
    manager.unauthorized_loader(_refuse)
    manager.invalid_token_loader(_refuse)
    manager.expired_token_loader(lambda _token: _refuse("the token has expired"))
    manager.revoked_token_loader(lambda: _refuse("the token has been revoked"))


def _drop_blank_header() -> None:
    """Take an ``Authorization`` with a blank part for none: quart-jwt-extended would fail on it."""
    header = request.headers.get("Authorization", "x")
    if not all(part.split() for part in re.split(r",\s*", header)):
        del request.headers["Authorization"]


def issue_tokens(user_id: str) -> TokenPair:
    """Return tokens for *user_id*, who has just proved to be that user."""
    return TokenPair(
        access_token=create_access_token(user_id), refresh_token=create_refresh_token(user_id)
    )


def read_refresh_token(token: str, user_id: str) -> dict[str, Any]:
    """Return the claims of *token*, expired or not.

    Raises InvalidFieldsError unless it's a refresh token that we gave to *user_id*.
    """
    try:
        claims = decode_token(token, allow_expired=True)
    except (PyJWTError, JWTExtendedException):
        claims = {}
    if claims.get("type") != "refresh" or claims["identity"] != user_id:
        reason = "not a refresh token of yours"
        raise InvalidFieldsError({"refresh_token": reason})
    return claims


def _refuse(reason: str) -> tuple[dict[str, Any], int]:
    return error_body("unauthorized", reason), 401
