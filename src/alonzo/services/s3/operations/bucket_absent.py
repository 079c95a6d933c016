"""What no bucket has here, said in AWS's words: tools that read a whole bucket (Terraform, CDK) ask for all of it.

The operations that would set these answer that they are not implemented, so nothing is ever hidden by these answers.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3.state import State


async def get_bucket_lifecycle_configuration(state: State, ctx: Context, params: Params) -> Result:
    raise _none(state, params, "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist")


async def get_bucket_replication(state: State, ctx: Context, params: Params) -> Result:
    raise _none(state, params, "ReplicationConfigurationNotFoundError", "The replication configuration was not found")


async def get_bucket_website(state: State, ctx: Context, params: Params) -> Result:
    raise _none(
        state, params, "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"
    )


async def get_object_lock_configuration(state: State, ctx: Context, params: Params) -> Result:
    raise _none(
        state,
        params,
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket",
    )


async def get_bucket_logging(state: State, ctx: Context, params: Params) -> Result:
    state.bucket(params["Bucket"])
    return {}


async def get_bucket_accelerate_configuration(state: State, ctx: Context, params: Params) -> Result:
    state.bucket(params["Bucket"])
    return {}


async def get_bucket_request_payment(state: State, ctx: Context, params: Params) -> Result:
    state.bucket(params["Bucket"])
    return {"Payer": "BucketOwner"}


def _none(state: State, params: Params, code: str, message: str) -> ServiceError:
    bucket = state.bucket(params["Bucket"])
    return ServiceError(code, message, status=404, fields={"BucketName": bucket.name})
