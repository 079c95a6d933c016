"""Topics."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.sns import store, topic_attributes
from alonzo.services.sns.errors import invalid, unsupported
from alonzo.services.sns.models import PAGE, Key, own_region, topic_arn, topic_key
from alonzo.services.sns.operations.tags import checked_tags
from alonzo.services.sns.paging import read_token, write_token
from alonzo.services.sns.state import State

_NAME = re.compile(r"^[A-Za-z0-9_-]{1,256}\Z")
_FIFO_NAME = re.compile(r"^[A-Za-z0-9_-]{1,251}\.fifo\Z")


async def create_topic(state: State, ctx: Context, params: Params) -> Result:
    if params.get("DataProtectionPolicy"):
        raise unsupported("data protection policies")
    attributes = topic_attributes.checked_all(params.get("Attributes") or {}, fifo=_wants_fifo(params))
    _check_name(params["Name"], fifo="FifoTopic" in attributes)
    tags = checked_tags(params.get("Tags") or [])
    key: Key = (ctx.account_id, ctx.region, params["Name"])
    now = state.clock.now()

    def write(connection: Connection) -> None:
        found = store.get_topic(connection, key)
        if found is None:
            store.add_topic(connection, key, attributes, tags, now)
            return
        if any(_value(found.attributes, name) != value for name, value in attributes.items()):
            raise invalid("Attributes Reason: Topic already exists with different attributes")
        if "Tags" in params and dict(found.tags) != tags:
            raise invalid("Tags Reason: Topic already exists with different tags")

    await state.write(key, write)
    return {"TopicArn": topic_arn(key)}


def _wants_fifo(params: Params) -> bool:
    return str((params.get("Attributes") or {}).get("FifoTopic", "")).lower() == "true"


def _value(attributes: Mapping[str, str], name: str) -> str:
    return attributes.get(name, "false" if name == "ContentBasedDeduplication" else "")


def _check_name(name: str, *, fifo: bool) -> None:
    if fifo and not _FIFO_NAME.match(name):
        raise invalid(
            "Fifo Topic names must end with .fifo and must be made up of only uppercase and lowercase ASCII letters,"
            " numbers, underscores, and hyphens, and must be between 1 and 256 characters long."
        )
    if not fifo and not _NAME.match(name):
        raise invalid("Topic Name")


async def delete_topic(state: State, ctx: Context, params: Params) -> Result:
    key = topic_key(params["TopicArn"])
    own_region(ctx, key)
    await state.write(key, lambda connection: store.delete_topic(connection, key))
    return {}


async def list_topics(state: State, ctx: Context, params: Params) -> Result:
    (after,) = read_token(params.get("NextToken"), 1)
    names = await state.db.read(
        lambda connection: store.list_topics(connection, ctx.account_id, ctx.region, after, PAGE + 1)
    )
    result: Result = {"Topics": [{"TopicArn": topic_arn((ctx.account_id, ctx.region, name))} for name in names[:PAGE]]}
    if len(names) > PAGE:
        result["NextToken"] = write_token(names[PAGE - 1])
    return result


async def get_topic_attributes(state: State, ctx: Context, params: Params) -> Result:
    key = topic_key(params["TopicArn"])
    own_region(ctx, key)
    topic = state.topic(key)
    pending = sum(one.pending for one in topic.subscriptions)
    return {"Attributes": topic_attributes.shown(topic, len(topic.subscriptions) - pending, pending)}


async def set_topic_attributes(state: State, ctx: Context, params: Params) -> Result:
    key = topic_key(params["TopicArn"])
    own_region(ctx, key)
    topic = state.topic(key)
    name, value = params["AttributeName"], params.get("AttributeValue") or ""
    value = topic_attributes.checked(name, value, fifo=topic.fifo)

    def write(connection: Connection) -> None:
        found = store.get_topic(connection, key)
        if found is not None:
            store.set_topic(connection, key, attributes={**found.attributes, name: value})

    await state.write(key, write)
    return {}
