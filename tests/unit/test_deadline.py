"""A time limit whose clock is set only when there is something to wait for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quart_realtime.deadline import within
from quart_realtime.errors import Conflict, RequestTimeout


async def test_work_that_never_waits_is_done_without_a_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> str:
        return "done"

    async def failing() -> None:
        raise ValueError("wrong")

    monkeypatch.setattr(asyncio, "timeout", None)
    assert await within(0, work()) == "done"
    with pytest.raises(ValueError, match="wrong"):
        await within(0, failing())


async def test_work_that_waits_goes_on_with_what_it_waited_for() -> None:
    waited: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> list[Any]:
        seen: list[Any] = [await waited]
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            seen.append("no event")
        return [*seen, await asyncio.sleep(0, "slept")]  # A bare yield, which is no future.

    asyncio.get_running_loop().call_soon(waited.set_result, "told")
    assert await within(5, work()) == ["told", "no event", "slept"]


async def test_work_that_waits_too_long_is_interrupted() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(RequestTimeout, match=r"0\.01 s"):
        await within(0.01, work())
    assert ended == [True]


async def test_what_interrupted_work_fails_with_is_the_time_out_unless_it_is_for_the_client() -> (
    None
):
    async def work(error: Exception) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error from None

    with pytest.raises(RequestTimeout):
        await within(0.01, work(ValueError()))
    with pytest.raises(Conflict):
        await within(0.01, work(Conflict("no")))


async def test_a_failure_in_time_is_the_works_own() -> None:
    async def work() -> None:
        await asyncio.sleep(0)  # So that the clock is set.
        raise TimeoutError("of something else")

    with pytest.raises(TimeoutError, match="something else"):
        await within(5, work())


async def test_who_cancels_it_cancels_the_work() -> None:
    started = asyncio.Event()
    ended = []

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(True)
            raise

    task = asyncio.create_task(within(60, work()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
