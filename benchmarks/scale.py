"""A thousand invocations at once, and as many environments."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from alonzo.testing import Server
from benchmarks import load
from benchmarks.bursts import BUSY
from benchmarks.figures import Figure, Measured
from benchmarks.requests import invoke
from benchmarks.setup import durable_server, function, memory_mb, memory_of

_COUNT = 1000
_SLEEP = "import time\ndef handler(event, context):\n    time.sleep(1)\n    return {'ok': 1}\n"
#: So long after the burst the last environment must have begun, or some would run twice.
_UNTIL_S = 40.0


def _taken(server: Server) -> dict[str, float]:
    """Environments there are, and the memory (PSS) of them, the server and its sandbox host together: right after a
    burst, when none has ended yet, so it is the most there was."""
    assert server.process is not None
    return {
        "environments": float(len(memory_of(server.process.pid, "alonzo-init"))),
        "peak MB": memory_mb(server.process.pid),
    }


def thousand() -> Iterator[Measured]:
    """1,000 simultaneous invocations of a function of 128 MB: that sleeps a second, and that keeps each environment
    busy until all have begun, so that a thousand live at the same time."""
    with durable_server() as server:
        function(server, "sleep", _SLEEP, MemorySize=128)
        request = invoke(server.endpoint, "sleep")
        started = time.perf_counter()
        outcome = load.run(server.endpoint, [request], connections=_COUNT, seconds=120, count=_COUNT).only(200)
        took = time.perf_counter() - started
        taken = _taken(server)
    assert sum(outcome.statuses.values()) == _COUNT, f"{outcome.statuses} of {_COUNT}"
    yield Measured(
        Figure(
            f"{_COUNT} simultaneous invocations that sleep 1 s", "s", "until the last answer; none lost", at_most=60
        ),
        took,
        {"p50 ms": outcome.percentile(50), **taken},
    )
    with durable_server() as server:
        function(server, "busy", BUSY, MemorySize=128, Timeout=60)
        began = time.time()
        payload = json.dumps({"until": began + _UNTIL_S}).encode()
        answers = list[bytes]()
        request = invoke(server.endpoint, "busy", payload)
        load.run(server.endpoint, [request], connections=_COUNT, seconds=100, count=_COUNT, answers=answers).only(200)
        taken = _taken(server)
    runs = [json.loads(answer) for answer in answers]
    assert len({place for _, place in runs}) == len(runs) == _COUNT, "an environment ran twice: it began too late"
    yield Measured(
        Figure(
            f"{_COUNT} environments at the same time",
            "s",
            "from the first request until the last of them runs; each runs once, none is lost",
            at_most=_UNTIL_S,
        ),
        max(at for at, _ in runs) - began,
        taken,
    )
