"""Several processes of one app with one Valkey between them, and what clients see of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any
from urllib.request import Request, urlopen

from quart_realtime.backoff import Backoff
from quart_realtime.client import Client, connect

from ..valkey import Valkey, valkey
from .conftest import APP, make_token
from .server import Server, serving

BOUND = 20.0
"""How many seconds a test waits for what must come."""
SOON = Backoff(base=0.05, ceiling=0.5, longest_spread=0.5)


@contextmanager
def nodes(
    count: int = 2, *, options: Sequence[str] = (), **settings: Any
) -> Iterator[tuple[Valkey, list[Server]]]:
    """Run *count* processes that share a Valkey, which has *options*."""
    with ExitStack() as stack:
        redis = stack.enter_context(valkey(*options))
        settings = {"BROKER_URL": redis.url, "RATE_LIMIT": None, **settings}
        yield redis, [stack.enter_context(serving(APP, **settings)) for _ in range(count)]


async def call(server: Server, method: str, path: str, user: str = "app", body: Any = None) -> Any:
    """Ask *server* over HTTP; returns what the answer holds."""
    request = Request(
        server.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {make_token(user)}",
            "Content-Type": "application/json",
        },
    )

    def send() -> Any:
        with urlopen(request, timeout=30) as response:
            return json.loads(response.read() or b"null")

    return await asyncio.to_thread(send)


@asynccontextmanager
async def client(server: Server, user: str, **options: Any) -> AsyncIterator[Client]:
    """Connect *user* to *server*, by a client that comes back soon."""
    async with connect(server.ws_url, token=make_token(user), backoff=SOON, **options) as connected:
        yield connected


async def publish(server: Server, room: str, first: int, last: int) -> None:
    """Have *server* send the numbers from *first* to below *last* to ``numbers:<room>``."""
    await call(server, "POST", f"/numbers/{room}/{first}/{last}")
