"""The support table says the truth about every operation and parameter."""

import tomllib
from pathlib import Path

from alonzo.protocol.model import load_model
from alonzo.services import sts

TABLE = tomllib.loads((Path(sts.__file__).parent / "support.toml").read_text())


async def test_sts_lists_every_operation_and_parameter_once(world) -> None:
    """The table holds the operations that have handlers, each with all parameters of the service's model."""
    assert set(TABLE) == set(world.sts.service.handlers)
    model = load_model("sts")
    for operation, row in TABLE.items():
        assert set(row) <= {"enforced", "stored", "unsupported"}
        shape = model.operation(operation).input
        assert sorted(name for kind in row.values() for name in kind) == sorted(shape.members if shape else ())
