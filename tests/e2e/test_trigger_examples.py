"""The examples of triggers and destinations do what their pages say."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from alonzo.testing import Server

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SQS = "arn:aws:iam::aws:policy/AmazonSQSFullAccess"
S3 = "arn:aws:iam::aws:policy/AmazonS3FullAccess"


@pytest.fixture
def example(make):
    """Makes the function of an example."""

    def made(folder: str, policy: str, **more) -> str:
        source = (EXAMPLES / folder / "app.py").read_text()
        return make.function(source, role=make.role(policy), Handler="app.lambda_handler", **more)

    return made


def _queue(sqs, **attributes: str) -> tuple[str, str]:
    url = sqs.create_queue(QueueName=f"q-{uuid.uuid4().hex[:8]}", Attributes=attributes)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def _receive(sqs, url: str) -> dict:
    [message] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20, MessageAttributeNames=["All"])["Messages"]
    return message


@pytest.mark.slow
def test_queue_worker(alonzo: Server, example) -> None:
    """An order becomes a receipt; what is no order goes to the dead-letter queue without holding it up."""
    sqs = alonzo.client("sqs")
    bad, bad_arn = _queue(sqs)
    receipts, _ = _queue(sqs)
    redrive = json.dumps({"deadLetterTargetArn": bad_arn, "maxReceiveCount": 3})
    orders, orders_arn = _queue(sqs, VisibilityTimeout="3", RedrivePolicy=redrive)
    variables = {"Variables": {"RECEIPTS_URL": receipts}}
    name = example("queue-worker", SQS, Timeout=3, Environment=variables)
    alonzo.client("lambda").create_event_source_mapping(
        EventSourceArn=orders_arn, FunctionName=name, FunctionResponseTypes=["ReportBatchItemFailures"]
    )
    bodies = ['{"id": 1, "price": 2.5, "quantity": 4}', "no order"]
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
    sqs.send_message_batch(QueueUrl=orders, Entries=entries)
    assert json.loads(_receive(sqs, receipts)["Body"]) == {"order": 1, "total": 10.0}
    assert _receive(sqs, bad)["Body"] == "no order"


def test_topic_listener(alonzo: Server, example) -> None:
    """A published message is kept in the bucket."""
    sns, s3, functions = alonzo.client("sns"), alonzo.client("s3"), alonzo.client("lambda")
    bucket = f"b-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    name = example("topic-listener", S3, Environment={"Variables": {"ARCHIVE_BUCKET": bucket}})
    topic = sns.create_topic(Name=f"t-{uuid.uuid4().hex[:8]}")["TopicArn"]
    functions.add_permission(
        FunctionName=name,
        StatementId="news",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=topic,
    )
    arn = functions.get_function_configuration(FunctionName=name)["FunctionArn"]
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=arn)
    message = sns.publish(TopicArn=topic, Subject="hello", Message="It works.")["MessageId"]
    s3.get_waiter("object_exists").wait(
        Bucket=bucket, Key=f"{message}.txt", WaiterConfig={"Delay": 0.1, "MaxAttempts": 100}
    )
    assert s3.get_object(Bucket=bucket, Key=f"{message}.txt")["Body"].read() == b"It works."


def test_outcomes(alonzo: Server, example) -> None:
    """A success goes to one queue; a failure to another and, as it came, to the dead-letter queue."""
    sqs, functions = alonzo.client("sqs"), alonzo.client("lambda")
    (succeeded, succeeded_arn), (failed, failed_arn), (dead, dead_arn) = (_queue(sqs) for _ in range(3))
    name = example("outcomes", SQS, DeadLetterConfig={"TargetArn": dead_arn})
    functions.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnSuccess": {"Destination": succeeded_arn}, "OnFailure": {"Destination": failed_arn}},
    )
    for divisor in (4, 0):
        payload = json.dumps({"dividend": 10, "divisor": divisor})
        functions.invoke(FunctionName=name, InvocationType="Event", Payload=payload)
    assert json.loads(_receive(sqs, succeeded)["Body"])["responsePayload"] == {"quotient": 2.5}
    record = json.loads(_receive(sqs, failed)["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["responsePayload"]["errorType"] == "ZeroDivisionError"
    letter = _receive(sqs, dead)
    assert json.loads(letter["Body"]) == {"dividend": 10, "divisor": 0}
    assert letter["MessageAttributes"]["ErrorMessage"]["StringValue"] == "division by zero"
    assert letter["MessageAttributes"]["RequestID"]["StringValue"] == record["requestContext"]["requestId"]
