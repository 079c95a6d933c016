"""The decision: identity, resource, boundary and session policies together, and AWS's words for a refusal.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from alonzo.core.context import Principal
from alonzo.core.dataclasses import dataclass
from alonzo.core.policy.document import Policy, Statement
from alonzo.core.policy.patterns import Lookup
from alonzo.core.policy.principals import Grant, named

#: Actions for which the resource's own policy must allow, whatever the identity's policies say.
RESOURCE_DECIDES = ("sts:assumerole", "sts:tagsession", "sts:setsourceidentity", "kms:")


class Layer(Enum):
    """A kind of policy, as denial texts call it."""

    IDENTITY = "identity-based policy"
    RESOURCE = "resource-based policy"
    BOUNDARY = "permissions boundary"
    SESSION = "session policy"


_ARTICLE = {Layer.IDENTITY: "an", Layer.RESOURCE: "a", Layer.BOUNDARY: "a", Layer.SESSION: "a"}


@dataclass(frozen=True, slots=True)
class Question:
    """May `principal` do `action` (as `s3:GetObject`) on `resource`, which belongs to `resource_account`?

    `boundary` None: there is none. `sessions` empty: none were given. `resource_policy` None: the resource has none.
    """

    principal: Principal
    action: str
    resource: str
    resource_account: str
    identity: tuple[Policy, ...] = ()
    boundary: Policy | None = None
    sessions: tuple[Policy, ...] = ()
    resource_policy: Policy | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`layer` is the kind of policy that refused, `explicit` whether by a Deny."""

    allowed: bool
    layer: Layer | None = None
    explicit: bool = False
    statement: Statement | None = None

    @property
    def reason(self) -> str:
        """The end of the denial's text: ` because no … allows the ACTION action`, with `{action}` to fill in."""
        if self.layer is None:
            return ""
        if self.explicit:
            return f" with an explicit deny in {_ARTICLE[self.layer]} {self.layer.value}"
        return f" because no {self.layer.value} allows the {{action}} action"


ALLOWED = Decision(True)


def evaluate(question: Question, lookup: Lookup) -> Decision:
    """Decide. An explicit Deny of any kind wins; then same account: identity or resource; other account: both."""
    action = question.action.lower()
    who = question.principal
    granted, refused = _resource_grant(question, action, lookup)
    for layer, policies in (
        (Layer.IDENTITY, question.identity),
        (Layer.BOUNDARY, (question.boundary,) if question.boundary is not None else ()),
        (Layer.SESSION, question.sessions),
    ):
        denied = _find(policies, action, question.resource, lookup, allow=False)
        if denied is not None:
            return Decision(False, layer, True, denied)
    if refused is not None:
        return Decision(False, Layer.RESOURCE, True, refused)
    if who.kind in ("service", "anonymous"):
        return ALLOWED if granted else Decision(False, Layer.RESOURCE)
    same = not question.resource_account or who.account_id == question.resource_account
    needs_resource = not same or action.startswith(RESOURCE_DECIDES)
    if needs_resource and not granted:
        return Decision(False, Layer.RESOURCE)
    if same and granted is Grant.DIRECT:
        return ALLOWED
    return _identity_side(question, action, lookup, excused=same and granted is Grant.ROLE)


def _identity_side(question: Question, action: str, lookup: Lookup, *, excused: bool) -> Decision:
    """What the caller's own account says. `excused`: the resource stands in for the identity's policies."""
    needed = question.principal.kind != "root" and not excused
    if needed and _find(question.identity, action, question.resource, lookup, allow=True) is None:
        return Decision(False, Layer.IDENTITY)
    boundary, sessions = question.boundary, question.sessions
    if boundary is not None and _find((boundary,), action, question.resource, lookup, allow=True) is None:
        return Decision(False, Layer.BOUNDARY)
    if sessions and _find(sessions, action, question.resource, lookup, allow=True) is None:
        return Decision(False, Layer.SESSION)
    return ALLOWED


def _find(policies: Iterable[Policy], action: str, resource: str, lookup: Lookup, *, allow: bool) -> Statement | None:
    """The first statement with that effect that covers the request."""
    for policy in policies:
        for statement in policy.statements:
            if statement.allow is allow and statement.covers(action, resource, lookup) and statement.holds(lookup):
                return statement
    return None


def _resource_grant(question: Question, action: str, lookup: Lookup) -> tuple[Grant, Statement | None]:
    """How directly the resource's policy allows, and the statement by which it denies."""
    granted = Grant.NONE
    if question.resource_policy is None:
        return granted, None
    for statement in question.resource_policy.statements:
        how = _grant(statement, question.principal)
        if how is Grant.NONE or not statement.covers(action, question.resource, lookup) or not statement.holds(lookup):
            continue
        if not statement.allow:
            return Grant.NONE, statement
        granted = max(granted, how)
    return granted, None


def _grant(statement: Statement, who: Principal) -> Grant:
    if statement.principals is None:
        return Grant.NONE
    how = named(statement.principals, who)
    if not statement.not_principals:
        return how
    return Grant.DIRECT if how is Grant.NONE else Grant.NONE


def denial(question: Question, decision: Decision) -> str:
    """AWS's text of a refusal."""
    action = question.action
    if question.principal.kind == "anonymous" and action.startswith("s3:"):
        return "Access Denied"
    resource = f'"{question.resource}"' if action.startswith("s3:") else question.resource
    reason = "" if action.lower().startswith("sts:") else decision.reason.format(action=action)
    where = f" on resource: {resource}" if question.resource else ""
    who = "anonymous" if question.principal.kind == "anonymous" else question.principal.arn
    return f"User: {who} is not authorized to perform: {action}{where}{reason}"
