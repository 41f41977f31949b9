"""The app that the end-to-end tests serve: the seed's resources, in memory."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import Any

from attrs import asdict
from hypercorn.middleware import ProxyFixMiddleware
from quart import request
from quart_jwt_extended import get_jwt_identity, jwt_required

from quart_realtime import NotFound, Realtime, current_connection

from ..conftest import make_app

logging.basicConfig()
logging.getLogger("quart_realtime").setLevel(logging.INFO)

app = make_app(**json.loads(os.environ.get("TEST_SETTINGS", "{}")))
realtime = Realtime(app)

CONVERSATIONS = [
    {"id": "conv123", "title": "Conversación 1", "created_at": "2025-05-20T12:34:56Z"},
    {"id": "conv456", "title": "Conversación 2", "created_at": "2025-05-20T12:45:00Z"},
]


@app.get("/conversations")
@jwt_required
@realtime.handler("conversations", "get_all")
async def get_conversations() -> Any:
    return {"conversations": CONVERSATIONS}


@app.get("/conversations/<conversation_id>")
@jwt_required
@realtime.handler("conversations", "get")
async def get_conversation(conversation_id: str) -> Any:
    for conversation in CONVERSATIONS:
        if conversation["id"] == conversation_id:
            return {"conversation": conversation}
    raise NotFound("Conversación no encontrada", conversation_id=conversation_id)


@app.post("/messages")
@jwt_required
@realtime.handler("messages", "create")
@realtime.emits("new_message", data="message")
async def create_message() -> Any:
    message = (await request.get_json())["message"]
    return {"message": {"id": "msg456", "timestamp": "2025-05-20T12:34:56Z", **message}}, 201


@app.get("/who/<number>")
@jwt_required
@realtime.handler("who", "route")
async def who(number: str) -> Any:
    first = get_jwt_identity()
    await asyncio.sleep(0)
    return {"number": number, "who": [first, get_jwt_identity(), current_connection.user_id]}


@realtime.handler("who", "native")
async def who_native(number: str) -> Any:
    first = get_jwt_identity()
    await asyncio.sleep(0)
    return {"number": number, "who": [first, get_jwt_identity(), current_connection.user_id]}


@realtime.handler("door", "knock", login=False, rate_limit="3/hour")
async def knock() -> str:
    return "come in"


@realtime.handler("who", "address")
async def address() -> str:
    return current_connection.remote_addr


shut: set[str] = set()


@realtime.room("club:<name>")
async def may_join_club(name: str) -> bool:
    return name not in shut


@app.post("/clubs/<name>/shut")
async def shut_club(name: str) -> Any:
    shut.add(name)
    return "", 204


@realtime.handler("bugs", "raise")
async def bug() -> None:
    raise LookupError("a secret of the server")


@realtime.room("numbers:<name>")
async def anybody(name: str) -> bool:
    return True


@app.post("/numbers/<name>/<int:first>/<int:last>")
async def publish(name: str, first: int, last: int) -> Any:
    for number in range(first, last):
        await realtime.notify("number", number, room=f"numbers:{name}")
    return "", 204


@app.post("/numbers/<name>/<int:first>/<int:last>/keyed/<key>")
async def publish_once(name: str, first: int, last: int, key: str) -> Any:
    for number in range(first, last):
        await realtime.notify("number", number, room=f"numbers:{name}", key=key)
    return "", 204


proxied = ProxyFixMiddleware(app, mode="legacy", trusted_hops=1)
"""The app as it is served behind a proxy that ends TLS."""


async def wrapped(scope: Any, receive: Any, send: Any) -> None:
    """Serve the app from inside a middleware that wraps *send*, so that no server is known."""

    async def pass_on(message: Any) -> None:
        await send(message)

    await app(scope, receive, pass_on)


@realtime.handler("slow", "wait")
async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@app.post("/drain")
async def drain() -> Any:
    await realtime.drain()
    return "", 204


runs: list[str] = []


@realtime.handler("slow", "run")
async def run(name: str, seconds: float) -> int:
    runs.append(name)
    await asyncio.sleep(seconds)
    return runs.count(name)


@realtime.handler("echo", "say")
async def say(text: str) -> str:
    return text


@realtime.room("hall:<name>", presence=True)
async def may_enter(name: str) -> bool:
    return True


@app.post("/numbers/<name>/<int:first>/<int:last>/padded/<int:size>")
async def publish_padded(name: str, first: int, last: int, size: int) -> Any:
    for number in range(first, last):
        data = {"number": number, "padding": "x" * size}
        await realtime.notify("padded", data, room=f"numbers:{name}")
    return "", 204


@app.post("/users/<user_id>/disconnect")
async def disconnect(user_id: str) -> Any:
    await realtime.disconnect(user_id, reason="sent away")
    return "", 204


@app.post("/users/<user_id>/rooms/<room>")
async def put_in(user_id: str, room: str) -> Any:
    await realtime.join(user_id, room)
    return "", 204


@app.delete("/users/<user_id>/rooms/<room>")
async def put_out(user_id: str, room: str) -> Any:
    await realtime.leave(user_id, room)
    return "", 204


@app.get("/health")
async def health() -> Any:
    return asdict(realtime.health())


@app.get("/presence/<room>")
async def presence(room: str) -> Any:
    return {user.user_id: user.connections for user in await realtime.presence(room)}


@app.post("/others/<name>")
@jwt_required
@realtime.handler("others", "tell")
@realtime.emits("told", room="numbers:{name}", others_only=True)
async def tell_others(name: str) -> Any:
    return {"name": name}


@realtime.handler("hall", "enter")
async def enter(name: str) -> None:
    await current_connection.join(f"hall:{name}")


@realtime.handler("node", "pid")
async def pid() -> int:
    return os.getpid()


@realtime.handler("slow", "ran")
async def ran(name: str) -> int:
    return runs.count(name)
