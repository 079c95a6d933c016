"""New code and new configuration for `$LATEST`."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import archives, configuration, publishing, signing
from alonzo.services.lambda_.destinations import check_dead_letter, check_dead_letter_role
from alonzo.services.lambda_.errors import invalid
from alonzo.services.lambda_.layering import resolve_layers
from alonzo.services.lambda_.models import Body
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.roles import check_role
from alonzo.services.lambda_.state import State, need_room
from alonzo.services.lambda_.store import code as code_store
from alonzo.services.lambda_.store.code import Freed
from alonzo.services.lambda_.updates import latest, update


async def update_function_code(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params)
    if params.get("ImageUri"):
        raise invalid("Please don't provide ImageUri when updating a function with packageType Zip.")
    configuration.refuse_unsupported(params)
    revision_id = params.get("RevisionId")
    current = await state.read(lambda connection: latest(connection, ref, revision_id))
    await state.read(lambda connection: signing.check(connection, ref))
    archive = await archives.take(state, ctx, params, operation="UpdateFunctionCode", account_id=ref.account_id)
    config = configuration.with_source(current.body.config, params)
    if params.get("Architectures"):
        config["Architectures"] = list(params["Architectures"])
    try:
        archives.check_total(archive.code, current.body.layers)
        if params.get("DryRun"):
            await state.parts.blobs.delete(archive.blob_id)
            trial = replace(current, body=replace(current.body, code=archive.code, config=config))
            return configuration.show(trial)

        def change(connection: Connection, body: Body, freed: Freed) -> Body:
            signing.check(connection, ref)
            need_room(connection, ref.key, archive.code.size - body.code.size)
            code_store.keep(connection, archive.code, archive.blob_id, freed)
            changed = configuration.with_source(body.config, params)
            return replace(body, code=archive.code, config={**changed, "Architectures": config["Architectures"]})

        shown = await update(state, ref, revision_id, change, publish_to=publishing.target(params))
    except Exception:
        await state.parts.blobs.delete(archive.blob_id)
        raise
    return configuration.show(shown, suffix=configuration.own_suffix(shown))


async def update_function_configuration(state: State, ctx: Context, params: Params) -> Result:
    ref = _ref(ctx, params)
    revision_id = params.get("RevisionId")
    current = await state.read(lambda connection: latest(connection, ref, revision_id))
    config = configuration.merge(current.body.config, params)
    check_dead_letter(state, config)
    layers = None
    if "Layers" in params:
        layers = await resolve_layers(state, ctx, params["Layers"])
        if layers:
            await state.read(lambda connection: signing.check(connection, ref))
        archives.check_total(current.body.code, layers)
    if "Role" in params:
        await check_role(state, ctx, params["Role"], ref.arn)
    if "Role" in params or "DeadLetterConfig" in params:
        await check_dead_letter_role(state, ctx, config, ref.name)

    def change(connection: Connection, body: Body, freed: Freed) -> Body:
        changed = state.with_build(configuration.merge(body.config, params), ref.region)
        return replace(body, config=changed, layers=body.layers if layers is None else layers)

    return configuration.show(await update(state, ref, revision_id, change))


def _ref(ctx: Context, params: Params) -> FunctionRef:
    """The function; a qualifier in its name, other than `$LATEST`, cannot be updated."""
    ref = function_ref(ctx, params["FunctionName"])
    if ref.qualifier not in ("", "$LATEST"):
        raise invalid(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation."
            " Please specify either a function name or an unqualified function ARN."
        )
    return FunctionRef(ref.account_id, ref.region, ref.name)
