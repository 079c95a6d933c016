"""Rules about the repository itself."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def test_no_index_hosts():
    """No tracked file names a package index's host: those who install choose their own."""
    hosts = re.compile(rb"(?:pypi|pythonhosted|npmjs|crates)\.(?:org|io|com)")
    found = [p.name for p in tracked() if p != Path(__file__).resolve() and hosts.search(p.read_bytes())]
    assert found == []


def test_modules_stay_readable():
    """No module of the package grows past 600 lines."""
    long = {
        p.name: n
        for p in tracked()
        if "src" in p.parts and p.suffix == ".py" and (n := len(p.read_text().split("\n"))) > 600
    }
    assert long == {}


def test_every_module_has_a_docstring():
    """Every module of the package says what it is for."""
    bare = [
        str(p.relative_to(ROOT))
        for p in tracked()
        if p.suffix == ".py" and "src" in p.parts and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert bare == []
