"""What only a whole server can show: boto3, links in messages, policies, crashes."""

from __future__ import annotations

import http.server
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from alonzo.testing.server import Server

ACCOUNT = "000000000000"


def _queue(server: Server, name: str, topic: str = "", **attributes: str) -> tuple[str, str]:
    """(url, arn) of a queue that a topic may send to."""
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
    if topic:
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        attributes["Policy"] = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    return server.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"], arn


def _receive(server: Server, url: str, wanted: int, seconds: float = 10.0) -> list[dict[str, Any]]:
    """So many different messages, received and deleted; those that came twice are among them."""
    sqs, found, end = server.client("sqs"), [], time.monotonic() + seconds
    while len({message["Body"] for message in found}) < wanted and time.monotonic() < end:
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
        )
        for message in answer.get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            found.append(message)
    return found


def _until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


class _Hook(http.server.BaseHTTPRequestHandler):
    bodies: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    bodies: list[dict[str, Any]] = []
    handler = type("Hook", (_Hook,), {"bodies": bodies})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", bodies
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_topics_queues_and_links(hook: tuple[str, list[dict[str, Any]]]) -> None:
    """With boto3: a queue gets what its policy lets in, an endpoint confirms and unsubscribes by the links it gets."""
    with Server() as server:
        sns = server.client("sns")
        topic = sns.create_topic(Name="t", Tags=[{"Key": "k", "Value": "v"}])["TopicArn"]
        url, arn = _queue(server, "open", topic)
        _, closed = _queue(server, "closed")
        dead_url, dead = _queue(server, "dead", topic)
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        redrive = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": dead})}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=closed, Attributes=redrive)
        attributes = {"b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}
        sns.publish(TopicArn=topic, Message="hello", MessageAttributes=attributes)
        (message,) = _receive(server, url, 1)
        assert (message["Body"], message["MessageAttributes"]) == ("hello", attributes)
        (message,) = _receive(server, dead_url, 1)
        assert json.loads(message["Body"])["Message"] == "hello"

        address, bodies = hook
        assert sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=address)["SubscriptionArn"] == (
            "pending confirmation"
        )
        _until(lambda: bodies)
        with urllib.request.urlopen(bodies[0]["SubscribeURL"]) as answer:
            assert b"<ConfirmSubscriptionResult>" in answer.read()
        sns.publish(TopicArn=topic, Message="for the hook")
        _until(lambda: len(bodies) == 2)
        assert bodies[1]["Message"] == "for the hook"
        before = len(sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"])
        with urllib.request.urlopen(bodies[1]["UnsubscribeURL"]) as answer:
            assert answer.status == 200
        assert len(sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]) == before - 1
        with pytest.raises(ClientError) as caught:
            sns.publish(TopicArn=topic + "x", Message="x")
        assert caught.value.response["Error"]["Code"] == "NotFound"


@pytest.mark.slow
def test_who_may_publish() -> None:
    """A user needs a permission of its own or of the topic's policy; the default policy opens the topic to nobody."""
    with Server() as server:
        iam, sns = server.client("iam"), server.client("sns")
        iam.create_user(UserName="u")
        key = iam.create_access_key(UserName="u")["AccessKey"]
        user = server.client("sns", access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])
        topic = sns.create_topic(Name="t")["TopicArn"]
        with pytest.raises(ClientError) as caught:
            user.publish(TopicArn=topic, Message="x")
        error = caught.value.response
        assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("AuthorizationError", 403)
        assert f"is not authorized to perform: SNS:Publish on resource: {topic}" in error["Error"]["Message"]
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/u"},
            "Action": "sns:Publish",
            "Resource": topic,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
        assert user.publish(TopicArn=topic, Message="x")["MessageId"]


@pytest.mark.slow
def test_a_crash_after_publishing_loses_nothing(tmp_path: Path) -> None:
    """What was published before kill -9 reaches every subscription after the restart, in order where order is kept."""
    count, queues = 40, 5
    with Server(data_dir=tmp_path) as server:
        sns = server.client("sns")
        topic = sns.create_topic(Name="t")["TopicArn"]
        for n in range(queues):
            _, arn = _queue(server, f"q{n}", topic)
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        fifo_attributes = {"FifoTopic": "true", "ContentBasedDeduplication": "true"}
        fifo = sns.create_topic(Name="t.fifo", Attributes=fifo_attributes)["TopicArn"]
        _, arn = _queue(server, "q.fifo", fifo, FifoQueue="true")
        sns.subscribe(TopicArn=fifo, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        for first in range(0, count, 10):
            entries = [{"Id": str(n), "Message": f"m{n}"} for n in range(first, first + 10)]
            sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
            entries = [{**entry, "MessageGroupId": "g"} for entry in entries]
            sns.publish_batch(TopicArn=fifo, PublishBatchRequestEntries=entries)
        server.kill()
    with Server(data_dir=tmp_path) as server:
        wanted = [f"m{n}" for n in range(count)]
        for n in range(queues):
            url = server.client("sqs").get_queue_url(QueueName=f"q{n}")["QueueUrl"]
            got = {message["Body"] for message in _receive(server, url, count)}
            assert got == set(wanted)
        url = server.client("sqs").get_queue_url(QueueName="q.fifo")["QueueUrl"]
        assert [message["Body"] for message in _receive(server, url, count)] == wanted
