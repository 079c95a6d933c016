"""The server and what isolates functions on this machine."""

from __future__ import annotations

import os
import platform

from alonzo import __version__
from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.alonzo.state import Machine

#: The line of the enforcements without which a function is not isolated at all.
ISOLATION = "isolation"


async def get_health(state: Machine, ctx: Context, params: Params) -> Result:
    settings = state.parts.settings
    services = sorted(state.parts.dispatcher.services.items())
    return {
        "Status": "ok",
        "Version": __version__,
        "UptimeSeconds": round(state.parts.clock.monotonic() - state.started, 3),
        "ProcessId": os.getpid(),
        "PythonVersion": platform.python_version(),
        "DataFolder": str(settings.data_dir),
        "Ephemeral": settings.ephemeral,
        "Isolation": state.sandbox.summary,
        "DefaultAccountId": settings.account_id,
        "DefaultRegion": settings.region,
        "Services": [{"Name": name, "Operations": len(service.handlers)} for name, service in services],
    }


async def describe_isolation(state: Machine, ctx: Context, params: Params) -> Result:
    found = state.sandbox.enforcements()
    return {
        "Isolated": any(one.name == ISOLATION and one.enforced for one in found),
        "Enforcements": [
            {"Name": one.name, "Enforced": one.enforced, "Detail": one.detail, "Mend": one.mend} for one in found
        ],
    }
