"""Rate and time left of a cell, by a clock that the test reads."""

from __future__ import annotations

from crucibench.cli._progress import Pace


def test_rate_and_time_left() -> None:
    pace = Pace(1000, 0.0)
    assert (pace.rate(1.0), pace.seconds_left(1.0)) == (None, None)
    pace.advance(100, 2.0)
    assert pace.rate(2.0) is None
    pace.advance(100, 4.0)
    assert pace.rate(4.0) == 50
    assert pace.seconds_left(4.0) == 16
    pace.advance(800, 20.0)
    assert pace.rate(20.0) == 50
    assert pace.seconds_left(20.0) == 0


def test_what_an_earlier_attempt_kept_makes_no_rate() -> None:
    pace = Pace(1000, 0.0)
    pace.advance(900, 0.1)
    pace.advance(10, 1.1)
    assert pace.rate(1.1) == 10
    assert pace.seconds_left(1.1) == 9


def test_a_rate_follows_a_change() -> None:
    pace = Pace(0, 0.0)
    for second in range(1, 101):
        pace.advance(100 if second <= 50 else 1, float(second))
    assert pace.rate(100.0) == 1
    assert pace.seconds_left(100.0) is None
    assert pace.rate(200.0) < 1


def test_lost_work_and_later_stages() -> None:
    pace = Pace(100, 0.0)
    pace.advance(50, 1.0)
    pace.advance(-50, 2.0)
    assert pace.done == 0
    assert pace.rate(2.0) is None
    pace.advance(100, 3.0)
    assert pace.total == 100
    pace.advance(20, 4.0)  # a later stage asks about some again: nobody knows of how many
    assert pace.total is None
    assert pace.seconds_left(4.0) is None


def test_one_step_is_a_rate_once_it_is_all() -> None:
    pace = Pace(100, 0.0)
    pace.advance(100, 4.0)
    assert pace.rate(4.0) == 25
    assert pace.seconds_left(4.0) == 0
