"""Managed policies on users, roles and groups."""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.iam import errors, store, views
from alonzo.services.iam.models import ATTACHED, Kind
from alonzo.services.iam.state import State, entity, paged


async def _attach(state: State, ctx: Context, kind: Kind, name: str, params: Params) -> Result:
    arn = params["PolicyArn"]

    def write(c: Connection) -> None:
        found = entity(c, ctx.account_id, kind, name)
        if state.identities.document(c, arn) is None:
            raise errors.not_attachable(f"Policy {arn}")
        present = store.attached(c, found)
        if arn not in present and len(present) >= ATTACHED:
            raise errors.quota(f"PoliciesPer{kind.capitalize()}", ATTACHED)
        store.attach(c, found, arn)

    await state.write(write)
    return {}


async def _detach(state: State, ctx: Context, kind: Kind, name: str, params: Params) -> Result:
    def write(c: Connection) -> None:
        if not store.detach(c, entity(c, ctx.account_id, kind, name), params["PolicyArn"]):
            raise errors.missing_policy(params["PolicyArn"])

    await state.write(write)
    return {}


async def _attached(state: State, ctx: Context, kind: Kind, name: str, params: Params) -> Result:
    arns = await state.read(lambda c: store.attached(c, entity(c, ctx.account_id, kind, name)))
    prefix = params.get("PathPrefix", "/")
    arns = sorted((arn for arn in arns if arn.split(":policy", 1)[1].startswith(prefix)), key=str.lower)
    return paged("AttachedPolicies", arns, lambda arn: arn, views.attached_policy, params)


async def attach_user_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _attach(state, ctx, "user", params["UserName"], params)


async def attach_role_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _attach(state, ctx, "role", params["RoleName"], params)


async def attach_group_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _attach(state, ctx, "group", params["GroupName"], params)


async def detach_user_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _detach(state, ctx, "user", params["UserName"], params)


async def detach_role_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _detach(state, ctx, "role", params["RoleName"], params)


async def detach_group_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _detach(state, ctx, "group", params["GroupName"], params)


async def list_attached_user_policies(state: State, ctx: Context, params: Params) -> Result:
    return await _attached(state, ctx, "user", params["UserName"], params)


async def list_attached_role_policies(state: State, ctx: Context, params: Params) -> Result:
    return await _attached(state, ctx, "role", params["RoleName"], params)


async def list_attached_group_policies(state: State, ctx: Context, params: Params) -> Result:
    return await _attached(state, ctx, "group", params["GroupName"], params)
