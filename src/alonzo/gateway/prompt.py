"""The prompt way: signed requests for an operation that has a prompt handler, answered without a task.

Of a client's requests all but time, signature, ids and body is the same again and again. What follows from the part
that stays (the operation, its parameters, what of it is signed and how) is worked out once, by functions that the other
way uses, and remembered as a `_Plan`: it depends on the request's text and on nothing else. What may change meanwhile
(credentials, permissions, the function) is asked for each time. Whatever is not as expected, a signature that does not
fit above all, is left to the ordinary way, which finds the error again and knows its words.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Callable
from itertools import chain
from urllib.parse import quote, unquote

from alonzo.core.errors import InternalFailure
from alonzo.core.http import Headers, Request, Response
from alonzo.core.identity import Credential, Credentials
from alonzo.dispatch import Call, Parts, PromptHandler, Result
from alonzo.gateway.http11 import Reply
from alonzo.gateway.plain_head import PlainHead
from alonzo.gateway.prompt_forms import Form, RestForm, form_of
from alonzo.gateway.routing import known_host, route
from alonzo.gateway.sigv4 import parse_time
from alonzo.gateway.sigv4_canonical import (
    ALGORITHM,
    MAY_BE_UNSIGNED,
    Signature,
    canonical_paths,
    canonical_query,
    parse_head,
    signing_key,
)
from alonzo.protocol.model import ServiceModel, load_model

log = logging.getLogger("alonzo.gateway")

#: What is remembered at most: constant parts of requests, sets of fields for each.
_MAX_PLANS, _MAX_SHAPES = 2_048, 16
#: What is remembered of plans that differ in a label only.
_MAX_KINDS = 256
#: A constant part that is longer, in characters, is not worth it.
_MAX_PART = 2_048
#: A label of a path that can be read and signed in one way only: names, and names with colons between them.
_LABEL = re.compile(r"[A-Za-z0-9_-]+(?:(?::|%3A)[A-Za-z0-9_$-]+)*")
#: Fields that ask for more than the prompt way does.
_NOT_HERE = frozenset({"origin", "content-encoding"})

#: Makes the answer of an error: model, operation, error, request id, protocol.
Failure = Callable[[ServiceModel, str | None, BaseException, str, str | None], Response]
#: Method, target of either kind (one begins with a slash, the other with a name), head of the signature, host, fields.
_Key = tuple[str, str, str, str, tuple[tuple[str, str], ...]]


class _Plan:
    """What follows from the constant part of a request."""

    __slots__ = ("canonical", "form", "handler", "model", "shapes", "signature")

    def __init__(
        self, signature: Signature, canonical: str, handler: PromptHandler, model: ServiceModel, form: Form
    ) -> None:
        self.signature = signature
        #: The canonical request up to its headers.
        self.canonical = canonical
        self.handler = handler
        self.model = model
        self.form = form
        #: Sets of fields with nothing unsigned in them that must be signed.
        self.shapes: set[tuple[str, ...]] = set()


class _Kind:
    """What the plans of requests that differ in nothing but the label of their path have in common."""

    __slots__ = ("after", "before", "form", "name", "plan")

    def __init__(self, plan: _Plan, form: RestForm, before: str, name: str, after: str) -> None:
        self.plan, self.form = plan, form
        self.before, self.name, self.after = before, name, after

    def label(self, target: str) -> str:
        """The label of such a target; "" where it has none, or one that can be read in several ways."""
        if not target.startswith(self.before) or not target.endswith(self.after):
            return ""
        found = target[len(self.before) : len(target) - len(self.after)]
        return found if _LABEL.fullmatch(found) else ""

    def canonical(self, method: str, label: str) -> str:
        return f"{method}\n{self.before}{quote(label, safe='-_.~')}{self.after}\n\n"

    def plan_for(self, method: str, target: str) -> _Plan | None:
        """None where it has to be worked out."""
        label = self.label(target)
        form = self.form.with_label(self.name, unquote(label)) if label else None
        if form is None:
            return None
        one = self.plan
        plan = _Plan(one.signature, self.canonical(method, label), one.handler, one.model, form)
        plan.shapes = one.shapes
        return plan


class Prompting:
    """See the module. Calling it says whether it has taken the request; then `reply` gets the answer."""

    def __init__(
        self, parts: Parts, credentials: Credentials, failure: Failure, bases: tuple[str, ...], *, any_host: bool
    ) -> None:
        """`any_host`: a request may name any host, not only those below `bases`."""
        self._parts = parts
        self._skew_s = parts.settings.clock_skew_s
        self._credentials = credentials
        self._failure = failure
        self._bases = bases
        self._any_host = any_host
        #: How the paths of REST operations with a prompt handler begin, and the fields that say what is asked of them.
        self._prefixes: tuple[str, ...] | None = None
        self._telling: frozenset[str] = frozenset()
        #: What X-Amz-Target says for the operations of the JSON protocol that have one.
        self._targets: frozenset[str] = frozenset()
        self._plans: dict[_Key, _Plan | None] = {}
        #: By all of their keys but the target.
        self._kinds: dict[tuple[str, str, str, tuple[tuple[str, str], ...]], _Kind] = {}

    def __call__(self, whole: PlainHead, client: str, reply: Reply) -> bool:
        fields = whole.fields
        authorization = fields.get("authorization")
        prefixes = self._prefixes
        if prefixes is None:
            prefixes = self._prepare()
        if authorization is None:
            return False
        head, _, given = authorization.rpartition("Signature=")
        telling: tuple[tuple[str, str], ...] = ()
        target = fields.get("x-amz-target")
        if target is not None:
            if target not in self._targets or whole.target != "/" or "smithy-protocol" in fields:
                return False
        elif not whole.target.startswith(prefixes):
            return False
        elif not self._telling.isdisjoint(fields):
            telling = tuple([item for item in whole.items if item[0] in self._telling])
        key: _Key = (whole.method, target or whole.target, head, fields.get("host", ""), telling)
        try:
            plan = self._plans[key]
        except KeyError:
            plan = self._remember(key, self._plan(whole, key))
        if plan is None:
            return False
        shape = tuple(fields)
        if shape not in plan.shapes and not _fits(plan, shape):
            return False
        credential = self._credential(plan.signature, fields)
        if credential is None or not _is_whole(plan, credential, fields, whole.body, given):
            return False
        return self._run(plan, credential, whole, client, reply)

    def _credential(self, signature: Signature, fields: dict[str, str]) -> Credential | None:
        """The one that signed, if it is known and the time is right."""
        now = self._parts.clock.now()
        timestamp = fields.get("x-amz-date", "")
        signed_at = parse_time(timestamp) if timestamp.startswith(signature.date) else None
        if signed_at is None or not -self._skew_s <= signed_at - now <= self._skew_s:
            return None
        token = fields.get("x-amz-security-token")
        found = self._credentials.remembered(signature.access_key_id, token)
        if found is None or (found.expires_at is not None and now >= found.expires_at):
            return None
        if found.session_token is not None:
            return found if token is not None and hmac.compare_digest(found.session_token, token) else None
        return None if token and found.strict_token else found

    def _run(self, plan: _Plan, credential: Credential, whole: PlainHead, client: str, reply: Reply) -> bool:
        parts, form = self._parts, plan.form
        read = form.read(whole.body)
        if read is None:
            return False
        principal, request_id = credential.principal, parts.ids.uuid()

        def done(result: Result | None, error: BaseException | None) -> None:
            if result is not None:
                try:
                    status, before, after, body = form.write(result)
                except Exception as problem:
                    error = problem
                else:
                    reply.reply_lines(status, f"{before}{request_id}{after}", body)
                    return
            error = error or InternalFailure(request_id)
            reply.reply(self._failure(plan.model, form.operation, error, request_id, form.protocol))

        call = Call(
            principal,
            principal.account_id or parts.settings.account_id,
            plan.signature.region,
            *read,
            request_id,
            whole.fields.get("x-amzn-trace-id", ""),
            client,
            done,
        )
        return parts.dispatcher.call_nowait(plan.handler, call)

    # -- working it out -----------------------------------------------------------------------------------------------

    def _prepare(self) -> tuple[str, ...]:
        """Once all services are there."""
        prefixes, telling, targets = [], set[str](), set[str]()
        for service in self._parts.dispatcher.services.values():
            for name in service.prompt:
                model = load_model(service.name)
                if "json" in model.protocols:
                    targets.add(f"{model.target_prefix}.{name}")
                    continue
                operation = model.operation(name)
                prefixes.append(operation.uri.partition("{")[0])
                for member in operation.input.members.values() if operation.input is not None else ():
                    if member.location == "header" and member.wire_name:
                        telling.add(member.wire_name.lower())
        self._telling, self._targets = frozenset(telling), frozenset(targets)
        self._prefixes = tuple(prefixes)
        return self._prefixes

    def _remember(self, key: _Key, plan: _Plan | None) -> _Plan | None:
        if sum(len(part) for part in (*key[:4], *chain.from_iterable(key[4]))) <= _MAX_PART:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _plan(self, whole: PlainHead, key: _Key) -> _Plan | None:
        """None where requests of this kind go the ordinary way."""
        _, _, head, host, telling = key
        alike = (whole.method, head, host, telling)
        kind = self._kinds.get(alike)
        known = kind.plan_for(whole.method, whole.target) if kind is not None else None
        if known is not None:
            return known
        signature = parse_head(head)
        if signature is None or (not self._any_host and not known_host(host, self._bases)):
            return None
        path, _, query = whole.target.partition("?")
        request = Request(whole.method, path, query, Headers(whole.items))
        found = route(request, self._bases)
        service = self._parts.dispatcher.services.get(found.service)
        if service is None or not service.prompt or found.request is not request:
            return None
        model = load_model(found.service)
        form = form_of(model, request)
        handler = service.prompt.get(form.operation) if form is not None else None
        paths = canonical_paths(path, s3=False)
        if form is None or handler is None or len(paths) != 1:
            return None
        canonical = f"{whole.method}\n{paths[0]}\n{canonical_query(query)}\n"
        plan = _Plan(signature, canonical, handler, model, form)
        kind = _kind_of(plan, whole.method, whole.target)
        if kind is not None:
            if len(self._kinds) >= _MAX_KINDS:
                self._kinds.clear()
            self._kinds[alike] = kind
        return plan


def _kind_of(plan: _Plan, method: str, target: str) -> _Kind | None:
    """What can be told from this plan of others; None unless it would have been told the same of this one."""
    if not isinstance(plan.form, RestForm):
        return None
    parts = plan.form.label()
    if parts is None:
        return None
    kind = _Kind(plan, plan.form, *parts)
    label = kind.label(target)
    told = label and kind.canonical(method, label) == plan.canonical and plan.form.says(kind.name, unquote(label))
    return kind if told else None


def _fits(plan: _Plan, shape: tuple[str, ...]) -> bool:
    """Whether all of a request's fields that must be signed are, and none asks for more."""
    names = plan.signature.names
    for name in shape:
        if name in _NOT_HERE:
            return False
        if name not in names and name.startswith("x-amz-") and name not in MAY_BE_UNSIGNED:
            return False
    if "host" not in names:
        return False
    if len(plan.shapes) < _MAX_SHAPES:
        plan.shapes.add(shape)
    return True


def _is_whole(plan: _Plan, credential: Credential, fields: dict[str, str], body: bytes, given: str) -> bool:
    """Whether the request is as it was signed."""
    digest = hashlib.sha256(body).hexdigest()
    if fields.get("x-amz-content-sha256", digest) != digest:
        return False
    if not credential.check_signature:
        return True
    signature = plan.signature
    lines = "".join([f"{name}:{fields.get(name, '')}\n" for name in signature.signed_headers])
    if "  " in lines:
        return False  # to be folded
    canonical = f"{plan.canonical}{lines}\n{signature.joined}\n{digest}"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{ALGORITHM}\n{fields['x-amz-date']}\n{signature.scope}\n{hashed}"
    key = signing_key(credential.secret, signature.date, signature.region, signature.service)
    return hmac.compare_digest(key.sign(to_sign.encode()), given)
