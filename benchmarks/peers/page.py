"""docs/performance.md and the table on the screen, both made from one run's JSON and from nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.measure import percentile
from benchmarks.peers.programs import LEFT_OUT, PEERS
from benchmarks.peers.work import KINDS

Row = Sequence[str]
NOTHING = "–"
BUSY = (
    " **The machine was busy with other work: every figure here is worse than it should be, and the tails "
    "most; they are to be taken again on a quiet one.**"
)


def figure(value: float) -> str:
    """Three significant digits, thousands grouped."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def names(data: dict[str, Any]) -> list[str]:
    return list(data["peers"])


def rows(data: dict[str, Any]) -> list[Row]:
    """Every measured figure: what, unit, then a cell for each peer."""
    found: list[Row] = []

    def add(what: str, unit: str, cells: dict[str, float]) -> None:
        found.append([what, unit, *(figure(cells[name]) if name in cells else NOTHING for name in names(data))])

    for kind, by_peer in data["cold"].items():
        add(f"cold start: {KINDS[kind]}; p50", "ms", {n: statistics.median(t) for n, t in by_peer.items()})
        many = all(len(times) >= 100 for times in by_peer.values())
        worst = {name: percentile(times, 99) if many else max(times) for name, times in by_peer.items()}
        add(f"… {'p99' if many else 'the worst'} of {len(next(iter(by_peer.values())))}", "ms", worst)
    for percent in ("50", "99"):
        latencies = {
            name: _latency(loads["1"], percent)
            for name, loads in data["warm"].items()
            if "1" in loads and (percent == "50" or not _too_few(loads["1"]))
        }
        add(f"warm Invoke, 1 connection; p{percent}", "ms", latencies)
    printing = {n: _latency(load, "50") for n, load in data["printing"].items()}
    add("… of a function that prints a line; p50", "ms", printing)
    for connections in _connections(data):
        loads = {n: by[connections] for n, by in data["warm"].items() if connections in by}
        add(f"warm Invokes, {connections} conn.", "/s", {n: statistics.median(x["rates"]) for n, x in loads.items()})
    for task, what in (("s3_event", "S3 put → function"), ("sqs_event", "SQS send → function")):
        add(f"{what}; p50", "ms", {n: statistics.median(t) for n, t in data["events"][task].items()})
    for task, what in (("s3_put", "S3 puts of 4 KiB, 8 conn."), ("sqs_send", "SQS sends of 1 KB, 8 conn.")):
        add(what, "/s", {n: statistics.median(x["rates"]) for n, x in data["stores"][task].items()})
    add("start to first answer", "s", {n: statistics.median(x["s"]) for n, x in data["startup"].items()})
    add("idle memory, no function", "MB", {n: statistics.median(x["mb"]) for n, x in data["startup"].items()})
    return found


def _connections(data: dict[str, Any]) -> list[str]:
    return sorted({c for loads in data["warm"].values() for c in loads}, key=int)


def _latency(load: dict[str, Any], percent: str) -> float:
    return statistics.median(curve[percent] for curve in load["curves"])


def _too_few(load: dict[str, Any]) -> bool:
    """Whether a p99 would be of fewer than 100 answers."""
    return bool(load["requests"] / len(load["rates"]) < 100)


def ratios(data: dict[str, Any]) -> list[str]:
    """How many times faster Alonzo was than each peer, where both did the work."""
    lines = []
    cold, warm = data["cold"]["python"], data["warm"]
    for name in names(data):
        parts = []
        if name != "Alonzo" and name in cold and "Alonzo" in cold:
            parts.append(f"{_times(cold[name], cold['Alonzo'])} its cold start")
        for connections in _connections(data) if name in warm and name != "Alonzo" else []:
            if connections in warm[name] and connections in warm["Alonzo"]:
                ours, theirs = (statistics.median(warm[n][connections]["rates"]) for n in ("Alonzo", name))
                parts.append(f"{ours / theirs:.1f} × its rate on {connections}")
        if parts:
            lines.append(f"- {name}: {', '.join(parts)}.")
    return lines


def _times(theirs: list[float], ours: list[float]) -> str:
    ratio = statistics.median(theirs) / statistics.median(ours)
    return f"{ratio:.1f} × faster than" if ratio >= 1 else f"{1 / ratio:.1f} × slower than"


def table(header: Row, body: Sequence[Row]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)])


def peers(data: dict[str, Any]) -> str:
    """Who took part, how each was run, what it does not do."""
    by_name = {peer.name: peer for peer in PEERS}
    body = [
        [name, version, by_name[name].about, ", ".join(by_name[name].lacks) or NOTHING]
        for name, version in data["peers"].items()
    ]
    return table(["program", "version", "how it is run", "what it does not do in these figures"], body)


def absent(data: dict[str, Any]) -> str:
    """Why a cell is empty, and who is not there at all."""
    lines = []
    for peer in PEERS:
        if peer.name in data["peers"]:
            by_reason: dict[str, list[str]] = {}
            for task, reason in peer.cannot.items():
                by_reason.setdefault(reason, []).append(TASKS[task])
            lines += [f"- {peer.name}, {', '.join(tasks)}: {reason}." for reason, tasks in by_reason.items()]
    lines += [f"- {name}: not in this run: {reason}." for name, reason in data["skipped"].items()]
    lines += [f"- {name}: not in any run: {reason}." for name, reason in LEFT_OUT.items()]
    failed = [
        f"- {name}: {load['failed']:,} of {load['requests']:,} warm Invokes on {connections} connections failed."
        for name, loads in data["warm"].items()
        for connections, load in loads.items()
        if load["failed"]
    ]
    slow = [
        f"- {name}, p99 of warm Invokes: fewer than 100 answers in a round."
        for name, loads in data["warm"].items()
        if "1" in loads and _too_few(loads["1"])
    ]
    return "\n".join(lines + slow + failed)


TASKS = {
    "python": "small Python",
    "package": "large package",
    "boto3": "boto3",
    "node": "Node",
    "warm": "warm Invokes",
    "many": "8 and 32 connections",
    "s3_event": "S3 to function",
    "sqs_event": "SQS to function",
    "s3_put": "S3 puts",
    "sqs_send": "SQS sends",
}


def where_warm(data: dict[str, Any]) -> str:
    """The rows of one warm Invoke."""
    found = data["where"]["warm"]
    cpu = found["cpu_us"]
    waiting = found["mean_us"] - cpu["server"] - cpu["function"]
    return table(
        ["what, on one connection", "µs"],
        [
            ["the server's processor time", figure(cpu["server"])],
            ["processor time of the function's process and of the sandbox host", figure(cpu["function"])],
            [
                "the rest: the generator and waiting, less what two processors do at once",
                f"{waiting:,.0f}",
            ],
            ["**all of it, mean**", f"**{figure(found['mean_us'])}**"],
            ["its p50, p99", f"{figure(found['p50_us'])}, {figure(found['p99_us'])}"],
            [
                "for comparison: p50 of a server that does nothing, with the generator in Python",
                figure(found["bare_us"]),
            ],
        ],
    )


def where_cold(data: dict[str, Any]) -> str:
    """The rows of one cold start."""
    found, warm_ms = data["where"]["cold"], data["where"]["warm"]["p50_us"] / 1000
    rest = found["total_ms"] - found["init_ms"] - found["duration_ms"]
    return table(
        ["what", "ms"],
        [
            [
                "initialisation, as REPORT says: from the environment's start until the runtime asks for an event",
                figure(found["init_ms"]),
            ],
            ["the invocation itself, as REPORT says", figure(found["duration_ms"])],
            [
                "the rest: HTTP, signature, permissions, credentials of the role, the request to the sandbox host",
                figure(rest),
            ],
            ["**all of it, median**", f"**{figure(found['total_ms'])}**"],
            ["for comparison: a warm Invoke", figure(warm_ms)],
            ["the server's processor time per cold start", figure(found["cpu_ms"]["server"])],
            ["processor time of host and function per cold start", figure(found["cpu_ms"]["function"])],
        ],
    )


def page(data: dict[str, Any]) -> str:
    """docs/performance.md."""
    about = data["machine"]
    machine = f"{about['cores']} cores ({about['processor']}), Linux {about['kernel']}, CPython {about['python']}"
    template = (Path(__file__).parent / "page.md").read_text()
    return template.format(
        machine=machine,
        day=about["day"],
        load=f"{about['load']:.2f}",
        busy=BUSY if about["load"] >= about["cores"] else "",
        bare=f"{about['bare_server_per_s']:,}",
        generator=about["generator"],
        figures=table(["", "unit", *names(data)], rows(data)),
        ratios="\n".join(ratios(data)),
        peers=peers(data),
        absent=absent(data),
        where_warm=where_warm(data),
        where_cold=where_cold(data),
        cold=len(next(iter(data["cold"]["python"].values()))),
        cold_others=len(next(iter(data["cold"]["boto3"].values()))),
        events=max(len(times) for times in data["events"]["s3_event"].values()),
        rounds=data["plan"]["rounds"],
        seconds=f"{data['plan']['seconds']:g}",
        starts=data["plan"]["starts"],
    )
