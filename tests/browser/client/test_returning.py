"""The JavaScript client in real browsers, when the network or the server goes away."""

from __future__ import annotations

import asyncio

import pytest

from example_app.demo_data import CONVERSATION_ID

from ...e2e.server import serving
from ...proxy import Proxy
from ..engines import Tab
from ..lab import Author
from .conftest import EXAMPLE, in_chromium, minted

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOM = f"conversation:{CONVERSATION_ID}"


async def test_what_was_missed_comes_once_and_in_order(
    page: Tab, proxy: Proxy, luis: Author
) -> None:
    await page.run("() => lab.connect()")
    await luis.write("before")
    await page.run("() => lab.until(() => lab.ana.said.length === 1)")
    proxy.go_away()
    await page.run("() => lab.until(() => lab.ana.client.state === 'waiting')")
    for number in range(10):
        await luis.write(f"missed {number}")
    proxy.come_back()
    await page.run("() => lab.until(() => lab.ana.client.state === 'connected')")
    await luis.write("after")
    await page.run("() => lab.until(() => lab.ana.said.includes('after'))")
    missed = [f"missed {number}" for number in range(10)]
    assert await page.run("() => lab.ana.said") == ["before", *missed, "after"]
    recovered = await page.run("() => lab.ana.told.recovered")
    assert {"room": ROOM, "recovered": True} in recovered


@in_chromium
async def test_a_silent_network_is_found_out(page: Tab, proxy: Proxy, luis: Author) -> None:
    await page.run("() => lab.connect()")
    proxy.swallow()
    # The server pings every second here, and ten more are granted.
    await page.run("() => lab.until(() => lab.ana.client.state !== 'connected', 14_000)")
    await luis.write("meanwhile")
    proxy.pass_new_on()
    await page.run("() => lab.until(() => lab.ana.said.includes('meanwhile'))")
    proxy.pass_on()


async def test_a_handshake_that_hangs_does_not_hold_up_the_next(page: Tab, proxy: Proxy) -> None:
    await page.run("() => lab.connect({ connectTimeout: 1_000, backoff: { ceiling: 1_000 } })")
    proxy.swallow()
    proxy.cut()
    await page.run("() => lab.until(() => lab.ana.told.error.length > 0)")
    # The sockets that hang go on hanging.
    proxy.pass_new_on()
    await page.run("() => lab.until(() => lab.ana.client.state === 'connected')")


async def test_what_an_old_socket_still_has_to_say_is_not_heard(
    page: Tab, proxy: Proxy, luis: Author
) -> None:
    await page.run("() => lab.connect()")
    # Without a number, so that nothing but the socket that it comes by tells that it is late.
    await page.run(
        """() => {
          lab.typing = 0;
          lab.ana.client.on("typing", () => (lab.typing += 1));
        }"""
    )
    proxy.swallow()
    await luis.type()
    await luis.write("held up")
    proxy.pass_new_on()
    # Asked whether it is there, the server can't say so, and the socket is replaced.
    await page.run("() => { dispatchEvent(new Event('online')); }")
    await page.run("() => lab.until(() => lab.ana.said.includes('held up'))")
    proxy.pass_on()
    await luis.write("the last")
    await page.run("() => lab.until(() => lab.ana.said.includes('the last'))")
    assert await page.run("() => lab.ana.said") == ["held up", "the last"]
    assert await page.run("() => lab.typing") == 0
    assert await page.run("() => lab.ana.told.disconnect.length") == 1
    assert await page.run("() => lab.ana.client.state") == "connected"


async def test_a_new_history_is_told_as_not_recovered(page: Tab, proxy: Proxy) -> None:
    with serving(EXAMPLE) as first:
        proxy.target = first.port
        await page.run("() => lab.connect()")
        await Author(first.url, "luis").write("remembered")
        await page.run("() => lab.until(() => lab.ana.said.includes('remembered'))")
    with serving(EXAMPLE) as second:
        proxy.target = second.port
        in_room = f"lab.ana.told.recovered.filter(({{ room }}) => room === '{ROOM}')"
        await page.run(f"() => lab.until(() => {in_room}.length > 0)")
        assert await page.run(f"() => {in_room}") == [{"room": ROOM, "recovered": False}]


async def test_two_hundred_clients_come_back_at_different_times(
    page: Tab, proxy: Proxy, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("QUART_REALTIME_RETRY_AFTER", "5")
    with serving(EXAMPLE) as second, serving(EXAMPLE) as first:
        proxy.target = first.port
        await page.run(
            """async (tokens, size) => {
              lab.crowd = [];
              for (let index = 0; index < size; index++) {
                lab.crowd.push(await lab.make(tokens[index % tokens.length]));
              }
              await Promise.all(lab.crowd.map(({ client }) => client.connect()));
              lab.before = lab.sockets.length;
            }""",
            [minted(user, 3_600) for user in ("ana", "luis", "eva")],
            page.most_sockets,
        )
        proxy.target = second.port
        await asyncio.to_thread(first.stop)
        await page.run(
            "() => lab.until(() => lab.crowd.every(({ told }) => told.connect.length > 1), 45_000)"
        )
        came = await page.run("() => lab.sockets.slice(lab.before).map(({ at }) => at)")
    environment.setenv("QUART_REALTIME_RETRY_AFTER", "1")
    # They are told to come within five seconds, at random: no half of one has a third of them.
    fullest = max(sum(start <= at < start + 500 for at in came) for start in came)
    assert len(came) >= page.most_sockets
    assert fullest < len(came) / 3
