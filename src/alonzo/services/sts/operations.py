"""STS's operations.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html and _GetSessionToken.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from alonzo.core.context import Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.core.identity import RoleView, account_in_key
from alonzo.core.policy import MalformedPolicy, check_identity
from alonzo.dispatch import Params, Result
from alonzo.services.sts.sessions import Issued
from alonzo.services.sts.state import State

#: A session of a role by a session of a role lives an hour at most.
CHAINED_S = 3600
SESSION_TOKEN_S = 43200
ROOT_SESSION_TOKEN_S = 3600
#: Inline session policies and tags together, as AWS packs them.
PACKED = 2048
MAX_POLICY = 2048
MAX_POLICY_ARNS = 10


async def assume_role(state: State, ctx: Context, params: Params) -> Result:
    """The trust policy has allowed it already (`access`)."""
    role = state.identities.role(params["RoleArn"])
    if role is None:
        who = ctx.principal.arn
        message = f"User: {who} is not authorized to perform: sts:AssumeRole on resource: {params['RoleArn']}"
        raise ServiceError("AccessDenied", message, status=403)
    _refuse(params, "SourceIdentity", "TransitiveTagKeys", "ProvidedContexts", "SerialNumber", "TokenCode")
    _refuse(params, "MinimumSessionTokenSize")
    duration = _duration(ctx.principal, role, params)
    session, now = params["RoleSessionName"], state.parts.clock.now()
    principal = Principal(
        "role",
        role.account_id,
        f"arn:aws:sts::{role.account_id}:assumed-role/{role.name}/{session}",
        f"{role.role_id}:{session}",
        role_arn=role.arn,
        session_policies=_session_policies(state, params),
        name=session,
        tags=_tags(params),
        issued_at=now,
    )
    issued = state.sessions.issue(principal, float(int(now + duration)))
    if issued.packed_bytes > PACKED:
        percent = 100 * issued.packed_bytes // PACKED
        message = f"Packed policy consumes {percent}% of allotted space, please use smaller policy."
        raise ServiceError("PackedPolicyTooLarge", message)
    result: Result = {
        "Credentials": _credentials(issued),
        "AssumedRoleUser": {"AssumedRoleId": principal.user_id, "Arn": principal.arn},
    }
    if issued.packed_bytes:
        result["PackedPolicySize"] = max(1, 100 * issued.packed_bytes // PACKED)
    return result


def _duration(caller: Principal, role: RoleView, params: Params) -> int:
    asked = int(params.get("DurationSeconds", 3600))
    if asked > role.max_session_duration_s:
        message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise ServiceError("ValidationError", message)
    if caller.kind == "role" and asked > CHAINED_S:
        message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        raise ServiceError("ValidationError", message)
    return asked


def _session_policies(state: State, params: Params) -> tuple[str, ...]:
    """Inline document first, then managed ones as they are now. Together they bound the session: any may allow."""
    documents: list[str] = []
    inline = params.get("Policy")
    if inline is not None:
        if len(inline) > MAX_POLICY:
            percent = 100 * len(inline) // MAX_POLICY
            message = f"Packed policy consumes {percent}% of allotted space, please use smaller policy."
            raise ServiceError("PackedPolicyTooLarge", message)
        try:
            check_identity(inline)
        except MalformedPolicy as error:
            raise ServiceError("MalformedPolicyDocument", str(error)) from None
        documents.append(inline)
    arns = [one["arn"] for one in params.get("PolicyArns", ())]
    if len(arns) > MAX_POLICY_ARNS:
        raise ServiceError("ValidationError", f"More than {MAX_POLICY_ARNS} PolicyArns.")
    for arn in arns:
        document = state.identities.managed_policy(arn)
        if document is None:
            message = f"PolicyArns contains a policy that does not exist or is not attachable: {arn}"
            raise ServiceError("MalformedPolicyDocument", message)
        documents.append(document)
    return tuple(documents)


def _tags(params: Params) -> tuple[tuple[str, str], ...]:
    tags = tuple((tag["Key"], tag["Value"]) for tag in params.get("Tags", ()))
    if len({key.lower() for key, _ in tags}) != len(tags):
        message = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
        raise ServiceError("InvalidParameterValue", message)
    return tags


async def get_session_token(state: State, ctx: Context, params: Params) -> Result:
    caller = ctx.principal
    if caller.kind not in ("user", "root") or caller.issued_at:
        raise ServiceError("AccessDenied", "Cannot call GetSessionToken with session credentials", status=403)
    _refuse(params, "SerialNumber", "TokenCode", "MinimumSessionTokenSize")
    limit = ROOT_SESSION_TOKEN_S if caller.kind == "root" else 129600
    duration = min(int(params.get("DurationSeconds", SESSION_TOKEN_S)), limit)
    now = state.parts.clock.now()
    principal = Principal(caller.kind, caller.account_id, caller.arn, caller.user_id, name=caller.name, issued_at=now)
    return {"Credentials": _credentials(state.sessions.issue(principal, float(int(now + duration))))}


async def get_caller_identity(state: State, ctx: Context, params: Params) -> Result:
    who = ctx.principal
    return {"UserId": who.user_id or who.account_id, "Account": who.account_id, "Arn": who.arn}


async def get_access_key_info(state: State, ctx: Context, params: Params) -> Result:
    key_id = params["AccessKeyId"]
    account = state.identities.account_of_key(key_id) or account_in_key(key_id)
    if account is None:
        raise ServiceError("ValidationError", f"The Access Key with id {key_id} cannot be found.")
    return {"Account": account}


def _refuse(params: Params, *names: str) -> None:
    """What would be ignored is refused: a session must not be less bound than its maker believes."""
    for name in names:
        if params.get(name):
            raise ServiceError("ValidationError", f"Alonzo does not implement the parameter {name} yet.")


def _credentials(issued: Issued) -> dict[str, Any]:
    return {
        "AccessKeyId": issued.access_key_id,
        "SecretAccessKey": issued.secret,
        "SessionToken": issued.session_token,
        "Expiration": datetime.fromtimestamp(issued.expires_at, UTC),
    }
