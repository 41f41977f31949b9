"""How many get in at a time, and what those are told who don't."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from quart_realtime.admission import AT_ONCE, LONGEST, TOO_LATE, WAITING, Admission, Busy, Turnstile
from quart_realtime.errors import TokenRefused
from quart_realtime.lag import LagMeter

from ..waiting import until

RETRY_AFTER = 5.0


class Crowd:
    """Clients who want to come in, each of whom stays in the door until it is let go."""

    def __init__(self, lag: float = 0.0) -> None:
        self.lag = lag
        self.now = 0.0
        self.admission = Admission(lambda: self.lag, RETRY_AFTER, clock=lambda: self.now)
        self.entered: list[int] = []
        self.refused: list[float] = []
        self.go_on = asyncio.Event()

    async def come(self, number: int) -> None:
        try:
            async with self.admission.entering():
                self.entered.append(number)
                await self.go_on.wait()
        except Busy as error:
            self.refused.append(error.retry_after)

    async def all_come(self, group: asyncio.TaskGroup, count: int) -> list[asyncio.Task[None]]:
        tasks = [group.create_task(self.come(number)) for number in range(count)]
        await asyncio.sleep(0)  # Each has come as far as it gets.
        return tasks


async def test_so_many_come_in_at_once_and_the_others_in_their_order() -> None:
    crowd = Crowd()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        await crowd.all_come(group, AT_ONCE + 10)
        assert crowd.entered == list(range(AT_ONCE))
        crowd.go_on.set()
    assert crowd.entered == list(range(AT_ONCE + 10))
    assert not crowd.refused


async def test_who_finds_no_place_to_wait_is_told_to_come_back() -> None:
    crowd = Crowd()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        await crowd.all_come(group, AT_ONCE + WAITING + 3)
        assert crowd.refused == [RETRY_AFTER] * 3
        crowd.go_on.set()
    assert len(crowd.entered) == AT_ONCE + WAITING


async def test_the_more_are_turned_away_the_longer_is_the_time_to_come_back_within() -> None:
    crowd = Crowd()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        await crowd.all_come(group, AT_ONCE + WAITING + 20_000)
        assert crowd.refused == sorted(crowd.refused)
        assert crowd.refused[-1] == LONGEST
        crowd.now = LONGEST + 1
        await crowd.come(0)  # All of those have come, as far as is known.
        assert crowd.refused[-1] == RETRY_AFTER
        crowd.go_on.set()


async def test_the_time_to_come_back_within_is_by_the_pace_at_which_others_got_in_lately() -> None:
    crowd = Crowd()
    crowd.go_on.set()
    for _ in range(40):  # Ten a second.
        crowd.now += 0.1
        await crowd.come(0)
    crowd.go_on.clear()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        await crowd.all_come(group, AT_ONCE + WAITING + 101)
        assert crowd.refused[-1] == pytest.approx(10, rel=0.1)
        crowd.go_on.set()


async def test_while_the_event_loop_is_late_nobody_waits_but_an_empty_door_is_open() -> None:
    crowd = Crowd(lag=2 * TOO_LATE)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        await crowd.all_come(group, AT_ONCE + 1)
        assert (len(crowd.entered), len(crowd.refused)) == (AT_ONCE, 1)
        crowd.lag = 0.0
        waiting = group.create_task(crowd.come(-1))
        crowd.go_on.set()
        await waiting
    assert crowd.entered[-1] == -1


async def test_who_goes_away_while_waiting_leaves_its_place_to_others() -> None:
    crowd = Crowd()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        tasks = await crowd.all_come(group, AT_ONCE + WAITING)
        for task in tasks[AT_ONCE:]:
            task.cancel()
        await asyncio.wait(tasks[AT_ONCE:])
        await crowd.all_come(group, WAITING)
        assert not crowd.refused
        crowd.go_on.set()
    assert len(crowd.entered) == AT_ONCE + WAITING


async def test_a_door_that_was_closed_by_an_error_is_open_again() -> None:
    admission = Admission(lambda: 0.0, RETRY_AFTER)
    for _ in range(2 * AT_ONCE):
        with pytest.raises(LookupError):
            async with admission.entering():
                raise LookupError
    async with asyncio.timeout(1), AsyncExitStack() as stack:
        for _ in range(AT_ONCE):
            await stack.enter_async_context(admission.entering())


async def test_an_event_loop_that_was_held_up_is_late_by_that() -> None:
    meter = LagMeter()
    meter.start()
    time.sleep(0.4)  # noqa: ASYNC251  (it is what holds up an event loop)
    most = 0.0

    def noticed() -> bool:
        nonlocal most
        most = max(most, meter.take_most())
        return most > 0

    await until(noticed, 5)
    assert most >= 0.25
    meter.stop()
    assert meter.now == 0
    assert meter.take_most() == 0


async def test_so_many_pass_in_a_turn_of_the_event_loop_and_the_others_in_their_order() -> None:
    turnstile = Turnstile(3)
    turn = 0
    passed: list[tuple[int, int]] = []

    async def come(number: int) -> None:
        await turnstile.pass_through()
        passed.append((number, turn))

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        tasks = [group.create_task(come(number)) for number in range(20)]
        tasks[7].cancel()
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            turn += 1
    numbers = [number for number, _ in passed]
    assert numbers == [number for number in range(20) if number != 7]
    turns = [turn for _, turn in passed]
    assert max(turns.count(turn) for turn in turns) <= 3


async def test_who_comes_alone_passes_at_once() -> None:
    turnstile = Turnstile(1)
    for _ in range(5):
        await turnstile.pass_through()
        await asyncio.sleep(0)


async def test_who_waits_too_long_is_told_to_come_back() -> None:
    admission = Admission(lambda: 0.0, RETRY_AFTER, patience=0.05)
    async with asyncio.timeout(10), AsyncExitStack() as doors:
        for _ in range(AT_ONCE):
            await doors.enter_async_context(admission.entering())
        with pytest.raises(Busy):
            async with admission.entering():
                pass
    async with admission.entering():
        pass


async def test_who_is_refused_says_nothing_of_the_pace() -> None:
    crowd = Crowd()
    for _ in range(1000):
        with pytest.raises(TokenRefused):
            async with crowd.admission.entering():
                raise TokenRefused("it is none")
    assert not crowd.admission._entered
