"""When a version gets another build of its runtime.

Alonzo has one build of each runtime, prepared with the version that needs it, so Auto and FunctionUpdate come to the
same, and Manual takes only the build that is there.
Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-update.html
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import configuration
from alonzo.services.lambda_.errors import function_not_found, invalid
from alonzo.services.lambda_.models import LATEST, Version
from alonzo.services.lambda_.names import FunctionRef, function_ref, is_version
from alonzo.services.lambda_.state import State, need_function
from alonzo.services.lambda_.store import functions, settings
from alonzo.services.lambda_.store.code import Freed


async def put_runtime_management_config(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))
    mode, wanted = params["UpdateRuntimeOn"], params.get("RuntimeVersionArn")
    if mode == "Manual" and not wanted:
        raise invalid("RuntimeVersionArn is required when UpdateRuntimeOn is Manual.")
    if mode != "Manual" and wanted:
        raise invalid(f"RuntimeVersionArn can only be set when UpdateRuntimeOn is Manual, not {mode}.")
    value = {"UpdateRuntimeOn": mode, "RuntimeVersionArn": wanted}

    def put(connection: Connection, freed: Freed) -> None:
        version = _version(connection, ref)
        present = _present(version)
        if wanted not in (None, present):
            raise invalid(
                f"The runtime version {wanted} is not available. There is one build of this runtime here:"
                f" {present or 'it is not ready yet'}."
            )
        settings.put(connection, ref.key, "runtime", value, _row(ref))

    await state.write(ref.key, put)
    return _show(ref, value)


async def get_runtime_management_config(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))

    def read(connection: Connection) -> dict[str, Any]:
        _version(connection, ref)
        return settings.get(connection, ref.key, "runtime", _row(ref)) or {"UpdateRuntimeOn": "Auto"}

    return _show(ref, await state.read(read))


def _version(connection: Connection, ref: FunctionRef) -> Version:
    need_function(connection, ref)
    number = ref.qualifier or LATEST
    if number != LATEST and not is_version(number):
        raise invalid("Runtime management is configured for $LATEST and for published versions, not for aliases.")
    version = functions.get_version(connection, ref.key, number)
    if version is None:
        raise function_not_found(ref.qualified_arn)
    return version


def _present(version: Version) -> str:
    found: str = version.body.config.get(configuration.RUNTIME_VERSION, "")
    return found


def _row(ref: FunctionRef) -> str:
    return "" if ref.qualifier == LATEST else ref.qualifier


def _show(ref: FunctionRef, value: dict[str, Any]) -> Result:
    shown = {"UpdateRuntimeOn": value["UpdateRuntimeOn"], "FunctionArn": ref.qualified_arn}
    if value.get("RuntimeVersionArn"):
        shown["RuntimeVersionArn"] = value["RuntimeVersionArn"]
    return shown
