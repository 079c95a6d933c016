"""Resource policies of functions, versions and aliases."""

from __future__ import annotations

import re
from typing import Any

import orjson
from sqlalchemy import Connection

from alonzo.core.arn import arn
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.lambda_ import errors
from alonzo.services.lambda_.errors import conflict, function_not_found, invalid, not_found
from alonzo.services.lambda_.models import LATEST, MAX_POLICY, Alias
from alonzo.services.lambda_.names import FunctionRef, function_ref, is_alias
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
        revision_id = _revision(connection, ref)
        statement = _statement(ref, params)
        if params.get("RevisionId") not in (None, revision_id):
            raise errors.stale(errors.STALE_POLICY)
        statements = attachments.get_policy(connection, ref.key, ref.qualifier)
        if any(one["Sid"] == statement["Sid"] for one in statements):
            raise conflict(
                f"The statement id ({statement['Sid']}) provided already exists. Please provide a new statement id, or"
                " remove the existing statement."
            )
        _put(connection, state, ref, [*statements, statement])
        return statement

    return {"Statement": orjson.dumps(await state.write(ref.key, add)).decode()}


async def get_policy(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))

    def read(connection: Connection) -> tuple[str, str]:
        document = attachments.policy_document(attachments.get_policy(connection, ref.key, ref.qualifier))
        if document is None:
            raise not_found("The resource you requested does not exist.")
        return document, _revision(connection, ref)

    document, revision_id = await state.read(read)
    return {"Policy": document, "RevisionId": revision_id}


async def remove_permission(state: State, ctx: Context, params: Params) -> Result:
    ref = function_ref(ctx, params["FunctionName"], params.get("Qualifier"))
    sid = params["StatementId"]

    def remove(connection: Connection, freed: Freed) -> None:
        if functions.get_function(connection, ref.key) is None:
            raise not_found(f"No policy found for: {ref.qualified_arn}")
        revision_id = _revision(connection, ref)
        statements = attachments.get_policy(connection, ref.key, ref.qualifier)
        if not statements:
            raise not_found("No policy is associated with the given resource.")
        if params.get("RevisionId") not in (None, revision_id):
            raise errors.stale(errors.STALE_FUNCTION)
        kept = [one for one in statements if one["Sid"] != sid]
        if len(kept) == len(statements):
            raise not_found(f"Statement {sid} is not found in resource policy.")
        _put(connection, state, ref, kept)

    await state.write(ref.key, remove)
    return {}


def _alias(connection: Connection, ref: FunctionRef) -> Alias:
    found = attachments.get_alias(connection, ref.key, ref.qualifier)
    if found is None:
        # AWS tells a name that could be an alias from one that could not.
        if "$" in ref.qualifier:
            raise function_not_found(ref.qualified_arn)
        raise not_found(f"Cannot find alias arn: {ref.qualified_arn}")
    return found


def _revision(connection: Connection, ref: FunctionRef) -> str:
    """The revision of what the policy hangs on: they are the same."""
    if is_alias(ref.qualifier):
        return _alias(connection, ref).revision_id
    version = functions.get_version(connection, ref.key, ref.qualifier or LATEST)
    if version is None:
        raise function_not_found(ref.qualified_arn)
    return version.revision_id


def _put(connection: Connection, state: State, ref: FunctionRef, statements: list[Any]) -> None:
    document = attachments.policy_document(statements) or ""
    if len(document) > MAX_POLICY:
        raise ServiceError(
            "PolicyLengthExceededException",
            f"The final policy size ({len(document)}) is bigger than the limit ({MAX_POLICY}).",
            fields={"Type": "User"},
        )
    attachments.put_policy(connection, ref.key, ref.qualifier, statements)
    if is_alias(ref.qualifier):
        attachments.touch_alias(connection, ref.key, ref.qualifier, state.new_id())
    else:
        functions.touch(connection, ref.key, ref.qualifier or LATEST, state.new_id())


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
