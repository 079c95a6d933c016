"""Groups and who is in them."""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.iam import entities, errors, store, views
from alonzo.services.iam.models import GROUPS_OF_USER
from alonzo.services.iam.state import State, entity, paged


async def create_group(state: State, ctx: Context, params: Params) -> Result:
    made = await entities.create(state, entities.draft(state, ctx, "group", params["GroupName"], params))
    return {"Group": views.full(made)}


async def get_group(state: State, ctx: Context, params: Params) -> Result:
    group = await entities.get(state, ctx, "group", params["GroupName"])
    users = await state.read(lambda c: store.members_of(c, ctx.account_id, group.name))
    return {"Group": views.full(group), **paged("Users", users, lambda one: one.name, views.brief, params)}


async def list_groups(state: State, ctx: Context, params: Params) -> Result:
    return await entities.page(state, ctx, "group", params)


async def list_groups_for_user(state: State, ctx: Context, params: Params) -> Result:
    user = await entities.get(state, ctx, "user", params["UserName"])
    groups = await state.read(lambda c: store.groups_of(c, ctx.account_id, user.name))
    return paged("Groups", groups, lambda one: one.name, views.brief, params)


async def delete_group(state: State, ctx: Context, params: Params) -> Result:
    def write(c: Connection) -> None:
        found = entity(c, ctx.account_id, "group", params["GroupName"])
        if store.members_of(c, ctx.account_id, found.name):
            raise errors.conflict("Cannot delete entity, must remove users from group first.")
        entities.refuse_while_in_use(c, found)
        store.remove(c, found)

    await state.write(write)
    return {}


async def add_user_to_group(state: State, ctx: Context, params: Params) -> Result:
    def write(c: Connection) -> None:
        group = entity(c, ctx.account_id, "group", params["GroupName"])
        user = entity(c, ctx.account_id, "user", params["UserName"])
        others = {one.name for one in store.groups_of(c, ctx.account_id, user.name)} - {group.name}
        if len(others) >= GROUPS_OF_USER:
            raise errors.quota("GroupsPerUser", GROUPS_OF_USER)
        store.add_member(c, ctx.account_id, group.name, user.name)

    await state.write(write)
    return {}


async def remove_user_from_group(state: State, ctx: Context, params: Params) -> Result:
    def write(c: Connection) -> None:
        group = entity(c, ctx.account_id, "group", params["GroupName"])
        user = entity(c, ctx.account_id, "user", params["UserName"])
        if not store.remove_member(c, ctx.account_id, group.name, user.name):
            raise errors.missing("user", user.name)

    await state.write(write)
    return {}
