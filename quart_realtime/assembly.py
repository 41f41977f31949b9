"""Messages that come in parts, measured while they come."""

from __future__ import annotations

SMALL = 64
"""How long parts are on average, at least, but for the first few: each takes room of its own."""
FEW = 32
"""How many parts a message may have in any case."""


class Assembly:
    """The parts of one message, until the last has come.

    Args:
        limit: How many bytes they may have together. Of text, so many characters may come; whoever
            takes the message measures it exactly.
    """

    __slots__ = ("_most", "_parts", "_room")

    def __init__(self, limit: int) -> None:
        self._parts: list[str | bytes] = []
        self._room = limit
        self._most = FEW + limit // SMALL

    def add(self, part: str | bytes) -> bool:
        """Add *part*; False when that makes it too long, or too many."""
        # An empty part counts too: a message of nothing but those would never end.
        self._room -= len(part) or 1
        self._parts.append(part)
        return self._room >= 0 and len(self._parts) <= self._most

    @property
    def count(self) -> int:
        """How many parts have come."""
        return len(self._parts)

    def message(self) -> str | bytes:
        """Return the whole message."""
        empty = self._parts[0][:0]
        return empty.join(self._parts)  # type: ignore[arg-type]
