"""What is answered when it is on disk: events, objects and messages, from one client and from many."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from alonzo.cli.client import alonzo_client
from alonzo.testing import Server
from benchmarks import load
from benchmarks.figures import Figure, Measured
from benchmarks.peers import wrk
from benchmarks.requests import invoke, signed, sqs_call
from benchmarks.setup import durable_server, function
from benchmarks.starts import HELLO

_MANY = 64


def _sink(server: Server) -> str:
    """A function that takes what comes, two at a time; returns its ARN."""
    arn = function(server, "sink", HELLO)
    server.client("lambda").put_function_concurrency(FunctionName="sink", ReservedConcurrentExecutions=2)
    return arn


def _runs(server: Server) -> int:
    """How often functions have run so far."""
    return int(alonzo_client(server.endpoint).get_cost_report()["Total"]["Requests"])


def events() -> Iterator[Measured]:
    """Invoke(Event) of 1 KB, answered only when on disk, while the function runs them."""
    with durable_server() as server:
        _sink(server)
        payload = b'{"filler": "' + b"x" * 1000 + b'"}'
        request = invoke(server.endpoint, "sink", payload, X_Amz_Invocation_Type="Event")
        one = wrk.run(server.endpoint, [request], connections=1, seconds=4)
        before = _runs(server)
        many = wrk.run(server.endpoint, [request], connections=_MANY, seconds=6)
        ran = _runs(server) - before
    assert one.failed == many.failed == 0, (one, many)
    how = f"1 KB, 202 after commit, by {wrk.available()}"
    yield Measured(
        Figure(f"durable Event invokes, {_MANY} connections", "/s", f"{how}, 6 s", at_least=15_000, aim=33_000),
        many.rate,
        {"p50": many.percentiles[50], "p99": many.percentiles[99], "run meanwhile": ran / 6},
    )
    yield Measured(
        Figure("durable Event invoke p50, 1 connection", "ms", f"{how}, 4 s", at_most=1.5),
        one.percentiles[50],
        {"p99": one.percentiles[99], "rate": one.rate},
    )


def objects() -> Iterator[Measured]:
    """4 KiB objects: every put durable when answered."""
    with durable_server() as server:
        server.client("s3").create_bucket(Bucket="bench")
        puts = _puts(server, "bench")
        load.run(server.endpoint, puts, connections=32, seconds=2)
        put = load.run(server.endpoint, puts, connections=32, seconds=6).only(200)
        gets = [signed(server.endpoint, "s3", "GET", f"/bench/o{n}") for n in range(1000)]
        get = load.run(server.endpoint, gets, connections=32, seconds=6).only(200)
    yield Measured(
        Figure("S3 puts of 4 KiB, 32 connections", "/s", "durable, 6 s", at_least=1500),
        put.rate,
        {"p50": put.percentile(50)},
    )
    yield Measured(
        Figure("S3 gets of 4 KiB, 32 connections", "/s", "6 s", at_least=3000), get.rate, {"p50": get.percentile(50)}
    )


def notifications() -> Iterator[Measured]:
    """4 KiB objects into a bucket that tells a function of each: answered when object and notification are on disk."""
    with durable_server() as server:
        arn, s3 = _sink(server), server.client("s3")
        s3.create_bucket(Bucket="told")
        server.client("lambda").add_permission(
            FunctionName="sink",
            StatementId="s3",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn="arn:aws:s3:::told",
        )
        wanted = {"LambdaFunctionConfigurations": [{"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
        s3.put_bucket_notification_configuration(Bucket="told", NotificationConfiguration=wanted)
        puts = _puts(server, "told")
        load.run(server.endpoint, puts, connections=1, seconds=1)
        one = load.run(server.endpoint, puts, connections=1, seconds=4).only(200)
        before = _runs(server)
        many = load.run(server.endpoint, puts, connections=_MANY, seconds=6).only(200)
        ran = _runs(server) - before
    yield Measured(
        Figure(f"S3 puts with a notification, {_MANY} connections", "/s", "4 KiB, durable, 6 s", at_least=1_000),
        many.rate,
        {"p50": many.percentile(50), "p99": many.percentile(99), "run meanwhile": ran / 6},
    )
    yield Measured(
        Figure("S3 put with a notification p50, 1 connection", "ms", "4 KiB, durable, 4 s", at_most=4.0),
        one.percentile(50),
        {"p99": one.percentile(99), "rate": one.rate},
    )


def _puts(server: Server, bucket: str) -> list[bytes]:
    return [signed(server.endpoint, "s3", "PUT", f"/{bucket}/o{n}", b"x" * 4096) for n in range(4000)]


def queues() -> Iterator[Measured]:
    """Messages of 1 KB: sent, then received one by one, then deleted one by one."""
    sent, received, deleted = dict[int, load.Outcome](), dict[int, load.Outcome](), dict[int, load.Outcome]()
    with durable_server() as server:
        client, endpoint = server.client("sqs"), server.endpoint
        url = client.create_queue(QueueName="bench", Attributes={"VisibilityTimeout": "3600"})["QueueUrl"]
        sending = sqs_call(endpoint, "SendMessage", QueueUrl=url, MessageBody="x" * 1000)
        load.run(endpoint, [sending], connections=32, seconds=2)
        for connections, seconds in ((1, 3), (32, 6), (_MANY, 6)):
            sent[connections] = load.run(endpoint, [sending], connections=connections, seconds=seconds).only(200)
        client.purge_queue(QueueUrl=url)
        for connections, count in ((1, 3_000), (32, 20_000), (_MANY, 20_000)):
            load.run(endpoint, [sending], connections=32, seconds=60, count=count).only(200)
            received[connections], deleted[connections] = _take(endpoint, url, connections, count)
            left = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            assert left["ApproximateNumberOfMessagesNotVisible"] == left["ApproximateNumberOfMessages"] == "0"
    for connections, at_least in ((32, 4_000), (_MANY, 4_000)):
        yield Measured(
            Figure(
                f"SQS SendMessage, {connections} connections", "/s", "1 KB, answered when on disk", at_least=at_least
            ),
            sent[connections].rate,
            {"p50": sent[connections].percentile(50), "p99": sent[connections].percentile(99)},
        )
    yield Measured(
        Figure("SQS SendMessage p50, 1 connection", "ms", "1 KB, answered when on disk, 3 s", at_most=1.5),
        sent[1].percentile(50),
        {"p99": sent[1].percentile(99), "rate": sent[1].rate},
    )
    for connections, at_least in ((1, 300), (32, 3_000), (_MANY, 3_000)):
        yield Measured(
            Figure(
                f"SQS receive and delete, {connections} connection{'s' * (connections > 1)}",
                "/s",
                "messages of 1 KB received, then deleted, one by one; messages per second of both together",
                at_least=at_least,
            ),
            1 / (1 / received[connections].rate + 1 / deleted[connections].rate),
            {"receives": received[connections].rate, "deletes": deleted[connections].rate},
        )


def _take(endpoint: str, url: str, connections: int, wanted: int) -> tuple[load.Outcome, load.Outcome]:
    """Receive so many messages and delete them."""
    receiving, answers = sqs_call(endpoint, "ReceiveMessage", QueueUrl=url), list[bytes]()
    several: dict[str, Any] = {"connections": connections, "seconds": 60, "count": wanted}
    received = load.run(endpoint, [receiving], answers=answers, **several).only(200)
    handles = {json.loads(answer)["Messages"][0]["ReceiptHandle"] for answer in answers}
    assert len(handles) == wanted
    deleting = [sqs_call(endpoint, "DeleteMessage", QueueUrl=url, ReceiptHandle=handle) for handle in handles]
    return received, load.run(endpoint, deleting, **several).only(200)
