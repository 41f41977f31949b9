"""The cookies of a request that is made for a connection."""

from __future__ import annotations

from werkzeug.datastructures import Headers


def set_cookie(headers: Headers, name: str, value: str | None) -> None:
    """Put a cookie beside the others, in place of one of its name; None takes that away."""
    cookies = headers.get("Cookie")
    if cookies is None and value is None:
        return
    others = [
        pair.strip()
        for pair in (cookies or "").split(";")
        if pair.strip() and pair.partition("=")[0].strip() != name
    ]
    if value is not None:
        others.append(f"{name}={value}")
    if others:
        headers["Cookie"] = "; ".join(others)
    else:
        headers.pop("Cookie", None)
