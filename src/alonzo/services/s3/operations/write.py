"""PutObject.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
"""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3 import bodies, events, writing
from alonzo.services.s3.errors import not_implemented
from alonzo.services.s3.models import S3Object
from alonzo.services.s3.state import Effects, State


async def put_object(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    asked = writing.draft(params)
    if_match, if_none_match = params.get("IfMatch"), params.get("IfNoneMatch")
    if if_none_match not in (None, "*") or (if_match is not None and if_none_match is not None):
        raise not_implemented("If-None-Match")
    stored = await bodies.ingest(state, params)
    new = writing.Draft(
        asked.key,
        stored.size,
        stored.md5.hex(),
        asked.storage_class,
        writing.details_with_checksum(asked.details, stored.algorithm, stored.checksum),
        asked.tags,
        stored.data,
        stored.pieces,
    )

    def work(connection: Connection, effects: Effects) -> S3Object | ServiceError:
        return writing.place(
            state,
            connection,
            effects,
            ctx,
            bucket,
            new,
            events.CREATED_PUT,
            if_match=if_match,
            if_none_match=if_none_match,
        )

    placed = await state.commit(
        work, bucket=bucket.name, fresh=stored.fresh, changes_bucket=bool(new.tags) and not bucket.tagged
    )
    return {
        "ETag": placed.quoted_etag,
        "ServerSideEncryption": "AES256",
        **writing.checksum_members(placed.details),
        **writing.shown_version(bucket, placed),
    }
