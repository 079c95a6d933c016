"""Code signing configurations, and which function has which."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from alonzo.core.arn import arn
from alonzo.core.context import Context
from alonzo.core.ids import Ids
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import configuration, paging, signing, tagging
from alonzo.services.lambda_.errors import conflict
from alonzo.services.lambda_.models import CodeSigning
from alonzo.services.lambda_.names import function_ref
from alonzo.services.lambda_.state import State, need_function
from alonzo.services.lambda_.store import settings
from alonzo.services.lambda_.store.code import Freed

_PAGE = 50
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def _show(config: CodeSigning) -> Result:
    return {
        "CodeSigningConfigId": config.id,
        "CodeSigningConfigArn": config.arn,
        "Description": config.description,
        "AllowedPublishers": {"SigningProfileVersionArns": list(config.publishers)},
        "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": config.policy},
        "LastModified": configuration.timestamp(config.modified),
    }


def _new_id(ids: Ids) -> str:
    return "csc-" + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in ids.token_bytes(17))


async def create_code_signing_config(state: State, ctx: Context, params: Params) -> Result:
    tags = dict(params.get("Tags") or {})
    tagging.check(tags)
    config = CodeSigning(
        ctx.account_id,
        ctx.region,
        _new_id(state.parts.ids),
        params.get("Description", ""),
        tuple(params["AllowedPublishers"]["SigningProfileVersionArns"]),
        (params.get("CodeSigningPolicies") or {}).get("UntrustedArtifactOnDeployment", "Warn"),
        state.now(),
        tags,
    )
    await state.parts.db.write(lambda connection: settings.put_code_signing(connection, config))
    return {"CodeSigningConfig": _show(config)}


async def update_code_signing_config(state: State, ctx: Context, params: Params) -> Result:
    named = params["CodeSigningConfigArn"]

    def change(connection: Connection) -> CodeSigning:
        config = signing.need(connection, ctx.account_id, ctx.region, named)
        publishers = (params.get("AllowedPublishers") or {}).get("SigningProfileVersionArns")
        changed = replace(
            config,
            description=params.get("Description", config.description),
            publishers=config.publishers if publishers is None else tuple(publishers),
            policy=(params.get("CodeSigningPolicies") or {}).get("UntrustedArtifactOnDeployment", config.policy),
            modified=state.now(),
        )
        settings.put_code_signing(connection, changed)
        return changed

    return {"CodeSigningConfig": _show(await state.parts.db.write(change))}


async def get_code_signing_config(state: State, ctx: Context, params: Params) -> Result:
    named = params["CodeSigningConfigArn"]
    config = await state.read(lambda connection: signing.need(connection, ctx.account_id, ctx.region, named))
    return {"CodeSigningConfig": _show(config)}


async def delete_code_signing_config(state: State, ctx: Context, params: Params) -> Result:
    named = params["CodeSigningConfigArn"]

    def delete(connection: Connection) -> None:
        config = signing.need(connection, ctx.account_id, ctx.region, named)
        if settings.functions_signed_by(connection, ctx.account_id, ctx.region, named):
            raise conflict(f"The code signing configuration {named} is in use by a function: detach it first.")
        settings.delete_code_signing(connection, ctx.account_id, ctx.region, config.id)

    await state.parts.db.write(delete)
    return {}


async def list_code_signing_configs(state: State, ctx: Context, params: Params) -> Result:
    limit = min(params.get("MaxItems", _PAGE), _PAGE)
    (after,) = paging.decode(params.get("Marker"), ("",))
    found = await state.read(
        lambda connection: settings.list_code_signing(connection, ctx.account_id, ctx.region, after, limit + 1)
    )
    items, token = paging.page(found, limit, lambda config: (config.id,))
    return {"CodeSigningConfigs": [_show(config) for config in items], **({"NextMarker": token} if token else {})}


async def list_functions_by_code_signing_config(state: State, ctx: Context, params: Params) -> Result:
    limit = min(params.get("MaxItems", _PAGE), _PAGE)
    (after,) = paging.decode(params.get("Marker"), ("",))
    named = params["CodeSigningConfigArn"]

    def read(connection: Connection) -> list[str]:
        signing.need(connection, ctx.account_id, ctx.region, named)
        return settings.functions_signed_by(connection, ctx.account_id, ctx.region, named, after, limit + 1)

    items, token = paging.page(await state.read(read), limit, lambda name: (name,))
    arns = [arn("lambda", ctx.region, ctx.account_id, f"function:{name}") for name in items]
    return {"FunctionArns": arns, **({"NextMarker": token} if token else {})}


async def put_function_code_signing_config(state: State, ctx: Context, params: Params) -> Result:
    """Code that is there already is not looked at: the configuration counts from the next deployment on."""
    ref = function_ref(ctx, params["FunctionName"])
    named = params["CodeSigningConfigArn"]

    def put(connection: Connection, freed: Freed) -> None:
        signing.need_for_function(connection, ref.account_id, ref.region, named)
        need_function(connection, ref)
        settings.put(connection, ref.key, "code-signing", named)

    await state.write(ref.key, put)
    return {"CodeSigningConfigArn": named, "FunctionName": ref.name}


async def get_function_code_signing_config(state: State, ctx: Context, params: Params) -> Result:
    """AWS's answer for a function without a configuration is empty."""
    ref = function_ref(ctx, params["FunctionName"])

    def read(connection: Connection) -> str | None:
        need_function(connection, ref)
        found: str | None = settings.get(connection, ref.key, "code-signing")
        return found

    attached = await state.read(read)
    return {"CodeSigningConfigArn": attached, "FunctionName": ref.name} if attached else {}


async def delete_function_code_signing_config(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])

    def delete(connection: Connection, freed: Freed) -> None:
        need_function(connection, ref)
        settings.put(connection, ref.key, "code-signing", None)

    await state.write(ref.key, delete)
    return {}
