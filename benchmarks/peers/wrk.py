"""Load by wrk, a generator written in C: the same prepared requests over keep-alive connections, in a closed loop."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load

PERCENTILES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.9)

_SCRIPT = """
local requests, at = {%s}, 0
request = function()
  at = at %% #requests + 1
  return requests[at]
end
done = function(summary, latency, _)
  local points = {}
  for _, p in ipairs({%s}) do
    points[#points + 1] = string.format("%%.1f", latency:percentile(p))
  end
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests": %%d, "us": %%d, "refused": %%d, "broken": %%d, "points": [%%s]}\\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    table.concat(points, ", ")))
end
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Answers per second, latencies in milliseconds by percentile, how many answers were errors or did not come."""

    rate: float
    percentiles: dict[float, float]
    requests: int
    failed: int


def available() -> str:
    """What generates the load: "wrk", or the generator in Python where wrk is not installed."""
    return "wrk" if shutil.which("wrk") else "benchmarks/load.py"


def run(endpoint: str, requests: Sequence[bytes], *, connections: int, seconds: float) -> Outcome:
    """Send the requests, round and round, for some seconds."""
    if available() != "wrk":
        measured = load.run(endpoint, requests, connections=connections, seconds=seconds)
        failed = sum(count for status, count in measured.statuses.items() if status >= 400)
        points = {p: measured.percentile(p) for p in PERCENTILES}
        return Outcome(measured.rate, points, len(measured.latencies), failed)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "requests.lua"
        script.write_text(_SCRIPT % (", ".join(map(_lua, requests)), ", ".join(map(str, PERCENTILES))))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
        done = subprocess.run(
            [*command, "-s", str(script), endpoint],
            capture_output=True,
            text=True,
            timeout=seconds + 90,
            check=True,
        )
    return parse(done.stdout)


def parse(printed: str) -> Outcome:
    """The outcome in what wrk printed with our script."""
    (line,) = [line for line in printed.splitlines() if line.startswith("RESULT ")]
    found = json.loads(line.removeprefix("RESULT "))
    points = {p: us / 1000 for p, us in zip(PERCENTILES, found["points"], strict=True)}
    rate = found["requests"] / (found["us"] / 1e6)
    return Outcome(rate, points, found["requests"], found["refused"] + found["broken"])


def _lua(content: bytes) -> str:
    """A Lua string with exactly these bytes."""
    return '"' + "".join(f"\\{byte:03d}" for byte in content) + '"'
