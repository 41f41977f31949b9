"""Which rooms a handshake asks for, at those peers that have no protocol of their own for it."""

from __future__ import annotations

from urllib.parse import parse_qs

DEFAULT = "bench"


def rooms_of(query: str) -> list[str]:
    """Return the rooms that a query such as ``rooms=a,b`` names; without any it is one."""
    return parse_qs(query).get("rooms", [DEFAULT])[0].split(",")
