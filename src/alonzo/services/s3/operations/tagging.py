"""Tags of objects.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3 import events, naming, writing
from alonzo.services.s3.errors import no_such_key, no_such_version
from alonzo.services.s3.finding import find_object
from alonzo.services.s3.state import Effects, State
from alonzo.services.s3.store import buckets as bucket_store
from alonzo.services.s3.store import objects as store


async def get_object_tagging(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    found = await find_object(state, ctx, bucket, params, "GET")
    return {"TagSet": naming.tag_set(found.tags), **writing.shown_version(bucket, found)}


async def put_object_tagging(state: State, ctx: Context, params: Params) -> Result:
    tags = naming.tags_from_set(params["Tagging"], of_bucket=False)
    return await _set(state, ctx, params, tags, events.TAGS_PUT)


async def delete_object_tagging(state: State, ctx: Context, params: Params) -> Result:
    return await _set(state, ctx, params, {}, events.TAGS_DELETED)


async def _set(state: State, ctx: Context, params: Params, tags: Mapping[str, str], event: str) -> Result:
    bucket = state.bucket(params["Bucket"])
    found = await find_object(state, ctx, bucket, params, "PUT")

    def work(connection: Connection, effects: Effects) -> ServiceError | None:
        version_id = params.get("VersionId")
        again = (
            store.version(connection, bucket.name, found.key, version_id)
            if version_id is not None
            else store.current(connection, bucket.name, found.key)
        )
        if again is None:  # removed meanwhile
            return no_such_version(found.key, version_id) if version_id else no_such_key(found.key)
        store.set_tags(connection, again.id, tags)
        if tags and not bucket.tagged:
            bucket_store.mark_tagged(connection, bucket.name)
        change = events.Change(event, again.key, etag=again.etag, version_id=again.version_id)
        writing.notify(state, connection, effects, ctx, bucket, change, state.next_id())
        return None

    await state.commit(work, bucket=bucket.name, changes_bucket=bool(tags) and not bucket.tagged)
    return writing.shown_version(bucket, found)
