"""Which backend runs the functions."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alonzo.config import Settings
from alonzo.sandbox.base import Sandbox


def make_sandbox(settings: Settings) -> Sandbox:
    """The backend that the settings ask for; by default namespaces wherever the system has them (Linux)."""
    if settings.isolation == "process" or (settings.isolation == "auto" and sys.platform != "linux"):
        from alonzo.sandbox.process import ProcessSandbox

        return ProcessSandbox()
    from alonzo.sandbox.namespaces import NamespaceSandbox

    if settings.ephemeral:
        return NamespaceSandbox(Path(tempfile.mkdtemp(prefix="alonzo-")))
    return NamespaceSandbox(settings.data_dir / "sandbox")
