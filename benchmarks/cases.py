"""One function per promise; each yields what it measured."""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from alonzo.testing import Server
from benchmarks import load
from benchmarks.asynchronous import events, notifications, objects, queues
from benchmarks.bursts import burst
from benchmarks.figures import Figure, Measured, percentile
from benchmarks.mappings import mappings
from benchmarks.requests import invoke, signed, sqs_call
from benchmarks.scale import functions, thousand
from benchmarks.setup import RUNTIME, Peak, durable_server, function, memory_mb
from benchmarks.starts import HELLO, cold, density, node, provisioned, sdk, snapstart
from benchmarks.streaming import streaming

Case = Callable[[], Iterator[Measured]]


def startup() -> Iterator[Measured]:
    """`alonzo up` from exec to its first answer, and the memory of the server and its sandbox host when idle."""
    times, memories = [], []
    for _ in range(7):
        with tempfile.TemporaryDirectory() as folder:
            server = Server(Path(folder))
            started = time.perf_counter()
            server.start()
            address = server.endpoint.removeprefix("http://")
            connection = http.client.HTTPConnection(address, timeout=5)
            connection.request("GET", "/_alonzo/health")
            assert connection.getresponse().status == 200
            times.append(time.perf_counter() - started)
            connection.close()
            time.sleep(0.5)
            assert server.process is not None
            memories.append(memory_mb(server.process.pid))
            server.stop()
    yield Measured(
        Figure("start to first answer", "s", "alonzo up → GET /_alonzo/health, median of 7", at_most=0.5, aim=0.1),
        statistics.median(times),
    )
    yield Measured(
        Figure(
            "idle memory, no function", "MB", "PSS of the server and its sandbox host, median of 7", at_most=80, aim=60
        ),
        statistics.median(memories),
    )


def warm() -> Iterator[Measured]:
    """Warm Invokes, signed; with AWS's own runtime client in the function, and with ours."""
    outcomes: dict[tuple[str, int], load.Outcome] = {}
    for client in ("lean", "aws"):
        with durable_server(runtime_client=client) as server:
            function(server, "hello", HELLO)
            request = invoke(server.endpoint, "hello")
            load.run(server.endpoint, [request], connections=32, seconds=5)
            for connections, seconds in ((1, 5), (8, 7), (32, 6)):
                outcome = load.run(server.endpoint, [request], connections=connections, seconds=seconds)
                outcomes[client, connections] = outcome.only(200)
    one = outcomes["lean", 1]

    def row(name: str, outcome: load.Outcome, at_least: float, how: str) -> Measured:
        figure = Figure(name, "/s", f"signed, closed loop, {how}", at_least=at_least)
        return Measured(figure, outcome.rate, {"p50": outcome.percentile(50), "p99": outcome.percentile(99)})

    yield Measured(
        Figure("warm Invoke p50, 1 connection", "ms", "signed, closed loop, 5 s", at_most=0.8, aim=0.12),
        one.percentile(50),
        {"p99": one.percentile(99), "rate": one.rate, "awslambdaric p50": outcomes["aws", 1].percentile(50)},
    )
    yield row("warm Invoke, 8 connections, awslambdaric", outcomes["aws", 8], 4000, "AWS's client unchanged")
    yield row("warm Invoke, 32 connections, awslambdaric", outcomes["aws", 32], 4500, "AWS's client unchanged")
    yield row("warm Invoke, 8 connections", outcomes["lean", 8], 4000, "our transport")
    yield row("warm Invoke, 32 connections", outcomes["lean", 32], 10000, "our transport")


def thumbnail() -> Iterator[Measured]:
    """A 400 × 200 picture put → its thumbnail stored, as `alonzo demo` does it."""
    from alonzo.cli import demo

    cold_times, warm_times = [], []
    with tempfile.TemporaryDirectory() as folder:
        layer = demo._pillow_layer(RUNTIME, Path(folder))
    for _ in range(3):
        with durable_server() as server:
            steps = demo._Steps()
            steps.console.quiet = True
            demo._set_up(steps, server, RUNTIME, layer)
            s3, picture = server.client("s3"), demo._example("picture.jpg")
            cold_times.append(demo._put_and_wait(steps, s3, picture, "cold.jpg", "cold")[0] * 1000)
            warm_times += [demo._put_and_wait(steps, s3, picture, f"{n}.jpg", f"{n}")[0] * 1000 for n in range(15)]
    yield Measured(
        Figure("picture → thumbnail, cold", "ms", "median of 3 servers", at_most=400), percentile(cold_times, 50)
    )
    yield Measured(
        Figure("picture → thumbnail, warm", "ms", "median of 45", at_most=80),
        percentile(warm_times, 50),
        {"p95": percentile(warm_times, 95)},
    )


def topics() -> Iterator[Measured]:
    """One publication to a topic with 100 queues, at each of which a receiver waits."""
    queues, rounds = 100, 20
    with durable_server() as server:
        sns, sqs, endpoint = server.client("sns"), server.client("sqs"), server.endpoint
        topic = sns.create_topic(Name="bench")["TopicArn"]
        allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        waiting = []
        for n in range(queues):
            attributes = {"Policy": policy, "VisibilityTimeout": "3600"}
            url = sqs.create_queue(QueueName=f"bench{n}", Attributes=attributes)["QueueUrl"]
            waiting.append(sqs_call(endpoint, "ReceiveMessage", QueueUrl=url, WaitTimeSeconds=10))
            arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        form = urlencode({"Action": "Publish", "Version": "2010-03-31", "TopicArn": topic, "Message": "x" * 1000})
        kind = {"Content_Type": "application/x-www-form-urlencoded"}
        publishing = signed(endpoint, "sns", "POST", "/", form.encode(), **kind)
        times = [asyncio.run(_received_by_all(endpoint, waiting, publishing)) * 1000 for _ in range(rounds)]
    yield Measured(
        Figure(
            "SNS publish to 100 SQS subscriptions",
            "ms",
            f"1 KB, from the request until the last of 100 waiting receivers has it, p95 of {rounds}",
            at_most=100,
        ),
        percentile(times, 95),
        {"p50": percentile(times, 50), "max": max(times)},
    )


async def _received_by_all(endpoint: str, waiting: list[bytes], publishing: bytes) -> float:
    """Seconds from a request until each of the others, sent before it, has been answered."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(len(waiting) + 1)]
    for (_, writer), request in zip(connections, waiting, strict=False):
        writer.write(request)
    await asyncio.sleep(0.3)
    started = time.perf_counter()
    connections[-1][1].write(publishing)
    answers = await asyncio.gather(*(reader.readuntil(b"\r\n\r\n") for reader, _ in connections))
    elapsed = time.perf_counter() - started
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    bodies = [await reader.read(1 << 16) for reader, _ in connections[:-1]]
    assert all(b"Notification" in body for body in bodies)
    for _, writer in connections:
        writer.close()
    return elapsed


def gigabyte() -> Iterator[Measured]:
    """1 GiB up and down again: how much the server's memory grows."""
    size = 1 << 30
    with durable_server() as server, tempfile.TemporaryDirectory(dir=Path.cwd() / ".cache") as folder:
        s3 = server.client("s3", request_checksum_calculation="when_required")
        s3.create_bucket(Bucket="big")
        s3.put_object(Bucket="big", Key="small", Body=b"x" * 100_000)
        source = Path(folder) / "source"
        with source.open("wb") as file:
            file.truncate(size)
        assert server.process is not None
        before = memory_mb(server.process.pid)
        watch = Peak(server.process.pid)
        watch.start()
        up = time.perf_counter()
        with source.open("rb") as file:
            s3.put_object(Bucket="big", Key="giant", Body=file)
        up, down = time.perf_counter() - up, time.perf_counter()
        received = 0
        for chunk in s3.get_object(Bucket="big", Key="giant")["Body"].iter_chunks(1 << 20):
            received += len(chunk)
        down = time.perf_counter() - down
        growth = watch.end() - before
        assert received == size
    yield Measured(
        Figure("memory growth, 1 GiB up and down", "MB", "peak PSS over the idle one", at_most=64),
        growth,
        {"up MB/s": 1074 / up, "down MB/s": 1074 / down},
    )


CASES: dict[str, Case] = {
    "startup": startup,
    "cold": cold,
    "snapstart": snapstart,
    "sdk": sdk,
    "node": node,
    "provisioned": provisioned,
    "warm": warm,
    "burst": burst,
    "thousand": thousand,
    "functions": functions,
    "density": density,
    "thumbnail": thumbnail,
    "events": events,
    "objects": objects,
    "notifications": notifications,
    "queues": queues,
    "topics": topics,
    "mappings": mappings,
    "gigabyte": gigabyte,
    "streaming": streaming,
}


def git_revision() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    import os
    import platform

    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "revision": git_revision(),
    }
