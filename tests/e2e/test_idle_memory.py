"""The bound on the memory of idle environments, on a real server with real control groups."""

from __future__ import annotations

import pytest

from alonzo.sandbox.available import MachineMemory
from alonzo.testing import Server

from .conftest import Maker, wait_for
from .test_lifecycle import provision, ready

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

HOLDS = """
import uuid
ME, held = uuid.uuid4().hex, bytearray(b'x') * (30 << 20)
def handler(event, context):
    return ME
"""
MIB = 1 << 20


def test_idle_environments_end_when_they_take_too_much(tmp_path):
    """Of five that hold 30 MB each not more stay than the bound allows; a provisioned one stays, and all answer."""
    percent = 100 * MIB / MachineMemory().total * 100
    settings = {"idle_memory_percent": f"{percent:.6f}", "log_level": "info"}
    with Server(tmp_path / "data", settings) as server:
        make = Maker(server)
        role = make.role()
        name = make.function(HOLDS, role=role)
        version = provision(make, name, 1)
        assert ready(make, name, version)["Status"] == "READY"
        kept, _ = make.invoke(name, Qualifier=version)
        names = [make.function(HOLDS, role=role) for _ in range(5)]
        before = [make.invoke(each)[0] for each in names]
        wait_for(lambda: any("idle environments were ended" in line for line in server.log), 60)
        after = [make.invoke(each)[0] for each in names]
        assert sum(old != new for old, new in zip(before, after, strict=True)) >= 1
        assert make.invoke(name, Qualifier=version)[0] == kept
