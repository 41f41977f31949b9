"""How each kind of peer is spoken to: its handshake, its requests, its small talk."""

from __future__ import annotations

import json
from typing import Protocol

from ..peers.tokens import token

ECHO = "a request of about a hundred bytes, which is what a small one of an app comes to"
"""What every request carries; an answer that holds it is the right one."""

SMALL = 90
"""Frames below this size in bytes are small talk: pings, acknowledgements; events are above."""


class Refused(Exception):
    """A peer said something else than it should have."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f"the peer said {self.text[:300]!r}"


class Dialect(Protocol):
    """One kind of peer."""

    def path(self, rooms: tuple[str, ...]) -> str:
        """Return the path to ask for."""

    def headers(self, number: int) -> list[tuple[str, str]]:
        """Return what socket *number* sends along with its handshake."""

    def greet(self, text: str | None, rooms: tuple[str, ...]) -> str | bool:
        """Go on with the handshake.

        Args:
            text: What came, or None when the websocket has just opened.
            rooms: Which rooms the socket wants to be in.

        Returns:
            What to say; or True when the socket is ready, False to wait.
        """

    def ask(self, number: int) -> bytes:
        """Return a request."""

    def answer_small_talk(self, text: str) -> str | None:
        """Return what to say to a frame that is no event, if anything."""


class Raw:
    """Plain text frames: ready when open, and echoed."""

    def path(self, rooms: tuple[str, ...]) -> str:
        """Name the rooms in the query."""
        return f"/ws?rooms={','.join(rooms)}" if rooms else "/ws"

    def headers(self, number: int) -> list[tuple[str, str]]:
        """Send none."""
        return []

    def greet(self, text: str | None, rooms: tuple[str, ...]) -> str | bool:
        """Be ready at once."""
        return True

    def ask(self, number: int) -> bytes:
        """Return a JSON object."""
        return json.dumps({"text": ECHO, "id": number}).encode()

    def answer_small_talk(self, text: str) -> str | None:
        """Say nothing."""
        return None


class SocketIO:
    """Engine.IO 4 with Socket.IO 5 packets inside, by websocket only."""

    def path(self, rooms: tuple[str, ...]) -> str:
        """Ask for Engine.IO's path, and name the rooms in the query."""
        query = f"&rooms={','.join(rooms)}" if rooms else ""
        return f"/socket.io/?EIO=4&transport=websocket{query}"

    def headers(self, number: int) -> list[tuple[str, str]]:
        """Send none."""
        return []

    def greet(self, text: str | None, rooms: tuple[str, ...]) -> str | bool:
        """Connect to the default namespace when Engine.IO is open."""
        if text is None:
            return False
        if text.startswith("0"):
            return "40"
        if text.startswith("40"):
            return True
        raise Refused(text)

    def ask(self, number: int) -> bytes:
        """Return an event that wants an acknowledgement."""
        return f"42{number}{json.dumps(['echo', {'text': ECHO}])}".encode()

    def answer_small_talk(self, text: str) -> str | None:
        """Answer Engine.IO's pings."""
        return "3" if text == "2" else None


class Ours:
    """Quart-Realtime's protocol, with a token as a browser sends it."""

    def __init__(self, users: int) -> None:
        self._tokens = [token(f"user-{number}") for number in range(users)]

    def path(self, rooms: tuple[str, ...]) -> str:
        """Ask for the default path."""
        return "/ws"

    def headers(self, number: int) -> list[tuple[str, str]]:
        """Offer the subprotocol, and a token of a user's own beside it."""
        return [("Sec-WebSocket-Protocol", f"realtime.v1, bearer.{self._tokens[number]}")]

    def greet(self, text: str | None, rooms: tuple[str, ...]) -> str | bool:
        """Be ready when logged in and subscribed."""
        if text is None:
            return False
        frame = json.loads(text)
        if frame["type"] == "connected" and rooms:
            return self.subscribe(rooms)
        if frame["type"] == "connected":
            return True
        if frame["type"] == "response" and "epoch" in frame["payload"]["rooms"][0]:
            return True
        raise Refused(text)

    @staticmethod
    def subscribe(rooms: tuple[str, ...]) -> str:
        """Return what asks to hear *rooms*."""
        return json.dumps({"type": "subscribe", "id": "s", "payload": {"rooms": rooms}})

    def ask(self, number: int) -> bytes:
        """Return a request to the native handler."""
        payload = {"action": "echo", "text": ECHO}
        request = {"type": "request", "id": str(number), "resource": "bench", "payload": payload}
        return json.dumps(request).encode()

    def answer_small_talk(self, text: str) -> str | None:
        """Say nothing: a client needn't answer pings."""
        return None


def dialect(name: str, users: int) -> Dialect:
    """Return the dialect of that name, good for so many users."""
    if name == "ours":
        return Ours(users)
    return SocketIO() if name == "socketio" else Raw()
