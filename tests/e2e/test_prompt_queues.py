"""What is known of a caller and a queue on the prompt way ends with what made it true, from the next request on."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from alonzo.testing import Server

pytestmark = pytest.mark.slow


def code_of(call: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


class Caller:
    """A user of its own with a queue of its own; `warm` sends, receives and deletes until all about both is known."""

    def __init__(self, server: Server) -> None:
        self.iam, self.owner, self.user = server.client("iam"), server.client("sqs"), f"user-{uuid.uuid4().hex[:8]}"
        self.name = f"queue-{uuid.uuid4().hex[:8]}"
        self.url = self.owner.create_queue(QueueName=self.name)["QueueUrl"]
        self.arn = self.iam.create_user(UserName=self.user)["User"]["Arn"]
        self.allow("sqs:*")
        key = self.key = self.iam.create_access_key(UserName=self.user)["AccessKey"]
        self.client = server.client("sqs", access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])
        self.calls = {
            "SendMessage": lambda: self.client.send_message(QueueUrl=self.url, MessageBody="x"),
            "ReceiveMessage": lambda: self.client.receive_message(QueueUrl=self.url, VisibilityTimeout=0),
            "DeleteMessage": lambda: self.client.delete_message(QueueUrl=self.url, ReceiptHandle=self.handle),
        }

    def allow(self, *actions: str, effect: str = "Allow") -> None:
        statement = {"Effect": effect, "Action": list(actions), "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.iam.put_user_policy(UserName=self.user, PolicyName="p", PolicyDocument=document)

    def warm(self) -> None:
        for n in range(4):
            self.client.send_message(QueueUrl=self.url, MessageBody=str(n))
            [message] = self.client.receive_message(QueueUrl=self.url)["Messages"]
            assert message["Body"] == str(n)
            self.handle = message["ReceiptHandle"]
            self.client.delete_message(QueueUrl=self.url, ReceiptHandle=self.handle)

    def codes(self) -> set[str]:
        return {code_of(call) for call in self.calls.values()}


@pytest.fixture
def caller(alonzo: Server) -> Caller:
    made = Caller(alonzo)
    made.warm()
    return made


def test_a_policy_taken_away(caller: Caller) -> None:
    """Without its policy, or against a Deny, a warm caller is refused; allowed again, it goes on."""
    caller.iam.delete_user_policy(UserName=caller.user, PolicyName="p")
    assert caller.codes() == {"AccessDenied"}
    caller.allow("sqs:*")
    caller.warm()
    caller.allow("sqs:*", effect="Deny")
    assert caller.codes() == {"AccessDenied"}


@pytest.mark.parametrize("left", ["SendMessage", "ReceiveMessage", "DeleteMessage"])
def test_one_permission_is_not_another(caller: Caller, left: str) -> None:
    """What is remembered of one operation says nothing of the others, nor of batches that need another action."""
    caller.allow(f"sqs:{left}")
    for name, call in caller.calls.items():
        if name == left:
            call()
            call()
        else:
            assert code_of(call) == "AccessDenied"
    entries = [{"Id": "a", "MessageBody": "x"}]
    if left == "SendMessage":
        assert caller.client.send_message_batch(QueueUrl=caller.url, Entries=entries)["Successful"]
    else:
        assert code_of(lambda: caller.client.send_message_batch(QueueUrl=caller.url, Entries=entries)) == "AccessDenied"


def test_a_key_made_inactive_and_deleted(caller: Caller) -> None:
    """An access key ends at once, though its requests were remembered."""
    key = {"UserName": caller.user, "AccessKeyId": caller.key["AccessKeyId"]}
    caller.iam.update_access_key(**key, Status="Inactive")
    assert caller.codes() == {"UnrecognizedClientException"}
    caller.iam.update_access_key(**key, Status="Active")
    caller.warm()
    caller.iam.delete_access_key(**key)
    assert caller.codes() == {"UnrecognizedClientException"}


def test_a_queues_own_policy(caller: Caller) -> None:
    """A queue's policy counts from the next request on, stops with its removal, and denies at once."""

    def set_policy(effect: str) -> None:
        statement = {"Effect": effect, "Principal": {"AWS": caller.arn}, "Action": "sqs:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        caller.owner.set_queue_attributes(QueueUrl=caller.url, Attributes={"Policy": policy})

    caller.iam.delete_user_policy(UserName=caller.user, PolicyName="p")
    assert caller.codes() == {"AccessDenied"}
    set_policy("Allow")
    caller.warm()
    caller.owner.set_queue_attributes(QueueUrl=caller.url, Attributes={"Policy": ""})
    assert caller.codes() == {"AccessDenied"}
    caller.allow("sqs:*")
    caller.warm()
    set_policy("Deny")
    assert caller.codes() == {"AccessDenied"}


def test_a_policy_with_conditions_is_asked_each_time(caller: Caller) -> None:
    """What depends on more than who and what is not remembered: the same user with another client is refused."""
    statement = {
        "Effect": "Allow",
        "Action": "sqs:*",
        "Resource": "*",
        "Condition": {"StringLike": {"aws:UserAgent": "*Boto3*"}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    caller.iam.put_user_policy(UserName=caller.user, PolicyName="p", PolicyDocument=document)
    caller.warm()

    def disguise(request: Any, **_: Any) -> None:
        request.headers["User-Agent"] = "other"

    caller.client.meta.events.register("before-send.sqs.*", disguise)
    assert caller.codes() == {"AccessDenied"}


def test_a_queue_changed_purged_and_deleted(caller: Caller) -> None:
    """New settings hold for the next request; a purged queue is empty; a deleted one is not found."""
    caller.owner.set_queue_attributes(QueueUrl=caller.url, Attributes={"MaximumMessageSize": "1024"})
    body = "x" * 1025
    assert code_of(lambda: caller.client.send_message(QueueUrl=caller.url, MessageBody=body)) == "InvalidParameterValue"
    caller.owner.set_queue_attributes(QueueUrl=caller.url, Attributes={"MaximumMessageSize": "2048"})
    caller.client.send_message(QueueUrl=caller.url, MessageBody=body)
    caller.owner.purge_queue(QueueUrl=caller.url)
    assert "Messages" not in caller.client.receive_message(QueueUrl=caller.url)
    caller.owner.set_queue_attributes(QueueUrl=caller.url, Attributes={"DelaySeconds": "900"})
    caller.client.send_message(QueueUrl=caller.url, MessageBody="late")
    assert "Messages" not in caller.client.receive_message(QueueUrl=caller.url)
    caller.owner.delete_queue(QueueUrl=caller.url)
    assert caller.codes() == {"AWS.SimpleQueueService.NonExistentQueue"}


def test_everybody_gets_their_own(alonzo: Server) -> None:
    """Equal names in two accounts and regions are three queues, and a queue of another account needs its policy."""
    name = f"same-{uuid.uuid4().hex[:8]}"
    places = [("111111111111", "us-east-1"), ("222222222222", "us-east-1"), ("111111111111", "eu-west-1")]
    clients, urls = [], []
    for account, region in places:
        client = alonzo.client("sqs", access_key_id=account, region=region)
        urls.append(client.create_queue(QueueName=name)["QueueUrl"])
        clients.append(client)
    for n in range(4):
        for (account, region), client, url in zip(places, clients, urls, strict=True):
            client.send_message(QueueUrl=url, MessageBody=f"{account} {region} {n}")
        for (account, region), client, url in zip(places, clients, urls, strict=True):
            [message] = client.receive_message(QueueUrl=url)["Messages"]
            assert message["Body"] == f"{account} {region} {n}"
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    other = clients[1]
    send = lambda: other.send_message(QueueUrl=urls[0], MessageBody="over the fence")  # noqa: E731
    assert code_of(send) == "AccessDenied"
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    clients[0].set_queue_attributes(QueueUrl=urls[0], Attributes={"Policy": policy})
    for _ in range(3):
        send()
    clients[0].set_queue_attributes(QueueUrl=urls[0], Attributes={"Policy": ""})
    assert code_of(send) == "AccessDenied"
    received = clients[0].receive_message(QueueUrl=urls[0], MaxNumberOfMessages=10, AttributeNames=["SenderId"])
    assert {(m["Body"], m["Attributes"]["SenderId"]) for m in received["Messages"]} == {
        ("over the fence", "222222222222")
    }
