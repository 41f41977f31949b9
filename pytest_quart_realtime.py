"""Fixtures for the tests of an app with Quart-Realtime, in every project where that is installed.

It stands beside the package and not in it: pytest loads it at every start, when importing the
package would slow down whoever doesn't use it, and come too early for coverage to be measured.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from quart import Quart

    from quart_realtime.testing import RealtimeClient, RecordedEvents

__all__ = ["RealtimeClients", "realtime_client", "realtime_events"]


class RealtimeClients:
    """Opens clients of the app under test, for as long as one test runs.

    Args:
        app: That app.
    """

    def __init__(self, app: Quart) -> None:
        self._app = app
        self._open = AsyncExitStack()

    async def __call__(self, token: str | None = None, **how: Any) -> RealtimeClient:
        """Open a client, which is closed when the test ends.

        Args:
            token: The token to connect with.
            **how: Everything else that :func:`quart_realtime.testing.realtime_client` takes, such
                as ``user_id="ana"``.
        """
        from quart_realtime.testing import realtime_client

        return await self._open.enter_async_context(realtime_client(self._app, token, **how))

    def closing(self, test: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Have *test* end with its clients closed, in the event loop that they were opened in."""

        @functools.wraps(test)
        async def run(*args: Any, **kwargs: Any) -> Any:
            async with self._open:
                return await test(*args, **kwargs)

        return run


@pytest.fixture
def realtime_client(request: pytest.FixtureRequest) -> RealtimeClients:
    """Open websockets to the app of the fixture ``app``, as many as a test likes.

    ``ana = await realtime_client(user_id="ana")``. They are closed when the test ends.
    """
    return RealtimeClients(_app_of(request))


@pytest.fixture
def realtime_events(request: pytest.FixtureRequest) -> Iterator[RecordedEvents]:
    """Record what the app of the fixture ``app`` notifies and emits while the test runs."""
    from quart_realtime.testing import record_events

    with record_events(_app_of(request)) as events:
        yield events


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Close a test's clients within the test: whichever plugin runs it, it has a loop of its own.

    An asynchronous fixture would belong to one such plugin, and to one mode of it.
    """
    clients = getattr(item, "funcargs", {}).get("realtime_client")
    test = getattr(item, "obj", None)
    if not isinstance(clients, RealtimeClients) or not inspect.iscoroutinefunction(test):
        return (yield)
    item.obj = clients.closing(test)  # type: ignore[attr-defined]
    try:
        return (yield)
    finally:
        item.obj = test  # type: ignore[attr-defined]


def _app_of(request: pytest.FixtureRequest) -> Quart:
    try:
        app = request.getfixturevalue("app")
    except pytest.FixtureLookupError as error:
        if error.argname != "app":
            raise
        pytest.fail(
            f"{request.fixturename} needs a fixture named app that returns your Quart app: write "
            "one in conftest.py, such as\n\n"
            "@pytest.fixture\ndef app():\n    return create_app()",
            pytrace=False,
        )
    if not hasattr(app, "asgi_app"):
        pytest.fail(
            f"{request.fixturename}: the fixture app returned {app!r}, which is no Quart app",
            pytrace=False,
        )
    return app  # type: ignore[no-any-return]
