"""SNS's signing certificate is where SigningCertURL says."""

from __future__ import annotations

import json
import urllib.request

import pytest

from .conftest import wait_for

pytestmark = pytest.mark.slow


def test_certificate_is_served(alonzo):
    """The URL in an envelope answers the certificate, and a name that was never made answers 404."""
    sns, sqs = alonzo.client("sns"), alonzo.client("sqs")
    topic = sns.create_topic(Name="certificate")["TopicArn"]
    queue = sqs.create_queue(QueueName="certificate")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
    sns.publish(TopicArn=topic, Message="hello")
    messages = wait_for(lambda: sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=2).get("Messages"))
    url = json.loads(messages[0]["Body"])["SigningCertURL"]
    with urllib.request.urlopen(url, timeout=5) as answer:
        assert answer.read().startswith(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url + "x", timeout=5)
    assert caught.value.code == 404
    caught.value.close()
