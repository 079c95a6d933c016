"""Accepting goes before running."""

from __future__ import annotations

from alonzo.engine.rush import RUSH_PER_S, STARTS_PER_S, WINDOW_S, Rush


def started(per_s: int, windows: int = 20) -> float:
    """Jobs that may start a second where so many arrive and very many wait."""
    rush, arrivals, starts = Rush(), 0.0, 0
    rush.look(0.0, 0)
    for window in range(1, windows + 1):
        arrivals += per_s * WINDOW_S
        now = window * WINDOW_S + 1e-6 * window
        rush.look(now, int(arrivals))
        assert now < rush.ends
        for _ in range(10_000):
            starts += rush.take()
    return starts / (windows * WINDOW_S)


def test_a_rush_bounds_what_is_started() -> None:
    """While more arrive than the rule's number, so many are started a second, and no more."""
    assert started(RUSH_PER_S * 4) == STARTS_PER_S


def test_without_a_rush_there_is_no_bound() -> None:
    """A backlog alone is run as fast as it can be."""
    assert started(RUSH_PER_S // 2) == 10_000 / WINDOW_S


def test_a_pause_is_part_of_the_window() -> None:
    """Many that arrived over a long time are no rush."""
    rush = Rush()
    rush.look(0.0, 0)
    rush.look(10.0, RUSH_PER_S * 5)
    assert all(rush.take() for _ in range(10_000))
