"""Event notifications of a bucket.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketNotificationConfiguration.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3 import events
from alonzo.services.s3.configuring import configure
from alonzo.services.s3.models import Bucket
from alonzo.services.s3.state import State


async def get_bucket_notification_configuration(state: State, ctx: Context, params: Params) -> Result:
    stored: list[dict[str, Any]] = state.bucket(params["Bucket"]).config.get("notification") or []
    shown: Result = {}
    for entry in stored:
        shown.setdefault(events.kind_of(entry).configurations, []).append(entry)
    return shown


async def put_bucket_notification_configuration(state: State, ctx: Context, params: Params) -> Result:
    """Queues and topics get an s3:TestEvent, which proves that S3 may send to them; functions get none, as on AWS."""
    bucket = state.bucket(params["Bucket"])
    stored = events.check_configuration(params["NotificationConfiguration"], _ids(state))
    if not params.get("SkipDestinationValidation"):
        await _check_destinations(state, ctx, bucket, stored)
    return await configure(state, params, "notification", stored or None)


def _ids(state: State) -> Iterator[str]:
    while True:
        yield state.ids.uuid()


async def _check_destinations(state: State, ctx: Context, bucket: Bucket, configurations: list[dict[str, Any]]) -> None:
    """Ask each target whether S3 may send to it for this bucket. Raises InvalidArgument naming those that refuse."""
    as_s3 = ctx.as_service("s3.amazonaws.com", source_arn=bucket.arn)
    failed: list[tuple[str, str]] = []
    targets = {events.target_of(one): events.kind_of(one) for one in configurations}
    for arn, kind in targets.items():
        if kind.service == "lambda":
            call = ("lambda", "Invoke", {"FunctionName": arn, "InvocationType": "DryRun", "Payload": b"{}"})
        else:
            call = events.message_to(arn, events.test_event(ctx, bucket, state.now_ms()))
        try:
            await state.dispatcher.call(as_s3, *call)
        except ServiceError as error:
            if error.status >= 500 and error.status != 501:
                raise
            failed.append((f"{arn}, null" if kind.service == "lambda" else arn, _refusal(kind, arn, error)))
    if failed:
        fields: dict[str, object] = {}
        for number, (name, value) in enumerate(failed, 1):
            suffix = str(number) if len(failed) > 1 else ""
            fields[f"ArgumentName{suffix}"] = name
            fields[f"ArgumentValue{suffix}"] = value
        raise ServiceError(
            "InvalidArgument", "Unable to validate the following destination configurations", fields=fields
        )


def _refusal(kind: events.Kind, arn: str, error: ServiceError) -> str:
    if kind.service == "lambda":
        return f"Not authorized to invoke function [{arn}]"
    what = kind.named.lower()
    if error.code in ("QueueDoesNotExist", "NotFound", "NotFoundException"):
        return f"The destination {what} does not exist"
    return f"Permissions on the destination {what} do not allow S3 to publish notifications from this bucket"
