"""The timer of all connections, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_realtime import wheel as module
from quart_realtime.wheel import TICK, TimerWheel

from .fakes import BOUND, Clock


class Timer:
    def __init__(self, when: float, ring: Callable[[], None]) -> None:
        self.when = when
        self.ring = ring
        self.is_set = True

    def cancel(self) -> None:
        self.is_set = False


class Loop(Clock):
    """An event loop's timers, on a clock that goes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.all_timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, ring: Callable[[], None]) -> Timer:
        self.all_timers.append(timer := Timer(when, ring))
        return timer

    @property
    def timers(self) -> list[Timer]:
        return [timer for timer in self.all_timers if timer.is_set]

    def forward(self, seconds: float) -> None:
        """Go on, and ring at its time whatever is due."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.when <= end]:
            timer = min(due, key=lambda timer: timer.when)
            self.now = max(self.now, timer.when)
            timer.is_set = False
            timer.ring()
        self.now = end


class Sleeper:
    """Notes when it was woken, and does what it is to do then."""

    def __init__(self, loop: Loop, then: Callable[[], object] | None = None) -> None:
        self.alarm: int | None = None
        self.woken: list[float] = []
        self._loop = loop
        self._then = then

    def wake(self) -> None:
        self.woken.append(self._loop.now)
        if self._then is not None:
            self._then()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))
    return loop


@pytest.fixture
def wheel() -> TimerWheel:
    return TimerWheel()


def test_a_sleeper_is_woken_once_and_not_before_its_time(loop: Loop, wheel: TimerWheel) -> None:
    sleeper = Sleeper(loop)
    wheel.set(sleeper, loop.now + 10.01)
    loop.forward(10)
    assert sleeper.woken == []
    loop.forward(100)
    assert len(sleeper.woken) == 1
    assert 1010.01 <= sleeper.woken[0] <= 1010.01 + TICK
    assert sleeper.alarm is None


@given(st.lists(st.floats(min_value=0, max_value=1000), min_size=1, max_size=20))
def test_each_is_woken_at_its_own_time_whatever_the_order(delays: list[float]) -> None:
    loop = Loop()
    wheel = TimerWheel()
    sleepers = [Sleeper(loop) for _ in delays]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))
        for sleeper, delay in zip(sleepers, delays, strict=True):
            wheel.set(sleeper, 1000 + delay)
        loop.forward(1001)
    for sleeper, delay in zip(sleepers, delays, strict=True):
        (woken,) = sleeper.woken
        # But for what a float can't tell apart.
        assert 1000 + delay - 1e-9 <= woken <= 1000 + delay + TICK + 1e-9
    assert loop.timers == []


def test_one_timer_serves_all(loop: Loop, wheel: TimerWheel) -> None:
    sleepers = [Sleeper(loop) for _ in range(50)]
    for sleeper, delay in zip(sleepers, itertools.cycle((3, 1, 2)), strict=False):
        wheel.set(sleeper, loop.now + delay)
        assert len(loop.timers) == 1
    loop.forward(1 + TICK)
    assert sum(len(sleeper.woken) for sleeper in sleepers) == 16 + 1
    assert len(loop.timers) == 1


def test_a_timer_that_rings_too_early_is_wound_again(loop: Loop, wheel: TimerWheel) -> None:
    sleeper = Sleeper(loop)
    wheel.set(sleeper, loop.now + 1)
    (timer,) = loop.timers
    timer.is_set = False
    timer.ring()
    assert sleeper.woken == []
    loop.forward(1 + TICK)
    assert len(sleeper.woken) == 1


@pytest.mark.parametrize("second", [5, 20])
def test_setting_anew_voids_what_was_set_before(
    loop: Loop, wheel: TimerWheel, second: float
) -> None:
    sleeper = Sleeper(loop)
    wheel.set(sleeper, loop.now + 10)
    wheel.set(sleeper, loop.now + second)
    loop.forward(100)
    assert sleeper.woken == [pytest.approx(1000 + second, abs=TICK)]


def test_setting_the_same_time_again_wakes_once(loop: Loop, wheel: TimerWheel) -> None:
    sleeper = Sleeper(loop)
    for _ in range(3):
        wheel.set(sleeper, loop.now + 10)
    loop.forward(100)
    assert len(sleeper.woken) == 1


def test_what_is_past_already_rings_as_soon_as_may_be(loop: Loop, wheel: TimerWheel) -> None:
    sleeper = Sleeper(loop)
    wheel.set(sleeper, loop.now - 100)
    assert sleeper.woken == []
    loop.forward(0)
    assert sleeper.woken == [1000]


def test_a_sleeper_that_is_cancelled_sleeps_on(loop: Loop, wheel: TimerWheel) -> None:
    one, other = Sleeper(loop), Sleeper(loop)
    wheel.set(one, loop.now + 1)
    wheel.set(other, loop.now + 1)
    wheel.cancel(one)
    wheel.cancel(one)
    loop.forward(100)
    assert one.woken == []
    assert len(other.woken) == 1


def test_one_that_was_never_set_can_be_cancelled(loop: Loop, wheel: TimerWheel) -> None:
    sleeper = Sleeper(loop)
    wheel.cancel(sleeper)
    assert sleeper.alarm is None
    assert loop.all_timers == []


def test_a_cancelled_sleeper_can_be_set_again(loop: Loop, wheel: TimerWheel) -> None:
    sleeper = Sleeper(loop)
    wheel.set(sleeper, loop.now + 1)
    wheel.cancel(sleeper)
    wheel.set(sleeper, loop.now + 1)
    loop.forward(100)
    assert len(sleeper.woken) == 1


def test_a_sleeper_that_fails_is_logged_and_the_others_are_woken(
    loop: Loop, wheel: TimerWheel, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("waking failed")

    failing = [Sleeper(loop, fail) for _ in range(3)]
    others = [Sleeper(loop) for _ in range(3)]
    later = Sleeper(loop)
    for sleeper in (*failing, *others):
        wheel.set(sleeper, loop.now + 1)
    wheel.set(later, loop.now + 2)
    with caplog.at_level(logging.ERROR, "quart_realtime"):
        loop.forward(100)
    assert [len(sleeper.woken) for sleeper in (*failing, *others, later)] == [1] * 7
    assert len(caplog.records) == 3
    assert "waking failed" in caplog.text


def test_whom_another_s_alarm_cancels_in_the_same_tick_is_not_woken(
    loop: Loop, wheel: TimerWheel
) -> None:
    """Whichever comes first puts all others to sleep."""
    sleepers: list[Sleeper] = []

    def cancel_all() -> None:
        for sleeper in sleepers:
            wheel.cancel(sleeper)

    sleepers.extend(Sleeper(loop, cancel_all) for _ in range(5))
    for sleeper in sleepers:
        wheel.set(sleeper, loop.now + 1)
    loop.forward(100)
    assert sum(len(sleeper.woken) for sleeper in sleepers) == 1


def test_whom_another_s_alarm_sets_anew_is_woken_then_and_only_then(
    loop: Loop, wheel: TimerWheel
) -> None:
    sleepers: list[Sleeper] = []

    def put_off_all() -> None:
        for sleeper in sleepers:
            if not sleeper.woken:
                wheel.set(sleeper, loop.now + 10)

    sleepers.extend(Sleeper(loop, put_off_all) for _ in range(3))
    for sleeper in sleepers:
        wheel.set(sleeper, loop.now + 1)
    loop.forward(100)
    woken = sorted(sleeper.woken for sleeper in sleepers)
    assert woken == [[pytest.approx(1000 + n, abs=n * TICK)] for n in (1, 11, 21)]


def test_a_sleeper_may_set_itself_again_when_it_is_woken(loop: Loop, wheel: TimerWheel) -> None:
    sleeper = Sleeper(loop, lambda: wheel.set(sleeper, loop.now + 10))
    wheel.set(sleeper, loop.now + 10)
    loop.forward(35)
    assert sleeper.woken == [pytest.approx(1000 + n, abs=4 * TICK) for n in (10, 20, 30)]
    assert len(loop.timers) == 1


def test_one_that_is_due_at_once_when_it_is_woken_is_woken_again(
    loop: Loop, wheel: TimerWheel
) -> None:
    def again() -> None:
        if len(sleeper.woken) < 3:
            wheel.set(sleeper, loop.now - 1)

    sleeper = Sleeper(loop, again)
    wheel.set(sleeper, loop.now + 1)
    loop.forward(2)
    assert len(sleeper.woken) == 3


def test_an_earlier_one_that_is_set_later_rings_first(loop: Loop, wheel: TimerWheel) -> None:
    order: list[str] = []
    late = Sleeper(loop, lambda: order.append("late"))
    early = Sleeper(loop, lambda: order.append("early"))
    wheel.set(late, loop.now + 50)
    wheel.set(early, loop.now + 1)
    loop.forward(2)
    assert order == ["early"]
    loop.forward(100)
    assert order == ["early", "late"]


def test_an_idle_wheel_has_no_timer(loop: Loop, wheel: TimerWheel) -> None:
    assert loop.timers == []
    rung, cancelled = Sleeper(loop), Sleeper(loop)
    wheel.set(rung, loop.now + 1)
    wheel.set(cancelled, loop.now + 2)
    wheel.cancel(cancelled)
    loop.forward(3)
    assert loop.timers == []
    wheel.set(rung, loop.now + 1)
    loop.forward(3)
    assert len(rung.woken) == 2
    assert loop.timers == []


async def test_the_event_loop_s_own_clock_rings_it() -> None:
    loop = asyncio.get_running_loop()
    rung = asyncio.Event()

    class Waiting:
        alarm: int | None = None

        def wake(self) -> None:
            rung.set()

    wheel = TimerWheel()
    when = loop.time() + TICK
    wheel.set(Waiting(), when)
    async with asyncio.timeout(BOUND):
        await rung.wait()
    assert loop.time() >= when
