"""What a function's execution role may do, asked before something is configured that needs it."""

from __future__ import annotations

from dataclasses import replace

from alonzo.core.arn import arn, parse_arn
from alonzo.core.context import Context, Principal
from alonzo.core.errors import NotImplementedOperation, ServiceError
from alonzo.dispatch import Params
from alonzo.services.lambda_.state import State


def as_role(ctx: Context, role_arn: str, function_name: str) -> Context:
    """The same request in the name of a function's execution role."""
    role = parse_arn(role_arn)
    name = role.resource.rpartition("/")[2]
    session = arn("sts", "", role.account_id, f"assumed-role/{name}/{function_name}")
    principal = Principal("role", role.account_id, session, role_arn=role_arn, name=name)
    return replace(ctx, principal=principal)


async def may_call(state: State, role: Context, service: str, operation: str, params: Params) -> bool:
    """Whether the role has every permission that an operation needs. Raises NotImplementedOperation."""
    found = state.parts.dispatcher.services.get(service)
    if found is None:
        raise NotImplementedOperation(service, operation)
    try:
        for access in await found.access(role, operation, params):
            await state.parts.dispatcher.authorize(role, access, denied_code=found.denied_code)
    except ServiceError as error:
        if error.status >= 500:
            raise
        return False
    return True
