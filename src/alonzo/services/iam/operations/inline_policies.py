"""Inline policies of users, roles and groups."""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.iam import errors, store, views
from alonzo.services.iam.models import INLINE_SIZE, Kind
from alonzo.services.iam.state import State, check_document, entity, paged, size_of

_NAME = {"user": "UserName", "role": "RoleName", "group": "GroupName"}


async def _put(state: State, ctx: Context, kind: Kind, params: Params) -> Result:
    name, document = params["PolicyName"], params["PolicyDocument"]
    check_document(document)

    def write(c: Connection) -> None:
        found = entity(c, ctx.account_id, kind, params[_NAME[kind]])
        documents = {**store.inline_of(c, found), name: document}
        if sum(map(size_of, documents.values())) > INLINE_SIZE[kind]:
            raise errors.limit(f"Maximum policy size of {INLINE_SIZE[kind]} bytes exceeded for {kind} {found.name}")
        store.put_inline(c, found, name, document)

    await state.write(write)
    return {}


async def _get(state: State, ctx: Context, kind: Kind, params: Params) -> Result:
    def read(c: Connection) -> tuple[str, str | None]:
        found = entity(c, ctx.account_id, kind, params[_NAME[kind]])
        return found.name, store.inline_of(c, found).get(params["PolicyName"])

    name, document = await state.read(read)
    if document is None:
        raise errors.missing(f"{kind} policy", params["PolicyName"])
    return {
        _NAME[kind]: name,
        "PolicyName": params["PolicyName"],
        "PolicyDocument": views.document(document),
    }


async def _delete(state: State, ctx: Context, kind: Kind, params: Params) -> Result:
    def write(c: Connection) -> None:
        found = entity(c, ctx.account_id, kind, params[_NAME[kind]])
        if not store.remove_inline(c, found, params["PolicyName"]):
            raise errors.missing(f"{kind} policy", params["PolicyName"])

    await state.write(write)
    return {}


async def _list(state: State, ctx: Context, kind: Kind, params: Params) -> Result:
    names = await state.read(lambda c: list(store.inline_of(c, entity(c, ctx.account_id, kind, params[_NAME[kind]]))))
    return paged("PolicyNames", sorted(names, key=str.lower), lambda name: name, lambda name: name, params)


async def put_user_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _put(state, ctx, "user", params)


async def put_role_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _put(state, ctx, "role", params)


async def put_group_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _put(state, ctx, "group", params)


async def get_user_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _get(state, ctx, "user", params)


async def get_role_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _get(state, ctx, "role", params)


async def get_group_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _get(state, ctx, "group", params)


async def delete_user_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _delete(state, ctx, "user", params)


async def delete_role_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _delete(state, ctx, "role", params)


async def delete_group_policy(state: State, ctx: Context, params: Params) -> Result:
    return await _delete(state, ctx, "group", params)


async def list_user_policies(state: State, ctx: Context, params: Params) -> Result:
    return await _list(state, ctx, "user", params)


async def list_role_policies(state: State, ctx: Context, params: Params) -> Result:
    return await _list(state, ctx, "role", params)


async def list_group_policies(state: State, ctx: Context, params: Params) -> Result:
    return await _list(state, ctx, "group", params)
