"""The generator's end of the control socket; see `bench.peers.control`."""

from __future__ import annotations

import socket


class Remote:
    """Tells the server whose control socket is at *path* what to publish."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(path)

    def publish(self, room: str, count: int, first: int = 0) -> None:
        """Have *count* events published, back to back, numbered from *first* on."""
        self._socket.sendall(f"publish {room} {count} {first}\n".encode())

    def offer(self, room: str, number: int) -> bool:
        """Have the event of that number published; False where that would have to be waited for."""
        line = f"publish {room} 1 {number}\n".encode()
        try:
            sent = self._socket.send(line, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        if sent < len(line):
            self._socket.sendall(line[sent:])
        return True

    def finish(self) -> None:
        """Wait until all that was to be published has been."""
        self._socket.sendall(b"finish\n")
        self._socket.recv(64)

    def collect(self) -> None:
        """Have garbage collected."""
        self._socket.sendall(b"collect\n")
        self._socket.recv(64)

    def lag(self) -> float:
        """Return for how many microseconds the server's event loop was held up since asked last."""
        self._socket.sendall(b"lag\n")
        return float(self._socket.recv(64))

    def close(self) -> None:
        """Let go."""
        self._socket.close()
