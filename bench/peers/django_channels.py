"""Django Channels with a JSON consumer, and its in-memory layer.

Where ``BENCH_REDIS`` is set its processes share that server, by the layer that ``BENCH_LAYER``
names.
"""

from __future__ import annotations

import os
from typing import Any

import django
from django.conf import settings

layer: dict[str, Any] = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
if url := os.environ.get("BENCH_REDIS"):
    layer = {"BACKEND": os.environ["BENCH_LAYER"], "CONFIG": {"hosts": [url]}}
settings.configure(
    SECRET_KEY="only for measuring",  # noqa: S106
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={"default": layer},
)
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path  # noqa: E402

from .control import event, serve_control  # noqa: E402
from .lifespan import Receive, Scope, Send, lifespan  # noqa: E402
from .rooms import rooms_of  # noqa: E402


class Consumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """One socket, in a group for each of its rooms."""

    async def connect(self) -> None:
        """Join the groups."""
        self.rooms = rooms_of(self.scope["query_string"].decode())
        for room in self.rooms:
            await self.channel_layer.group_add(room, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Leave them."""
        for room in self.rooms:
            await self.channel_layer.group_discard(room, self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Echo what came."""
        await self.send_json(content)

    async def tick(self, message: dict[str, Any]) -> None:
        """Pass an event of the group on."""
        await self.send_json(message["data"])


async def publish(room: str, numbers: range) -> None:
    """Send the events of those numbers to everybody in *room*."""
    channel_layer = get_channel_layer()
    for number in numbers:
        await channel_layer.group_send(room, {"type": "tick", "data": event(number)})


async def start() -> None:
    """Listen for what to publish."""
    await serve_control(publish)


router = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("ws", Consumer.as_asgi())]),
    }
)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one socket, or the lifespan, which Channels leaves to others."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send, start)
    else:
        await router(scope, receive, send)
