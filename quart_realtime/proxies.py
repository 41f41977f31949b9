"""Who asks, where proxies stand between: their word counts only where they are trusted."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
SUBNET = 64
"""How many bits of an IPv6 address tell one site from another (RFC 6177): the rest is its own."""


def parse_network(text: object) -> Network:
    """Read an address, or a network such as ``"10.0.0.0/8"``.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no address")
    return ip_network(text)


def see_through(scope: dict[str, Any], trusted: Iterable[Network]) -> None:
    """Have *scope* tell of whoever asked the outermost of the proxies that are trusted.

    ``X-Forwarded-For`` is read from its end, where the nearest proxy has written, for as long as
    the writer is trusted; what stands before that anybody may have made up. Scheme and host are
    what the nearest proxy says.

    Args:
        scope: The ASGI scope of a websocket or a request; changed in place.
        trusted: Where the proxies are.
    """
    networks = tuple(trusted)
    client = scope.get("client")
    if not client or not _is_in(_address(client[0]), networks):
        return
    address, port = client[0], client[1]
    for said in reversed(_values(scope, b"x-forwarded-for")):
        found = _address(said)
        if found is None:
            break
        address, port = str(found), 0
        if not _is_in(found, networks):
            break
    scope["client"] = (address, port)
    scheme = _values(scope, b"x-forwarded-proto")[-1:]
    if scheme and scheme[0] in {"http", "https", "ws", "wss"}:
        plain = "http" if scope.get("type") == "http" else "ws"
        scope["scheme"] = f"{plain}s" if scheme[0] in {"https", "wss"} else plain
    host = _values(scope, b"x-forwarded-host")[-1:]
    if host:
        scope["headers"] = [
            *((name, value) for name, value in scope["headers"] if name.lower() != b"host"),
            (b"host", host[0].encode("latin-1")),
        ]


def site_of(address: str) -> str | None:
    """Return what is counted as one: an IPv4 address, or the IPv6 network around one.

    None where it is no address, as of whoever came through a Unix socket.
    """
    found = _address(address)
    if isinstance(found, IPv6Address):
        return str(ip_network((found, SUBNET), strict=False))
    return None if found is None else str(found)


def _values(scope: dict[str, Any], header: bytes) -> list[str]:
    said = [value for name, value in scope["headers"] if name.lower() == header]
    return [part.strip() for value in said for part in value.decode("latin-1").split(",")]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address as proxies write it, some with a port; None where it is none."""
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        found = ip_address(bare)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def _is_in(address: IPv4Address | IPv6Address | None, networks: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in networks)
