"""The short way to a topic's policy: a statement for some accounts and actions."""

from __future__ import annotations

import json
import re
from typing import Any

from sqlalchemy import Connection

from alonzo.core.arn import arn
from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.sns import store
from alonzo.services.sns.errors import invalid, no_topic
from alonzo.services.sns.models import Key, own_region, topic_arn, topic_key
from alonzo.services.sns.state import State
from alonzo.services.sns.topic_attributes import checked, default_policy

_ACTIONS = frozenset(
    {
        "Publish",
        "RemovePermission",
        "SetTopicAttributes",
        "DeleteTopic",
        "ListSubscriptionsByTopic",
        "GetTopicAttributes",
        "Receive",
        "AddPermission",
        "Subscribe",
    }
)
_ACCOUNT = re.compile(r"^\d{12}\Z")


async def add_permission(state: State, ctx: Context, params: Params) -> Result:
    key = topic_key(params["TopicArn"])
    own_region(ctx, key)
    label = params["Label"]
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", label):
        raise invalid("Label")
    if not params["AWSAccountId"] or not all(_ACCOUNT.match(one) for one in params["AWSAccountId"]):
        raise invalid("AWSAccountId")
    if not params["ActionName"]:
        raise invalid("ActionName")
    for action in params["ActionName"]:
        if action not in _ACTIONS:
            raise invalid("Policy statement action out of service scope!")
    statement = {
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": _one([arn("iam", "", account, "root") for account in params["AWSAccountId"]])},
        "Action": _one([f"SNS:{action}" for action in params["ActionName"]]),
        "Resource": topic_arn(key),
    }

    def change(statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if any(one.get("Sid") == label for one in statements):
            raise invalid("Statement already exists")
        return [*statements, statement]

    await _change(state, key, change)
    return {}


async def remove_permission(state: State, ctx: Context, params: Params) -> Result:
    key = topic_key(params["TopicArn"])
    own_region(ctx, key)

    def change(statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = [one for one in statements if one.get("Sid") != params["Label"]]
        if len(kept) == len(statements):
            raise invalid("Label Reason: Statement does not exist")
        return kept

    await _change(state, key, change)
    return {}


def _one(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


async def _change(state: State, key: Key, change: Any) -> None:
    def write(connection: Connection) -> None:
        topic = store.get_topic(connection, key)
        if topic is None:
            raise no_topic()
        document = json.loads(topic.attributes.get("Policy") or default_policy(key))
        statements = document.get("Statement", [])
        document["Statement"] = change(statements if isinstance(statements, list) else [statements])
        policy = checked("Policy", json.dumps(document), fifo=topic.fifo)
        store.set_topic(connection, key, attributes={**topic.attributes, "Policy": policy})

    await state.write(key, write)
