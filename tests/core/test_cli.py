"""``quart realtime …`` in process, with an app that nobody serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from quart import Quart
from quart.cli import ScriptInfo
from quart_jwt_extended import jwt_required

from quart_realtime import Realtime
from quart_realtime.cli import realtime as commands

from ..conftest import make_app


@pytest.fixture
def realtime(app: Quart) -> Realtime:
    realtime = Realtime(app)

    @app.post("/messages/<text>")
    @jwt_required
    @realtime.handler("messages", "create", rate_limit="5/minute")
    @realtime.emits("said", room=["room:{text}", "hall"])
    async def create(text: str) -> dict[str, str]: ...

    @realtime.handler("users", "whoami", login=False)
    async def whoami() -> str: ...

    @realtime.room("room:<name>", presence=True, history=7)
    async def may_join(name: str) -> bool: ...

    realtime.event("typing", int, room=lambda data: "hall", history=False)
    return realtime


def run(app: Quart | None, *words: str) -> Result:
    def create_app() -> Any:
        return app or make_app()

    return CliRunner().invoke(commands, words, obj=ScriptInfo(create_app=create_app))


def rows(text: str) -> list[list[str]]:
    return [[cell for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_routes_shows_who_answers_and_who_is_told(app: Quart, realtime: Realtime) -> None:
    done = run(app, "routes")
    assert done.exit_code == 0
    shown = [[cell.strip() for cell in row] for row in rows(done.output)]
    guarded = ["messages.create", "POST /messages/<text>", "@jwt_required", "required", "5/minute"]
    assert guarded in shown
    assert ["users.whoami", "native", "-", "no", "-"] in shown
    emitted_by = "realtime.<locals>.create"
    assert ["said", "room:{text}, hall", "yes", emitted_by] in shown
    assert ["typing", "realtime.<locals>.<lambda>(…)", "no", "-"] in shown
    assert ["room:<name>", "yes", "7 events, 300 s"] in shown


def test_check_says_that_all_is_well(app: Quart, realtime: Realtime) -> None:
    done = run(app, "check")
    assert (done.exit_code, done.output) == (
        0,
        "All is well: requests 2, events 2, room patterns 1\n",
    )


def test_check_lists_each_problem_and_fails(app: Quart, realtime: Realtime) -> None:
    @app.websocket("/ws")
    async def own() -> None: ...

    @app.route("/both", methods=["GET", "POST"])
    @realtime.handler("things", "both")
    async def both() -> None: ...

    @realtime.room("other:<name>")
    async def may_not_join() -> bool: ...

    done = run(app, "check")
    assert done.exit_code == 1
    assert done.stdout == ""
    count, *problems = done.stderr.splitlines()
    assert count == "3 problems:"
    for problem, about in zip(problems, ("websocket of its own", "both", "other:"), strict=True):
        assert about in problem


@pytest.mark.parametrize("command", ["routes", "check", "asyncapi", "types", "client"])
def test_an_app_that_is_put_together_wrongly_is_told_so(app: Quart, command: str) -> None:
    realtime = Realtime(app)

    @app.route("/both", methods=["GET", "POST"])
    @realtime.handler("things", "both")
    async def both() -> None: ...

    done = run(app, command)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("1 problem:\n- things.both: ")
    assert 'name one: method="GET" or method="POST"' in done.stderr


def test_a_typo_is_not_emitted_to_everybody(app: Quart, realtime: Realtime) -> None:
    done = run(app, "emit", "typping", "1")
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert line.startswith("error: the event 'typping' is declared nowhere")
    assert "did you mean 'typing'" in line
    assert "--room" in line
    assert run(app, "emit", "typping", "1", "--room", "hall").exit_code == 1  # It is in memory.


def test_an_app_without_realtime_is_told_what_to_write() -> None:
    done = run(None, "check")
    assert done.exit_code == 1
    assert done.stderr == "1 problem:\n- The app 'tests' has no Realtime: call Realtime(app).\n"


def test_the_document_says_where_the_app_is(app: Quart, realtime: Realtime) -> None:
    done = run(app, "asyncapi", "--server", "https://chat.example.com")
    server = json.loads(done.output)["servers"]["app"]
    assert (server["host"], server["protocol"]) == ("chat.example.com", "wss")


@pytest.mark.parametrize("server", ["chat.example.com", "", "wss://", "ftp://chat.example.com"])
def test_a_server_that_is_no_origin_is_told_what_to_write(
    app: Quart, realtime: Realtime, server: str
) -> None:
    done = run(app, "asyncapi", "--server", server)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"such as wss://chat.example.com, not {server!r}" in done.stderr


@pytest.mark.parametrize("command", ["asyncapi", "types", "client"])
def test_a_file_that_can_not_be_written_ends_with_2_and_a_line(
    app: Quart, realtime: Realtime, command: str, tmp_path: Path
) -> None:
    for file in (tmp_path / "nowhere" / "made", tmp_path / ("x" * 300)):
        done = run(app, command, "-o", str(file))
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"{file} can't be written: " in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["asyncapi", "types", "client"])
def test_what_is_made_is_printed_or_written(
    app: Quart, realtime: Realtime, command: str, tmp_path: Path
) -> None:
    printed = run(app, command).output
    file = tmp_path / "made"
    assert run(app, command, "-o", str(file)).output == ""
    assert file.read_text(encoding="utf-8") == printed
    assert printed.endswith(("}\n", "\n"))
