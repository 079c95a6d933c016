"""Which backend runs the functions."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from alonzo.config import Settings
from alonzo.sandbox.base import Sandbox

_SCRATCH = "alonzo-sandbox-"


def make_sandbox(settings: Settings) -> Sandbox:
    """The backend that the settings ask for; by default namespaces wherever the system has them (Linux)."""
    if settings.isolation == "process" or (settings.isolation == "auto" and sys.platform != "linux"):
        from alonzo.sandbox.process import ProcessSandbox

        return ProcessSandbox()
    from alonzo.sandbox.namespaces import NamespaceSandbox

    if settings.ephemeral:
        return NamespaceSandbox(scratch_folder())
    return NamespaceSandbox(settings.data_dir / "sandbox")


def scratch_folder() -> Path:
    """A folder on disk that goes with this process; those of processes that were killed are removed."""
    parent = Path(tempfile.gettempdir())
    for leftover in parent.glob(f"{_SCRATCH}*"):
        owner = leftover.name.removeprefix(_SCRATCH).partition("-")[0]
        with contextlib.suppress(OSError):
            if owner.isdigit() and leftover.lstat().st_uid == os.getuid() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-"))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        shutil.rmtree(folder, ignore_errors=True)
