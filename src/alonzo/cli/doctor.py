"""`alonzo doctor`."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alonzo.cli.runtime import local_runtimes
from alonzo.cli.settings import config_option, read_settings

if TYPE_CHECKING:
    from alonzo.config import Settings
    from alonzo.sandbox.base import Enforcement


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON.")
@config_option
def doctor(as_json: bool, config: Path | None) -> None:
    """Say what this machine's kernel allows, what will be enforced, and which runtimes were found.

    Needs no server. Exits with 1 if a function could not be isolated.
    """
    from alonzo.services.alonzo.operations.machine import ISOLATION

    settings = read_settings(config)
    summary, lines, problem = asyncio.run(_sandbox(settings))
    isolated = not problem and any(line.name == ISOLATION and line.enforced for line in lines)
    runtimes = _runtimes(config)
    if as_json:
        found = {
            "Isolated": isolated,
            "Summary": summary,
            "Problem": problem,
            "Enforcements": [asdict(line) for line in lines],
            "IdleEnvironments": _idle(settings),
            "ColdStarts": {"Mode": settings.cold_start, "Detail": _cold_starts(settings)},
            "Runtimes": runtimes,
        }
        click.echo(json.dumps(found, indent=2))
    else:
        _show(summary, lines, problem, runtimes)
        click.secho("Idle environments", bold=True)
        click.echo(f"  {_idle(settings)}")
        click.secho("Cold starts", bold=True)
        click.echo(f"  {_cold_starts(settings)}")
        click.echo()
        click.echo("Functions will be isolated." if isolated else "Functions could not be isolated on this machine.")
    if not isolated:
        sys.exit(1)


async def _sandbox(settings: Settings) -> tuple[str, Sequence[Enforcement], str]:
    """What a sandbox of these settings enforces: started for a moment, in a folder of its own beside any server."""
    from alonzo.sandbox.base import SandboxError
    from alonzo.sandbox.choose import make_sandbox

    with tempfile.TemporaryDirectory(prefix="alonzo-doctor-", ignore_cleanup_errors=True) as folder:
        try:
            sandbox = make_sandbox(replace(settings, data_dir=Path(folder), ephemeral=False))
            await sandbox.start()
        except SandboxError as error:
            return "", (), str(error)
        try:
            return sandbox.summary, list(sandbox.enforcements()), ""
        finally:
            await sandbox.stop()


def _idle(settings: Settings) -> str:
    """What becomes of environments between invocations, and how much memory they may take."""
    from alonzo.sandbox.available import MachineMemory

    total_mib = MachineMemory().total >> 20
    share = settings.idle_memory_percent
    bound = f"where they take over {total_mib * share / 100:,.0f} MiB together ({share:g} % of {total_mib:,} MiB)"
    if not share:
        bound = "without a bound on their memory (ALONZO_IDLE_MEMORY_PERCENT=0)"
    return (
        f"frozen after {settings.freeze_after_ms} ms; ended after {settings.idle_timeout_s:g} s, sooner where their"
        f" function rarely needs them that long, {bound}; and where the machine runs short of memory"
    )


def _cold_starts(settings: Settings) -> str:
    """How environments start with these settings, for whoever reads Init Duration."""
    if settings.cold_start == "aws":
        return "executed, after a pause that grows with the package as on AWS (ALONZO_COLD_START=aws)"
    if settings.cold_start == "real":
        return "executed: the runtime starts anew in every environment (ALONZO_COLD_START=real)"
    if settings.isolation == "process":
        return "executed: without isolation nothing is started ahead"
    python = "Python 3.10 and newer is forked from an interpreter that has started"
    if settings.runtime_client == "aws":
        python = "Python is executed, because AWS's own client cannot be forked (ALONZO_RUNTIME_CLIENT=aws)"
    return f"{python}; Node.js takes over a process that has; all else is executed. Init Duration is what that took."


def _runtimes(config: Path | None) -> list[dict[str, Any]]:
    from alonzo.services.alonzo.operations.runtimes import describe

    return [describe(one) for one in asyncio.run(local_runtimes(config).statuses()) if one.runtime.available]


def _show(summary: str, lines: Sequence[Enforcement], problem: str, runtimes: Sequence[dict[str, Any]]) -> None:
    click.secho("Isolation", bold=True)
    if problem:
        _line(False, "sandbox", problem, "")
    else:
        click.echo(f"  {summary}")
    for line in lines:
        _line(line.enforced, line.name, line.detail, line.mend)
    click.secho("Runtimes", bold=True)
    for one in runtimes:
        if one["Available"]:
            state = "ready" if one["Prepared"] else f"not prepared yet (`alonzo runtime install {one['Name']}`)"
            _line(True, one["Name"], f"{_found(one)}, {state}", "")
        else:
            _line(False, one["Name"], one.get("Reason", ""), one.get("Mend", ""))


def _found(one: dict[str, Any]) -> str:
    """What runs functions of a runtime: an interpreter and where it is, or what they bring along."""
    for kind, language in (("python", "Python"), ("nodejs", "Node.js")):
        if one["Name"].startswith(kind):
            return f"{language} {one['InterpreterVersion']} at {one['Interpreter']}"
    return f"the {one['Interpreter']}, on {one['InterpreterVersion']}"


def _line(good: bool, name: str, detail: str, mend: str) -> None:
    mark = click.style("✓", fg="green") if good else click.style("✗", fg="red")
    click.echo(f"  {mark} {name:<14} {detail}")
    if mend and not good:
        click.echo(f"      mend: {mend}")
