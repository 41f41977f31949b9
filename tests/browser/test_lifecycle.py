"""What a browser does to its pages, and networks that stay away as long as real ones do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from ..e2e.server import Server
from ..proxy import Proxy
from .engines import SeleniumTab, Tab, chromium, hideable_chromium
from .lab import LAB, Author

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def server(environment: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve the example with the heartbeat that everybody has."""
    environment.delenv("QUART_REALTIME_PING_INTERVAL")
    server = Server("example_app:create_app()")
    yield server
    server.stop()


async def with_lab(tab: Tab, proxy: Proxy) -> None:
    await tab.open(f"http://127.0.0.1:{proxy.port}/")
    await tab.run(LAB)
    await tab.run("() => lab.connect()")


@pytest_asyncio.fixture(loop_scope="module")
async def page(proxy: Proxy) -> AsyncIterator[Tab]:
    async with chromium() as open_tab:
        tab = await open_tab()
        await with_lab(tab, proxy)
        yield tab


@pytest_asyncio.fixture(loop_scope="module")
async def hideable(proxy: Proxy) -> AsyncIterator[SeleniumTab]:
    async with hideable_chromium() as tab:
        await with_lab(tab, proxy)
        yield tab


async def test_a_server_gone_for_half_a_minute_is_come_back_to_without_loss(
    page: Tab, proxy: Proxy, luis: Author
) -> None:
    proxy.go_away()
    attempts = len(proxy.arrivals)
    for second in range(30):
        await luis.write(f"missed {second}")
        await asyncio.sleep(1)  # The half minute, which is the point.
    attempts = len(proxy.arrivals) - attempts
    proxy.come_back()
    await page.run("() => lab.until(() => lab.ana.client.state === 'connected', 25_000)")
    await luis.write("after")
    await page.run("() => lab.until(() => lab.ana.said.includes('after'))")
    assert await page.run("() => lab.ana.said") == [*(f"missed {n}" for n in range(30)), "after"]
    # It waits 0.5 to 1, 1.5, 2.5 … seconds: more than ten attempts would be a storm.
    assert 2 <= attempts <= 12


async def test_a_network_black_in_both_directions_is_found_out_within_36_seconds(
    page: Tab, proxy: Proxy
) -> None:
    proxy.swallow()
    await page.run("() => lab.until(() => lab.ana.client.state !== 'connected', 36_000)")


async def test_a_page_in_the_back_forward_cache_is_left_and_come_back_to(
    hideable: SeleniumTab, proxy: Proxy, luis: Author
) -> None:
    await hideable.run(
        """() => {
          lab.shown = [];
          addEventListener("pageshow", ({ persisted }) => lab.shown.push(persisted));
        }"""
    )
    await hideable.open(f"http://127.0.0.1:{proxy.port}/static/icon.svg")
    await luis.write("while it was left")
    await asyncio.to_thread(hideable.driver.back)
    await hideable.run("() => lab.until(() => lab.ana.client.state === 'connected')")
    # Out of the cache, not loaded anew.
    assert await hideable.run("() => lab.shown") == [True]
    await luis.write("afterwards")
    await hideable.run("() => lab.until(() => lab.ana.said.includes('afterwards'))")
    assert await hideable.run("() => lab.ana.said") == ["while it was left", "afterwards"]
    (gone,) = await hideable.run("() => lab.ana.told.disconnect")
    assert gone["reconnecting"] is True


async def test_a_page_hidden_for_long_keeps_its_socket_and_hears_all(
    hideable: SeleniumTab, luis: Author
) -> None:
    await asyncio.to_thread(hideable.driver.minimize_window)
    assert await hideable.run("() => document.visibilityState") == "hidden"
    for half in range(2):
        await luis.write(f"hidden {half}")
        await asyncio.sleep(25)  # Timers fire once a minute by now, and the server pings.
    await asyncio.to_thread(hideable.driver.set_window_rect, 0, 0, 800, 600)
    await luis.write("shown")
    await hideable.run("() => lab.until(() => lab.ana.said.includes('shown'))")
    said = [*(f"hidden {half}" for half in range(2)), "shown"]
    assert await hideable.run("() => lab.ana.said") == said
    assert await hideable.run("() => lab.sockets.length") == 1
    assert await hideable.run("() => lab.ana.told.disconnect") == []


async def test_a_hidden_page_comes_back_when_it_is_shown(
    hideable: SeleniumTab, proxy: Proxy, luis: Author
) -> None:
    await asyncio.to_thread(hideable.driver.minimize_window)
    proxy.go_away()
    await hideable.run("() => lab.until(() => lab.ana.client.state === 'waiting')")
    proxy.come_back()
    await luis.write("while hidden")
    await asyncio.to_thread(hideable.driver.set_window_rect, 0, 0, 800, 600)
    # At once, and not after the twenty seconds that nobody sees it for.
    await hideable.run("() => lab.until(() => lab.ana.said.includes('while hidden'), 10_000)")
    assert await hideable.run("() => lab.sockets.length") == 2
