"""Creating, finding and deleting buckets.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html and its siblings
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3 import naming
from alonzo.services.s3.errors import invalid_argument, malformed_xml, no_such_bucket, not_implemented
from alonzo.services.s3.models import MAX_BUCKETS, Bucket, owner, shown_time
from alonzo.services.s3.state import Effects, State
from alonzo.services.s3.store import buckets as store

DEFAULT_REGION = "us-east-1"
_OWNERSHIP = ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter")

#: What every new bucket has on AWS since April 2023.
#: Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/create-bucket-faq.html
_BLOCK_ALL = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}


async def create_bucket(state: State, ctx: Context, params: Params) -> Result:
    name: str = params["Bucket"]
    naming.check_bucket_name(name)
    if params.get("ObjectLockEnabledForBucket"):
        raise not_implemented("x-amz-bucket-object-lock-enabled")
    if params.get("BucketNamespace") not in (None, "global"):
        raise not_implemented("x-amz-bucket-namespace")
    configuration = params.get("CreateBucketConfiguration") or {}
    if configuration.get("Location") or configuration.get("Bucket"):
        raise ServiceError("NotImplemented", "Alonzo does not have directory buckets.", status=501)
    region = _region_of(ctx, configuration.get("LocationConstraint"))
    config: dict[str, Any] = {
        "public_access_block": _BLOCK_ALL,
        "ownership": _ownership(params.get("ObjectOwnership")),
    }
    tags = naming.tags_from_set({"TagSet": configuration.get("Tags") or []}, of_bucket=True)
    if tags:
        config["tagging"] = tags
    new = Bucket(name, ctx.account_id, region, state.now_ms(), config=config)

    def work(connection: Connection, effects: Effects) -> Bucket | ServiceError | None:
        if store.count(connection, ctx.account_id) >= MAX_BUCKETS:
            return ServiceError("TooManyBuckets", "You have attempted to create more buckets than allowed", status=400)
        return store.create(connection, new)

    existing = await state.commit(work, bucket=name, changes_bucket=True)
    if existing is not None:
        _answer_taken(ctx, existing, region)
    location = f"/{name}" if region == DEFAULT_REGION else f"{ctx.endpoint.rstrip('/')}/{name}/"
    return {"Location": location}


def _region_of(ctx: Context, constraint: str | None) -> str:
    """Where the bucket goes. Raises IllegalLocationConstraintException, InvalidLocationConstraint."""
    if constraint is None or constraint == "":
        if ctx.region != DEFAULT_REGION:
            raise ServiceError(
                "IllegalLocationConstraintException",
                "The unspecified location constraint is incompatible for the region specific endpoint this request"
                " was sent to.",
            )
        return DEFAULT_REGION
    region = "eu-west-1" if constraint == "EU" else constraint
    if region == DEFAULT_REGION or region.count("-") < 2:
        raise ServiceError(
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid",
            fields={"LocationConstraint": constraint},
        )
    if ctx.region not in (DEFAULT_REGION, region):
        raise ServiceError(
            "IllegalLocationConstraintException",
            f"The {constraint} location constraint is incompatible for the region specific endpoint this request was"
            " sent to.",
        )
    return region


def _ownership(value: str | None) -> str:
    if value is None:
        return "BucketOwnerEnforced"
    if value not in _OWNERSHIP:
        raise invalid_argument("Invalid x-amz-object-ownership header: " + value, "x-amz-object-ownership", value)
    return value


def _answer_taken(ctx: Context, existing: Bucket, region: str) -> None:
    """Creating one's own bucket again succeeds in us-east-1 only."""
    fields = {"BucketName": existing.name}
    if existing.account_id != ctx.account_id:
        raise ServiceError(
            "BucketAlreadyExists",
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system."
            " Please select a different name and try again.",
            status=409,
            fields=fields,
        )
    if not (region == existing.region == DEFAULT_REGION):
        raise ServiceError(
            "BucketAlreadyOwnedByYou",
            "Your previous request to create the named bucket succeeded and you already own it.",
            status=409,
            fields=fields,
        )


async def delete_bucket(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])

    def work(connection: Connection, effects: Effects) -> ServiceError | None:
        if store.get(connection, bucket.name) is None:
            return no_such_bucket(bucket.name)
        if store.has_objects(connection, bucket.name):
            hint = " You must delete all versions in the bucket." if bucket.versioning else ""
            return ServiceError(
                "BucketNotEmpty",
                f"The bucket you tried to delete is not empty{'.' if hint else ''}{hint}",
                status=409,
                fields={"BucketName": bucket.name},
            )
        effects.dropped += store.remove(connection, bucket.name)
        return None

    await state.commit(work, bucket=bucket.name, changes_bucket=True)
    return {}


async def head_bucket(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    return {"BucketRegion": bucket.region, "AccessPointAlias": False}


async def get_bucket_location(state: State, ctx: Context, params: Params) -> Result:
    region = state.bucket(params["Bucket"]).region
    return {} if region == DEFAULT_REGION else {"LocationConstraint": region}


async def list_buckets(state: State, ctx: Context, params: Params) -> Result:
    limit = params.get("MaxBuckets")
    if limit is not None and not 1 <= limit <= 10_000:
        raise invalid_argument("Argument max-buckets must be an integer between 1 and 10000", "max-buckets", limit)
    prefix = params.get("Prefix") or ""
    after = _decode(params["ContinuationToken"]) if params.get("ContinuationToken") else ""
    size = limit or MAX_BUCKETS
    found = await state.db.scan(
        lambda connection: store.list_owned(
            connection,
            ctx.account_id,
            prefix=prefix,
            after=after,
            region=params.get("BucketRegion") or "",
            limit=size + 1,
        )
    )
    paged = any(params.get(name) is not None for name in ("MaxBuckets", "Prefix", "BucketRegion"))
    shown: list[dict[str, Any]] = []
    for bucket in found[:size]:
        entry: dict[str, Any] = {
            "Name": bucket.name,
            "CreationDate": shown_time(bucket.created_ms),
        }
        if paged:
            entry["BucketRegion"] = bucket.region
        shown.append(entry)
    result: Result = {"Buckets": shown, "Owner": owner(ctx.account_id)}
    if params.get("Prefix") is not None:
        result["Prefix"] = prefix
    if len(found) > size:
        result["ContinuationToken"] = base64.b64encode(found[size - 1].name.encode()).decode()
    return result


def _decode(token: str) -> str:
    try:
        return base64.b64decode(token, validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid_argument("The continuation token provided is incorrect", "continuation-token", token) from None


async def get_bucket_versioning(state: State, ctx: Context, params: Params) -> Result:
    status = state.bucket(params["Bucket"]).versioning
    return {"Status": status} if status else {}


async def put_bucket_versioning(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    configuration = params["VersioningConfiguration"]
    if params.get("MFA") is not None or configuration.get("MFADelete") == "Enabled":
        raise not_implemented("x-amz-mfa")
    status = configuration.get("Status")
    if status is None:
        raise ServiceError(
            "IllegalVersioningConfigurationException",
            "The Versioning element must be specified",
        )
    if status not in ("Enabled", "Suspended"):
        raise malformed_xml()

    def work(connection: Connection, effects: Effects) -> ServiceError | None:
        return None if store.set_versioning(connection, bucket.name, status) else no_such_bucket(bucket.name)

    await state.commit(work, bucket=bucket.name, changes_bucket=True)
    return {}
