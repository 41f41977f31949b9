"""When a connection is to be pinged, and when it has been silent or logged out for too long.

Arithmetic on the event loop's clock; nothing here reads a clock or a socket.
"""

from __future__ import annotations

import math
import random

from .protocol import CloseCode
from .settings import Settings
from .transport import GRACE

EARLY = 0.1
"""By how many seconds a connection ends before its token: alarms come late, events must not."""
JITTER = 0.1
"""By what part a ping's turn may be early or late, so that not all come at once."""


class Heartbeat:
    """One connection's deadlines.

    Args:
        settings: The app's intervals and time-outs.
        now: The time of the handshake, on the same clock as all that follow.
        mute: Whether nothing need ever come from this client, which may answer pings all the same.

    """

    __slots__ = (
        "_answers_pings",
        "_auth_deadline",
        "_heard",
        "_mute",
        "_next_ping",
        "_settings",
        "_token_deadline",
    )

    def __init__(self, settings: Settings, now: float, *, mute: bool = False) -> None:
        self._settings = settings
        self._mute = mute
        self._heard = now
        self._answers_pings = False
        self._auth_deadline: float | None = now + settings.auth_timeout
        self._token_deadline: float | None = None
        self._next_ping = now + self._interval()

    def heard(self, now: float) -> None:
        """Note that something came from the client."""
        self._heard = now

    def answered_ping(self) -> None:
        """Note that this client answers pings, and can be held to it."""
        self._answers_pings = True

    def logged_in(self, now: float, remaining: float | None) -> None:
        """Note a token that is good for *remaining* seconds more, None for ever.

        Held against this clock and not the wall's, so that setting that throws nobody out.
        """
        self._auth_deadline = None
        self._token_deadline = None if remaining is None else now + remaining - EARLY

    def overdue(self, now: float) -> CloseCode | None:
        """Return the code to close with, None while all is well."""
        if self._auth_deadline is not None:
            return CloseCode.AUTH_TIMEOUT if now >= self._auth_deadline else None
        if self._token_deadline is not None and now >= self._token_deadline:
            return CloseCode.TOKEN_EXPIRED
        if now < self._silence_deadline():
            return None
        return CloseCode.HEARTBEAT_TIMEOUT if self._answers_pings else CloseCode.IDLE_TIMEOUT

    def wants_ping(self, now: float) -> bool:
        """Tell whether it is time for a ping, and if so set the time of the next."""
        if now < self._next_ping:
            return False
        self._next_ping = now + self._interval()
        return True

    def next_deadline(self) -> float:
        """Return when to look again at the latest."""
        if self._auth_deadline is not None:
            return min(self._next_ping, self._auth_deadline)
        deadlines = [self._next_ping, self._silence_deadline()]
        if self._token_deadline is not None:
            deadlines.append(self._token_deadline)
        return min(deadlines)

    def _silence_deadline(self) -> float:
        if self._answers_pings:
            return self._heard + self._settings.ping_interval + GRACE
        if self._mute:
            return math.inf
        return self._heard + self._settings.idle_timeout

    def _interval(self) -> float:
        return self._settings.ping_interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # nosec B311
