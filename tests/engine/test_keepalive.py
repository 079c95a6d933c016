"""How long idle environments are kept."""

from __future__ import annotations

import pytest

from alonzo.engine.keepalive import IdleTimes


def known(*idle: float) -> IdleTimes:
    times = IdleTimes()
    for seconds in idle:
        times.used_after(seconds)
    return times


def test_without_knowledge_the_setting_holds() -> None:
    assert IdleTimes().worth_s(300) == 300
    assert known(*[0.2] * 19).worth_s(300) == 300


@pytest.mark.parametrize(
    ("idle", "least", "most"), [(0.01, 15, 15), (20.0, 30, 38), (100.0, 150, 188), (900.0, 300, 300)]
)
def test_the_window_covers_what_was_seen(idle: float, least: float, most: float) -> None:
    """Half as long again as nearly all idle times, within the bounds."""
    assert least <= known(*[idle] * 40).worth_s(300) <= most


def test_a_rare_long_wait_counts_if_it_is_not_too_rare() -> None:
    """One in fifty is kept for, one in two hundred is not."""
    assert known(*[0.2] * 49, 120.0).worth_s(300) > 120
    assert known(*[0.2] * 199, 120.0).worth_s(300) == 15


def test_old_habits_are_forgotten() -> None:
    """A function that changes its rhythm is known by the new one in the end."""
    times = known(*[100.0] * 1500)
    for _ in range(20_000):
        times.used_after(0.2)
    assert times.worth_s(300) == 15


def test_odd_times_are_no_harm() -> None:
    times = known(*[0.0] * 20, -1.0, 1e9)
    assert times.worth_s(300) > 0
