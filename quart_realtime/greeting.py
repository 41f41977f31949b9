"""What reaches a client that is being greeted: only after the greeting, and in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .frames import Frame, connected_frame
from .identity import Identity
from .members import Entry
from .settings import Settings


class Greeting:
    """Holds back rooms joined and frames sent while a client is greeted."""

    def __init__(self) -> None:
        self.places: list[dict[str, Any]] = []
        self._held: list[Frame | Entry] = []

    def joined(self, place: dict[str, Any], entry: Entry) -> None:
        """Have the greeting tell of a room, and what happens in it follow."""
        self.places.append(place)
        self._held.append(entry)

    def hold(self, frame: Frame) -> None:
        """Keep *frame* for afterwards."""
        self._held.append(frame)

    def welcome(self, connection_id: str, identity: Identity, settings: Settings) -> Frame:
        """Return what the client is told first."""
        return connected_frame(
            {
                "connection_id": connection_id,
                "user_id": identity.user_id,
                "ping_interval": settings.ping_interval,
                "idle_timeout": settings.idle_timeout,
                "max_message_size": settings.max_message_size,
                "expires_at": identity.expires_at,
                "rooms": self.places,
            }
        )

    def release(self, send: Callable[[Frame], None]) -> None:
        """Let everything through, in the order it came."""
        for item in self._held:
            if isinstance(item, Frame):
                send(item)
            else:
                item.open()
