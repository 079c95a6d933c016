"""Where the microseconds of Alonzo's own invocations go: processor time by process and by part, and waiting."""

from __future__ import annotations

import base64
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.baseline import bare_server
from benchmarks.peers import fetch, wrk
from benchmarks.peers.measure import Plan, Say
from benchmarks.peers.programs import Alonzo
from benchmarks.peers.work import SMALL, Package
from benchmarks.requests import invoke

_TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
_REPORT = re.compile(
    rb"REPORT RequestId: \S+\tDuration: ([\d.]+) ms.*?(?:Init Duration: ([\d.]+) ms)?\s*$", re.M | re.S
)


def where(plan: Plan, say: Say) -> dict[str, Any]:
    """One server of its own: warm Invokes on one connection, then cold starts with their REPORT lines."""
    count = max(5, plan.cold_others)
    small = Package({"app.py": SMALL.encode()})
    peer = Alonzo()
    peer.start({"warm": small, **{f"cold{n}": small for n in range(count)}})
    try:
        return {"warm": _warm(peer, plan, say), "cold": _cold(peer, count, say)}
    finally:
        peer.stop()


def _warm(peer: Alonzo, plan: Plan, say: Say) -> dict[str, Any]:
    say("where the time goes: warm")
    endpoint, request = peer.request("warm")
    seconds = 2 * plan.seconds
    wrk.run(endpoint, [request], connections=1, seconds=2)
    before = cpu_us(peer.pid)
    outcome = wrk.run(endpoint, [request], connections=1, seconds=seconds)
    spent = {name: after - before.get(name, 0.0) for name, after in cpu_us(peer.pid).items()}
    say("where the time goes: a server that does nothing")
    bare = bare_server(1, 1)
    return {
        "mean_us": 1e6 / outcome.rate,
        "p50_us": outcome.percentiles[50] * 1000,
        "p99_us": outcome.percentiles[99] * 1000,
        "bare_us": bare.percentile(50) * 1000,
        "cpu_us": {name: round(us / outcome.requests, 2) for name, us in spent.items()},
        "parts": _parts(peer, request, seconds, say),
    }


def cpu_us(pid: int) -> dict[str, float]:
    """Processor time so far, in microseconds: of the server, and of everything below it (host and functions)."""
    parents: dict[int, list[int]] = {}
    times: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        number = int(stat.parent.name)
        parents.setdefault(int(fields[1]), []).append(number)
        times[number] = (int(fields[11]) + int(fields[12])) * _TICK_US
    below, todo = 0.0, list(parents.get(pid, []))
    while todo:
        current = todo.pop()
        todo += parents.get(current, [])
        below += times[current]
    return {"server": times[pid], "function": below}


def _parts(peer: Alonzo, request: bytes, seconds: float, say: Say) -> dict[str, float]:
    """Shares of the server's own processor time by package, from samples of its stacks; empty where it may not."""
    say("where the time goes: by part of the server")
    program = fetch.python().parent / "py-spy"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "stacks"
        endless = threading.Thread(
            target=load.run, args=(peer.endpoint, [request]), kwargs={"connections": 1, "seconds": seconds + 3}
        )
        endless.start()
        time.sleep(0.5)
        command = [str(program), "record", "-p", str(peer.pid), "-d", str(round(seconds)), "-r", "200"]
        done = subprocess.run(
            [*command, "-f", "raw", "-o", str(target)], capture_output=True, timeout=seconds + 60, check=False
        )
        endless.join()
        if done.returncode != 0 or not target.exists():
            return {}
        return shares(target.read_text())


def shares(stacks: str) -> dict[str, float]:
    """From `frame;frame;frame count` lines to each package's share: a sample belongs to its innermost frame of ours."""
    samples: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        samples[part(frames.split(";"))] += int(count)
    total = sum(samples.values())
    return {name: round(count / total, 4) for name, count in samples.most_common()} if total else {}


def part(frames: list[str]) -> str:
    """The package of the innermost frame that is Alonzo's; the event loop where there is none."""
    for frame in reversed(frames):
        found = re.search(r"alonzo/((?:services/)?\w+)(?:/|\.py)", frame)
        if found and found[1] not in ("app", "cli"):
            return found[1]
    return "event loop"


def _cold(peer: Alonzo, count: int, say: Say) -> dict[str, Any]:
    """Request to answer, and what the function's REPORT line says of it."""
    totals, inits, durations = [], [], []
    before = cpu_us(peer.pid)
    for n in range(count):
        say(f"where the time goes: cold {n}/{count}")
        began = time.perf_counter()
        report = _invoke_with_log(peer, f"cold{n}")
        totals.append((time.perf_counter() - began) * 1000)
        durations.append(report[0])
        inits.append(report[1])
    spent = {name: after - before[name] for name, after in cpu_us(peer.pid).items()}
    return {
        "n": count,
        "total_ms": round(statistics.median(totals), 3),
        "init_ms": round(statistics.median(inits), 3),
        "duration_ms": round(statistics.median(durations), 3),
        "cpu_ms": {name: round(us / count / 1000, 2) for name, us in spent.items()},
    }


def _invoke_with_log(peer: Alonzo, name: str) -> tuple[float, float]:
    """Duration and Init Duration in milliseconds, from the log tail of one invocation."""
    import http.client

    raw = invoke(peer.endpoint, name, X_Amz_Log_Type="Tail")
    connection = http.client.HTTPConnection(peer.endpoint.removeprefix("http://"), timeout=30)
    connection.connect()
    assert connection.sock is not None
    connection.sock.sendall(raw)
    response = http.client.HTTPResponse(connection.sock, method="POST")
    response.begin()
    response.read()
    log = base64.b64decode(response.headers["x-amz-log-result"])
    connection.close()
    found = _REPORT.search(log)
    assert response.status == 200 and found is not None, log
    return float(found[1]), float(found[2] or 0)
