"""Managed runtimes."""

from __future__ import annotations

import asyncio
from typing import Any

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.runtimes import RUNTIMES, RuntimeStatus
from alonzo.services.alonzo.state import Machine


async def list_runtimes(state: Machine, ctx: Context, params: Params) -> Result:
    return {"Runtimes": [describe(status) for status in await state.runtimes.list_runtimes()]}


def describe(status: RuntimeStatus) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Name": status.runtime.identifier,
        "Language": status.runtime.language,
        "Available": status.runtime.available and bool(status.interpreter),
        "Prepared": status.prepared is not None,
    }
    if status.interpreter:
        shown |= {"Interpreter": status.interpreter, "InterpreterVersion": status.interpreter_version}
    if status.prepared is not None:
        shown["Packages"] = dict(status.prepared.packages)
    if status.runtime.deprecated is not None:
        shown["DeprecationDate"] = status.runtime.deprecated.isoformat()
    if status.why_not:
        shown |= {"Reason": status.why_not, "Mend": status.mend}
    return shown


async def install_runtime(state: Machine, ctx: Context, params: Params) -> Result:
    """Start or join a preparation; answer when its progress differs from `seen`, or after `waitSeconds`."""
    name = params["Name"]
    if name not in RUNTIMES:
        known = ", ".join(one.identifier for one in RUNTIMES.values() if one.available)
        raise ServiceError("ResourceNotFoundException", f"There is no runtime {name!r}. Choose one of {known}.")
    job = state.installer.join(name)
    if job.state == "INSTALLING" and params.get("Seen", "") == job.progress:
        try:
            async with asyncio.timeout(params.get("WaitSeconds", 0)):
                await job.news.wait()
        except TimeoutError:
            pass
    result: Result = {"Name": name, "State": job.state, "Progress": job.progress}
    if job.reason:
        result |= {"Reason": job.reason, "Mend": job.mend}
    return result
