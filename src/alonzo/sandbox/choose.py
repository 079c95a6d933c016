"""Which backend runs the functions."""

from __future__ import annotations

from alonzo.config import Settings
from alonzo.sandbox.base import Sandbox


def make_sandbox(settings: Settings) -> Sandbox:
    """The backend that the settings ask for; by default namespaces wherever the system has them (Linux)."""
    import sys

    if settings.isolation == "process" or (settings.isolation == "auto" and sys.platform != "linux"):
        from alonzo.sandbox.process import ProcessSandbox

        return ProcessSandbox()
    from alonzo.sandbox.namespaces import NamespaceSandbox

    return NamespaceSandbox(settings)
