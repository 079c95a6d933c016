"""Which permission each operation needs.

Operations of a group are checked against its ARN followed by `:log-stream:`, so that a policy's `log-group:NAME:*`
covers them, and tags by ARN against the bare ARN.
Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
"""

from __future__ import annotations

from collections.abc import Sequence

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Access, Params
from alonzo.services.logs.models import group_arn, group_name_of, stream_arn

_OF_STREAM = frozenset({"CreateLogStream", "DeleteLogStream", "PutLogEvents", "GetLogEvents"})
_OF_TAGS = frozenset({"TagResource", "UntagResource", "ListTagsForResource"})


async def access(ctx: Context, operation: str, params: Params) -> Sequence[Access]:
    identifier = params.get("logGroupName") or params.get("logGroupIdentifier") or params.get("resourceArn") or ""
    try:
        name = group_name_of(identifier, ctx.account_id, ctx.region)
    except ServiceError:
        name = ""  # the handler says what is wrong with it
    stream = params.get("logStreamName", "") if operation in _OF_STREAM else ""
    resource = stream_arn(ctx.account_id, ctx.region, name, stream)
    if operation in _OF_TAGS:
        resource = group_arn(ctx.account_id, ctx.region, name)
    return [Access(f"logs:{operation}", resource, ctx.account_id)]
