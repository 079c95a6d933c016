"""Provisioned concurrency of versions and aliases. The errors are recorded on AWS."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import paging
from alonzo.services.lambda_.errors import conflict, function_not_found, invalid, not_found, untyped
from alonzo.services.lambda_.models import LATEST, MIN_UNRESERVED, Function
from alonzo.services.lambda_.names import FunctionRef, function_ref, is_alias
from alonzo.services.lambda_.provisioning import refuse_snap_start
from alonzo.services.lambda_.state import State, need_function
from alonzo.services.lambda_.store import attachments, functions, provisioned
from alonzo.services.lambda_.store.code import Freed
from alonzo.services.lambda_.store.provisioned import Config

_PAGE = 50
_UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."


async def put_provisioned_concurrency_config(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params["Qualifier"])
    requested = params["ProvisionedConcurrentExecutions"]
    if ref.qualifier == LATEST:
        raise invalid(_UNPUBLISHED)

    def put(connection: Connection, freed: Freed) -> Config:
        version = _version_of(connection, ref)
        if version == LATEST:
            raise invalid(_UNPUBLISHED)
        found = functions.get_version(connection, ref.key, version)
        if found is not None and "TenancyConfig" in found.body.config:
            raise invalid("Provisioned concurrency is not supported for functions with tenant isolation.")
        refuse_snap_start(connection, ref.key, provisioned.versions_of(connection, ref.key, ref.qualifier))
        function = need_function(connection, ref)
        others = [
            config for config in provisioned.of_function(connection, ref.key) if config.qualifier != ref.qualifier
        ]
        _check_conflict(ref, version, others)
        _check_room(state, connection, function, requested, sum(config.requested for config in others))
        provisioned.put(connection, Config(*ref.key, ref.qualifier, requested, state.now()))
        return Config(*ref.key, ref.qualifier, requested, state.now())

    state.provisioning(ref.key)
    config = await state.write(ref.key, put)
    # As on AWS: the answer never shows what is there already.
    return _show(config, 0, 0, "IN_PROGRESS", "")


async def get_provisioned_concurrency_config(state: State, ctx: Context, params: Params) -> Result:
    ref = _need_published(function_ref(ctx, params["FunctionName"], params["Qualifier"]))

    def read(connection: Connection) -> list[Config]:
        _version_of(connection, ref)
        return provisioned.of_function(connection, ref.key)

    configs = await state.read(read)
    config = next((config for config in configs if config.qualifier == ref.qualifier), None)
    if config is None:
        raise ServiceError(
            "ProvisionedConcurrencyConfigNotFoundException",
            "No Provisioned Concurrency Config found for this function",
            status=404,
            fields={"Type": "User"},
        )
    return _present(state, config, _versions(configs))


async def delete_provisioned_concurrency_config(state: State, ctx: Context, params: Params) -> Result:
    ref = _need_published(function_ref(ctx, params["FunctionName"], params["Qualifier"]))

    def delete(connection: Connection, freed: Freed) -> None:
        _version_of(connection, ref)
        provisioned.remove(connection, ref.key, ref.qualifier)

    await state.write(ref.key, delete)
    return {}


async def list_provisioned_concurrency_configs(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"])
    limit = min(params.get("MaxItems", _PAGE), _PAGE)
    (after,) = paging.decode(params.get("Marker"), ("",))

    def read(connection: Connection) -> tuple[list[Config], list[Config]]:
        need_function(connection, FunctionRef(*ref.key))
        found = provisioned.page(connection, ref.key, after, limit + 1)
        return found, provisioned.of_function(connection, ref.key)

    found, configs = await state.read(read)
    items, token = paging.page(found, limit, lambda config: (config.qualifier,))
    kept = _versions(configs)
    shown = [
        {"FunctionArn": FunctionRef(*config.key, config.qualifier).qualified_arn, **_present(state, config, kept)}
        for config in items
    ]
    return {"ProvisionedConcurrencyConfigs": shown, **({"NextMarker": token} if token else {})}


def _need_published(ref: FunctionRef) -> FunctionRef:
    if ref.qualifier == LATEST:
        raise invalid("The function resource provided must be an alias or a published version.")
    return ref


def _version_of(connection: Connection, ref: FunctionRef) -> str:
    """The version's number. Raises the errors of a version or alias that does not exist."""
    if is_alias(ref.qualifier):
        alias = attachments.get_alias(connection, ref.key, ref.qualifier)
        if alias is None:
            raise not_found(f"Cannot find alias arn: {ref.qualified_arn}")
        return alias.version
    version = functions.get_version(connection, ref.key, ref.qualifier)
    if version is None:
        raise function_not_found(ref.qualified_arn)
    return version.version


def _check_conflict(ref: FunctionRef, version: str, others: list[Config]) -> None:
    if version not in {number for config in others for number, _ in config.shares}:
        return
    if is_alias(ref.qualifier):
        raise conflict(
            "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
        )
    raise conflict("Version is pointed by a Provisioned Concurrency alias")


def _check_room(state: State, connection: Connection, function: Function, requested: int, others: int) -> None:
    reserved = function.reserved_concurrency
    if reserved is not None:
        if requested + others > reserved:
            raise invalid(
                "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for"
                " function"
            )
        return
    where = (function.account_id, function.region)
    taken = functions.reserved_total(connection, *where)
    taken += provisioned.pooled_total(connection, *where, but=function.name) + others
    unreserved = state.parts.settings.account_concurrency - taken
    if requested > unreserved:
        raise untyped(
            f"Specified ConcurrentExecutions for function is greater than account's unreserved concurrency"
            f" [{unreserved}].",
        )
    if unreserved - requested < MIN_UNRESERVED:
        raise untyped(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its"
            f" minimum value of [{MIN_UNRESERVED}].",
        )


def _versions(configs: Iterable[Config]) -> set[str]:
    return {number for config in configs for number, _ in config.shares}


def _present(state: State, config: Config, kept: Collection[str]) -> Result:
    """The configuration with what the engine has made of it so far. Where an alias was moved, its environments are
    those of the version before (of none of `kept`, which all configurations name) until the new one's are there."""
    arn = FunctionRef(*config.key).arn
    found = [state.engine.provisioned(arn, version) for version, _ in config.shares]
    states = [each for each in found if each is not None]
    allocated = min(config.requested, sum(each.allocated for each in states))
    available = min(allocated, sum(each.available for each in states))
    reason = next((each.reason for each in states if each.reason), "")
    if reason:
        return _show(config, allocated, available, "FAILED", reason)
    if allocated >= config.requested:
        return _show(config, allocated, available, "READY", "")
    before, free = state.engine.leaving(arn, kept)
    allocated, available = min(config.requested, allocated + before), min(config.requested, available + free)
    return _show(config, allocated, available, "IN_PROGRESS", "")


def _show(config: Config, allocated: int, available: int, status: str, reason: str) -> Result:
    shown: Result = {
        "RequestedProvisionedConcurrentExecutions": config.requested,
        "AllocatedProvisionedConcurrentExecutions": allocated,
        "AvailableProvisionedConcurrentExecutions": available,
        "Status": status,
        "LastModified": datetime.fromtimestamp(config.modified, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000"),
    }
    if reason:
        shown["StatusReason"] = reason
    return shown
