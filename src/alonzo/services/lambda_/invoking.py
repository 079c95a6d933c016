"""What every way to invoke a function checks first, and how it refuses."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import Any

import orjson

from alonzo.core import tracing
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.core.streams import BodyTooLarge
from alonzo.dispatch import Params
from alonzo.engine.function import FunctionVersion
from alonzo.services.lambda_.errors import conflict, invalid
from alonzo.services.lambda_.json_errors import explain
from alonzo.services.lambda_.models import MAX_ASYNC_PAYLOAD, MAX_CLIENT_CONTEXT, MAX_SYNC_PAYLOAD
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.targets import Target


def enter_chain(state: State, ctx: Context, target: Target) -> str:
    """The trace header for the function. Raises RecursiveInvocationException where the chain has gone round too often.

    Of events that is found out when they are run: see the engine.
    """
    header, before = tracing.enter(ctx.trace_header, target.mark, state.parts.ids, state.now())
    if before >= tracing.MAX_LOOPS and not target.version.loops_allowed:
        raise ServiceError("RecursiveInvocationException", tracing.STOPPED, fields={"Type": "User"})
    return header


def not_ready(state: State, target: Target) -> ServiceError:
    if target.retry:
        # The runtime may have been installed meanwhile; the next invocation finds out.
        state.prepare(target.ref.key, target.version.version)
    if target.version.snap_start and target.obstacle.endswith(" Pending"):
        return ServiceError(
            "SnapStartNotReadyException",
            "Lambda is initializing your function. You can invoke the function when the function state becomes Active.",
            status=409,
            fields={"Type": "User"},
        )
    return conflict(target.obstacle)


async def read_payload(body: Any, *, event: bool = False) -> bytes:
    """The payload: JSON, or nothing. At most MAX_SYNC_PAYLOAD bytes, of an `event` MAX_ASYNC_PAYLOAD."""
    if not isinstance(body, bytes):
        length = body.length
        if length is not None and length > MAX_SYNC_PAYLOAD:
            raise too_large()
        try:
            body = await body.read(MAX_SYNC_PAYLOAD)
        except BodyTooLarge:
            raise too_large() from None
    elif len(body) > MAX_SYNC_PAYLOAD:
        raise too_large()
    if event and len(body) > MAX_ASYNC_PAYLOAD:
        raise _refused_size(
            f"{len(body)} byte payload is too large for the Event invocation type (limit {MAX_ASYNC_PAYLOAD} bytes)"
        )
    if body:
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError:
            raise _not_json(body) from None
    return bytes(body)


def _not_json(body: bytes) -> ServiceError:
    return ServiceError(
        "InvalidRequestContentException",
        f"Could not parse request body into json: Could not parse payload into json: {explain(body)}",
        fields={"Type": "User"},
    )


def too_large() -> ServiceError:
    return _refused_size(f"Request must be smaller than {MAX_SYNC_PAYLOAD} bytes for the InvokeFunction operation")


def _refused_size(message: str) -> ServiceError:
    """AWS says this code, though its model of Invoke has RequestTooLargeException."""
    return ServiceError("RequestEntityTooLargeException", message, status=413, fields={"Type": "User"})


def version_for(state: State, target: Target, params: Params) -> FunctionVersion:
    """The version for one invocation, with its tenant. Raises where a tenant is missing, or means nothing.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/tenant-isolation.html
    """
    tenant = params.get("TenantId", "")
    version = target.pick(state.parts.ids)
    if not version.tenant_isolation and not tenant:
        return version
    if not version.tenant_isolation:
        raise invalid(
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and"
            " try again."
        )
    if not tenant:
        raise invalid(
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and try"
            " again."
        )
    return replace(version, tenant=tenant)


def read_client_context(params: Params) -> str:
    """The decoded ClientContext ("" without one); refuses members that mean nothing here."""
    if params.get("DurableExecutionName"):
        raise invalid("Alonzo does not support durable executions yet. Leave DurableExecutionName out.")
    encoded = params.get("ClientContext")
    if not encoded:
        return ""
    if len(encoded) > MAX_CLIENT_CONTEXT:
        raise invalid(f"Client context must be smaller than {MAX_CLIENT_CONTEXT} bytes.")
    try:
        decoded = base64.b64decode(encoded, validate=True)
        orjson.loads(decoded)
    except (binascii.Error, orjson.JSONDecodeError):
        raise ServiceError(
            "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object."
        ) from None
    return decoded.decode()
