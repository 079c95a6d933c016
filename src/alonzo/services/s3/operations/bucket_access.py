"""Who may use a bucket: its policy, public access block and ACL.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
"""

from __future__ import annotations

import json
from typing import Any

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3.configuring import configure, read_setting
from alonzo.services.s3.errors import malformed_xml
from alonzo.services.s3.finding import find_object
from alonzo.services.s3.models import canonical_id, owner
from alonzo.services.s3.policy import check_policy, is_public
from alonzo.services.s3.state import State

_FLAGS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


async def get_bucket_policy(state: State, ctx: Context, params: Params) -> Result:
    text = read_setting(state, params, "policy", "NoSuchBucketPolicy", "The bucket policy does not exist")
    return {"Policy": text}


async def put_bucket_policy(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    document = check_policy(params["Policy"], bucket)
    block = bucket.config.get("public_access_block") or {}
    if block.get("BlockPublicPolicy") and is_public(document):
        raise ServiceError(
            "AccessDenied",
            f"User: {ctx.principal.arn} is not authorized to perform: s3:PutBucketPolicy on resource:"
            f' "{bucket.arn}" because public policies are prevented by the BlockPublicPolicy setting in S3 Block'
            " Public Access.",
            status=403,
        )
    return await configure(state, params, "policy", params["Policy"])


async def delete_bucket_policy(state: State, ctx: Context, params: Params) -> Result:
    return await configure(state, params, "policy", None)


async def get_bucket_policy_status(state: State, ctx: Context, params: Params) -> Result:
    text = read_setting(state, params, "policy", "NoSuchBucketPolicy", "The bucket policy does not exist")
    return {"PolicyStatus": {"IsPublic": is_public(json.loads(text))}}


async def get_public_access_block(state: State, ctx: Context, params: Params) -> Result:
    block = read_setting(
        state,
        params,
        "public_access_block",
        "NoSuchPublicAccessBlockConfiguration",
        "The public access block configuration was not found",
    )
    return {"PublicAccessBlockConfiguration": {flag: bool(block.get(flag)) for flag in _FLAGS}}


async def put_public_access_block(state: State, ctx: Context, params: Params) -> Result:
    wanted = params["PublicAccessBlockConfiguration"]
    return await configure(state, params, "public_access_block", {flag: bool(wanted.get(flag)) for flag in _FLAGS})


async def delete_public_access_block(state: State, ctx: Context, params: Params) -> Result:
    return await configure(state, params, "public_access_block", None)


async def get_bucket_acl(state: State, ctx: Context, params: Params) -> Result:
    return _private(state.bucket(params["Bucket"]).account_id)


async def get_object_acl(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    await find_object(state, ctx, bucket, params, "GET")
    return _private(bucket.account_id)


async def put_bucket_acl(state: State, ctx: Context, params: Params) -> Result:
    """Only the ACL that every bucket has may be put: the owner's full control."""
    bucket = state.bucket(params["Bucket"])
    if params.get("ACL") is None and params.get("AccessControlPolicy") is None:
        raise ServiceError("MissingSecurityHeader", "Your request was missing a required header")
    policy = params.get("AccessControlPolicy")
    if policy is not None:
        grants = policy.get("Grants") or []
        if any("Grantee" not in grant for grant in grants):
            raise malformed_xml()
        own = canonical_id(bucket.account_id)
        private = len(grants) == 1 and all(
            grant["Grantee"].get("ID") == own and grant.get("Permission") == "FULL_CONTROL" for grant in grants
        )
    else:
        private = params["ACL"] == "private"
    grants_given = any(name.startswith("Grant") and params[name] for name in params)
    if not private or grants_given:
        raise ServiceError("AccessControlListNotSupported", "The bucket does not allow ACLs")
    return {}


def _private(account_id: str) -> dict[str, Any]:
    grantee = {"ID": canonical_id(account_id), "Type": "CanonicalUser"}
    return {"Owner": owner(account_id), "Grants": [{"Grantee": grantee, "Permission": "FULL_CONTROL"}]}
