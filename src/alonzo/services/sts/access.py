"""Which permission each operation needs. AssumeRole is decided by the role's trust policy, its resource's policy."""

from __future__ import annotations

from collections.abc import Sequence

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Access, AccessOf, Params
from alonzo.services.sts.state import State

#: A trust policy that trusts nobody: whether a role exists is no stranger's business.
_NOBODY = '{"Statement":[]}'
#: Operations that every identity may call on itself.
_OPEN = frozenset({"GetCallerIdentity", "GetSessionToken"})


def access_of(state: State) -> AccessOf:
    async def access(ctx: Context, operation: str, params: Params) -> Sequence[Access]:
        if operation in _OPEN:
            if ctx.principal.kind == "anonymous":
                raise ServiceError("MissingAuthenticationToken", "Request is missing Authentication Token", status=403)
            return []
        if operation != "AssumeRole":
            return [Access(f"sts:{operation}", "*", ctx.account_id)]
        role = state.identities.role(params["RoleArn"])
        tags = {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
        conditions: dict[str, str | Sequence[str]] = {"sts:RoleSessionName": params["RoleSessionName"]}
        if "ExternalId" in params:
            conditions["sts:ExternalId"] = params["ExternalId"]
        for key, value in tags.items():
            conditions[f"aws:RequestTag/{key}"] = value
        if tags:
            conditions["aws:TagKeys"] = list(tags)
        if params.get("TransitiveTagKeys"):
            conditions["sts:TransitiveTagKeys"] = params["TransitiveTagKeys"]
        if role is not None:
            for key, value in role.tags:
                conditions[f"iam:ResourceTag/{key}"] = value
                conditions[f"aws:ResourceTag/{key}"] = value
        actions = ["sts:AssumeRole", *(["sts:TagSession"] if tags else [])]
        account = role.account_id if role is not None else ctx.account_id
        trust = role.trust_policy if role is not None else _NOBODY
        return [Access(action, params["RoleArn"], account, trust, conditions) for action in actions]

    return access
