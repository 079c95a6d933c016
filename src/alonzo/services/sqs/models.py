"""Queues, messages and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from alonzo.core.arn import arn
from alonzo.core.dataclasses import dataclass, field

#: Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_MESSAGE_BYTES = 1_048_576
MAX_BATCH_ENTRIES = 10
MAX_MESSAGE_ATTRIBUTES = 10
MAX_DELAY_S = 900
MAX_VISIBILITY_S = 43_200
MAX_WAIT_S = 20
MAX_TAGS = 50
#: Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html
MAX_IN_FLIGHT = 120_000
#: How far into a FIFO queue SQS looks for groups that are free.
#: Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-fifo.html
FIFO_WINDOW = 120_000
#: Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html
DEDUPLICATION_MS = 300_000
#: How long a deleted queue's name is taken, and how often a queue can be purged.
DELETED_MS = 60_000
PURGE_MS = 60_000

#: What a queue has unless it says otherwise.
DEFAULTS: Mapping[str, str] = {
    "VisibilityTimeout": "30",
    "MaximumMessageSize": str(MAX_MESSAGE_BYTES),
    "MessageRetentionPeriod": "345600",
    "DelaySeconds": "0",
    "ReceiveMessageWaitTimeSeconds": "0",
    "SqsManagedSseEnabled": "true",
}
FIFO_DEFAULTS: Mapping[str, str] = {
    "FifoQueue": "true",
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}

Key = tuple[str, str, str]
"""Account id, region, name."""


@dataclass(frozen=True)
class Queue:
    """A queue's settings. `attributes` are those that were set, as the strings that AWS shows.

    Messages numbered up to `purged_seq` are gone, even where their rows are not yet.
    """

    id: int
    account_id: str
    region: str
    name: str
    created_ms: int
    modified_ms: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    purged_seq: int = 0

    @property
    def key(self) -> Key:
        return (self.account_id, self.region, self.name)

    @cached_property
    def arn(self) -> str:
        return queue_arn(*self.key)

    @cached_property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    @cached_property
    def effective(self) -> dict[str, str]:
        """The attributes with the defaults of those that were not set."""
        defaults = {**DEFAULTS, **FIFO_DEFAULTS} if self.fifo else DEFAULTS
        return {**defaults, **self.attributes}

    @cached_property
    def visibility_ms(self) -> int:
        return int(self.effective["VisibilityTimeout"]) * 1000

    @cached_property
    def delay_ms(self) -> int:
        return int(self.effective["DelaySeconds"]) * 1000

    @cached_property
    def retention_ms(self) -> int:
        return int(self.effective["MessageRetentionPeriod"]) * 1000

    @cached_property
    def wait_s(self) -> int:
        return int(self.effective["ReceiveMessageWaitTimeSeconds"])

    @cached_property
    def max_bytes(self) -> int:
        return int(self.effective["MaximumMessageSize"])

    @cached_property
    def by_content(self) -> bool:
        return self.effective.get("ContentBasedDeduplication") == "true"

    @cached_property
    def per_group(self) -> bool:
        """Whether deduplication ids count within their message group only."""
        return self.effective.get("DeduplicationScope") == "messageGroup"

    @cached_property
    def policy(self) -> str | None:
        return self.attributes.get("Policy")

    @cached_property
    def redrive(self) -> Redrive | None:
        text = self.attributes.get("RedrivePolicy")
        if not text:
            return None
        policy: dict[str, Any] = orjson.loads(text)
        return Redrive(policy["deadLetterTargetArn"], int(policy["maxReceiveCount"]))


@dataclass(frozen=True, slots=True)
class Redrive:
    """Messages received more than `max_receives` times go to `target`, a queue's ARN."""

    target: str
    max_receives: int


class Message(NamedTuple):
    """What never changes of a message. `attributes` is what `message_attributes.pack` made of them, if any."""

    seq: int
    queue_id: int
    message_id: str
    body: str
    sent_ms: int
    sender_id: str
    attributes: bytes | None = None
    group_id: str | None = None
    dedup_id: str | None = None
    trace: str | None = None
    dlq_source: str | None = None

    @property
    def size(self) -> int:
        """About how much memory it takes."""
        return 400 + len(self.body) + len(self.attributes or b"")


@dataclass(frozen=True, slots=True)
class MoveTask:
    """Messages on their way out of a dead-letter queue. `destination` "": back to where each came from."""

    id: str
    account_id: str
    region: str
    source: str
    destination: str
    rate: int
    status: str
    moved: int
    to_move: int
    failure: str
    started_ms: int


def queue_arn(account_id: str, region: str, name: str) -> str:
    return arn("sqs", region, account_id, name)


def sequence_number(seq: int) -> str:
    """A FIFO message's SequenceNumber: twenty digits that grow."""
    return str(10**19 + seq)
