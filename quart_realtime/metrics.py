"""Figures for Prometheus, where prometheus-client is installed (the extra ``metrics``)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property

try:
    from prometheus_client import Counter, Gauge, Histogram
except ImportError:
    _installed = False
else:
    _installed = True

PREFIX = "quart_realtime_"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""The bounds of the durations' buckets."""


class Metrics:
    """Counts nothing."""

    def connections(self, change: int) -> None:
        """Count a connection that has begun, or ended."""

    def handshake(self, result: str) -> None:
        """Count a handshake: ``connected``, or why it came to nothing."""

    def request(self, resource: str, action: str, code: str, seconds: float) -> None:
        """Count a request: how it was answered, and how long that took."""

    def published(self) -> None:
        """Count an event that this process has sent to a room."""

    def failed(self) -> None:
        """Count an event that could not go out."""

    def delivered(self, count: int) -> None:
        """Count what was handed to connections."""

    def closed(self, code: str) -> None:
        """Count a connection that has ended, by its close code's name."""

    def rate_limited(self, limit: str) -> None:
        """Count what was refused by a limit, such as ``connection``."""

    def resumed(self, recovered: bool) -> None:
        """Count a room that a client resumed: whether it got all that it had missed."""

    def sample(self, up: bool, broker: Mapping[str, int], lag: float) -> None:
        """Note whether the broker is up, what has gone wrong there since, and the loop's lag."""


class PrometheusMetrics(Metrics):
    """Counts in prometheus-client's default registry.

    All apps of a process count together there. In its multiprocess mode gauges are added up over
    the processes that live, but for the broker's and the lag, of which the worst is taken.
    """

    def __init__(self) -> None:
        self._connections = Gauge(
            f"{PREFIX}connections", "Connections now", multiprocess_mode="livesum"
        )
        self._handshakes = Counter(f"{PREFIX}handshakes", "Handshakes by result", ["result"])
        self._requests = Histogram(
            f"{PREFIX}request_seconds",
            "Requests, and how long answering took",
            ["resource", "action", "code"],
            buckets=SECONDS,
        )
        self._published = Counter(f"{PREFIX}events_published", "Events sent to rooms")
        self._failed = Counter(f"{PREFIX}events_dropped", "Events that could not go out")
        self._delivered = Counter(f"{PREFIX}events_delivered", "Events handed to connections")
        self._closed = Counter(f"{PREFIX}closes", "Connections that ended", ["code"])
        self._limited = Counter(f"{PREFIX}rate_limited", "Refused by a limit", ["limit"])
        self._resumed = Counter(f"{PREFIX}resumes", "Rooms resumed", ["result"])
        self._broker = {
            "links_broken": Counter(f"{PREFIX}broker_links_broken", "Links to Redis that broke"),
            "gaps_filled": Counter(f"{PREFIX}broker_gaps_filled", "Gaps filled from history"),
            "rooms_lost": Counter(f"{PREFIX}broker_rooms_lost", "Rooms whose members must resume"),
            "ignored": Counter(f"{PREFIX}broker_ignored", "Messages that made no sense"),
        }

    # When they are first set, so that a process which only starts others has none.

    @cached_property
    def _broker_up(self) -> Gauge:
        return Gauge(
            f"{PREFIX}broker_up",
            "Whether the broker can be reached and heard",
            multiprocess_mode="livemin",
        )

    @cached_property
    def _lag(self) -> Gauge:
        return Gauge(
            f"{PREFIX}loop_lag_seconds",
            "The most that the event loop was late within a second",
            multiprocess_mode="livemax",
        )

    def connections(self, change: int) -> None:
        """Count a connection that has begun, or ended."""
        self._connections.inc(change)

    def handshake(self, result: str) -> None:
        """Count a handshake."""
        self._handshakes.labels(result).inc()

    def request(self, resource: str, action: str, code: str, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(resource, action, code).observe(seconds)

    def published(self) -> None:
        """Count an event that this process has sent to a room."""
        self._published.inc()

    def failed(self) -> None:
        """Count an event that could not go out."""
        self._failed.inc()

    def delivered(self, count: int) -> None:
        """Count what was handed to connections."""
        self._delivered.inc(count)

    def closed(self, code: str) -> None:
        """Count a connection that has ended."""
        self._closed.labels(code).inc()

    def rate_limited(self, limit: str) -> None:
        """Count what was refused by a limit."""
        self._limited.labels(limit).inc()

    def resumed(self, recovered: bool) -> None:
        """Count a room that a client resumed."""
        self._resumed.labels("recovered" if recovered else "lost").inc()

    def sample(self, up: bool, broker: Mapping[str, int], lag: float) -> None:
        """Note whether the broker is up, what has gone wrong there since, and the loop's lag."""
        self._broker_up.set(up)
        for name, count in broker.items():
            self._broker[name].inc(count)
        self._lag.set(lag)


@cache
def make_metrics() -> Metrics:
    """Return what counts: one for the process, since its registry takes each name once."""
    return PrometheusMetrics() if _installed else Metrics()
