"""SQS on a server: boto3's JSON protocol, hand-made query requests, permissions, memory."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from alonzo.testing import Server


@pytest.fixture
def client(alonzo: Server) -> Any:
    return alonzo.client("sqs")


@pytest.fixture
def url(client: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    name = re.sub(r"[^A-Za-z0-9_-]", "-", request.node.name)[:80]
    url = client.create_queue(QueueName=name)["QueueUrl"]
    yield url
    client.delete_queue(QueueUrl=url)


def _query(alonzo: Server, path: str, **fields: str) -> tuple[int, str]:
    """A signed request in the query protocol; its status and its body."""
    body = urlencode({"Version": "2012-11-05", **fields})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = AWSRequest("POST", alonzo.endpoint + path, data=body, headers=headers)
    SigV4Auth(Credentials("test", "test"), "sqs", "us-east-1").add_auth(request)
    ready = urllib.request.Request(alonzo.endpoint + path, body.encode(), dict(request.headers.items()))
    try:
        with urllib.request.urlopen(ready, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_boto3_sends_receives_and_deletes(client: Any, url: str) -> None:
    """boto3, which checks every digest, sends and receives bodies and attributes of each type."""
    attributes = {
        "s": {"DataType": "String.x", "StringValue": "ä"},
        "n": {"DataType": "Number", "StringValue": "-1.5e3"},
        "b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
    body = "grüße \U0001f600 \t\r\n"
    client.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes, MessageSystemAttributes=trace)
    answer = client.receive_message(
        QueueUrl=url, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"], WaitTimeSeconds=1
    )
    message = answer["Messages"][0]
    assert message["Body"] == body and message["MessageAttributes"] == attributes
    assert message["Attributes"]["AWSTraceHeader"].startswith("Root=")
    client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert found["ApproximateNumberOfMessages"] == found["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_batches_of_boto3(client: Any, url: str) -> None:
    """SendMessageBatch, ChangeMessageVisibilityBatch and DeleteMessageBatch answer for each entry."""
    sent = client.send_message_batch(
        QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": f"m{n}" if n else "\x01"} for n in range(10)]
    )
    assert len(sent["Successful"]) == 9 and sent["Failed"][0]["Code"] == "InvalidMessageContents"
    messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    handles = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(messages)]
    changed = client.change_message_visibility_batch(
        QueueUrl=url, Entries=[{**one, "VisibilityTimeout": 60} for one in handles]
    )
    assert len(changed["Successful"]) == 9
    deleted = client.delete_message_batch(QueueUrl=url, Entries=[*handles, {"Id": "x", "ReceiptHandle": "x"}])
    assert len(deleted["Successful"]) == 9 and deleted["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"


def test_error_codes_of_both_protocols(alonzo: Server, client: Any) -> None:
    """A missing queue is QueueDoesNotExist in JSON with the query code in a header, NonExistentQueue in query."""
    with pytest.raises(client.exceptions.QueueDoesNotExist) as error:
        client.get_queue_url(QueueName="missing")
    assert error.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    status, body = _query(alonzo, "/", Action="GetQueueUrl", QueueName="missing")
    assert status == 400
    assert "<Code>AWS.SimpleQueueService.NonExistentQueue</Code>" in body


def test_the_query_protocol(alonzo: Server, client: Any) -> None:
    """Old SDKs' requests, at the queue's own URL too, do what JSON ones do."""
    fields = {"Attribute.1.Name": "VisibilityTimeout", "Attribute.1.Value": "7"}
    status, body = _query(alonzo, "/", Action="CreateQueue", QueueName="by-query", **fields)
    assert status == 200 and "<QueueUrl>" in body
    url = client.get_queue_url(QueueName="by-query")["QueueUrl"]
    path = "/" + url.split("/", 3)[3]
    attribute = {
        "MessageAttribute.1.Name": "a",
        "MessageAttribute.1.Value.DataType": "String",
        "MessageAttribute.1.Value.StringValue": "v",
    }
    status, body = _query(alonzo, path, Action="SendMessage", MessageBody="x & <y>", **attribute)
    assert status == 200 and "<MD5OfMessageBody>" in body and "<MD5OfMessageAttributes>" in body
    names = {"AttributeName.1": "All", "MessageAttributeName.1": "a", "VisibilityTimeout": "0"}
    status, body = _query(alonzo, path, Action="ReceiveMessage", **names)
    assert status == 200
    assert "<Body>x &amp; &lt;y&gt;</Body>" in body and "<Name>ApproximateReceiveCount</Name><Value>1</Value>" in body
    assert "<StringValue>v</StringValue>" in body
    handle = client.receive_message(QueueUrl=url)["Messages"][0]["ReceiptHandle"]
    batch = {"DeleteMessageBatchRequestEntry.1.Id": "1", "DeleteMessageBatchRequestEntry.1.ReceiptHandle": handle}
    status, body = _query(alonzo, path, Action="DeleteMessageBatch", **batch)
    assert status == 200 and "<DeleteMessageBatchResultEntry><Id>1</Id>" in body
    status, body = _query(alonzo, path, Action="GetQueueAttributes", **{"AttributeName.1": "VisibilityTimeout"})
    assert "<Attribute><Name>VisibilityTimeout</Name><Value>7</Value></Attribute>" in body
    assert _query(alonzo, path, Action="DeleteQueue")[0] == 200


def test_long_polls_wake_at_once(client: Any, alonzo: Server, url: str) -> None:
    """A long poll over HTTP is answered soon after another client's message."""
    receiver, got = alonzo.client("sqs"), []

    def receive() -> None:
        answer = receiver.receive_message(QueueUrl=url, WaitTimeSeconds=10)
        got.append((time.perf_counter(), answer["Messages"][0]["Body"]))

    thread = threading.Thread(target=receive)
    thread.start()
    time.sleep(0.1)
    sent = time.perf_counter()
    client.send_message(QueueUrl=url, MessageBody="hi")
    thread.join(5)
    assert got[0][1] == "hi" and got[0][0] - sent < 0.2


def test_the_server_stops_at_once_though_somebody_waits() -> None:
    """A long poll under way is answered, empty, when the server stops, and does not hold it up."""
    got: list[Any] = []
    with Server() as server:
        client = server.client("sqs")
        url = client.create_queue(QueueName="q")["QueueUrl"]
        thread = threading.Thread(target=lambda: got.append(client.receive_message(QueueUrl=url, WaitTimeSeconds=20)))
        thread.start()
        time.sleep(0.2)
        started = time.perf_counter()
        assert server.stop() == 0
        assert time.perf_counter() - started < 10  # the poll would have waited for twenty seconds
    thread.join(5)
    assert len(got) == 1 and "Messages" not in got[0]


def _user(alonzo: Server, name: str, *statements: dict[str, Any]) -> Any:
    iam = alonzo.client("iam")
    iam.create_user(UserName=name)
    if statements:
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return alonzo.client("sqs", access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])


def test_permissions_are_enforced(alonzo: Server, client: Any, url: str) -> None:
    """A user may do what a policy allows on that queue; a denial names the action in lower case and the queue."""
    arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    user = _user(alonzo, "queue-sender", {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn})
    user.send_message(QueueUrl=url, MessageBody="x")
    user.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "y"}])
    with pytest.raises(ClientError) as error:
        user.receive_message(QueueUrl=url)
    assert error.value.response["Error"]["Code"] == "AccessDenied"
    assert f"is not authorized to perform: sqs:receivemessage on resource: {arn}" in str(error.value)
    with pytest.raises(ClientError, match="sqs:createqueue"):
        user.create_queue(QueueName="other")


def test_the_queues_policy_grants(alonzo: Server, client: Any, url: str) -> None:
    """A queue's policy lets in who has no policy of their own, until the statement is taken back."""
    found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    account = found["QueueArn"].split(":")[4]
    user = _user(alonzo, "guest")
    with pytest.raises(ClientError, match="not authorized"):
        user.send_message(QueueUrl=url, MessageBody="x")
    statement = {
        "Sid": "guest",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:user/guest"},
        "Action": "sqs:SendMessage",
        "Resource": found["QueueArn"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    user.send_message(QueueUrl=url, MessageBody="x")
    client.remove_permission(QueueUrl=url, Label="guest")
    with pytest.raises(ClientError, match="not authorized"):
        user.send_message(QueueUrl=url, MessageBody="x")


def test_add_and_remove_permission(client: Any, url: str) -> None:
    """AddPermission writes a statement for the accounts' roots; labels are used once."""
    wanted = {"QueueUrl": url, "Label": "l", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage", "*"]}
    client.add_permission(**wanted)
    policy = json.loads(client.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"])
    statement = policy["Statement"][0]
    assert statement["Principal"] == {"AWS": "arn:aws:iam::111111111111:root"}
    assert statement["Action"] == ["SQS:SendMessage", "SQS:*"]
    for change, text in (
        ({}, "Value l for parameter Label is invalid. Reason: Already exists."),
        ({"Label": "a b"}, "Label"),
        ({"Label": "m", "Actions": ["CreateQueue"]}, "Only the queue owner is allowed to invoke this action."),
        ({"Label": "m", "AWSAccountIds": ["1"]}, "Unable to verify"),
    ):
        with pytest.raises(ClientError, match=re.escape(text)):
            client.add_permission(**{**wanted, **change})
    client.remove_permission(QueueUrl=url, Label="l")
    assert "Attributes" not in client.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
    with pytest.raises(ClientError, match="can't find label on existing policy"):
        client.remove_permission(QueueUrl=url, Label="l")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"QueueUrl": 5, "MessageBody": []}',
        b'{"QueueUrl": "x", "MessageBody": "' + b"\\ud800" + b'"}',
        b'{"Entries": ' + b"[" * 50_000,
        b'{"MessageAttributes": ' + b'{"a":' * 20_000,
        b"\xff\xfe",
    ],
)
def test_malformed_requests_get_a_client_error(alonzo: Server, client: Any, body: bytes) -> None:
    """Whatever comes as a request's body is answered with 4xx, and the server goes on."""
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"}
    request = AWSRequest("POST", alonzo.endpoint + "/", data=body, headers=headers)
    SigV4Auth(Credentials("test", "test"), "sqs", "us-east-1").add_auth(request)
    ready = urllib.request.Request(alonzo.endpoint + "/", body, dict(request.headers.items()))
    with pytest.raises(urllib.error.HTTPError) as error, urllib.request.urlopen(ready, timeout=10):
        pass
    error.value.close()
    assert 400 <= error.value.code < 500
    client.list_queues()
