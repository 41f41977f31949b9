"""A time limit that costs nothing where nothing is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

from .errors import RealtimeError, RequestTimeout

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* comes to; only when it first has to wait is the clock set.

    Raises:
        RequestTimeout: it had to wait for more than so many seconds.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    try:
        async with asyncio.timeout(seconds) as limit:
            return await _go_on(work, waits_for)
    except Exception as error:
        # Work that is interrupted may well fail in a way of its own.
        if limit.expired() and not isinstance(error, RealtimeError):
            raise RequestTimeout(seconds) from error
        raise


@coroutine
def _go_on(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Await *work*, which has begun already and waits for that."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:
                waits_for = work.throw(error)
            else:
                waits_for = work.send(sent)
    except StopIteration as done:
        result: T = done.value
        return result


async def contained(work: Awaitable[T]) -> T:
    """Return what *work* comes to; if that awaits something which is cancelled, it has failed.

    Cancelling the task that runs it is another matter, and goes through.

    Raises:
        RuntimeError: so it has.
    """
    try:
        return await work
    except asyncio.CancelledError as error:
        if ends_its_task(error):
            raise
        raise RuntimeError("something that was awaited has been cancelled") from error


def ends_its_task(error: BaseException) -> bool:
    """Tell whether *error* says that the task which runs is to end, and no more than that."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)
