"""Topics and real functions."""

from __future__ import annotations

import io
import json
import sys
import time
import zipfile

import pytest

from alonzo.testing import Server

ACCOUNT = "000000000000"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
MAY_PUBLISH = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sns:Publish", "Resource": "*"}]}
)
SOURCE = """
import boto3, json, os

def handler(event, context):
    (record,) = event["Records"]
    boto3.client("sns").publish(TopicArn=os.environ["ANSWERS"], Message=json.dumps(record))
"""


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_topic_runs_a_function_that_publishes(alonzo: Server) -> None:
    """A function that a topic invokes gets AWS's record, and what it publishes with its role reaches a queue; a
    function whose policy does not name the topic is not invoked, and its message becomes a dead letter."""
    sns, sqs, functions, iam = (alonzo.client(name) for name in ("sns", "sqs", "lambda", "iam"))
    topic = sns.create_topic(Name="sns-functions")["TopicArn"]
    answers = sns.create_topic(Name="sns-answers")["TopicArn"]
    urls = {}
    for name, source in (("sns-answers", answers), ("sns-dead", topic)):
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": "*",
            "Condition": {"ArnEquals": {"aws:SourceArn": source}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        urls[name] = sqs.create_queue(QueueName=name, Attributes={"Policy": policy})["QueueUrl"]
    sns.subscribe(
        TopicArn=answers,
        Protocol="sqs",
        Endpoint=f"arn:aws:sqs:us-east-1:{ACCOUNT}:sns-answers",
        Attributes={"RawMessageDelivery": "true"},
    )
    role = iam.create_role(RoleName="sns-functions", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    iam.put_role_policy(RoleName="sns-functions", PolicyName="p", PolicyDocument=MAY_PUBLISH)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("app.py", SOURCE)
    for name in ("sns-allowed", "sns-denied"):
        made = functions.create_function(
            FunctionName=name,
            Runtime=f"python3.{sys.version_info.minor}",
            Handler="app.handler",
            Role=role,
            Code={"ZipFile": archive.getvalue()},
            Timeout=30,
            MemorySize=256,
            Environment={"Variables": {"ANSWERS": answers}},
        )
        functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        redrive = json.dumps({"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:sns-dead"})
        sns.subscribe(
            TopicArn=topic, Protocol="lambda", Endpoint=made["FunctionArn"], Attributes={"RedrivePolicy": redrive}
        )
    functions.add_permission(
        FunctionName="sns-allowed",
        StatementId="s",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=topic,
    )
    sns.publish(TopicArn=topic, Message="hello", Subject="S")

    def first(name: str) -> dict[str, object]:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            for message in sqs.receive_message(QueueUrl=urls[name], WaitTimeSeconds=2).get("Messages", []):
                return dict(json.loads(message["Body"]))
        raise AssertionError(f"nothing came to {name}")

    record = first("sns-answers")
    assert (record["EventSource"], record["EventVersion"]) == ("aws:sns", "1.0")
    sent = record["Sns"]
    assert isinstance(sent, dict)
    assert (sent["Message"], sent["Subject"], sent["TopicArn"]) == ("hello", "S", topic)
    assert first("sns-dead")["Message"] == "hello"
