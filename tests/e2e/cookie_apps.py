"""Apps without tokens to show: Quart's session, a token in a cookie, and the client's address."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from quart import Quart, abort, jsonify, session, websocket
from quart_jwt_extended import (
    create_access_token,
    get_jwt_identity,
    get_raw_jwt,
    jwt_required,
    set_access_cookies,
)

from quart_realtime import Realtime, current_connection

from ..conftest import make_app

logins: dict[str, str] = {}


def session_user() -> str | None:
    return logins.get(session.get("login", ""))


by_session = Quart("by_session")
by_session.secret_key = "a secret for sessions that only the server knows"
realtime = Realtime(by_session, authenticate=session_user)


@by_session.post("/login/<name>")
async def log_in(name: str) -> Any:
    session["login"] = uuid4().hex
    logins[session["login"]] = name
    return {}


@by_session.post("/logout")
async def log_out() -> Any:
    user_id = logins.pop(session.pop("login"))
    await realtime.recheck(user_id)
    return {}


@by_session.get("/me")
@realtime.handler("users", "me")
async def me() -> Any:
    user_id = session_user()
    return {"user_id": user_id} if user_id else abort(401)


@realtime.handler("users", "native")
async def native() -> Any:
    return {"user_id": current_connection.user_id}


revoked: set[str] = set()

by_jwt = make_app()
by_jwt.config |= {
    "JWT_TOKEN_LOCATION": ["cookies"],
    "JWT_COOKIE_CSRF_PROTECT": True,
    "JWT_BLACKLIST_ENABLED": True,
}
by_jwt.extensions["quart-jwt-extended"].token_in_blacklist_loader(
    lambda token: token["jti"] in revoked
)
with_jwt = Realtime(by_jwt)


@by_jwt.post("/login/<name>")
async def log_in_by_jwt(name: str) -> Any:
    response = jsonify({})
    set_access_cookies(response, create_access_token(name))
    return response


@by_jwt.post("/logout")
@jwt_required
async def log_out_by_jwt() -> Any:
    revoked.add(get_raw_jwt()["jti"])
    await with_jwt.recheck(get_jwt_identity())
    return {}


@by_jwt.post("/me")
@jwt_required
@with_jwt.handler("users", "me")
async def me_by_jwt() -> Any:
    return {"user_id": get_jwt_identity()}


@with_jwt.handler("users", "native")
async def native_by_jwt() -> Any:
    return {"user_id": get_jwt_identity()}


by_address = Quart("by_address")
with_address = Realtime(by_address, authenticate=lambda: websocket.remote_addr, cookies=False)


@with_address.handler("users", "native")
async def native_by_address() -> Any:
    return {"user_id": current_connection.user_id}
