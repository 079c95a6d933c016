"""What users, roles and groups have in common: making, showing and ending them, their tags and boundaries."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.iam import errors, store, views
from alonzo.services.iam.models import PREFIX, QUOTA, QUOTA_NAME, Entity, Kind, Tags
from alonzo.services.iam.state import State, after, check_trusted, entity, merged, paged, size, tags_of, without

LIST_MEMBER = {"user": "Users", "role": "Roles", "group": "Groups"}


def draft(state: State, ctx: Context, kind: Kind, name: str, params: Params) -> Entity:
    return Entity(
        ctx.account_id,
        kind,
        name,
        params.get("Path", "/"),
        state.parts.ids.unique_id(PREFIX[kind]),
        state.now(),
        tags_of(params),
        params.get("PermissionsBoundary", ""),
    )


async def create(state: State, made: Entity) -> Entity:
    def write(c: Connection) -> None:
        if store.find(c, made.account_id, made.kind, made.name) is not None:
            raise errors.exists(made.kind, made.name)
        if store.count(c, made.account_id, made.kind) >= QUOTA[made.kind]:
            raise errors.quota(QUOTA_NAME[made.kind], QUOTA[made.kind])
        check_boundary(state, c, made.boundary)
        if made.trust:
            check_trusted(c, made.account_id, made.trust)
        store.put(c, made)

    await state.write(write)
    return made


def check_boundary(state: State, c: Connection, arn: str) -> None:
    if arn and state.identities.document(c, arn) is None:
        raise errors.not_attachable(f"Scope ARN: {arn}")


async def get(state: State, ctx: Context, kind: Kind, name: str) -> Entity:
    return await state.read(lambda c: entity(c, ctx.account_id, kind, name))


async def page(state: State, ctx: Context, kind: Kind, params: Params) -> Result:
    prefix = params.get("PathPrefix", "/")
    rows = await state.read(lambda c: store.page(c, ctx.account_id, kind, prefix, after(params), size(params) + 1))
    return paged(LIST_MEMBER[kind], rows, lambda one: one.name, views.brief, params)


async def change(state: State, ctx: Context, kind: Kind, name: str, **values: object) -> None:
    def write(c: Connection) -> None:
        old = entity(c, ctx.account_id, kind, name)
        boundary = values.get("boundary")
        if isinstance(boundary, str):
            check_boundary(state, c, boundary)
        trust = values.get("trust")
        if isinstance(trust, str):
            check_trusted(c, ctx.account_id, trust)
        store.put(c, replace(old, **values))  # type: ignore[arg-type]

    await state.write(write)


async def drop_boundary(state: State, ctx: Context, kind: Kind, name: str) -> Result:
    def write(c: Connection) -> None:
        old = entity(c, ctx.account_id, kind, name)
        if not old.boundary:
            raise errors.missing(f"permissions boundary of {kind}", name)
        store.put(c, replace(old, boundary=""))

    await state.write(write)
    return {}


async def tag(state: State, ctx: Context, kind: Kind, name: str, params: Params) -> Result:
    new = tags_of(params)

    def write(c: Connection) -> None:
        old = entity(c, ctx.account_id, kind, name)
        store.put(c, replace(old, tags=merged(old.tags, new)))

    await state.write(write)
    return {}


async def untag(state: State, ctx: Context, kind: Kind, name: str, params: Params) -> Result:
    def write(c: Connection) -> None:
        old = entity(c, ctx.account_id, kind, name)
        store.put(c, replace(old, tags=without(old.tags, params["TagKeys"])))

    await state.write(write)
    return {}


def tags_page(tags: Tags, params: Params) -> Result:
    ordered = sorted(tags, key=lambda one: one[0].lower())
    return paged("Tags", ordered, lambda one: one[0], lambda one: {"Key": one[0], "Value": one[1]}, params)


def refuse_while_in_use(c: Connection, found: Entity) -> None:
    """Policies must go before the entity goes."""
    if store.attached(c, found):
        raise errors.conflict("Cannot delete entity, must detach all policies first.")
    if store.inline_of(c, found):
        raise errors.conflict("Cannot delete entity, must delete policies first.")
