"""The ``QUART_REALTIME_…`` configuration of one app, read and checked once."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import Attribute, field, fields, frozen
from limits import parse_many

from .broker_url import parse_broker_url, without_secrets
from .errors import SetupError
from .proxies import Network, parse_network

PREFIX = "QUART_REALTIME_"
BLUEPRINT = "quart_realtime"
"""The name of the blueprint that the websocket is registered by."""
_COMPONENT = "https://cdn.jsdelivr.net/npm/@asyncapi/react-component@3.2.1"
DOCS_JS_URL = f"{_COMPONENT}/browser/standalone/without-parser.js"
DOCS_CSS_URL = f"{_COMPONENT}/styles/default.min.css"


def _positive(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError("a number above 0")


def _count(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ValueError("a whole number of 1 or more")


def _count_or_none(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    if type(value) is not int or value < 0:
        raise ValueError("a whole number, 0 for none")


def _flag(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    if type(value) is not bool:
        raise ValueError("True or False")


def _flag_or_none(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    if value is not None and type(value) is not bool:
        raise ValueError("True, False, or None for what app.debug is")


def _file_url(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    # Nothing that would end an attribute of the page, or an entry of its policy.
    if not isinstance(value, str) or not re.fullmatch(r"(https?://|/)[^\s;,'\"<>]+", value):
        raise ValueError(
            'a URL such as "https://cdn.example.com/file", or a path of the app\'s own'
        )


def _path(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value):
        raise ValueError('a path such as "/ws"')


def _broker_url(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    parse_broker_url(value)


def _rate(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    if value is not None:
        check_rate(value)


def check_rate(value: object) -> None:
    """Raise ValueError unless *value* is a rate in the notation of the ``limits`` library."""
    try:
        if not isinstance(value, str):
            raise ValueError
        if not all(rate.amount > 0 and rate.get_expiry() > 0 for rate in parse_many(value)):
            raise ValueError
    except ValueError:
        raise ValueError('a rate such as "100/second", or None for no limit') from None


def _origins(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    must = '"*", or a list of origins such as ["https://app.example.com"]'
    if value in (None, "*"):
        return
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        raise ValueError(must)
    for origin in value:
        if not isinstance(origin, str) or not _is_origin(origin):
            raise ValueError(f"{must}: {origin!r} is none")


def _networks(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    must = 'a list of addresses and networks such as ["127.0.0.1", "10.0.0.0/8"]'
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        raise ValueError(must)
    for network in value:
        try:
            parse_network(network)
        except ValueError as error:
            raise ValueError(f"{must}: {error}") from None


def _claims(settings: Settings, attribute: Attribute[Any], value: Any) -> None:
    if value is False or _is_name(value):
        return
    if not isinstance(value, Mapping) or not value or not all(_is_name(name) for name in value):
        raise ValueError(
            "False, or the claim that the token of whoever looks must have: "
            '"inspector", which must be true there, or {"role": "admin"}'
        )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_origin(text: str) -> bool:
    """Tell whether *text* is an origin as a browser writes it."""
    parts = split_origin(text)
    if parts is None:
        return False
    scheme, host, port = parts
    host = f"[{host}]" if ":" in host else host
    suffix = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    return text == f"{scheme}://{host}{suffix}"


_DEFAULT_PORTS = {"http": 80, "https": 443}


def split_origin(origin: str) -> tuple[str, str, int] | None:
    """Split an origin (RFC 6454) into scheme, host and port; None where it is none."""
    try:
        url = urlsplit(origin)
        port = _DEFAULT_PORTS[url.scheme] if url.port is None else url.port
    except (ValueError, KeyError):
        return None
    rest = url.path or url.query or url.fragment or "@" in url.netloc
    if rest or not url.hostname or re.search(r"\s", origin):
        return None
    return url.scheme, url.hostname.lower(), port


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@frozen(kw_only=True)
class Settings:
    """One app's configuration; each field is read from ``QUART_REALTIME_<NAME>``.

    Times are in seconds, sizes in bytes.
    """

    url: str = field(default="/ws", validator=_path)
    broker_url: str = field(
        default="memory://", validator=_broker_url, repr=lambda url: repr(without_secrets(url))
    )
    allowed_origins: Any = field(default=None, validator=_origins)
    trusted_proxies: Any = field(default=(), validator=_networks)
    auth_timeout: float = field(default=10.0, validator=_positive)
    idle_timeout: float = field(default=300.0, validator=_positive)
    ping_interval: float = field(default=25.0, validator=_positive)
    max_message_size: int = field(default=65_536, validator=_count)
    send_buffer: int = field(default=1_048_576, validator=_count)
    max_connections_per_user: int = field(default=20, validator=_count)
    max_requests: int = field(default=16, validator=_count)
    request_timeout: float = field(default=30.0, validator=_positive)
    rate_limit: str | None = field(default="100/second", validator=_rate)
    handshake_rate_limit: str | None = field(default="100/second", validator=_rate)
    user_rate_limit: str | None = field(default=None, validator=_rate)
    history_size: int = field(default=100, validator=_count_or_none)
    history_ttl: float = field(default=300.0, validator=_positive)
    idempotency_ttl: float = field(default=120.0, validator=_positive)
    drain_timeout: float = field(default=10.0, validator=_positive)
    retry_after: float = field(default=5.0, validator=_positive)
    fast_lane: bool = field(default=True, validator=_flag)
    compression: bool = field(default=False, validator=_flag)
    require_room: bool = field(default=False, validator=_flag)
    inspector: Any = field(default=False, validator=_claims)
    docs: bool | None = field(default=None, validator=_flag_or_none)
    docs_js_url: str = field(default=DOCS_JS_URL, validator=_file_url)
    docs_css_url: str = field(default=DOCS_CSS_URL, validator=_file_url)

    @property
    def proxies(self) -> tuple[Network, ...]:
        """Whose word about others counts."""
        return tuple(map(parse_network, self.trusted_proxies))

    @property
    def inspector_claims(self) -> Mapping[str, Any] | None:
        """What the claims of whoever looks at the inspector must be; None where none are named."""
        if isinstance(self.inspector, str):
            return {self.inspector: True}
        return None if self.inspector is False else dict(self.inspector)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Read the settings out of an app's configuration.

        Raises:
            SetupError: a value is wrong, or a ``QUART_REALTIME_`` key is unknown. It lists them
                all.

        """
        known = {PREFIX + item.name.upper(): item for item in fields(cls)}
        values: dict[str, Any] = {}
        problems: list[str] = []
        for key, value in config.items():
            if not key.startswith(PREFIX):
                continue
            if key not in known:
                problems.append(_unknown_key(key, list(known)))
                continue
            attribute = known[key]
            try:
                attribute.validator(None, attribute, value)
            except ValueError as error:
                shown = without_secrets(value) if attribute.name == "broker_url" else repr(value)
                problems.append(f"{key} is {shown}, but must be {error}.")
            else:
                values[attribute.name] = value
        if problems:
            raise SetupError(*problems)
        return cls(**values)


def _unknown_key(key: str, known: list[str]) -> str:
    names = [name.removeprefix(PREFIX) for name in known]
    close = difflib.get_close_matches(key.removeprefix(PREFIX), names, n=1)
    listed = ", ".join(sorted(known))
    hint = f"did you mean {PREFIX}{close[0]}?" if close else f"known are {listed}."
    return f"{key} is no setting of Quart-Realtime: {hint}"
