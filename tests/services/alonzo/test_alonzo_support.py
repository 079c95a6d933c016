"""The support table says the truth about every operation and parameter."""

from __future__ import annotations

import tomllib
from pathlib import Path

from alonzo.dispatch import bind
from alonzo.protocol.model import load_model
from alonzo.services import alonzo
from alonzo.services.alonzo.operations import cost, events, machine, runtimes

TABLE = tomllib.loads((Path(alonzo.__file__).parent / "support.toml").read_text())
KINDS = {"enforced", "stored", "unsupported"}


async def test_every_operation_and_parameter_is_listed_once() -> None:
    """The table holds the operations that have handlers, each with all parameters of the service's model."""
    assert set(TABLE) == set(bind("alonzo", None, (cost, events, machine, runtimes)))
    model = load_model("alonzo")
    for operation, row in TABLE.items():
        assert set(row) <= KINDS
        listed = [name for kind in row.values() for name in kind]
        shape = model.operation(operation).input
        assert sorted(listed) == sorted(shape.members if shape else ())
