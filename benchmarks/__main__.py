"""`make bench`, or `python -m benchmarks [case …]`: run the cases, print a table, write JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.baseline import bare_server
from benchmarks.cases import CASES, machine
from benchmarks.figures import Measured


def main(names: list[str]) -> int:
    """Run the named cases, or all. Returns 1 where a promise is not met."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"No case {unknown[0]!r}; there are: {', '.join(CASES)}.", file=sys.stderr)
        return 2
    Path(".cache").mkdir(exist_ok=True)
    console = Console(highlight=False)
    about = machine()
    bare = bare_server(8)
    console.print(
        f"{about} · a bare HTTP server on the same library and generator: {bare.rate:,.0f}/s on 8 connections"
    )
    rows: list[Measured] = []
    for name in names or CASES:
        with console.status(f"{name} …"):
            rows += CASES[name]()
    console.print(_table(rows))
    _write(rows, {**about, "bare_server_per_s": round(bare.rate)})
    return 0 if all(row.met for row in rows) else 1


def _table(rows: list[Measured]) -> Table:
    table = Table("figure", "measured", "promise", "met", "beside it")
    for row in rows:
        figure = row.figure
        bound = f"≤ {figure.at_most:g}" if figure.at_most is not None else f"≥ {figure.at_least:g}"
        table.add_row(
            figure.name,
            f"{row.value:,.2f} {figure.unit}" if row.value < 100 else f"{row.value:,.0f} {figure.unit}",
            bound,
            "[green]yes[/green]" if row.met else "[red]no[/red]",
            ", ".join(f"{key} {value:,.2f}" for key, value in row.detail.items()),
        )
    return table


def _write(rows: list[Measured], about: dict[str, object]) -> None:
    folder = Path("benchmarks/results")
    folder.mkdir(exist_ok=True)
    data = {
        "machine": about,
        "figures": [
            {
                "name": row.figure.name,
                "value": round(row.value, 3),
                "unit": row.figure.unit,
                "how": row.figure.how,
                "aim": row.figure.aim,
                "at_most": row.figure.at_most,
                "at_least": row.figure.at_least,
                "met": row.met,
                "detail": {key: round(value, 3) for key, value in row.detail.items()},
            }
            for row in rows
        ],
    }
    target = folder / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    target.write_text(json.dumps(data, indent=2) + "\n")
    print(f"JSON: {target}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
