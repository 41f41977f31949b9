"""Tokens as quart-jwt-extended makes them, signed without an app."""

from __future__ import annotations

import time
import uuid

import jwt

SECRET = "at least 32 bytes that only the benchmark knows"  # noqa: S105


def token(user: str) -> str:
    """Return an access token for *user*, good for an hour."""
    now = int(time.time())
    claims = {
        "identity": user,
        "type": "access",
        "fresh": False,
        "jti": str(uuid.uuid4()),
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "user_claims": {},
    }
    return jwt.encode(claims, SECRET, algorithm="HS256")
