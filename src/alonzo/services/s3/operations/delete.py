"""DeleteObject and DeleteObjects.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.s3 import events, naming, writing
from alonzo.services.s3.access import key_access
from alonzo.services.s3.conditions import matches
from alonzo.services.s3.errors import malformed_xml, precondition_failed
from alonzo.services.s3.finding import check_version_id
from alonzo.services.s3.models import MAX_DELETE_OBJECTS, Bucket, S3Object, shown_time
from alonzo.services.s3.state import Effects, State
from alonzo.services.s3.store import objects as store

_EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"


@dataclass(frozen=True, slots=True)
class _Target:
    key: str
    version_id: str | None
    if_match: str | None = None
    modified: datetime | None = None
    size: int | None = None


async def delete_object(state: State, ctx: Context, params: Params) -> Result:
    bucket = state.bucket(params["Bucket"])
    target = _target(
        params["Key"],
        params.get("VersionId"),
        params.get("IfMatch"),
        params.get("IfMatchLastModifiedTime"),
        params.get("IfMatchSize"),
    )

    def work(connection: Connection, effects: Effects) -> dict[str, Any] | ServiceError:
        return _delete(state, connection, effects, ctx, bucket, target)

    return await state.commit(work, bucket=bucket.name)


async def delete_objects(state: State, ctx: Context, params: Params) -> Result:
    """Each key by itself: permission, condition, outcome. Those that go, go in one transaction."""
    bucket = state.bucket(params["Bucket"])
    wanted = params["Delete"].get("Objects") or []
    if not 1 <= len(wanted) <= MAX_DELETE_OBJECTS:
        raise malformed_xml()
    targets: list[_Target] = []
    errors: list[dict[str, Any]] = []
    for one in wanted:
        try:
            target = _target(
                one["Key"], one.get("VersionId"), one.get("ETag"), one.get("LastModifiedTime"), one.get("Size")
            )
            access = key_access(state, ctx, bucket, "DeleteObject", target.key, target.version_id or "")
            await state.dispatcher.authorize(ctx, access, denied_code="AccessDenied")
            targets.append(target)
        except ServiceError as error:
            errors.append(_error_entry(one["Key"], one.get("VersionId"), error))

    def work(
        connection: Connection, effects: Effects
    ) -> list[tuple[_Target, dict[str, Any] | ServiceError]] | ServiceError:
        return [(one, _delete(state, connection, effects, ctx, bucket, one)) for one in targets]

    outcomes = await state.commit(work, bucket=bucket.name) if targets else []
    deleted: list[dict[str, Any]] = []
    for target, outcome in outcomes:
        if isinstance(outcome, ServiceError):
            errors.append(_error_entry(target.key, target.version_id, outcome))
        else:
            deleted.append(_deleted_entry(target, outcome))
    if params["Delete"].get("Quiet"):
        deleted = []
    result: Result = {}
    if deleted:
        result["Deleted"] = deleted
    if errors:
        result["Errors"] = errors
    return result


def _target(
    key: str, version_id: str | None, if_match: str | None, modified: datetime | None, size: int | None
) -> _Target:
    naming.check_key(key)
    if version_id is not None:
        check_version_id(version_id)
    return _Target(key, version_id, if_match, modified, size)


def _error_entry(key: str, version_id: str | None, error: ServiceError) -> dict[str, Any]:
    entry = {"Key": key, "Code": error.code, "Message": error.message}
    return {**entry, "VersionId": version_id} if version_id is not None else entry


def _deleted_entry(target: _Target, outcome: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"Key": target.key}
    if target.version_id is not None:
        entry["VersionId"] = target.version_id
    if outcome.get("DeleteMarker"):
        entry["DeleteMarker"] = True
        entry["DeleteMarkerVersionId"] = outcome["VersionId"]
    return entry


def _delete(
    state: State, connection: Connection, effects: Effects, ctx: Context, bucket: Bucket, target: _Target
) -> dict[str, Any] | ServiceError:
    """Remove a version for good, or put a delete marker on top. What is not there is deleted already."""
    if target.version_id is not None:
        found = store.version(connection, bucket.name, target.key, target.version_id)
    else:
        found = store.latest(connection, bucket.name, target.key)
    failed = _condition(target, found)
    if failed is not None:
        return failed
    if target.version_id is None and bucket.versioning:
        return _mark(state, connection, effects, ctx, bucket, target.key)
    result: dict[str, Any] = {}
    if target.version_id is not None:
        result["VersionId"] = target.version_id
    if found is None:
        return result
    effects.dropped += store.remove(connection, found)
    if found.delete_marker:
        result["DeleteMarker"] = True
    change = events.Change(events.REMOVED, target.key, version_id=target.version_id)
    writing.notify(state, connection, effects, ctx, bucket, change, state.next_id())
    return result


def _condition(target: _Target, found: S3Object | None) -> ServiceError | None:
    """A delete whose condition does not hold. Without an object only `If-Match` fails."""
    present = found if found is not None and not found.delete_marker else None
    if target.if_match is not None and (present is None or not matches(target.if_match, present.etag)):
        return precondition_failed("If-Match")
    if present is None:
        return None
    if target.modified is not None and shown_time(present.modified_ms) != target.modified:
        return precondition_failed("x-amz-if-match-last-modified-time")
    if target.size is not None and present.size != target.size:
        return precondition_failed("x-amz-if-match-size")
    return None


def _mark(
    state: State, connection: Connection, effects: Effects, ctx: Context, bucket: Bucket, key: str
) -> dict[str, Any]:
    number = state.next_id()
    marker = S3Object(
        number,
        bucket.name,
        key,
        writing.new_version_id(state) if bucket.versioning == "Enabled" else None,
        True,
        0,
        "",
        state.now_ms(),
        "STANDARD",
        0,
        {},
        {},
    )
    effects.dropped += store.add(
        connection,
        marker,
        owner=bucket.account_id,
        versioning=bucket.versioning,
        previous=store.head(connection, bucket.name, key),
    )
    change = events.Change(events.REMOVED_MARKER, key, etag=_EMPTY_MD5, version_id=marker.version_id)
    writing.notify(state, connection, effects, ctx, bucket, change, number)
    return {"DeleteMarker": True, "VersionId": marker.shown_version}
