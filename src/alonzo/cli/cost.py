"""`alonzo cost`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from typing import Any

import click

from alonzo.cli.client import client, plain_errors


@click.command()
@click.option("--from", "start", help="First day, as 2026-01-01 (UTC); the first of the month by default.")
@click.option("--to", "end", help="Last day; today by default.")
@click.option("--function", help="Only this function.")
@click.option("--all-regions", is_flag=True, help="Not only the region in AWS_REGION.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def cost(start: str | None, end: str | None, function: str | None, all_regions: bool, as_json: bool) -> None:
    """Show what the invocations would have cost on AWS, by function."""
    wanted: dict[str, Any] = {"AllRegions": all_regions}
    for name, day in (("StartDate", start), ("EndDate", end)):
        if day is not None:
            wanted[name] = _day(day)
    if function:
        wanted["FunctionName"] = function
    with plain_errors():
        report = client("alonzo").get_cost_report(**wanted)
    report.pop("ResponseMetadata", None)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show(report)


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise click.ClickException(f"{text!r} is no day. Write it as 2026-01-31.") from None


def _show(report: dict[str, Any]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    days = f"{report['StartDate']} to {report['EndDate']}"
    if not report["Functions"]:
        console.print(f"No function ran from {days}.")
        return
    console.print(f"{days}, in {report['Currency']} at the prices of {report['PriceRegion']}")
    charges = {name: field for name, field in _CHARGES.items() if field != "StorageCharge" or report["Total"][field]}
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("Function", overflow="fold")
    for name in ("Requests", "GB-seconds", *charges):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report["Functions"]:
        table.add_row(escape(row["FunctionName"]), *_cells(row, charges.values()))
    table.add_section()
    table.add_row("Total", *_cells(report["Total"], charges.values()), style="bold")
    console.print(table)
    console.print(f"The free tier takes off {report['FreeTier']:.8f}: {report['Due']:.8f} would be due.")


#: What is charged, by column. Few functions pay for /tmp; without its column names have room on a narrow terminal.
_CHARGES = {
    "Requests $": "RequestCharge",
    "Duration $": "DurationCharge",
    "/tmp $": "StorageCharge",
    "Total $": "TotalCharge",
}


def _cells(row: dict[str, Any], charges: Iterable[str]) -> list[str]:
    return [f"{row['Requests']:,}", f"{row['GBSeconds']:,.3f}", *(f"{row[name]:.8f}" for name in charges)]
