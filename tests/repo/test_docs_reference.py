"""The reference pages say what the program does."""

from __future__ import annotations

import importlib.util
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from alonzo.cli.main import COMMANDS
from alonzo.config import Settings

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_generator", REFERENCE / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_up_to_date(generator: ModuleType) -> None:
    """docs/reference/generate.py has been run since settings or commands changed."""
    for page, content in generator.pages().items():
        assert page.read_text() == content, f"run .venv/bin/python docs/reference/generate.py for {page.name}"


@pytest.mark.parametrize("name", [spec.name for spec in fields(Settings)])
def test_every_setting_is_documented(name: str) -> None:
    """Each setting has a row with its variable and a sentence."""
    (row,) = [line for line in (REFERENCE / "settings.md").read_text().splitlines() if line.startswith(f"| `{name}` |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == f"`ALONZO_{name.upper()}`"
    assert cells[4].endswith(".")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_documented(name: str) -> None:
    """Each command has a section with its usage."""
    page = (REFERENCE / "cli.md").read_text()
    assert f"## alonzo {name}\n" in page
    assert f"Usage: alonzo {name} " in page
