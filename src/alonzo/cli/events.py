"""`alonzo events`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from alonzo.cli.client import client, plain_errors
from alonzo.cli.text import printable


@click.command()
@click.option("--state", type=click.Choice(("waiting", "running", "retrying")), help="Only those in this state.")
@click.option("--function", help="Only those of this function.")
@click.option("--all-regions", is_flag=True, help="Not only the region in AWS_REGION.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def events(state: str | None, function: str | None, all_regions: bool, limit: int, as_json: bool) -> None:
    """Show what waits, runs or is retried in the durable queue."""
    wanted: dict[str, Any] = {"Limit": limit, "AllRegions": all_regions}
    if state:
        wanted["State"] = state.upper()
    if function:
        wanted["FunctionName"] = function
    with plain_errors():
        found = client("alonzo").list_events(**wanted)["Events"]
    if as_json:
        for one in found:
            click.echo(json.dumps(one, default=_plain))
    else:
        _show(found)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _show(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not found:
        console.print("The queue is empty.")
        return
    table = Table()
    for name in ("State", "Kind", "For", "Attempts", "Next attempt", "Last error", "Id"):
        table.add_column(name, overflow="fold")
    for one in found:
        due = one.get("NextAttemptTime")
        cells = (
            one["State"].lower(),
            one["Kind"].lower(),
            one["Lane"],
            str(one["Attempts"]),
            due.strftime("%Y-%m-%d %H:%M:%S") if due else "",
            one.get("LastError", ""),
            one["Id"],
        )
        table.add_row(*(escape(printable(cell)) for cell in cells))
    console.print(table)
