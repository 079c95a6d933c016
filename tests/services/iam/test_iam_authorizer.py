"""What the authorizer makes of IAM's rows and of a request's context."""

import json
from dataclasses import replace

import pytest

from alonzo.core.context import ANONYMOUS, Principal
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Access

OBJECT = "arn:aws:s3:::b/k"


def allow(action="s3:GetObject", resource="*", effect="Allow", **kw) -> str:
    statement = {"Effect": effect, "Action": action, "Resource": resource, **kw}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


async def test_a_users_policies_and_its_groups_count_at_once(world) -> None:
    """Inline, managed and group policies allow from the next request on, and stop when they are taken away."""
    ann = await world.user("ann")
    assert not await world.allowed(ann, "s3:GetObject", OBJECT)
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow())
    assert await world.allowed(ann, "s3:GetObject", OBJECT)
    await world.call("DeleteUserPolicy", UserName="ann", PolicyName="p")
    assert not await world.allowed(ann, "s3:GetObject", OBJECT)
    await world.call("CreateGroup", GroupName="g")
    await world.call("AttachGroupPolicy", GroupName="g", PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
    assert not await world.allowed(ann, "s3:GetObject", OBJECT)
    await world.call("AddUserToGroup", GroupName="g", UserName="ann")
    assert await world.allowed(ann, "s3:GetObject", OBJECT)
    assert not await world.allowed(ann, "s3:PutObject", OBJECT)
    await world.call("RemoveUserFromGroup", GroupName="g", UserName="ann")
    assert not await world.allowed(ann, "s3:GetObject", OBJECT)


async def test_a_new_default_version_takes_effect(world) -> None:
    """Changing the default version of an attached policy changes the decision."""
    ann = await world.user("ann")
    made = await world.call("CreatePolicy", PolicyName="p", PolicyDocument=allow())
    arn = made["Policy"]["Arn"]
    await world.call("AttachUserPolicy", UserName="ann", PolicyArn=arn)
    assert await world.allowed(ann, "s3:GetObject", OBJECT)
    deny = allow(effect="Deny")
    await world.call("CreatePolicyVersion", PolicyArn=arn, PolicyDocument=deny, SetAsDefault=True)
    assert not await world.allowed(ann, "s3:GetObject", OBJECT)


async def test_boundaries_bound(world) -> None:
    """A boundary withholds what it does not allow."""
    ann = await world.user("ann")
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow("*"))
    read_only = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    await world.call("PutUserPermissionsBoundary", UserName="ann", PermissionsBoundary=read_only)
    assert await world.allowed(ann, "s3:GetObject", OBJECT)
    assert not await world.allowed(ann, "s3:PutObject", OBJECT)


async def test_the_denial_is_the_callers_own_error(world) -> None:
    """A refusal carries the service's code, 403, and action, resource and reason."""
    ann = await world.user("ann")
    with pytest.raises(ServiceError) as caught:
        await world.iam.authorizer.authorize(ann, Access("s3:GetObject", OBJECT), denied_code="AccessDeniedException")
    assert (caught.value.code, caught.value.status) == ("AccessDeniedException", 403)
    assert caught.value.message == (
        "User: arn:aws:iam::000000000000:user/ann is not authorized to perform: s3:GetObject on resource:"
        ' "arn:aws:s3:::b/k" because no identity-based policy allows the s3:GetObject action'
    )


CONTEXTS = [
    ({"StringEquals": {"aws:username": "ann"}}, {}),
    ({"StringEquals": {"aws:PrincipalArn": "arn:aws:iam::000000000000:user/ann"}}, {}),
    ({"StringEquals": {"aws:PrincipalAccount": "000000000000", "aws:PrincipalType": "User"}}, {}),
    ({"StringLike": {"aws:userid": "AIDA*"}}, {}),
    ({"StringEquals": {"aws:PrincipalTag/Team": "red"}}, {}),
    ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, {}),
    ({"StringEquals": {"aws:ResourceAccount": "000000000000"}}, {}),
    ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"client_ip": "10.1.1.1"}),
    ({"Bool": {"aws:SecureTransport": "true"}}, {"secure": True}),
    ({"StringLike": {"aws:UserAgent": "Boto3/*"}}, {"user_agent": "Boto3/1"}),
    ({"DateLessThan": {"aws:CurrentTime": "2023-11-15T00:00:00Z"}}, {}),
    ({"NumericGreaterThan": {"aws:EpochTime": "1699999999"}}, {}),
    ({"Bool": {"aws:PrincipalIsAWSService": "false", "aws:ViaAWSService": "false"}}, {}),
    ({"Null": {"aws:TokenIssueTime": "true", "aws:SourceArn": "true"}}, {}),
]


@pytest.mark.parametrize("condition, surroundings", CONTEXTS)
async def test_global_condition_keys(world, condition, surroundings) -> None:
    """Each global key has the value that the request's context gives it, and its negation is denied."""
    ann = replace(await world.user("ann"), **surroundings)
    await world.call("TagUser", UserName="ann", Tags=[{"Key": "team", "Value": "red"}])
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow(Condition=condition))
    assert await world.allowed(ann, "s3:GetObject", OBJECT)
    deny = allow(effect="Deny", Condition=condition)
    await world.call("PutUserPolicy", UserName="ann", PolicyName="q", PolicyDocument=deny)
    assert not await world.allowed(ann, "s3:GetObject", OBJECT)


async def test_decisions_that_read_the_context_are_not_remembered(world) -> None:
    """A decision by address is made anew for the next address."""
    ann = await world.user("ann")
    condition = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow(Condition=condition))
    assert await world.allowed(replace(ann, client_ip="10.0.0.1"), "s3:GetObject", OBJECT)
    assert not await world.allowed(replace(ann, client_ip="11.0.0.1"), "s3:GetObject", OBJECT)


async def test_the_services_own_keys(world) -> None:
    """Conditions of an Access are compared, and PassRole depends on whom the role is passed to."""
    ann = await world.user("ann")
    condition = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    document = allow("iam:PassRole", Condition=condition)
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=document)
    role = "arn:aws:iam::000000000000:role/r"
    for service, expected in (("lambda.amazonaws.com", True), ("ec2.amazonaws.com", False)):
        found = await world.allowed(ann, "iam:PassRole", role, conditions={"iam:PassedToService": service})
        assert found is expected


async def test_services_need_the_resources_policy_and_its_source_conditions(world) -> None:
    """A service is let in by the resource's policy, for the source ARN and account it names."""
    policy = allow(
        "lambda:InvokeFunction",
        Principal={"Service": "s3.amazonaws.com"},
        Condition={
            "ArnLike": {"aws:SourceArn": "arn:aws:s3:::mine"},
            "StringEquals": {"aws:SourceAccount": "000000000000"},
        },
    )
    function = "arn:aws:lambda:us-east-1:000000000000:function:f"

    async def may(source: str, document: str | None) -> bool:
        ctx = world.root.as_service("s3.amazonaws.com", source_arn=source)
        return await world.allowed(ctx, "lambda:InvokeFunction", function, resource_policy=document)

    assert await may("arn:aws:s3:::mine", policy)
    assert not await may("arn:aws:s3:::other", policy)
    assert not await may("arn:aws:s3:::mine", None)


async def test_the_anonymous_reach_what_is_public(world) -> None:
    """An unsigned request passes where the bucket's policy allows everybody."""
    nobody = replace(world.root, principal=ANONYMOUS)
    public = allow(Principal="*")
    assert await world.allowed(nobody, "s3:GetObject", OBJECT, resource_policy=public)
    with pytest.raises(ServiceError, match="Access Denied"):
        await world.iam.authorizer.authorize(nobody, Access("s3:GetObject", OBJECT), denied_code="AccessDenied")


@pytest.mark.parametrize("broken", ["{", '{"Statement": [{"Effect": "Allow", "Condition": {"Odd": {"a": "b"}}}]}'])
async def test_a_resource_policy_that_cannot_be_read_closes_the_resource(world, broken) -> None:
    """A broken document lets nobody in but the owner's root, who can mend it."""
    ann = await world.user("ann")
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow())
    assert await world.allowed(ann, "s3:GetObject", OBJECT)
    assert not await world.allowed(ann, "s3:GetObject", OBJECT, resource_policy=broken)
    assert await world.allowed(world.root, "s3:PutBucketPolicy", OBJECT, resource_policy=broken)
    stranger = replace(world.root, principal=Principal.root("111111111111"))
    assert not await world.allowed(stranger, "s3:GetObject", OBJECT, resource_policy=broken)


async def test_a_deleted_user_may_nothing(world) -> None:
    """After its user is gone, a principal that is still in use has no permissions, nor has a namesake's."""
    ann = await world.user("ann")
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow())
    key = (await world.call("ListAccessKeys", UserName="ann"))["AccessKeyMetadata"][0]["AccessKeyId"]
    await world.call("DeleteAccessKey", UserName="ann", AccessKeyId=key)
    await world.call("DeleteUserPolicy", UserName="ann", PolicyName="p")
    await world.call("DeleteUser", UserName="ann")
    assert not await world.allowed(ann, "s3:GetObject", OBJECT)
    await world.user("ann")
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow())
    assert not await world.allowed(ann, "s3:GetObject", OBJECT)


async def test_users_manage_iam_only_as_far_as_allowed(world) -> None:
    """IAM's own operations are authorised: a user reads itself where a policy with a variable lets it."""
    ann = await world.user("ann")
    await world.user("bob")
    mine = "arn:aws:iam::*:user/${aws:username}"
    document = allow("iam:GetUser", mine)
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=document)
    assert (await world.call("GetUser", ann))["User"]["UserName"] == "ann"
    code, message = await world.refused("GetUser", ann, UserName="bob")
    assert code == "AccessDenied" and "iam:GetUser on resource: arn:aws:iam::000000000000:user/bob" in message


async def test_accounts_are_apart(world) -> None:
    """What one account has, another neither sees nor uses."""
    await world.role("r")
    other = replace(world.root, account_id="111111111111", principal=Principal.root("111111111111"))
    assert (await world.call("ListRoles", other))["Roles"] == []
    assert (await world.refused("GetRole", other, RoleName="r"))[0] == "NoSuchEntity"
    queue = "arn:aws:sqs:us-east-1:000000000000:q"
    assert not await world.allowed(other, "sqs:SendMessage", queue)


async def test_a_decision_is_remembered(world, monkeypatch) -> None:
    """What was decided is not decided again."""
    ann = await world.user("ann")
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow("lambda:*"))
    access = Access("lambda:InvokeFunction", "arn:aws:lambda:us-east-1:000000000000:function:f", "000000000000")
    await world.iam.authorizer.authorize(ann, access, denied_code="x")
    monkeypatch.delattr("alonzo.services.iam.authorizer.evaluate")
    await world.iam.authorizer.authorize(ann, access, denied_code="x")
    other = Access("lambda:InvokeFunction", "arn:aws:lambda:us-east-1:000000000000:function:g", "000000000000")
    with pytest.raises(NameError):
        await world.iam.authorizer.authorize(ann, other, denied_code="x")


async def test_a_known_permission_is_forgotten_with_every_change(world, monkeypatch) -> None:
    """What its objects alone allow is known at once, is decided once, and is forgotten when IAM changes."""
    ann, authorizer = await world.user("ann"), world.iam.authorizer
    access = Access("s3:GetObject", OBJECT)

    def known(who=ann, what=access, account=None) -> bool:
        return authorizer.allows_nowait(who.principal, what, account or who.account_id)

    assert not known()
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow())
    assert known()
    assert known(what=Access("s3:GetObject", OBJECT))
    assert known(who=replace(ann, principal=replace(ann.principal)))
    assert not known(what=Access("s3:PutObject", OBJECT))
    assert not known(account="999999999999")
    assert not known(what=Access("s3:GetObject", OBJECT, resource_account="999999999999"))
    with monkeypatch.context() as patch:
        patch.delattr("alonzo.services.iam.authorizer.evaluate")
        assert known()
        await authorizer.authorize(ann, access, denied_code="AccessDenied")
    for change in (
        ("DeleteUserPolicy", {"UserName": "ann", "PolicyName": "p"}),
        ("PutUserPolicy", {"UserName": "ann", "PolicyName": "q", "PolicyDocument": allow(effect="Deny")}),
    ):
        await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow())
        assert known()
        await world.call(change[0], **change[1])
        assert not known()
    await world.call("DeleteUserPolicy", UserName="ann", PolicyName="q")
    assert known()


@pytest.mark.parametrize("effect", ["Allow", "Deny"])
async def test_what_a_request_must_be_asked_for_is_never_known(world, monkeypatch, effect) -> None:
    """Where a policy's condition decides, nothing is known before the request is looked at, nor afterwards."""
    ann, authorizer = await world.user("ann"), world.iam.authorizer
    access = Access("s3:GetObject", OBJECT)
    key = "DateGreaterThan" if effect == "Allow" else "DateLessThan"
    condition = {key: {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow())
    document = allow(effect=effect, Condition=condition)
    await world.call(
        "PutUserPolicy", UserName="ann", PolicyName="p" if effect == "Allow" else "q", PolicyDocument=document
    )
    for _ in range(2):
        assert not authorizer.allows_nowait(ann.principal, access, ann.account_id)
        await authorizer.authorize(ann, access, denied_code="AccessDenied")
    monkeypatch.delattr("alonzo.services.iam.authorizer.evaluate")
    assert not authorizer.allows_nowait(ann.principal, access, ann.account_id)


async def test_a_policy_that_cannot_be_read_allows_nothing_at_once(world) -> None:
    """A malformed resource policy is left to the decision that says so."""
    ann, authorizer = await world.user("ann"), world.iam.authorizer
    access = Access("s3:GetObject", OBJECT, resource_policy="{")
    await world.call("PutUserPolicy", UserName="ann", PolicyName="p", PolicyDocument=allow())
    assert not authorizer.allows_nowait(ann.principal, access, ann.account_id)
    with pytest.raises(ServiceError, match="cannot be read"):
        await authorizer.authorize(ann, access, denied_code="AccessDenied")
