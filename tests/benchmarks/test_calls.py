"""The warm path does not grow unnoticed: calls are counted, which no busy machine changes."""

from __future__ import annotations

import json

import pytest
from benchmarks.calls import KINDS, STORED, TOLERANCE, Calls, problem

from alonzo.config import Settings


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("kind", KINDS)
def test_a_request_makes_no_more_calls_than_stored(kind: str) -> None:
    """Inside the server, one warm signed Invoke, or one event with its run, makes at most 15 % more calls than
    benchmarks/calls.json says."""
    stored = json.loads(STORED.read_text())[kind]
    said = ""
    for _ in range(3):  # a timer that fires meanwhile can only add
        said = problem(KINDS[kind](Settings(port=0, ephemeral=True)), stored, kind)
        if not said:
            return
    pytest.fail(said)


def test_growth_beyond_the_tolerance_is_a_problem() -> None:
    """The message says what grew, by how much, in which package, and how to store it anew."""
    stored = {"python": 100.0, "c": 200.0, "packages": {"engine": 60.0, "gateway": 40.0}}
    said = problem(Calls(120.0, 200.0, {"engine": 80.0, "gateway": 40.0}), stored)
    assert "Python calls from 100 to 120 (+20%)" in said
    assert "engine +20.0" in said
    assert "make bench-calls" in said
    assert "calls into C" not in said


def test_growth_within_the_tolerance_is_none() -> None:
    """A little more, and anything less, passes."""
    stored = {"python": 100.0, "c": 200.0, "packages": {}}
    assert problem(Calls(100.0 * (1 + TOLERANCE), 150.0, {}), stored) == ""


def test_c_calls_are_guarded_too() -> None:
    """Work that moves into C functions counts as well."""
    stored = {"python": 100.0, "c": 200.0, "packages": {}}
    assert "calls into C from 200 to 260 (+30%)" in problem(Calls(90.0, 260.0, {}), stored)
