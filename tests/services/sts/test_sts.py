"""Temporary credentials: who gets them, what they allow, how they end."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from alonzo.core.context import Principal
from alonzo.core.ids import Ids
from alonzo.services.sts.sessions import SealedSessions

ROLE = "arn:aws:iam::000000000000:role/worker"
OBJECT = "arn:aws:s3:::b/k"
S3_FULL = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
S3_READ = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
ME = {"AWS": "000000000000"}


def allow(action="s3:*", **kw) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*", **kw}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def trust(principal, **kw) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": ["sts:AssumeRole", "sts:TagSession"], **kw}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


async def test_a_service_assumes_the_role_that_trusts_it(world) -> None:
    """Lambda gets the role's credentials, which allow what the role's policies allow and nothing else."""
    arn = await world.role()
    await world.call("AttachRolePolicy", RoleName="worker", PolicyArn=S3_READ)
    session = await world.session(arn)
    assert session.principal.arn == "arn:aws:sts::000000000000:assumed-role/worker/session"
    assert await world.allowed(session, "s3:GetObject", OBJECT)
    assert not await world.allowed(session, "s3:PutObject", OBJECT)
    identity = await world.call("GetCallerIdentity", session, "sts")
    assert identity["Arn"] == session.principal.arn and identity["UserId"].endswith(":session")


@pytest.mark.parametrize("role", [ROLE, ROLE + "-unknown", "arn:aws:iam::111111111111:role/x", "nonsense" * 4])
async def test_strangers_learn_nothing(world, role) -> None:
    """Who is not trusted gets the same refusal, whether the role exists or not."""
    await world.role()
    ann = await world.user("ann")
    params = {"RoleArn": role, "RoleSessionName": "xx"}
    code, message = await world.refused("AssumeRole", ann, "sts", **params)
    who = "arn:aws:iam::000000000000:user/ann"
    assert code == "AccessDenied"
    assert message == f"User: {who} is not authorized to perform: sts:AssumeRole on resource: {role}"


async def test_another_service_is_not_trusted(world) -> None:
    """A role for Lambda is not given to EC2."""
    arn = await world.role()
    ctx = world.service("ec2.amazonaws.com")
    assert (await world.refused("AssumeRole", ctx, "sts", RoleArn=arn, RoleSessionName="xx"))[0] == "AccessDenied"


async def test_trusting_an_account_leaves_it_to_its_policies(world) -> None:
    """A role that trusts the account is for those whom their own policies let assume it."""
    arn = await world.role(trusted=ME)
    ann = await world.user("ann")
    params = {"RoleArn": arn, "RoleSessionName": "xx"}
    assert (await world.refused("AssumeRole", ann, "sts", **params))[0] == "AccessDenied"
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow("sts:AssumeRole"))
    assert (await world.call("AssumeRole", ann, "sts", **params))["AssumedRoleUser"]["Arn"].endswith("/worker/xx")


async def test_what_becomes_of_a_role_counts_at_once(world) -> None:
    """Nobody gets credentials by a trust policy that has been replaced, nor of a role that was deleted or made anew."""
    arn = await world.role()
    ctx, params = world.service("lambda.amazonaws.com"), {"RoleArn": arn, "RoleSessionName": "xx"}
    first = await world.call("AssumeRole", ctx, "sts", **params)
    await world.call(
        "UpdateAssumeRolePolicy", RoleName="worker", PolicyDocument=trust({"Service": "ec2.amazonaws.com"})
    )
    assert (await world.refused("AssumeRole", ctx, "sts", **params))[0] == "AccessDenied"
    await world.call("DeleteRole", RoleName="worker")
    assert (await world.refused("AssumeRole", ctx, "sts", **params))[0] == "AccessDenied"
    assert await world.role() == arn
    again = await world.call("AssumeRole", ctx, "sts", **params)
    assert first["AssumedRoleUser"]["AssumedRoleId"] != again["AssumedRoleUser"]["AssumedRoleId"]


async def test_the_external_id_must_be_right(world) -> None:
    """A trust policy's condition on sts:ExternalId is held."""
    condition = {"StringEquals": {"sts:ExternalId": "secret"}}
    await world.call("CreateRole", RoleName="worker", AssumeRolePolicyDocument=trust(ME, Condition=condition))
    params = {"RoleArn": ROLE, "RoleSessionName": "xx"}
    assert (await world.refused("AssumeRole", service="sts", **params))[0] == "AccessDenied"
    assert (await world.refused("AssumeRole", service="sts", ExternalId="wrong", **params))[0] == "AccessDenied"
    await world.call("AssumeRole", service="sts", ExternalId="secret", **params)


async def test_session_policies_bound_the_session(world) -> None:
    """Inline and managed session policies leave the intersection with the role's; a deny among them denies."""
    arn = await world.role(trusted=ME)
    await world.call("AttachRolePolicy", RoleName="worker", PolicyArn=S3_FULL)
    inline = await world.session(arn, world.root, Policy=allow("s3:GetObject"))
    managed = await world.session(arn, world.root, PolicyArns=[{"arn": S3_READ}])
    empty = await world.session(arn, world.root, Policy=allow("sqs:*"))
    assert await world.allowed(inline, "s3:GetObject", OBJECT)
    assert not await world.allowed(inline, "s3:ListBucket", "arn:aws:s3:::b")
    assert await world.allowed(managed, "s3:ListBucket", "arn:aws:s3:::b")
    assert not await world.allowed(managed, "s3:PutObject", OBJECT)
    assert not await world.allowed(empty, "sqs:SendMessage", "arn:aws:sqs:us-east-1:000000000000:q")


async def test_session_tags_are_principal_tags(world) -> None:
    """Session tags go over the role's own, and the trust policy must allow tagging."""
    arn = await world.role(trusted=ME, Tags=[{"Key": "team", "Value": "red"}])
    condition = {"StringEquals": {"aws:PrincipalTag/team": "blue"}}
    document = allow("s3:GetObject", Condition=condition)
    await world.call("PutRolePolicy", RoleName="worker", PolicyName="p", PolicyDocument=document)
    plain = await world.session(arn, world.root)
    tagged = await world.session(arn, world.root, Tags=[{"Key": "Team", "Value": "blue"}])
    assert not await world.allowed(plain, "s3:GetObject", OBJECT)
    assert await world.allowed(tagged, "s3:GetObject", OBJECT)
    only_assume = trust(ME).replace(', "sts:TagSession"', "")
    await world.call("UpdateAssumeRolePolicy", RoleName="worker", PolicyDocument=only_assume)
    params = {"RoleArn": arn, "RoleSessionName": "xx", "Tags": [{"Key": "a", "Value": "b"}]}
    assert (await world.refused("AssumeRole", service="sts", **params))[0] == "AccessDenied"


async def test_durations(world) -> None:
    """A session lasts as long as asked, within the role's maximum, and an hour where roles are chained."""
    arn = await world.role(trusted={"AWS": "*"}, MaxSessionDuration=7200)
    params = {"RoleArn": arn, "RoleSessionName": "xx"}
    found = await world.call("AssumeRole", service="sts", DurationSeconds=7200, **params)
    assert found["Credentials"]["Expiration"] == datetime.fromtimestamp(world.clock.now() + 7200, UTC)
    code, message = await world.refused("AssumeRole", service="sts", DurationSeconds=7201, **params)
    assert (code, "MaxSessionDuration" in message) == ("ValidationError", True)
    session = await world.session(arn, world.root)
    code, message = await world.refused("AssumeRole", session, "sts", DurationSeconds=7200, **params)
    assert (code, "role chaining" in message) == ("ValidationError", True)
    await world.call("AssumeRole", session, "sts", **params)


@pytest.mark.parametrize(
    "extra",
    [
        {"SourceIdentity": "ann"},
        {"TransitiveTagKeys": ["a"]},
        {"ProvidedContexts": [{"ProviderArn": "arn:aws:iam::aws:contextProvider/x", "ContextAssertion": "abcd"}]},
        {"SerialNumber": "123456789", "TokenCode": "123456"},
    ],
)
async def test_what_is_not_implemented_says_so(world, extra) -> None:
    """Parameters that would be ignored are refused instead."""
    arn = await world.role(trusted=ME)
    code, message = await world.refused("AssumeRole", service="sts", RoleArn=arn, RoleSessionName="xx", **extra)
    assert code == "ValidationError" and "does not implement" in message


async def test_a_remade_role_is_another_role(world) -> None:
    """Sessions of a deleted role may nothing, not even when a role of that name is made again."""
    arn = await world.role(trusted=ME)
    await world.call("AttachRolePolicy", RoleName="worker", PolicyArn=S3_FULL)
    session = await world.session(arn, world.root)
    assert await world.allowed(session, "s3:GetObject", OBJECT)
    await world.call("DetachRolePolicy", RoleName="worker", PolicyArn=S3_FULL)
    await world.call("DeleteRole", RoleName="worker")
    assert not await world.allowed(session, "s3:GetObject", OBJECT)
    await world.role(trusted=ME)
    await world.call("AttachRolePolicy", RoleName="worker", PolicyArn=S3_FULL)
    assert not await world.allowed(session, "s3:GetObject", OBJECT)
    assert await world.allowed(await world.session(arn, world.root), "s3:GetObject", OBJECT)


async def test_session_tokens_of_users(world) -> None:
    """GetSessionToken gives a user temporary credentials with its own permissions, once and not twice."""
    ann = await world.user("ann")
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow("s3:GetObject"))
    found = (await world.call("GetSessionToken", ann, "sts"))["Credentials"]
    credential = await world.sts.credentials.find(found["AccessKeyId"], found["SessionToken"])
    assert credential.expires_at == world.clock.now() + 43200
    session = replace(ann, principal=credential.principal)
    assert session.principal.arn == ann.principal.arn
    assert await world.allowed(session, "s3:GetObject", OBJECT)
    assert (await world.refused("GetSessionToken", session, "sts"))[0] == "AccessDenied"


async def test_whose_key_is_it(world) -> None:
    """GetAccessKeyInfo tells the account of long-term and temporary keys, GetCallerIdentity one's own."""
    session = await world.session(await world.role())
    key = session.principal.access_key_id
    assert (await world.call("GetAccessKeyInfo", service="sts", AccessKeyId=key))["Account"] == "000000000000"
    me = await world.call("GetCallerIdentity", service="sts")
    assert me == {"UserId": "000000000000", "Account": "000000000000", "Arn": "arn:aws:iam::000000000000:root"}


# -- tokens -----------------------------------------------------------------------------------------------------------

WHO = Principal(
    "role",
    "111122223333",
    "arn:aws:sts::111122223333:assumed-role/r/s",
    "AROAX:s",
    role_arn="arn:aws:iam::111122223333:role/r",
    session_policies=('{"ü": 1}',),
    name="s",
    tags=(("a", "b"),),
    issued_at=5.0,
)


def test_tokens_survive_a_restart_and_nothing_else() -> None:
    """A token opens under the same key in another process, and under no other key."""
    issued = SealedSessions(b"k" * 32, Ids()).issue(WHO, 100.0)
    found = SealedSessions(b"k" * 32, Ids()).find(issued.access_key_id, issued.session_token)
    assert found is not None
    assert (found.secret, found.expires_at) == (issued.secret, 100.0)
    assert found.principal == replace(WHO, access_key_id=issued.access_key_id)
    assert len(issued.secret) == 40 and len(issued.access_key_id) == 20
    assert SealedSessions(b"x" * 32, Ids()).find(issued.access_key_id, issued.session_token) is None


def test_tokens_cannot_be_altered_or_exchanged() -> None:
    """Any changed byte, another's key id, and plain nonsense are no session."""
    sessions = SealedSessions(b"k" * 32, Ids())
    one, two = sessions.issue(WHO, 100.0), sessions.issue(WHO, 100.0)
    assert one.secret != two.secret
    assert sessions.find(one.access_key_id, two.session_token) is None
    raw = base64.b64decode(one.session_token)
    for at in range(0, len(raw), 7):
        changed = base64.b64encode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]).decode()
        assert sessions.find(one.access_key_id, changed) is None
    for token in ("", "x", "é", "A" * 30_000, base64.b64encode(b"0" * 40).decode()):
        assert sessions.find(one.access_key_id, token) is None
