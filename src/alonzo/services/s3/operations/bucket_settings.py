"""Documents attached to a bucket: tags, CORS rules, encryption, ownership controls.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketCors.html and its siblings
"""

from __future__ import annotations

from typing import Any

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3 import naming
from alonzo.services.s3.configuring import configure, read_setting
from alonzo.services.s3.cors import check_cors
from alonzo.services.s3.errors import malformed_xml
from alonzo.services.s3.state import State

_DEFAULT_ENCRYPTION = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]


async def get_bucket_tagging(state: State, ctx: Context, params: Params) -> Result:
    tags = read_setting(state, params, "tagging", "NoSuchTagSet", "The TagSet does not exist")
    return {"TagSet": naming.tag_set(tags)}


async def put_bucket_tagging(state: State, ctx: Context, params: Params) -> Result:
    tags = naming.tags_from_set(params["Tagging"], of_bucket=True)
    return await configure(state, params, "tagging", tags or None)


async def delete_bucket_tagging(state: State, ctx: Context, params: Params) -> Result:
    return await configure(state, params, "tagging", None)


async def get_bucket_cors(state: State, ctx: Context, params: Params) -> Result:
    rules = read_setting(state, params, "cors", "NoSuchCORSConfiguration", "The CORS configuration does not exist")
    return {"CORSRules": rules}


async def put_bucket_cors(state: State, ctx: Context, params: Params) -> Result:
    return await configure(state, params, "cors", check_cors(params["CORSConfiguration"]))


async def delete_bucket_cors(state: State, ctx: Context, params: Params) -> Result:
    return await configure(state, params, "cors", None)


async def get_bucket_encryption(state: State, ctx: Context, params: Params) -> Result:
    rules = state.bucket(params["Bucket"]).config.get("encryption") or _DEFAULT_ENCRYPTION
    return {"ServerSideEncryptionConfiguration": {"Rules": rules}}


async def put_bucket_encryption(state: State, ctx: Context, params: Params) -> Result:
    rules: list[dict[str, Any]] = params["ServerSideEncryptionConfiguration"].get("Rules") or []
    if len(rules) != 1:
        raise malformed_xml()
    default = rules[0].get("ApplyServerSideEncryptionByDefault")
    if default is None or default.get("SSEAlgorithm") not in ("AES256", "aws:kms", "aws:kms:dsse"):
        raise malformed_xml()
    if default["SSEAlgorithm"] != "AES256":
        raise ServiceError(
            "NotImplemented", "Alonzo does not encrypt with AWS KMS keys; only AES256 is understood.", status=501
        )
    if default.get("KMSMasterKeyID"):
        raise ServiceError(
            "InvalidArgument",
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
            fields={"ArgumentName": "ApplyServerSideEncryptionByDefault", "ArgumentValue": ""},
        )
    shown = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    return await configure(
        state, params, "encryption", [{**shown, "BucketKeyEnabled": bool(rules[0].get("BucketKeyEnabled"))}]
    )


async def delete_bucket_encryption(state: State, ctx: Context, params: Params) -> Result:
    return await configure(state, params, "encryption", None)


async def get_bucket_ownership_controls(state: State, ctx: Context, params: Params) -> Result:
    value = read_setting(
        state,
        params,
        "ownership",
        "OwnershipControlsNotFoundError",
        "The bucket ownership controls were not found",
    )
    return {"OwnershipControls": {"Rules": [{"ObjectOwnership": value}]}}


async def put_bucket_ownership_controls(state: State, ctx: Context, params: Params) -> Result:
    rules = params["OwnershipControls"].get("Rules") or []
    if len(rules) != 1 or rules[0].get("ObjectOwnership") not in (
        "BucketOwnerEnforced",
        "BucketOwnerPreferred",
        "ObjectWriter",
    ):
        raise malformed_xml()
    return await configure(state, params, "ownership", rules[0]["ObjectOwnership"])


async def delete_bucket_ownership_controls(state: State, ctx: Context, params: Params) -> Result:
    return await configure(state, params, "ownership", None)
