"""Settings, the first start, and several workers."""

import asyncio
import os
import sqlite3
import sys
import threading

import pytest

from example_app import create_app
from example_app.database import async_url

from .conftest import Api

WORKER = """
import asyncio, sys
from example_app import create_app

async def main():
    app = create_app({"DATABASE_URL": sys.argv[1]})
    async with app.test_app():
        print(app.config["JWT_SECRET_KEY"])

asyncio.run(main())
"""


async def contents(api):
    """Return how many users, conversations and messages there are."""
    _, users = await api.get("/users")
    _, conversations = await api.get("/conversations")
    _, messages = await api.get("/conversations/conv-welcome/messages")
    return (
        len(users["users"]),
        len(conversations["conversations"]),
        len(messages["messages"]),
    )


async def test_two_apps_start_at_once_on_one_database(config, caller):
    one, two = create_app(config), create_app(config)
    running = [one.test_app(), two.test_app()]
    await asyncio.gather(*(app.startup() for app in running))
    ana = await caller("ana", on=one)
    assert await contents(ana) == (3, 1, 2)
    message = await ana.write("conv-welcome")
    luis = await caller("luis", on=two)
    assert (await luis.get(f"/messages/{message['id']}")).status == 200
    await asyncio.gather(*(app.shutdown() for app in running))


async def test_several_processes_start_at_once_and_agree_on_a_secret(config):
    environment = {key: value for key, value in os.environ.items() if key != "JWT_SECRET_KEY"}
    workers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-c", WORKER, config["DATABASE_URL"]),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        for _ in range(4)
    ]
    outputs = await asyncio.gather(*(worker.communicate() for worker in workers))
    assert [worker.returncode for worker in workers] == [0] * 4, outputs
    secrets = {output.strip() for output, _ in outputs}
    assert len(secrets) == 1
    assert len(secrets.pop()) >= 32


async def test_a_worker_waits_while_another_one_is_making_the_database(tmp_path):
    file = tmp_path / "chat.sqlite"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE begun (something)")
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.3, other.close)
    done.start()
    app = create_app({"DATABASE_URL": f"sqlite:///{file}"})
    async with app.test_app():
        assert app.config["JWT_SECRET_KEY"]
    done.join()


async def test_without_demo_data_nobody_can_log_in_who_has_not_registered(config):
    anybody = Api(create_app(config | {"DEMO_DATA": False}))
    async with anybody.app.test_app():
        login = {"username": "ana", "password": "ana"}
        assert (await anybody.post("/auth/login", login)).status == 401
        new = {"username": "zoe", "name": "Zoe", "password": "long enough"}
        assert (await anybody.post("/users", {"user": new})).status == 201
        login = {"username": "zoe", "password": "long enough"}
        assert (await anybody.post("/auth/login", login)).status == 200


async def test_a_restart_keeps_what_there_is(config, caller):
    app = create_app(config)
    async with app.test_app():
        ana = await caller("ana", on=app)
        await ana.write("conv-welcome")
        await (await caller("eva", on=app)).delete("/users/eva")
    async with app.test_app():
        assert await contents(ana) == (2, 1, 3)


async def test_without_a_configured_secret_tokens_survive_a_restart(config, caller, caplog):
    del config["JWT_SECRET_KEY"]
    first, second = create_app(config), create_app(config)
    async with first.test_app():
        ana = await caller("ana", on=first)
    async with second.test_app():
        ana.app = second
        assert (await ana.get("/users")).status == 200
    assert "JWT_SECRET_KEY isn't set" in caplog.text


async def test_writers_at_the_same_time_wait_for_each_other(config, caller):
    one, two = create_app(config), create_app(config)
    async with one.test_app(), two.test_app():
        ana, luis = await caller("ana", on=one), await caller("luis", on=two)
        written = await asyncio.gather(
            *(api.write("conv-welcome") for _ in range(20) for api in (ana, luis))
        )
        _, body = await ana.get("/conversations/conv-welcome/messages", order="desc", limit=40)
    assert {message["id"] for message in written} == {one["id"] for one in body["messages"]}


def test_a_secret_that_is_too_short_is_refused(config):
    with pytest.raises(ValueError, match="JWT_SECRET_KEY"):
        create_app(config | {"JWT_SECRET_KEY": "short"})


@pytest.mark.parametrize("interval", [0, -1, "nan"])
def test_an_interval_that_can_not_work_is_refused(config, interval):
    with pytest.raises(ValueError, match="REVOCATION_REFRESH"):
        create_app(config | {"REVOCATION_REFRESH": interval})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TRUSTED_PROXIES", -1),
        ("TRUSTED_PROXIES", "one"),
        ("TRUSTED_PROXIES", True),
        ("DEMO_DATA", "no"),
        ("DEMO_DATA", 0),
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused(config, key, value):
    with pytest.raises(ValueError, match=key):
        create_app(config | {key: value})


def test_what_is_empty_in_the_environment_is_not_set(monkeypatch, config):
    for key in ("DEMO_DATA", "TRUSTED_PROXIES", "QUART_REALTIME_BROKER_URL"):
        monkeypatch.setenv(key, "")
    app = create_app(config)
    assert (app.config["DEMO_DATA"], app.config["TRUSTED_PROXIES"]) == (True, 0)
    assert "QUART_REALTIME_BROKER_URL" not in app.config


def test_settings_of_realtime_may_come_from_the_environment(monkeypatch, config):
    monkeypatch.setenv("QUART_REALTIME_RATE_LIMIT", '"5/second"')
    monkeypatch.setenv("QUART_REALTIME_MAX_REQUESTS", "3")
    monkeypatch.setenv("QUART_REALTIME_URL", "/live")
    monkeypatch.setenv("QUART_REALTIME_BROKER_URL", "redis://127.0.0.1:6379/1?prefix=chat")
    app = create_app({**config, "QUART_REALTIME_MAX_REQUESTS": 4})
    assert app.config["QUART_REALTIME_RATE_LIMIT"] == "5/second"
    assert app.config["QUART_REALTIME_MAX_REQUESTS"] == 4
    assert app.config["QUART_REALTIME_URL"] == "/live"
    assert app.config["QUART_REALTIME_BROKER_URL"] == "redis://127.0.0.1:6379/1?prefix=chat"


def test_settings_come_from_the_environment_unless_given(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for key in ("DATABASE_URL", "JWT_SECRET_KEY", "REVOCATION_REFRESH"):
        monkeypatch.delenv(key, raising=False)
    assert create_app().config["DATABASE_URL"] == "sqlite:///chat.sqlite"
    monkeypatch.setenv("DATABASE_URL", "sqlite:///other.sqlite")
    monkeypatch.setenv("REVOCATION_REFRESH", "0.5")
    monkeypatch.setenv("TRUSTED_PROXIES", "2")
    monkeypatch.setenv("DEMO_DATA", "false")
    assert create_app().config["TRUSTED_PROXIES"] == 2
    assert create_app().config["DEMO_DATA"] is False
    assert create_app().config["DATABASE_URL"] == "sqlite:///other.sqlite"
    assert create_app().config["REVOCATION_REFRESH"] == 0.5
    given = create_app({"DATABASE_URL": "sqlite:///given.sqlite"})
    assert given.config["DATABASE_URL"] == "sqlite:///given.sqlite"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///chat.sqlite", "sqlite+aiosqlite:///chat.sqlite"),
        ("sqlite+aiosqlite:///chat.sqlite", "sqlite+aiosqlite:///chat.sqlite"),
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://u:p@h:1/d", "postgresql+asyncpg://u:p@h:1/d"),
        ("postgresql://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
    ],
)
def test_a_database_url_gets_the_asynchronous_driver(url, expected):
    assert async_url(url).render_as_string(hide_password=False) == expected
