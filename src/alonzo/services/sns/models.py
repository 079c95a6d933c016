"""Topics, subscriptions and messages, and their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from alonzo.core.arn import arn
from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass, field, replace
from alonzo.core.patterns import Matcher
from alonzo.services.sns.errors import invalid, no_subscription, no_topic

#: (account, region, topic name).
Key = tuple[str, str, str]

PAGE = 100
_PASSWORD = re.compile(r"^(https?://[^/@:]*):[^/@]*@")
#: Bytes of a message with its attributes, and of a batch.
MAX_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Subscription:
    """`attributes` are as set, JSON documents as text. `private` says whether an HTTP endpoint may be an address that
    is not public: see `endpoints.py`."""

    topic: Key
    id: str
    owner: str
    protocol: str
    endpoint: str
    attributes: Mapping[str, str]
    principal: str
    pending: bool
    token: str
    authenticated: bool
    authenticate_on_unsubscribe: bool
    private: bool
    created_at: float
    matcher: Matcher | None = field(default=None, compare=False)

    @property
    def topic_arn(self) -> str:
        return topic_arn(self.topic)

    @property
    def arn(self) -> str:
        return f"{self.topic_arn}:{self.id}"

    @property
    def shown_endpoint(self) -> str:
        """Without the password that a URL may have."""
        return _PASSWORD.sub(r"\1:****@", self.endpoint) if self.protocol in ("http", "https") else self.endpoint

    @property
    def raw(self) -> bool:
        return self.attributes.get("RawMessageDelivery") == "true"

    @property
    def filters_body(self) -> bool:
        return self.attributes.get("FilterPolicyScope") == "MessageBody"


@dataclass(frozen=True, slots=True)
class Topic:
    """`subscriptions` hold their compiled filters, in the order they were made."""

    key: Key
    attributes: Mapping[str, str]
    tags: Mapping[str, str]
    deleted: int
    created_at: float
    subscriptions: Sequence[Subscription] = ()
    by_id: Mapping[str, Subscription] = field(default_factory=dict)

    def having(self, subscriptions: Sequence[Subscription]) -> Topic:
        return replace(self, subscriptions=subscriptions, by_id={one.id: one for one in subscriptions})

    @property
    def arn(self) -> str:
        return topic_arn(self.key)

    @property
    def fifo(self) -> bool:
        return self.attributes.get("FifoTopic") == "true"


@dataclass(frozen=True, slots=True)
class Message:
    """One message that was published. `texts` are those of MessageStructure=json, by protocol; `attributes` are
    boto3's dicts."""

    id: str
    text: str
    timestamp: float
    subject: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    group: str = ""
    deduplication: str = ""
    sequence: str = ""
    trace_header: str = ""

    def text_for(self, protocol: str) -> str:
        return self.texts.get(protocol, self.text)


def topic_arn(key: Key) -> str:
    account, region, name = key
    return arn("sns", region, account, name)


def topic_key(text: str, what: str = "TopicArn") -> Key:
    """Raises InvalidParameter."""
    parts = text.split(":")
    if len(parts) < 6:
        raise invalid(f"{what} Reason: An ARN must have at least 6 elements, not {len(parts)}")
    if parts[0] != "arn" or parts[2] != "sns" or len(parts) != 6 or not parts[5]:
        raise invalid(what)
    return parts[4], parts[3], parts[5]


def subscription_key(text: str) -> tuple[Key, str]:
    """The topic and the subscription's id. Raises InvalidParameter, or NotFound where the ARN is a topic's."""
    parts = text.split(":")
    if len(parts) < 6:
        raise invalid(f"SubscriptionArn Reason: An ARN must have at least 6 elements, not {len(parts)}")
    if parts[0] != "arn" or parts[2] != "sns" or len(parts) > 7:
        raise invalid("SubscriptionArn")
    if len(parts) == 6:
        raise no_subscription()
    return (parts[4], parts[3], parts[5]), parts[6]


def own_region(ctx: Context, key: Key) -> None:
    """A request goes to the topic's region. Unsigned ones (the links in notifications) do not say theirs."""
    if ctx.principal.kind != "anonymous" and key[1] != ctx.region:
        raise no_topic() if key[1] else invalid("TopicArn")
