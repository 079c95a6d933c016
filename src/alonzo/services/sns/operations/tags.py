"""Tags of topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.sns import store
from alonzo.services.sns.errors import invalid, no_resource
from alonzo.services.sns.models import Key, topic_key
from alonzo.services.sns.state import State

MAX_TAGS = 50


def checked_tags(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Raises InvalidParameter, TagLimitExceeded."""
    found: dict[str, str] = {}
    for tag in tags:
        key, value = tag["Key"], tag["Value"]
        if key in found:
            raise invalid("Duplicated keys are not allowed.")
        if key.lower().startswith("aws:"):
            raise invalid("Tags Reason: System tags cannot be added/updated by requester")
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise invalid("Tags Reason: A key has 1 to 128 characters and a value at most 256")
        found[key] = value
    _check_number(found)
    return found


def _check_number(tags: Mapping[str, str]) -> None:
    if len(tags) > MAX_TAGS:
        raise ServiceError("TagLimitExceeded", "Could not complete request: tag quota of per resource exceeded")


async def tag_resource(state: State, ctx: Context, params: Params) -> Result:
    await _change(state, _key(ctx, params), checked_tags(params["Tags"]), ())
    return {}


async def untag_resource(state: State, ctx: Context, params: Params) -> Result:
    await _change(state, _key(ctx, params), {}, params["TagKeys"])
    return {}


async def list_tags_for_resource(state: State, ctx: Context, params: Params) -> Result:
    topic = state.find_topic(_key(ctx, params))
    if topic is None:
        raise no_resource()
    return {"Tags": [{"Key": name, "Value": value} for name, value in topic.tags.items()]}


def _key(ctx: Context, params: Params) -> Key:
    key = topic_key(params["ResourceArn"], "ResourceArn")
    if key[1] != ctx.region:
        raise no_resource()
    return key


async def _change(state: State, key: Key, added: Mapping[str, str], removed: Sequence[str]) -> None:
    def write(connection: Connection) -> None:
        topic = store.get_topic(connection, key)
        if topic is None:
            raise no_resource()
        tags = {name: value for name, value in {**topic.tags, **added}.items() if name not in removed}
        _check_number(tags)
        store.set_topic(connection, key, tags=tags)

    await state.write(key, write)
