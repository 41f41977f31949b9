"""Who a client is, and what tells it: the seam between connections and an app's way to log in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from attrs import field, frozen
from quart.wrappers import Request, Websocket
from werkzeug.datastructures import Headers

from .handshake import Brought, Handshake
from .settings import Settings

ANY_ORIGIN = (
    'QUART_REALTIME_ALLOWED_ORIGINS is "*", and {cookies}: any page that a user looks at could act '
    'as that user. List the origins that may, such as ["https://app.example.com"], or {instead}.'
)
"""What is wrong where cookies may say who somebody is, whatever page sends them."""


@frozen
class Identity:
    """Who a client is.

    Args:
        user_id: The user's id; several connections may have the same.
        claims: What else the app says of the user, as ``current_connection.claims``.
        expires_at: Until when that holds, in seconds since the epoch; None for as long as the
            connection lives.
        token: The token that was shown, where one was; Quart-Realtime fills it in.
    """

    user_id: str
    claims: dict[str, Any] = field(factory=dict)
    expires_at: float | None = None
    token: str | None = field(default=None, repr=False, kw_only=True)

    def remaining(self) -> float | None:
        """Return for how many seconds from now it holds, None for ever."""
        return None if self.expires_at is None else self.expires_at - time.time()


class Authenticator(Protocol):
    """Tells who the clients of one app are, and speaks for them to its routes."""

    def check_setup(self, settings: Settings) -> None:
        """Raise SetupError where the app lacks what this needs."""

    def token_header(self) -> str:
        """Return the name of the header that a request may show a token in."""

    def read(self, opened: Websocket | Request) -> Brought:
        """Return what a handshake brings to log in by, or a request in place of one."""

    async def check(self, handshake: Handshake, token: str | None) -> Identity | None:
        """Return who shows *token*, or None where nobody has said who it is yet.

        Raises:
            TokenRefused: nobody who may come in; the error says why.
        """

    async def check_again(self, handshake: Handshake, identity: Identity) -> Identity:
        """Return *identity* as it is now.

        Raises:
            TokenRefused: it counts no longer.
        """

    def can_be_revoked(self) -> bool:
        """Whether who was let in may have to be looked at again, at pings and rechecks."""

    def is_asked_each_time(self) -> bool:
        """Whether that is so before each request and each room, too."""

    def carry(
        self,
        identity: Identity | None,
        method: str,
        headers: Headers,
        query: list[tuple[str, str]],
    ) -> dict[str, str]:
        """Have a request to a route, in this context, be *identity*'s.

        Args:
            identity: Whose request it is, None before login.
            method: Its HTTP method.
            headers: Its headers; changed in place.
            query: Its query arguments; changed in place.

        Returns:
            What is to be added to a JSON body.
        """

    def log_in(self, identity: Identity | None) -> None:
        """Have *identity* be known to handlers without a route in this app context."""

    async def issue(self, user_id: Any, claims: Mapping[str, Any] | None = None) -> str:
        """Make a token for a test, by which its bearer is *user_id*."""
