"""The JavaScript client in real browsers: tokens, requests, what it leaves behind, rude servers."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from example_app.demo_data import CONVERSATION_ID

from ...proxy import Proxy
from ..engines import Tab
from ..lab import Author
from .conftest import in_chromium, minted

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[3]
ROOM = f"conversation:{CONVERSATION_ID}"


# Tokens


@in_chromium
async def test_a_token_that_expires_while_away_is_asked_for_anew_once(
    page: Tab, proxy: Proxy
) -> None:
    tokens = [minted("ana", 12), minted("ana", 3_600)]
    await page.run(
        """async (tokens) => {
          lab.reasons = [];
          const getToken = async (reason) => (lab.reasons.push(reason), tokens.shift());
          lab.ana = await lab.make(getToken, { backoff: { ceiling: 1_000 } });
          lab.expiresAt = (await lab.ana.client.connect()).expires_at * 1_000;
        }""",
        tokens,
    )
    proxy.go_away()
    await page.run("() => lab.until(() => Date.now() > lab.expiresAt)")
    proxy.come_back()
    await page.run("() => lab.until(() => lab.ana.client.state === 'connected')")
    assert await page.run("() => lab.reasons") == ["connect", "expired"]
    used = await page.run("() => lab.sockets.map(({ token }) => token)")
    assert used[0] == tokens[0]
    assert used[-1] == tokens[1]


async def test_a_token_function_may_fail_three_times_and_then_work(page: Tab) -> None:
    await page.run(
        """async () => {
          const token = await lab.logIn("ana");
          lab.calls = 0;
          const getToken = () => {
            if (++lab.calls <= 3) throw new Error("not now");
            return token;
          };
          lab.ana = await lab.make(getToken, { backoff: { base: 50 } });
          await lab.ana.client.connect();
        }"""
    )
    assert await page.run("() => lab.calls") == 4
    assert await page.run("() => lab.sockets.length") == 1
    assert await page.run("() => lab.ana.told.error.map(({ code }) => code)") == ["failed"] * 3


async def test_tokens_that_are_refused_for_ever_are_final_after_three(page: Tab) -> None:
    tokens = [
        minted("ana", 3_600, key="another key than the server's, of 32 bytes") for _ in range(9)
    ]
    outcome = await page.run(
        """async (tokens) => {
          lab.ana = await lab.make(() => tokens.shift(), { backoff: { base: 50 } });
          return lab.ana.client.connect().then(() => "connected", ({ name, code }) => [name, code]);
        }""",
        tokens,
    )
    assert outcome == ["UnauthorizedError", "unauthorized"]
    assert await page.run("() => lab.sockets.length") == 3
    assert await page.run("() => lab.ana.client.state") == "disconnected"
    assert await page.run("() => lab.left()") == {"timers": 0, "listeners": 0, "sockets": 0}


async def test_a_token_good_for_a_year_is_not_refreshed_early(page: Tab, luis: Author) -> None:
    year = 365 * 24 * 3_600
    await page.run(
        """async (token) => {
          lab.calls = 0;
          lab.ana = await lab.make(() => (lab.calls++, token));
          await lab.ana.client.connect();
        }""",
        minted("ana", year),
    )
    # Longer than a timer can hold, and so at once if it were given to one.
    answer = "lab.ana.client.send('users', 'whoami', {}, { timeout: 2 ** 40 })"
    assert (await page.run(f"() => {answer}"))["user_id"] == "ana"
    await luis.write("still there")
    await page.run("() => lab.until(() => lab.ana.said.includes('still there'))")
    assert await page.run("() => lab.calls") == 1
    assert await page.run("() => lab.ana.told.error") == []


# Requests


async def test_a_full_queue_refuses_and_what_waits_is_sent(page: Tab, proxy: Proxy) -> None:
    await page.run("() => lab.connect()")
    proxy.go_away()
    await page.run("() => lab.until(() => lab.ana.client.state === 'waiting')")
    await page.run(
        """() => {
          const ask = () => lab.ana.client.send("users", "whoami", {}, { timeout: 60_000 });
          lab.outcomes = [];
          for (let number = 0; number < 101; number++) {
            const outcome = ask().then(({ user_id }) => user_id, ({ code }) => code);
            outcome.then((told) => lab.outcomes.push(told));
          }
        }"""
    )
    await page.run("() => lab.until(() => lab.outcomes.length > 0)")
    assert await page.run("() => lab.outcomes") == ["queue_full"]
    proxy.come_back()
    await page.run("() => lab.until(() => lab.outcomes.length === 101, 30_000)")
    assert await page.run("() => lab.outcomes") == ["queue_full", *["ana"] * 100]


async def test_a_request_whose_answer_was_lost_happens_once(
    page: Tab, proxy: Proxy, luis: Author
) -> None:
    await page.run("() => lab.connect()")
    proxy.swallow_answers()
    await page.run(
        """(conversation_id) => {
          const message = { conversation_id, content: "once" };
          const patiently = { retry: true, timeout: 30_000 };
          lab.answer = lab.ana.client.send("messages", "create", { message }, patiently);
        }""",
        CONVERSATION_ID,
    )
    await luis.until_said("once")
    proxy.cut()
    proxy.pass_on()
    assert (await page.run("() => lab.answer"))["message"]["content"] == "once"
    await luis.write("the last")
    await page.run("() => lab.until(() => lab.ana.said.includes('the last'))")
    assert await page.run("() => lab.ana.said") == ["once", "the last"]


# Leaving nothing behind


@pytest.mark.parametrize("moment", ["connecting", "waiting", "connected"])
async def test_a_disconnect_leaves_nothing_behind(page: Tab, proxy: Proxy, moment: str) -> None:
    await page.run("() => lab.connect()")
    if moment != "connected":
        proxy.go_away()
        await page.run("() => lab.until(() => lab.ana.client.state === 'waiting')")
    if moment == "connecting":
        proxy.swallow()
        proxy.come_back()
    await page.run(
        """async (moment) => {
          await lab.until(() => lab.ana.client.state === moment);
          lab.ana.client.disconnect();
        }""",
        moment,
    )
    proxy.pass_on()
    nothing = "lab.left().sockets + lab.left().timers + lab.left().listeners === 0"
    await page.run(f"() => lab.until(() => {nothing})")
    assert await page.run("() => lab.ana.client.state") == "disconnected"
    assert await page.run("() => lab.reported") == []


@pytest.fixture(scope="module")
def mounting() -> str:
    """Return a script that mounts an app in React again and again."""
    bundle = ["npx", "--no-install", "esbuild", "tests/browser/client/mounts.jsx", "--bundle"]
    how = ["--format=iife", "--global-name=app", "--jsx=automatic"]
    done = subprocess.run(
        [*bundle, *how, '--define:process.env.NODE_ENV="production"'],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout


async def test_a_hundred_mounts_in_react_leave_nothing_behind(page: Tab, mounting: str) -> None:
    await page.run(
        f"""async (token, room) => {{
          {mounting}
          lab.before = lab.left();
          const isOpen = () => lab.sockets.some(({{ socket }}) => socket.readyState === 1);
          await app.mount(100, token, room, (time) => time % 25 === 0 && lab.until(isOpen));
        }}""",
        minted("ana", 3_600),
        ROOM,
    )
    # A client stays for a second after its last provider has gone.
    await page.run("() => lab.until(() => lab.left().sockets === 0)")
    assert await page.run("() => lab.sockets.length") > 0
    assert await page.run("() => lab.left()") == await page.run("() => lab.before")
    assert await page.run("() => lab.reported") == []


async def test_who_logs_in_after_another_hears_nothing_of_the_first(
    page: Tab, luis: Author
) -> None:
    conversation = {"title": "Without Eva", "members": ["ana"]}
    secret = await luis.post("/conversations", {"conversation": conversation})
    await page.run(
        """async () => {
          const tokens = [await lab.logIn("ana"), await lab.logIn("eva")];
          lab.one = await lab.make(() => tokens.shift());
          await lab.one.client.connect();
        }"""
    )
    room = f"conversation:{secret['conversation']['id']}"
    assert room in await page.run("() => lab.one.client.rooms")
    await page.run("() => { lab.one.client.disconnect(); return lab.one.client.connect(); }")
    assert await page.run("() => lab.one.client.userId") == "eva"
    assert room not in await page.run("() => lab.one.client.rooms")
    await luis.write("for everybody")
    await page.run("() => lab.until(() => lab.one.said.includes('for everybody'))")
    assert await page.run("() => lab.one.said") == ["for everybody"]


# Rude servers


async def test_doubled_events_are_dropped_and_missing_ones_asked_for(rude_page: Tab) -> None:
    await rude_page.run(
        """async (room) => {
          lab.ana = await lab.make("token", { path: "/rude/miscounts" });
          await lab.ana.client.connect();
          await lab.ana.client.subscribe(room).ready;
        }""",
        ROOM,
    )
    await rude_page.run("() => lab.until(() => lab.ana.said.includes(7))")
    assert await rude_page.run("() => lab.ana.said") == [1, 2, 3, 4, 5, 6, 7]


async def test_nonsense_throws_nothing_into_the_app(rude_page: Tab) -> None:
    await rude_page.run(
        """async () => {
          lab.ana = await lab.make("token", { path: "/rude/talks_nonsense" });
          await lab.ana.client.connect();
        }"""
    )
    await rude_page.run("() => lab.until(() => lab.ana.said.includes('sense'))")
    assert await rude_page.run("() => lab.ana.told.disconnect") == []
    assert await rude_page.run("() => lab.reported") == []


async def test_a_server_of_another_version_is_told_of_and_not_asked_again(rude_page: Tab) -> None:
    told = await rude_page.run(
        """async () => {
          lab.ana = await lab.make("token", { path: "/rude/speaks_another_version" });
          return lab.ana.client.connect().catch(({ closeCode, message }) => [closeCode, message]);
        }"""
    )
    assert told == [4501, "the server doesn't speak realtime.v1"]
    assert await rude_page.run("() => lab.ana.client.state") == "disconnected"
    assert await rude_page.run("() => lab.sockets.length") == 1


@pytest.mark.parametrize("way", ["closes", "greets_and_closes"])
async def test_a_server_that_closes_at_once_is_asked_ever_more_slowly(
    rude_page: Tab, way: str
) -> None:
    await rude_page.run(
        """async (path) => {
          lab.ana = await lab.make("token", { path, backoff: { base: 100, random: () => 1 } });
          lab.ana.client.connect();
          await lab.until(() => lab.sockets.length === 6);
          lab.ana.client.disconnect();
          // One that is being opened closes once it is open: browsers complain of it before.
          await lab.until(() => lab.left().sockets === 0);
        }""",
        f"/rude/{way}",
    )
    at = await rude_page.run("() => lab.sockets.map(({ at }) => at)")
    waits = [later - earlier for earlier, later in pairwise(at)]
    # Of 0.2 s at first and 1.7 s at last; a timer may be late, and never early.
    for wait, least in zip(waits, (200, 300, 500, 900, 1_700), strict=True):
        assert wait >= least - 5
    assert await rude_page.run("() => lab.left()") == {"timers": 0, "listeners": 0, "sockets": 0}


async def test_a_callback_that_throws_is_reported_and_stops_no_other(
    page: Tab, luis: Author
) -> None:
    await page.run("() => lab.connect()")
    await page.run(
        """() => {
          lab.after = [];
          const { client } = lab.ana;
          client.on("new_message", () => { throw new Error("of the app's own"); });
          client.on("new_message", ({ content }) => lab.after.push(content));
        }"""
    )
    await luis.write("heard all the same")
    await page.run("() => lab.until(() => lab.after.length === 1)")
    (reported,) = await page.run("() => lab.reported")
    assert "of the app's own" in reported
    assert await page.run("() => lab.ana.client.state") == "connected"
