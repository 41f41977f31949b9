"""Where a client's tokens come from, and what became of them."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

from .backoff import Backoff
from .client_types import TokenTypeError, UnauthorizedError
from .protocol import CloseCode

_Returned: TypeAlias = Awaitable[str] | str
TokenFunction: TypeAlias = Callable[[str], _Returned] | Callable[[], _Returned]

MAX_REFUSALS = 3
"""After how many fresh tokens refused in a row no more are asked for."""
REMEMBERED = 16
"""How many refused tokens are remembered, so that none of them is sent again."""
EARLY = 10.0
EARLY_PART = 0.2
"""A token is refreshed 10 s before it expires, or 20 % of its remaining life if that is more."""
RETRY_BETWEEN = (5.0, 10.0)

# The characters of an HTTP token (RFC 9110, section 5.6.2), as it travels as a subprotocol.
_SENDABLE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class TokenRefused(Exception):
    """The ``token`` function returned one that the server has refused already."""


class Tokens:
    """The current token, and the way to a fresh one.

    Args:
        token: The token, a function that returns one or is awaited for it, or None where the URL
            or the headers carry it.
        backoff: Whose clock and randomness to use.

    """

    def __init__(self, token: str | TokenFunction | None, backoff: Backoff) -> None:
        self._backoff = backoff
        self._current: str | None = None
        self._ask: Callable[[str], _Returned] | None = None
        if callable(token):
            self._ask = _with_reason(token)
        elif token is not None:
            self._current = _sendable(token)
        self._reason = "connect"
        self._call: asyncio.Task[str] | None = None
        self._refused: deque[str] = deque(maxlen=REMEMBERED)
        self._refusals = 0
        self._accepted: str | None = None
        self._expires_at: float | None = None
        self._refresh_at: float | None = None

    async def for_handshake(self) -> str | None:
        """Return the token to connect with, a fresh one if there is none that may be good.

        Raises:
            UnauthorizedError: there is none to be had, finally. Whatever else the function raises
                is raised here too.

        """
        if self._ask is not None and (self._current is None or self._has_expired()):
            await self.renew(self._reason if self._current is None else "expired")
        return self._current

    async def renew(self, reason: str) -> str:
        """Ask for a fresh token; all who wait for one share the call."""
        if self._ask is None:
            raise UnauthorizedError("there is no other token")
        if self._call is None:
            work = self._fetch(self._ask, reason)
            self._call = asyncio.get_running_loop().create_task(work)
            # Whoever waited may have gone: then nobody else looks at its exception.
            self._call.add_done_callback(lambda call: call.cancelled() or call.exception())
        return await asyncio.shield(self._call)

    async def _fetch(self, ask: Callable[[str], _Returned], reason: str) -> str:
        try:
            said = ask(reason)
            token = _returned(await said if inspect.isawaitable(said) else said)
        finally:
            self._call = None
        if token in self._refused:
            self._count_refusal("the token function returned a token that was refused before")
            raise TokenRefused
        self._current, self._expires_at, self._refresh_at = token, None, None
        return token

    def accepted(self, token: str | None, expires_at: float | None) -> None:
        """Note that the server took *token*, which expires at *expires_at*, never if None."""
        self._accepted, self._refusals = token, 0
        if token is None or token != self._current:
            return
        now = self._backoff.clock()
        # Taken though expired: the clock here is wrong, and can't tell when to refresh.
        known = expires_at is not None and expires_at > now
        self._expires_at = expires_at if known else None
        self._refresh_at = None
        if expires_at is not None and known and self._ask is not None:
            self._refresh_at = expires_at - max(EARLY, EARLY_PART * (expires_at - now))

    def refused(self, token: str | None, reason: str, code: int = CloseCode.UNAUTHORIZED) -> None:
        """Note that the server didn't take *token*, or no longer does.

        Raises:
            UnauthorizedError: no other is to be had, or three fresh ones in a row were refused.

        """
        if self._ask is None or token is None:
            raise UnauthorizedError(reason, code)
        if token in self._refused:
            return
        self._refused.append(token)
        if token == self._current:
            self._current, self._reason = None, "expired"
        if token != self._accepted:
            self._count_refusal(reason, code)

    def _count_refusal(self, reason: str, code: int = CloseCode.UNAUTHORIZED) -> None:
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            raise UnauthorizedError(reason, code)

    def take_refresh(self) -> bool:
        """Tell whether a refresh is due; it is told once."""
        if self._refresh_at is None or self._backoff.clock() < self._refresh_at:
            return False
        self._refresh_at = None
        return True

    def postpone_refresh(self) -> None:
        """Note that a refresh failed: another is due in a while."""
        self._refresh_at = self._backoff.clock() + self._backoff.between(*RETRY_BETWEEN)

    async def end(self) -> None:
        """Give up a call that is under way, and ask anew at the next login, maybe another's."""
        if self._ask is not None:
            self._current = None
        self._reason, self._accepted, self._refusals = "connect", None, 0
        self._expires_at = self._refresh_at = None
        call = self._call
        if call is not None and call is not asyncio.current_task():
            call.cancel()
            await asyncio.wait([call])
            self._call = None

    def _has_expired(self) -> bool:
        return self._expires_at is not None and self._backoff.clock() >= self._expires_at


def _sendable(token: object) -> str:
    if not isinstance(token, str) or not _SENDABLE.fullmatch(token):
        raise UnauthorizedError("a token is a string without spaces or separators, such as a JWT")
    return token


def _returned(token: object) -> str:
    if token is None:
        raise UnauthorizedError("the token function returned no token")
    if not isinstance(token, str):
        # Of its value nothing is said: a token may well be in it.
        kind = type(token).__name__
        raise TokenTypeError(f"the token function returned a {kind}: return the token as a str")
    return _sendable(token)


def _with_reason(function: TokenFunction) -> Callable[[str], _Returned]:
    """Return *function* so that it can be called with a reason, whether it takes one or not."""
    try:
        inspect.signature(function).bind("connect")
    except TypeError:
        plain = cast(Callable[[], _Returned], function)
        return lambda reason: plain()
    return cast(Callable[[str], _Returned], function)
