"""What a subscriber receives: the signed JSON envelope, the bare message, or the function's event.

Source: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html; shapes recorded on AWS.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from alonzo.services.sns.models import Message, Subscription, Topic
from alonzo.services.sns.signing import Signer


def timestamp(seconds: float) -> str:
    millis = int(seconds * 1000)
    return datetime.fromtimestamp(millis // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{millis % 1000:03d}Z"


def shown_attributes(message: Message) -> dict[str, dict[str, str]]:
    return {
        name: {"Type": value["DataType"], "Value": attribute_text(value)} for name, value in message.attributes.items()
    }


def attribute_text(value: Mapping[str, Any]) -> str:
    binary = value.get("BinaryValue")
    if value["DataType"].startswith("Binary") and binary is not None:
        return base64.b64encode(bytes(binary)).decode()
    return str(value.get("StringValue") or "")


class Envelopes:
    """Writes the envelopes of one message; what all subscribers share is signed once for each text."""

    def __init__(self, topic: Topic, message: Message, signer: Signer, endpoint: str) -> None:
        """`endpoint` is where this server is reached (`http://localhost:4566`). The signer has been prepared."""
        self._topic = topic
        self._message = message
        self._signer = signer
        self._endpoint = endpoint
        self._version = topic.attributes.get("SignatureVersion") or "1"
        self._signed: dict[str, dict[str, str]] = {}
        self._attributes = shown_attributes(message)

    def _fields(self, text: str) -> dict[str, str]:
        """Type to SigningCertURL, in AWS's order. Notifications of FIFO topics are not signed."""
        found = self._signed.get(text)
        if found is not None:
            return found
        message = self._message
        fields = {"Type": "Notification", "MessageId": message.id}
        if message.sequence:
            fields["SequenceNumber"] = message.sequence
        fields["TopicArn"] = self._topic.arn
        if message.subject is not None:
            fields["Subject"] = message.subject
        fields["Message"] = text
        fields["Timestamp"] = timestamp(message.timestamp)
        if not self._topic.fifo:
            fields |= signature(self._signer, fields, self._version, self._endpoint)
        self._signed[text] = fields
        return fields

    def envelope(self, subscription: Subscription) -> str:
        fields: dict[str, Any] = dict(self._fields(self._message.text_for(subscription.protocol)))
        fields["UnsubscribeURL"] = unsubscribe_url(self._endpoint, subscription)
        if self._attributes:
            fields["MessageAttributes"] = self._attributes
        return dumps(fields)

    def event(self, subscription: Subscription) -> bytes:
        """A function's event: the same with other spelling, and with everything even where it is empty."""
        fields = self._fields(self._message.text_for("lambda"))
        sns: dict[str, Any] = {
            "Type": "Notification",
            "MessageId": fields["MessageId"],
            "TopicArn": fields["TopicArn"],
            "Subject": self._message.subject,
            "Message": fields["Message"],
            "Timestamp": fields["Timestamp"],
            "SignatureVersion": fields.get("SignatureVersion"),
            "Signature": fields.get("Signature"),
            "SigningCertUrl": fields.get("SigningCertURL"),
            "UnsubscribeUrl": unsubscribe_url(self._endpoint, subscription),
            "MessageAttributes": self._attributes,
        }
        record = {
            "EventSource": "aws:sns",
            "EventVersion": "1.0",
            "EventSubscriptionArn": subscription.arn,
            "Sns": sns,
        }
        return orjson.dumps({"Records": [record]})


def confirmation(topic: Topic, subscription: Subscription, signer: Signer, endpoint: str, message_id: str) -> str:
    """What asks an endpoint whether it wants the messages of a topic."""
    fields = {
        "Type": "SubscriptionConfirmation",
        "MessageId": message_id,
        "Token": subscription.token,
        "TopicArn": topic.arn,
        "Message": (
            f"You have chosen to subscribe to the topic {topic.arn}.\n"
            "To confirm the subscription, visit the SubscribeURL included in this message."
        ),
        "SubscribeURL": (
            f"{endpoint}/?Action=ConfirmSubscription&TopicArn={quote(topic.arn, safe=':')}"
            f"&Token={subscription.token}&Version=2010-03-31"
        ),
        "Timestamp": timestamp(subscription.created_at),
    }
    return dumps(fields | signature(signer, fields, topic.attributes.get("SignatureVersion") or "1", endpoint))


def signature(signer: Signer, fields: Mapping[str, str], version: str, endpoint: str) -> dict[str, str]:
    return {
        "SignatureVersion": version,
        "Signature": signer.sign(fields, version),
        "SigningCertURL": f"{endpoint}/_alonzo/sns/{signer.certificate_name}",
    }


def unsubscribe_url(endpoint: str, subscription: Subscription) -> str:
    # The version tells this server's one address which service is meant; AWS has an address for each.
    return f"{endpoint}/?Action=Unsubscribe&SubscriptionArn={quote(subscription.arn, safe=':')}&Version=2010-03-31"


def dumps(fields: Mapping[str, Any]) -> str:
    """JSON with the spaces and line ends of AWS's envelopes."""
    lines = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            inner = ",\n".join(f"    {_json(key)} : {_json(one)}" for key, one in value.items())
            lines.append(f"  {_json(name)} : {{\n{inner}\n  }}")
        else:
            lines.append(f"  {_json(name)} : {_json(value)}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
