"""Quart-Realtime, by its public API: an app of one room, one native handler and one route.

Where ``BENCH_REDIS`` is set its processes share that server.
"""

from __future__ import annotations

import os
from typing import Any

from attrs import frozen
from quart import Quart
from quart_jwt_extended import JWTManager, jwt_required
from quart_schema import QuartSchema, validate_request

from quart_realtime import Realtime

from .control import event, serve_control
from .tokens import SECRET

app = Quart(__name__)
app.config["JWT_SECRET_KEY"] = SECRET
app.config["QUART_REALTIME_RATE_LIMIT"] = None
app.config["QUART_REALTIME_HANDSHAKE_RATE_LIMIT"] = None
if os.environ.get("BENCH_LANE") == "asgi":
    app.config["QUART_REALTIME_FAST_LANE"] = False
if url := os.environ.get("BENCH_REDIS"):
    app.config["QUART_REALTIME_BROKER_URL"] = url
JWTManager(app)
QuartSchema(app, conversion_preference="msgspec")
realtime = Realtime(app)


@frozen
class NewThing:
    """What a request for a new thing must be."""

    text: str
    price: int


@realtime.room("<name>")
async def may_join(name: str) -> bool:
    """Let everybody who is logged in hear every room."""
    return True


@realtime.handler("bench", "echo")
async def echo(text: str) -> dict[str, Any]:
    """Answer with what came."""
    return {"text": text}


@app.post("/shops/<shop_id>/things")
@jwt_required
@validate_request(NewThing)
@realtime.handler("things", "create")
async def create_thing(shop_id: str, data: NewThing) -> tuple[dict[str, Any], int]:
    """Answer as a route would that had made something."""
    return {"shop_id": shop_id, "text": data.text, "price": data.price}, 201


async def publish(room: str, numbers: range) -> None:
    """Send the events of those numbers to everybody in *room*."""
    async with app.app_context():
        for number in numbers:
            await realtime.notify("tick", event(number), room=room)


@app.before_serving
async def start() -> None:
    """Listen for what to publish."""
    await serve_control(publish)
