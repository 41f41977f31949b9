"""The requests of a connection in flight: one answer each, in bounded numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from typing import Any

import pytest

from quart_realtime.errors import Conflict, NotFound, RateLimited, RealtimeError
from quart_realtime.jobs import WAITING, Jobs

from .fakes import BOUND


class Owner:
    """Runs jobs, and keeps the errors that were sent."""

    def __init__(self, running: int) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self.errors: list[tuple[str, str]] = []
        self.jobs = Jobs(running, self.spawn, self.send_error)

    def spawn(self, work: Coroutine[Any, Any, None], context: Context | None = None) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work, context=context))

    def send_error(self, job_id: str, error: RealtimeError) -> None:
        self.errors.append((job_id, error.code))

    async def done(self) -> None:
        """Wait until all that runs, and all that follows it, has ended."""
        async with asyncio.timeout(BOUND):
            for task in self.tasks:  # More come while we wait.
                await task


async def nothing() -> None: ...


async def test_jobs_beyond_the_slots_wait_and_run_in_their_order() -> None:
    owner, ran, gate = Owner(2), [], asyncio.Event()

    def job(number: int) -> Any:
        async def work() -> None:
            ran.append(number)
            await gate.wait()

        return work

    for n in range(5):
        owner.jobs.offer(str(n), job(n))
    await asyncio.sleep(0)
    assert ran == [0, 1]
    gate.set()
    await owner.done()
    assert ran == [0, 1, 2, 3, 4]


async def test_an_id_in_flight_is_a_conflict_and_free_again_afterwards() -> None:
    owner = Owner(1)
    owner.jobs.offer("a", nothing)
    owner.jobs.offer("waiting", nothing)
    for taken in ("a", "waiting"):
        with pytest.raises(Conflict):
            owner.jobs.offer(taken, nothing)
    await owner.done()
    owner.jobs.offer("a", nothing)
    await owner.done()
    assert owner.errors == []


async def test_too_many_that_wait_are_refused_and_their_ids_stay_free() -> None:
    owner = Owner(1)
    for n in range(1 + WAITING):
        owner.jobs.offer(str(n), nothing)
    for _ in range(2):
        with pytest.raises(RateLimited):
            owner.jobs.offer("one too many", nothing)
    await owner.done()
    assert len(owner.tasks) == 1 + WAITING


async def test_a_job_that_fails_is_answered_and_frees_its_slot(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def missing() -> None:
        raise NotFound

    async def broken() -> None:
        raise ZeroDivisionError("secret")

    owner, ran = Owner(1), []

    async def fine() -> None:
        ran.append(1)

    owner.jobs.offer("a", missing)
    owner.jobs.offer("b", broken)
    owner.jobs.offer("c", fine)
    await owner.done()
    assert owner.errors == [("a", "not_found"), ("b", "internal_error")]
    assert ran == [1]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_what_a_job_leaves_in_its_context_is_not_there_for_the_next() -> None:
    owner, seen = Owner(1), []
    variable: ContextVar[str] = ContextVar("variable", default="clean")
    variable.set("the reader's")

    async def job() -> None:
        seen.append(variable.get())
        variable.set("left behind")

    for n in range(3):
        owner.jobs.offer(str(n), job)
    await owner.done()
    assert seen == ["clean"] * 3


async def test_jobs_that_wait_are_forgotten_by_clear_and_the_running_go_on() -> None:
    owner, ran = Owner(1), []

    def job(name: str) -> Any:
        async def work() -> None:
            ran.append(name)

        return work

    owner.jobs.offer("a", job("a"))
    owner.jobs.offer("b", job("b"))
    owner.jobs.clear()
    await owner.done()
    assert ran == ["a"]
