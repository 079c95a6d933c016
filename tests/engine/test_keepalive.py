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


def test_the_chance_of_use_falls_with_waiting() -> None:
    """A function called every minute is nearly sure to be called within it, and after it no more."""
    times = known(*[60.0] * 100)
    assert times.chance(1, 300) > 0.95
    assert times.chance(50, 300) > 0.95
    assert times.chance(80, 300) < 0.05
    assert IdleTimes().chance(10, 300) == 0.5


def test_environments_nobody_wanted_lower_the_chance() -> None:
    """What was kept in vain counts as much as what was used."""
    times = known(*[5.0] * 50)
    before = times.chance(1, 300)
    for _ in range(50):
        times.expired()
    assert before > 0.95
    assert 0.4 < times.chance(1, 300) < 0.6
    for _ in range(20_000):
        times.expired()
        times.used_after(5.0)
    assert 0.3 < times.chance(1, 300) < 0.7  # neither is remembered for ever


def test_worth_is_the_start_that_is_expected_to_be_saved() -> None:
    """A start of 100 ms with an even chance is worth half of that; later starts count more than earlier ones."""
    times = IdleTimes()
    times.started(100.0)
    assert times.worth_ms(1, 300) == 50.0
    for _ in range(30):
        times.started(10.0)
    assert 5.0 <= times.worth_ms(1, 300) < 6.0
