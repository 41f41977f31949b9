"""An app's own function in place of tokens: whom it says the handshake, or a token, is of."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
import secrets
from collections.abc import Mapping
from contextvars import Context
from typing import Any, NoReturn, cast

from attrs import evolve
from quart import Quart
from quart.wrappers import Request, Websocket
from werkzeug.datastructures import Headers

from .deadline import contained
from .errors import (
    Forbidden,
    RateLimited,
    RequestTimeout,
    SetupError,
    TokenRefused,
    Unauthorized,
    Unavailable,
)
from .handshake import Brought, Handshake, cookies_count, offered_token
from .identity import ANY_ORIGIN, Identity
from .registry import AnyFunction, Login, calling_line, describe
from .results import error_of
from .settings import Settings

THREADS = 4
"""In how many threads at most logins are looked at again: asyncio has five or more for all that an
app does in threads, and a function that hangs is to leave some."""
_CAN_BE_SHOWN = re.compile(r"[!-~]+")
"""Printable ASCII without spaces: routes are shown a token in a header, and so is the function."""
_REFUSALS = frozenset({Unauthorized.status, Forbidden.status})
_NOT_ACCEPTED = "the token is not accepted"
_FOR_NOW = (Unavailable, RateLimited, RequestTimeout)
"""What says to come back, in words that the client may know."""


def checked_login(function: AnyFunction, *, cookies: bool) -> Login:
    """Return *function* as a way to log in.

    Raises:
        SetupError: it can't be called with a token, nor with nothing.
    """
    if not callable(function):
        raise SetupError(
            f"Realtime(authenticate={function!r}) at {calling_line()}: write the function that "
            "returns who is logged in, without calling it."
        )
    for arguments in ((None,), ()):
        try:
            inspect.signature(function).bind(*arguments)
        except TypeError:
            continue
        return Login(function, cookies, takes_token=bool(arguments))
    raise SetupError(
        f"Realtime(authenticate=…): {describe(function)} can't be called: write its parameters as "
        "(token), or as none."
    )


class CallableAuthenticator:
    """Asks the app's own function who a client is.

    It runs in a websocket context made from what is kept of the handshake, and so in the same
    surroundings whenever it is asked; ``before_websocket`` hooks have had the handshake itself.

    Args:
        app: Whose function it is.
        login: The function, and whether cookies count for it.
        settings: The app's; ``QUART_REALTIME_REQUEST_TIMEOUT`` holds for the function too.
    """

    def __init__(self, app: Quart, login: Login, settings: Settings) -> None:
        self._app = app
        self._login = login
        self._settings = settings
        self._issued: dict[str, Identity] = {}
        self._places = asyncio.Semaphore(THREADS)

    def check_setup(self, settings: Settings) -> None:
        """Raise SetupError where cookies would count whatever page sends them."""
        if settings.allowed_origins == "*" and self._login.cookies:
            raise SetupError(
                ANY_ORIGIN.format(
                    cookies=f"cookies count for {describe(self._login.function)}",
                    instead="write Realtime(authenticate=…, cookies=False)",
                )
            )

    def token_header(self) -> str:
        """Return the name of the header that bears tokens (RFC 6750)."""
        return "Authorization"

    def read(self, opened: Websocket | Request) -> Brought:
        """Return the token that a handshake brings.

        Cookies are taken out of it unless :func:`~quart_realtime.handshake.cookies_count` says
        that they count.
        """
        used_up = set()
        token = offered_token(opened)
        kind, _, shown = opened.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            used_up.add("authorization")
            token = token or shown.strip() or None
        passed_over = False
        if not self._login.cookies or not cookies_count(opened):
            used_up.add("cookie")
            passed_over = self._login.cookies and token is None and "Cookie" in opened.headers
        return Brought(token, asks=True, used_up=used_up, passed_over=passed_over)

    async def check(self, handshake: Handshake, token: str | None) -> Identity | None:
        """Return who the function says it is.

        Returns:
            None where it says nobody and no token was shown: an ``auth`` message may still come.
            Cookies say nothing of that, since a page may well have others than a session's.

        Raises:
            TokenRefused: *token* is nobody's, or not any more.
        """
        if token is not None and not _CAN_BE_SHOWN.fullmatch(token):
            raise TokenRefused(_NOT_ACCEPTED)
        identity = await self._ask(handshake, token)
        if identity is None and token is not None:
            raise TokenRefused(_NOT_ACCEPTED)
        return identity

    async def check_again(self, handshake: Handshake, identity: Identity) -> Identity:
        """Return what the function says of *identity* now.

        Where it runs in a thread, no more than :data:`THREADS` do that at once.

        Raises:
            TokenRefused: it is nobody now, or somebody else.
        """
        if not self._runs_in_thread():
            return self._still(identity, await self._ask(handshake, identity.token))
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                await self._places.acquire()
        except TimeoutError:
            # Those before it hang: not knowing is no reason to throw somebody out, nor to have
            # one thread more hang; the next ping asks again.
            return identity
        threads: list[asyncio.Future[Any]] = []
        try:
            fresh = await self._ask(handshake, identity.token, threads)
        finally:
            # Nobody can end a thread: it has its place until it ends by itself, asked for or not.
            if threads and not threads[0].done():
                threads[0].add_done_callback(self._leave)
            else:
                self._places.release()
        return self._still(identity, fresh)

    def _leave(self, thread: asyncio.Future[Any]) -> None:
        """Give back the place of a thread that nobody waits for any more."""
        if not thread.cancelled():
            thread.exception()  # Else asyncio would log that nobody asked for it.
        self._places.release()

    def _still(self, identity: Identity, fresh: Identity | None) -> Identity:
        """Return *fresh* where that is who *identity* was."""
        if fresh is None:
            # By now the browser may have a newer cookie, which only another handshake brings.
            raise TokenRefused("nobody is logged in any more", expired=identity.token is None)
        if fresh.user_id != identity.user_id:
            raise TokenRefused("somebody else is logged in now")
        return fresh

    def can_be_revoked(self) -> bool:
        """Whether it is to be asked again: always, since only the function knows."""
        return True

    def is_asked_each_time(self) -> bool:
        """Whether before each request and each room, too: no, it may well ask a database."""
        return False

    def carry(
        self,
        identity: Identity | None,
        method: str,
        headers: Headers,
        query: list[tuple[str, str]],
    ) -> dict[str, str]:
        """Put *identity*'s token where routes look for one; cookies are in *headers* already."""
        token = None if identity is None else identity.token
        if token is not None and token not in self._issued:
            headers["Authorization"] = f"Bearer {token}"
        return {}

    def log_in(self, identity: Identity | None) -> None:
        """Do nothing: ``current_connection`` knows."""

    async def issue(self, user_id: Any, claims: Mapping[str, Any] | None = None) -> str:
        """Make a token for a test that this process alone takes, without asking the function."""
        token = f"test.{secrets.token_urlsafe()}"
        said = Identity(_checked_id(user_id), dict(claims or {}), token=token)
        self._issued[token] = said
        return token

    def _runs_in_thread(self) -> bool:
        """Whether Quart runs the function in a thread, since it is no coroutine function."""
        return self._app.ensure_async(self._login.function) is not self._login.function

    async def _ask(
        self,
        handshake: Handshake,
        token: str | None,
        threads: list[asyncio.Future[Any]] | None = None,
    ) -> Identity | None:
        """Ask the function, in a context of its own, and return its word as one of ours.

        Args:
            handshake: What the function is to look at.
            token: What it is given.
            threads: Where to leave the task whose thread the function runs in. It isn't cancelled
                with the asking then, and so lasts as long as its thread.
        """
        if token in self._issued:
            return self._issued[token]
        work = contained(self._run(handshake, token, threads))
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                said = await asyncio.get_running_loop().create_task(work, context=Context())
        except Exception as error:
            await self._refuse(error)
        if said is None:
            return None
        identity = said if isinstance(said, Identity) else Identity(said)
        identity = evolve(identity, user_id=_checked_id(identity.user_id), token=token)
        _check_end(identity.expires_at)
        remaining = identity.remaining()
        if remaining is not None and remaining <= 0:
            raise TokenRefused("the login has expired", expired=True)
        return identity

    async def _run(
        self, handshake: Handshake, token: str | None, threads: list[asyncio.Future[Any]] | None
    ) -> Any:
        async with self._app.websocket_context(self._websocket(handshake, token)):
            arguments = (token,) if self._login.takes_token else ()
            asking = self._app.ensure_async(self._login.function)(*arguments)
            if threads is not None:
                threads.append(asyncio.ensure_future(asking))
                asking = asyncio.shield(threads[0])
            said = await asking
            # An object's own __call__ may be a coroutine function, which Quart doesn't see.
            return await said if inspect.isawaitable(said) else said

    def _websocket(self, handshake: Handshake, token: str | None) -> Websocket:
        """Make the handshake's websocket anew, as far as it can be looked at."""
        headers = handshake.headers()
        del headers["Remote-Addr"]  # Quart adds it.
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        scope: Any = {
            **handshake.scope(),
            "type": "websocket",
            "scheme": "wss" if handshake.scheme == "https" else "ws",
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
            ],
            "subprotocols": [],
        }
        opened: Any = self._app.asgi_websocket_class(self._app, scope)
        return cast("Websocket", opened._create_websocket_from_scope(_look_only))

    async def _refuse(self, error: Exception) -> NoReturn:
        """Raise what the client is told of what the function has raised, or what is logged."""
        told = await error_of(error)
        if told is None or isinstance(told, _FOR_NOW):
            raise error
        if told.status in _REFUSALS:
            raise TokenRefused(str(told)) from error
        if told.status == Unavailable.status:
            raise Unavailable(str(told)) from error
        raise RuntimeError(
            f"{describe(self._login.function)} raised {error!r}; to refuse somebody, return None "
            "or raise Unauthorized"
        ) from error


def _checked_id(said: Any) -> str:
    """Return a user's id as text, or raise TypeError where it is none."""
    if said == "" or isinstance(said, bool) or not isinstance(said, (str, int)):
        raise TypeError(
            f"authenticate returned {said!r}: return the user's id as text or a whole number, an "
            "Identity, or None for nobody"
        )
    return str(said)


def _check_end(said: Any) -> None:
    """Raise TypeError or ValueError where *said* is no moment at which a login can end."""
    if said is None:
        return
    wrong = (
        f"authenticate returned an Identity with expires_at={said!r}: write when it ends, in "
        "seconds since the epoch, or None for a login that doesn't end"
    )
    if isinstance(said, bool) or not isinstance(said, (int, float)):
        raise TypeError(wrong)
    if not math.isfinite(said):
        raise ValueError(wrong)


async def _look_only(*_: Any) -> NoReturn:
    raise RuntimeError("authenticate looks at the handshake alone: nothing is sent in it")
