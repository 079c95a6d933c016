"""Many first invocations of one function at once: none is lost, and how many environments begin in a second."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from alonzo.testing import Server
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
_AT_ONCE, _AGAIN = 200, 100
_ROUNDS = 3


def burst() -> Iterator[Measured]:
    """Simultaneous first invocations of a function, in an environment each: a server's first, and later ones."""
    first = list[list[float]]()
    for _ in range(_ROUNDS):
        with durable_server() as server:
            first.append(_begun(server, "busy", _AT_ONCE, 12))
    yield _measured(f"{_AT_ONCE} simultaneous first invocations", first, "a server's first burst", at_least=100)
    with durable_server() as server:
        rounds = [_begun(server, f"busy{n}", _AGAIN, 6, rest_s=8) for n in range(_ROUNDS + 1)]
    yield _measured(
        f"{_AGAIN} simultaneous first invocations", rounds[:1], "a server's first burst, one round", at_least=300
    )
    yield _measured(f"{_AGAIN} simultaneous first invocations, again", rounds[1:], "later bursts", at_least=300)


def _begun(server: Server, name: str, at_once: int, busy_s: float, rest_s: float = 0) -> list[float]:
    """When each of a new function's handlers began, in seconds since the first request; then a pause."""
    function(server, name, BUSY, MemorySize=256, Timeout=60)
    time.sleep(rest_s)
    started = time.time()
    payload = json.dumps({"until": started + busy_s}).encode()
    answers = list[bytes]()
    request = invoke(server.endpoint, name, payload)
    load.run(server.endpoint, [request], connections=at_once, seconds=50, count=at_once, answers=answers).only(200)
    runs = [json.loads(answer) for answer in answers]
    assert len(runs) == at_once, f"{len(runs)} of {at_once} were answered"
    assert len({place for _, place in runs}) == at_once, "an environment ran twice: it began too late"
    return sorted(began - started for began, _ in runs)


def _measured(name: str, rounds: list[list[float]], which: str, at_least: float) -> Measured:
    median = sorted(rounds, key=lambda begun: len(begun) / begun[-1])[len(rounds) // 2]
    how = f"environments begun per second, until the last handler runs; {which}; median of {len(rounds)}"
    detail = {"last begun s": median[-1], "half begun s": median[len(median) // 2]}
    return Measured(Figure(name, "/s", how, at_least=at_least), len(median) / median[-1], detail)
