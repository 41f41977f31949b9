"""The example on a real Hypercorn in a process of its own, and its scripts as people run them."""

import asyncio
import os
import re
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.request import urlopen

import pytest

import example_app.__main__ as serve
from example_app import demo, rest
from example_app.client import api_of
from example_app.demo import Person, running_server

from ..valkey import valkey

PATIENCE = 30


@pytest.fixture
async def api():
    async with running_server() as address:
        yield address


@pytest.fixture
async def ana(api):
    async with Person.connected(api, "ana") as person:
        yield person


@pytest.fixture
async def luis(api):
    async with Person.connected(api, "luis") as person:
        yield person


@asynccontextmanager
async def script(*arguments, **environment):
    """Run ``python -m`` something; it is ended by its own id at the latest when the block is."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run_script(*arguments):
    async with script(*arguments) as process, asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
        return process.returncode, output.decode()


def told_of(person, kind):
    """Wait for the next event of that kind; returns its data."""

    async def wait():
        async with asyncio.timeout(PATIENCE):
            async for event in person.heard:
                if event.type == kind:
                    return event.data

    return wait()


async def fetch(url):
    def read():
        with urlopen(url, timeout=PATIENCE) as response:
            return response.headers, response.read().decode()

    return await asyncio.to_thread(read)


async def test_what_one_writes_by_rest_the_other_hears_on_the_socket(ana, luis):
    message_id = await ana.write_by_rest("Hola")
    for person in (ana, luis):
        event = await told_of(person, "new_message")
        assert (event["id"], event["sender_id"], event["content"]) == (message_id, "ana", "Hola")


async def test_what_one_writes_on_the_socket_the_other_hears(ana, luis):
    message_id = await luis.write_by_socket("Hola, Ana")
    for person in (ana, luis):
        event = await told_of(person, "new_message")
        assert (event["id"], event["sender_id"]) == (message_id, "luis")


async def test_a_new_conversation_is_heard_by_its_members_on_the_socket(ana, luis):
    new = {"title": "Plans", "members": ["luis"]}
    created = await ana.client.request("conversations", "create", conversation=new)
    assert await told_of(luis, "conversation_created") == created["conversation"]
    room = f"conversation:{created['conversation']['id']}"
    async with await luis.client.subscribe(room) as joined:
        assert set(joined.presence) == {"ana", "luis"}


async def test_the_page_is_served_with_its_policy_and_its_scripts(api):
    headers, page = await fetch(f"{api}/")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    script_name = re.search(r'<script type="module" src="([^"]+)"', page)[1]
    headers, text = await fetch(f"{api}/{script_name}")
    assert headers.get_content_type() == "text/javascript"
    assert "import" in text


async def test_the_apis_description_is_served(api):
    _, description = await fetch(f"{api}/openapi.json")
    assert '"/conversations/{conversation_id}/messages"' in description


async def test_the_client_script_goes_its_round(api):
    status, output = await run_script("example_app.client", "--url", f"ws{api[4:]}/ws")
    assert status == 0, output
    assert "connected as ana" in output
    assert "conv-welcome  Welcome" in output
    written = re.search(r"wrote (msg-\w+): Hola mundo", output)[1]
    assert f"heard new_message of {written} in conversation:conv-welcome" in output


async def test_the_client_script_starts_a_conversation_where_there_is_none(api):
    new = {"username": "zoe", "name": "Zoe", "password": "long enough"}
    await rest.post(f"{api}/users", {"user": new})
    login = ("--username", "zoe", "--password", "long enough")
    status, output = await run_script("example_app.client", "--url", f"ws{api[4:]}/ws", *login)
    assert status == 0, output
    assert re.search(r"started conv-\w+", output)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--password", "wrong"), "HTTP 401: wrong username or password"),
        (("--url", "http://localhost:1"), "no address of a websocket"),
        (("--url", "ws://127.0.0.1:1/ws"), "can't reach http://127.0.0.1:1/auth/login"),
    ],
)
async def test_the_client_script_says_what_went_wrong(api, arguments, reason):
    url = () if "--url" in arguments else ("--url", f"ws{api[4:]}/ws")
    status, output = await run_script("example_app.client", *url, *arguments)
    assert status == 1
    assert output.startswith("failed: ")
    assert reason in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://localhost:8000/ws", "http://localhost:8000"),
        ("wss://example.com/chat/ws", "https://example.com/chat"),
    ],
)
def test_the_api_is_found_beside_the_websocket(url, expected):
    assert api_of(url) == expected


async def test_the_demo_shows_both_sides_and_succeeds():
    status, output = await run_script("example_app.demo")
    assert status == 0, output
    lines = output.splitlines()
    assert sum(" hears " in line for line in lines) == 4
    assert {
        line.index(text) for line in lines for text in ("writes", "hears ") if text in line
    } == {7}
    assert lines[-1].startswith("Each heard the other")


async def test_the_demo_says_so_when_a_message_is_not_heard(monkeypatch, capsys):
    async def write_nothing(self, content):
        return "msg-none"

    monkeypatch.setattr(Person, "write_by_rest", write_nothing)
    monkeypatch.setattr(demo, "PATIENCE", 0.2)
    assert await asyncio.to_thread(demo.main) == 1
    assert "did not hear of msg-none within 0.2 s" in capsys.readouterr().err


async def test_a_server_that_does_not_start_is_an_error_that_shows_its_log():
    with pytest.raises(demo.ServerFailed, match="JWT_SECRET_KEY must have at least"):
        async with running_server(JWT_SECRET_KEY="short"):
            pytest.fail("it started")


async def test_the_example_is_served_by_its_own_command_and_ends_when_told(tmp_path):
    database = {"DATABASE_URL": f"sqlite:///{tmp_path / 'chat.sqlite'}", "PYTHONUNBUFFERED": "1"}
    async with (
        script("example_app", "--debug", "--bind", "127.0.0.1:0", **database) as server,
        asyncio.timeout(PATIENCE),
    ):
        output = ""
        while not (address := re.search(r"Running on (http://\S+)", output)):
            output += (await server.stdout.readuntil()).decode()
        assert "Chat at http://" in output
        assert "Log in as ana, luis, eva" in output
        async with Person.connected(address[1], "ana") as ana:
            assert ana.client.user_id == "ana"
            _, inspector = await fetch(f"{address[1]}/ws/inspector")
            assert "<title>Inspector" in inspector
        server.send_signal(signal.SIGTERM)
        assert await server.wait() == 0


async def test_two_servers_can_not_listen_on_one_address(api):
    status, output = await run_script("example_app", "--bind", api.removeprefix("http://"))
    assert status == 1
    assert "Can't listen on 127.0.0.1:" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(("workers", "expected"), [("1", 0), ("3", 3)])
def test_as_many_workers_serve_as_are_asked_for(monkeypatch, capsys, workers, expected):
    served = []
    monkeypatch.setattr(serve, "run", lambda config: served.append(config) or 0)
    assert serve.main(["--bind", "localhost:8123", "--workers", workers]) == 0
    (config,) = served
    assert config.bind == ["localhost:8123"]
    assert config.workers == expected
    assert config.application_path == "example_app:create_app()"
    assert "http://localhost:8123" in capsys.readouterr().out


@pytest.mark.parametrize(("setting", "told"), [("true", True), ("false", False)])
def test_the_demo_users_are_named_where_there_are_any(monkeypatch, capsys, setting, told):
    monkeypatch.setattr(serve, "run", lambda config: 0)
    monkeypatch.setenv("DEMO_DATA", setting)
    assert serve.main([]) == 0
    assert ("Log in as ana, luis, eva" in capsys.readouterr().out) is told


async def test_several_workers_that_share_a_broker_are_one_chat():
    with valkey() as redis:
        settings = {"QUART_REALTIME_BROKER_URL": redis.url}
        async with running_server("--workers", "3", **settings) as api, AsyncExitStack() as stack:
            # So many that each worker has some, as good as surely.
            everybody = [
                await stack.enter_async_context(Person.connected(api, name))
                for name in ("ana", "luis", "eva") * 5
            ]
            by_rest = await everybody[0].write_by_rest("Hola a todos")
            by_socket = await everybody[1].write_by_socket("Hola")
            for person in everybody:
                heard = {(await told_of(person, "new_message"))["id"] for _ in range(2)}
                assert heard == {by_rest, by_socket}
            async with await everybody[0].client.subscribe("conversation:conv-welcome") as room:
                assert set(room.presence) == {"ana", "luis", "eva"}


async def test_several_workers_without_a_broker_of_their_own_say_what_to_set(tmp_path):
    database = {"DATABASE_URL": f"sqlite:///{tmp_path / 'chat.sqlite'}", "PYTHONUNBUFFERED": "1"}
    arguments = ("--bind", "127.0.0.1:0", "--workers", "2")
    async with script("example_app", *arguments, **database) as server, asyncio.timeout(PATIENCE):
        output = ""
        while "Running on" not in output:
            output += (await server.stdout.readuntil()).decode()
        assert "Set QUART_REALTIME_BROKER_URL to a Redis or Valkey" in output
        server.terminate()
        assert await server.wait() == 0


@pytest.mark.parametrize("workers", ["0", "-1", "many"])
def test_no_workers_are_no_server(capsys, workers):
    with pytest.raises(SystemExit):
        serve.main(["--workers", workers])
    assert "--workers" in capsys.readouterr().err


async def test_clients_that_stay_do_not_keep_the_server_from_ending(monkeypatch):
    monkeypatch.setattr(demo, "FAREWELL", 0.5)
    async with AsyncExitStack() as late, asyncio.timeout(PATIENCE):
        async with running_server() as api:
            await late.enter_async_context(Person.connected(api, "ana"))
        with pytest.raises(OSError, match="can't reach"):
            await rest.log_in(api, "ana", "ana")
