"""Users and their access keys."""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.identity import account_in_key, make_access_key_id
from alonzo.dispatch import Params, Result
from alonzo.services.iam import entities, errors, store, views
from alonzo.services.iam.models import ACCESS_KEYS, AccessKey
from alonzo.services.iam.state import State, entity, moment, paged


def _name(ctx: Context, params: Params) -> str:
    """The user that is meant: the caller where none is named."""
    name = params.get("UserName")
    if name is None and ctx.principal.kind == "user":
        return ctx.principal.name
    if name is None:
        raise errors.invalid("Must specify userName when calling with non-User credentials")
    return str(name)


async def create_user(state: State, ctx: Context, params: Params) -> Result:
    made = await entities.create(state, entities.draft(state, ctx, "user", params["UserName"], params))
    return {"User": views.full(made)}


async def get_user(state: State, ctx: Context, params: Params) -> Result:
    if "UserName" not in params and ctx.principal.kind == "root":
        root = {"Path": "/", "UserId": ctx.account_id, "Arn": ctx.principal.arn, "CreateDate": moment(0)}
        return {"User": root}
    return {"User": views.full(await entities.get(state, ctx, "user", _name(ctx, params)))}


async def list_users(state: State, ctx: Context, params: Params) -> Result:
    return await entities.page(state, ctx, "user", params)


async def delete_user(state: State, ctx: Context, params: Params) -> Result:
    def write(c: Connection) -> None:
        found = entity(c, ctx.account_id, "user", params["UserName"])
        if store.keys_of(c, ctx.account_id, found.name):
            raise errors.conflict("Cannot delete entity, must delete access keys first.")
        if store.groups_of(c, ctx.account_id, found.name):
            raise errors.conflict("Cannot delete entity, must remove users from group first.")
        entities.refuse_while_in_use(c, found)
        store.remove(c, found)

    await state.write(write)
    return {}


async def put_user_permissions_boundary(state: State, ctx: Context, params: Params) -> Result:
    await entities.change(state, ctx, "user", params["UserName"], boundary=params["PermissionsBoundary"])
    return {}


async def delete_user_permissions_boundary(state: State, ctx: Context, params: Params) -> Result:
    return await entities.drop_boundary(state, ctx, "user", params["UserName"])


async def tag_user(state: State, ctx: Context, params: Params) -> Result:
    return await entities.tag(state, ctx, "user", params["UserName"], params)


async def untag_user(state: State, ctx: Context, params: Params) -> Result:
    return await entities.untag(state, ctx, "user", params["UserName"], params)


async def list_user_tags(state: State, ctx: Context, params: Params) -> Result:
    found = await entities.get(state, ctx, "user", params["UserName"])
    return entities.tags_page(found.tags, params)


# -- access keys ------------------------------------------------------------------------------------------------------


async def create_access_key(state: State, ctx: Context, params: Params) -> Result:
    name = _name(ctx, params)
    key_id = make_access_key_id(state.parts.ids, "AKIA", ctx.account_id)
    secret, now = state.parts.ids.secret(), state.now()

    def write(c: Connection) -> AccessKey:
        user = entity(c, ctx.account_id, "user", name)
        if len(store.keys_of(c, ctx.account_id, user.name)) >= ACCESS_KEYS:
            raise errors.quota("AccessKeysPerUser", ACCESS_KEYS)
        made = AccessKey(ctx.account_id, user.name, key_id, secret, True, now)
        store.put_key(c, made)
        return made

    made = await state.write(write)
    return {"AccessKey": {**views.access_key(made), "SecretAccessKey": made.secret}}


async def list_access_keys(state: State, ctx: Context, params: Params) -> Result:
    def read(c: Connection) -> list[AccessKey]:
        user = entity(c, ctx.account_id, "user", _name(ctx, params))
        return sorted(store.keys_of(c, ctx.account_id, user.name), key=lambda one: one.access_key_id)

    keys = await state.read(read)
    return paged("AccessKeyMetadata", keys, lambda one: one.access_key_id, views.access_key, params)


def _key(c: Connection, ctx: Context, params: Params) -> AccessKey:
    key = store.find_key(c, ctx.account_id, params["AccessKeyId"])
    name = params.get("UserName") or (ctx.principal.name if ctx.principal.kind == "user" else "")
    if key is None or (name and key.user.lower() != name.lower()):
        raise errors.missing_key(params["AccessKeyId"])
    return key


async def update_access_key(state: State, ctx: Context, params: Params) -> Result:
    await state.write(lambda c: store.set_key_active(c, _key(c, ctx, params), params["Status"] == "Active"))
    return {}


async def delete_access_key(state: State, ctx: Context, params: Params) -> Result:
    if account_in_key(params["AccessKeyId"]) not in (ctx.account_id, None):
        raise errors.missing_key(params["AccessKeyId"])
    await state.write(lambda c: store.remove_key(c, _key(c, ctx, params)))
    return {}
