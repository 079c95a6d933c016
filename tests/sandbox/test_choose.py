"""Where an ephemeral server keeps what its environments need on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from alonzo.sandbox.choose import scratch_folder

PROGRAM = "from alonzo.sandbox.choose import scratch_folder; folder = scratch_folder(); (folder / 'x').touch(); "


def test_the_scratch_folder_goes_with_its_process(tmp_path: Path) -> None:
    """A process that ends removes its folder; one that was killed leaves it to the next; a living one keeps it."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
    subprocess.run([sys.executable, "-c", PROGRAM + "import os; os.kill(os.getpid(), 9)"], env=environment, check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "x").exists()
    living = tmp_path / f"alonzo-sandbox-{os.getpid()}-living"
    living.mkdir()
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)
    assert list(tmp_path.iterdir()) == [living]


def test_the_scratch_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other user can look into it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert scratch_folder().stat().st_mode & 0o077 == 0
