"""Many first invocations of one function at once: none is lost, and how many environments begin in a second."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from benchmarks import load
from benchmarks.figures import Figure, Measured
from benchmarks.requests import invoke
from benchmarks.setup import durable_server, function

#: Stays busy until a time given, so that no environment takes a second invocation; tells when it began, and where.
BUSY = """\
import os, time
def handler(event, context):
    began = time.time()
    time.sleep(max(0, event["until"] - began))
    return [began, os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]]
"""
_AT_ONCE = 200
_ROUNDS = 3


def burst() -> Iterator[Measured]:
    """200 simultaneous first invocations of a function, each in an environment of its own."""
    rates, spans, slowest = [], [], []
    for _ in range(_ROUNDS):
        with durable_server() as server:
            function(server, "busy", BUSY, MemorySize=256, Timeout=60)
            started = time.time()
            payload = json.dumps({"until": started + 12}).encode()
            answers = list[bytes]()
            request = invoke(server.endpoint, "busy", payload)
            load.run(
                server.endpoint, [request], connections=_AT_ONCE, seconds=50, count=_AT_ONCE, answers=answers
            ).only(200)
        runs = [json.loads(answer) for answer in answers]
        assert len(runs) == _AT_ONCE, f"{len(runs)} of {_AT_ONCE} were answered"
        assert len({place for _, place in runs}) == _AT_ONCE, "an environment ran twice: it began too late"
        begun = sorted(began - started for began, _ in runs)
        spans.append(begun[-1])
        slowest.append(begun[len(begun) // 2])
        rates.append(_AT_ONCE / begun[-1])
    yield Measured(
        Figure(
            f"{_AT_ONCE} simultaneous first invocations",
            "/s",
            f"environments begun per second, from the first request until the last handler runs; median of {_ROUNDS}",
            at_least=100,
        ),
        sorted(rates)[_ROUNDS // 2],
        {"last begun s": sorted(spans)[_ROUNDS // 2], "half begun s": sorted(slowest)[_ROUNDS // 2]},
    )
