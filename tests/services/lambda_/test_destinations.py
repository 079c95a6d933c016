"""Destinations and dead-letter targets are checked when they are configured."""

from __future__ import annotations

from typing import Any

import pytest

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Access, Service

ACCOUNT = "111111111111"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:q"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:t"
BUCKET = "arn:aws:s3:::failures"


@pytest.fixture
async def world(world: Any) -> Any:
    """With services whose targets exist unless they are named in `gone`."""
    world.gone = set()

    def service(name: str, send: str, look: str, action: str, arn: str) -> Service:
        async def looking(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
            assert ctx.principal.kind == "root"
            if arn in world.gone:
                raise ServiceError("NotFound", "gone", status=404)
            return {}

        async def access(ctx: Context, operation: str, params: dict[str, Any]) -> tuple[Access, ...]:
            return (Access(action, arn),) if operation == send else ()

        return Service(name, {send: looking, look: looking}, access)

    world.dispatcher.add(service("sqs", "SendMessage", "GetQueueAttributes", "sqs:sendmessage", QUEUE))
    world.dispatcher.add(service("sns", "Publish", "GetTopicAttributes", "sns:Publish", TOPIC))
    world.dispatcher.add(service("s3", "PutObject", "HeadBucket", "s3:PutObject", BUCKET))
    await world.call(
        "CreateFunction",
        FunctionName="f",
        Runtime="python3.12",
        Role=f"arn:aws:iam::{ACCOUNT}:role/worker",
        Handler="handler.handler",
        Code={"ZipFile": _archive()},
    )
    await world.active("f")
    return world


def _archive() -> bytes:
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("handler.py", "def handler(event, context): return event")
    return buffer.getvalue()


def _to(side: str, target: str) -> dict[str, Any]:
    return {"FunctionName": "f", "DestinationConfig": {side: {"Destination": target}}}


@pytest.mark.parametrize("target", [QUEUE, TOPIC, BUCKET])
async def test_failures_may_go_there(world: Any, target: str) -> None:
    """Queues, topics and buckets that are there, and that the role may send to, are taken and shown."""
    shown = await world.call("PutFunctionEventInvokeConfig", **_to("OnFailure", target))
    assert shown["DestinationConfig"]["OnFailure"] == {"Destination": target}


async def test_buckets_take_failures_only(world: Any) -> None:
    """A bucket is no destination of successes."""
    error = await world.fails("PutFunctionEventInvokeConfig", **_to("OnSuccess", BUCKET))
    assert error.message.startswith(
        "The provided destination config DestinationConfig(onSuccess=OnSuccess(destination="
    )


@pytest.mark.parametrize(
    ("target", "action", "permission"),
    [
        (QUEUE, "sqs:sendmessage", "SendMessage"),
        (TOPIC, "sns:Publish", "Publish"),
        (BUCKET, "s3:PutObject", "PutObject"),
    ],
)
async def test_the_role_must_be_allowed(world: Any, target: str, action: str, permission: str) -> None:
    """What the execution role may not send to is refused with the permission it lacks, on Put and on Update."""
    await world.call("PutFunctionEventInvokeConfig", FunctionName="f", MaximumRetryAttempts=0)
    world.judge.denied = {action}
    for operation in ("PutFunctionEventInvokeConfig", "UpdateFunctionEventInvokeConfig"):
        error = await world.fails(operation, **_to("OnFailure", target))
        wanted = f"The function's execution role does not have permissions to call {permission} on {target}"
        assert (error.code, error.message) == ("InvalidParameterValueException", wanted)


@pytest.mark.parametrize("target", [QUEUE, TOPIC, BUCKET])
async def test_what_is_gone_is_refused(world: Any, target: str) -> None:
    """A target that does not exist is an invalid ARN."""
    world.gone = {target}
    error = await world.fails("PutFunctionEventInvokeConfig", **_to("OnFailure", target))
    assert error.message == f"The destination ARN {target} is invalid."


@pytest.mark.parametrize(
    ("target", "action", "text"),
    [(QUEUE, "sqs:sendmessage", "SendMessage on SQS"), (TOPIC, "sns:Publish", "Publish on SNS")],
)
async def test_dead_letters_need_the_permission(world: Any, target: str, action: str, text: str) -> None:
    """A dead-letter target needs the role's permission when it is set and when the role changes."""
    world.judge.denied = {action}
    config = {"FunctionName": "f", "DeadLetterConfig": {"TargetArn": target}}
    error = await world.fails("UpdateFunctionConfiguration", **config)
    assert error.message == f"The provided execution role does not have permissions to call {text}"
    world.judge.denied = set()
    await world.call("UpdateFunctionConfiguration", **config)
    await world.active("f")
    world.judge.denied = {action}
    other = {"FunctionName": "f", "Role": f"arn:aws:iam::{ACCOUNT}:role/other"}
    assert text in (await world.fails("UpdateFunctionConfiguration", **other)).message
