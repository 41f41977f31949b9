"""One open page of the inspector: what it is told, as fast as it takes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec

from .errors import Forbidden, TokenRefused
from .frames import Frame
from .inspector import Inspector, View, Wish
from .models import dump
from .protocol import CloseCode, code_for_turning_away
from .transport import Incoming, Transport

logger = logging.getLogger("quart_realtime")

FRAMES_EVERY = 0.25
"""Every how many seconds a page is told what went by."""
STATE_EVERY = 1.0
"""Every how many seconds it is told what there is."""
CHECK_EVERY = 10.0
"""Every how many seconds it is asked whether it may go on looking, and takes what it is told."""
AHEAD = 1 << 16
"""With how many bytes waiting for it a page is told nothing more."""
_INTERNAL_ERROR = 1011

_wishes = msgspec.json.Decoder(Wish)


class Looker:
    """A page that looks, from its websocket's handshake to the end.

    The page sends its whole :class:`~quart_realtime.inspector.Wish` whenever that changes. It is
    told objects, with what there is of ``about``, ``samples``, ``state``, ``frames``, ``dropped``.

    Args:
        inspector: What is looked at.
        transport: The page's socket.
        subprotocol: What its handshake is answered with.
        about: What the page is told first of all.
        check: Returns for how many seconds the page's token counts from now on, None for ever;
            raises TokenRefused or Forbidden where it counts no longer.
        draining: Tells whether the server takes no more connections, and is rid of those there are.
        seconds: For how long its token counts at first; None for ever.
    """

    def __init__(
        self,
        inspector: Inspector,
        transport: Transport,
        subprotocol: str | None,
        about: dict[str, Any],
        check: Callable[[], Awaitable[float | None]],
        draining: Callable[[], bool],
        seconds: float | None,
    ) -> None:
        self._inspector = inspector
        self._transport = transport
        self._subprotocol = subprotocol
        self._about = about
        self._check = check
        self._draining = draining
        self._until = _ahead(seconds)
        self._view = View()
        self._asked = asyncio.Event()
        self._told_samples = 0.0

    async def run(self) -> None:
        """Tell the page what goes on until it leaves, or may no longer look."""
        if not await self._transport.accept(self._subprotocol):
            return
        self._inspector.begin(self._view)
        telling = asyncio.get_running_loop().create_task(self._tell_until_the_end())
        try:
            await self._transport.serve(self._take)
        finally:
            telling.cancel()
            self._inspector.end(self._view)
            self._transport.abort()

    async def close(self, code: int, reason: str) -> None:
        """Close the page's socket."""
        await self._transport.close(code, reason)

    def _take(self, incoming: Incoming) -> Awaitable[None] | None:
        """Take the page's wish; whatever else comes in ends it."""
        if not isinstance(incoming, (str, bytes)):
            return None
        try:
            self._view.wish = _wishes.decode(incoming)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return self.close(CloseCode.PROTOCOL_ERROR, "that is no wish")
        self._asked.set()
        return None

    async def _tell_until_the_end(self) -> None:
        try:
            await self.close(*await self._tell())
        except Exception:
            logger.exception("telling a page of the inspector failed")
            await self.close(_INTERNAL_ERROR, "telling failed")

    async def _tell(self) -> tuple[int, str]:
        """Tell the page what goes on; return why it is to end."""
        loop = asyncio.get_running_loop()
        self._send({"about": self._about})
        next_state = 0.0
        next_check = loop.time() + CHECK_EVERY
        while True:
            now = loop.time()
            if self._draining():
                return CloseCode.RESTART, "the server is stopping"
            if self._until is not None and now >= self._until:
                return CloseCode.TOKEN_EXPIRED, "the token has expired"
            if now >= next_check:
                next_check = now + CHECK_EVERY
                if self._transport.is_stalled():
                    return CloseCode.SLOW_CONSUMER, "too much was waiting"
                refused = await self._look_again()
                if refused is not None:
                    return refused
            wants_state = now >= next_state or self._asked.is_set()
            self._asked.clear()
            if self._transport.pending <= AHEAD:
                self._tell_news(state=wants_state)
                next_state = now + STATE_EVERY if wants_state else next_state
            with suppress(TimeoutError):
                async with asyncio.timeout(FRAMES_EVERY):
                    await self._asked.wait()

    async def _look_again(self) -> tuple[int, str] | None:
        """Return why the page may look no longer; None where it may, or nobody knows."""
        try:
            self._until = _ahead(await self._check())
        except TokenRefused as error:
            return code_for_turning_away(error), str(error)
        except Forbidden as error:
            return CloseCode.UNAUTHORIZED, str(error)
        except Exception:
            # Not knowing is no reason to throw somebody out; the next check will tell.
            logger.exception("looking at the token of a page of the inspector again failed")
        return None

    def _tell_news(self, *, state: bool) -> None:
        news: dict[str, Any] = {}
        frames, dropped = self._view.take()
        if frames or dropped:
            news |= {"frames": frames, "dropped": dropped}
        if state:
            news["state"] = self._inspector.state(self._view.wish)
        samples = self._inspector.samples(self._told_samples)
        if samples:
            news["samples"] = samples
        if not news:
            return
        if not self._send(news):
            self._view.lose(len(frames) + dropped)
        elif samples:
            self._told_samples = samples[-1]["at"]

    def _send(self, told: dict[str, Any]) -> bool:
        return self._transport.send(Frame(dump(told)))


def _ahead(seconds: float | None) -> float | None:
    """Return when so many seconds will have passed, by the clock of the loop; None for never."""
    return None if seconds is None else asyncio.get_running_loop().time() + seconds
