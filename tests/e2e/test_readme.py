"""What the README shows is run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import fields
from quart import Blueprint
from quart_jwt_extended import get_jwt_identity

from quart_realtime import CloseCode, Realtime, current_connection
from quart_realtime.settings import Settings
from quart_realtime.testing import realtime_client

from ..conftest import make_app
from ..documents import blocks
from ..valkey import valkey
from .server import ROOT, Server

README = (ROOT / "README.md").read_text()
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()


def test_the_smallest_example_answers_and_tells(tmp_path: Path) -> None:
    app, client, *_ = blocks("README.md", "python")
    (tmp_path / "app.py").write_text(app)
    server = Server("app:app", directory=tmp_path)
    try:
        script = client.replace("localhost:8000", f"127.0.0.1:{server.port}")
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
        )
    finally:
        server.stop()
    assert done.stderr == ""
    message = {"room_id": "1", "sender": "ana", "text": "hello"}
    answer, event = done.stdout.splitlines()
    assert eval(answer) == message
    assert event.startswith("new_message ")
    assert eval(event.removeprefix("new_message ")) == message


async def test_what_it_shows_of_using_it_runs_as_it_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = make_app()
    messages = Blueprint("messages", __name__)

    @messages.get("/messages")
    async def list_messages() -> dict[str, list[str]]:
        return {"messages": []}

    app.register_blueprint(messages)
    shown: dict[str, Any] = {
        "app": app,
        "realtime": Realtime(app),
        "messages": messages,
        "Message": dict[str, str],
        "current_connection": current_connection,
        "get_jwt_identity": get_jwt_identity,
    }
    with valkey() as redis:
        for block in blocks("README.md", "python")[2:]:
            exec(block.replace("redis://localhost:6379/0", redis.url), shown)
        shown["emitter"].close()
    async with app.test_app():
        await shown["test_a_message_is_told"]()
        async with realtime_client(app, user_id="ana") as ana:
            assert await ana.request("messages", "get_all") == {"messages": []}
            await shown["tell_ana"]()
            assert await ana.expect("typing") == {"conversation_id": "42"}
            await shown["steer"]()
            assert await ana.wait_closed() == CloseCode.DISCONNECTED
    assert "new_message ('conversation:42',)" in capsys.readouterr().out


def test_ci_runs_the_readmes_test_command() -> None:
    setup, test, *_ = (block.strip() for block in blocks("README.md", "shell"))
    assert test in (ROOT / ".ci" / "run").read_text()
    assert setup == 'python -m pip install -e ".[demo]" && python -m example_app'


def test_every_setting_is_listed_with_its_default() -> None:
    table = {
        name: default
        for names, default in re.findall(r"^\| (`[A-Z_`, ]+`) \| (.*?) \|", README, re.MULTILINE)
        for name in re.findall(r"`([A-Z_]+)`", names)
    }
    listed = {"HISTORY_SIZE": "100", "HISTORY_TTL": "300"}
    assert set(table) == {field.name.upper() for field in fields(Settings)}
    for field in fields(Settings):
        name = field.name.upper()
        shown = listed.get(name, table[name]).strip("`").strip('"').replace(" ", "")
        if name == "ALLOWED_ORIGINS":
            assert field.default is None
        elif isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            assert float(shown) == field.default, name
        else:
            assert shown == str(field.default), name


def test_every_close_code_of_the_servers_is_in_the_protocol() -> None:
    table = dict(re.findall(r"^\| (\d{4}) \| `(\w+)` \|", PROTOCOL, re.MULTILINE))
    own = {str(int(code)): code.label for code in CloseCode if code >= 4000}
    assert own.items() <= table.items()
    assert all(CloseCode(int(number)).label == name for number, name in table.items())
