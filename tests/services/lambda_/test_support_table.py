"""The support table tells the truth about the operations and parameters of the model."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import alonzo.services.lambda_ as service
from alonzo.protocol.model import load_model

TABLE = tomllib.loads((Path(service.__file__).parent / "support.toml").read_text())
WORDS = {"enforced", "stored", "unsupported"}


def test_the_table_names_every_operation_and_parameter() -> None:
    """No operation of the model and no parameter of an implemented one is missing, and nothing else is there."""
    model = load_model("lambda")
    operations = set(model.snake_names().values())
    assert set(TABLE) == operations
    for name, row in TABLE.items():
        assert row["support"] in WORDS
        if row["support"] == "unsupported":
            continue
        shape = model.operation(name).input
        assert set(row.get("parameters", {})) == set(shape.members if shape else {}), name
        assert set(row.get("parameters", {}).values()) <= WORDS
        assert set(row.get("notes", {})) <= set(row.get("parameters", {}))


async def test_the_table_agrees_with_the_handlers(world: Any) -> None:
    """What has a handler is not called unsupported, and the other way round."""
    implemented = {name for name, row in TABLE.items() if row["support"] != "unsupported"}
    assert implemented == set(world.service.handlers)
