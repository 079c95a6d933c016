"""`make bench-peers`: run everything, print the table, write JSON, the page and its pictures."""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import alonzo
from benchmarks.baseline import bare_server
from benchmarks.cases import machine
from benchmarks.peers import fetch, measure, page, wrk
from benchmarks.peers.peer import Peer
from benchmarks.peers.programs import PEERS
from benchmarks.peers.where import where

PAGE = Path("docs/performance.md")
PICTURES = Path("docs/performance")
KEPT = PICTURES / "measured.json"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repetitions; writes below .cache, not into docs")
    parser.add_argument("--only", default="", help="peers by name, comma separated")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page from the kept figures")
    chosen = parser.parse_args(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=140)
    if chosen.page:
        _write_page(json.loads(KEPT.read_text()), PAGE, PICTURES)
        return 0
    plan = measure.QUICK if chosen.quick else measure.Plan()
    began = time.monotonic()
    data = _run(plan, [name.strip() for name in chosen.only.split(",") if name.strip()], console)
    console.print(_table(data))
    for name, reason in data["skipped"].items():
        console.print(f"skipped {name}: {reason}")
    results = Path("benchmarks/results")
    results.mkdir(exist_ok=True)
    target = results / f"peers-{time.strftime('%Y%m%d-%H%M%S')}.json"
    target.write_text(json.dumps(data, indent=1) + "\n")
    docs = not (chosen.quick or chosen.only)
    written, pictures = (PAGE, PICTURES) if docs else (Path(".cache/performance.md"), Path(".cache/performance"))
    _write_page(data, written, pictures)
    console.print(f"{time.monotonic() - began:.0f} s · JSON: {target} · page: {written}")
    return 0


def _run(plan: measure.Plan, only: list[str], console: Console) -> dict[str, Any]:
    compileall.compile_dir(str(Path(alonzo.__file__).parent), quiet=2)
    with console.status("…") as status:
        status.update("fetching the peers")
        peers, versions, skipped = _fetch(only)
        about = _about()
        data: dict[str, Any] = {"machine": about, "plan": asdict(plan), "peers": versions, "skipped": skipped}
        data["startup"] = measure.startup(peers, plan, status.update)
        try:
            for peer in peers:
                status.update(f"starting {peer.name} and creating its functions")
                peer.start(measure.functions(peer, plan))
            data["cold"] = measure.cold(peers, plan, status.update)
            data["warm"] = measure.warm(peers, plan, status.update)
            data["printing"] = measure.printing(peers, plan, status.update)
            data["events"] = measure.events(peers, plan, status.update)
            data["stores"] = measure.stores(peers, plan, status.update)
        finally:
            for peer in peers:
                peer.stop()
        data["where"] = where(plan, status.update)
    return data


def _fetch(only: list[str]) -> tuple[list[Peer], dict[str, str], dict[str, str]]:
    peers: list[Peer] = []
    versions: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for made in (kind() for kind in PEERS if not only or kind.name in (*only, "Alonzo")):
        try:
            versions[made.name] = made.fetch()
            peers.append(made)
        except fetch.Unavailable as reason:
            skipped[made.name] = str(reason)
    return peers, versions, skipped


def _about() -> dict[str, Any]:
    load = os.getloadavg()[0]
    return {
        **machine(),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "processor": _processor(),
        "day": time.strftime("%Y-%m-%d"),
        "load": load,
        "generator": wrk.available(),
        "bare_server_per_s": round(bare_server(8).rate),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.machine()


def _table(data: dict[str, Any]) -> Table:
    made = Table("figure", "unit", *page.names(data), title="Alonzo beside its peers")
    for column in made.columns[2:]:
        column.justify = "right"
    for row in page.rows(data):
        made.add_row(*row)
    return made


def _write_page(data: dict[str, Any], target: Path, pictures: Path) -> None:
    pictures.mkdir(parents=True, exist_ok=True)
    kept = pictures / "measured.json"
    kept.write_text(json.dumps(data, separators=(",", ":")) + "\n")
    target.write_text(page.page(data))
    try:
        interpreter = fetch.python()
    except fetch.Unavailable as reason:
        print(f"the pictures of {target} were not drawn: {reason}", file=sys.stderr)
        return
    command = [str(interpreter), "-m", "benchmarks.peers.plots", str(kept), str(pictures)]
    subprocess.run(command, check=True, timeout=120)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
