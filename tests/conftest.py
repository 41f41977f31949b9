"""What all tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from quart import Quart
from quart_jwt_extended import JWTManager
from quart_schema import QuartSchema

SECRET = "a secret for tests, long enough for any of the HMAC algorithms that there are"


def pytest_addoption(parser: pytest.Parser) -> None:
    lanes = ("fast", "asgi")
    parser.addoption("--lane", choices=lanes, default="fast", help="how real servers' sockets go")


def pytest_configure(config: pytest.Config) -> None:
    line = "lane(name): true on that lane alone, and skipped on the other"
    config.addinivalue_line("markers", line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lane = config.getoption("lane")
    for item in items:
        mark = item.get_closest_marker("lane")
        if mark is not None and mark.args != (lane,):
            reason = f"holds on the lane {mark.args[0]!r} alone"
            item.add_marker(pytest.mark.skip(reason=reason))


def make_app(**settings: object) -> Quart:
    """An app with JWT and quart-schema; *settings* are QUART_REALTIME_… keys without the prefix."""
    app = Quart("tests")
    app.config["JWT_SECRET_KEY"] = SECRET
    for name, value in settings.items():
        app.config[f"QUART_REALTIME_{name}"] = value
    JWTManager(app)
    QuartSchema(app, conversion_preference="msgspec")
    return app


@pytest.fixture
def app() -> Quart:
    return make_app()


@pytest.fixture
def app_with() -> Callable[..., Quart]:
    return make_app
