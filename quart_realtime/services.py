"""What a connection asks of the app it belongs to."""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import Context
from typing import Any, Protocol

from .admission import Admission
from .frames import Answer, Frame
from .handshake import Handshake
from .hub import Hub
from .identity import Identity
from .limits import MessageLimiter, Running
from .protocol import Request
from .settings import Settings
from .subscriptions import RoomRules
from .telemetry import Telemetry
from .transport import Incoming
from .wheel import TimerWheel


class Tap(Protocol):
    """Whoever looks at what single connections are sent, and what they send."""

    def received(self, connection: Any, incoming: Incoming) -> None:
        """Look at what the client of *connection* has sent, before it is read."""

    def sent(self, connection: Any, frame: Frame) -> None:
        """Look at *frame*, which is for *connection* alone."""


class Services(RoomRules, Protocol):
    """What a connection needs of the app it belongs to."""

    settings: Settings
    hub: Hub
    limiter: MessageLimiter
    admission: Admission
    running: Running
    telemetry: Telemetry
    wheel: TimerWheel
    draining: bool
    tap: Tap | None

    async def authenticate(self, handshake: Handshake, token: str | None) -> Identity | None:
        """Return who shows *token*, None for nobody yet, or raise TokenRefused."""

    async def check_again(self, handshake: Handshake, identity: Identity) -> Identity:
        """Return *identity* as it is now, or raise TokenRefused where it counts no longer."""

    async def count(self, connection: Any) -> None:
        """Raise RateLimited where its user asks for too much."""

    async def answer(self, connection: Any, request: Request) -> Answer:
        """Have *request* answered; whatever else goes wrong is an answer too.

        Raises:
            RateLimited: it isn't run, its user having asked for too much.
        """

    async def greet(self, connection: Any) -> None:
        """Run the ``on_connect`` hooks; a RealtimeError of theirs turns the connection away."""

    async def farewell(self, connection: Any, code: int) -> None:
        """Run the ``on_disconnect`` hooks."""

    def token_may_be_revoked(self) -> bool:
        """Whether tokens that were good are to be looked at again."""

    def gone(self, connection: Any) -> None:
        """Let go of *connection*, which has ended."""

    def spawn(self, work: Coroutine[Any, Any, None], context: Context | None = None) -> None:
        """Run *work* in a task that the app owns, so that it outlives the connection."""
