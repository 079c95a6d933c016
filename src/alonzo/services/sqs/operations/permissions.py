"""AddPermission and RemovePermission: statements of the queue's policy by label."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import orjson

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.sqs.changing import change
from alonzo.services.sqs.errors import invalid, invalid_value, missing, over_limit
from alonzo.services.sqs.models import Queue
from alonzo.services.sqs.state import Sqs

#: What an owner may share.
#: Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_AddPermission.html
_ACTIONS = (
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
)
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,80}")
_MAX_STATEMENTS = 20
_MAX_ACTIONS = 7
_MAX_PRINCIPALS = 50


async def add_permission(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    label = _label(params)
    accounts, actions = params["AWSAccountIds"], params["Actions"]
    if not accounts:
        raise missing("AWSAccountId.1")
    if not actions:
        raise missing("ActionName.1")
    for action in actions:
        if action not in _ACTIONS:
            raise invalid_value(
                action[:256],
                "ActionName",
                "Only the queue owner is allowed to invoke this action."
                if action.isalpha()
                else "Please refer to the appropriate WSDL for a list of valid actions.",
            )
    if len(actions) > _MAX_ACTIONS:
        raise over_limit(f"{len(actions)} actions were found, maximum allowed is {_MAX_ACTIONS}.")
    for account in accounts:
        if not re.fullmatch(r"\d{12}", account):
            raise invalid_value(f"[{account[:256]}]", "PrincipalId", "Unable to verify.")
    if len(accounts) > _MAX_PRINCIPALS:
        raise over_limit(f"{len(accounts)} principals were found, maximum allowed is {_MAX_PRINCIPALS}.")
    async with state.lock:
        policy = _policy(live.queue)
        if any(statement.get("Sid") == label for statement in policy["Statement"]):
            raise invalid_value(label, "Label", "Already exists.")
        if len(policy["Statement"]) >= _MAX_STATEMENTS:
            raise over_limit(f"{_MAX_STATEMENTS + 1} statements were found, maximum allowed is {_MAX_STATEMENTS}.")
        principals = [f"arn:aws:iam::{account}:root" for account in accounts]
        named = [f"SQS:{action}" for action in actions]
        policy["Statement"].append(
            {
                "Sid": label,
                "Effect": "Allow",
                "Principal": {"AWS": principals[0] if len(principals) == 1 else principals},
                "Action": named[0] if len(named) == 1 else named,
                "Resource": live.queue.arn,
            }
        )
        await change(state, live, _with_policy(live.queue, policy, state.now_ms()))
    return {}


async def remove_permission(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    label = _label(params)
    async with state.lock:
        policy = _policy(live.queue)
        kept = [statement for statement in policy["Statement"] if statement.get("Sid") != label]
        if len(kept) == len(policy["Statement"]):
            raise invalid_value(label, "Label", "can't find label on existing policy.")
        policy["Statement"] = kept
        await change(state, live, _with_policy(live.queue, policy, state.now_ms()))
    return {}


def _label(params: Params) -> str:
    label = str(params["Label"])
    if not _LABEL.fullmatch(label):
        raise invalid(
            f"Value {label[:256]} for parameter Label is invalid. Reason: Can only include alphanumeric characters, "
            "hyphens, or underscores. 1 to 80 in length."
        )
    return label


def _policy(queue: Queue) -> dict[str, Any]:
    if queue.policy is None:
        return {"Version": "2012-10-17", "Id": f"{queue.arn}/SQSDefaultPolicy", "Statement": []}
    policy: dict[str, Any] = orjson.loads(queue.policy)
    if isinstance(policy["Statement"], dict):
        policy["Statement"] = [policy["Statement"]]
    return policy


def _with_policy(queue: Queue, policy: dict[str, Any], now_ms: int) -> Queue:
    attributes = dict(queue.attributes)
    if policy["Statement"]:
        attributes["Policy"] = orjson.dumps(policy).decode()
    else:
        attributes.pop("Policy", None)
    return replace(queue, attributes=attributes, modified_ms=now_ms // 1000 * 1000)
