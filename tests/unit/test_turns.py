"""Writing to many sockets, so many in a turn of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from quart_realtime.turns import SOCKETS_A_TURN, Flusher

from .fakes import BOUND


class Socket:
    """Notes in a log that it was flushed."""

    def __init__(self, log: list[Any], name: Any, then: Callable[[], None] | None = None) -> None:
        self._log = log
        self._name = name
        self._then = then

    def flush(self) -> None:
        self._log.append(self._name)
        if self._then is not None:
            self._then()


async def caught_up(flusher: Flusher) -> None:
    async with asyncio.timeout(BOUND):
        await flusher.catch_up()


async def test_a_socket_is_flushed_when_the_turn_is_over_and_not_before() -> None:
    log: list[Any] = []
    flusher = Flusher()
    flusher.add(Socket(log, "a"))
    assert log == []
    await caught_up(flusher)
    assert log == ["a"]


async def test_sockets_are_flushed_in_the_order_that_they_were_added() -> None:
    log: list[Any] = []
    flusher = Flusher()
    for n in range(10):
        flusher.add(Socket(log, n))
    await caught_up(flusher)
    assert log == list(range(10))


async def test_many_sockets_leave_other_work_its_turn() -> None:
    log: list[Any] = []
    flusher = Flusher()
    for n in range(2 * SOCKETS_A_TURN + 1):
        flusher.add(Socket(log, n))
    loop = asyncio.get_running_loop()
    turns: list[int] = []

    def work() -> None:
        turns.append(len(log))
        if len(turns) < 3:
            loop.call_soon(work)

    loop.call_soon(work)
    await caught_up(flusher)
    await asyncio.sleep(0)
    assert turns == [SOCKETS_A_TURN, 2 * SOCKETS_A_TURN, 2 * SOCKETS_A_TURN + 1]
    assert log == list(range(2 * SOCKETS_A_TURN + 1))


async def test_what_is_added_by_a_flush_is_flushed_too() -> None:
    log: list[Any] = []
    flusher = Flusher()
    flusher.add(Socket(log, "a", lambda: flusher.add(Socket(log, "b"))))
    await caught_up(flusher)
    assert log == ["a", "b"]


async def test_a_flusher_that_has_caught_up_goes_on_with_what_comes_later() -> None:
    log: list[Any] = []
    flusher = Flusher()
    for n in range(3):
        flusher.add(Socket(log, n))
        await caught_up(flusher)
    assert log == [0, 1, 2]


async def test_catching_up_waits_for_the_last_socket() -> None:
    log: list[Any] = []
    flusher = Flusher()
    for n in range(3 * SOCKETS_A_TURN):
        flusher.add(Socket(log, n))
    await caught_up(flusher)
    assert len(log) == 3 * SOCKETS_A_TURN


async def test_nothing_owed_is_caught_up_with_at_once() -> None:
    await caught_up(flusher := Flusher())
    catching_up = asyncio.ensure_future(flusher.catch_up())
    await asyncio.sleep(0)
    assert catching_up.done()


async def test_a_socket_that_cannot_be_flushed_holds_up_no_other() -> None:
    """The event loop is told of the failure."""
    log: list[Any] = []
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    flusher = Flusher()

    def fail() -> None:
        raise RuntimeError("flushing failed")

    flusher.add(Socket(log, "fails", fail))
    flusher.add(Socket(log, "other"))
    await asyncio.sleep(0)
    flusher.add(Socket(log, "later"))
    await caught_up(flusher)
    assert log == ["fails", "other", "later"]
