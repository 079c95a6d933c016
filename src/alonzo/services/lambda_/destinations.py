"""Where outcomes of asynchronous invocations may go: what cannot be delivered is refused when it is configured.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

from typing import Any

from alonzo.core.arn import Arn, parse_arn
from alonzo.core.context import Context, Principal
from alonzo.core.dataclasses import dataclass, replace
from alonzo.core.errors import ServiceError
from alonzo.engine.function import FunctionVersion
from alonzo.services.lambda_.configuration import Config
from alonzo.services.lambda_.errors import invalid
from alonzo.services.lambda_.execution_role import as_role, may_call
from alonzo.services.lambda_.state import State


@dataclass(frozen=True, slots=True)
class _Delivery:
    """How a service is delivered to: by which operation, what AWS calls the permission, and what tells whether the
    target is there."""

    operation: str
    permission: str
    exists: str


_DELIVERIES = {
    "lambda": _Delivery("Invoke", "InvokeFunction", ""),
    "sqs": _Delivery("SendMessage", "SendMessage", "GetQueueAttributes"),
    "sns": _Delivery("Publish", "Publish", "GetTopicAttributes"),
    "events": _Delivery("PutEvents", "PutEvents", "DescribeEventBus"),
    "s3": _Delivery("PutObject", "PutObject", "HeadBucket"),
}


def check_dead_letter(state: State, config: Config) -> None:
    """Raise for a dead-letter target that is none of SQS and SNS, or whose service is not there."""
    target = _dead_letter(config)
    if not target:
        return
    service = parse_arn(target).service
    if service not in ("sqs", "sns"):
        raise invalid(f"The provided target ARN {target} is not valid: give the ARN of an SQS queue or SNS topic.")
    _check_service(state, service, target)


async def check_dead_letter_role(state: State, ctx: Context, config: Config, function_name: str) -> None:
    """Raise unless the execution role may send to the dead-letter target."""
    target = _dead_letter(config)
    if not target:
        return
    arn = parse_arn(target)
    delivery = _DELIVERIES[arn.service]
    role = as_role(ctx, config["Role"], function_name)
    if not await may_call(state, role, arn.service, delivery.operation, _params(arn, target)):
        raise invalid(
            "The provided execution role does not have permissions to call"
            f" {delivery.permission} on {arn.service.upper()}"
        )


async def check_destination(
    state: State, ctx: Context, function: FunctionVersion, target: str, described: str, *, success: bool
) -> None:
    """Raise for a destination that is of no known kind (`described` is the text AWS shows), cannot be reached, or that
    the execution role may not send to. Buckets take failures only."""
    arn = parse_arn(target)
    if arn.service not in _DELIVERIES or (arn.service == "s3" and success):
        raise invalid(f"The provided destination config {described} is invalid.")
    _check_service(state, arn.service, target)
    delivery = _DELIVERIES[arn.service]
    role = as_role(ctx, function.role_arn, function.name)
    if not await may_call(state, role, arn.service, delivery.operation, _params(arn, target)):
        raise invalid(
            f"The function's execution role does not have permissions to call {delivery.permission} on {target}"
        )
    if delivery.exists and not await _exists(state, ctx, arn, target):
        raise invalid(f"The destination ARN {target} is invalid.")


def _dead_letter(config: Config) -> str:
    target: str = (config.get("DeadLetterConfig") or {}).get("TargetArn") or ""
    return target


def _check_service(state: State, service: str, target: str) -> None:
    found = state.parts.dispatcher.services.get(service)
    if found is None or _DELIVERIES[service].operation not in found.handlers:
        raise invalid(f"The destination {target} cannot be used: Alonzo cannot deliver to {service} yet.")


async def _exists(state: State, ctx: Context, arn: Arn, target: str) -> bool:
    """Asked by the target's own account: whoever comes here may send to it."""
    owner = replace(ctx, principal=Principal.root(arn.account_id or ctx.account_id), region=arn.region or ctx.region)
    params = _params(arn, target)
    names = {"sqs": ("QueueUrl",), "sns": ("TopicArn",), "s3": ("Bucket",)}[arn.service]
    asked = {name: params[name] for name in names}
    try:
        await state.parts.dispatcher.call(owner, arn.service, _DELIVERIES[arn.service].exists, asked)
    except ServiceError as error:
        if error.status >= 500:
            raise
        return False
    return True


def _params(arn: Arn, target: str) -> dict[str, Any]:
    """What the permissions of a delivery are found from."""
    match arn.service:
        case "sqs":
            return {"QueueUrl": f"http://sqs.{arn.region}.localhost/{arn.account_id}/{arn.resource}"}
        case "sns":
            return {"TopicArn": target}
        case "s3":
            return {"Bucket": arn.resource, "Key": "aws/lambda/async/x"}
        case "events":
            return {"Entries": [{"EventBusName": target}]}
        case _:
            return {"FunctionName": target}
