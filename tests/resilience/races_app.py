"""An app whose parts fail where they are asked to, and which tells at ``/stats`` how it is.

It is served by ``serving("tests.resilience.races_app:app", ...)``. Beside the settings,
``CONNECTING`` is for how many seconds its ``on_connect`` hook waits, as for a database, and
``REVOCABLE`` has tokens looked up in a blacklist, which is empty.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from datetime import datetime, tzinfo
from typing import Any, NoReturn

import jwt.api_jwt
from quart import request
from quart_jwt_extended import jwt_required

from quart_realtime import Realtime, current_connection

from ..conftest import make_app

logging.basicConfig()
logging.getLogger("quart_realtime").setLevel(logging.WARNING)

settings = json.loads(os.environ.get("TEST_SETTINGS", "{}"))
connecting = float(settings.pop("CONNECTING", 0))
revocable = bool(settings.pop("REVOCABLE", False))

app = make_app(**settings)
app.config["JWT_BLACKLIST_ENABLED"] = revocable
app.extensions["quart-jwt-extended"].token_in_blacklist_loader(lambda token: False)
realtime = Realtime(app)

EVERY = 0.01
"""Every how many seconds it is looked whether the event loop goes on."""


class Lag:
    """The longest that the event loop let anybody wait since that was asked the last time.

    *late* is by the clock. *busy* is how much of the processor the loop's thread took meanwhile:
    what is late beyond that, others on the machine have had.
    """

    def __init__(self) -> None:
        self.late = self.busy = 0.0

    def take(self) -> tuple[float, float]:
        most = self.late, self.busy
        self.late = self.busy = 0.0
        return most

    async def watch(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began, worked = clock(), time.thread_time()
            await asyncio.sleep(EVERY)
            self.late = max(self.late, clock() - began - EVERY)
            self.busy = max(self.busy, time.thread_time() - worked)


lag = Lag()


@app.while_serving
async def watch_the_loop() -> AsyncIterator[None]:
    gc.collect()
    gc.freeze()  # As docs/deploying.md advises.
    # Not a background task: Quart would wait for that, for 5 seconds, when it stops.
    watching = asyncio.create_task(lag.watch())
    yield
    watching.cancel()


@app.get("/stats")
async def stats() -> Any:
    late, busy = lag.take()
    return {
        "connections": realtime.health().connections,
        "members": len(realtime.connections()),
        "rooms": len(app.extensions["QUART_REALTIME"].hub._rooms),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "late": late,
        "busy": busy,
    }


@app.get("/presence/<room>")
async def presence(room: str) -> Any:
    return {user.user_id: user.connections for user in await realtime.presence(room)}


# Time


real_time = time.time


class Clock(datetime):
    """What PyJWT asks for the time: it doesn't ask ``time``."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Clock:
        return cls.fromtimestamp(time.time(), tz)


@app.post("/clock/<int(signed=True):seconds>")
async def set_clock(seconds: int) -> Any:
    """Set this process's wall clock so far forth or back, counted from the right time."""
    time.time = lambda: real_time() + seconds
    jwt.api_jwt.datetime = Clock
    return "", 204


@realtime.handler("clock", "native")
async def read_clock() -> float:
    return time.time()


@app.get("/clock")
@jwt_required
@realtime.handler("clock", "route")
async def read_clock_by_route() -> Any:
    return {"time": time.time()}


# Rooms and events


@realtime.room("hall:<name>", presence=True)
async def may_enter(name: str) -> bool:
    return True


@realtime.room("slow:<name>", presence=True)
async def may_enter_soon(name: str) -> bool:
    await asyncio.sleep(0.02)
    return True


@app.post("/tell/<room>/<event>/<int:first>/<int:last>")
async def tell(room: str, event: str, first: int, last: int) -> Any:
    for number in range(first, last):
        await realtime.notify(event, number, room=room)
        await asyncio.sleep(0)
    return "", 204


@realtime.handler("events", "emit")
@realtime.emits("unlucky", room="hall:listened")
async def emit(number: int) -> int:
    return number


@realtime.on("unlucky")
async def fail_to_listen(told: Any) -> None:
    raise LookupError("the listener fails")


@realtime.on("unlucky")
async def listen_all_the_same(told: Any) -> None:
    await realtime.notify("heard", told.value(), room=told.rooms[0])


@realtime.on_connect
async def connect(connection: Any) -> None:
    if connecting:
        await asyncio.sleep(connecting)


@realtime.on_disconnect
async def fail_to_say_goodbye(connection: Any, code: int) -> None:
    if connection.user_id == "unlucky":
        raise LookupError("the last hook fails")


@realtime.on_disconnect
async def say_goodbye(connection: Any, code: int) -> None:
    if connection.user_id == "unlucky":
        await realtime.notify("goodbye", connection.user_id, room="hall:listened")


# Bugs


class Ill(Exception):
    """An error that can't even be written."""

    def __str__(self) -> str:
        raise LookupError("a secret")


circle: list[Any] = []
circle.append(circle)
RESULTS: dict[str, Any] = {
    "object": object(),
    "keys": {(1, 2): "a", object(): "b"},
    "generator": (number for number in range(3)),
    "circle": circle,
    "surrogate": "\ud800",
    "status": ({}, "nonsense"),
    "not a number": float("nan"),
    "infinity": [float("inf"), float("-inf")],
    "huge": 10**5000,
    "bytes": b"\xff",
    "set": {1},
}


@app.post("/bugs/return")
@realtime.handler("bugs", "return_by_route")
async def return_by_route() -> Any:
    result = RESULTS[(await request.get_json())["what"]]
    return result if isinstance(result, tuple) else {"value": result}


@realtime.handler("bugs", "return")
async def return_it(what: str) -> Any:
    return RESULTS[what]


async def interrupted() -> NoReturn:
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task
    raise AssertionError


async def swallow() -> str:
    """Hang, and go on as if nothing were when interrupted."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "interrupted"
    return "over"


async def fail(how: str) -> Any:
    match how:
        case "raise":
            raise LookupError("a secret")
        case "group":
            raise ExceptionGroup("a secret", [LookupError("another")])
        case "recurse":
            return await fail(how)
        case "ill":
            raise Ill
        case "interrupted":
            await interrupted()
        case "hang":
            await asyncio.Event().wait()
        case "swallow":
            return await swallow()
        case "close badly":
            await current_connection.close(1006)
    return {"did": how}


@realtime.handler("bugs", "fail")
async def fail_natively(how: str) -> Any:
    return await fail(how)


@app.post("/bugs/fail")
@realtime.handler("bugs", "fail_by_route")
async def fail_by_route() -> Any:
    return await fail((await request.get_json())["how"])


@realtime.handler("bugs", "close")
async def close_it(code: int, then: str) -> Any:
    await current_connection.close(code, "as asked for")
    return await fail(then)
