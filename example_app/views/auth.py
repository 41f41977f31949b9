"""Logging in and out."""

import logging

import msgspec
from quart import Blueprint, request
from quart_jwt_extended import (
    create_access_token,
    get_jwt_identity,
    get_raw_jwt,
    jwt_refresh_token_required,
    jwt_required,
)
from quart_schema import (
    RequestSchemaValidationError,
    document_request,
    security_scheme,
    tag_blueprint,
    validate_request,
    validate_response,
)

from example_app.auth import issue_tokens, read_refresh_token
from example_app.database import reading, writing
from example_app.errors import UnauthorizedError
from example_app.models import AccessToken, LoginBody, LogoutBody, TokenPair
from example_app.passwords import is_password
from example_app.realtime import realtime
from example_app.revocation import revocations
from example_app.store import users as store
from quart_realtime import BrokerUnavailable

logger = logging.getLogger("example_app")

auth = Blueprint("auth", __name__)
tag_blueprint(auth, ["auth"])


@auth.post("/auth/login")
@security_scheme([])
@validate_request(LoginBody)
@validate_response(TokenPair)
async def login(data: LoginBody) -> TokenPair:
    """Exchange a username and a password for tokens."""
    async with reading() as session:
        found = await store.find_login(session, data.username)
    user_id, password_hash = found or ("", None)
    if not await is_password(data.password, password_hash):
        raise UnauthorizedError("wrong username or password")
    return issue_tokens(user_id)


@auth.post("/auth/refresh")
@jwt_refresh_token_required
@validate_response(AccessToken)
async def refresh() -> AccessToken:
    """Exchange a refresh token, sent as the bearer token, for a new access token."""
    return AccessToken(access_token=create_access_token(get_jwt_identity()))


@auth.post("/auth/logout")
@jwt_required
@document_request(LogoutBody)
async def logout() -> tuple[str, int]:
    """Revoke the access token, and the refresh token if the body has one."""
    data = await _optional_body()
    tokens = [get_raw_jwt()]
    if data.refresh_token is not None:
        tokens.append(read_refresh_token(data.refresh_token, get_jwt_identity()))
    async with writing() as session:
        for token in tokens:
            await revocations().revoke_token(session, token)
    await _have_it_take_effect(get_jwt_identity())
    return "", 204


async def _have_it_take_effect(user_id: str) -> None:
    """Close the websockets that were opened with the token that is revoked."""
    try:
        await realtime.recheck(user_id)
    except BrokerUnavailable:
        logger.warning("websockets of %r are closed at their next ping only", user_id)


async def _optional_body() -> LogoutBody:
    """Return the request's body, which `validate_request` wouldn't allow to be missing."""
    body = await request.get_json() if await request.get_data() else None
    try:
        return LogoutBody() if body is None else msgspec.convert(body, LogoutBody)
    except msgspec.ValidationError as error:
        raise RequestSchemaValidationError(error) from error
