"""Queues that run functions: what hundreds of quiet ones cost, and how soon a message is with its function."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.figures import Figure, Measured
from benchmarks.setup import durable_server, function, role

QUIET = 500
_WATCHED_S = 40.0
_MESSAGES = 100
TELL = """
import time
import boto3, json, os
sqs = boto3.client("sqs")

def handler(event, context):
    began = time.time()
    for record in event["Records"]:
        sqs.send_message(QueueUrl=os.environ["OUT"], MessageBody=json.dumps([record["body"], began]))
"""


def mappings() -> Iterator[Measured]:
    """500 mappings whose queues are empty, and beside them one whose queue gets a message now and then."""
    with durable_server() as server:
        sqs, functions = server.client("sqs"), server.client("lambda")
        role(server)
        allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]}
        server.client("iam").put_role_policy(RoleName="bench", PolicyName="sqs", PolicyDocument=json.dumps(allow))
        out = _queue(sqs, "out")[0]
        function(server, "tell", TELL, Environment={"Variables": {"OUT": out}})
        url = _mapped(sqs, functions, "busy")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: _mapped(sqs, functions, f"quiet{n}"), range(QUIET)))
        time.sleep(5)
        assert server.process is not None
        before, began = _cpu_s(server.process.pid), time.perf_counter()
        time.sleep(_WATCHED_S)
        share = (_cpu_s(server.process.pid) - before) / (time.perf_counter() - began) * 100
        latencies = [_latency_ms(sqs, url, out, n) for n in range(_MESSAGES + 5)][5:]
    yield Measured(
        Figure(f"{QUIET} idle mappings", "% of a core", f"the server's CPU time over {_WATCHED_S:g} s", at_most=5),
        share,
    )
    yield Measured(
        Figure(
            "SQS send → handler running, p50",
            "ms",
            f"warm, {_MESSAGES} messages one after another, {QUIET} idle mappings beside it",
            at_most=20,
        ),
        statistics.median(latencies),
        {"p95": sorted(latencies)[int(len(latencies) * 0.95)]},
    )


def _queue(sqs: Any, name: str) -> tuple[str, str]:
    url = str(sqs.create_queue(QueueName=name)["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return url, str(arn)


def _mapped(sqs: Any, functions: Any, name: str) -> str:
    url, arn = _queue(sqs, name)
    functions.create_event_source_mapping(EventSourceArn=arn, FunctionName="tell")
    return url


def _latency_ms(sqs: Any, url: str, out: str, number: int) -> float:
    """From the call of SendMessage to the first line of the handler; both read the same machine's clock."""
    sent = time.time()
    sqs.send_message(QueueUrl=url, MessageBody=str(number))
    [message] = sqs.receive_message(QueueUrl=out, WaitTimeSeconds=20)["Messages"]
    sqs.delete_message(QueueUrl=out, ReceiptHandle=message["ReceiptHandle"])
    body, began = json.loads(message["Body"])
    assert body == str(number)
    return float((began - sent) * 1000)


def _cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
