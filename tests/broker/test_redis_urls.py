"""Each way to a Redis that a URL can name, and what is said where there is none."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from quart_realtime.broker_url import parse_broker_url
from quart_realtime.emitter import Emitter, SyncEmitter
from quart_realtime.errors import SetupError
from quart_realtime.protocol import HistoryPolicy
from quart_realtime.redis_broker import RedisBroker
from quart_realtime.redis_servers import connect

from ..unit.fakes import Recorder
from ..valkey import Valkey, valkey

KEPT = HistoryPolicy(100, 300)


@pytest.fixture
def redis() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


async def works(url: str) -> None:
    """See that all that carries an event works behind *url*."""
    broker, recorder = RedisBroker(parse_broker_url(url)), Recorder()
    await broker.start(recorder)
    try:
        await broker.subscribe("room", KEPT)
        async with Emitter(url) as emitter:
            await emitter.notify("happened", 1, room="room")
        with SyncEmitter(url) as other:
            await asyncio.to_thread(other.notify, "happened", 2, room="room")
        await broker.command({"do": "leave", "user_id": "ana", "room": "x"})
        assert await broker.enter("room", "ana", "c1") == 1
        assert await broker.begin("key", "what", 60) is None
        await broker.finish("key", b"answer")
        await recorder.has(events=2, commands=1)
        assert [event.value() for event in recorder.events] == [1, 2]
        assert broker.health.up
    finally:
        await broker.stop()


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with valkey("--unixsocket", str(path)):
        await works(f"unix://{path}")
        await works(f"unix://{path}?db=1")


async def test_another_database(redis: Valkey) -> None:
    await works(f"redis://127.0.0.1:{redis.port}/7")


@pytest.mark.parametrize("password", ["plain", "p@ss:w/rd?#% ü"])
async def test_a_password(redis: Valkey, password: str) -> None:
    with redis.client as client:
        client.config_set("requirepass", password)
    await works(f"redis://:{quote(password, safe='')}@127.0.0.1:{redis.port}/0")


OWN_NAMES = "on >secret resetkeys ~quart_realtime:* resetchannels &quart_realtime:*"
COMMANDS = (
    "-@all +@connection +@scripting +@pubsub +@hash +@stream +@sortedset +@set +@string +@keyspace "
    "-@dangerous +info +time"
)


@pytest.mark.parametrize("rights", [COMMANDS, "+@all -info"])
async def test_a_user_that_may_not_do_all(redis: Valkey, rights: str) -> None:
    with redis.client as client:
        client.execute_command("ACL", "SETUSER", "realtime", *OWN_NAMES.split(), *rights.split())
    await works(f"redis://realtime:secret@127.0.0.1:{redis.port}/0")


@asynccontextmanager
async def behind_tls(port: int, folder: Path) -> AsyncIterator[tuple[int, str]]:
    """Pass TLS connections on to *port*; yields where, and the file with the authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        for work in (pump(reader, back), pump(there, writer)):
            tasks.add(asyncio.create_task(work))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], str(file)
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_tls(redis: Valkey, tmp_path: Path) -> None:
    async with behind_tls(redis.port, tmp_path) as (port, authority):
        await works(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority}")


async def test_a_certificate_that_nobody_vouches_for_is_said_to_be_why(
    redis: Valkey, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with behind_tls(redis.port, tmp_path) as (port, _):
        broker = RedisBroker(parse_broker_url(f"rediss://127.0.0.1:{port}/0"))
        await broker.start(Recorder())
        await broker.stop()
    errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert any("certificate verify failed" in error for error in errors)


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:6379/0?pasword=x", "redis://127.0.0.1:6379/0?socket_timeout=soon"]
)
def test_an_option_that_redis_py_does_not_take_is_refused(url: str) -> None:
    with pytest.raises(SetupError, match=r"pasword|socket_timeout"):
        connect(parse_broker_url(url))


async def test_a_server_that_speaks_another_language_is_refused() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    broker = RedisBroker(parse_broker_url(f"redis://127.0.0.1:{port}/0"))
    with pytest.raises(SetupError, match="takes Redis 7"):
        await broker.start(Recorder())
    server.close()
