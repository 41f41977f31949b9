"""Where the settings come from: defaults, then the environment, then the factory's argument.

==================== ================================================ ======================
Setting              Meaning                                          Default
==================== ================================================ ======================
DATABASE_URL         SQLite file or PostgreSQL database               sqlite:///chat.sqlite
JWT_SECRET_KEY       Signs the tokens; at least 32 bytes, and the     made once, kept in the
                     same for every worker                            database
REVOCATION_REFRESH   Seconds between two looks at which tokens other  3
                     workers have revoked
==================== ================================================ ======================

Every other key of the factory's argument goes to Quart and its extensions as it is, and so does
each ``QUART_REALTIME_…`` of the environment, written as JSON; what is no JSON is a string.
"""

import json
import os
from typing import Any

from quart import Quart

MIN_SECRET_BYTES = 32  # HS256 wants a key at least as long as its digest (RFC 7518, section 3.2)
ENVIRONMENT_KEYS = ("DATABASE_URL", "JWT_SECRET_KEY", "REVOCATION_REFRESH")


def load(app: Quart, overrides: dict[str, Any]) -> None:
    """Fill ``app.config``; raises ValueError for a value that can't work."""
    app.config.update(
        DATABASE_URL="sqlite:///chat.sqlite",
        JWT_SECRET_KEY=None,
        REVOCATION_REFRESH=3,
        JWT_BLACKLIST_ENABLED=True,
        # The longest valid message is 4 000 characters, 12 bytes each at worst as JSON escapes.
        MAX_CONTENT_LENGTH=64 * 1024,
        # A new version of the page must not meet scripts of the old one.
        SEND_FILE_MAX_AGE_DEFAULT=0,
    )
    app.config.update({key: os.environ[key] for key in ENVIRONMENT_KEYS if os.environ.get(key)})
    app.config.update(
        {
            key: _read(value)
            for key, value in os.environ.items()
            if key.startswith("QUART_REALTIME_")
        }
    )
    app.config.update(overrides)

    secret = app.config["JWT_SECRET_KEY"]
    if secret is not None and len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"JWT_SECRET_KEY must have at least {MIN_SECRET_BYTES} bytes")
    app.config["REVOCATION_REFRESH"] = float(app.config["REVOCATION_REFRESH"])
    if not app.config["REVOCATION_REFRESH"] > 0:
        raise ValueError("REVOCATION_REFRESH must be a number of seconds above 0")


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
