"""The decision, as a table: who allows, who denies, from which account."""

import json
import time

import pytest

from alonzo.core.context import ANONYMOUS, Principal
from alonzo.core.policy import MalformedPolicy, Question, compile_policy, denial, evaluate

HERE, THERE = "111111111111", "222222222222"
USER = Principal("user", HERE, f"arn:aws:iam::{HERE}:user/ann", "AIDAANN", name="ann")
ROLE_ARN = f"arn:aws:iam::{HERE}:role/worker"
SESSION_ARN = f"arn:aws:sts::{HERE}:assumed-role/worker/s1"
SESSION = Principal("role", HERE, SESSION_ARN, "AROAWORKER:s1", role_arn=ROLE_ARN, name="s1")
ROOT = Principal.root(HERE)
SERVICE = Principal.service("s3.amazonaws.com", HERE)
OBJECT = "arn:aws:s3:::b/k"


def policy(*statements: dict, version="2012-10-17"):
    return compile_policy(json.dumps({"Version": version, "Statement": list(statements)}))


def statement(effect="Allow", **kw) -> dict:
    return {"Effect": effect, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*", **kw}


ALLOW, DENY, SILENT = policy(statement()), policy(statement("Deny")), policy()


def naming(principal, effect="Allow", **kw):
    return policy(statement(effect, Principal=principal, **kw))


def ask(who=USER, *, identity=(), boundary=None, sessions=(), resource=None, owner=HERE, context=None, **kw):
    question = Question(
        who,
        kw.get("action", "s3:GetObject"),
        kw.get("on", OBJECT),
        owner,
        tuple(identity),
        boundary,
        tuple(sessions),
        resource,
    )
    decision = evaluate(question, (context or {}).get)
    return decision.allowed or denial(question, decision).partition('k"')[2].strip()


NO = "because no {} allows the s3:GetObject action"
IDENTITY, RESOURCE = NO.format("identity-based policy"), NO.format("resource-based policy")
BOUNDARY, SESSION_NO = NO.format("permissions boundary"), NO.format("session policy")


@pytest.mark.parametrize(
    "layers, expected",
    [
        ({}, IDENTITY),
        ({"identity": [ALLOW]}, True),
        ({"identity": [SILENT, ALLOW]}, True),
        ({"identity": [ALLOW, DENY]}, "with an explicit deny in an identity-based policy"),
        ({"identity": [ALLOW], "boundary": ALLOW}, True),
        ({"identity": [ALLOW], "boundary": SILENT}, BOUNDARY),
        ({"identity": [ALLOW], "boundary": DENY}, "with an explicit deny in a permissions boundary"),
        ({"boundary": ALLOW}, IDENTITY),
        ({"identity": [ALLOW], "sessions": [ALLOW]}, True),
        ({"identity": [ALLOW], "sessions": [SILENT]}, SESSION_NO),
        ({"identity": [ALLOW], "sessions": [SILENT, ALLOW]}, True),
        ({"identity": [ALLOW], "sessions": [DENY]}, "with an explicit deny in a session policy"),
        ({"sessions": [ALLOW]}, IDENTITY),
        ({"identity": [ALLOW], "boundary": ALLOW, "sessions": [ALLOW]}, True),
    ],
)
def test_layers_of_the_identity(layers, expected) -> None:
    """Identity, boundary and session policies must all allow, and any denies; the refusal names the layer."""
    assert ask(**layers) == expected
    assert ask(SESSION, **layers) == expected


ANYONE, BY_ARN, BY_ACCOUNT = "*", {"AWS": USER.arn}, {"AWS": HERE}


@pytest.mark.parametrize(
    "principal, same_account, cross_account, cross_with_identity",
    [
        (ANYONE, True, IDENTITY, True),
        ({"AWS": "*"}, True, IDENTITY, True),
        (BY_ARN, True, IDENTITY, True),
        ({"AWS": "AIDAANN"}, True, IDENTITY, True),
        (BY_ACCOUNT, IDENTITY, IDENTITY, True),
        ({"AWS": f"arn:aws:iam::{HERE}:root"}, IDENTITY, IDENTITY, True),
        ({"AWS": THERE}, IDENTITY, RESOURCE, RESOURCE),
        ({"AWS": f"arn:aws:iam::{HERE}:user/bob"}, IDENTITY, RESOURCE, RESOURCE),
        ({"Service": "s3.amazonaws.com"}, IDENTITY, RESOURCE, RESOURCE),
    ],
)
def test_resource_policies_by_principal_and_account(
    principal, same_account, cross_account, cross_with_identity
) -> None:
    """Within an account either side allows (an account's grant only delegates); across accounts both must."""
    grant = naming(principal)
    assert ask(resource=grant) == same_account
    assert ask(resource=grant, owner=THERE) == cross_account
    assert ask(resource=grant, owner=THERE, identity=[ALLOW]) == cross_with_identity
    assert ask(resource=grant, identity=[ALLOW]) is True


def test_across_accounts_nothing_goes_without_the_resource() -> None:
    """Another account's resource without a policy is closed, even to its own root and administrators."""
    assert ask(identity=[ALLOW], owner=THERE) == RESOURCE
    assert ask(ROOT, owner=THERE) == RESOURCE
    assert ask(ROOT, owner=THERE, resource=naming({"AWS": HERE})) is True


@pytest.mark.parametrize(
    "who, principal, expected",
    [
        (USER, {"AWS": USER.arn}, True),
        (SESSION, {"AWS": ROLE_ARN}, BOUNDARY),
        (SESSION, {"AWS": "AROAWORKER"}, BOUNDARY),
        (SESSION, {"AWS": SESSION_ARN}, True),
        (SESSION, {"AWS": SESSION_ARN + "x"}, IDENTITY),
        (SESSION, "*", True),
    ],
)
def test_what_a_boundary_withholds_from_a_resources_grant(who, principal, expected) -> None:
    """A boundary's silence bounds a grant to a role, not one to a user or to one session."""
    assert ask(who, resource=naming(principal), boundary=SILENT) == expected


def test_session_policies_bound_a_grant_to_the_role() -> None:
    """A session policy's silence bounds a grant to the role, not one to the session itself."""
    assert ask(SESSION, resource=naming({"AWS": ROLE_ARN}), sessions=[SILENT]) == SESSION_NO
    assert ask(SESSION, resource=naming({"AWS": ROLE_ARN}), sessions=[ALLOW]) is True
    assert ask(SESSION, resource=naming({"AWS": SESSION_ARN}), sessions=[SILENT]) is True


def test_explicit_denials_win_everywhere() -> None:
    """A resource's Deny beats every Allow, for root too, and an identity's Deny beats the resource's Allow."""
    denied = "with an explicit deny in a resource-based policy"
    for who in (USER, SESSION, ROOT):
        assert ask(who, identity=[ALLOW], resource=naming("*", "Deny")) == denied
    assert ask(identity=[ALLOW], resource=naming({"AWS": HERE}, "Deny")) == denied
    assert ask(identity=[DENY], resource=naming("*")) == "with an explicit deny in an identity-based policy"


def test_root_services_and_the_anonymous() -> None:
    """Root may all within its account; services and the anonymous only what the resource's policy says."""
    assert ask(ROOT) is True
    assert ask(SERVICE, identity=[ALLOW]) == RESOURCE
    assert ask(SERVICE, resource=naming({"Service": "s3.amazonaws.com"})) is True
    assert ask(SERVICE, resource=naming({"Service": "sns.amazonaws.com"})) == RESOURCE
    assert ask(ANONYMOUS, resource=naming("*")) is True
    question = Question(ANONYMOUS, "s3:GetObject", OBJECT, HERE, resource_policy=naming(BY_ARN))
    assert denial(question, evaluate(question, {}.get)) == "Access Denied"


def test_not_principal_spares_those_it_names() -> None:
    """A Deny with NotPrincipal denies all but the named."""
    spare = policy({**statement("Deny"), "NotPrincipal": {"AWS": [USER.arn, HERE]}})
    others = policy({**statement("Deny"), "NotPrincipal": {"AWS": THERE}})
    assert ask(identity=[ALLOW], resource=spare) is True
    assert ask(identity=[ALLOW], resource=others) == "with an explicit deny in a resource-based policy"


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"Action": "S3:getobject"}, True),
        ({"Action": "s3:Get*"}, True),
        ({"Action": "s3:Get?bject"}, True),
        ({"Action": "*"}, True),
        ({"Action": ["s3:PutObject", "s3:GetObject"]}, True),
        ({"Action": "s3:PutObject"}, IDENTITY),
        ({"Resource": "arn:aws:s3:::B/*"}, IDENTITY),
        ({"Resource": "*"}, True),
        ({"Resource": ["arn:aws:s3:::x", OBJECT]}, True),
    ],
)
def test_actions_and_resources(change, expected) -> None:
    """Actions ignore case and take wildcards; resources keep case."""
    assert ask(identity=[policy(statement(**change))]) == expected


def test_not_action_and_not_resource() -> None:
    """NotAction and NotResource cover all but what they list."""
    others = policy({"Effect": "Allow", "NotAction": ["iam:*", "s3:Put*"], "NotResource": "arn:aws:s3:::secret/*"})
    assert ask(identity=[others]) is True
    assert ask(identity=[others], action="iam:GetUser", on="k") is not True
    assert ask(identity=[others], on="arn:aws:s3:::secret/k") == IDENTITY


def test_conditions_all_must_hold() -> None:
    """Operators and keys of a Condition are joined by and."""
    condition = {"StringEquals": {"aws:username": "ann", "s3:x": "1"}, "Bool": {"aws:SecureTransport": "true"}}
    found = [policy(statement(Condition=condition))]
    context = {"aws:username": ["ann"], "s3:x": ["1"], "aws:securetransport": ["true"]}
    assert ask(identity=found, context=context) is True
    for key in context:
        assert ask(identity=found, context={k: v for k, v in context.items() if k != key}) == IDENTITY


def test_variables_belong_to_the_new_version() -> None:
    """`${aws:username}` is text in a document of version 2008-10-17."""
    change = statement(Resource="arn:aws:s3:::b/${aws:username}")
    asked = {"on": "arn:aws:s3:::b/ann", "context": {"aws:username": ["ann"]}}
    assert ask(identity=[policy(change)], **asked) is True
    assert ask(identity=[policy(change, version="2008-10-17")], **asked) is not True


TRUST = {"Effect": "Allow", "Action": "sts:AssumeRole"}


@pytest.mark.parametrize(
    "who, principal, identity, expected",
    [
        (SERVICE, {"Service": "s3.amazonaws.com"}, [], True),
        (USER, {"AWS": USER.arn}, [], True),
        (USER, {"AWS": HERE}, [], False),
        (USER, {"AWS": HERE}, [policy({**TRUST, "Resource": "*"})], True),
        (USER, {"Service": "s3.amazonaws.com"}, [policy({**TRUST, "Resource": "*"})], False),
        (ROOT, {"AWS": HERE}, [], True),
        (ROOT, {"Service": "s3.amazonaws.com"}, [], False),
    ],
)
def test_trust_policies_decide_on_assume_role(who, principal, identity, expected) -> None:
    """A role is assumed only by whom its trust policy names; AWS's refusal gives no reason."""
    trust = policy({**TRUST, "Principal": principal})
    question = Question(who, "sts:AssumeRole", ROLE_ARN, HERE, tuple(identity), resource_policy=trust)
    decision = evaluate(question, {}.get)
    assert decision.allowed is expected
    if not expected:
        text = f"User: {who.arn} is not authorized to perform: sts:AssumeRole on resource: {ROLE_ARN}"
        assert denial(question, decision) == text


def test_resources_are_quoted_by_s3_only() -> None:
    """S3 writes the resource in quotation marks, the others do not."""
    other = Question(USER, "lambda:ListFunctions", "*", HERE)
    text = denial(other, evaluate(other, {}.get))
    assert text == (
        f"User: {USER.arn} is not authorized to perform: lambda:ListFunctions on resource: *"
        " because no identity-based policy allows the lambda:ListFunctions action"
    )
    mine = Question(USER, "s3:GetObject", OBJECT, HERE)
    assert f'on resource: "{OBJECT}" because' in denial(mine, evaluate(mine, {}.get))


def test_the_largest_policy_is_decided_quickly() -> None:
    """Twenty kilobytes of wildcards against a long key are decided in seconds at most."""
    resources = ["arn:aws:s3:::b/" + "*a?" * 60 + f"{n}" for n in range(100)]
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement(Resource=resources)]})
    assert 18_000 < len(document) < 25_000
    long_key = "arn:aws:s3:::b/" + "a" * 1000
    started = time.thread_time()
    question = Question(USER, "s3:GetObject", long_key, HERE, (compile_policy(document),))
    assert not evaluate(question, {}.get).allowed
    assert time.thread_time() - started < 5


@pytest.mark.parametrize("text", ["", "[]", "nil", '{"Statement": 1}', "[" * 100_000, '{"Statement":{"Effect":"x"}}'])
def test_what_is_no_policy_raises(text) -> None:
    """Documents that are none raise instead of deciding anything."""
    with pytest.raises(MalformedPolicy):
        compile_policy(text)
