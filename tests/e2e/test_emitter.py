"""Events from a process without the app, to clients of a real server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from quart_realtime import BrokerUnavailable, HistoryPolicy, InvalidPayload, Realtime, SetupError
from quart_realtime.client import Client, Disconnect
from quart_realtime.emitter import Emitter, SyncEmitter

from ..valkey import Valkey, cluster, cluster_url, replica_of, sentinels, valkey
from .conftest import APP, make_token
from .nodes import BOUND, call, client, nodes
from .server import ROOT, Server, serving
from .sockets import ask, opened, read


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Valkey, Server]]:
    with nodes(1) as (redis, servers):
        yield redis, servers[0]


@pytest.fixture
async def ana(served: tuple[Valkey, Server]) -> AsyncIterator[Client]:
    async with client(served[1], "ana") as ana:
        yield ana


class Heard:
    """The data of an event's occurrences, as a client hears them."""

    def __init__(self, client: Client, event: str) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        client.on(event, self._queue.put_nowait)

    async def next(self) -> Any:
        async with asyncio.timeout(BOUND):
            return await self._queue.get()


async def test_a_thread_without_an_event_loop_is_heard(
    served: tuple[Valkey, Server], ana: Client
) -> None:
    heard = Heard(ana, "report_ready")
    with SyncEmitter(served[0].url) as emitter:
        thread = threading.Thread(
            target=emitter.notify, args=("report_ready", {"id": 7}), kwargs={"room": "user:ana"}
        )
        thread.start()
        assert await heard.next() == {"id": 7}
        thread.join()


async def test_an_event_loop_of_another_process_is_heard(
    served: tuple[Valkey, Server], ana: Client
) -> None:
    heard = Heard(ana, "report_ready")
    async with Emitter(served[0].url) as emitter:
        await emitter.notify("report_ready", 8, room="user:ana")
        await emitter.notify("report_ready", 9)
    assert [await heard.next(), await heard.next()] == [8, 9]


async def test_a_typo_is_refused_where_what_is_declared_is_known() -> None:
    realtime = Realtime()
    realtime.event("payslip", room="user:{account}")
    url = "redis://127.0.0.1:9"  # Nobody is asked.
    with (
        SyncEmitter(url, realtime=realtime) as emitter,
        pytest.raises(ValueError, match="did you mean 'payslip'"),
    ):
        emitter.notify("paylsip", {"account": "ana"})
    async with Emitter(url, realtime=realtime) as other:
        with pytest.raises(ValueError, match="did you mean 'payslip'"):
            await other.notify("paylsip", {"account": "ana"})


async def test_a_process_of_its_own_needs_no_more_than_the_url(
    served: tuple[Valkey, Server], ana: Client
) -> None:
    heard = Heard(ana, "done")
    code = (
        "import sys; from quart_realtime.emitter import SyncEmitter; "
        "SyncEmitter(sys.argv[1]).notify('done', [1, 2], room='user:ana')"
    )
    command = [sys.executable, "-W", "error", "-c", code, served[0].url]
    ran = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert await heard.next() == [1, 2]


async def test_what_it_sends_is_numbered_with_what_the_app_sends(
    served: tuple[Valkey, Server], ana: Client
) -> None:
    room = await ana.subscribe("numbers:mixed")
    async with Emitter(served[0].url) as emitter:
        await emitter.notify("number", 1, room="numbers:mixed")
        await emitter.notify("number", 2, room="numbers:mixed")
    async with asyncio.timeout(BOUND):
        events = [await anext(room) for _ in range(2)]
    assert [(event.offset, event.data) for event in events] == [(1, 1), (2, 2)]


async def test_a_task_that_is_tried_again_sends_once(
    served: tuple[Valkey, Server], ana: Client
) -> None:
    heard = Heard(ana, "paid")
    with SyncEmitter(served[0].url) as emitter:
        for _ in range(3):
            emitter.notify("paid", 1, room="user:ana", key="invoice 1")
        emitter.notify("paid", 2, room="user:ana", key="invoice 2")
    assert [await heard.next(), await heard.next()] == [1, 2]


async def test_a_user_is_sent_away_from_outside(served: tuple[Valkey, Server], ana: Client) -> None:
    ends: asyncio.Queue[Disconnect] = asyncio.Queue()
    ana.on_disconnect(ends.put_nowait)
    with SyncEmitter(served[0].url) as emitter:
        emitter.disconnect("ana", reason="account closed")
    async with asyncio.timeout(BOUND):
        end = await ends.get()
    assert (end.code, end.reason, end.reconnecting) == (4502, "account closed", False)


@pytest.mark.parametrize("kind", [Emitter, SyncEmitter])
async def test_rights_are_looked_at_again_from_outside(
    served: tuple[Valkey, Server], kind: type[Emitter | SyncEmitter]
) -> None:
    redis, server = served
    club = f"club:{kind.__name__}"
    async with opened(server, make_token("eva")) as eva:
        joining = {"type": "subscribe", "id": "1", "payload": {"rooms": [club]}}
        assert "error" not in (await ask(eva, joining))["payload"]["rooms"][0]
        await call(server, "POST", f"/clubs/{kind.__name__}/shut")
        if kind is Emitter:
            async with Emitter(redis.url) as emitter:
                await emitter.recheck("eva")
        else:
            with SyncEmitter(redis.url) as emitter:
                emitter.recheck("eva")
        frame = await read(eva)
        assert frame["payload"] == {"type": "room_left", "data": {"room": club}}


def test_what_is_declared_is_checked(served: tuple[Valkey, Server]) -> None:
    realtime = Realtime()
    realtime.event("number", int, room="numbers:declared")
    with SyncEmitter(served[0].url, realtime=realtime) as emitter:
        emitter.notify("number", 1)
        with pytest.raises(InvalidPayload):
            emitter.notify("number", "one")
        with pytest.raises(ValueError, match="choose another name"):
            emitter.notify("presence_join", 1)
        with pytest.raises(ValueError, match="can't be a key"):
            emitter.notify("number", 1, key="")


def test_a_room_s_function_of_the_data_is_asked(served: tuple[Valkey, Server]) -> None:
    asked: list[Any] = []

    def where(data: Any) -> str:
        asked.append(data)
        return "numbers:asked"

    async def later(data: Any) -> str:
        await asyncio.sleep(0)  # It waits, if only for a turn.
        return "numbers:asked"

    realtime = Realtime()
    realtime.event("number", int, room=where)
    realtime.event("slow", int, room=later)
    with SyncEmitter(served[0].url, realtime=realtime) as emitter:
        emitter.notify("number", 1)
        with pytest.raises(TypeError, match="use Emitter"):
            emitter.notify("slow", 1)
    assert asked == [1]


async def test_a_room_without_history_stays_so(served: tuple[Valkey, Server], ana: Client) -> None:
    realtime = Realtime()
    realtime.room("numbers:<name>", history=HistoryPolicy(0, 1))(lambda name: True)
    room = await ana.subscribe("numbers:plain")
    async with Emitter(served[0].url, realtime=realtime) as emitter:
        await emitter.notify("number", 1, room="numbers:plain")
    async with asyncio.timeout(BOUND):
        assert (await anext(room)).offset is None


@pytest.mark.parametrize("url", ["memory://", "amqp://localhost", "", None])
@pytest.mark.parametrize("kind", [Emitter, SyncEmitter])
def test_a_url_that_can_t_be_shared_is_refused(kind: Any, url: Any) -> None:
    with pytest.raises(SetupError, match="redis://"):
        kind(url)


def test_an_unknown_option_is_refused() -> None:
    for kind in (Emitter, SyncEmitter):
        with pytest.raises(SetupError, match="'pasword'"):
            kind("redis://localhost/0?pasword=x")


async def test_without_the_redis_library_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['redis'] = None; import quart_realtime.emitter"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, timeout=30
    )
    assert 'ImportError: the emitter needs redis-py 6.4 or newer: pip install "qu' in done.stderr


async def test_without_redis_both_say_so_in_time() -> None:
    with valkey() as redis:
        pass
    started = asyncio.get_running_loop().time()
    with SyncEmitter(redis.url) as emitter, pytest.raises(BrokerUnavailable):
        emitter.notify("number", 1)
    async with Emitter(redis.url) as other:
        with pytest.raises(BrokerUnavailable):
            await other.notify("number", 1)
    gone = f"redis+cluster://127.0.0.1:{redis.port}"
    with SyncEmitter(gone) as emitter, pytest.raises(BrokerUnavailable):
        emitter.notify("number", 1)
    async with Emitter(gone) as other:
        with pytest.raises(BrokerUnavailable):
            await other.notify("number", 1)
    assert asyncio.get_running_loop().time() - started < 20


async def test_both_reach_a_cluster() -> None:
    with cluster() as servers:
        url = cluster_url(servers)
        servers[0].pause()
        async with Emitter(url) as early:
            rooms = [f"numbers:{number}" for number in range(20)]  # A third of them is there.
            with pytest.raises(BrokerUnavailable):
                await early.notify("early", 1, room=rooms)
        servers[0].go_on()
        with serving(APP, BROKER_URL=url) as server:
            async with client(server, "ana") as ana:
                await _both_are_heard(url, ana)


async def test_both_reach_whoever_leads_by_sentinel_s_word() -> None:
    with (
        valkey() as leader,
        replica_of(leader),
        sentinels(leader) as url,
        serving(APP, BROKER_URL=url) as server,
    ):
        async with client(server, "ana") as ana:
            await _both_are_heard(url, ana)


async def _both_are_heard(url: str, ana: Client) -> None:
    heard = Heard(ana, "done")
    with SyncEmitter(url) as emitter:
        await asyncio.to_thread(emitter.notify, "done", 1, room="user:ana")
    async with Emitter(url) as other:
        await other.notify("done", 2, room="user:ana")
    assert [await heard.next(), await heard.next()] == [1, 2]
