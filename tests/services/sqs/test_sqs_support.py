"""The support table says the truth about every operation and parameter."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from alonzo.protocol.model import load_model
from alonzo.services import sqs

TABLE = tomllib.loads((Path(sqs.__file__).parent / "support.toml").read_text())


async def test_every_operation_of_the_model_is_there_and_listed(api: Any) -> None:
    """SQS is whole: each operation of the model has a handler and a row with all its parameters."""
    model = load_model("sqs")
    assert set(TABLE) == set(api.service.handlers) == set(model.snake_names().values())
    for operation, row in TABLE.items():
        assert set(row) <= {"enforced", "stored", "unsupported"}
        listed = [name for kind in row.values() for name in kind]
        shape = model.operation(operation).input
        assert sorted(listed) == sorted(shape.members if shape else ())
