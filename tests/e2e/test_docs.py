"""What the pages of ``docs`` show is run as it stands; tests/browser has what runs in browsers."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from quart_realtime import CloseCode, RealtimeError
from quart_realtime.client import connect
from quart_realtime.testing import realtime_client

from ..documents import PAGES, ROOT, Example, examples, to_run
from ..documents_app import build
from ..valkey import valkey
from .conftest import make_token
from .server import Server, serving

APPS = ROOT / "tests" / "existing_app"
BEFORE, AFTER = APPS / "before", APPS / "after"
TUTORIAL = "docs/tutorial.md"
IN_ANOTHER_TEST = {
    "README.md": "tests/e2e/test_readme.py",
    "docs/authentication.md": "tests/e2e/test_authentication_docs.py",
    "docs/cli.md": "tests/e2e/test_cli.py",
    "docs/contract.md": "tests/contract/test_guide.py",
    "docs/testing.md": "tests/core/test_pytest_plugin.py",
}
"""The pages whose examples have a test of their own, and where."""
PYTHON_PAGES = [page for page in PAGES if page not in IN_ANOTHER_TEST and to_run(page, "python")]


@pytest.mark.parametrize("page", PYTHON_PAGES)
async def test_a_pages_examples_run_and_make_an_app_that_starts(
    page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_URL", "memory://")  # In the place of a Redis, where one is named.
    app = build(page)["app"]
    async with app.test_app():
        pass


def test_pages_with_a_test_of_their_own_are_read_by_it() -> None:
    for page, test in IN_ANOTHER_TEST.items():
        assert page.removeprefix("docs/") in (ROOT / test).read_text(), page


def test_what_cannot_be_run_says_why_and_is_at_least_python() -> None:
    for page in PAGES:
        for example in examples(page):
            if example.why_not is not None:
                assert re.search(r"[a-z]{2}", example.why_not), str(example)
                if example.language == "python":
                    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
                    compile(example.code, str(example), "exec", flags)


def test_every_command_of_the_pages_is_run_or_says_why_not() -> None:
    run = {TUTORIAL, "docs/fallback.md", "docs/scaling.md", *IN_ANOTHER_TEST}
    neither = [str(one) for page in PAGES if page not in run for one in shell(page)]
    assert neither == [], "run them here, name their test in IN_ANOTHER_TEST, or say why not"


def shell(page: str) -> list[Example]:
    return to_run(page, "shell")


# The tutorial


def saved(name: str) -> str:
    (found,) = (one for one in examples(TUTORIAL) if one.file == name)
    return found.code


def test_the_tutorial_shows_the_files_that_are_tested() -> None:
    for name in ("before/todos.py", "after/static/todos.html"):
        assert saved(name) == (APPS / name).read_text()


def test_the_tutorials_diff_makes_the_live_app_of_the_one_that_is_not() -> None:
    (diff,) = (one.code for one in to_run(TUTORIAL, "diff"))
    before = (BEFORE / "todos.py").read_text()
    assert patched(before, diff) == (AFTER / "todos.py").read_text()


def test_the_tutorials_diff_takes_nothing_away() -> None:
    (diff,) = (one.code for one in to_run(TUTORIAL, "diff"))
    assert not [line for line in diff.splitlines()[2:] if line.startswith("-")]


def patched(text: str, diff: str) -> str:
    """Apply a unified diff to *text*, strictly: each line that it knows has to be there."""
    old, new, at = text.splitlines(), [], 0
    for line in diff.splitlines()[2:]:
        if begin := re.match(r"@@ -(\d+)", line):
            new += old[at : int(begin[1]) - 1]
            at = int(begin[1]) - 1
        elif line.startswith("+"):
            new.append(line[1:])
        else:
            assert old[at] == line[1:]
            if not line.startswith("-"):
                new.append(old[at])
            at += 1
    return "\n".join([*new, *old[at:]]) + "\n"


@pytest.fixture(scope="module")
def live() -> Iterator[Server]:
    (command,) = (one.code for one in shell(TUTORIAL) if one.code.startswith("hypercorn"))
    with pytest.MonkeyPatch.context() as environment:
        # What Werkzeug makes of a set, the Allow header, is otherwise in no order.
        environment.setenv("PYTHONHASHSEED", "0")
        with served_by(command, AFTER) as server:
            yield server


def served_by(command: str, directory: Path) -> Any:
    """Run the command that a page shows, but on a free port."""
    _, *options, app = shlex.split(command)
    return serving(app, directory=directory, options=options)


REQUESTS = [
    ("POST", "/echo", '{"hello": "world"}'),
    ("POST", "/echo", "not JSON"),
    ("POST", "/todos/", '{"task": "buy milk", "due": null}'),
    ("POST", "/todos/", '{"task": "buy milk", "due": "2026-03-01T10:00:00Z"}'),
    ("POST", "/todos/", '{"task": 7, "due": null}'),
    ("POST", "/todos/", '{"due": null}'),
    ("POST", "/todos/", "not JSON"),
    ("POST", "/todos", '{"task": "buy milk", "due": null}'),
    ("GET", "/todos/", ""),
    ("DELETE", "/echo", ""),
    ("GET", "/nothing", ""),
]


def answer(port: int, method: str, path: str, body: str) -> bytes:
    """Return an answer as it is on the wire, but for the time of day."""
    request = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=15) as link:
        link.sendall(request.encode())
        whole = b"".join(iter(lambda: link.recv(65536), b""))
    return re.sub(rb"\r\ndate: [^\r]*", b"", whole)


def test_the_rest_api_answers_byte_for_byte_as_before(live: Server) -> None:
    with serving("todos:app", directory=BEFORE) as before:
        for request in REQUESTS:
            told = answer(live.port, *request)
            assert told == answer(before.port, *request), request
            assert told.startswith(b"HTTP/1.1 ")


async def test_the_tutorials_listener_hears_what_is_added_either_way(live: Server) -> None:
    script = saved("listen.py").replace("localhost:8000", f"127.0.0.1:{live.port}")
    listener = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", script), stdout=subprocess.PIPE
    )
    assert listener.stdout is not None
    try:
        async with asyncio.timeout(30):
            first = {"id": 1, "task": "learn to listen", "due": None}
            assert ast.literal_eval((await listener.stdout.readline()).decode()) == first
            name, _, data = (await listener.stdout.readline()).decode().partition(" ")
            assert (name, ast.literal_eval(data)) == ("todo_created", first)
            await asyncio.to_thread(curl, live.port)
            assert b"call the route" in await listener.stdout.readline()
    finally:
        listener.kill()
        await listener.wait()
        listener._transport.close()  # type: ignore[attr-defined]


def curl(port: int) -> None:
    (command,) = (one.code for one in shell(TUTORIAL) if one.code.startswith("curl"))
    words = shlex.split(command.replace("localhost:8000", f"127.0.0.1:{port}"))
    if shutil.which("curl"):
        subprocess.run([*words, "--silent"], check=True, timeout=15, stdout=subprocess.DEVNULL)
        return
    _, _, body, url = words
    request = Request(url, body.encode(), {"Content-Type": "application/json"})
    urlopen(request, timeout=15).close()


async def test_a_todo_without_a_task_is_refused_over_the_websocket_too(live: Server) -> None:
    def guest() -> str:
        with urlopen(Request(f"{live.url}/guests", method="POST"), timeout=15) as answered:
            return re.findall(rb'"access_token":"([^"]+)"', answered.read())[0].decode()

    async with connect(live.ws_url, await asyncio.to_thread(guest)) as client:
        with pytest.raises(Exception, match="task") as refused:
            await client.request("todos", "create", due=None)
    assert refused.value.code == "validation_error"  # type: ignore[attr-defined]


# What the guides say of their examples


async def test_the_fastapi_modules_page_hears_what_it_heard() -> None:
    names = build("docs/from-fastapi.md")
    app = names["app"]
    async with app.test_app(), realtime_client(app, user_id="user123") as client:
        seen = await client.request("conversations", "get_all", user_id="user123")
        assert [one["id"] for one in seen["conversations"]] == ["conv123", "conv456"]
        async with app.app_context():
            await names["tell"]()
        assert (await client.expect("new_message"))["content"] == "Hola mundo"
        message = {"conversation_id": "conv123", "content": "Hola", "sender_id": "somebody else"}
        await client.request("messages", "create", message=message)
        assert (await client.expect("new_message"))["sender_id"] == "user123"


async def test_the_chat_that_came_from_flask_socketio_tells_the_others_in_the_room() -> None:
    app = build("docs/from-flask-socketio.md")["app"]
    async with (
        app.test_app(),
        realtime_client(app, user_id="ana") as ana,
        realtime_client(app, user_id="luis") as luis,
    ):
        with pytest.raises(Exception, match="join the room first"):
            await ana.request("chat", "text", room="lobby", text="hello")
        await ana.subscribe("chat:lobby")
        await luis.subscribe("chat:lobby")
        said = await ana.request("chat", "text", room="lobby", text="hello")
        assert said == {"room": "lobby", "name": "ana", "text": "hello"}
        assert await luis.expect("message") == said
        await ana.expect_none("message")


async def test_polling_becomes_a_list_that_is_told() -> None:
    app = build("docs/from-polling.md")["app"]
    async with app.test_app(), realtime_client(app, user_id="ana") as client:
        await app.test_client().post("/v2/todos/", json={"task": "buy milk"})
        assert await client.expect("todo_added") == {"task": "buy milk"}
        assert await client.request("todos", "get_all") == {"todos": [{"task": "buy milk"}]}


def test_two_workers_serve_an_app_over_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings,) = to_run("docs/scaling.md", "python")
    (command,) = shell("docs/scaling.md")
    smallest = to_run("README.md", "python")[0].code
    with_broker = smallest.replace("JWTManager(app)\n", f"{settings.code}JWTManager(app)\n")
    assert with_broker != smallest
    (tmp_path / "app.py").write_text(f"import os\n{with_broker}")
    with valkey() as redis:
        monkeypatch.setenv("BROKER_URL", redis.url)
        with served_by(command.code, tmp_path) as server:
            login = Request(f"{server.url}/login/ana", method="POST")
            with urlopen(login, timeout=15) as answered:
                assert answered.status == 200
            assert not any("a broker of its own" in line for line in server.log)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_curl_has_a_stream_and_the_answer_to_a_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCUMENTS_PAGE", "docs/fallback.md")
    with serving("tests.documents_app:create_app()") as server:
        monkeypatch.setenv("TOKEN", make_token("ana"))
        stream, message = (
            one.code.replace("https://app.example.com", server.url)
            for one in shell("docs/fallback.md")
        )
        posting = await asyncio.create_subprocess_exec("sh", "-c", message, stdout=subprocess.PIPE)
        async with asyncio.timeout(15):
            answer, _ = await posting.communicate()
        assert json.loads(answer)["payload"] == "ana"
        streaming = await asyncio.create_subprocess_exec(
            *("sh", "-c", f"exec {stream}"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert streaming.stdout is not None
        try:
            async with asyncio.timeout(15):
                while b'"recovered"' not in (line := await streaming.stdout.readline()):
                    assert line
        finally:
            streaming.kill()
            await streaming.communicate()
        rooms = json.loads(line.removeprefix(b"data:"))["payload"]["rooms"]
        assert [room["room"] for room in rooms] == ["conversation:42", "conversation:43"]


# What the reference and the explanations say


def test_every_code_is_in_the_table_of_codes() -> None:
    page = (ROOT / "docs" / "codes.md").read_text()
    errors = {error.code: error for error in subclasses(RealtimeError)}
    rows = dict(re.findall(r"^\| `(\w+)` \|.*?\| (\d{3}) \|", page, re.MULTILINE))
    assert rows == {code: str(error.status) for code, error in errors.items()}
    closes = " ".join(re.findall(r"^\| (\d{4}[\d, ]*) \|", page, re.MULTILINE))
    assert set(closes.replace(",", "").split()) == {str(int(code)) for code in CloseCode}


def subclasses(error: type[RealtimeError]) -> Iterator[type[RealtimeError]]:
    yield error
    for child in error.__subclasses__():
        if child.__module__ == "quart_realtime.errors":
            yield from subclasses(child)


def test_figures_are_those_that_were_measured() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    measured = (ROOT / "bench" / "RESULTS.md").read_text()
    figures = re.findall(r"^\| .* \| ([\d .]+) \|$", page, re.MULTILINE)
    figures += re.findall(r"(\d[\d ]*) µs", page)
    assert len(figures) > 10
    assert not [figure for figure in figures if f" {figure} " not in measured]


def test_the_modules_on_a_messages_way_are_there() -> None:
    page = (ROOT / "docs" / "message.md").read_text()
    for module in re.findall(r"`(\w+\.py)`", page):
        assert (ROOT / "quart_realtime" / module).exists(), module
