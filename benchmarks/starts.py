"""How environments start, and what they need: cold starts of every kind, memory when idle."""

from __future__ import annotations

import io
import json
import statistics
import time
import zipfile
from collections.abc import Iterator

from alonzo.testing import Server
from benchmarks import load
from benchmarks.bursts import BUSY
from benchmarks.figures import Figure, Measured, percentile
from benchmarks.requests import invoke
from benchmarks.setup import RUNTIME, durable_server, function, memory_of

HELLO = "def handler(event, context):\n    return {'ok': 1}\n"
_SDK = "import boto3\ns3 = boto3.client('s3')\n" + HELLO
_NODE = "exports.handler = async () => ({ ok: 1 });\n"
_SLOW = "import time\ntime.sleep(2)\n" + _SDK
#: SnapStart needs Python 3.12 or newer.
_SNAPSTART = "python3.13"
_RUNS = 40


def once(server: Server, name: str) -> float:
    """Milliseconds of one Invoke, over a connection of its own."""
    outcome = load.run(server.endpoint, [invoke(server.endpoint, name)], connections=1, seconds=30, count=1)
    return outcome.only(200).latencies[0] * 1000


def _first_calls(server: Server, prefix: str, runs: int, pause_s: float = 0.05) -> list[float]:
    latencies = []
    for n in range(runs):
        latencies.append(once(server, f"{prefix}{n}"))
        time.sleep(pause_s)
    return latencies


def _init_durations(server: Server, names: list[str]) -> list[float]:
    """Init Duration of each function's REPORT, in milliseconds."""
    time.sleep(1)  # until the lines are stored
    logs, found = server.client("logs"), []
    for name in names:
        for event in logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]:
            _, marker, rest = event["message"].partition("Init Duration: ")
            found += [float(rest.split()[0])] if marker else []
    return found


def cold() -> Iterator[Measured]:
    """First invocations of functions nobody has called, HTTP request to HTTP response, one after another."""
    for way, bounds in (("real", (45.0, 80.0)), ("fast", (6.0, 15.0))):
        with durable_server(cold_start=way) as server:
            for n in range(_RUNS):
                function(server, f"cold{n}", HELLO)
            time.sleep(1)
            latencies = _first_calls(server, "cold", _RUNS)
            init = statistics.median(_init_durations(server, [f"cold{n}" for n in range(_RUNS)]))
        how = f"first Invoke of {_RUNS} small {RUNTIME} functions, {'by exec' if way == 'real' else 'forked'}"
        name = "cold start by exec" if way == "real" else "cold start"
        p95, p99 = percentile(latencies, 95), percentile(latencies, 99)
        yield Measured(
            Figure(f"{name} p50", "ms", how, at_most=bounds[0]), percentile(latencies, 50), {"Init Duration p50": init}
        )
        yield Measured(
            Figure(f"{name} p95" if way == "real" else f"{name} p99", "ms", how, at_most=bounds[1]),
            p95 if way == "real" else p99,
            {"p95": p95, "p99": p99},
        )


def sdk() -> Iterator[Measured]:
    """Cold starts of a function that imports boto3 and makes a client."""
    with durable_server() as server:
        for n in range(20):
            function(server, f"sdk{n}", _SDK)
        time.sleep(1)
        latencies = _first_calls(server, "sdk", 20, 0.1)
    yield Measured(
        Figure("cold start with boto3 and one client, p50", "ms", "first Invoke of 20 functions", at_most=60, aim=20),
        percentile(latencies, 50),
        {"p95": percentile(latencies, 95)},
    )


def snapstart() -> Iterator[Measured]:
    """First invocations of versions with SnapStart, whose initialisation takes two seconds, one after another."""
    runs = 20
    with durable_server() as server:
        functions = server.client("lambda")
        for n in range(runs):
            function(server, f"snap{n}", _SLOW, Runtime=_SNAPSTART, SnapStart={"ApplyOn": "PublishedVersions"})
        for n in range(runs):
            functions.publish_version(FunctionName=f"snap{n}")
        for n in range(runs):
            functions.get_waiter("function_active_v2").wait(
                FunctionName=f"snap{n}", Qualifier="1", WaiterConfig={"Delay": 1}
            )
        time.sleep(1)
        latencies = []
        for n in range(runs):
            latencies.append(once(server, f"snap{n}:1"))
            time.sleep(0.05)
    how = f"first Invoke of {runs} versions, {_SNAPSTART}, 2 s of initialisation with boto3, from their snapshots"
    yield Measured(
        Figure("SnapStart p50", "ms", how, at_most=20), percentile(latencies, 50), {"p95": percentile(latencies, 95)}
    )


def node() -> Iterator[Measured]:
    """Cold starts of small Node.js functions, from a process that has started, and by exec."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.js", _NODE)
    medians = {}
    for way in ("real", "fast"):
        with durable_server(cold_start=way) as server:
            for n in range(20):
                function(server, f"node{n}", "", Runtime="nodejs20.x", Code={"ZipFile": buffer.getvalue()})
            time.sleep(1)
            medians[way] = percentile(_first_calls(server, "node", 20, 0.3), 50)
    how = "first Invoke of 20 small nodejs20.x functions"
    yield Measured(Figure("cold start of Node.js, p50", "ms", f"{how}, started ahead", at_most=6), medians["fast"])
    yield Measured(Figure("cold start of Node.js by exec, p50", "ms", how, at_most=35), medians["real"])


def provisioned() -> Iterator[Measured]:
    """The first call of provisioned environments against later ones, each after a pause in which they are frozen, and
    each over a connection of its own, signed beforehand."""
    with durable_server() as server:
        client = server.client("lambda")
        first, later = [], []
        for n in range(20):
            name = f"ready{n}"
            function(server, name, HELLO)
            client.publish_version(FunctionName=name)
            one = {"FunctionName": name, "Qualifier": "1"}
            client.put_provisioned_concurrency_config(**one, ProvisionedConcurrentExecutions=1)
            while client.get_provisioned_concurrency_config(**one)["Status"] != "READY":
                time.sleep(0.05)
        time.sleep(0.5)
        for n in range(20):
            first.append(once(server, f"ready{n}:1"))
            for _ in range(5):
                time.sleep(0.1)
                later.append(once(server, f"ready{n}:1"))
    yield Measured(
        Figure("first call of a provisioned environment / later ones", "x", "medians of 20 and 100", at_most=1.2),
        percentile(first, 50) / percentile(later, 50),
        {"first ms": percentile(first, 50), "later ms": percentile(later, 50)},
    )


def density() -> Iterator[Measured]:
    """Private memory of idle Python environments, each after one invocation."""
    count = 40
    with durable_server() as server:
        function(server, "idle", BUSY, MemorySize=128)
        # Busy until all have begun, or some would take a second invocation and others never be made.
        request = invoke(server.endpoint, "idle", json.dumps({"until": time.time() + 15}).encode())
        load.run(server.endpoint, [request], connections=count, seconds=60, count=count).only(200)
        time.sleep(1)
        assert server.process is not None
        private = memory_of(server.process.pid, "alonzo-init")
    assert len(private) >= count, f"{len(private)} environments of {count}"
    yield Measured(
        Figure("idle Python environment, private memory", "MB", f"median of {count}, init and runtime", at_most=4),
        statistics.median(private),
        {"most": max(private)},
    )
