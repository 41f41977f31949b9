"""The scenarios."""

from __future__ import annotations

from .values import Column, Run, Scenario

ALL = (
    "ours",
    "ours-asgi",
    "plain",
    "quart",
    "socketio",
    "channels",
    "picows",
    "picows-asyncio",
    "ws",
    "node-socketio",
)
OTHER_SERVERS = tuple(
    f"{peer}-{server}"
    for server in ("uvicorn", "granian")
    for peer in ("ours", "plain", "socketio")
)

OVER_VALKEY = ("ours-redis", "socketio-redis", "channels-redis", "channels-core-redis")

DELIVERED = (
    Column("rate", "delivered/s"),
    Column("server_us", "server CPU, µs each", digits=2),
    Column("server_busy", "server busy, %", 100),
    Column("generator_waits", "generator waits, %", 100),
    Column("lost", "lost"),
)
DELIVERED_OVER_VALKEY = (
    *DELIVERED[:3],
    Column("valkey_busy", "Valkey busy, %", 100),
    *DELIVERED[3:],
)
PACED = (
    Column("p99_us", "p99, µs"),
    Column("median_us", "median, µs"),
    Column("missing", "not come, %", 100, 1),
    Column("server_busy", "server busy, %", 100),
    Column("valkey_busy", "Valkey busy, %", 100),
    Column("behind_us", "asked for late, p99, µs"),
)
GENERATOR_BUSY = Column("generator_busy", "generator busy, %", 100)
ANSWERED = (
    Column("median_us", "median, µs"),
    Column("p99_us", "p99, µs"),
    Column("rate", "requests/s"),
    Column("server_busy", "server busy, %", 100),
)
LOGGED_IN = "token checked; in `user:<id>` and `everyone`, which it joins by itself"
STEPS = [10, 100, 1000, 10_000]
SIZES = [0, 10, 500]
SHARED = (
    "Two processes of the same app, with one Valkey between them and half of the {sockets} sockets "
    "each; all are in one room, and the events are published on the first process. The two and "
    "Valkey share the core that one process has elsewhere, for all alike: what is compared is "
    "what the work costs, not how it spreads over cores."
)
LATENESS = (
    "*Median* and *p99* are of all events on all sockets of both processes, from when an event was "
    "due to be published until the generator has read it; what has not come {patience} s after the "
    "last was due counts as being as late as it was by then, which is less than it is. *Asked for "
    "late*: by how much the generator lagged, or waited until the server took its orders."
)


def _runs(names: tuple[str, ...]) -> tuple[Run, ...]:
    return tuple(Run(name) for name in names)


SCENARIOS = (
    Scenario(
        "generator",
        "What the load generator can take",
        "The server writes bytes made beforehand to {sockets} sockets, and only when it has "
        "finished does the generator begin to read: what it reads in a second, by itself. picows "
        "opens the generator's sockets and speaks for them; where events are counted, it reads the "
        "sockets without picows, for less (`bench/load/counting.py` says how).",
        "capacity",
        (
            Run("source", {"burst": 1}, "one frame a write"),
            Run("source", {"burst": 60}, "60 frames a write"),
        ),
        (Column("rate", "frames/s"),),
        {"sockets": 500, "times": 40},
        {"times": 10},
    ),
    Scenario(
        "fanout",
        "Fan-out, one event at a time",
        "{sockets} sockets in one room. The next event is published when all have received the "
        "last. *Generator waits*: how much of the time there was nothing that it could have read.",
        "publish",
        _runs(ALL),
        DELIVERED,
        {"sockets": 500, "burst": 1, "seconds": 1.5},
        {"seconds": 0.4},
    ),
    Scenario(
        "burst",
        "Fan-out, bursts of 60",
        "{sockets} sockets in one room. {burst} events are published back to back; the next when "
        "all have received all of them.",
        "publish",
        _runs(ALL),
        DELIVERED,
        {"sockets": 500, "burst": 60, "seconds": 1.5},
        {"seconds": 0.4},
    ),
    Scenario(
        "roundtrip",
        "Round trip",
        "One socket, one request at a time: of ours an authenticated native handler, of "
        "socket.io's an acknowledged event, of the others an echo.",
        "asks",
        _runs(ALL),
        ANSWERED,
        {"sockets": 1, "seconds": 1.5},
        {"seconds": 0.4},
        less=True,
    ),
    Scenario(
        "concurrent",
        "Requests of 50 sockets at once",
        "The same, of 50 sockets at once.",
        "asks",
        _runs(ALL),
        (ANSWERED[2], ANSWERED[0], ANSWERED[1], ANSWERED[3], GENERATOR_BUSY),
        {"sockets": 50, "seconds": 1.0},
        {"seconds": 0.4},
    ),
    Scenario(
        "connects",
        "Connections accepted",
        "{sockets} sockets, 32 being opened at any time. Ours is there when it is "
        "logged in, by a token of a user's own, and told so by `connected`; socket.io when it has "
        "joined the namespace; the others, and ours without a token, when the websocket is open. "
        "Where the generator is busy all the time, it is what holds the peer up.",
        "connects",
        _runs(("ours", "ours-open", *ALL[1:])),
        (Column("rate", "connections/s"), DELIVERED[2], GENERATOR_BUSY),
        {"sockets": 500},
        {"sockets": 200},
    ),
    Scenario(
        "memory",
        "Memory of a connection",
        "What the server's processes alone use (USS) after {sockets} more connections, less what "
        "they used with {warm}, each time after a second of rest and a collection of garbage. "
        "Nothing is sent on the connections once they are ready.",
        "memory",
        (
            Run("ours", {"rooms": []}, "ours", LOGGED_IN),
            Run("ours", {"rooms": ["bench"]}, "ours, one more room", f"{LOGGED_IN}; subscribed"),
            Run("ours-asgi", {"rooms": []}, note=LOGGED_IN),
            Run("bare", note="accepted; the app waits for a message"),
            Run("plain", note="accepted; its send kept in a list"),
            Run("quart", note="accepted; a queue of its own, two tasks"),
            Run("socketio", note="connected to the namespace; in one room"),
            Run("channels", note="accepted; in one group"),
            Run("picows", note="accepted; its transport kept in a list"),
            Run("ws", note="accepted"),
            Run("node-socketio", note="connected to the namespace; in one room"),
        ),
        (Column("bytes", "KiB a connection", 1 / 1024, 1),),
        {"warm": 300, "sockets": 2000, "rooms": []},
        {"warm": 100, "sockets": 300},
        less=True,
    ),
    Scenario(
        "route",
        "A route over the socket and over HTTP",
        "`POST /shops/<shop_id>/things`, `@jwt_required`, its body validated into an attrs class "
        "by `@validate_request`: one request at a time on one connection, by the socket, and by "
        "HTTP/1.1 kept alive on the same server.",
        "route",
        (
            Run("ours", {"way": "socket"}, "ours"),
            Run("ours", {"way": "http"}, "HTTP keep-alive"),
        ),
        (ANSWERED[2], ANSWERED[0], ANSWERED[1]),
        {"seconds": 2.0},
        {"seconds": 0.4},
    ),
    Scenario(
        "connected",
        "Cost against the sockets connected, and against a room's size",
        "How long an event to a room of 10 takes to be everywhere, while more and more sockets are "
        "connected; then, with all of them connected, to rooms of other sizes; and for how long "
        "the event loop was held up at most meanwhile.",
        "ladder",
        _runs(("ours", "ours-asgi", "plain")),
        (
            *(Column(f"connected_{step}", f"{step} connected, µs") for step in STEPS),
            *(Column(f"room_{step}", f"room of {step}, µs") for step in STEPS[1:]),
            Column(f"lag_{STEPS[-1]}", f"longest stall, room of {STEPS[-1]}, ms", 1e-3, 1),
        ),
        {"steps": STEPS, "seconds": 1.0},
        {"steps": STEPS[:3], "seconds": 0.2},
        less=True,
        across=True,
    ),
    Scenario(
        "servers",
        "Fan-out on uvicorn and granian, one event at a time",
        "As on Hypercorn; ours takes its plain ASGI lane here.",
        "publish",
        _runs(OTHER_SERVERS),
        DELIVERED,
        {"sockets": 500, "burst": 1, "seconds": 2.0},
        {"seconds": 0.4},
    ),
    Scenario(
        "servers-burst",
        "Fan-out on uvicorn and granian, bursts of 60",
        "As on Hypercorn; ours takes its plain ASGI lane here.",
        "publish",
        _runs(OTHER_SERVERS),
        DELIVERED,
        {"sockets": 500, "burst": 60, "seconds": 2.0},
        {"seconds": 0.4},
    ),
    Scenario(
        "redis",
        "Fan-out over Valkey, one event at a time",
        f"{SHARED} The next event is published when all have received the last.",
        "publish",
        _runs(OVER_VALKEY),
        DELIVERED_OVER_VALKEY,
        {"sockets": 500, "burst": 1, "seconds": 1.5},
        {"seconds": 0.4},
    ),
    Scenario(
        "redis-burst",
        "Fan-out over Valkey, bursts of 60",
        "The same, with {burst} events published back to back; the next when all have received "
        "all of them.",
        "publish",
        _runs(OVER_VALKEY),
        DELIVERED_OVER_VALKEY,
        {"sockets": 500, "burst": 60, "seconds": 1.5},
        {"seconds": 0.4},
    ),
    Scenario(
        "redis-latency",
        "Latency over Valkey, 500 sockets",
        f"{SHARED} {{rate}} events a second are published for {{seconds}} s, whether the last ones "
        f"have come or not. {LATENESS} Who can't deliver that much is never in time; the next "
        "table is of a load that all can take.",
        "paced",
        _runs(OVER_VALKEY),
        PACED,
        {"sockets": 500, "rate": 200, "seconds": 3.0, "patience": 2.0},
        {"seconds": 0.5, "patience": 0.5},
        less=True,
    ),
    Scenario(
        "redis-latency-few",
        "Latency over Valkey, 10 sockets",
        "The same with {sockets} sockets: {rate} events a second for {seconds} s.",
        "paced",
        _runs(OVER_VALKEY),
        PACED,
        {"sockets": 10, "rate": 200, "seconds": 3.0, "patience": 2.0},
        {"seconds": 0.5},
        less=True,
    ),
    Scenario(
        "redis-rooms",
        "Many rooms over Valkey",
        "Sockets that are logged in subscribe to {rooms} rooms on one process, {each} each, and "
        "nobody is in any of the rooms yet. Memory is what the process, or Valkey, uses more "
        "afterwards than with {warm} rooms; the process's as the memory of a connection. Then an "
        "event that the other process publishes to the last of the rooms has to come.",
        "many_rooms",
        (
            Run("ours-redis", note="two processes; the other has no sockets"),
            Run("ours", {}, "ours, one process", "without Valkey: the broker in memory"),
        ),
        (
            Column("bytes", "bytes a room"),
            Column("valkey_bytes", "in Valkey, bytes a room"),
            Column("connections", "the process's TCP connections to Valkey"),
            Column("subscribed", "rooms subscribed/s"),
        ),
        {"rooms": 10_000, "each": 500, "warm": 100},
        {"rooms": 1000},
        less=True,
    ),
    Scenario(
        "redis-cost",
        "What a publish asks of Valkey",
        "Events are published to rooms of several sizes, all of whose members are on the process "
        "that publishes; up to {publications} events, and to the greatest room fewer. The other "
        "process has {elsewhere} sockets in another room. Counted by Valkey, for an event: how "
        "often it read something from either process, which is a round trip each, a pipeline's as "
        "well; commands that it ran, those in scripts among them; for how long it computed; bytes "
        "that it sent. What goes on in the background meanwhile is among it.",
        "cost",
        _runs(OVER_VALKEY),
        (
            *(Column(f"requests_{size}", f"round trips, {size} members", 1, 2) for size in SIZES),
            *(Column(f"calls_{size}", f"commands run, {size} members", 1, 2) for size in SIZES),
            *(Column(f"valkey_us_{size}", f"Valkey's CPU, µs, {size} members") for size in SIZES),
            Column("bytes_near", f"bytes to the process that publishes, {SIZES[-1]} members"),
            Column("bytes_far", "bytes to the process without members", digits=1),
            Column("far_us", "CPU of the process without members, µs"),
        ),
        {"sizes": SIZES, "elsewhere": 10, "publications": 1000, "deliveries": 50_000},
        {"publications": 100, "deliveries": 20_000},
        less=True,
        across=True,
    ),
)
