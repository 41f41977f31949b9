"""The deadlines of a connection, on a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_realtime.heartbeat import GRACE, Heartbeat
from quart_realtime.protocol import CloseCode
from quart_realtime.settings import Settings
from quart_realtime.wheel import TICK

START = 5000.0
SETTINGS = Settings(auth_timeout=10, idle_timeout=300, ping_interval=25)


def fresh() -> Heartbeat:
    return Heartbeat(SETTINGS, START)


def logged_in(remaining: float | None = None) -> Heartbeat:
    heartbeat = fresh()
    heartbeat.logged_in(START, remaining)
    return heartbeat


def test_a_token_must_come_in_time() -> None:
    heartbeat = fresh()
    assert heartbeat.overdue(START + 9.9) is None
    assert heartbeat.overdue(START + 10) is CloseCode.AUTH_TIMEOUT


def test_talking_does_not_replace_the_token() -> None:
    heartbeat = fresh()
    heartbeat.heard(START + 9)
    heartbeat.answered_ping()
    assert heartbeat.overdue(START + 10) is CloseCode.AUTH_TIMEOUT


def test_a_login_ends_the_wait_for_a_token() -> None:
    assert logged_in().overdue(START + 299) is None


def test_a_token_s_end_is_the_connection_s_unless_a_fresh_one_comes() -> None:
    heartbeat = logged_in(60)
    heartbeat.heard(START + 59)
    assert heartbeat.overdue(START + 59.8) is None
    assert heartbeat.overdue(START + 60) is CloseCode.TOKEN_EXPIRED
    heartbeat.logged_in(START + 59, 100)
    heartbeat.heard(START + 158)
    assert heartbeat.overdue(START + 158) is None
    assert heartbeat.overdue(START + 159) is CloseCode.TOKEN_EXPIRED


def test_a_token_without_an_end_ends_an_earlier_one_s() -> None:
    heartbeat = logged_in(60)
    heartbeat.logged_in(START, None)
    assert heartbeat.overdue(START + 299) is None


@pytest.mark.parametrize("remaining", [0, -5])
def test_a_token_that_is_over_already_closes_at_once(remaining: float) -> None:
    assert logged_in(remaining).overdue(START) is CloseCode.TOKEN_EXPIRED


def test_a_client_that_answers_no_pings_may_be_silent_for_the_idle_timeout() -> None:
    heartbeat = logged_in()
    heartbeat.heard(START + 100)
    assert heartbeat.overdue(START + 399.9) is None
    assert heartbeat.overdue(START + 400) is CloseCode.IDLE_TIMEOUT


def test_a_client_that_answers_pings_is_held_to_it() -> None:
    heartbeat = logged_in()
    heartbeat.heard(START + 100)
    heartbeat.answered_ping()
    longest = 25 + GRACE
    assert heartbeat.overdue(START + 100 + longest - 0.1) is None
    assert heartbeat.overdue(START + 100 + longest) is CloseCode.HEARTBEAT_TIMEOUT


@given(st.floats(0, 9.9))
def test_a_client_that_answers_each_ping_within_the_grace_is_never_closed(lag: float) -> None:
    heartbeat = logged_in()
    now = START
    for _ in range(20):
        now = max(now, heartbeat.next_deadline())
        assert heartbeat.overdue(now) is None
        if heartbeat.wants_ping(now):
            assert heartbeat.overdue(now + lag) is None
            heartbeat.heard(now + lag)
            heartbeat.answered_ping()


def test_pings_come_at_the_interval_give_or_take_a_tenth() -> None:
    heartbeat, now = logged_in(), START
    gaps = set()
    for _ in range(200):
        heartbeat.heard(now)
        due = heartbeat.next_deadline()
        assert not heartbeat.wants_ping(due - 0.01)
        assert heartbeat.wants_ping(due)
        assert not heartbeat.wants_ping(due)
        gaps.add(due - now)
        now = due
    assert 22.49 <= min(gaps) < max(gaps) <= 27.51
    assert len(gaps) > 100


def test_a_late_ping_is_sent_once_and_not_made_up_for() -> None:
    heartbeat = logged_in()
    assert heartbeat.wants_ping(START + 1000)
    assert not heartbeat.wants_ping(START + 1001)


def test_a_connection_before_login_is_pinged_too() -> None:
    heartbeat = Heartbeat(Settings(auth_timeout=100, ping_interval=25), START)
    assert heartbeat.wants_ping(START + 27.6)


@given(
    st.floats(0.5, 400),
    st.none() | st.floats(0.5, 400),
    st.booleans(),
    st.booleans(),
    st.floats(0, 500),
)
def test_nothing_is_due_before_the_next_deadline(
    quiet: float, remaining: float | None, answers: bool, login: bool, later: float
) -> None:
    heartbeat = fresh()
    if login:
        heartbeat.logged_in(START, remaining)
    if answers:
        heartbeat.answered_ping()
    heartbeat.heard(START + quiet)
    due = heartbeat.next_deadline()
    before = min(due - 1e-6, START + later)
    assert heartbeat.overdue(before) is None
    assert not heartbeat.wants_ping(before)
    assert heartbeat.overdue(due) is not None or heartbeat.wants_ping(due)


def test_a_token_s_end_is_noticed_before_it_comes_however_late_an_alarm_is() -> None:
    heartbeat = logged_in(60)
    due = heartbeat.next_deadline()
    while heartbeat.overdue(due) is None:
        heartbeat.heard(due)
        heartbeat.wants_ping(due)
        due = heartbeat.next_deadline()
    assert due + TICK <= START + 60
    assert heartbeat.overdue(due) is CloseCode.TOKEN_EXPIRED
