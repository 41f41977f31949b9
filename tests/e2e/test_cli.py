"""The commands in the terminal: on a real server, and on the broker that it shares."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from quart import Quart
from quart.cli import ScriptInfo

from quart_realtime import Realtime
from quart_realtime.cli import realtime
from quart_realtime.cli_client import COMMANDS
from quart_realtime.client import connect

from ..client.fake_server import FakeServer, Peer
from ..conftest import make_app
from ..valkey import Valkey
from .conftest import make_token
from .cookie_apps import by_address
from .nodes import nodes
from .server import ROOT, Server, serving
from .sockets import post

BOUND = 30.0
APP = "tests.e2e.app:app"
STRANGE = "a\u00a0b\u202ec\x7fd\x1b[31me\U000e0041f\n🦆"
"""What a terminal would hide or obey, or show otherwise."""


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Valkey, Server]]:
    with nodes(1) as (redis, servers):
        yield redis, servers[0]


@pytest.fixture
def app(served: tuple[Valkey, Server]) -> Quart:
    """Return an app of the server's configuration, as whoever imports it has one."""
    app = make_app(BROKER_URL=served[0].url)
    Realtime(app).event("counted", int, room="user:{missing}")
    return app


def environment(server: Server | None, token: str | None) -> dict[str, str]:
    """Return what a command finds in its environment: where the server is, and who asks."""
    given = {**os.environ, "PYTHONWARNINGS": "ignore"}
    if server is not None:
        given["QUART_REALTIME_CLIENT_URL"] = server.ws_url
    if token is not None:
        given["QUART_REALTIME_TOKEN"] = token
    return given


def command(*words: str, app: str | None = None) -> list[str]:
    named = [] if app is None else ["--app", app]
    return [sys.executable, "-m", "quart", *named, "realtime", *words]


def run(
    *words: str,
    server: Server | None = None,
    token: str | None = None,
    app: str | None = None,
    stdin: str = "",
    directory: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words, app=app),
        env=environment(server, token),
        cwd=directory,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=BOUND,
    )


def here(
    *words: str,
    server: Server | None = None,
    token: str | None = None,
    stdin: str = "",
    app: Quart | None = None,
) -> Result:
    """Run a command in this process, which takes a tenth of the time."""
    env = environment(server, token)
    info = None if app is None else ScriptInfo(create_app=lambda: app)
    return CliRunner().invoke(realtime, words, env=env, input=stdin, obj=info)


def ana(*words: str, server: Server, **how: Any) -> Result:
    return here(*words, server=server, token=make_token("ana"), **how)


# call


@pytest.mark.parametrize(
    ("words", "stdin", "answer"),
    [
        (["echo.say", "text=hello, world=1"], "", "hello, world=1"),
        (["echo.say", 'text:="quoted"'], "", "quoted"),
        (["echo.say", f"text={STRANGE}"], "", STRANGE),
        (["echo.say", "--json", '{"text": "whole"}'], "", "whole"),
        (["echo.say", "--json", "-"], '{"text": "by the pipe"}', "by the pipe"),
        (["slow.run", "name=ana", "seconds:=0"], "", 1),
    ],
)
def test_a_request_is_sent_and_its_answer_printed(
    server: Server, words: list[str], stdin: str, answer: Any
) -> None:
    done = ana("call", *words, server=server, stdin=stdin)
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == answer


def test_no_app_is_needed_where_the_server_is_named(server: Server, tmp_path: Path) -> None:
    words = ("call", "echo.say", "text=hello")
    done = run(*words, server=server, token=make_token("ana"), directory=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, '"hello"\n', "")


def test_an_error_ends_with_1_and_says_its_code_and_details(server: Server) -> None:
    done = ana("call", "conversations.get", "conversation_id=none", server=server)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "error: not_found: Conversación no encontrada" in done.stderr
    assert '"conversation_id": "none"' in done.stderr


def test_a_request_larger_than_the_server_takes_is_told_as_that(server: Server) -> None:
    done = ana("call", "echo.say", f"text={'x' * 70_000}", server=server)
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.search(r"error: payload_too_large: \d+ bytes: the server takes 65536", done.stderr)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["call", "echo"], "RESOURCE.ACTION"),
        (["call", "echo.say", "text"], "NAME=TEXT or NAME:=JSON"),
        (["call", "echo.say", "text:={"], "is no JSON"),
        (["call", "echo.say", "--json", "[]"], "must be a JSON object"),
        (["bench", "echo.say", "--seconds", "3600"], "not in the range"),
    ],
)
def test_what_is_written_wrongly_ends_with_2_and_says_what_to_write(
    server: Server, words: list[str], said: str
) -> None:
    done = ana(*words, server=server)
    assert done.exit_code == 2
    assert said in done.stderr


def test_no_error_says_the_token(server: Server) -> None:
    token = make_token("ana", seconds=-300)
    told = f"{server.ws_url}?jwt={token}"
    for words in (
        ["call", "echo.say", "--token", token],
        ["call", "echo.say", "--url", told],
        ["call", "echo.say", "--url", told.replace("ws://", "wrong://")],
        ["call", "echo.say", "--url", f"ws://127.0.0.1:9/ws?jwt={token}"],
        ["bench", "--url", f"ws://ana:{token}@192.0.2.1/ws?jwt={token}"],
    ):
        done = here(*words, server=server, token=token)
        assert done.exit_code != 0
        assert not any(part in done.stdout + done.stderr for part in token.split("."))


def test_whoever_names_no_server_and_no_app_is_told_what_to_write(tmp_path: Path) -> None:
    done = run("call", "echo.say", token="x", directory=tmp_path)
    assert done.returncode == 2
    assert "write --url ws://" in done.stderr


def test_a_token_is_asked_for(server: Server) -> None:
    done = here("call", "echo.say", server=server)
    assert done.exit_code == 2
    assert "QUART_REALTIME_TOKEN" in done.stderr


def test_no_token_is_asked_for_where_the_app_has_a_function_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving("tests.e2e.cookie_apps:by_address") as server:
        monkeypatch.setattr("quart_realtime.cli_common.HOST", server.ws_url.removesuffix("/ws"))
        done = here("call", "users.native", app=by_address)
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"user_id": "127.0.0.1"}


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    done = here("call", "echo.say", "--url", "ws://127.0.0.1:9/ws", token="x")
    assert done.exit_code == 1
    assert "no connection to ws://127.0.0.1:9/ws" in done.stderr


# In a terminal


def in_terminal(words: Sequence[str], server: Server, interrupt_after: str = "") -> tuple[int, str]:
    """Run a command in a terminal of its own; return its exit code and all that is shown.

    Ctrl-C is typed after *interrupt_after* has been shown.
    """
    ours, theirs = pty.openpty()
    env = environment(server, make_token("ana"))
    process = subprocess.Popen(
        command(*words), env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            read = os.read(ours, 4096)
        except OSError:  # Linux says so that nobody has the other end open.
            break
        if not read:
            break
        shown += read
        if interrupt_after and interrupt_after in shown.decode(errors="replace"):
            interrupt_after = ""
            process.send_signal(signal.SIGINT)
    os.close(ours)
    return process.wait(BOUND), shown.decode()


def test_colours_are_for_terminals(server: Server) -> None:
    code, shown = in_terminal(["call", "echo.say", "text=\x1b[31mred \u202e"], server)
    assert code == 0
    assert "\x1b[32m" in shown
    assert "\x1b[31m" not in shown  # The answer's own.
    assert "\u202e" not in shown
    assert "\x1b" not in ana("call", "echo.say", "text=plain", server=server).stdout


def test_ctrl_c_ends_listening_and_is_no_error(server: Server) -> None:
    code, shown = in_terminal(["listen"], server, "listening as ana")
    assert code == 0
    assert "Traceback" not in shown


# listen


async def listening(*words: str, server: Server) -> asyncio.subprocess.Process:
    """Start to listen; return when the server has said that it may."""
    process = await asyncio.create_subprocess_exec(
        *command("listen", *words),
        env=environment(server, make_token("ana")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(BOUND):
        assert b"listening as ana" in await process.stderr.readline()
    return process


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, list[str], str]:
    async with asyncio.timeout(BOUND):
        out, err = await process.communicate()
    return process.returncode, out.decode().splitlines(), err.decode()


async def test_events_are_printed_as_they_come(server: Server) -> None:
    process = await listening("--room", "numbers:cli", "--count", "2", server=server)
    await post(f"{server.url}/numbers/cli/7/9", make_token("luis"))
    code, lines, _ = await ended(process)
    assert code == 0
    assert [line.split(" ", 1)[1] for line in lines] == [
        "number numbers:cli #1 7",
        "number numbers:cli #2 8",
    ]


async def test_events_are_printed_as_objects_and_chosen_by_type(server: Server) -> None:
    words = ("padded", "--room", "numbers:json", "--count", "1", "--json")
    process = await listening(*words, server=server)
    await post(f"{server.url}/numbers/json/1/2", make_token("luis"))
    await post(f"{server.url}/numbers/json/2/3/padded/3", make_token("luis"))
    code, lines, _ = await ended(process)
    (told,) = map(json.loads, lines)
    assert code == 0
    assert (told["type"], told["room"], told["offset"]) == ("padded", "numbers:json", 2)
    assert told["data"] == {"number": 2, "padding": "xxx"}


async def test_fewer_events_than_were_to_come_in_time_are_an_error(server: Server) -> None:
    process = await listening("--count", "1", "--timeout", "0.1", server=server)
    code, lines, told = await ended(process)
    assert (code, lines) == (1, [])
    assert "0 of 1 events came" in told
    process = await listening("--timeout", "0.1", server=server)
    assert (await ended(process))[0] == 0


def test_a_room_that_may_not_be_followed_is_an_error(server: Server) -> None:
    done = ana("listen", "--room", "nobody:may", server=server)
    assert done.exit_code == 1
    assert "forbidden" in done.stderr


# emit and rooms


async def test_an_event_that_is_emitted_is_heard(served: tuple[Valkey, Server], app: Quart) -> None:
    process = await listening("--count", "1", "--json", server=served[1])
    words = ("emit", "report_ready", '{"report_id": 7}', "--room", "user:ana")
    done = await asyncio.to_thread(here, *words, app=app)
    assert (done.exit_code, done.stderr) == (0, "sent report_ready\n")
    code, lines, _ = await ended(process)
    assert code == 0
    assert json.loads(lines[0])["data"] == {"report_id": 7}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["counted", '"seven"', "--room", "r"], "int"),
        (["counted", "7"], "missing"),
        (["told", "--room", ""], "room"),
        (["", "1"], "event"),
    ],
)
def test_what_the_app_declares_of_an_event_holds_for_what_is_emitted(
    app: Quart, words: list[str], said: str
) -> None:
    done = here("emit", *words, app=app)
    assert done.exit_code == 1
    assert said in done.stderr


def test_a_broker_in_memory_is_refused_with_what_to_set() -> None:
    emitted = here("emit", "told", "1", "--room", "r", app=in_memory())
    listed = run("rooms", app=APP)
    assert (emitted.exit_code, listed.returncode) == (1, 1)
    for said in (emitted.stderr, listed.stderr):
        assert "QUART_REALTIME_BROKER_URL" in said


def in_memory() -> Quart:
    app = make_app()
    Realtime(app)
    return app


def test_a_redis_that_is_away_is_told() -> None:
    app = make_app(BROKER_URL="redis://127.0.0.1:9/0")
    Realtime(app)
    for words in (["emit", "told", "1", "--room", "r"], ["rooms"]):
        done = here(*words, app=app)
        assert done.exit_code == 1
        assert "error: " in done.stderr


def test_an_app_without_realtime_is_told() -> None:
    done = here("rooms", app=Quart("bare"))
    assert done.exit_code == 1
    assert "call Realtime(app)" in done.stderr


async def test_rooms_are_listed_with_who_is_in_them(
    served: tuple[Valkey, Server], app: Quart
) -> None:
    async with AsyncExitStack() as stack:
        for name in ("eva", "eva", "luis"):
            client = connect(served[1].ws_url, token=make_token(name))
            await stack.enter_async_context(client)
            await client.subscribe("hall:cli")
        listed = await asyncio.to_thread(here, "rooms", app=app)
        asked = await asyncio.to_thread(here, "rooms", "--room", "hall:cli", "--room", "x", app=app)
    lines = listed.stdout.splitlines()
    assert "hall:cli  2 users, 3 connections" in lines
    assert "user:eva  1 user, 2 connections" in lines
    assert asked.stdout.splitlines() == [
        "hall:cli  2 users, 3 connections",
        "  eva  2 connections",
        "  luis  1 connection",
        "x  0 users, 0 connections",
    ]


# bench


@pytest.mark.parametrize("words", [["echo.say", "--json", '{"text": "x"}'], []])
def test_a_load_is_put_on_a_server_and_told_of(server: Server, words: list[str]) -> None:
    done = ana("bench", *words, "-n", "3", "-s", "0.3", server=server)
    assert done.exit_code == 0, done.stderr
    assert "answers a second over 3 connections" in done.stdout
    assert "p99" in done.stdout


async def test_a_load_without_a_request_is_answered_by_the_server_on_each_connection() -> None:
    async def pong(peer: Peer, frame: dict[str, Any]) -> None:
        await peer.send("pong", id=frame["id"])

    async with FakeServer() as server:
        server.greeting["rooms"] = [{"room": "user:7", "epoch": "e", "offset": 0}]
        server.replies["ping"] = pong
        words = ("bench", "--url", server.url, "-n", "3", "-s", "0.3")
        done = await asyncio.to_thread(here, *words, token="x")
    counts = [len(peer.sent("ping")) for peer in server.peers]
    assert len(counts) == 3
    assert min(counts) > 1
    assert f"over 3 connections, {sum(counts):,} in" in done.stdout


def test_a_load_that_is_refused_is_told_by_the_errors_code(server: Server) -> None:
    done = ana("bench", "no.thing", "-n", "1", "-s", "0.1", server=server)
    assert done.exit_code == 1
    assert "of not_found" in done.stdout


def test_no_load_goes_elsewhere_by_mistake() -> None:
    done = here("bench", "--url", "ws://192.0.2.1/ws", token="x")
    assert done.exit_code == 2
    assert "--anywhere" in done.stderr


def test_what_a_client_needs_is_told_where_it_is_missing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "websockets.py").write_text("raise ImportError('No module named websockets')")
    done = run("call", "echo.say", server=server, token="x", directory=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.count('pip install "quart-realtime[client]"') == 1


@pytest.mark.parametrize("words", [["emit", "x"], ["rooms"]])
def test_what_a_broker_needs_is_told_where_it_is_missing(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("raise ImportError('No module named redis')")
    (tmp_path / "shop.py").write_text(
        "from quart import Quart\nfrom quart_realtime import Realtime\n"
        "app = Quart(__name__)\n"
        "app.config['QUART_REALTIME_BROKER_URL'] = 'redis://localhost:9/0'\n"
        "Realtime(app, authenticate=lambda: None)\n"
    )
    done = run(*words, app="shop:app", directory=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("1 problem:\n- QUART_REALTIME_BROKER_URL needs a package")
    assert done.stderr.count('pip install "quart-realtime[redis]"') == 1


WRITTEN = re.findall(
    r"^quart (?:--app app )?realtime (.*)$", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE
)


@pytest.mark.parametrize("line", WRITTEN)
def test_a_command_of_the_documentation_is_one(line: str) -> None:
    name, *words = shlex.split(line.partition(" | ")[0])
    realtime.commands[name].make_context(name, words)


def test_the_documentation_shows_each_command() -> None:
    assert {line.split()[0] for line in WRITTEN} >= {command.name for command in COMMANDS}
