"""Counting the events that many sockets receive, as cheaply as Python can.

picows opens the sockets and is then told to stop reading; from there on this module reads them by
``epoll``, without an event loop and without taking frames apart. A server's frame isn't masked, and
one that carries 126 to 65 535 bytes of text begins with the bytes 81 7E. JSON in ASCII holds no
byte above 7F, and the length that follows the two is never followed by 7E (``~``), so these two
bytes occur once a frame: counting them counts events, at C's speed, and exactly.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Sequence

from .dialects import Dialect
from .sockets import Socket

MARK = b"\x81\x7e"
BUFFER = 1 << 18
SHORTEST = 130
"""The size in bytes of the smallest frame that begins with the mark."""
SLOWEST = 0.2
"""How many seconds pass at most between two looks at the clock."""


class Counters:
    """Many open sockets, and how many events each has received.

    Args:
        speech: How to answer small talk.
        wait: For how many seconds to sleep where there is nothing to read. With 0 it never sleeps:
            a server then never has to wake it up, which on a virtual machine costs the server more
            than the write. That needs a core of its own.
    """

    def __init__(self, speech: Dialect, wait: float = SLOWEST) -> None:
        self._speech = speech
        self._wait = wait
        self._epoll = select.epoll()
        self._receive: dict[int, Callable[[bytearray], int]] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._cut: set[int] = set()
        self._buffer = bytearray(BUFFER)
        self.got: dict[int, int] = {}
        self.count = 0
        self.closed = 0
        self.idle = 0.0

    def add(self, opened: Sequence[Socket]) -> None:
        """Take *opened* over from the event loop."""
        for each in opened:
            transport = each.transport.underlying_transport
            transport.pause_reading()
            # The file stays the transport's: close() lets go of it, and picows closes it.
            own = socket.socket(fileno=transport.get_extra_info("socket").fileno())
            number = own.fileno()
            self._sockets[number] = own
            self._receive[number] = own.recv_into
            self.got[number] = 0
            self._epoll.register(number, select.EPOLLIN)

    def read_until(self, goal: int, stalled: float) -> float:
        """Read until so many events have come in all, or none for *stalled* seconds.

        Returns:
            When the last one came, by ``time.perf_counter``.
        """
        poll, receive, buffer, got = self._epoll.poll, self._receive, self._buffer, self.got
        cut, wait = self._cut, self._wait
        count = self.count
        clock = time.perf_counter
        last = clock()
        waited = bool(wait)
        while count < goal:
            ready = poll(wait)
            if not ready:
                if clock() - last > stalled:
                    break
                waited = True
                continue
            if waited:
                self.idle += clock() - last
                waited = bool(wait)
            for number, _ in ready:
                size = receive[number](buffer)
                found = buffer.count(MARK, 0, size)
                if number in cut:
                    cut.discard(number)
                    found += buffer[0] == 0x7E
                if size < SHORTEST:
                    self._small(number, size)
                elif buffer[size - 1] == 0x81:
                    cut.add(number)
                got[number] += found
                count += found
            last = clock()
        self.count = count
        return last

    def close(self) -> None:
        """Let go of the sockets."""
        self._epoll.close()
        for each in self._sockets.values():
            each.detach()

    def _small(self, number: int, size: int) -> None:
        """Take what is too small to be an event: the end, a ping, or small talk."""
        data = bytes(self._buffer[:size])
        if not data or data[0] == 0x88:
            self.closed += 1
            self._epoll.unregister(number)
        elif data[0] == 0x89:
            self._sockets[number].send(bytes((0x8A, 0x80 | size - 2, 0, 0, 0, 0)) + data[2:])
        elif data[0] == 0x81:
            answer = self._speech.answer_small_talk(data[2:].decode(errors="replace"))
            if answer is not None:
                text = answer.encode()
                self._sockets[number].send(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)
