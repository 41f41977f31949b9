"""A message that comes by itself, over HTTP, from a client whose stream only brings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from . import protocol
from .connection import Connection
from .errors import BadRequest, InternalError, RealtimeError, Unauthorized
from .frames import Frame
from .handshake import Handshake
from .inbox import Inbox, Refusal
from .models import to_builtins
from .protocol import CloseCode, Message, Ping, Request, State, Subscribe, Unsubscribe
from .services import Services
from .transport import PATIENCE, Take

logger = logging.getLogger("quart_realtime")

CONNECTION_HEADER = "X-Realtime-Connection"
"""Names the connection that a request over HTTP belongs to."""


class _OneAnswer:
    """Has the first frame that a connection sends, and nothing of those after it."""

    pending = 0

    def __init__(self) -> None:
        self.answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

    def is_stalled(self) -> bool:
        """Tell that nothing waits."""
        return False

    async def accept(self, subprotocol: str | None) -> bool:
        """Agree."""
        return True

    async def serve(self, take: Take, first: Awaitable[None] | None = None) -> int:
        """Refuse: a visit is asked once, and isn't run."""
        raise NotImplementedError

    def send(self, frame: Frame, *, last: bool = False) -> bool:
        """Take *frame* for the answer, if it is the first."""
        if not self.answer.done():
            self.answer.set_result(frame)
        return True

    async def close(self, code: int, reason: str, patience: float = PATIENCE) -> None:
        """Do nothing: there is nothing open."""

    def abort(self) -> None:
        """Do nothing: there is nothing open."""


class Visit(Connection):
    """A connection for the length of one request.

    It is in no room, and its ``state`` ends with it. What the app does to it, ``join``, ``leave``,
    ``send`` and ``close``, it does to the stream that the request belongs to, in whichever process
    that is.

    Args:
        services: The app's.
        handshake: The request.
        stream_id: The id of the stream that it belongs to, None where it names none.

    """

    __slots__ = ("_answer_of", "_names_stream", "_stream_id")

    def __init__(self, services: Services, handshake: Handshake, stream_id: str | None) -> None:
        self._answer_of = _OneAnswer()
        super().__init__(services, self._answer_of, handshake)
        self._stream_id = stream_id
        self._names_stream = stream_id is not None

    @property
    def cause(self) -> str:
        """The stream that the request belongs to, or else the request itself."""
        return self._stream_id or self.id

    async def ask(self, text: str) -> Frame | None:
        """Have one message answered.

        Returns:
            The answer; None where the stream answers it.

        Raises:
            TokenRefused: the request's token isn't good.
            BadRequest: a message of that type makes no sense here.
            BrokerUnavailable: the stream could not be told.
        """
        await self._log_in_at_once()
        if self._services.tap is not None:
            self._services.tap.received(self, text)
        # By whom it is, and not by the stream's id, which anybody may make up.
        counted = f"visits\0{self.who}"
        self._inbox = Inbox(counted, self._services.limiter, self._settings.max_message_size)
        try:
            # Who isn't logged in is refused where it goes: no auth message can follow here.
            message = self._inbox.read(text, State.OPEN)
        except Refusal as refusal:
            self._refuse(refusal)
        else:
            if not isinstance(message, Request):
                await self._pass_on(message, text)
                return None
            self._offer(message)
        return await self._answer_of.answer

    async def _log_in_at_once(self) -> None:
        try:
            if self.handshake.asks:
                token = self.handshake.token
                self.identity = await self._services.authenticate(self.handshake, token)
        except RealtimeError as error:
            self._services.telemetry.refused(self, "login", error)
            raise
        except Exception:
            logger.exception("logging in for a message failed")
            raise InternalError("logging in failed") from None
        owner = None if self._stream_id is None else self._services.hub.owner(self._stream_id)
        if self.identity is None or owner not in (None, self.user_id):
            # Anybody may write any id; with somebody else's there is nothing to be done.
            self._stream_id = None
        elif owner is not None and self._stream_id is not None:
            self.id = self._stream_id
        if self.identity is not None:
            self._phase = State.OPEN

    async def _pass_on(self, message: Message | None, text: str) -> None:
        """Have the stream take what is about itself."""
        if not isinstance(message, (Subscribe, Unsubscribe, Ping)):
            raise BadRequest("post a request, a subscribe, an unsubscribe or a ping")
        if self.identity is None:
            error = Unauthorized("show the token that the stream was opened with")
            self._services.telemetry.refused(self, "message", error)
            raise error
        if not self._names_stream:
            raise BadRequest(f"name the stream that it is about, in {CONNECTION_HEADER}")
        await self._reach(do="hear", text=text)

    async def _reach(self, **command: Any) -> None:
        if self.user_id is not None and self._stream_id is not None:
            await self._services.hub.reach(self._stream_id, user_id=self.user_id, **command)

    # What the app may do with it

    async def join(self, room: str) -> None:
        """Put the stream into *room* on the app's own word."""
        if not protocol.is_room_name(room):
            raise BadRequest(f"{room!r} can't name a room: write 1 to 256 printable characters")
        await self._reach(do="join", room=room)

    async def leave(self, room: str) -> None:
        """Take the stream out of *room*."""
        await self._reach(do="leave", room=room)

    async def send(self, event: str, data: Any) -> None:
        """Send an event to the stream alone."""
        protocol.check_event_name(event)
        await self._reach(do="send", event=event, data=to_builtins(data))

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the stream."""
        protocol.check_close_code(code)
        await self._reach(do="close", code=int(code), reason=reason)
