"""Recursive loops on a real server: each kind stops by itself, and what was stopped goes where it should."""

from __future__ import annotations

import io
import json
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.slow

RUNTIME = f"python3.{sys.version_info.minor}"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
#: Notes every run, with its trace header, as an object, then does what the function is there for.
NOTE = """\
import boto3, json, os
def note(event):
    s3 = boto3.client("s3")
    s3.put_object(Bucket=os.environ["NOTES"], Key=os.urandom(8).hex(), Body=os.environ["_X_AMZN_TRACE_ID"])
    return s3
"""


def eventually(look: Callable[[], Any], seconds: float = 40.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


class Loops:
    """Functions that may do everything, and the bucket in which they note their runs."""

    def __init__(self, server: Any) -> None:
        self.functions, self.s3, self.iam = (server.client(name) for name in ("lambda", "s3", "iam"))
        self.server = server
        name = f"loops-{uuid.uuid4().hex[:8]}"
        self.role = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        self.iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(ANYTHING))
        self.notes = f"{name}-notes"
        self.s3.create_bucket(Bucket=self.notes)
        self.made: list[str] = []

    def function(self, body: str, *, timeout: int = 60, **variables: str) -> str:
        name = f"loop-{uuid.uuid4().hex[:8]}"
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("app.py", f"{NOTE}\ndef handler(event, context):\n    s3 = note(event)\n{body}")
        self.functions.create_function(
            FunctionName=name,
            Runtime=RUNTIME,
            Handler="app.handler",
            Role=self.role,
            Timeout=timeout,
            MemorySize=1769,
            Code={"ZipFile": data.getvalue()},
            Environment={"Variables": {"NOTES": self.notes, **variables}},
        )
        self.made.append(name)
        self.functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        return name

    def runs(self) -> list[str]:
        """The trace headers of the runs so far."""
        keys = [one["Key"] for one in self.s3.list_objects_v2(Bucket=self.notes).get("Contents", [])]
        return [self.s3.get_object(Bucket=self.notes, Key=key)["Body"].read().decode() for key in keys]

    def stops_after(self, count: int) -> None:
        """So many runs, and no more half a second later."""
        eventually(lambda: len(self.runs()) >= count)
        time.sleep(0.5)
        runs = self.runs()
        assert len(runs) == count
        assert len({one.partition(";")[0] for one in runs}) == 1  # one root
        depths = {int(one.rpartition(":")[2]) for one in runs}
        assert depths == set(range(count))


@pytest.fixture
def loops(alonzo: Any) -> Iterator[Loops]:
    made = Loops(alonzo)
    yield made
    for name in made.made:
        made.functions.delete_function(FunctionName=name)


SELF = """\
    import json
    answer = boto3.client("lambda").invoke(
        FunctionName=context.function_name, InvocationType=os.environ["KIND"], Payload=json.dumps(event).encode()
    )
    return {"status": answer["StatusCode"]}
"""


def test_a_loop_of_events_stops_and_reports(loops: Loops) -> None:
    """A function that sends itself events runs 16 times; the seventeenth event goes to its on-failure destination."""
    heir = loops.function("    s3.put_object(Bucket=os.environ['NOTES'], Key='heard', Body=json.dumps(event))\n")
    name = loops.function(SELF, KIND="Event")
    account = loops.role.split(":")[4]
    target = f"arn:aws:lambda:us-east-1:{account}:function:{heir}"
    loops.functions.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnFailure": {"Destination": target}}
    )
    loops.functions.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"a": 1}')

    def heard() -> Any:
        found = loops.s3.list_objects_v2(Bucket=loops.notes, Prefix="heard").get("KeyCount")
        return found and json.load(loops.s3.get_object(Bucket=loops.notes, Key="heard")["Body"])

    document = eventually(heard)
    assert document["requestPayload"] == {"a": 1}
    assert document["requestContext"]["condition"] == "RecursiveInvocation"
    assert document["requestContext"]["approximateInvokeCount"] == 0
    # 16 runs of the function, one of the destination, and what that wrote.
    assert loops.s3.list_objects_v2(Bucket=loops.notes)["KeyCount"] == 18


def test_a_loop_through_a_bucket_stops(loops: Loops) -> None:
    """A function that writes into the bucket that invokes it runs 16 times."""
    bucket = f"{loops.notes}-loop"
    loops.s3.create_bucket(Bucket=bucket)
    name = loops.function(
        "    s3.put_object(Bucket=os.environ['LOOP'], Key=os.urandom(8).hex(), Body=b'x')\n", LOOP=bucket
    )
    allow = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    loops.functions.add_permission(FunctionName=name, StatementId="s3", **allow)
    arn = loops.functions.get_function_configuration(FunctionName=name)["FunctionArn"]
    loops.s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [{"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    loops.s3.put_object(Bucket=bucket, Key="first", Body=b"x")
    loops.stops_after(16)


def test_a_loop_through_a_topic_stops(loops: Loops) -> None:
    """A function that publishes to the topic that invokes it runs 16 times."""
    sns = loops.server.client("sns")
    topic = sns.create_topic(Name=f"loop-{uuid.uuid4().hex[:8]}")["TopicArn"]
    name = loops.function(
        "    boto3.client('sns').publish(TopicArn=os.environ['TOPIC'], Message='again')\n", TOPIC=topic
    )
    allow = {"Action": "lambda:InvokeFunction", "Principal": "sns.amazonaws.com", "SourceArn": topic}
    loops.functions.add_permission(FunctionName=name, StatementId="sns", **allow)
    arn = loops.functions.get_function_configuration(FunctionName=name)["FunctionArn"]
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=arn)
    sns.publish(TopicArn=topic, Message="first")
    loops.stops_after(16)


def test_a_loop_through_a_queue_stops(loops: Loops) -> None:
    """A function that sends to the queue that invokes it runs 16 times; the message goes to the dead-letter queue."""
    sqs = loops.server.client("sqs")

    def queue(**attributes: str) -> tuple[str, str]:
        url = sqs.create_queue(QueueName=f"loop-{uuid.uuid4().hex[:8]}", Attributes=attributes)["QueueUrl"]
        return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    dead, dead_arn = queue()
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})
    url, arn = queue(RedrivePolicy=redrive, VisibilityTimeout="10")
    name = loops.function(
        "    boto3.client('sqs').send_message(QueueUrl=os.environ['LOOP'], MessageBody='again')\n", timeout=10, LOOP=url
    )
    mapping = loops.functions.create_event_source_mapping(FunctionName=name, EventSourceArn=arn, BatchSize=1)
    try:
        sqs.send_message(QueueUrl=url, MessageBody="first")
        loops.stops_after(16)
        messages = eventually(lambda: sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=5).get("Messages"))
        assert [one["Body"] for one in messages] == ["again"]
    finally:
        loops.functions.delete_event_source_mapping(UUID=mapping["UUID"])


def test_a_loop_of_calls_gets_the_exception(loops: Loops) -> None:
    """A function that calls itself and waits runs 16 times deep; the innermost call gets AWS's exception."""
    name = loops.function(
        SELF.replace('"status": answer["StatusCode"]', '"payload": json.load(answer["Payload"])'),
        KIND="RequestResponse",
    )
    payload = json.load(loops.functions.invoke(FunctionName=name)["Payload"])
    for _ in range(15):
        payload = payload["payload"]
    assert payload["errorType"] == "RecursiveInvocationException"
    assert "recursive loop" in payload["errorMessage"]
    loops.stops_after(16)
