"""Functions fed from queues, and outcomes that go to queues and topics, on a real server."""

from __future__ import annotations

import json
import uuid

import pytest

from alonzo.testing import Server

ROLE = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["sqs:*", "sns:*", "lambda:*", "s3:*"], "Resource": "*"}],
}
#: Reports what it was called with to the queue in OUT.
REPORTER = """
import boto3, json, os
sqs = boto3.client("sqs")

def handler(event, context):
    sqs.send_message(QueueUrl=os.environ["OUT"], MessageBody=json.dumps(event))
    bodies = [record["body"] for record in event["Records"]]
    if any("raise" in body for body in bodies):
        raise Exception("intended")
    return {"batchItemFailures": [{"itemIdentifier": r["messageId"]} for r in event["Records"] if "fail" in r["body"]]}
"""


class Queues:
    """Makes queues, and functions that read them."""

    def __init__(self, server: Server, make) -> None:
        self.make = make
        self.sqs = server.client("sqs")
        self.functions = server.client("lambda")

    def queue(self, name: str | None = None, **attributes: str) -> tuple[str, str]:
        """(url, arn)"""
        name = name or f"q-{uuid.uuid4().hex[:8]}"
        url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def reporter(self, **more) -> tuple[str, str]:
        """(function's name, url of the queue it reports to)"""
        out, _ = self.queue()
        name = self.make.function(
            REPORTER, role=self.make.role(inline=ROLE), Environment={"Variables": {"OUT": out}}, **more
        )
        return name, out

    def receive(self, url: str, seconds: int = 15) -> dict:
        found = self.sqs.receive_message(
            QueueUrl=url, WaitTimeSeconds=seconds, AttributeNames=["All"], MessageAttributeNames=["All"]
        ).get("Messages")
        assert found, "no message came"
        self.sqs.delete_message(QueueUrl=url, ReceiptHandle=found[0]["ReceiptHandle"])
        return found[0]

    def report(self, url: str, seconds: int = 15) -> list[dict]:
        """The records of the next invocation."""
        return json.loads(self.receive(url, seconds)["Body"])["Records"]

    def count(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)


@pytest.fixture(scope="session")
def queues(alonzo: Server, make) -> Queues:
    return Queues(alonzo, make)


@pytest.fixture(scope="session")
def wait(request):
    from importlib.util import module_from_spec, spec_from_file_location  # conftest is no package

    spec = spec_from_file_location("e2e_conftest", request.config.rootpath / "tests" / "e2e" / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.wait_for


def test_a_message_runs_the_function_and_is_deleted(queues: Queues, wait) -> None:
    """A message sent to a mapped queue reaches the function in AWS's form, and is gone once it has succeeded."""
    name, out = queues.reporter()
    url, arn = queues.queue()
    made = queues.functions.create_event_source_mapping(EventSourceArn=arn, FunctionName=name)
    assert made["State"] == "Creating"
    attributes = {"Author": {"DataType": "String", "StringValue": "John"}}
    sent = queues.sqs.send_message(QueueUrl=url, MessageBody="hello", MessageAttributes=attributes)
    [record] = queues.report(out)
    assert record["messageId"] == sent["MessageId"]
    assert record["body"] == "hello"
    assert record["md5OfBody"] == sent["MD5OfMessageBody"]
    assert record["md5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert record["messageAttributes"] == {
        "Author": {"stringValue": "John", "stringListValues": [], "binaryListValues": [], "dataType": "String"}
    }
    assert (record["eventSource"], record["eventSourceARN"], record["awsRegion"]) == ("aws:sqs", arn, "us-east-1")
    wait(lambda: queues.count(url) == 0)
    mapping = queues.functions.get_event_source_mapping(UUID=made["UUID"])
    assert mapping["State"] == "Enabled" and "LastProcessingResult" not in mapping
