"""Which subscriptions want a message: their filter policies over its attributes or its body.

Source: https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html
"""

from __future__ import annotations

import json
from typing import Any

from alonzo.services.sns.models import Message, Subscription


class Wanted:
    """Asks the filters of one message's subscriptions; what they read is prepared once."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._attributes: dict[str, Any] | None = None
        self._bodies: dict[str, Any] = {}

    def by(self, subscription: Subscription) -> bool:
        if subscription.matcher is None:
            return True
        if not subscription.filters_body:
            if self._attributes is None:
                self._attributes = {
                    name: value
                    for name, one in self._message.attributes.items()
                    if (value := _value(one["DataType"], one.get("StringValue") or "")) is not None
                }
            return subscription.matcher.matches(self._attributes)
        text = self._message.text_for(subscription.protocol)
        if text not in self._bodies:
            self._bodies[text] = _parsed(text)
        body = self._bodies[text]
        return isinstance(body, dict) and subscription.matcher.matches(body)


def _value(data_type: str, text: str) -> Any:
    """What a filter sees of an attribute; None: nothing, as of binary ones and of types of one's own."""
    if data_type == "String":
        return text
    parsed = _parsed(text) if data_type in ("Number", "String.Array") else None
    if data_type == "Number":
        return parsed if isinstance(parsed, int | float) else None
    return parsed if isinstance(parsed, list) else None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
