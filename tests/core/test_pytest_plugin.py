"""The fixtures that projects of users get, in projects of users."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..e2e.server import ROOT

pytest_plugins = ["pytester"]

TESTING = (ROOT / "docs" / "testing.md").read_text()
FILES = dict(re.findall(r"`(\w+\.py)`[^\n]*\n\n```python\n(.*?)```", TESTING, re.DOTALL))
WARNINGS = """
filterwarnings =
    error
    ignore:datetime.datetime.utc:DeprecationWarning
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """Return a project with what docs/testing.md has for its app, and none of its tests."""
    write(pytester, "app.py", FILES["app.py"])
    write(pytester, "conftest.py", FILES["conftest.py"])
    return pytester


def write(project: pytest.Pytester, name: str, text: str) -> None:
    Path(project.path, name).write_text(text)


def configure(project: pytest.Pytester, mode: str | None) -> None:
    """Set a *mode* of pytest-asyncio, None where that isn't to be there."""
    lines = ["[pytest]"]
    if mode is not None:
        lines += [f"asyncio_mode = {mode}", "asyncio_default_fixture_loop_scope = function"]
    write(project, "pytest.ini", "\n".join([*lines, WARNINGS]))


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def test_what_the_documentation_shows_runs_as_it_stands(project: pytest.Pytester) -> None:
    configure(project, "auto")
    assert {"test_chat.py", "test_events.py"} <= set(FILES)
    for name, code in FILES.items():
        write(project, name, code)
    fixture, last = re.findall(r"```python\n(.*?)```", TESTING, re.DOTALL)[-2:]
    write(
        project,
        "test_more.py",
        f"import pytest\n\n\n{fixture}\n\n{last}\n\n"
        "async def test_who_ana_is(ana):\n    assert ana.connected['user_id'] == 'ana'\n\n\n"
        "async def test_without_fixtures(app):\n    await check(app)\n",
    )
    run(project).assert_outcomes(passed=6)


def test_a_fixture_as_the_documentation_shows_it_runs_in_strict_mode_too(
    project: pytest.Pytester,
) -> None:
    configure(project, "strict")
    fixture = re.findall(r"```python\n(.*?)```", TESTING, re.DOTALL)[-2]
    write(
        project,
        "test_strict.py",
        f"import pytest\n{fixture}\n\n@pytest.mark.asyncio\n"
        "async def test_who_ana_is(ana):\n    assert ana.connected['user_id'] == 'ana'\n",
    )
    run(project).assert_outcomes(passed=1)


STRICT = """
import asyncio
import pytest
import pytest_asyncio
from app import create_app, realtime


@pytest_asyncio.fixture
async def app():
    app = create_app()
    yield app
    assert app.extensions["QUART_REALTIME"].health().connections == 0


@pytest_asyncio.fixture
async def ana(realtime_client):
    return await realtime_client(user_id="ana")


@pytest.mark.asyncio
async def test_clients_are_closed_when_a_test_ends(ana, realtime_client, realtime_events):
    luis = await realtime_client(user_id="luis")
    assert {one.user_id for one in realtime.connections()} == {"ana", "luis"}
    await luis.subscribe("room:1")
    await ana.request("messages", "create", room_id="1", text="hello")
    assert (await luis.expect("new_message"))["text"] == "hello"
    assert len(realtime_events) == 1


class TestMethods:
    @pytest.mark.asyncio
    @pytest.mark.parametrize("user_id", ["ana", "luis"])
    async def test_methods_have_them_too(self, realtime_client, user_id):
        client = await realtime_client(user_id=user_id)
        assert client.connected["user_id"] == user_id


@pytest.mark.asyncio
async def test_that_fails(realtime_client):
    ana = await realtime_client(user_id="ana")
    await ana.request("nothing", "here")


def test_without_a_loop(realtime_events):
    assert len(realtime_events) == 0
"""


def test_in_strict_mode_clients_are_closed_whatever_a_test_comes_to(
    project: pytest.Pytester,
) -> None:
    configure(project, "strict")
    write(project, "test_strict.py", STRICT)
    result = run(project)
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*RealtimeError*there is no nothing.here*"])


ANYIO = """
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def ana(realtime_client):
    return await realtime_client(user_id="ana")


async def test_with_anyio(ana, realtime_client):
    luis = await realtime_client(user_id="luis")
    await luis.subscribe("room:1")
    await ana.request("messages", "create", room_id="1", text="hello")
    assert (await luis.expect("new_message"))["text"] == "hello"
"""


def test_anyios_plugin_runs_them_too(project: pytest.Pytester) -> None:
    configure(project, None)
    write(project, "test_anyio.py", ANYIO)
    run(project, "-p", "no:asyncio").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("conftest", "told"),
    [
        ("", "needs a fixture named app that returns your Quart app"),
        (
            "import pytest\n\n@pytest.fixture\ndef app():\n    return 'app.py'\n",
            "the fixture app returned 'app.py', which is no Quart app",
        ),
        (
            "import pytest, quart\n\n@pytest.fixture\ndef app():\n    return quart.Quart('x')\n",
            "has no Realtime",
        ),
        (
            "import pytest\n\n@pytest.fixture\ndef app(database):\n    return None\n",
            "fixture 'database' not found",
        ),
    ],
)
def test_what_is_wrong_with_the_apps_fixture_is_told(
    pytester: pytest.Pytester, conftest: str, told: str
) -> None:
    configure(pytester, "auto")
    write(pytester, "conftest.py", conftest)
    write(pytester, "test_it.py", "def test_it(realtime_events):\n    pass\n")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{told}*"])


def test_who_does_not_use_them_loads_nothing_and_coverage_misses_nothing(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Apart from what measures these tests.
    monkeypatch.setenv("COVERAGE_FILE", str(project.path / "coverage"))
    for name in (
        "COV_CORE_SOURCE",
        "COV_CORE_CONFIG",
        "COV_CORE_DATAFILE",
        "COVERAGE_PROCESS_START",
    ):
        monkeypatch.delenv(name, raising=False)
    configure(project, "auto")
    write(project, "conftest.py", "")
    modules = "sorted({name.partition('.')[0] for name in sys.modules} & {'quart', 'msgspec'})"
    unused = f"import sys\n\ndef test_first():\n    assert {modules} == []\n"
    used = "\ndef test_then():\n    import app\n    app.create_app()\n"
    write(project, "test_it.py", unused + used)
    result = project.runpytest_subprocess("--cov=quart_realtime", "--cov-report=term")
    result.assert_outcomes(passed=2)
    output = result.stdout.str() + result.stderr.str()
    assert "CoverageWarning" not in output
    covered = re.search(r"quart_realtime/errors\.py\s+\d+\s+(\d+)", output)
    assert covered is not None
    assert int(covered[1]) < 40, "its first lines, run when it is imported, are measured too"
