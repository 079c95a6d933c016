"""The whole account at once, and what its policies would say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from alonzo.core.arn import parse_arn
from alonzo.core.context import Context, Principal
from alonzo.core.policy import Lookup, MalformedPolicy, Question, compile_policy, evaluate
from alonzo.dispatch import Params, Result
from alonzo.services.iam import errors, store, views
from alonzo.services.iam.models import Entity, Kind
from alonzo.services.iam.state import State, check_document, entity, paged, tag_list

_WORDS = {True: "explicitDeny", False: "implicitDeny"}
_FILTER: dict[str, Kind] = {"User": "user", "Role": "role", "Group": "group"}
_DETAIL = {"user": "UserDetailList", "role": "RoleDetailList", "group": "GroupDetailList"}
_INLINE = {"user": "UserPolicyList", "role": "RolePolicyList", "group": "GroupPolicyList"}
_UNSUPPORTED = (
    "ResourceOwner",
    "ResourceHandlingOption",
    "OrderedOrganizationPolicyInputList",
    "PolicyExclusionList",
    "CallerArn",
)
#: Simulated requests at once.
_MAX_SIMULATED = 1000


async def get_account_authorization_details(state: State, ctx: Context, params: Params) -> Result:
    """Every entity and customer-managed policy; a page counts entities and policies together, by ARN."""
    wanted = set(params.get("Filter", ())) or {"User", "Role", "Group", "LocalManagedPolicy"}

    def read(c: Connection) -> Result:
        items: list[tuple[str, str, dict[str, Any]]] = []
        for noun, kind in _FILTER.items():
            if noun in wanted:
                found = store.page(c, ctx.account_id, kind, "/", "", 10_000)
                items += [(one.arn, _DETAIL[kind], _detail(c, one)) for one in found]
        items += _policy_details(state, c, ctx, wanted)
        items.sort(key=lambda item: item[0].lower())
        shown = paged("Items", items, lambda item: item[0], lambda item: item[1:], params)
        page: Sequence[tuple[str, dict[str, Any]]] = shown.pop("Items")
        for member in (*_DETAIL.values(), "Policies"):
            shown[member] = [one for name, one in page if name == member]
        return shown

    return await state.parts.db.scan(read)


def _detail(c: Connection, one: Entity) -> dict[str, Any]:
    shown = views.full(one)
    if one.kind == "role":
        shown.pop("Description", None)
        shown.pop("MaxSessionDuration")
        shown["InstanceProfileList"] = []
        shown["RoleLastUsed"] = {}
    if one.kind == "user":
        shown["GroupList"] = [group.name for group in store.groups_of(c, one.account_id, one.name)]
    if one.kind != "group":
        shown["Tags"] = tag_list(one.tags)
    shown[_INLINE[one.kind]] = [
        {"PolicyName": name, "PolicyDocument": views.document(text)} for name, text in store.inline_of(c, one).items()
    ]
    shown["AttachedManagedPolicies"] = [views.attached_policy(arn) for arn in store.attached(c, one)]
    return shown


def _policy_details(
    state: State, c: Connection, ctx: Context, wanted: set[str]
) -> list[tuple[str, str, dict[str, Any]]]:
    attached = store.attachment_counts(c, ctx.account_id)
    boundaries = store.boundary_counts(c, ctx.account_id)
    found = store.all_policies(c, ctx.account_id) if "LocalManagedPolicy" in wanted else []
    if "AWSManagedPolicy" in wanted:
        found += state.aws.all()
    items: list[tuple[str, str, dict[str, Any]]] = []
    for one in found:
        own = state.aws.version(one.arn)
        all_versions = [own] if own is not None else store.versions_of(c, one)
        shown = views.policy(one, attached.get(one.arn, 0), boundaries.get(one.arn, 0), detail=False)
        shown["PolicyVersionList"] = [views.version(v, one.default, with_document=True) for v in all_versions]
        items.append((one.arn, "Policies", shown))
    return items


# -- simulation -------------------------------------------------------------------------------------------------------


async def simulate_custom_policy(state: State, ctx: Context, params: Params) -> Result:
    caller = params.get("CallerArn", f"arn:aws:iam::{ctx.account_id}:user/simulated")
    return _simulate(state, ctx, params, Principal("user", ctx.account_id, caller), params["PolicyInputList"])


async def simulate_principal_policy(state: State, ctx: Context, params: Params) -> Result:
    source = params["PolicySourceArn"]
    try:
        parts = parse_arn(source)
    except ValueError:
        raise errors.invalid(f"Invalid Entity Arn: {source} does not clearly define entity type and name.") from None
    kind = _FILTER.get(parts.resource.partition("/")[0].capitalize())
    if kind is None or parts.account_id != ctx.account_id:
        raise errors.invalid(f"Invalid Entity Arn: {source} does not clearly define entity type and name.")
    name = parts.resource.rpartition("/")[2]

    def read(c: Connection) -> tuple[Entity, list[str], str | None]:
        found = entity(c, ctx.account_id, kind, name)
        sources = [found, *(store.groups_of(c, ctx.account_id, found.name) if kind == "user" else ())]
        documents = [text for one in sources for text in store.inline_of(c, one).values()]
        arns = [arn for one in sources for arn in store.attached(c, one)]
        documents += [text for arn in arns if (text := state.identities.document(c, arn)) is not None]
        boundary = state.identities.document(c, found.boundary) if found.boundary else None
        return found, documents, boundary

    found, documents, boundary = await state.read(read)
    who = Principal("role" if kind == "role" else "user", ctx.account_id, found.arn, found.entity_id, name=found.name)
    if boundary is not None and "PermissionsBoundaryPolicyInputList" not in params:
        params = {**params, "PermissionsBoundaryPolicyInputList": [boundary]}
    return _simulate(state, ctx, params, who, [*documents, *params.get("PolicyInputList", ())])


def _simulate(state: State, ctx: Context, params: Params, who: Principal, documents: Sequence[str]) -> Result:
    given_up = [
        name for name in _UNSUPPORTED if name in params and (name != "CallerArn" or "PolicySourceArn" in params)
    ]
    if given_up:
        raise errors.invalid_input(f"Alonzo does not implement {', '.join(given_up)} yet.")
    actions, resources = params["ActionNames"], params.get("ResourceArns") or ["*"]
    if len(actions) * len(resources) > _MAX_SIMULATED:
        raise errors.invalid_input(f"More than {_MAX_SIMULATED} combinations of actions and resources.")
    boundaries = params.get("PermissionsBoundaryPolicyInputList", ())
    for document in (*params.get("PolicyInputList", ()), *boundaries):
        check_document(document)
    given = _given(who, params.get("ContextEntries", ()))
    try:
        policy = params.get("ResourcePolicy")
        resource_policy = compile_policy(policy) if policy else None
    except MalformedPolicy as error:
        raise errors.malformed(error) from None
    results = []
    for action in actions:
        for resource in resources:
            question = Question(
                who,
                action,
                resource,
                ctx.account_id,
                tuple(compile_policy(one) for one in documents),
                compile_policy(boundaries[0]) if boundaries else None,
                (),
                resource_policy,
            )
            absent: dict[str, None] = {}
            decision = evaluate(question, _lookup(given, absent))
            results.append(
                {
                    "EvalActionName": action,
                    "EvalResourceName": resource,
                    "EvalDecision": "allowed" if decision.allowed else _WORDS[decision.explicit],
                    "MissingContextValues": list(absent),
                }
            )
    return paged("EvaluationResults", results, lambda one: "", lambda one: one, {"MaxItems": _MAX_SIMULATED})


def _given(who: Principal, entries: Sequence[Params]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {
        "aws:principalarn": [who.arn],
        "aws:principalaccount": [who.account_id],
        "aws:userid": [who.user_id],
    }
    if who.kind == "user" and who.name:
        given["aws:username"] = [who.name]
    return {**given, **{one["ContextKeyName"].lower(): one.get("ContextKeyValues", []) for one in entries}}


def _lookup(given: dict[str, list[str]], absent: dict[str, None]) -> Lookup:
    """Values as given; what was asked for in vain is noted in `absent`."""

    def lookup(key: str) -> Sequence[str] | None:
        if key not in given:
            absent[key] = None
        return given.get(key)

    return lookup
