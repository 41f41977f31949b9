"""Tokens: good ones, and those that a forger would try."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.utils import base64url_encode

from ..conftest import SECRET

FAR = 2**32
"""A time that is long to come."""


@cache
def key_pair(name: str = "ours") -> tuple[str, str]:
    """Make a private and a public key, as PEM, for each name once."""
    private = generate_private_key(65_537, 2048)
    kind, bare = pem.PrivateFormat.PKCS8, pem.NoEncryption()
    secret = private.private_bytes(pem.Encoding.PEM, kind, bare)
    known = pem.PublicFormat.SubjectPublicKeyInfo
    return secret.decode(), private.public_key().public_bytes(pem.Encoding.PEM, known).decode()


def claims(user_id: str, **changes: Any) -> dict[str, Any]:
    """Return what a good token says, but for *changes*; None takes a claim out."""
    now = int(time.time())
    good = {"identity": user_id, "type": "access", "fresh": False, "jti": uuid4().hex}
    good |= {"iss": "us", "aud": "us", "iat": now, "nbf": now, "exp": now + 300}
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(user: str, key: str | None = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(user, **changes), key, algorithm)


def written(part: dict[str, Any]) -> str:
    return base64url_encode(json.dumps(part).encode()).decode()


def signed_by_hand(user_id: str, key: str, algorithm: str = "HS256") -> str:
    """Sign with whatever *key*, which PyJWT refuses to do, under the name of *algorithm*."""
    said = f"{written({'alg': algorithm, 'typ': 'JWT'})}.{written(claims(user_id))}"
    signature = hmac.digest(key.encode(), said.encode(), hashlib.sha256)
    return f"{said}.{base64url_encode(signature).decode()}"


def tampered(user_id: str) -> str:
    """Put *user_id* into a good token of somebody else's."""
    head, _, signature = signed("luis").split(".")
    return f"{head}.{written(claims(user_id))}.{signature}"


Forge = Callable[[str], str]
FORGED: dict[str, Forge] = {
    "alg none": lambda user: signed(user, None, "none"),
    "alg None, signed": lambda user: signed_by_hand(user, SECRET, "None"),
    "no signature": lambda user: signed(user).rpartition(".")[0] + ".",
    "another's signature": tampered,
    "wrong signature": lambda user: signed(user, SECRET[1:]),
    "RS256 where HS256 is": lambda user: signed(user, key_pair()[0], "RS256"),
    "RS256 signed with the secret": lambda user: signed_by_hand(user, SECRET, "RS256"),
    "HS512 where HS256 is": lambda user: signed(user, SECRET, "HS512"),
    "wrong issuer": lambda user: signed(user, iss="them"),
    "no issuer": lambda user: signed(user, iss=None),
    "wrong audience": lambda user: signed(user, aud="them"),
    "no audience": lambda user: signed(user, aud=None),
    "not valid yet": lambda user: signed(user, nbf=FAR),
    "issued in the future": lambda user: signed(user, iat=FAR),
    "expired": lambda user: signed(user, exp=1),
    "expired, and forged": lambda user: signed(user, SECRET[1:], exp=1),
    "a refresh token": lambda user: signed(user, type="refresh"),
    "garbage": lambda user: "not-a-token",
    "garbage in three parts": lambda user: "e30.e30.e30",
}
FORGED_FOR_KEY_PAIR: dict[str, Forge] = {
    "HS256 with the public key": lambda user: signed_by_hand(user, key_pair()[1]),
    "HS256 with the public key's text": lambda user: signed_by_hand(user, key_pair()[1].strip()),
    "HS256 with nothing": lambda user: signed_by_hand(user, ""),
    "HS256 with the secret": lambda user: signed(user, SECRET),
    "alg none where RS256 is": lambda user: signed(user, None, "none"),
    "RS256, in fact HMAC": lambda user: signed_by_hand(user, key_pair()[1], "RS256"),
    "RS384 where RS256 is": lambda user: signed(user, key_pair()[0], "RS384"),
    "another key pair": lambda user: signed(user, key_pair("theirs")[0], "RS256"),
}
