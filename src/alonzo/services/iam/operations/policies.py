"""Managed policies and their versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.arn import parse_arn
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.iam import entities, errors, store, views
from alonzo.services.iam.models import MANAGED_SIZE, PREFIX, QUOTA, VERSIONS, ManagedPolicy, Version
from alonzo.services.iam.state import State, check_document, merged, paged, size_of, tags_of, without


def _find(state: State, c: Connection, ctx: Context, arn: str, *, change: bool = False) -> ManagedPolicy:
    """Raises NoSuchEntity; AccessDenied where one of AWS's own is to be changed."""
    own = state.aws.find(arn)
    if own is not None:
        if change:
            raise ServiceError(
                "AccessDenied", f"User: {ctx.principal.arn} cannot change {arn}: it is AWS's.", status=403
            )
        return own
    try:
        parts = parse_arn(arn)
    except ValueError:
        raise errors.invalid(f"ARN {arn} is not valid.") from None
    found = store.find_policy(c, ctx.account_id, parts.resource.rpartition("/")[2])
    if found is None or found.arn != arn:
        raise errors.missing_policy(arn)
    return found


def _versions(state: State, c: Connection, policy: ManagedPolicy) -> list[Version]:
    own = state.aws.version(policy.arn)
    return [own] if own is not None else store.versions_of(c, policy)


def _check_size(document: str) -> None:
    if size_of(document) > MANAGED_SIZE:
        raise errors.quota("PolicySize", MANAGED_SIZE)


async def create_policy(state: State, ctx: Context, params: Params) -> Result:
    document, now = params["PolicyDocument"], state.now()
    _check_size(document)
    check_document(document, managed=True)
    made = ManagedPolicy(
        ctx.account_id,
        params["PolicyName"],
        params.get("Path", "/"),
        state.parts.ids.unique_id(PREFIX["policy"]),
        now,
        now,
        1,
        params.get("Description", ""),
        tags_of(params),
    )

    def write(c: Connection) -> None:
        if store.find_policy(c, ctx.account_id, made.name) is not None:
            message = f"A policy called {made.name} already exists. Duplicate names are not allowed."
            raise ServiceError("EntityAlreadyExists", message, status=409)
        if len(store.all_policies(c, ctx.account_id)) >= QUOTA["policy"]:
            raise errors.quota("PoliciesPerAccount", QUOTA["policy"])
        store.put_policy(c, made)
        store.put_version(c, made, Version(1, document, now))

    await state.write(write)
    return {"Policy": views.policy(made, 0, 0, detail=True)}


async def get_policy(state: State, ctx: Context, params: Params) -> Result:
    def read(c: Connection) -> Result:
        found = _find(state, c, ctx, params["PolicyArn"])
        attached = store.attachment_counts(c, ctx.account_id).get(found.arn, 0)
        boundaries = store.boundary_counts(c, ctx.account_id).get(found.arn, 0)
        return {"Policy": views.policy(found, attached, boundaries, detail=True)}

    return await state.read(read)


async def list_policies(state: State, ctx: Context, params: Params) -> Result:
    scope, prefix = params.get("Scope", "All"), params.get("PathPrefix", "/")
    only_attached, usage = params.get("OnlyAttached", False), params.get("PolicyUsageFilter")

    def read(c: Connection) -> Result:
        found = [] if scope == "AWS" else store.all_policies(c, ctx.account_id)
        found += [] if scope == "Local" else state.aws.all()
        attached = store.attachment_counts(c, ctx.account_id)
        boundaries = store.boundary_counts(c, ctx.account_id)
        used = boundaries if usage == "PermissionsBoundary" else attached
        kept = [
            one for one in found if one.path.startswith(prefix) and (used.get(one.arn) or not (only_attached or usage))
        ]
        return paged(
            "Policies",
            sorted(kept, key=lambda one: one.arn.lower()),
            lambda one: one.arn,
            lambda one: views.policy(one, attached.get(one.arn, 0), boundaries.get(one.arn, 0), detail=False),
            params,
        )

    return await state.read(read)


async def delete_policy(state: State, ctx: Context, params: Params) -> Result:
    def write(c: Connection) -> None:
        found = _find(state, c, ctx, params["PolicyArn"], change=True)
        if store.attached_to(c, ctx.account_id, found.arn) or store.boundary_users(c, ctx.account_id, found.arn):
            raise errors.conflict("Cannot delete a policy attached to entities.")
        if len(store.versions_of(c, found)) > 1:
            raise errors.conflict(
                "This policy has more than one version. Before you delete a policy, you must delete the policy's"
                " versions. The default version is deleted with the policy."
            )
        store.remove_policy(c, found)

    await state.write(write)
    return {}


async def list_entities_for_policy(state: State, ctx: Context, params: Params) -> Result:
    wanted = params.get("EntityFilter")

    def read(c: Connection) -> Result:
        found = _find(state, c, ctx, params["PolicyArn"])
        bounded = params.get("PolicyUsageFilter") == "PermissionsBoundary"
        users = (store.boundary_users if bounded else store.attached_to)(c, ctx.account_id, found.arn)
        result: Result = {"PolicyGroups": [], "PolicyUsers": [], "PolicyRoles": [], "IsTruncated": False}
        for one in users:
            noun = one.kind.capitalize()
            if wanted in (None, noun) and one.path.startswith(params.get("PathPrefix", "/")):
                result[f"Policy{noun}s"].append({f"{noun}Name": one.name, f"{noun}Id": one.entity_id})
        return result

    return await state.read(read)


# -- versions ---------------------------------------------------------------------------------------------------------


async def create_policy_version(state: State, ctx: Context, params: Params) -> Result:
    document, now = params["PolicyDocument"], state.now()
    _check_size(document)
    check_document(document, managed=True)

    def write(c: Connection) -> Result:
        found = _find(state, c, ctx, params["PolicyArn"], change=True)
        if len(store.versions_of(c, found)) >= VERSIONS:
            raise errors.limit(
                "A managed policy can have up to 5 versions. Before you create a new version, you must delete an"
                " existing version."
            )
        made = Version(found.next_version, document, now)
        default = made.number if params.get("SetAsDefault") else found.default
        store.put_version(c, found, made)
        store.put_policy(c, replace(found, default=default, next_version=made.number + 1, updated_at=now))
        return {"PolicyVersion": views.version(made, default)}

    return await state.write(write)


async def get_policy_version(state: State, ctx: Context, params: Params) -> Result:
    def read(c: Connection) -> Result:
        found = _find(state, c, ctx, params["PolicyArn"])
        one = _version(state, c, found, params["VersionId"])
        return {"PolicyVersion": views.version(one, found.default, with_document=True)}

    return await state.read(read)


async def list_policy_versions(state: State, ctx: Context, params: Params) -> Result:
    def read(c: Connection) -> Result:
        found = _find(state, c, ctx, params["PolicyArn"])
        shown = [views.version(one, found.default) for one in _versions(state, c, found)]
        return {"Versions": shown, "IsTruncated": False}

    return await state.read(read)


async def set_default_policy_version(state: State, ctx: Context, params: Params) -> Result:
    def write(c: Connection) -> None:
        found = _find(state, c, ctx, params["PolicyArn"], change=True)
        one = _version(state, c, found, params["VersionId"])
        store.put_policy(c, replace(found, default=one.number, updated_at=state.now()))

    await state.write(write)
    return {}


async def delete_policy_version(state: State, ctx: Context, params: Params) -> Result:
    def write(c: Connection) -> None:
        found = _find(state, c, ctx, params["PolicyArn"], change=True)
        one = _version(state, c, found, params["VersionId"])
        if one.number == found.default:
            raise errors.conflict("Cannot delete the default version of a policy.")
        store.remove_version(c, found, one.number)

    await state.write(write)
    return {}


def _version(state: State, c: Connection, policy: ManagedPolicy, name: str) -> Version:
    for one in _versions(state, c, policy):
        if one.name == name:
            return one
    raise errors.not_attachable(f"Policy {policy.arn} version {name}")


# -- tags -------------------------------------------------------------------------------------------------------------


async def _retag(state: State, ctx: Context, arn: str, change: Callable[[ManagedPolicy], ManagedPolicy]) -> Result:
    await state.write(lambda c: store.put_policy(c, change(_find(state, c, ctx, arn, change=True))))
    return {}


async def tag_policy(state: State, ctx: Context, params: Params) -> Result:
    new = tags_of(params)
    return await _retag(state, ctx, params["PolicyArn"], lambda old: replace(old, tags=merged(old.tags, new)))


async def untag_policy(state: State, ctx: Context, params: Params) -> Result:
    keys = params["TagKeys"]
    return await _retag(state, ctx, params["PolicyArn"], lambda old: replace(old, tags=without(old.tags, keys)))


async def list_policy_tags(state: State, ctx: Context, params: Params) -> Result:
    found = await state.read(lambda c: _find(state, c, ctx, params["PolicyArn"]))
    return entities.tags_page(found.tags, params)
