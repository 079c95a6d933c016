"""The command line against servers that are not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alonzo.cli.main import main


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting or key of whoever runs the tests is seen, and nothing of theirs is written."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ALONZO_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ALONZO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ALONZO_RUNTIMES_DIR", str(tmp_path / "runtimes"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))


@pytest.fixture
def run() -> Callable[..., Result]:
    """Runs one command and returns exit code and output."""

    def invoke(*arguments: str, **more: Any) -> Result:
        return CliRunner().invoke(main, list(arguments), prog_name="alonzo", **more)

    return invoke
