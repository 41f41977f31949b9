"""The JavaScript client in real browsers, when networks and servers do what they should not."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import jwt
import pytest
import pytest_asyncio

from example_app.demo_data import CONVERSATION_ID

from ..e2e.server import Server, serving
from ..proxy import Proxy
from .conftest import SECRET, set_environment
from .engines import ENGINES, OpenTab, Tab
from .lab import LAB, Author

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLE = "example_app:create_app()"
ROOT = Path(__file__).parents[2]
ROOM = f"conversation:{CONVERSATION_ID}"


# What takes long, and depends on clocks alone.
in_chromium = pytest.mark.parametrize("engine", ["chromium"], indirect=True)


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
    with serving("tests.browser.rude:app") as server:
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


# Going away and coming back


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
    bundle = ["npx", "--no-install", "esbuild", "tests/browser/mounts.jsx", "--bundle"]
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
