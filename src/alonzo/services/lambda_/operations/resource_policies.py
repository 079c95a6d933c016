"""Resource policies put, shown and deleted whole, by the ARN of what they are on.

They are the policies that AddPermission adds statements to; only here they may deny, name several principals or
actions, and have any condition.

Source: https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from sqlalchemy import Connection

from alonzo.core.context import Context
from alonzo.core.policy.document import MalformedPolicy, load, strings
from alonzo.core.policy.validate import check_resource
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import errors, policies
from alonzo.services.lambda_.errors import invalid, not_found
from alonzo.services.lambda_.models import LATEST
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.state import State, need_function
from alonzo.services.lambda_.store import attachments
from alonzo.services.lambda_.store.code import Freed

_FUNCTION = ":function:"
#: As the model allows it for AddPermission, and with wildcards inside.
_ACTION = re.compile(r"lambda:[a-zA-Z*?]+|\*", re.IGNORECASE)


async def put_resource_policy(state: State, ctx: Context, params: Params) -> Result:
    ref = _resource(ctx, params)
    if ref.qualifier == LATEST:
        raise invalid("We currently do not support adding policies for $LATEST.")
    document = _document(params["Policy"])

    def put(connection: Connection, freed: Freed) -> str:
        _check(connection, ref, params)
        return policies.replace(connection, state, ref, document)

    revision_id = await state.write(ref.key, put)
    return {"Policy": orjson.dumps(document).decode(), "RevisionId": revision_id}


async def get_resource_policy(state: State, ctx: Context, params: Params) -> Result:
    ref = _resource(ctx, params)

    def read(connection: Connection) -> tuple[str, str]:
        need_function(connection, ref)
        revision_id = policies.revision(connection, ref)
        document = attachments.policy_text(attachments.get_policy(connection, ref.key, ref.qualifier))
        if document is None:
            raise not_found(policies.NONE_SHOWN)
        return document, revision_id

    document, revision_id = await state.read(read)
    return {"Policy": document, "RevisionId": revision_id}


async def delete_resource_policy(state: State, ctx: Context, params: Params) -> Result:
    ref = _resource(ctx, params)

    def remove(connection: Connection, freed: Freed) -> None:
        _check(connection, ref, params)
        if attachments.get_policy(connection, ref.key, ref.qualifier) is None:
            raise not_found(policies.NONE_TO_CHANGE)
        policies.replace(connection, state, ref, None)

    await state.write(ref.key, remove)
    return {}


def _resource(ctx: Context, params: Params) -> FunctionRef:
    resource: str = params["ResourceArn"]
    if _FUNCTION not in resource:
        # A runtime of one's own: there are none.
        raise not_found(policies.NONE_SHOWN)
    return function_ref(ctx, resource)


def _check(connection: Connection, ref: FunctionRef, params: Params) -> None:
    need_function(connection, ref)
    if params.get("RevisionId") not in (None, policies.revision(connection, ref)):
        raise errors.stale(errors.STALE_RESOURCE_POLICY)


def _document(text: str) -> dict[str, Any]:
    """The policy, checked. Raises InvalidParameterValueException with what IAM says of it."""
    try:
        check_resource(text)
        document = load(text)
        for statement in attachments.statements_of(document):
            for action in strings(statement.get("Action", statement.get("NotAction"))):
                if _ACTION.fullmatch(action) is None:
                    raise MalformedPolicy(f"{action} is not an action of Lambda.")
    except MalformedPolicy as error:
        raise invalid(f"The policy cannot be put: {error}") from None
    return document
