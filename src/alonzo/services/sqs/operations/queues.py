"""Queues, their attributes and their tags."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.sqs import attributes as rules
from alonzo.services.sqs import store
from alonzo.services.sqs.background import expire
from alonzo.services.sqs.changing import change
from alonzo.services.sqs.errors import (
    deleted_recently,
    invalid,
    invalid_value,
    no_queue,
    purge_in_progress,
    queue_exists,
    unknown_attribute,
)
from alonzo.services.sqs.live import LiveQueue
from alonzo.services.sqs.models import DELETED_MS, MAX_TAGS, PURGE_MS, Queue
from alonzo.services.sqs.state import Sqs, queue_url

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")
_PAGE = 1000


def check_name(name: str) -> None:
    """Raises InvalidParameterValue."""
    if not _NAME.fullmatch(name):
        raise invalid("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")


async def create_queue(state: Sqs, ctx: Context, params: Params) -> Result:
    name, asked = params["QueueName"], params.get("Attributes") or {}
    if not name:
        raise invalid("Queue name cannot be empty")
    check_name(name)
    key = (ctx.account_id, ctx.region, name)
    tags = params.get("tags") or {}
    _check_tags(tags)
    async with state.lock:
        now_ms = state.now_ms()
        found = state.queues.find(key)
        before = found.queue if found else Queue(0, *key, now_ms // 1000 * 1000, now_ms // 1000 * 1000)
        changed = rules.check_changes(before, asked, _finder(state), creating=True)
        if found is not None:
            different = rules.same(found.queue, asked, changed)
            if different is not None:
                raise queue_exists(different)
        else:
            if state.deleted.get(key, 0) > now_ms:
                raise deleted_recently()
            new = replace(before, attributes=changed, tags=tags)
            queue_id = await state.parts.db.write(lambda connection: store.add_queue(connection, new))
            state.queues.put(replace(new, id=queue_id))
    return {"QueueUrl": queue_url(ctx, ctx.account_id, name)}


def _finder(state: Sqs) -> rules.Find:
    def find(arn: str) -> Queue | None:
        live = state.live_by_arn(arn)
        return live.queue if live is not None else None

    return find


async def delete_queue(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    async with state.lock:
        if live.deleted:
            raise no_queue()
        await state.parts.db.write(lambda c: store.delete_queue(c, live.queue, state.writer.last_seq))
        now_ms = state.now_ms()
        state.deleted = {key: until for key, until in state.deleted.items() if until > now_ms}
        state.deleted[live.queue.key] = now_ms + DELETED_MS
        state.queues.drop(live)
    state.to_sweep.set()
    return {}


async def purge_queue(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    now_ms = state.now_ms()
    if now_ms < live.purged_ms + PURGE_MS:
        raise purge_in_progress(live.queue.name)
    live.purged_ms = now_ms
    async with state.lock:
        last_seq = state.writer.last_seq
        await state.parts.db.write(lambda c: store.purge(c, live.queue.id, last_seq))
        state.queues.purged(live, last_seq)
    state.to_sweep.set()
    return {}


async def get_queue_url(state: Sqs, ctx: Context, params: Params) -> Result:
    name, account_id = params["QueueName"], params.get("QueueOwnerAWSAccountId") or ctx.account_id
    check_name(name)
    if state.queues.find((account_id, ctx.region, name)) is None:
        raise no_queue()
    return {"QueueUrl": queue_url(ctx, account_id, name)}


async def list_queues(state: Sqs, ctx: Context, params: Params) -> Result:
    prefix = params.get("QueueNamePrefix") or ""
    names = sorted(
        live.queue.name
        for live in state.queues.all()
        if live.queue.key[:2] == (ctx.account_id, ctx.region) and live.queue.name.startswith(prefix)
    )
    page, token = page_of(names, params)
    result: Result = {}
    if page:
        result["QueueUrls"] = [queue_url(ctx, ctx.account_id, name) for name in page]
    if token:
        result["NextToken"] = token
    return result


async def list_dead_letter_source_queues(state: Sqs, ctx: Context, params: Params) -> Result:
    target = state.live(ctx, params["QueueUrl"]).queue
    names = sorted(queue.name for queue in sources_of(state, target))
    page, token = page_of(names, params)
    result: Result = {"queueUrls": [queue_url(ctx, target.account_id, name) for name in page]}
    if token:
        result["NextToken"] = token
    return result


def sources_of(state: Sqs, target: Queue) -> list[Queue]:
    """The queues whose dead letters go to `target`."""
    queues = [live.queue for live in state.queues.all()]
    return [queue for queue in queues if queue.redrive is not None and queue.redrive.target == target.arn]


def page_of(names: list[str], params: Params) -> tuple[list[str], str | None]:
    """A page of sorted names, and the token of the next one if the caller wants pages."""
    limit, token = params.get("MaxResults"), params.get("NextToken")
    if limit is not None and not 1 <= limit <= _PAGE:
        raise invalid_value(limit, "MaxResults", f"Must be between 1 and {_PAGE}, if provided.")
    if token:
        try:
            after = base64.b64decode(token, altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            raise invalid("Invalid or expired next token.") from None
        names = [name for name in names if name > after]
    page = names[: limit or _PAGE]
    if limit is None or len(names) <= limit:
        return page, None
    return page, base64.urlsafe_b64encode(page[-1].encode()).decode()


async def set_queue_attributes(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    async with state.lock:
        changed = rules.check_changes(live.queue, params["Attributes"], _finder(state))
        await change(state, live, _modified(state, live, attributes=changed))
    return {}


def _modified(state: Sqs, live: LiveQueue, **changes: object) -> Queue:
    return replace(live.queue, modified_ms=state.now_ms() // 1000 * 1000, **changes)  # type: ignore[arg-type]


async def get_queue_attributes(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    names = params.get("AttributeNames") or []
    for name in names:
        if name not in rules.ALL:
            raise unknown_attribute(name)
    if not names:
        return {}
    found = rules.shown(live.queue)
    if "All" in names or any(name.startswith("ApproximateNumber") for name in names):
        await expire(state, live)
        index = live.ready()
        found["ApproximateNumberOfMessages"] = str(index.visible)
        found["ApproximateNumberOfMessagesNotVisible"] = str(index.in_flight)
        found["ApproximateNumberOfMessagesDelayed"] = str(index.delayed)
    if "All" not in names:
        found = {name: found[name] for name in names if name in found}
    return {"Attributes": found} if found else {}


# -- tags -------------------------------------------------------------------------------------------------------------


def _check_tags(tags: dict[str, str]) -> None:
    if len(tags) > MAX_TAGS:
        raise invalid(f"Too many tags added for queue: a queue can have up to {MAX_TAGS}.")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or key.lower().startswith("aws:"):
            raise invalid(f"Tag keys must be between 1 and 128 characters and not begin with aws:. Key: {key[:140]}")
        if len(value) > 256:
            raise invalid("Tag values must be between 0 and 256 characters in length.")
        if not (key + value).isprintable() or any("\ud800" <= c <= "\udfff" for c in key + value):
            raise invalid("Tag keys and values can only include letters, digits, white space and _.:/=+-@")


async def tag_queue(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    if not params["Tags"]:
        raise invalid("Tag list is empty.")
    _check_tags(params["Tags"])
    async with state.lock:
        tags = {**live.queue.tags, **params["Tags"]}
        _check_tags(tags)
        await change(state, live, replace(live.queue, tags=tags))
    return {}


async def untag_queue(state: Sqs, ctx: Context, params: Params) -> Result:
    live = state.live(ctx, params["QueueUrl"])
    if not params["TagKeys"]:
        raise invalid("Tag key list is empty.")
    async with state.lock:
        tags = {key: value for key, value in live.queue.tags.items() if key not in params["TagKeys"]}
        await change(state, live, replace(live.queue, tags=tags))
    return {}


async def list_queue_tags(state: Sqs, ctx: Context, params: Params) -> Result:
    tags = state.live(ctx, params["QueueUrl"]).queue.tags
    return {"Tags": dict(tags)} if tags else {}
