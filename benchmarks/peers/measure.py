"""The measurements. Every peer is up for the whole time, and they take turns."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import load
from benchmarks.peers import wrk
from benchmarks.peers.peer import Peer
from benchmarks.peers.work import PRINTING, SMALL, TELL, Package, kinds
from benchmarks.requests import signed, sqs_call
from benchmarks.setup import memory_mb

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How often everything is measured."""

    cold: int = 100
    cold_others: int = 20
    rounds: int = 2
    seconds: float = 2
    starts: int = 3
    events: int = 40
    connections: tuple[int, ...] = (1, 8, 32)

    def count(self, kind: str) -> int:
        return self.cold if kind == "python" else self.cold_others


#: For trying the suite out: too few for figures.
QUICK = Plan(cold=8, cold_others=4, rounds=1, seconds=1, starts=1, events=5)


class Wrong(Exception):
    """A peer answered something else than the function's result."""


def startup(peers: list[Peer], plan: Plan, say: Say) -> dict[str, Any]:
    """Seconds from exec to the first HTTP answer, without functions; memory one second later."""
    results: dict[str, Any] = {peer.name: {"s": [], "mb": []} for peer in peers}
    for turn in range(plan.starts):
        for peer in peers:
            say(f"start-up {turn + 1}/{plan.starts}: {peer.name}")
            try:
                began = time.perf_counter()
                peer.start({})
                results[peer.name]["s"].append(round(time.perf_counter() - began, 4))
                time.sleep(1)
                results[peer.name]["mb"].append(round(memory_mb(peer.pid), 1))
            finally:
                peer.stop()
    return results


def functions(peer: Peer, plan: Plan) -> dict[str, Package]:
    """Every function that a peer gets: one per cold start, one for the warm load."""
    wanted = {
        f"{kind}{n}": package
        for kind, package in kinds().items()
        if kind not in peer.cannot
        for n in range(plan.count(kind))
    }
    if "warm" not in peer.cannot:
        wanted["warm"] = Package({"app.py": SMALL.encode()})
        wanted["printing"] = Package({"app.py": PRINTING.encode()})
    return wanted


def _calls(body: bytes, peer: Peer, name: str) -> int:
    try:
        return int(json.loads(body)["calls"])
    except (ValueError, KeyError, TypeError):
        raise Wrong(f"{peer.name} answered to {name}: {body[:200]!r}") from None


def cold(peers: list[Peer], plan: Plan, say: Say) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each function's first invocation, request to answer, on a connection that is already open."""
    results: dict[str, dict[str, list[float]]] = {}
    for kind in kinds():
        able = [peer for peer in peers if kind not in peer.cannot]
        results[kind] = {peer.name: [] for peer in able}
        for n in range(plan.count(kind)):
            if n % 10 == 0:
                say(f"cold starts, {kind} {n}/{plan.count(kind)}")
            for peer in able:
                results[kind][peer.name].append(_one_cold(peer, f"{kind}{n}"))
    return results


def _one_cold(peer: Peer, name: str) -> float:
    peer.ready(name)
    try:
        endpoint, request = peer.request(name)
        answers: list[bytes] = []
        outcome = load.run(endpoint, [request], connections=1, seconds=60, count=1, answers=answers)
        if _calls(answers[0], peer, name) != 1:
            raise Wrong(f"{peer.name} had started {name} before its first invocation")
        return round(outcome.latencies[0] * 1000, 3)
    finally:
        peer.done(name)


def warm(peers: list[Peer], plan: Plan, say: Say) -> dict[str, dict[str, Any]]:
    """Signed Invokes of one warm function by number of connections: rates of each round, latencies of all."""
    results: dict[str, dict[str, Any]] = {}
    able = [peer for peer in peers if "warm" not in peer.cannot]
    for peer in able:
        say(f"warming up {peer.name}")
        peer.ready("warm")
        results[peer.name] = {}
        many = 1 if "many" in peer.cannot else max(plan.connections)
        endpoint, request = peer.request("warm")
        wrk.run(endpoint, [request], connections=many, seconds=3 * plan.rounds)
    for connections in plan.connections:
        for turn in range(plan.rounds):
            for peer in able:
                if connections > 1 and "many" in peer.cannot:
                    continue
                say(f"warm, {connections} connections, {turn + 1}/{plan.rounds}: {peer.name}")
                endpoint, request = peer.request("warm")
                outcome = wrk.run(endpoint, [request], connections=connections, seconds=plan.seconds)
                _note(results[peer.name].setdefault(str(connections), {}), outcome)
    for peer in able:
        many = 1 if "many" in peer.cannot else max(plan.connections)
        endpoint, request = peer.request("warm")
        answers: list[bytes] = []
        load.run(endpoint, [request], connections=many, seconds=30, count=200, answers=answers)
        if min(_calls(answer, peer, "warm") for answer in answers) < 2:
            raise Wrong(f"{peer.name} did not reuse its processes")
        peer.done("warm")
    return results


def printing(peers: list[Peer], plan: Plan, say: Say) -> dict[str, Any]:
    """Signed Invokes on one connection of a warm function that prints a line each time."""
    results: dict[str, Any] = {}
    able = [peer for peer in peers if "warm" not in peer.cannot]
    for peer in able:
        peer.ready("printing")
        endpoint, request = peer.request("printing")
        wrk.run(endpoint, [request], connections=1, seconds=1)
    for turn in range(plan.rounds):
        for peer in able:
            say(f"warm and printing, {turn + 1}/{plan.rounds}: {peer.name}")
            endpoint, request = peer.request("printing")
            outcome = wrk.run(endpoint, [request], connections=1, seconds=plan.seconds)
            _note(results.setdefault(peer.name, {}), outcome)
    for peer in able:
        peer.done("printing")
    return results


def _note(into: dict[str, Any], outcome: wrk.Outcome) -> None:
    into.setdefault("rates", []).append(round(outcome.rate, 1))
    into.setdefault("curves", []).append({str(p): round(ms, 4) for p, ms in outcome.percentiles.items()})
    into["failed"] = into.get("failed", 0) + outcome.failed
    into["requests"] = into.get("requests", 0) + outcome.requests


def events(peers: list[Peer], plan: Plan, say: Say) -> dict[str, dict[str, list[float]]]:
    """Milliseconds from a client's call to the first line of the handler that it causes; one at a time, warm."""
    results: dict[str, dict[str, list[float]]] = {"s3_event": {}, "sqs_event": {}}
    for peer in (peer for peer in peers if "s3_event" not in peer.cannot):
        say(f"events: preparing {peer.name}")
        causes = _wire(peer)
        for task, cause in causes.items():
            times = results[task][peer.name] = []
            until = time.monotonic() + 25
            for n in range(plan.events + 3):
                say(f"{task} {n}: {peer.name}")
                took = _one_event(peer, task, n, cause)
                if n >= 3:
                    times.append(round(took, 3))
                if time.monotonic() > until and len(times) >= 5:
                    break
    return results


def _wire(peer: Peer) -> dict[str, Callable[[str], None]]:
    from benchmarks.peers.programs import create_functions

    sqs, s3, functions = peer.client("sqs"), peer.client("s3"), peer.client("lambda")
    out, source = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("out", "source"))
    arn = sqs.get_queue_attributes(QueueUrl=source, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    role = functions.get_function_configuration(FunctionName="warm")["Role"]
    package = Package({"app.py": TELL.encode()}, variables={"OUT": out})
    create_functions(functions, role, {"by-queue": package, "by-bucket": package})
    functions.create_event_source_mapping(EventSourceArn=arn, FunctionName="by-queue", BatchSize=1)
    s3.create_bucket(Bucket="events")
    functions.add_permission(
        FunctionName="by-bucket",
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::events",
    )
    target = functions.get_function_configuration(FunctionName="by-bucket")["FunctionArn"]
    rules = [{"LambdaFunctionArn": target, "Events": ["s3:ObjectCreated:*"]}]
    s3.put_bucket_notification_configuration(
        Bucket="events", NotificationConfiguration={"LambdaFunctionConfigurations": rules}
    )
    return {
        "s3_event": lambda what: s3.put_object(Bucket="events", Key=what, Body=b"x" * 1024),
        "sqs_event": lambda what: sqs.send_message(QueueUrl=source, MessageBody=what),
    }


def _one_event(peer: Peer, task: str, n: int, cause: Callable[[str], None]) -> float:
    """From the call to the handler's first line: both read this machine's clock. The answer comes by another queue."""
    what = f"{task}-{n}"
    sqs = peer.client("sqs")
    out = sqs.get_queue_url(QueueName="out")["QueueUrl"]
    began = time.time()
    cause(what)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for message in sqs.receive_message(QueueUrl=out, WaitTimeSeconds=10).get("Messages", []):
            sqs.delete_message(QueueUrl=out, ReceiptHandle=message["ReceiptHandle"])
            said, handled = json.loads(message["Body"])
            if said == what:
                return float((handled - began) * 1000)
    raise Wrong(f"{peer.name}: no function ran for {what} within a minute")


def stores(peers: list[Peer], plan: Plan, say: Say) -> dict[str, dict[str, Any]]:
    """S3 puts of 4 KiB and SQS sends of 1 KB per second, on 8 connections."""
    results: dict[str, dict[str, Any]] = {"s3_put": {}, "sqs_send": {}}
    able = [peer for peer in peers if "s3_put" not in peer.cannot]
    work: dict[tuple[str, str], list[bytes]] = {}
    for peer in able:
        peer.client("s3").create_bucket(Bucket="puts")
        url = peer.client("sqs").create_queue(QueueName="sends")["QueueUrl"]
        work[peer.name, "s3_put"] = [signed(peer.endpoint, "s3", "PUT", f"/puts/o{n}", b"x" * 4096) for n in range(50)]
        work[peer.name, "sqs_send"] = [sqs_call(peer.endpoint, "SendMessage", QueueUrl=url, MessageBody="x" * 1000)]
    for task, into in results.items():
        for turn in range(plan.rounds):
            for peer in able:
                say(f"{task} {turn + 1}/{plan.rounds}: {peer.name}")
                outcome = wrk.run(peer.endpoint, work[peer.name, task], connections=8, seconds=plan.seconds)
                _note(into.setdefault(peer.name, {}), outcome)
    return results


def percentile(values: list[float], p: float) -> float:
    """The value below which `p` percent lie, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))]


def median_curve(curves: list[dict[str, float]]) -> Iterator[tuple[float, float]]:
    """Percentiles and latencies of several rounds as one curve: the median of the rounds at each."""
    for p in curves[0]:
        yield float(p), statistics.median(curve[p] for curve in curves)
