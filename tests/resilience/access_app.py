"""An app that counts what ran for whom, and whose word on tokens and rooms may change.

It is served by ``serving("tests.resilience.access_app:app", ...)``. Beside the settings, ``JWT``
are keys of quart-jwt-extended without the prefix, and ``FOLDER`` is where marks are kept that all
processes see: of tokens that are revoked, and of users who are put out of a club.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from quart import request
from quart_jwt_extended import (
    get_jwt_claims,
    get_jwt_identity,
    get_raw_jwt,
    jwt_required,
)

from quart_realtime import NotFound, Realtime, current_connection

from ..conftest import make_app

# Whatever anybody has to say: no token may be in it.
logging.basicConfig(level=logging.DEBUG)

settings = json.loads(os.environ.get("TEST_SETTINGS", "{}"))
jwt_settings = settings.pop("JWT", {})
folder = Path(settings.pop("FOLDER", "."))

app = make_app(**settings)
for name, value in jwt_settings.items():
    app.config[f"JWT_{name}"] = value
app.config["JWT_BLACKLIST_ENABLED"] = True
realtime = Realtime(app)

ran: Counter[str] = Counter()
"""How often what was asked for under a name has run."""


@app.extensions["quart-jwt-extended"].token_in_blacklist_loader
def is_revoked(token: dict[str, Any]) -> bool:
    return (folder / f"revoked-{token['jti']}").exists()


@realtime.on_connect
async def connected(connection: Any) -> None:
    ran[connection.user_id] += 1


@realtime.handler("vault", "native")
async def open_vault(name: str) -> str:
    ran[name] += 1
    return "gold"


@app.get("/vault/<name>")
@jwt_required
@realtime.handler("vault", "route")
async def open_vault_by_route(name: str) -> Any:
    ran[name] += 1
    return {"vault": "gold"}


@app.get("/ran/<name>")
async def times(name: str) -> Any:
    return {"times": ran[name]}


@realtime.handler("users", "whoami")
async def whoami() -> list[str | None]:
    return [get_jwt_identity(), current_connection.user_id]


@realtime.handler("bugs", "raise")
async def bug() -> None:
    raise LookupError("a bug of the app's")


# Rooms


@realtime.room("hall:<name>")
async def may_enter_hall(name: str) -> bool:
    if name == "gone":
        raise NotFound("there is no such hall", hall=name)
    if name == "broken":
        raise LookupError(name)
    return name == "lobby"


@realtime.room("club:<name>")
async def is_member(name: str) -> bool:
    return not (folder / f"out-{get_jwt_identity()}").exists()


@app.post("/rooms/<room>/numbers/<int:number>")
async def publish(room: str, number: int) -> Any:
    await realtime.notify("number", {"number": number, "at": time.time()}, room=room)
    return {}


@app.post("/members/<user_id>/put-out")
async def put_out(user_id: str) -> Any:
    (folder / f"out-{user_id}").touch()
    await realtime.recheck(user_id)
    return {}


@app.post("/log-out")
@jwt_required
async def log_out() -> Any:
    (folder / f"revoked-{get_raw_jwt()['jti']}").touch()
    if "recheck" in request.args:
        await realtime.recheck(get_jwt_identity())
    return {}


# Routes that refuse, one for each place where @realtime.handler may stand


@app.before_request
async def refuse_tenant() -> Any:
    if request.headers.get("X-Tenant") == "closed":
        return {"error": "closed for the night", "tenant": "closed"}, 503
    return None


def only(role: str) -> Callable[[Any], Any]:
    """Let nobody in whose token doesn't claim *role*."""

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        async def checked(*arguments: Any, **named: Any) -> Any:
            if get_jwt_claims().get("role") != role:
                return {"error": f"only for {role}s"}, 403
            return await view(*arguments, **named)

        return checked

    return decorate


def guarded(*decorators: Callable[[Any], Any]) -> None:
    async def secret(name: str) -> Any:
        ran[name] += 1
        return {"secret": name}

    view: Any = secret
    for decorate in reversed(decorators):
        view = decorate(view)


PLACES = ("above", "top", "middle", "bottom")

for place, where in enumerate(PLACES):
    stack = [app.get(f"/secrets/{where}/<name>", endpoint=where), jwt_required, only("admin")]
    # Without login=False who isn't logged in would not come as far as the route.
    stack.insert(place, realtime.handler("secrets", where, login=False))
    guarded(*stack)
