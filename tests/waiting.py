"""Waiting for what nobody tells of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

AGAIN = 0.02
"""After how many seconds it is asked again."""


async def until(true: Callable[[], Any], within: float = 15.0) -> Any:
    """Return what *true* returns, or what that comes to, as soon as it is true.

    For the state of another process, or of what has no event for it: whatever can be awaited is
    better awaited.
    """
    async with asyncio.timeout(within):
        while True:
            said = true()
            if isawaitable(said):
                said = await said
            if said:
                return said
            await asyncio.sleep(AGAIN)


def until_true(true: Callable[[], Any], within: float) -> Any:
    """Return what *true* returns as soon as it is true, outside of an event loop.

    Raises:
        TimeoutError: it never was.
    """
    deadline = time.monotonic() + within
    while not (said := true()):
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(AGAIN)
    return said
