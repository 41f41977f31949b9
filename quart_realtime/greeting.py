"""What reaches a client that is being greeted: only after the greeting, and in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .frames import Frame
from .hub import Entry


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

    def release(self, send: Callable[[Frame], None]) -> None:
        """Let everything through, in the order it came."""
        for item in self._held:
            if isinstance(item, Frame):
                send(item)
            else:
                item.open()
