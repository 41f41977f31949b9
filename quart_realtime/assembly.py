"""Messages that come in parts, measured while they come."""

from __future__ import annotations


class Assembly:
    """The parts of one message, until the last has come.

    Args:
        limit: How many bytes they may have together. Of text, so many characters may come; whoever
            takes the message measures it exactly.
    """

    __slots__ = ("_parts", "_room")

    def __init__(self, limit: int) -> None:
        self._parts: list[str | bytes] = []
        self._room = limit

    def add(self, part: str | bytes) -> bool:
        """Add *part*; False when that makes it too long."""
        # An empty part counts too: a message of nothing but those would never end.
        self._room -= len(part) or 1
        self._parts.append(part)
        return self._room >= 0

    def message(self) -> str | bytes:
        """Return the whole message."""
        empty = self._parts[0][:0]
        return empty.join(self._parts)  # type: ignore[arg-type]
