"""What is told of what happens here: lines in the log, with fields, and figures.

All lines go to the logger ``quart_realtime``. Those about a connection have the fields
``connection``, ``user`` and ``address``, and of ``resource``, ``action``, ``code`` and ``duration``
(in seconds) what there is; those about a refusal have ``refused``, what was refused. No field
holds a token or anything that a client has sent in a payload.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any, Protocol

from attrs import asdict

from .broker import BrokerHealth
from .errors import Forbidden, RateLimited, RealtimeError, Unauthorized
from .metrics import Metrics
from .protocol import CloseCode, close_label

logger = logging.getLogger("quart_realtime")

ROOMS_NAMED = 5
"""How many of the rooms that a client asked for in one message and isn't let into are named."""
_CODES = frozenset(CloseCode)
_REFUSALS = frozenset({Forbidden.code, RateLimited.code, Unauthorized.code})


class Client(Protocol):
    """A connection, as far as it is told of here."""

    id: str
    remote_addr: str

    @property
    def user_id(self) -> str | None:
        """Who is logged in, None before login."""


class Telemetry:
    """Tells the log and the metrics what happens in one app.

    Args:
        metrics: What counts.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self._broker = BrokerHealth()

    # Handshakes and connections

    def handshake_refused(self, why: str, address: str | None, text: str, *values: Any) -> None:
        """Tell that there was to be no websocket, or no stream, at all."""
        self.metrics.handshake(why)
        fields = {"refused": "handshake", "why": why, "address": address}
        logger.warning(f"refused a handshake from %s: {text}", address, *values, extra=fields)

    def cookie_passed_over(self, address: str | None) -> None:
        """Tell that whoever comes brings a cookie that can't log anybody in."""
        fields = {"refused": "login", "why": "cookie_without_origin", "address": address}
        logger.info(
            "didn't look at the cookie that %s brought: cookies count beside an Origin header, or "
            "Sec-Fetch-Site: same-origin; a script sends the app's own origin, such as "
            "Origin: https://app.example.com, or one of QUART_REALTIME_ALLOWED_ORIGINS",
            address,
            extra=fields,
        )

    def begun(self) -> None:
        """Tell that a connection has begun."""
        self.metrics.connections(1)

    def connected(self, client: Client) -> None:
        """Tell that a client has logged in, and knows it."""
        self.metrics.handshake("connected")
        logger.debug("connection %s of %r is open", client.id, client.user_id, extra=_of(client))

    def closing(self, client: Client, code: int, reason: str) -> None:
        """Tell that the server closes a connection, and why."""
        logger.info(
            "closing connection %s of %r: %s %s",
            client.id,
            client.user_id,
            int(code),
            _one_line(reason),
            extra=_of(client, code=int(code)),
        )

    def ended(self, client: Client, code: int, *, connected: bool) -> None:
        """Tell that a connection has ended, which may never have been open."""
        self.metrics.connections(-1)
        label = _label(code)
        self.metrics.closed(label)
        if not connected:
            self.metrics.handshake(label)
        logger.debug(
            "connection %s of %r has ended: %s",
            client.id,
            client.user_id,
            int(code),
            extra=_of(client, code=int(code)),
        )

    # What clients ask for

    def refused(self, client: Client, what: str, error: RealtimeError) -> None:
        """Tell that a client was refused *what* it wanted."""
        if isinstance(error, RateLimited):
            self.metrics.rate_limited(error.limit)
        self._refusal(client, what, error.code, str(error))

    def rooms_refused(self, client: Client, rooms: Collection[str]) -> None:
        """Tell that a client may not join *rooms*, in one line however many they are."""
        named = ", ".join(repr(room) for room in list(rooms)[:ROOMS_NAMED])
        more = f" and {len(rooms) - ROOMS_NAMED} more" if len(rooms) > ROOMS_NAMED else ""
        self._refusal(client, "room", Forbidden.code, named + more)

    def answered(
        self, client: Client, resource: str, action: str, code: str | None, seconds: float
    ) -> None:
        """Tell how a request was answered: by an error of *code*, or well where that is None."""
        self.metrics.request(resource, action, code or "ok", seconds)
        refused = code in _REFUSALS
        if not refused and not logger.isEnabledFor(logging.DEBUG):
            return
        fields = {"resource": resource, "action": action, "duration": round(seconds, 6)}
        name = f"{resource}.{action}"
        if refused:
            self._refusal(client, "request", code, name, **fields)
        else:
            said = code or "ok"
            logger.debug("%s: %s", name, said, extra=_of(client, code=said, **fields))

    def _refusal(
        self, client: Client, what: str, code: str | None, text: str, **fields: Any
    ) -> None:
        logger.info(
            "refused connection %s of %r from %s: %s, %s: %s",
            client.id,
            client.user_id,
            client.remote_addr,
            what,
            code,
            _one_line(text),
            extra=_of(client, refused=what, code=code, **fields),
        )

    # Now and then

    def sample(self, broker: BrokerHealth, lag: float) -> None:
        """Note how the broker is, and how many seconds late the event loop was at most."""
        now, before = asdict(broker), asdict(self._broker)
        up = now.pop("up")
        self._broker = broker
        self.metrics.sample(
            up, {name: max(count - before[name], 0) for name, count in now.items()}, lag
        )


def _label(code: int) -> str:
    """Return the name that a close is counted by; clients may close with codes of any kind."""
    known = code in _CODES or 4000 <= code < 5000
    return close_label(code) if known else "other"


def _one_line(text: str) -> str:
    """Return *text* as it may stand in a line of the log, whoever wrote it."""
    return text if text.isprintable() else repr(text)


def _of(client: Client, **fields: Any) -> dict[str, Any]:
    return {
        "connection": client.id,
        "user": client.user_id,
        "address": client.remote_addr,
        **fields,
    }
