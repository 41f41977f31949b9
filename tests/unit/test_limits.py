"""Rates, strikes and slots."""

from __future__ import annotations

import time

import pytest

from quart_realtime.broker import MemoryBroker
from quart_realtime.errors import RateLimited
from quart_realtime.limits import (
    STRIKES,
    KeptAnswers,
    MessageLimiter,
    Running,
    Slots,
    UserLimiter,
    Windows,
    parse_rates,
)

from .fakes import Clock


def allowed(limiter: MessageLimiter, connection: str, times: int) -> int:
    """Ask so many times, and return how often it was allowed."""
    count = 0
    for _ in range(times):
        try:
            limiter.check(connection)
        except RateLimited:
            continue
        count += 1
    return count


def test_a_connection_may_send_as_much_as_its_rate_and_no_more() -> None:
    assert allowed(MessageLimiter("5/hour"), "c", 8) == 5


def test_what_is_refused_tells_how_long_to_wait() -> None:
    limiter = MessageLimiter("1/minute")
    limiter.check("c")
    with pytest.raises(RateLimited) as caught:
        limiter.check("c")
    assert 0 < caught.value.retry_after <= 60
    assert caught.value.details["retry_after"] == caught.value.retry_after


def test_connections_are_counted_apart() -> None:
    limiter = MessageLimiter("2/hour")
    assert allowed(limiter, "a", 3) == 2
    assert allowed(limiter, "b", 3) == 2


def test_the_strictest_of_several_rates_holds() -> None:
    assert allowed(MessageLimiter("100/second; 3/hour"), "c", 9) == 3


def test_without_a_rate_there_is_no_limit() -> None:
    assert allowed(MessageLimiter(None), "c", 10_000) == 10_000


def test_a_connection_that_has_ended_is_forgotten() -> None:
    limiter = MessageLimiter("2/hour")
    assert allowed(limiter, "c", 3) == 2
    limiter.forget("c")
    assert allowed(limiter, "c", 3) == 2


def test_forgetting_a_stranger_does_no_harm() -> None:
    MessageLimiter("2/hour").forget("nobody")
    MessageLimiter(None).forget("nobody")


def user_limiter(rate: str | None = None) -> UserLimiter:
    return UserLimiter(MemoryBroker(), rate)


async def test_a_handler_s_rate_counts_each_user_and_each_handler_apart() -> None:
    limiter = user_limiter()
    await limiter.check_handler("messages.create", "1/hour", "ann")
    await limiter.check_handler("messages.create", "1/hour", "bob")
    await limiter.check_handler("messages.delete", "1/hour", "ann")
    with pytest.raises(RateLimited):
        await limiter.check_handler("messages.create", "1/hour", "ann")


async def test_a_user_may_ask_for_so_much_whatever_it_is() -> None:
    limiter = user_limiter("2/hour")
    await limiter.check("ann")
    await limiter.check("ann")
    await limiter.check("bob")
    with pytest.raises(RateLimited) as caught:
        await limiter.check("ann")
    assert 0 < caught.value.retry_after <= 3600


async def test_a_slash_in_a_user_s_name_changes_nothing() -> None:
    limiter = user_limiter()
    await limiter.check_handler("a", "1/hour", "b/c")
    await limiter.check_handler("a/b", "1/hour", "c")


def test_a_client_has_so_many_strikes_and_then_no_more() -> None:
    limiter = MessageLimiter(None)
    assert all(limiter.strike("c") for _ in range(STRIKES[0].amount))
    assert not limiter.strike("c")
    assert limiter.strike("another")
    limiter.forget("c")
    assert limiter.strike("c")


def test_a_clock_that_is_set_back_throws_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = MessageLimiter("5/second")
    assert allowed(limiter, "c", 5) == 5
    earlier = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: earlier)
    with pytest.raises(RateLimited) as caught:
        limiter.check("c")
    assert caught.value.retry_after <= 1
    later = time.monotonic() + 1.1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    limiter.check("c")


def test_what_is_counted_is_forgotten_when_it_no_longer_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    windows, rates = Windows(), parse_rates("5/minute")
    for n in range(100):
        windows.count(f"user {n}", rates)
    later = time.monotonic() + 121
    monkeypatch.setattr(time, "monotonic", lambda: later)
    windows.count("another", rates)
    assert windows._limiter.storage.reset() == 1


# Slots


def started(slots: Slots, names: str) -> tuple[list[str], list[bool]]:
    """Offer a job for each letter; return those that were started, and which were taken."""
    running: list[str] = []
    taken = [slots.offer(lambda name=name: running.append(name)) for name in names]  # type: ignore[misc]
    return running, taken


def test_as_many_run_at_once_as_there_are_slots_and_the_rest_waits_in_order() -> None:
    slots = Slots(2, 10)
    running, taken = started(slots, "abcde")
    assert all(taken)
    assert running == ["a", "b"]
    slots.done()
    slots.done()
    slots.done()
    assert running == list("abcde")


def test_what_finds_no_place_to_wait_is_refused() -> None:
    slots = Slots(1, 2)
    running, taken = started(slots, "abcd")
    assert taken == [True, True, True, False]
    slots.done()
    assert slots.offer(lambda: running.append("e"))
    assert running == ["a", "b"]


def test_a_slot_that_nobody_waits_for_is_free_again() -> None:
    slots = Slots(1, 0)
    for _ in range(3):
        running, taken = started(slots, "ab")
        assert (running, taken) == (["a"], [True, False])
        slots.done()


def test_who_waits_is_forgotten_by_clear() -> None:
    slots = Slots(1, 5)
    running, _ = started(slots, "abc")
    slots.clear()
    slots.done()
    assert running == ["a"]
    assert slots.offer(lambda: running.append("d"))
    assert running == ["a", "d"]


def test_a_job_that_ends_at_once_lets_the_next_run() -> None:
    slots, ran = Slots(1, 200), []

    def job() -> None:
        ran.append(1)
        slots.done()

    assert slots.offer(lambda: None)
    assert all(slots.offer(job) for _ in range(100))
    slots.done()
    assert len(ran) == 100


def test_what_one_of_several_rates_refuses_is_counted_by_none() -> None:
    windows, rates = Windows(), parse_rates("3/minute; 1/second")
    assert windows.count("c", rates) == 0.0
    for _ in range(10):
        assert 0 < windows.count("c", rates) <= 1
    hits = windows._limiter.get_window_stats(rates[0], "c")
    assert hits.remaining == 2


def test_of_several_rates_that_refuse_the_longest_wait_is_told() -> None:
    windows, rates = Windows(), parse_rates("1/second; 1/hour")
    windows.count("c", rates)
    assert windows.count("c", rates) > 3_000


def test_so_much_is_kept_of_one_user_until_it_is_over() -> None:
    clock = Clock()
    kept = KeptAnswers(10_000, clock)
    for _ in range(2):
        kept.check("ana")
        kept.add("ana", 6_000, ttl=120)
        clock.now += 10
    with pytest.raises(RateLimited) as caught:
        kept.check("ana")
    assert caught.value.retry_after == 100
    kept.check("luis")
    clock.now += 100
    kept.check("ana")


def test_nothing_is_left_of_what_is_no_longer_kept() -> None:
    clock = Clock()
    kept = KeptAnswers(10_000, clock)
    for number in range(100):
        kept.add(f"user {number}", 10, ttl=120)
    clock.now += 200
    kept.check("luis")
    assert kept._kept == {}
    assert kept._sizes == {}


def test_so_many_requests_of_one_user_run_at_once() -> None:
    running = Running(2)
    with running.one("ana"):
        with running.one("ana"):
            with pytest.raises(RateLimited), running.one("ana"):
                pass
            with running.one("luis"):
                pass
        with running.one("ana"):
            pass
    assert not running._counts
