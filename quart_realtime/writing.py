"""The writing half of an asyncio protocol: one write for all that a socket is owed in a turn."""

from __future__ import annotations

import asyncio
import socket

from .turns import Flusher

CHUNK = 65_536
"""How many bytes are joined for one write."""


class BatchingProtocol(asyncio.Protocol):
    """Keeps what its socket is owed until the turn of the event loop is over, and then writes.

    While the kernel takes no more it goes on to keep, without copying: what many sockets are sent
    is the same bytes for all.

    Args:
        transport: The socket's, which has been given this as its protocol or will be.
        flusher: Calls :meth:`flush` when the turn is over.
    """

    __slots__ = (
        "_flusher",
        "_held_back",
        "_owed",
        "_queued",
        "_socket",
        "_stuck",
        "_transport",
        "_written",
    )

    def __init__(self, transport: asyncio.Transport, flusher: Flusher) -> None:
        self._transport = transport
        self._flusher = flusher
        self._socket = _plain_socket(transport)
        self._owed: bytes | list[bytes] | None = None
        self._queued = 0
        self._stuck = False
        self._held_back = 0
        self._written: asyncio.Future[None] | None = None

    @property
    def pending(self) -> int:
        """How many bytes wait to be written."""
        return self._queued + (self._transport.get_write_buffer_size() if self._stuck else 0)

    def watch_buffer(self) -> None:
        """Have the transport say at once when the kernel takes no more."""
        # TLS takes a limit of 0 for one that is always passed.
        self._transport.set_write_buffer_limits(high=0 if self._socket else 1, low=0)

    def is_stalled(self) -> bool:
        """Tell whether something waits, and nothing has been written since this was last asked."""
        before, self._held_back = self._held_back, 0
        if self._stuck:
            self._held_back = self._transport.get_write_buffer_size()
        # What is owed waits here meanwhile: more in the transport is the server's own, its pings.
        return 0 < before <= self._held_back

    def owe(self, wire: bytes) -> None:
        """Have *wire* written after all that was owed before."""
        owed = self._owed
        if owed is None:
            self._owed = wire
            if not self._stuck:
                self._flusher.add(self)
        elif isinstance(owed, list):
            owed.append(wire)
        else:
            self._owed = [owed, wire]
        self._queued += len(wire)

    def flush(self) -> None:
        """Write what is owed, until the kernel takes no more."""
        owed = self._owed
        if not self._stuck and owed is not None:
            if isinstance(owed, bytes):
                self._owed = None
                self._queued = 0
                self._write(owed)
            else:
                self._write_many(owed)
        if self._written is not None and self._owed is None and not self._stuck:
            self._tell_written()

    def _write_many(self, owed: list[bytes]) -> None:
        start = 0
        while start < len(owed) and not self._stuck:
            end, size = start, 0
            while end < len(owed) and (end == start or size + len(owed[end]) <= CHUNK):
                size += len(owed[end])
                end += 1
            data = b"".join(owed[start:end])
            start = end
            self._queued -= size
            self._write(data)
        self._owed = owed[start:] or None

    def _write(self, data: bytes) -> None:
        """Write *data*; past the transport while it holds nothing back, which costs half."""
        if self._socket is not None:
            try:
                sent = self._socket.send(data)
            except OSError:
                sent = 0  # The transport finds out for itself, and knows what to do about it.
            if sent == len(data):
                return
            data = data[sent:]
        self._transport.write(data)

    async def written(self, patience: float) -> bool:
        """Wait until all has been written, *patience* seconds at most; False if it hasn't."""
        if self._owed is not None or self._stuck:
            if self._written is None or self._written.done():
                self._written = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._written], timeout=patience)
        return self._owed is None and not self._stuck

    def drop(self) -> None:
        """Forget what is owed."""
        self._owed = None
        self._queued = 0
        self._tell_written()

    def _tell_written(self) -> None:
        if self._written is not None and not self._written.done():
            self._written.set_result(None)

    def pause_writing(self) -> None:
        """Keep what comes from now on: the kernel takes no more."""
        self._stuck = True

    def resume_writing(self) -> None:
        """Go on writing."""
        self._stuck = False
        self._held_back = 0
        self.flush()


def _plain_socket(transport: asyncio.Transport) -> socket.socket | None:
    """Return the socket under *transport*, None where more lies between them than a buffer."""
    if type(transport).__qualname__ != "_SelectorSocketTransport":
        return None
    under = getattr(transport.get_extra_info("socket"), "_sock", None)
    return under if isinstance(under, socket.socket) else None
