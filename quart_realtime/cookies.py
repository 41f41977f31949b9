"""The cookies of a request that is made for a connection."""

from __future__ import annotations

from werkzeug.datastructures import Headers


def set_cookie(headers: Headers, name: str, value: str | None) -> None:
    """Put a cookie beside the others, in place of one of its name; None takes that away."""
    # HTTP/2 may bring each in a header of its own (RFC 9113, section 8.2.3).
    cookies = "; ".join(headers.getlist("Cookie"))
    if not cookies and value is None:
        return
    others = [
        pair.strip()
        for pair in cookies.split(";")
        if pair.strip() and pair.partition("=")[0].strip() != name
    ]
    if value is not None:
        others.append(f"{name}={value}")
    if others:
        headers["Cookie"] = "; ".join(others)
    else:
        headers.pop("Cookie", None)
