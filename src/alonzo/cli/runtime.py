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
@click.option("--json", "as_json", is_flag=True, help="The list as JSON, with the interpreters' paths.")
@config_option
def list_(as_json: bool, config: Path | None) -> None:
    """Show every managed runtime: its version, and whether it is prepared. Works without a server too."""
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
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("Runtime", "State", "Version", "Packages"):
        table.add_column(name, overflow="fold")
    mends: dict[str, str] = {}
    lacking: dict[str, list[str]] = {}
    for one in found:
        if one["Available"]:
            packages = (f"{name} {version}" for name, version in one.get("Packages", {}).items() if name in _SHOWN)
            state = "ready" if one["Prepared"] else "found"
            table.add_row(one["Name"], state, one.get("InterpreterVersion", ""), ", ".join(sorted(packages)))
        elif one.get("Mend"):
            mends[one["Name"]] = f"{one.get('Reason', 'not available')}; {one['Mend']}"
        else:
            lacking.setdefault(one.get("Reason", "not available"), []).append(one["Name"])
    console = Console(highlight=False, soft_wrap=False)
    if table.rows:
        console.print(table)
    for name, text in mends.items():
        console.print(escape(f"{name}: {text}"))
    for reason, names in lacking.items():
        console.print(escape(f"{', '.join(names)}: {reason}"))


_SHOWN = ("awslambdaric", "boto3")
