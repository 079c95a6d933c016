"""Policies of layer versions: who else may use them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Connection

from alonzo.core.arn import arn
from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import errors
from alonzo.services.lambda_.errors import conflict, not_found
from alonzo.services.lambda_.models import LayerVersion
from alonzo.services.lambda_.names import LayerRef, layer_ref
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store import attachments, layers
from alonzo.services.lambda_.store.code import Freed


async def add_layer_version_permission(state: State, ctx: Context, params: Params) -> Result:
    ref = layer_ref(ctx, params["LayerName"], params["VersionNumber"])
    statement = _statement(ref, params)

    def add(connection: Connection, freed: Freed) -> str:
        layer = _need(connection, ref)
        if any(one["Sid"] == statement["Sid"] for one in layer.policy):
            raise conflict(
                f"The statement id ({statement['Sid']}) provided already exists. Please provide a new statement id, or"
                " remove the existing statement."
            )
        _check_revision(layer, params)
        changed = replace(layer, policy=(*layer.policy, statement), policy_revision=state.new_id())
        layers.set_policy(connection, changed)
        return changed.policy_revision

    revision_id = await state.write(_key(ref), add)
    return {"Statement": orjson.dumps(statement).decode(), "RevisionId": revision_id}


async def get_layer_version_policy(state: State, ctx: Context, params: Params) -> Result:
    ref = layer_ref(ctx, params["LayerName"], params["VersionNumber"])
    layer = await state.read(lambda connection: _need(connection, ref))
    document = attachments.policy_document(layer.policy)
    if document is None:
        raise not_found("No policy is associated with the given resource.")
    return {"Policy": document, "RevisionId": layer.policy_revision}


async def remove_layer_version_permission(state: State, ctx: Context, params: Params) -> Result:
    ref = layer_ref(ctx, params["LayerName"], params["VersionNumber"])

    def remove(connection: Connection, freed: Freed) -> None:
        layer = _need(connection, ref)
        _check_revision(layer, params)
        kept = tuple(one for one in layer.policy if one["Sid"] != params["StatementId"])
        if len(kept) == len(layer.policy):
            raise not_found(f"Statement {params['StatementId']} is not found in resource policy.")
        layers.set_policy(connection, replace(layer, policy=kept, policy_revision=state.new_id()))

    await state.write(_key(ref), remove)
    return {}


def _key(ref: LayerRef) -> tuple[str, str, str]:
    return (ref.account_id, ref.region, ref.name)


def _need(connection: Connection, ref: LayerRef) -> LayerVersion:
    layer = layers.get_version(connection, _key(ref), ref.version or 0)
    if layer is None:
        raise not_found(f"Layer version {ref.version_arn} does not exist.")
    return layer


def _check_revision(layer: LayerVersion, params: Params) -> None:
    if params.get("RevisionId") not in (None, layer.policy_revision):
        raise errors.stale(errors.STALE_LAYER)


def _statement(ref: LayerRef, params: Params) -> dict[str, Any]:
    principal = params["Principal"]
    if principal.isdecimal():
        principal = arn("iam", "", principal, "root")
    statement: dict[str, Any] = {
        "Sid": params["StatementId"],
        "Effect": "Allow",
        "Principal": principal if principal == "*" else {"AWS": principal},
        "Action": params["Action"],
        "Resource": ref.version_arn,
    }
    if params.get("OrganizationId"):
        statement["Condition"] = {"StringEquals": {"aws:PrincipalOrgID": params["OrganizationId"]}}
    return statement
