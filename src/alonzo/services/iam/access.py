"""Which permission each operation needs.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alonzo.core.context import Context
from alonzo.dispatch import Access, AccessOf, Params
from alonzo.services.iam import store
from alonzo.services.iam.models import Kind
from alonzo.services.iam.state import State

#: Operations on everything of an account, which policies allow with the resource `*`.
_WHOLE = frozenset({"ListPolicies", "SimulateCustomPolicy", "GetAccountAuthorizationDetails"})
_NAMES: tuple[tuple[str, Kind], ...] = (("GroupName", "group"), ("RoleName", "role"), ("UserName", "user"))
_LISTS = {"ListUsers": "user", "ListRoles": "role", "ListGroups": "group"}


def access_of(state: State) -> AccessOf:
    async def access(ctx: Context, operation: str, params: Params) -> Sequence[Access]:
        # AWS's own policies are readable as if they were the account's.
        resource = _resource(state, ctx, operation, params)
        return [Access(f"iam:{operation}", resource, ctx.account_id, None, _conditions(operation, params))]

    return access


def _resource(state: State, ctx: Context, operation: str, params: Params) -> str:
    if operation in _WHOLE:
        return "*"
    base = f"arn:aws:iam::{ctx.account_id}:"
    if operation in _LISTS:
        return f"{base}{_LISTS[operation]}{params.get('PathPrefix', '/')}"
    if operation == "SimulatePrincipalPolicy":
        return str(params["PolicySourceArn"])
    for parameter, kind in _NAMES:
        if parameter in params:
            return _entity_arn(state, ctx, kind, params[parameter], params.get("Path", "/"))
    if "PolicyArn" in params:
        return str(params["PolicyArn"])
    if operation == "CreatePolicy":
        return f"{base}policy{params.get('Path', '/')}{params['PolicyName']}"
    return ctx.principal.arn if ctx.principal.kind in ("user", "root") else f"{base}user/*"


def _entity_arn(state: State, ctx: Context, kind: Kind, name: str, path: str) -> str:
    found = state.parts.db.read_nowait(lambda c: store.find(c, ctx.account_id, kind, name))
    return found.arn if found is not None else f"arn:aws:iam::{ctx.account_id}:{kind}{path}{name}"


def _conditions(operation: str, params: Params) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if operation.startswith(("Attach", "Detach")):
        found["iam:PolicyARN"] = params["PolicyArn"]
    if "PermissionsBoundary" in params:
        found["iam:PermissionsBoundary"] = params["PermissionsBoundary"]
    for tag in params.get("Tags", ()):
        found[f"aws:RequestTag/{tag['Key']}"] = tag["Value"]
    keys = [tag["Key"] for tag in params.get("Tags", ())] or params.get("TagKeys", [])
    if keys:
        found["aws:TagKeys"] = keys
    return found
