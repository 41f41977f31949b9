"""``QUART_REALTIME_BROKER_URL``, taken apart; what is behind it isn't known here."""

from __future__ import annotations

import re
from enum import Enum

from attrs import field, frozen

DEFAULT_PREFIX = "quart_realtime"
DEFAULT_PORTS = {"single": 6379, "cluster": 6379, "sentinel": 26379}
EXPECTED = (
    '"memory://", "redis://host:6379/0", "rediss://…" with TLS, "unix:///path/to/redis.sock", '
    '"redis+sentinel://host:26379,host:26379/master/0" or "redis+cluster://host:6379,host:6379"'
)


class Kind(Enum):
    """What is behind a URL."""

    MEMORY = "memory"
    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


SCHEMES = {
    "memory": (Kind.MEMORY, ""),
    "redis": (Kind.SINGLE, "redis"),
    "rediss": (Kind.SINGLE, "rediss"),
    "unix": (Kind.SINGLE, "unix"),
    "redis+sentinel": (Kind.SENTINEL, "redis"),
    "rediss+sentinel": (Kind.SENTINEL, "rediss"),
    "redis+cluster": (Kind.CLUSTER, "redis"),
    "rediss+cluster": (Kind.CLUSTER, "rediss"),
}
_URL = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<user>[^/?#]*)@)?(?P<hosts>[^/?#@]*)(?P<path>/[^?#]*)?"
    r"(?:\?(?P<query>[^#]*))?"
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_NUMBER = re.compile(r"[0-9]{1,9}")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}")


@frozen
class BrokerUrl:
    """Where a broker is.

    Args:
        kind: What is there.
        servers: A URL for each server, as redis-py takes it; for Sentinel those of the master,
            with each sentinel's host and port. They may hold a password.
        service: Sentinel's name for the master.
        prefix: What all names in there begin with.
        sentinel: The query's options that begin with ``sentinel_``, as a query without that.
    """

    kind: Kind
    servers: tuple[str, ...] = field(default=(), repr=False)
    service: str = ""
    prefix: str = DEFAULT_PREFIX
    sentinel: str = field(default="", repr=False)


def parse_broker_url(url: object) -> BrokerUrl:
    """Take *url* apart.

    Raises:
        ValueError: it is no broker's. The text says what one looks like, and repeats nothing of
            it, since a password may stand anywhere.
    """
    found = _URL.fullmatch(url) if isinstance(url, str) else None
    if found is None or found["scheme"] not in SCHEMES:
        raise ValueError(EXPECTED)
    kind, scheme = SCHEMES[found["scheme"]]
    if kind is Kind.MEMORY:
        if url != "memory://":
            raise ValueError('"memory://", with nothing after it')
        return BrokerUrl(kind)
    options = _options(found["query"] or "")
    prefix = options.pop("prefix", DEFAULT_PREFIX)
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("a URL whose prefix is 1 to 64 letters, digits, . _ and -")
    sentinel = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in list(options)
        if name.startswith("sentinel_")
    }
    user = "" if found["user"] is None else f"{found['user']}@"
    path = (found["path"] or "").strip("/")
    service = ""
    if scheme == "unix":
        if found["hosts"] or not path:
            raise ValueError('a URL with three slashes, as "unix:///path/to/redis.sock"')
        database = options.pop("db", "0")
        servers = [f"unix://{user}/{path}"]
    else:
        if kind is Kind.SENTINEL:
            service, _, path = path.partition("/")
            if not service:
                raise ValueError(
                    'a URL with the name of Sentinel\'s master, as "redis+sentinel://host/master"'
                )
        database = path or options.pop("db", "0")
        port = DEFAULT_PORTS[kind.value]
        servers = [f"{scheme}://{user}{host}" for host in _hosts(found["hosts"], port)]
    if not _NUMBER.fullmatch(database) or (kind is Kind.CLUSTER and int(database)):
        raise ValueError(
            "a URL with the database's number after the last slash, 0 or none for a cluster"
        )
    database = str(int(database))
    if kind is Kind.SINGLE and len(servers) > 1:
        raise ValueError(
            'a URL of one server; of several it begins with "redis+cluster://" or '
            '"redis+sentinel://"'
        )
    query = "&".join([f"db={database}", *(f"{name}={options[name]}" for name in options)])
    return BrokerUrl(
        kind,
        tuple(f"{server}?{query}" for server in servers),
        service,
        f"{prefix}:{database}",
        "&".join(f"{name}={value}" for name, value in sentinel.items()),
    )


def _options(query: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return {name: value for name, _, value in pairs}


def _hosts(text: str, port: int) -> list[str]:
    hosts = []
    for item in (text or "localhost").split(","):
        host = _HOST.fullmatch(item)
        if host is None or not 0 < int(host[2] or port) < 65536:
            raise ValueError("a URL whose hosts are host:port, with commas between")
        hosts.append(f"{host[1]}:{host[2] or port}")
    return hosts


def without_secrets(url: object) -> str:
    """Return as much of what was given as a URL as may be shown: how it begins."""
    if not isinstance(url, str):
        return f"of type {type(url).__name__}"
    scheme = re.match(r"[a-z+]+://", url)
    if scheme is None:
        return "no URL"
    return scheme[0] if scheme[0] == url else f"{scheme[0]}…"
