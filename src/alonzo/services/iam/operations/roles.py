"""Roles."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.iam import entities, store, views
from alonzo.services.iam.state import State, check_trust_document, entity


async def create_role(state: State, ctx: Context, params: Params) -> Result:
    check_trust_document(params["AssumeRolePolicyDocument"])
    made = replace(
        entities.draft(state, ctx, "role", params["RoleName"], params),
        trust=params["AssumeRolePolicyDocument"],
        description=params.get("Description", ""),
        max_session_s=params.get("MaxSessionDuration", 3600),
    )
    return {"Role": views.full(await entities.create(state, made))}


async def get_role(state: State, ctx: Context, params: Params) -> Result:
    return {"Role": views.full(await entities.get(state, ctx, "role", params["RoleName"]))}


async def list_roles(state: State, ctx: Context, params: Params) -> Result:
    return await entities.page(state, ctx, "role", params)


async def update_role(state: State, ctx: Context, params: Params) -> Result:
    values: dict[str, object] = {}
    if "Description" in params:
        values["description"] = params["Description"]
    if "MaxSessionDuration" in params:
        values["max_session_s"] = params["MaxSessionDuration"]
    await entities.change(state, ctx, "role", params["RoleName"], **values)
    return {}


async def update_role_description(state: State, ctx: Context, params: Params) -> Result:
    await entities.change(state, ctx, "role", params["RoleName"], description=params["Description"])
    return {"Role": views.full(await entities.get(state, ctx, "role", params["RoleName"]))}


async def update_assume_role_policy(state: State, ctx: Context, params: Params) -> Result:
    check_trust_document(params["PolicyDocument"])
    await entities.change(state, ctx, "role", params["RoleName"], trust=params["PolicyDocument"])
    return {}


async def delete_role(state: State, ctx: Context, params: Params) -> Result:
    def write(c: Connection) -> None:
        found = entity(c, ctx.account_id, "role", params["RoleName"])
        entities.refuse_while_in_use(c, found)
        store.remove(c, found)

    await state.write(write)
    return {}


async def put_role_permissions_boundary(state: State, ctx: Context, params: Params) -> Result:
    await entities.change(state, ctx, "role", params["RoleName"], boundary=params["PermissionsBoundary"])
    return {}


async def delete_role_permissions_boundary(state: State, ctx: Context, params: Params) -> Result:
    return await entities.drop_boundary(state, ctx, "role", params["RoleName"])


async def tag_role(state: State, ctx: Context, params: Params) -> Result:
    return await entities.tag(state, ctx, "role", params["RoleName"], params)


async def untag_role(state: State, ctx: Context, params: Params) -> Result:
    return await entities.untag(state, ctx, "role", params["RoleName"], params)


async def list_role_tags(state: State, ctx: Context, params: Params) -> Result:
    found = await entities.get(state, ctx, "role", params["RoleName"])
    return entities.tags_page(found.tags, params)


async def list_instance_profiles_for_role(state: State, ctx: Context, params: Params) -> Result:
    """There are no instance profiles; tools ask before they delete a role."""
    await entities.get(state, ctx, "role", params["RoleName"])
    return {"InstanceProfiles": [], "IsTruncated": False}
