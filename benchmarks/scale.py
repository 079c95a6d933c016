"""A thousand invocations at once and as many environments; ten thousand functions."""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from alonzo.testing import Server
from benchmarks import load
from benchmarks.bursts import BUSY
from benchmarks.figures import Figure, Measured, percentile
from benchmarks.requests import invoke
from benchmarks.setup import durable_server, function, memory_mb
from benchmarks.starts import HELLO, once

_COUNT = 1000
_SLEEP = """\
import os, time
def handler(event, context):
    time.sleep(1)
    return os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
"""
#: So long after the burst the last environment must have begun, or some would run twice.
_UNTIL_S = 40.0


def thousand() -> Iterator[Measured]:
    """1,000 simultaneous invocations of a function of 128 MB: that sleeps a second, and that keeps each environment
    busy until all have begun, so that a thousand live at the same time."""
    answers = list[bytes]()
    with durable_server() as server:
        function(server, "sleep", _SLEEP, MemorySize=128)
        request = invoke(server.endpoint, "sleep")
        began = time.perf_counter()
        outcome = load.run(
            server.endpoint, [request], connections=_COUNT, seconds=120, count=_COUNT, answers=answers
        ).only(200)
        took = time.perf_counter() - began
        peak = _memory(server)
    assert len(answers) == _COUNT, f"{len(answers)} of {_COUNT} were answered"
    yield Measured(
        Figure(
            f"{_COUNT} simultaneous invocations that sleep 1 s", "s", "until the last answer; none lost", at_most=30
        ),
        took,
        {"p50 ms": outcome.percentile(50), "environments": float(len(set(answers))), "peak MB": peak},
    )
    answers = []
    with durable_server() as server:
        function(server, "busy", BUSY, MemorySize=128, Timeout=60)
        started = time.time()
        request = invoke(server.endpoint, "busy", json.dumps({"until": started + _UNTIL_S}).encode())
        load.run(server.endpoint, [request], connections=_COUNT, seconds=100, count=_COUNT, answers=answers).only(200)
        peak = _memory(server)
    runs = [json.loads(answer) for answer in answers]
    assert len({place for _, place in runs}) == len(runs) == _COUNT, "an environment ran twice: it began too late"
    how = "from the first request until the last of them runs; each runs once, none is lost"
    yield Measured(
        Figure(f"{_COUNT} environments at the same time", "s", how, at_most=_UNTIL_S),
        max(at for at, _ in runs) - started,
        {"peak MB": peak},
    )


def _memory(server: Server) -> float:
    """The server, its sandbox host and all environments, in MB (PSS): right after a burst, when none of them has ended
    yet, so it is the most there was."""
    assert server.process is not None
    return memory_mb(server.process.pid)


_FEW, _MANY = 10, 10_000
#: The function of which all others are copies. Its name stands in its rows for nothing else.
_TEMPLATE = "the-template"
_COPIED = ("lambda_functions", "lambda_versions", "lambda_code_users")
_STARTS, _ROUNDS, _COLD_ROUNDS, _CALLS = 7, 11, 6, 1_500


def functions() -> Iterator[Measured]:
    """Invoking a function of ten and one of ten thousand: two servers, asked in turn."""
    with ExitStack() as stack:
        servers: list[Server] = []
        for count in (_FEW, _MANY):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="alonzo-bench-", dir=Path.cwd() / ".cache"))
            _fill(Path(folder) / "data", count)
            servers.append(Server(Path(folder) / "data"))
        starts: tuple[list[float], list[float]] = ([], [])
        for _ in range(_STARTS):
            for server, seconds in zip(servers, starts, strict=True):
                with server:
                    seconds.append(_cpu_s(server))
        for server in servers:
            stack.enter_context(server)
        names = [[f"f{n * (count // _FEW)}" for n in range(_FEW)] for count in (_FEW, _MANY)]
        cold: tuple[list[float], list[float]] = ([], [])
        for number in range(_COLD_ROUNDS):
            for server, mine in zip(servers, names, strict=True):
                client = server.client("lambda")
                for name in mine:  # a new revision: its next invocation starts an environment
                    client.update_function_configuration(FunctionName=name, Description=f"{number}")
            time.sleep(1)
            for n in range(_FEW):
                for which in (0, 1) if n % 2 else (1, 0):
                    cold[which].append(once(servers[which], names[which][n]))
                    time.sleep(0.05)
        used: tuple[list[float], list[float]] = ([], [])
        warm: tuple[list[float], list[float]] = ([], [])
        for n in range(_ROUNDS):
            for which in (0, 1) if n % 2 else (1, 0):
                server = servers[which]
                requests = [invoke(server.endpoint, name) for name in names[which]]
                before = _cpu_s(server)
                outcome = load.run(server.endpoint, requests, connections=1, seconds=60, count=_CALLS).only(200)
                used[which].append(_cpu_s(server) - before)
                warm[which].append(outcome.percentile(50))
        memory = [memory_mb(server.process.pid) for server in servers if server.process is not None]
    yield _ratio("warm Invoke", [statistics.median(each) for each in warm], "ms p50", at_most=1.1)
    each_us = [statistics.median(each) / _CALLS * 1e6 for each in used]
    yield _ratio("processor time of a warm Invoke", each_us, "µs of the server", at_most=1.1)
    yield _ratio("cold start", [percentile(each, 50) for each in cold], "ms p50", at_most=1.1)
    each_ms = [statistics.median(each) * 1000 for each in starts]
    yield _ratio("processor time of a start", each_ms, "ms of the server", at_most=1.1)
    yield _ratio("memory of the server", memory, "MB", at_most=1.25)


def _ratio(what: str, values: list[float], unit: str, *, at_most: float) -> Measured:
    figure = Figure(f"{what}, {_MANY:,} functions / {_FEW}", "x", "two servers asked in turn", at_most=at_most)
    few, many = values
    return Measured(figure, many / few, {f"{unit}, {_FEW}": few, f"{unit}, {_MANY:,}": many})


def _cpu_s(server: Server) -> float:
    """Seconds of processor time of the server's threads that live; `stat` would count hundredths."""
    assert server.process is not None
    threads = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def _fill(folder: Path, count: int) -> None:
    """A data folder with so many functions: one is created over the API, all others are copies of its rows under names
    of their own. To create ten thousand over the API takes some minutes, and leaves the same rows."""
    with Server(folder) as server:
        function(server, _TEMPLATE, HELLO)
    with closing(sqlite3.connect(folder / "alonzo.db")) as db, db:
        for table in _COPIED:
            for row in db.execute(f"SELECT * FROM {table}").fetchall():
                if not any(isinstance(value, str) and _TEMPLATE in value for value in row):
                    continue
                copies = (
                    [value.replace(_TEMPLATE, f"f{n}") if isinstance(value, str) else value for value in row]
                    for n in range(count)
                )
                db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", copies)
