"""The JavaScript client in real browsers, where websockets don't get through."""

from __future__ import annotations

import pytest

from ...proxy import Proxy
from ..engines import Tab
from ..lab import Author

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # WebKitGTK adds nothing here that its fetch does not do in the other two.
    pytest.mark.parametrize("engine", ["chromium", "firefox"], indirect=True),
]

SOON = "{ backoff: { base: 50, ceiling: 200 }, fallback: 500 }"
ON_A_SOCKET = "lab.sockets.some(({ socket, token }) => token && socket.readyState === 1)"


async def hear(page: Tab, *contents: str) -> None:
    """Wait until the last of *contents* has been heard."""
    await page.run("(last) => lab.until(() => lab.ana.said.includes(last))", contents[-1])


async def test_a_blocked_client_misses_nothing_on_a_stream_and_on_the_way_back(
    page: Tab, proxy: Proxy, luis: Author
) -> None:
    proxy.blocks_websockets = True
    await page.run(f"() => lab.connect({SOON})")
    assert await page.run("() => lab.ana.told.error.length") == 3
    told = ["by a stream"]
    await luis.write(told[0])
    await hear(page, *told)
    whoami = "async () => (await lab.ana.client.send('users', 'whoami')).user_id"
    assert await page.run(whoami) == await page.run("() => lab.ana.client.userId")

    proxy.go_away()
    await page.run("() => lab.until(() => lab.ana.client.state === 'waiting')")
    missed = [f"missed {number}" for number in range(5)]
    for content in missed:
        await luis.write(content)
    proxy.come_back()
    await hear(page, *missed)
    assert not await page.run(f"() => {ON_A_SOCKET}")

    proxy.blocks_websockets = False
    between = []
    while not await page.run(f"() => {ON_A_SOCKET} && lab.ana.client.state === 'connected'"):
        between.append(f"between {len(between)}")
        await luis.write(between[-1])
    await luis.write("by a socket")
    await hear(page, "by a socket")
    assert await page.run("() => lab.ana.said") == [*told, *missed, *between, "by a socket"]

    await page.run("() => lab.ana.client.disconnect()")
    await page.run("() => lab.until(() => lab.left().sockets === 0)")
    assert await page.run("() => lab.left()") == {"timers": 0, "listeners": 0, "sockets": 0}
    assert await page.run("() => lab.reported") == []
