"""The authorizer: gathers what is known of a request and lets the evaluator decide."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from alonzo.core.arn import parse_arn
from alonzo.core.clock import Clock
from alonzo.core.context import Context, Principal
from alonzo.core.errors import ServiceError
from alonzo.core.policy import Decision, MalformedPolicy, Question, compile_policy, denial, evaluate
from alonzo.dispatch import Access
from alonzo.services.iam.identities import Identities, Permissions

#: Allowed requests that are remembered.
_KEPT = 4096
_TYPES = {"root": "Account", "user": "User", "role": "AssumedRole", "anonymous": "Anonymous"}
_NOBODY = Permissions(False)
#: Principal, action, resource, its policy, its account, the request's account: all that a remembered decision has read.
_Key = tuple[Principal, str, str, str | None, str, str]


class RequestKeys:
    """The condition context of one request: keys in lower case. Remembers whether anything was asked.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
    """

    __slots__ = ("_access", "_account", "_ctx", "_now", "_own", "_tags", "used")

    def __init__(self, ctx: Context, access: Access, account: str, tags: Sequence[tuple[str, str]], now: float) -> None:
        self._ctx = ctx
        self._access = access
        self._account = account
        self._tags = tags
        self._now = now
        self._own: dict[str, Sequence[str]] | None = None
        self.used = False

    def __call__(self, key: str) -> Sequence[str] | None:
        self.used = True
        if self._own is None:
            self._own = _as_lists(self._access.conditions)
        found = self._own.get(key)
        if found is not None:
            return found
        if key.startswith("aws:principaltag/"):
            return self._principal_tag(key.partition("/")[2])
        value = self._global(key)
        return [value] if value else None

    def _principal_tag(self, wanted: str) -> Sequence[str] | None:
        for name, value in (*reversed(self._ctx.principal.tags), *self._tags):
            if name.lower() == wanted:
                return [value]
        return None

    def _global(self, key: str) -> str:
        match key:
            case "aws:sourcearn":
                return self._ctx.source_arn
            case "aws:sourceaccount":
                return self._ctx.source_account if self._ctx.source_arn else ""
            case "aws:resourceaccount":
                return self._account
            case "aws:requestedregion":
                return self._ctx.region
            case "aws:securetransport":
                return str(self._ctx.secure).lower()
            case "aws:sourceip":
                return self._ctx.client_ip if self._ctx.principal.kind != "service" else ""
            case "aws:useragent":
                return self._ctx.user_agent
            case "aws:currenttime":
                return datetime.fromtimestamp(self._now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            case "aws:epochtime":
                return str(int(self._now))
            case "aws:viaawsservice":
                return "false"
        return _of_principal(key, self._ctx.principal)


def _of_principal(key: str, who: Principal) -> str:
    service = who.kind == "service"
    named = who.kind in ("root", "user", "role")
    match key:
        case "aws:principalarn":
            return (who.role_arn or who.arn) if named else ""
        case "aws:principalaccount":
            return who.account_id if named else ""
        case "aws:principaltype":
            return _TYPES.get(who.kind, "")
        case "aws:principalisawsservice":
            return str(service).lower()
        case "aws:principalservicename" | "aws:principalservicenameslist":
            return who.name if service else ""
        case "aws:userid":
            return "anonymous" if who.kind == "anonymous" else (who.user_id or who.account_id) if named else ""
        case "aws:username":
            return who.name if who.kind == "user" else ""
        case "aws:tokenissuetime":
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(who.issued_at)) if who.issued_at else ""
        case "aws:multifactorauthpresent":
            return "false" if who.issued_at else ""
    return ""


def _as_lists(conditions: Mapping[str, str | Sequence[str]]) -> dict[str, Sequence[str]]:
    return {key.lower(): [value] if isinstance(value, str) else list(value) for key, value in conditions.items()}


def account_of(access: Access, account_id: str) -> str:
    """Whose resource it is: as the service says, as its ARN says, else the request's account, `account_id`."""
    if access.resource_account:
        return access.resource_account
    try:
        return parse_arn(access.resource).account_id or account_id
    except ValueError:
        return account_id


class _Unasked:
    """Stands for the condition context of a request that nothing is known of yet. Remembers whether it was asked."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = False

    def __call__(self, key: str) -> None:
        self.used = True


class IamAuthorizer:
    """dispatch.Authorizer over IAM's policies.

    An allowed request whose decision read nothing but its key is remembered until IAM changes, so that the warm path
    costs a look-up.
    """

    def __init__(self, identities: Identities, clock: Clock) -> None:
        self._identities = identities
        self._clock = clock
        self._allowed: set[_Key] = set()
        #: The same by the very objects, which are cheaper to know again than their values; they are held, so that no
        #: other can come to have their identity. False: it takes more than them to decide, or they are not enough.
        self._met: dict[tuple[int, int, str], tuple[bool, Principal, Access]] = {}
        self._generation = -1

    def allows_nowait(self, principal: Principal, access: Access, account_id: str) -> bool:
        """Whether it is allowed whatever else the request says. False says nothing: `authorize` must be asked."""
        if self._generation == self._identities.generation:
            met = self._met.get((id(principal), id(access), account_id))
            if met is not None:
                return met[0]
        self._refresh()
        key = self._key(principal, access, account_id)
        allowed = key in self._allowed or self._always(principal, access, account_id)
        if allowed:
            self._remember(key)
        self._meet(allowed, principal, access, account_id)
        return allowed

    def _always(self, principal: Principal, access: Access, account_id: str) -> bool:
        """Whether the policies allow it without a look at the request."""
        keys = _Unasked()
        try:
            allowed = evaluate(self._question(principal, access, account_id), keys).allowed
        except MalformedPolicy:
            return False
        return allowed and not keys.used

    async def authorize(self, ctx: Context, access: Access, *, denied_code: str) -> None:
        """Raise ServiceError with `denied_code` and AWS's text unless the request is allowed."""
        self._refresh()
        key = self._key(ctx.principal, access, ctx.account_id)
        if key in self._allowed:
            self._meet(True, ctx.principal, access, ctx.account_id)
            return
        try:
            question = self._question(ctx.principal, access, ctx.account_id)
        except MalformedPolicy as error:
            # Closed, but for the owner's root, who must be able to mend it.
            if ctx.principal.kind == "root" and account_of(access, ctx.account_id) == ctx.principal.account_id:
                return
            who = f"User: {ctx.principal.arn} is not authorized to perform: {access.action}"
            text = f"{who} on resource: {access.resource} because a policy cannot be read: {error}"
            raise ServiceError(denied_code, text, status=403) from None
        keys = self._keys(ctx, access)
        decision = evaluate(question, keys)
        if not decision.allowed:
            raise ServiceError(denied_code, denial(question, decision), status=403)
        if not keys.used:
            self._remember(key)
            self._meet(True, ctx.principal, access, ctx.account_id)

    def decide(self, ctx: Context, access: Access) -> Decision:
        """The decision itself, for simulation."""
        return evaluate(self._question(ctx.principal, access, ctx.account_id), self._keys(ctx, access))

    # -- what is remembered -------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Forget everything where IAM has changed."""
        if self._generation != self._identities.generation:
            self._allowed.clear()
            self._met.clear()
            self._generation = self._identities.generation

    @staticmethod
    def _key(who: Principal, access: Access, account_id: str) -> _Key:
        return who, access.action, access.resource, access.resource_policy, access.resource_account, account_id

    def _remember(self, key: _Key) -> None:
        if len(self._allowed) >= _KEPT:
            self._allowed.clear()
        self._allowed.add(key)

    def _meet(self, allowed: bool, principal: Principal, access: Access, account_id: str) -> None:
        if len(self._met) >= _KEPT:
            self._met.clear()
        self._met[id(principal), id(access), account_id] = (allowed, principal, access)

    # -- what is asked ------------------------------------------------------------------------------------------------

    def _permissions(self, who: Principal) -> Permissions:
        return self._identities.permissions(who) if who.kind in ("user", "role") else _NOBODY

    def _keys(self, ctx: Context, access: Access) -> RequestKeys:
        account, tags = account_of(access, ctx.account_id), self._permissions(ctx.principal).tags
        return RequestKeys(ctx, access, account, tags, self._clock.now())

    def _question(self, who: Principal, access: Access, account_id: str) -> Question:
        found = self._permissions(who)
        return Question(
            principal=who,
            action=access.action,
            resource=access.resource,
            resource_account=account_of(access, account_id),
            identity=found.identity,
            boundary=found.boundary,
            sessions=tuple(compile_policy(text) for text in who.session_policies),
            resource_policy=compile_policy(access.resource_policy) if access.resource_policy else None,
        )
