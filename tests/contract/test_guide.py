"""What docs/contract.md shows is run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..e2e.server import ROOT, Server
from .test_contract_holds import CLIENT, TSC, compile_in

GUIDE = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the guide's app, in which its commands have been run."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "app.py").write_text(blocks("python")[0])
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        ["sh", "-ec", "".join(blocks("shell"))],
        cwd=folder,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "All is well: requests 1, events 1, room patterns 1\n"
    return folder


def test_its_program_compiles_and_the_mistakes_that_it_names_do_not(project: Path) -> None:
    assert TSC.exists(), "run npm ci"
    (program,) = blocks("typescript")
    program = program.replace('"quart-realtime"', f'"{CLIENT.as_posix()}"')
    wrong = {
        "action": program.replace('"create"', '"crate"'),
        "text": program.replace(', text: "hello"', ""),
        "sender": program.replace("message.id.toFixed()", "message.sender"),
    }
    assert len({program, *wrong.values()}) == 4
    for name, text in {"good": program, **wrong}.items():
        (project / f"{name}.ts").write_text(text)
    assert set(compile_in(project)) == set(wrong)


def test_its_python_client_talks_to_its_app(project: Path) -> None:
    login = (
        "import asyncio\n"
        "from app import app\n"
        "from quart_jwt_extended import create_access_token\n\n\n"
        "async def token() -> str:\n"
        "    async with app.app_context():\n"
        "        return create_access_token('ana')\n\n\n"
    )
    server = Server("app:app", directory=project)
    try:
        run = f"\n\nasyncio.run(main({server.ws_url!r}, asyncio.run(token())))\n"
        script = login + blocks("python")[1] + run
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
            cwd=project,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        server.stop()
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_it_names_each_command_that_is_about_the_contract() -> None:
    from quart_realtime import contract_commands

    for command in ("routes", "check", "asyncapi", "types", "client"):
        assert hasattr(contract_commands, command)
        assert f"quart realtime {command}" in GUIDE
