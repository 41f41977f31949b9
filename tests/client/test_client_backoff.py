from __future__ import annotations

import pytest

from quart_realtime.client import Backoff


@pytest.mark.parametrize(
    ("failures", "shortest", "longest"),
    [(0, 0.5, 1.0), (1, 0.5, 1.5), (3, 0.5, 4.5), (5, 0.5, 16.5), (6, 0.5, 20.0), (5000, 0.5, 20)],
)
def test_a_wait_lies_between_the_floor_and_a_span_that_doubles(failures, shortest, longest):
    assert Backoff(random=lambda: 0.0).delay(failures) == shortest
    assert Backoff(random=lambda: 1.0).delay(failures) == longest


@pytest.mark.parametrize(("asked", "longest"), [(5, 5), (3600, 60), (0, 0), (-1, 0)])
def test_a_server_that_asks_for_a_return_gets_it_spread_over_a_minute_at_most(asked, longest):
    assert Backoff(random=lambda: 0.0).spread(asked) == 0
    assert Backoff(random=lambda: 1.0).spread(asked) == longest


def test_waits_are_drawn_at_random():
    assert len({Backoff().delay(3) for _ in range(20)}) > 1
