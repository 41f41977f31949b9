"""What we build for, held against what was measured."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from .values import Results, Spread, ratio


@frozen
class Goal:
    """How one run should compare with another.

    Args:
        text: What it says.
        scenario: Where it is measured.
        one: The run that is above the line.
        other: The run below it.
        key: Of which figure.
        limit: What the ratio should be, or the difference where *apart*.
        most: Whether the limit is the most it may be, not the least it must.
        over: Of which figure below the line, where that is another.
        apart: Whether the difference is meant, in KiB, not the ratio.
    """

    text: str
    scenario: str
    one: str
    other: str
    key: str
    limit: float
    most: bool = False
    over: str = ""
    apart: bool = False

    def measured(self, results: Results) -> Spread | None:
        """Return what it came to, if both were measured."""
        runs = results.get(self.scenario, {})
        one, other = runs.get(self.one), runs.get(self.other)
        if not self.apart:
            return ratio(one, other, self.key, self.over)
        if one is None or other is None:
            return None
        mine, theirs = one.median(self.key), other.median(self.key)
        if mine is None or theirs is None:
            return None
        difference = (mine - theirs) / 1024
        return Spread(difference, difference, difference)

    def reached(self, measured: Spread) -> bool:
        """Tell whether that will do."""
        return measured.median <= self.limit if self.most else measured.median >= self.limit

    @property
    def wanted(self) -> str:
        """Return the limit as a table shows it."""
        unit = " KiB" if self.apart else " x"
        return f"{'≤' if self.most else '≥'} {self.limit:g}{unit}"


def _fanout(scenario: str, other: str, label: str, limit: float) -> Goal:
    how = "one at a time" if scenario == "fanout" else "bursts of 60"
    return Goal(f"fan-out, {how}, against {label}", scenario, "ours", other, "rate", limit)


OVER_VALKEY = (
    ("socketio-redis", "python-socketio's Redis manager", 5),
    ("channels-redis", "channels_redis' pub/sub layer", 10),
    ("channels-core-redis", "channels_redis' core layer", 10),
)


def _over_valkey() -> Iterator[Goal]:
    for scenario, how in (("redis", "one at a time"), ("redis-burst", "bursts of 60")):
        for other, label, limit in OVER_VALKEY:
            text = f"fan-out on two processes over Valkey, {how}, against {label}"
            yield Goal(text, scenario, "ours-redis", other, "rate", limit)
    for scenario, sockets in (("redis-latency", 500), ("redis-latency-few", 10)):
        for other, label, _ in OVER_VALKEY:
            for key, which in (("median_us", "median"), ("p99_us", "p99")):
                text = (
                    f"latency over Valkey at 200 events/s to {sockets} sockets, {which}, "
                    f"against {label}"
                )
                yield Goal(text, scenario, "ours-redis", other, key, 1, most=True)
    text = "round trips to Valkey of a publish, with 500 members against none"
    mine = ("redis-cost", "ours-redis", "ours-redis")
    yield Goal(text, *mine, "requests_500", 1.2, most=True, over="requests_0")
    text = "bytes of an event that a process without members receives, against one with members"
    yield Goal(text, *mine, "bytes_far", 0.05, most=True, over="bytes_near")


GOALS = (
    _fanout("fanout", "plain", "a plain ASGI loop", 4),
    _fanout("fanout", "socketio", "python-socketio", 8),
    _fanout("fanout", "node-socketio", "Node's socket.io", 1.5),
    _fanout("fanout", "picows", "picows", 0.9),
    _fanout("burst", "plain", "a plain ASGI loop", 10),
    _fanout("burst", "socketio", "python-socketio", 20),
    _fanout("burst", "picows", "picows", 2),
    Goal(
        "round trip of a native handler, against a plain ASGI echo",
        "roundtrip",
        "ours",
        "plain",
        "median_us",
        1.2,
        most=True,
    ),
    Goal(
        "round trip of a native handler, against python-socketio",
        "roundtrip",
        "ours",
        "socketio",
        "median_us",
        1,
        most=True,
    ),
    Goal(
        "connections accepted, against plain ASGI",
        "connects",
        "ours-open",
        "plain",
        "rate",
        0.75,
    ),
    Goal(
        "connections accepted and logged in, against plain ASGI's that are only accepted",
        "connects",
        "ours",
        "plain",
        "rate",
        0.75,
    ),
    Goal(
        "memory of a connection in two rooms, above a bare websocket",
        "memory",
        "ours",
        "bare",
        "bytes",
        5,
        most=True,
        apart=True,
    ),
    Goal(
        "a protected, validated route over the socket, against HTTP keep-alive",
        "route",
        "ours",
        "HTTP keep-alive",
        "rate",
        1.7,
    ),
    Goal(
        "an event to a room of 10, with 10 000 connected against 100",
        "connected",
        "ours",
        "ours",
        "connected_10000",
        1.2,
        most=True,
        over="connected_100",
    ),
    *(
        Goal(
            f"fan-out on {server}, {how}, against a plain ASGI loop there",
            scenario,
            f"ours-{server}",
            f"plain-{server}",
            "rate",
            0.9,
        )
        for server in ("uvicorn", "granian")
        for scenario, how in (("servers", "one at a time"), ("servers-burst", "bursts of 60"))
    ),
    *_over_valkey(),
)
