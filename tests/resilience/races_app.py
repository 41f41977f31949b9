"""An app whose parts fail in every way, and which tells how it is at ``/stats``."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import time
from typing import Any

from quart import Quart, request

from quart_realtime import Realtime, current_connection

from ..conftest import make_app

logging.basicConfig()
logging.getLogger("quart_realtime").setLevel(logging.WARNING)

app: Quart = make_app(**json.loads(os.environ.get("TEST_SETTINGS", "{}")))
realtime = Realtime(app)
slept = 0.0
"""The most that the event loop was late, since it was asked the last time."""
real_time = time.time


@app.before_serving
async def watch_the_loop() -> None:
    gc.collect()
    gc.freeze()  # As docs/deploying.md advises.
    app.add_background_task(_watch)


async def _watch() -> None:
    global slept
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.01
        await asyncio.sleep(0.01)
        slept = max(slept, loop.time() - due)


@app.get("/stats")
async def stats() -> Any:
    global slept
    most, slept = slept, 0.0
    return {
        "connections": realtime.health().connections,
        "rooms": len(app.extensions["QUART_REALTIME"].hub._rooms),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "blocked": most,
    }


@app.get("/presence/<room>")
async def presence(room: str) -> Any:
    return {user.user_id: user.connections for user in await realtime.presence(room)}


@app.post("/clock/<int(signed=True):seconds>")
async def set_clock(seconds: int) -> Any:
    """Set the wall clock of this process forth or back."""
    time.time = lambda: real_time() + seconds
    return "", 204


@realtime.room("hall:<name>", presence=True)
async def may_enter(name: str) -> bool:
    return True


@realtime.room("slow:<name>", presence=True)
async def may_enter_soon(name: str) -> bool:
    await asyncio.sleep(0.02)
    return True


@app.post("/tell/<room>/<int:first>/<int:last>")
async def tell(room: str, first: int, last: int) -> Any:
    for number in range(first, last):
        await realtime.notify("number", number, room=room)
        await asyncio.sleep(0)
    return "", 204


@realtime.on("number")
async def fail_to_listen(told: Any) -> None:
    raise LookupError("the listener fails")


@realtime.on_disconnect
async def fail_to_say_goodbye(connection: Any, code: int) -> None:
    raise LookupError("the hook fails")


circle: list[Any] = []
circle.append(circle)
RESULTS: dict[str, Any] = {
    "object": object(),
    "keys": {(1, 2): "a", object(): "b"},
    "not a number": float("nan"),
    "infinity": float("inf"),
    "huge": 10**5000,
    "circle": circle,
    "surrogate": "\ud800",
    "status": ({}, "nonsense"),
}


@realtime.handler("bugs", "return")
async def return_it(what: str) -> Any:
    return RESULTS[what]


@realtime.handler("bugs", "raise")
async def raise_it() -> None:
    raise LookupError("a secret")


@realtime.handler("bugs", "hang")
async def hang() -> None:
    await asyncio.Event().wait()


@realtime.handler("bugs", "hang_on")
async def hang_on() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return


@realtime.handler("bugs", "close")
async def close_it(code: int) -> str:
    await current_connection.close(code, "as asked for")
    return "closed"


@app.post("/bugs/broken")
@realtime.handler("bugs", "route")
async def broken_route() -> Any:
    return {"a": (await request.get_json())["missing"]}
