"""Where the settings come from: defaults, then the environment, then the factory's argument.

==================== ================================================ ======================
Setting              Meaning                                          Default
==================== ================================================ ======================
DATABASE_URL         SQLite file or PostgreSQL database               sqlite:///chat.sqlite
JWT_SECRET_KEY       Signs the tokens; at least 32 bytes, and the     made once, kept in the
                     same for every worker                            database
REVOCATION_REFRESH   Seconds between two looks at what other workers  3
                     have revoked: tokens, and places in
                     conversations
TRUSTED_PROXIES      How many proxies stand in front, whose           0
                     X-Forwarded-… headers are believed
DEMO_DATA            Whether the first start adds users whose         true
                     passwords everybody knows
==================== ================================================ ======================

Every other key of the factory's argument goes to Quart and its extensions as it is, and so does
each ``QUART_REALTIME_…`` of the environment. What the environment says is read as JSON, and what is
no JSON is a string; what is empty there counts as not set.
"""

import json
import os
from typing import Any

from quart import Quart

MIN_SECRET_BYTES = 32  # HS256 wants a key at least as long as its digest (RFC 7518, section 3.2)
TEXTS = ("DATABASE_URL", "JWT_SECRET_KEY")
OTHERS = ("REVOCATION_REFRESH", "TRUSTED_PROXIES", "DEMO_DATA")
CLOCKS_DIFFER = 10  # seconds that one host's clock may be ahead of another's


def load(app: Quart, overrides: dict[str, Any]) -> None:
    """Fill ``app.config``; raises ValueError for a value that can't work."""
    app.config.update(
        DATABASE_URL="sqlite:///chat.sqlite",
        JWT_SECRET_KEY=None,
        REVOCATION_REFRESH=3,
        TRUSTED_PROXIES=0,
        DEMO_DATA=True,
        JWT_BLACKLIST_ENABLED=True,
        # Else a token would be refused, on a host whose clock is behind, as not valid yet.
        JWT_DECODE_LEEWAY=CLOCKS_DIFFER,
        # The longest valid message is 4 000 characters, 12 bytes each at worst as JSON escapes.
        MAX_CONTENT_LENGTH=64 * 1024,
        # A new version of the page must not meet scripts of the old one.
        SEND_FILE_MAX_AGE_DEFAULT=0,
        # What an example answers is no secret.
        QUART_REALTIME_DOCS=True,
    )
    app.config.update(from_environment())
    app.config.update(overrides)

    secret = app.config["JWT_SECRET_KEY"]
    if secret is not None and len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"JWT_SECRET_KEY must have at least {MIN_SECRET_BYTES} bytes")
    app.config["REVOCATION_REFRESH"] = float(app.config["REVOCATION_REFRESH"])
    if not app.config["REVOCATION_REFRESH"] > 0:
        raise ValueError("REVOCATION_REFRESH must be a number of seconds above 0")
    proxies = app.config["TRUSTED_PROXIES"]
    if type(proxies) is not int or proxies < 0:
        raise ValueError("TRUSTED_PROXIES must be a whole number, 0 for none")
    if type(app.config["DEMO_DATA"]) is not bool:
        raise ValueError("DEMO_DATA must be true or false")


def from_environment() -> dict[str, Any]:
    """Return the settings that the environment makes."""
    return {
        key: value if key in TEXTS else _read(value)
        for key, value in os.environ.items()
        if value and (key in TEXTS or key in OTHERS or key.startswith("QUART_REALTIME_"))
    }


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
