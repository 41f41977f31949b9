"""The example's page in three browsers, with the lab in it, one server for the tests of a file."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import jwt
import pytest
import pytest_asyncio

from ...e2e.server import Server, serving
from ...proxy import Proxy
from ..conftest import SECRET, set_environment
from ..engines import ENGINES, OpenTab, Tab
from ..lab import LAB

EXAMPLE = "example_app:create_app()"

in_chromium = pytest.mark.parametrize("engine", ["chromium"], indirect=True)
"""For what takes long, and depends on clocks alone."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as environment:
        set_environment(environment, tmp_path_factory.mktemp("chat"))
        yield environment


@pytest.fixture(scope="module")
def server(environment: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve the example to all tests that leave the server alone."""
    with serving(EXAMPLE) as server:
        yield server


@pytest_asyncio.fixture(params=ENGINES, scope="module", loop_scope="module")
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[OpenTab]:
    async with ENGINES[request.param]() as open_tab:
        yield open_tab


@pytest_asyncio.fixture(loop_scope="module")
async def tab(engine: OpenTab) -> AsyncIterator[Tab]:
    tab = await engine()
    yield tab
    # A browser has so many sockets for all of its pages; Firefox refuses the next, with 1006.
    await tab.leave()


@pytest_asyncio.fixture(loop_scope="module")
async def page(tab: Tab, proxy: Proxy) -> Tab:
    """Open the example's page behind the proxy, with the lab in it."""
    await tab.open(f"http://127.0.0.1:{proxy.port}/")
    await tab.run(LAB)
    return tab


@pytest.fixture(scope="module")
def rude() -> Iterator[Server]:
    with serving("tests.browser.client.rude:app") as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def rude_page(tab: Tab, rude: Server) -> Tab:
    """Open a page of the rude server, with the lab in it."""
    await tab.open(rude.url)
    await tab.run(LAB)
    await tab.run("() => { globalThis.modules = '/rude'; }")
    return tab


def minted(user_id: str, seconds: float, key: str = SECRET) -> str:
    """Return an access token as the example hands them out, good for so many seconds."""
    now = int(time.time())
    claims = {"identity": user_id, "type": "access", "fresh": False, "jti": uuid4().hex}
    times = {"iat": now, "nbf": now, "exp": now + int(seconds)}
    return jwt.encode({**claims, **times}, key, "HS256")
