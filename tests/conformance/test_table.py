"""The table of scenarios says what was replayed, no more and no less."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

REASONS = tomllib.loads((Path(__file__).parent / "reasons.toml").read_text())
AGAIN = "run ALONZO_CONFORMANCE=write pytest tests/conformance, then docs/reference/generate.py"


def test_nothing_is_called_replayed_that_was_not(this_run: dict[str, Any]) -> None:
    """Each step of the table was compared in this run (in a run of a part: by the scenarios that were reached)."""
    if not this_run["there"]:
        pytest.skip("the recordings are not beside this checkout")
    claimed, done = this_run["table"]["replayed"], this_run["replayed"]
    if this_run["whole"]:
        assert claimed == done, AGAIN
    for scenario, steps in done.items():
        assert set(steps) <= set(claimed.get(scenario, ())), AGAIN


def test_every_recorded_scenario_is_in_the_table(this_run: dict[str, Any]) -> None:
    """The table names what is recorded, with the number of steps."""
    if not this_run["there"]:
        pytest.skip("the recordings are not beside this checkout")
    assert this_run["table"]["recorded"] == this_run["recorded"], AGAIN


@pytest.mark.parametrize("kind", ["reason", "part"])
def test_what_is_not_replayed_has_a_reason(this_run: dict[str, Any], kind: str) -> None:
    """Every scenario without a replay, or with one in part, has a reason, and none is there without a scenario."""
    table = this_run["table"]
    used = set()
    for scenario, steps in table["recorded"].items():
        done = len(table["replayed"].get(scenario, ()))
        if done == steps or bool(done) is not (kind == "part"):
            continue
        found = [rule["pattern"] for rule in REASONS[kind] if fnmatchcase(scenario, rule["pattern"])]
        assert found, f"no reason for {scenario}"
        used.add(found[0])
    assert used == {rule["pattern"] for rule in REASONS[kind]}
