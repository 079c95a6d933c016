"""Resource policies of functions, versions and aliases, statement by statement."""

from __future__ import annotations

import re
from typing import Any

import orjson
from sqlalchemy import Connection

from alonzo.core.arn import arn
from alonzo.core.context import Context
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import errors, policies
from alonzo.services.lambda_.errors import conflict, invalid, not_found
from alonzo.services.lambda_.models import LATEST
from alonzo.services.lambda_.names import FunctionRef, function_ref
from alonzo.services.lambda_.state import State, need_function
from alonzo.services.lambda_.store import attachments, functions
from alonzo.services.lambda_.store.code import Freed

_ACCOUNT = re.compile(r"\d{12}")
_SERVICE = re.compile(r"[a-z0-9.-]+\.(amazonaws\.com(\.cn)?|amazon\.com)")
_PRINCIPAL_ARN = re.compile(r"arn:aws[a-zA-Z-]*:(iam|sts)::\d{12}:.+")

Statement = dict[str, Any]


async def add_permission(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))
    if ref.qualifier == LATEST:
        raise invalid("We currently do not support adding policies for $LATEST.")

    def add(connection: Connection, freed: Freed) -> Statement:
        need_function(connection, ref)
        revision_id = policies.revision(connection, ref)
        statement = _statement(ref, params)
        if params.get("RevisionId") not in (None, revision_id):
            raise errors.stale(errors.STALE_POLICY)
        policy = attachments.get_policy(connection, ref.key, ref.qualifier)
        statements = attachments.statements_of(policy)
        if any(one.get("Sid") == statement["Sid"] for one in statements):
            raise conflict(
                f"The statement id ({statement['Sid']}) provided already exists. Please provide a new statement id, or"
                " remove the existing statement."
            )
        policies.replace(connection, state, ref, attachments.with_statements(policy, [*statements, statement]))
        return statement

    return {"Statement": orjson.dumps(await state.write(ref.key, add)).decode()}


async def get_policy(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))

    def read(connection: Connection) -> tuple[str, str]:
        document = attachments.policy_text(attachments.get_policy(connection, ref.key, ref.qualifier))
        if document is None:
            raise not_found(policies.NONE_SHOWN)
        return document, policies.revision(connection, ref)

    document, revision_id = await state.read(read)
    return {"Policy": document, "RevisionId": revision_id}


async def remove_permission(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))
    sid = params["StatementId"]

    def remove(connection: Connection, freed: Freed) -> None:
        if functions.get_function(connection, ref.key) is None:
            raise not_found(f"No policy found for: {ref.qualified_arn}")
        revision_id = policies.revision(connection, ref)
        policy = attachments.get_policy(connection, ref.key, ref.qualifier)
        if policy is None:
            raise not_found(policies.NONE_TO_CHANGE)
        if params.get("RevisionId") not in (None, revision_id):
            raise errors.stale(errors.STALE_FUNCTION)
        statements = attachments.statements_of(policy)
        kept = [one for one in statements if one.get("Sid") != sid]
        if len(kept) == len(statements):
            raise not_found(f"Statement {sid} is not found in resource policy.")
        policies.replace(connection, state, ref, attachments.with_statements(policy, kept) if kept else None)

    await state.write(ref.key, remove)
    return {}


def _statement(ref: FunctionRef, params: Params) -> Statement:
    """The statement that AWS makes of the parameters."""
    equals: dict[str, str] = {}
    for key, member in (
        ("AWS:SourceAccount", "SourceAccount"),
        ("lambda:EventSourceToken", "EventSourceToken"),
        ("lambda:FunctionUrlAuthType", "FunctionUrlAuthType"),
        ("aws:PrincipalOrgID", "PrincipalOrgID"),
    ):
        if params.get(member):
            equals[key] = params[member]
    condition: dict[str, dict[str, str]] = {}
    if equals:
        condition["StringEquals"] = equals
    if params.get("SourceArn"):
        condition["ArnLike"] = {"AWS:SourceArn": params["SourceArn"]}
    if "InvokedViaFunctionUrl" in params:
        condition["Bool"] = {"lambda:InvokedViaFunctionUrl": "true" if params["InvokedViaFunctionUrl"] else "false"}
    statement: Statement = {
        "Sid": params["StatementId"],
        "Effect": "Allow",
        "Principal": _principal(params["Principal"]),
        "Action": params["Action"],
        "Resource": ref.qualified_arn,
    }
    if condition:
        statement["Condition"] = condition
    return statement


def _principal(principal: str) -> str | dict[str, str]:
    if principal == "*":
        return "*"
    if _ACCOUNT.fullmatch(principal):
        return {"AWS": arn("iam", "", principal, "root")}
    if _PRINCIPAL_ARN.fullmatch(principal):
        return {"AWS": principal}
    if _SERVICE.fullmatch(principal):
        return {"Service": principal}
    raise invalid("The provided principal was invalid. Please check the principal and try again.")
