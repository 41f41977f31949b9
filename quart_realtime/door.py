"""At the door: who comes too often, whose pages aren't ours, and what else is kept of who comes."""

from __future__ import annotations

import math

from attrs import evolve
from quart import abort
from quart.wrappers import Request, Websocket
from werkzeug.exceptions import TooManyRequests

from .errors import RateLimited
from .handshake import Handshake, origin_is_allowed
from .runtime import Runtime


def count_handshake(runtime: Runtime, address: str) -> None:
    """Count a handshake from *address*; one too many is answered with 429."""
    try:
        runtime.handshake_limiter.check(address)
    except RateLimited as error:
        runtime.telemetry.metrics.rate_limited("handshake")
        runtime.telemetry.handshake_refused(
            "too_many_handshakes",
            address,
            "too many handshakes (QUART_REALTIME_HANDSHAKE_RATE_LIMIT); if that is a proxy of "
            "yours, name it in QUART_REALTIME_TRUSTED_PROXIES",
        )
        raise TooManyRequests(retry_after=math.ceil(error.retry_after)) from None


def refuse_foreign(runtime: Runtime, opened: Websocket | Request) -> None:
    """Answer what a foreign page asks with 403."""
    if not origin_is_allowed(opened, runtime.settings.allowed_origins):
        runtime.telemetry.handshake_refused(
            "foreign_origin",
            opened.remote_addr,
            "a page of origin %r: list it in QUART_REALTIME_ALLOWED_ORIGINS if it is yours",
            opened.headers.get("Origin"),
        )
        abort(403)


def handshake_of(runtime: Runtime, opened: Websocket | Request) -> Handshake:
    """Return what is kept of a request that opens something, with what it brings to log in by."""
    brought = runtime.authenticator.read(opened)
    if brought.passed_over:
        runtime.telemetry.cookie_passed_over(opened.remote_addr)
    if runtime.settings.allowed_origins == "*" and "Origin" in opened.headers:
        # Any page: what its browser adds, a session or a password that it remembers, would be used
        # behind its user's back.
        brought = evolve(brought, used_up={*brought.used_up, "authorization", "cookie"})
    return Handshake(opened, brought)
