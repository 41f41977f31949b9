"""One server for the tests that don't mind sharing it, and tokens for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import jwt
import pytest

from ..conftest import SECRET
from .server import Server, serving

APP = "tests.e2e.app:app"


@pytest.fixture(scope="session", autouse=True)
def lane(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return which lane the servers' sockets take, by --lane."""
    lane = str(request.config.getoption("lane"))
    Server.fast_lane = lane == "fast"
    with pytest.MonkeyPatch.context() as patch:
        # The example reads its settings from there.
        patch.setenv("QUART_REALTIME_FAST_LANE", json.dumps(Server.fast_lane))
        yield lane


def make_token(user_id: str, seconds: int = 300) -> str:
    now = int(time.time())
    claims = {
        "identity": user_id,
        "type": "access",
        "fresh": False,
        "jti": f"{user_id}-{now}",
        "iat": now,
        "nbf": now,
        "exp": now + seconds,
        "user_claims": {},
    }
    return jwt.encode(claims, SECRET, "HS256")


@pytest.fixture
def token() -> Callable[..., str]:
    return make_token


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with serving(APP, RATE_LIMIT=None) as server:
        yield server
