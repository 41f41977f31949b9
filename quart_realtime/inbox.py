"""What one client sends, read, and refused where it is too large, too much or no message."""

from __future__ import annotations

from .errors import RateLimited, RealtimeError, Unauthorized
from .limits import MessageLimiter
from .protocol import TRANSITIONS, CloseCode, MalformedFrame, Message, State, decode
from .transport import Incoming, Signal

MALFORMED_FRAMES = 10
"""How many malformed messages a connection may send on end."""


class Refusal(Exception):
    """A message is refused: its sender is told, and perhaps sent away.

    Args:
        error: What the client is told, None where the close says it.
        frame_id: The message's id, where it has one.
        code: What to close with, None to go on.
        reason: The close's reason.
    """

    def __init__(
        self,
        error: RealtimeError | None = None,
        frame_id: str | None = None,
        code: CloseCode | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(error, frame_id, code, reason)
        self.error = error
        self.frame_id = frame_id
        self.code = code
        self.reason = reason


class Inbox:
    """Reads the messages of one connection, and counts what is wrong with them.

    Args:
        connection_id: Whose messages.
        limiter: Counts them.
        max_size: How many bytes one may have.
    """

    __slots__ = ("_connection_id", "_limiter", "_malformed", "_max_size")

    def __init__(self, connection_id: str, limiter: MessageLimiter, max_size: int) -> None:
        self._connection_id = connection_id
        self._limiter = limiter
        self._max_size = max_size
        self._malformed = 0

    def read(self, incoming: Incoming, phase: State) -> Message | None:
        """Return the message that came in, for a connection in *phase*; None where it is none.

        Raises:
            Refusal: it isn't to be acted upon.
        """
        if isinstance(incoming, bytes):
            reason = "send text frames, not binary ones"
            raise Refusal(code=CloseCode.PROTOCOL_ERROR, reason=reason)
        if incoming is Signal.TOO_BIG or _is_longer(incoming, self._max_size):
            reason = f"at most {self._max_size} bytes a message"
            raise Refusal(code=CloseCode.MESSAGE_TOO_BIG, reason=reason)
        try:
            self._limiter.check(self._connection_id)
        except RateLimited as error:
            raise self.limited(id_of(incoming), error) from None
        if incoming is Signal.CONTROL:
            return None
        try:
            message = decode(incoming)
        except MalformedFrame as error:
            raise self._count_malformed(error) from None
        self._malformed = 0
        if type(message) not in TRANSITIONS[phase]:
            raise Refusal(Unauthorized(), message.id)
        return message

    def limited(self, frame_id: str | None, error: RateLimited) -> Refusal:
        """Return the refusal of a message over a limit; who goes on is sent away."""
        if self._limiter.strike(self._connection_id):
            return Refusal(error, frame_id)
        return Refusal(error, frame_id, CloseCode.RATE_LIMITED, "too many messages")

    def _count_malformed(self, error: MalformedFrame) -> Refusal:
        self._malformed += 1
        if self._malformed < MALFORMED_FRAMES:
            return Refusal(error, error.id)
        reason = "too many malformed messages"
        return Refusal(error, error.id, CloseCode.PROTOCOL_ERROR, reason)


def id_of(incoming: str | Signal) -> str | None:
    """Return the id that a message is to be answered under, as far as it can be read."""
    if not isinstance(incoming, str):
        return None
    try:
        return decode(incoming).id
    except MalformedFrame as error:
        return error.id


def _is_longer(text: str | Signal, limit: int) -> bool:
    """Tell whether *text* is over *limit* bytes, without encoding it where that is plain."""
    if not isinstance(text, str):
        return False
    if len(text) > limit:
        return True
    return 4 * len(text) > limit and len(text.encode(errors="surrogatepass")) > limit
