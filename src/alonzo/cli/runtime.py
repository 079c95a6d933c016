"""`alonzo runtime list` and `alonzo runtime install`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alonzo.cli.client import NoServer, client, plain_errors
from alonzo.cli.settings import config_option, read_settings

if TYPE_CHECKING:
    from alonzo.runtimes.prepare import Preparer


@click.group()
def runtime() -> None:
    """List and prepare managed runtimes."""


@runtime.command("list")
@click.option("--json", "as_json", is_flag=True, help="The list as JSON.")
@config_option
def list_(as_json: bool, config: Path | None) -> None:
    """Show every managed runtime: its interpreter, and whether it is prepared. Works without a server too."""
    found = _list(config)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _show(found)


@runtime.command()
@click.argument("name")
@config_option
def install(name: str, config: Path | None) -> None:
    """Prepare the runtime NAME, as python3.12. Works without a server too."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status(f"Preparing {name} …") as status:

        def progress(text: str) -> None:
            status.update(f"Preparing {name}: {text} …")
            if not console.is_terminal:
                console.print(text)

        try:
            with plain_errors():
                _install_by_server(name, progress)
        except NoServer:
            _install_here(name, config, progress)
    click.echo(f"{name} is ready.")


def _install_by_server(name: str, progress: Callable[[str], None]) -> None:
    api = client("alonzo")
    seen = ""
    while True:
        answer = api.install_runtime(Name=name, WaitSeconds=10, Seen=seen)
        if answer["State"] == "FAILED":
            raise click.ClickException(answer.get("Reason", "The runtime could not be prepared."))
        if answer["State"] == "READY":
            return
        if answer["Progress"] != seen:
            progress(answer["Progress"])
            seen = answer["Progress"]


def _install_here(name: str, config: Path | None, progress: Callable[[str], None]) -> None:
    from alonzo.runtimes import RuntimesError

    try:
        asyncio.run(local_runtimes(config).install(name, progress))
    except RuntimesError as error:
        raise click.ClickException(str(error)) from None


def local_runtimes(config: Path | None) -> Preparer:
    """The runtimes of this machine, without a server."""
    from alonzo.runtimes.interpreters import Interpreters
    from alonzo.runtimes.prepare import Preparer

    settings = read_settings(config)
    folders = [Path(folder).expanduser() for folder in settings.interpreters.split(":") if folder]
    interpreters = Interpreters(folders, settings.runtimes_dir / "interpreters.json")
    return Preparer(settings.runtimes_dir, interpreters, offline=settings.offline)


def _list(config: Path | None) -> list[dict[str, Any]]:
    try:
        with plain_errors():
            found: list[dict[str, Any]] = client("alonzo").list_runtimes()["Runtimes"]
            return found
    except NoServer:
        from alonzo.services.alonzo.operations.runtimes import describe

        return [describe(status) for status in asyncio.run(local_runtimes(config).statuses())]


def _show(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in ("Runtime", "State", "Interpreter", "Packages"):
        table.add_column(name, overflow="fold")
    for one in found:
        state = "ready" if one["Prepared"] else "found" if one["Available"] else one.get("Reason", "not available")
        if one.get("Mend"):
            state += f": {one['Mend']}"
        packages = ", ".join(f"{name} {version}" for name, version in one.get("Packages", {}).items() if name in _SHOWN)
        interpreter = f"{one.get('InterpreterVersion', '')} {one.get('Interpreter', '')}".strip()
        table.add_row(one["Name"], state, interpreter, packages)
    Console(highlight=False).print(table)


_SHOWN = ("awslambdaric", "boto3")
