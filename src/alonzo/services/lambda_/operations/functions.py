"""Functions: create, show, list, delete."""

from __future__ import annotations

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import archives, configuration, paging, publishing, signing, tagging
from alonzo.services.lambda_.archives import Archive
from alonzo.services.lambda_.destinations import check_dead_letter, check_dead_letter_role
from alonzo.services.lambda_.errors import conflict, function_not_found, invalid
from alonzo.services.lambda_.layering import resolve_layers
from alonzo.services.lambda_.models import LATEST, Body, Function, Layer, Status, Version
from alonzo.services.lambda_.names import FunctionRef, function_ref, is_alias, is_version
from alonzo.services.lambda_.roles import check_role
from alonzo.services.lambda_.state import State, need_function, need_room
from alonzo.services.lambda_.store import attachments, functions, settings
from alonzo.services.lambda_.store import code as code_store
from alonzo.services.lambda_.store.code import Freed

_PAGE = 50


@dataclass(frozen=True, slots=True)
class _New:
    """What CreateFunction has checked."""

    ref: FunctionRef
    config: configuration.Config
    layers: tuple[Layer, ...]
    tags: dict[str, str]
    signing: str


async def create_function(state: State, ctx: Context, params: Params) -> Result:
    new = await _check(state, ctx, params)
    archive = await archives.take(state, ctx, params["Code"], operation="CreateFunction", account_id=new.ref.account_id)
    try:
        archives.check_total(archive.code, new.layers)
        await check_role(state, ctx, params["Role"], new.ref.arn)
        await check_dead_letter_role(state, ctx, new.config, new.ref.name)
        versions = await _store(state, new, archive, publish_to=publishing.target(params))
    except Exception:
        # Not where the caller was cancelled: the row may be there. What no row names is swept at the next start.
        await state.parts.blobs.delete(archive.blob_id)
        raise
    # With Publish the answer shows the number beside the unqualified ARN.
    return {**configuration.show(versions[0]), "Version": versions[-1].version}


async def _check(state: State, ctx: Context, params: Params) -> _New:
    ref = function_ref(ctx, params["FunctionName"])
    configuration.check_new(ref.name, params)
    base = configuration.with_source(configuration.defaults(ref.name, params), params["Code"])
    config = state.with_build(configuration.merge(base, params), ref.region)
    check_dead_letter(state, config)
    tags = dict(params.get("Tags") or {})
    tagging.check(tags)
    if await state.read(lambda connection: functions.get_function(connection, ref.key)) is not None:
        raise conflict(f"Function already exist: {ref.name}")
    layers = await resolve_layers(state, ctx, params.get("Layers") or ())
    return _New(ref, config, layers, tags, await _check_signing(state, ref, params))


async def _check_signing(state: State, ref: FunctionRef, params: Params) -> str:
    """The code signing configuration to attach, or "". Raises where it refuses the code."""
    named: str = params.get("CodeSigningConfigArn") or ""

    def check(connection: Connection) -> None:
        signing.need_for_function(connection, ref.account_id, ref.region, named)
        signing.check(connection, ref, named)

    if named:
        await state.read(check)
    return named


async def _store(state: State, new: _New, archive: Archive, *, publish_to: str) -> list[Version]:
    key = new.ref.key
    now = state.now()
    body = Body(new.config, archive.code, new.layers, state.new_id())
    published = {"": [], "next": ["1"]}.get(publish_to, [publish_to])
    numbers = [LATEST, *published]
    versions = [Version(*key, number, state.new_id(), body, now, publishing.PENDING, Status("")) for number in numbers]

    def create(connection: Connection, freed: Freed) -> None:
        if functions.get_function(connection, key) is not None:
            raise conflict(f"Function already exist: {new.ref.name}")
        need_room(connection, key, archive.code.size * len(versions))
        functions.put_function(connection, Function(*key, 1 if "1" in published else 0, None, new.tags))
        if new.signing:
            signing.check(connection, new.ref, new.signing)
            settings.put(connection, key, "code-signing", new.signing)
        code_store.keep(connection, archive.code, archive.blob_id, freed)
        for version in versions:
            functions.put_version(connection, version, freed)

    def prepare(_: None) -> None:
        for version in versions:
            state.prepare(key, version.version)

    await state.write(key, create, prepare)
    return versions


async def get_function(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))

    def read(connection: Connection) -> tuple[Function, Version, str | None]:
        version = find_version(connection, ref)
        function = need_function(connection, ref, named=ref.qualified_arn)
        return function, version, code_store.blob_of(connection, version.body.code)

    function, version, blob_id = await state.read(read)
    answer: Result = {
        "Configuration": configuration.show(version, suffix=ref.qualifier),
        "Code": {"RepositoryType": "S3", "Location": state.links.url(ctx.endpoint, blob_id or "")},
    }
    if configuration.SOURCE_KEY in version.body.config:
        answer["Code"][configuration.SOURCE_KEY] = version.body.config[configuration.SOURCE_KEY]
    if function.tags:
        answer["Tags"] = dict(function.tags)
    if function.reserved_concurrency is not None and ref.qualifier in ("", LATEST):
        answer["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved_concurrency}
    return answer


async def get_function_configuration(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))
    version = await state.read(lambda connection: find_version(connection, ref))
    return configuration.show(version, suffix=ref.qualifier)


def find_version(connection: Connection, ref: FunctionRef) -> Version:
    """The version that a reference means, through an alias too."""
    number = ref.qualifier or LATEST
    if is_alias(number):
        alias = attachments.get_alias(connection, ref.key, number)
        number = alias.version if alias is not None else ""
    version = functions.get_version(connection, ref.key, number) if is_version(number) or number == LATEST else None
    if version is None:
        raise function_not_found(ref.qualified_arn)
    return version


async def delete_function(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))
    qualifier = ref.qualifier
    if qualifier == LATEST:
        raise invalid("$LATEST version cannot be deleted without deleting the function.")
    if is_alias(qualifier) and not qualifier.startswith("$"):
        raise invalid("Deletion of aliases is not currently supported.")

    def delete(connection: Connection, freed: Freed) -> None:
        need_function(connection, ref)
        if not qualifier:
            functions.delete_function(connection, ref.key, freed)
            return
        if not is_version(qualifier):
            raise function_not_found(ref.qualified_arn)
        pointing = attachments.aliases_of_version(connection, ref.key, qualifier)
        if pointing:
            names = ", ".join(alias.alias for alias in pointing)
            raise conflict("Unable to delete version because the following aliases reference it: [" + names + "]")
        functions.delete_version(connection, ref.key, qualifier, freed)

    def retire(_: None) -> None:
        if qualifier:
            state.engine.retire(ref.arn, qualifier)
        else:
            state.engine.forget(ref.account_id, ref.region, ref.arn)

    await state.write(ref.key, delete, retire)
    return {"StatusCode": 204}


async def list_functions(state: State, ctx: Context, params: Params) -> Result:
    limit = min(params.get("MaxItems", _PAGE), _PAGE)
    if "MasterRegion" in params and params["MasterRegion"] not in ("ALL", ctx.region):
        return {"Functions": []}
    everything = params.get("FunctionVersion") == "ALL"
    after = paging.decode(params.get("Marker"), ("", -1))
    found = await state.read(
        lambda connection: functions.list_account(
            connection, ctx.account_id, ctx.region, (after[0], after[1]), limit + 1, all_versions=everything
        )
    )
    items, token = paging.page(found, limit, lambda version: (version.name, functions.number_of(version.version)))
    shown = [
        configuration.show(version, suffix=version.version if everything else "", listed=True) for version in items
    ]
    return {"Functions": shown, **({"NextMarker": token} if token else {})}
