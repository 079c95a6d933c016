"""Event notifications of a bucket.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketNotificationConfiguration.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3.configuring import configure
from alonzo.services.s3.events import check_configuration
from alonzo.services.s3.models import Bucket
from alonzo.services.s3.state import State


async def get_bucket_notification_configuration(state: State, ctx: Context, params: Params) -> Result:
    stored = state.bucket(params["Bucket"]).config.get("notification")
    return {"LambdaFunctionConfigurations": stored} if stored else {}


async def put_bucket_notification_configuration(state: State, ctx: Context, params: Params) -> Result:
    """Functions get no s3:TestEvent: AWS sends it to queues and topics only."""
    bucket = state.bucket(params["Bucket"])
    stored = check_configuration(params["NotificationConfiguration"], _ids(state))
    if not params.get("SkipDestinationValidation"):
        await _check_destinations(state, ctx, bucket, stored)
    return await configure(state, params, "notification", stored or None)


def _ids(state: State) -> Iterator[str]:
    while True:
        yield state.ids.uuid()


async def _check_destinations(state: State, ctx: Context, bucket: Bucket, configurations: list[dict[str, Any]]) -> None:
    """Ask each function whether S3 may invoke it for this bucket. Raises InvalidArgument naming those that refuse."""
    as_s3 = ctx.as_service("s3.amazonaws.com", source_arn=bucket.arn)
    failed: list[tuple[str, str]] = []
    for arn in dict.fromkeys(one["LambdaFunctionArn"] for one in configurations):
        try:
            await state.dispatcher.call(
                as_s3, "lambda", "Invoke", {"FunctionName": arn, "InvocationType": "DryRun", "Payload": b"{}"}
            )
        except ServiceError as error:
            if error.status >= 500 and error.status != 501:
                raise
            failed.append((f"{arn}, null", f"Not authorized to invoke function [{arn}]"))
    if failed:
        fields: dict[str, object] = {}
        for number, (name, value) in enumerate(failed, 1):
            suffix = str(number) if len(failed) > 1 else ""
            fields[f"ArgumentName{suffix}"] = name
            fields[f"ArgumentValue{suffix}"] = value
        raise ServiceError(
            "InvalidArgument", "Unable to validate the following destination configurations", fields=fields
        )
