"""The example as deploy/ has it: two processes that share a database and Valkey, behind nginx."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import trustme
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import InvalidStatus

from example_app import rest
from example_app.demo_data import CONVERSATION_ID
from quart_realtime.backoff import Backoff
from quart_realtime.client import Client, connect
from quart_realtime.settings import Settings

from ..valkey import valkey
from .nginx import CONFIGURATION, Nginx, fronting
from .server import ROOT, Server, serving
from .sockets import ask, close_code, read

APP = "example_app:create_app()"
BOUND = 20.0
"""How many seconds a test waits for what must come."""
SOON = Backoff(base=0.05, ceiling=0.5, longest_spread=0.5)
WHOAMI = {"type": "request", "id": "1", "resource": "users", "payload": {"action": "whoami"}}
DEPLOYING = (ROOT / "docs" / "deploying.md").read_text()


@contextmanager
def two_apps(folder: Path) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        settings = {
            "DATABASE_URL": f"sqlite:///{folder / 'chat.sqlite'}",
            "QUART_REALTIME_BROKER_URL": stack.enter_context(valkey()).url,
            "QUART_REALTIME_PING_INTERVAL": "1",
            "TRUSTED_PROXIES": "1",
        }
        for name, value in settings.items():
            environment.setenv(name, value)
        yield [stack.enter_context(serving(APP)) for _ in range(2)]


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with two_apps(tmp_path_factory.mktemp("apps")) as servers:
        yield servers


@pytest.fixture
def nginx(apps: list[Server], tmp_path: Path) -> Iterator[Nginx]:
    with fronting(tmp_path, [app.port for app in apps]) as server:
        yield server


@asynccontextmanager
async def person(nginx: Nginx | Server, name: str) -> AsyncIterator[Client]:
    """Log in over REST, and connect by a client that comes back soon."""
    token = await rest.log_in(nginx.url, name, name)
    async with connect(nginx.ws_url, token=token, backoff=SOON) as client:
        yield client


@asynccontextmanager
async def plain_socket(nginx: Nginx, **how: Any) -> AsyncIterator[ClientConnection]:
    """Open a socket as a browser does, which stays closed when it is."""
    protocols = ["realtime.v1", f"bearer.{await rest.log_in(nginx.url, 'ana', 'ana')}"]
    async with connect_socket(nginx.ws_url, subprotocols=protocols, **how) as socket:
        assert (await read(socket))["type"] == "connected"
        yield socket


async def write(nginx: Nginx | Server, *texts: str) -> list[str]:
    """Log in over REST and write, one after the other; returns the messages' ids."""
    token = await rest.log_in(nginx.url, "eva", "eva")
    url = f"{nginx.url}/conversations/{CONVERSATION_ID}/messages"
    answers = [await rest.post(url, {"message": {"content": text}}, token) for text in texts]
    return [answer["message"]["id"] for answer in answers]


async def heard(stream: Any, count: int = 1) -> list[str]:
    """Return the ids of the next *count* messages that are told."""
    found: list[str] = []
    async with asyncio.timeout(BOUND):
        async for event in stream:
            if event.type == "new_message":
                found.append(event.data["id"])
            if len(found) == count:
                break
    return found


# Through nginx


async def test_who_writes_over_rest_is_heard_on_the_sockets_of_both_apps(nginx: Nginx) -> None:
    async with person(nginx, "ana") as ana, person(nginx, "luis") as luis:
        streams = [ana.events(), luis.events()]
        sent = await write(nginx, "Hola")
        assert [await heard(stream) for stream in streams] == [sent, sent]
    log = [nginx.wait_for_log('/ws HTTP/1.1" 101 ', port) for port in upstreams(nginx)]
    assert log[0] != log[1]


def upstreams(nginx: Nginx) -> list[str]:
    text = (nginx.folder / "nginx.conf").read_text()
    return re.findall(r"server (127\.0\.0\.1:\d+) ", text)


async def test_the_app_sees_the_clients_own_address_and_none_that_is_made_up(nginx: Nginx) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    how = {"local_addr": ("127.0.0.2", 0), "additional_headers": forged}
    async with plain_socket(nginx, **how) as socket:
        answer = await ask(socket, json.dumps(WHOAMI))
        assert answer["payload"]["remote_addr"] == "127.0.0.2"


async def test_a_page_of_ours_may_connect_and_a_foreign_one_may_not(nginx: Nginx) -> None:
    async with plain_socket(nginx, origin=nginx.url) as socket:
        assert (await ask(socket, json.dumps(WHOAMI)))["payload"]["user_id"] == "ana"
    forged = {"X-Forwarded-Host": "evil.example"}
    for origin in ("http://evil.example", f"https://127.0.0.1:{nginx.port}", "http://127.0.0.1"):
        with pytest.raises(InvalidStatus) as refused:
            await connect_socket(nginx.ws_url, origin=origin, additional_headers=forged)
        assert refused.value.response.status_code == 403


async def test_a_socket_that_is_idle_is_kept_open_by_the_apps_pings(
    apps: list[Server], tmp_path: Path
) -> None:
    with fronting(tmp_path, [app.port for app in apps], proxy_read_timeout="2s") as nginx:
        async with plain_socket(nginx) as socket:
            for _ in range(4):
                assert await read(socket) == {"type": "ping"}
            assert (await ask(socket, json.dumps(WHOAMI)))["type"] == "response"


async def test_a_read_timeout_below_the_ping_interval_would_cut_it_off(
    apps: list[Server], tmp_path: Path
) -> None:
    with fronting(tmp_path, [app.port for app in apps], proxy_read_timeout="200ms") as nginx:
        async with plain_socket(nginx) as socket:
            assert await close_code(socket) == 1006


async def test_no_token_is_in_any_log_even_when_no_app_answers(tmp_path: Path) -> None:
    with fronting(tmp_path, [1, 1]) as nginx:
        with pytest.raises(InvalidStatus) as refused:
            await connect_socket(
                f"{nginx.ws_url}?jwt=SECRET-1",
                subprotocols=["realtime.v1", "bearer.SECRET-2"],
                additional_headers={"Authorization": "Bearer SECRET-3", "Cookie": "jwt=SECRET-4"},
            )
        assert refused.value.response.status_code == 502
        line = nginx.wait_for_log('"GET /ws HTTP/1.1" 502')
        assert "upstream 127.0.0.1:1, 127.0.0.1:1 502, 502" in line
        assert "SECRET" not in nginx.logs()


H2C = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
)


async def status_of_upgrade(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(H2C.format(path=path).encode())
        async with asyncio.timeout(BOUND):
            return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()


async def test_no_other_upgrade_than_to_a_websocket_is_passed_on(
    nginx: Nginx, apps: list[Server]
) -> None:
    assert await status_of_upgrade(apps[0].port, "/health") == 101
    assert await status_of_upgrade(nginx.port, "/health") == 200
    assert await status_of_upgrade(nginx.port, "/ws") >= 400


async def test_a_reload_leaves_the_sockets_and_cuts_them_off_later(
    apps: list[Server], tmp_path: Path
) -> None:
    ports = [app.port for app in apps]
    with fronting(tmp_path, ports, worker_shutdown_timeout="2s") as nginx:
        async with person(nginx, "ana") as ana, plain_socket(nginx) as socket:
            stream = ana.events()
            lost = asyncio.ensure_future(close_code(socket))
            nginx.reload()
            sent = await write(nginx, "before they are cut off")
            async with asyncio.timeout(BOUND):
                assert await lost == 1006
            sent += await write(nginx, "after they have come back")
            assert await heard(stream, len(sent)) == sent


def tls_in_the_docs() -> str:
    (block,) = re.findall(r"```nginx\n(listen 443 ssl;.*?)```", DEPLOYING, re.DOTALL)
    return str(block)


async def test_with_tls_as_documented_a_page_of_ours_may_connect(
    apps: list[Server], tmp_path: Path
) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    block = tls_in_the_docs()
    for name in ("certificate", "certificate_key"):
        block = re.sub(rf"ssl_{name} \S+;", f"ssl_{name} {tmp_path / 'both.pem'};", block)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    nginx = Nginx(tmp_path, [app.port for app in apps], {"listen 80;": block})
    try:
        login = json.dumps({"username": "ana", "password": "ana"}).encode()
        kind = {"Content-Type": "application/json"}
        request = Request(f"{nginx.url}/auth/login", login, kind)
        with await asyncio.to_thread(urlopen, request, timeout=BOUND, context=context) as answer:
            token = json.load(answer)["access_token"]
        protocols = ["realtime.v1", f"bearer.{token}"]
        async with connect_socket(
            nginx.ws_url, ssl=context, subprotocols=protocols, origin=nginx.url
        ) as socket:
            assert (await read(socket))["type"] == "connected"
    finally:
        nginx.stop()


# Restarts


async def test_the_clients_of_an_app_that_is_taken_out_and_stopped_miss_nothing(
    tmp_path: Path,
) -> None:
    with two_apps(tmp_path) as apps:
        folder = tmp_path / "nginx"
        folder.mkdir()
        with fronting(folder, [app.port for app in apps]) as nginx:
            async with person(nginx, "ana") as ana, person(nginx, "luis") as luis:
                streams = [ana.events(), luis.events()]
                before = {client.connection_id for client in (ana, luis)}
                nginx.take_out(apps[0])
                apps[0].process.terminate()
                # None of these fails: the stopped one is asked no more.
                sent = await write(nginx, *(f"number {number}" for number in range(50)))
                for stream in streams:
                    assert await heard(stream, len(sent)) == sent
                assert await asyncio.to_thread(apps[0].process.wait, BOUND) == 0
                assert len(before & {client.connection_id for client in (ana, luis)}) == 1


async def test_a_server_that_is_told_to_reload_refuses_nobody_and_nothing_is_missed(
    apps: list[Server], nginx: Nginx
) -> None:
    async with person(nginx, "ana") as ana, person(nginx, "luis") as luis:
        streams = [ana.events(), luis.events()]
        before = {client.connection_id for client in (ana, luis)}
        workers = {app.worker for app in apps}
        for app in apps:
            app.process.send_signal(signal.SIGHUP)
        sent = await write(nginx, *(f"number {number}" for number in range(50)))
        for stream in streams:
            assert await heard(stream, len(sent)) == sent
        assert not workers & {app.worker for app in apps}
        assert not before & {client.connection_id for client in (ana, luis)}


# Redis as documented


async def test_the_rights_that_are_documented_are_all_that_the_app_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rule,) = re.findall(r"^ACL SETUSER chat .*$", DEPLOYING, re.MULTILINE)
    with valkey() as redis, redis.client as client:
        client.execute_command(*rule.split())
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'chat.sqlite'}")
        url = redis.url.replace("//", "//chat:password@")
        monkeypatch.setenv("QUART_REALTIME_BROKER_URL", url)
        monkeypatch.setenv("QUART_REALTIME_USER_RATE_LIMIT", '"1000/second"')
        with serving(APP) as app:
            async with person(app, "ana") as ana, person(app, "ana") as again:
                renamed = {"user_id": "ana", "user": {"name": "Ana"}}
                await again.request("users", "update", renamed, retry=True)
                streams = [ana.events(), again.events()]
                sent = await write(app, "Hola")
                assert [await heard(stream) for stream in streams] == [sent, sent]
        assert client.execute_command("ACL", "LOG") == []


# What the files agree on


def seconds(text: str, pattern: str) -> list[int]:
    found = [int(number) for number in re.findall(pattern, text)]
    assert found
    return found


def test_whatever_stops_the_app_gives_it_time_to_send_its_clients_away() -> None:
    least = Settings().drain_timeout + 10
    service = (ROOT / "deploy" / "quart-realtime-example.service").read_text()
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    assert min(seconds(service, r"TimeoutStopSec=(\d+)s")) >= least
    assert min(seconds(compose, r"stop_grace_period: (\d+)s")) >= least
    assert min(seconds(DEPLOYING, r"terminationGracePeriodSeconds: (\d+)")) >= least + 5


def test_nginx_waits_longer_than_a_live_connection_is_ever_silent() -> None:
    silent = Settings().ping_interval * 1.1 + 10
    assert min(seconds(CONFIGURATION.read_text(), r"proxy_read_timeout (\d+)s;")) > silent


def test_compose_has_no_secret_of_its_own() -> None:
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    example = (ROOT / "deploy" / "env.example").read_text()
    used = re.findall(r"\$\{(\w*(?:SECRET|PASSWORD)\w*)(.*?)\}", compose)
    assert {name for name, _ in used} == {"JWT_SECRET_KEY", "POSTGRES_PASSWORD", "VALKEY_PASSWORD"}
    for name, otherwise in used:
        assert otherwise.startswith(":?"), f"{name} may be empty"
        assert f"\n{name}=\n" in example
