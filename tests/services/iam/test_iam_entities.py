"""Users, roles, groups, policies and keys: AWS's shapes, limits and words."""

import json
from urllib.parse import unquote

import pytest

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
DOCUMENT = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
BASE = "arn:aws:iam::000000000000:"


async def test_a_role_comes_back_as_it_was_made(world) -> None:
    """GetRole shows path, document, duration, boundary and tags; lists leave boundary and tags out."""
    made = await world.call(
        "CreateRole",
        RoleName="r",
        Path="/team/",
        AssumeRolePolicyDocument=TRUST,
        Description="d",
        MaxSessionDuration=7200,
        PermissionsBoundary=BASIC,
        Tags=[{"Key": "k", "Value": "v"}],
    )
    role = (await world.call("GetRole", RoleName="R"))["Role"]
    assert role == made["Role"]
    assert role["Arn"] == BASE + "role/team/r" and role["RoleId"].startswith("AROA")
    assert unquote(role["AssumeRolePolicyDocument"]) == TRUST
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == BASIC
    assert role["Tags"] == [{"Key": "k", "Value": "v"}] and role["MaxSessionDuration"] == 7200
    listed = (await world.call("ListRoles", PathPrefix="/team/"))["Roles"]
    assert listed == [{k: v for k, v in role.items() if k not in ("Tags", "PermissionsBoundary")}]
    assert (await world.call("ListRoles", PathPrefix="/other/"))["Roles"] == []


@pytest.mark.parametrize(
    "operation, params, message",
    [
        ("GetRole", {"RoleName": "x"}, "The role with name x cannot be found."),
        ("GetUser", {"UserName": "x"}, "The user with name x cannot be found."),
        ("GetGroup", {"GroupName": "x"}, "The group with name x cannot be found."),
        ("GetPolicy", {"PolicyArn": BASE + "policy/nothing"}, f"Policy {BASE}policy/nothing was not found."),
        (
            "AttachRolePolicy",
            {"RoleName": "r", "PolicyArn": BASE + "policy/nothing"},
            f"Policy {BASE}policy/nothing does not exist or is not attachable.",
        ),
        ("DetachRolePolicy", {"RoleName": "r", "PolicyArn": BASIC}, f"Policy {BASIC} was not found."),
        ("GetRolePolicy", {"RoleName": "r", "PolicyName": "p"}, "The role policy with name p cannot be found."),
        ("DeleteAccessKey", {"AccessKeyId": "A" * 20}, f"The Access Key with id {'A' * 20} cannot be found."),
        (
            "GetPolicyVersion",
            {"PolicyArn": BASIC, "VersionId": "v9"},
            f"Policy {BASIC} version v9 does not exist or is not attachable.",
        ),
    ],
)
async def test_what_is_not_there(world, operation, params, message) -> None:
    """Whatever is missing is NoSuchEntity in AWS's words."""
    await world.role("r")
    assert await world.refused(operation, **params) == ("NoSuchEntity", message)


async def test_names_are_taken_once_whatever_their_case(world) -> None:
    """Creating under a name that differs in case only is EntityAlreadyExists."""
    await world.role("Worker")
    refused = await world.refused("CreateRole", RoleName="worker", AssumeRolePolicyDocument=TRUST)
    assert refused == ("EntityAlreadyExists", "Role with name worker already exists.")
    await world.call("CreatePolicy", PolicyName="p", PolicyDocument=DOCUMENT)
    assert (await world.refused("CreatePolicy", PolicyName="P", PolicyDocument=DOCUMENT))[0] == "EntityAlreadyExists"


async def test_deleting_in_the_wrong_order_conflicts(world) -> None:
    """Roles, users, groups and policies refuse to go while something hangs on them, and go afterwards."""
    await world.role("r")
    await world.call("AttachRolePolicy", RoleName="r", PolicyArn=BASIC)
    await world.call("PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=DOCUMENT)
    detach = ("DeleteConflict", "Cannot delete entity, must detach all policies first.")
    assert await world.refused("DeleteRole", RoleName="r") == detach
    await world.call("DetachRolePolicy", RoleName="r", PolicyArn=BASIC)
    delete = ("DeleteConflict", "Cannot delete entity, must delete policies first.")
    assert await world.refused("DeleteRole", RoleName="r") == delete
    await world.call("DeleteRolePolicy", RoleName="r", PolicyName="p")
    await world.call("DeleteRole", RoleName="r")
    assert (await world.refused("GetRole", RoleName="r"))[0] == "NoSuchEntity"

    await world.user("ann")
    await world.call("CreateGroup", GroupName="g")
    await world.call("AddUserToGroup", GroupName="g", UserName="ann")
    assert "access keys first" in (await world.refused("DeleteUser", UserName="ann"))[1]
    key = (await world.call("ListAccessKeys", UserName="ann"))["AccessKeyMetadata"][0]["AccessKeyId"]
    await world.call("DeleteAccessKey", UserName="ann", AccessKeyId=key)
    assert "remove users from group" in (await world.refused("DeleteUser", UserName="ann"))[1]
    assert "remove users from group" in (await world.refused("DeleteGroup", GroupName="g"))[1]
    await world.call("RemoveUserFromGroup", GroupName="g", UserName="ann")
    await world.call("DeleteUser", UserName="ann")
    await world.call("DeleteGroup", GroupName="g")


async def test_policy_versions(world) -> None:
    """Versions count up and never repeat, five at most; the default cannot go, and the last goes with the policy."""
    arn = (await world.call("CreatePolicy", PolicyName="p", PolicyDocument=DOCUMENT))["Policy"]["Arn"]
    for number in range(2, 6):
        made = await world.call("CreatePolicyVersion", PolicyArn=arn, PolicyDocument=DOCUMENT, SetAsDefault=number == 3)
        assert made["PolicyVersion"]["VersionId"] == f"v{number}"
    code, message = await world.refused("CreatePolicyVersion", PolicyArn=arn, PolicyDocument=DOCUMENT)
    assert code == "LimitExceeded" and "up to 5 versions" in message
    assert (await world.refused("DeletePolicyVersion", PolicyArn=arn, VersionId="v3"))[0] == "DeleteConflict"
    assert "more than one version" in (await world.refused("DeletePolicy", PolicyArn=arn))[1]
    await world.call("DeletePolicyVersion", PolicyArn=arn, VersionId="v5")
    made = await world.call("CreatePolicyVersion", PolicyArn=arn, PolicyDocument=DOCUMENT)
    assert made["PolicyVersion"]["VersionId"] == "v6"
    await world.call("SetDefaultPolicyVersion", PolicyArn=arn, VersionId="v1")
    versions = (await world.call("ListPolicyVersions", PolicyArn=arn))["Versions"]
    assert [(v["VersionId"], v["IsDefaultVersion"]) for v in versions if v["IsDefaultVersion"]] == [("v1", True)]
    for version in versions:
        if not version["IsDefaultVersion"]:
            await world.call("DeletePolicyVersion", PolicyArn=arn, VersionId=version["VersionId"])
    await world.call("DeletePolicy", PolicyArn=arn)


async def test_attached_policies_cannot_be_deleted(world) -> None:
    """A policy in use, as policy or as boundary, is a DeleteConflict; its users are listed."""
    arn = (await world.call("CreatePolicy", PolicyName="p", PolicyDocument=DOCUMENT))["Policy"]["Arn"]
    await world.role("r", PermissionsBoundary=arn)
    conflict = ("DeleteConflict", "Cannot delete a policy attached to entities.")
    assert await world.refused("DeletePolicy", PolicyArn=arn) == conflict
    await world.call("DeleteRolePermissionsBoundary", RoleName="r")
    await world.call("AttachRolePolicy", RoleName="r", PolicyArn=arn)
    assert await world.refused("DeletePolicy", PolicyArn=arn) == conflict
    found = await world.call("ListEntitiesForPolicy", PolicyArn=arn)
    assert [role["RoleName"] for role in found["PolicyRoles"]] == ["r"]
    assert (await world.call("GetPolicy", PolicyArn=arn))["Policy"]["AttachmentCount"] == 1


async def test_lists_come_in_pages(world) -> None:
    """Marker and MaxItems walk through everything once, in order."""
    for number in range(5):
        await world.role(f"role-{number}")
    names, params = [], {"MaxItems": 2}
    while True:
        page = await world.call("ListRoles", **params)
        names += [role["RoleName"] for role in page["Roles"]]
        assert len(page["Roles"]) <= 2
        if not page["IsTruncated"]:
            break
        params["Marker"] = page["Marker"]
    assert names == [f"role-{number}" for number in range(5)]
    assert (await world.refused("ListRoles", Marker="\u00ff"))[0] == "ValidationError"


async def test_aws_managed_policies(world) -> None:
    """AWS's policies have their real ARNs, can be read and attached, and are changed by nobody."""
    listed = (await world.call("ListPolicies", Scope="AWS", MaxItems=1000))["Policies"]
    arns = {policy["Arn"] for policy in listed}
    for name in ("SQSQueue", "DynamoDB", "Kinesis", "MSK", "VPCAccess", "Basic"):
        assert f"arn:aws:iam::aws:policy/service-role/AWSLambda{name}ExecutionRole" in arns
    for name in [
        "AdministratorAccess",
        "AmazonS3FullAccess",
        "AmazonS3ReadOnlyAccess",
        "AmazonDynamoDBFullAccess",
        "AmazonSQSFullAccess",
        "AmazonSNSFullAccess",
        "AmazonKinesisFullAccess",
        "CloudWatchLogsFullAccess",
        "AWSXRayDaemonWriteAccess",
        "PowerUserAccess",
        "AWSLambda_FullAccess",
        "IAMFullAccess",
        "SecretsManagerReadWrite",
        "AmazonEventBridgeFullAccess",
        "ReadOnlyAccess",
    ]:
        assert f"arn:aws:iam::aws:policy/{name}" in arns
    version = await world.call("GetPolicyVersion", PolicyArn=BASIC, VersionId="v1")
    document = json.loads(unquote(version["PolicyVersion"]["Document"]))
    assert document["Statement"][0]["Action"] == ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    assert (await world.refused("DeletePolicy", PolicyArn=BASIC))[0] == "AccessDenied"


async def test_every_aws_policy_would_be_accepted_as_our_own(world) -> None:
    """The data file holds nothing that CreatePolicy's checks refuse, but for size."""
    from alonzo.core.policy import check_identity

    for policy in (await world.call("ListPolicies", Scope="AWS", MaxItems=1000))["Policies"]:
        params = {"PolicyArn": policy["Arn"], "VersionId": policy["DefaultVersionId"]}
        check_identity(
            unquote((await world.call("GetPolicyVersion", **params))["PolicyVersion"]["Document"]), managed=True
        )


async def test_limits(world) -> None:
    """Two keys a user, ten policies an entity, and each document's size are held."""
    await world.user("ann")
    await world.call("CreateAccessKey", UserName="ann")
    limit = ("LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
    assert await world.refused("CreateAccessKey", UserName="ann") == limit
    await world.role("r")
    arns = [p["Arn"] for p in (await world.call("ListPolicies", Scope="AWS"))["Policies"]][:11]
    for arn in arns[:10]:
        await world.call("AttachRolePolicy", RoleName="r", PolicyArn=arn)
    await world.call("AttachRolePolicy", RoleName="r", PolicyArn=arns[0])
    refused = await world.refused("AttachRolePolicy", RoleName="r", PolicyArn=arns[10])
    assert refused == ("LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10")
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::" + "b" * 60] * 90}
    big = json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=4)
    code, message = await world.refused("CreatePolicy", PolicyName="big", PolicyDocument=big)
    assert (code, message) == ("LimitExceeded", "Cannot exceed quota for PolicySize: 6144")
    await world.call("PutRolePolicy", RoleName="r", PolicyName="one", PolicyDocument=big)
    code, message = await world.refused("PutRolePolicy", RoleName="r", PolicyName="two", PolicyDocument=big)
    assert (code, message) == ("LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role r")
    await world.call("PutRolePolicy", RoleName="r", PolicyName="one", PolicyDocument=big)


async def test_malformed_documents_are_refused_everywhere(world) -> None:
    """Trust, inline and managed policies are checked before anything is stored."""
    bad = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "x", "Resource": "*"}]})
    refused = await world.refused("CreateRole", RoleName="r", AssumeRolePolicyDocument=bad)
    assert refused == ("MalformedPolicyDocument", "Has prohibited field Resource")
    await world.role("r")
    for operation, params in (
        ("PutRolePolicy", {"RoleName": "r", "PolicyName": "p", "PolicyDocument": bad}),
        ("CreatePolicy", {"PolicyName": "p", "PolicyDocument": bad}),
    ):
        assert (await world.refused(operation, **params))[0] == "MalformedPolicyDocument"
    assert (await world.call("ListRolePolicies", RoleName="r"))["PolicyNames"] == []


async def test_trusted_users_and_roles_must_exist(world) -> None:
    """A trust policy that names a user of the account that is not there is refused, at making and at updating."""

    def trusting(arn: str) -> str:
        statement = {"Effect": "Allow", "Principal": {"AWS": arn}, "Action": "sts:AssumeRole"}
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    ann = BASE + "user/ann"
    refused = ("MalformedPolicyDocument", f'Invalid principal in policy: "AWS":"{ann}"')
    assert await world.refused("CreateRole", RoleName="r", AssumeRolePolicyDocument=trusting(ann)) == refused
    await world.role("r")
    assert await world.refused("UpdateAssumeRolePolicy", RoleName="r", PolicyDocument=trusting(ann)) == refused
    await world.user("ann")
    await world.call("UpdateAssumeRolePolicy", RoleName="r", PolicyDocument=trusting(ann))
    await world.call("UpdateAssumeRolePolicy", RoleName="r", PolicyDocument=trusting(BASE + "role/r"))
    elsewhere = "arn:aws:iam::111111111111:user/unknown"
    await world.call("UpdateAssumeRolePolicy", RoleName="r", PolicyDocument=trusting(elsewhere))


async def test_tags(world) -> None:
    """Tags are merged by key without case, removed, limited to fifty, and never doubled."""
    await world.role("r", Tags=[{"Key": "A", "Value": "1"}])
    await world.call("TagRole", RoleName="r", Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": "3"}])
    tags = (await world.call("ListRoleTags", RoleName="r"))["Tags"]
    assert tags == [{"Key": "a", "Value": "2"}, {"Key": "b", "Value": "3"}]
    await world.call("UntagRole", RoleName="r", TagKeys=["A"])
    assert (await world.call("ListRoleTags", RoleName="r"))["Tags"] == [{"Key": "b", "Value": "3"}]
    twice = [{"Key": "x", "Value": "1"}, {"Key": "X", "Value": "2"}]
    assert (await world.refused("TagRole", RoleName="r", Tags=twice))[0] == "InvalidInput"
    many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
    assert (await world.refused("TagRole", RoleName="r", Tags=many))[0] == "LimitExceeded"


async def test_account_details(world) -> None:
    """GetAccountAuthorizationDetails shows who has which policies, and filters."""
    await world.role("r")
    await world.call("AttachRolePolicy", RoleName="r", PolicyArn=BASIC)
    await world.user("ann")
    await world.call("CreateGroup", GroupName="g")
    await world.call("AddUserToGroup", GroupName="g", UserName="ann")
    await world.call("PutGroupPolicy", GroupName="g", PolicyName="p", PolicyDocument=DOCUMENT)
    found = await world.call("GetAccountAuthorizationDetails")
    assert found["RoleDetailList"][0]["AttachedManagedPolicies"][0]["PolicyArn"] == BASIC
    assert found["UserDetailList"][0]["GroupList"] == ["g"]
    assert unquote(found["GroupDetailList"][0]["GroupPolicyList"][0]["PolicyDocument"]) == DOCUMENT
    only = await world.call("GetAccountAuthorizationDetails", Filter=["Role"])
    assert only["UserDetailList"] == [] and len(only["RoleDetailList"]) == 1


async def test_simulation_decides_like_the_authorizer(world) -> None:
    """Simulated decisions: allowed, implicitDeny, explicitDeny, and the context values that were missing."""
    await world.role("r")
    condition = {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}
    statements = [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:DeleteBucket", "Resource": "*"},
        {"Effect": "Allow", "Action": "sqs:*", "Resource": "*", "Condition": condition},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    await world.call("PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=document)
    actions = ["s3:GetObject", "s3:DeleteBucket", "iam:GetUser", "sqs:SendMessage"]
    found = await world.call("SimulatePrincipalPolicy", PolicySourceArn=BASE + "role/r", ActionNames=actions)
    results = found["EvaluationResults"]
    assert [one["EvalDecision"] for one in results] == ["allowed", "explicitDeny", "implicitDeny", "implicitDeny"]
    assert results[3]["MissingContextValues"] == ["aws:requestedregion"]
    entry = {"ContextKeyName": "aws:RequestedRegion", "ContextKeyType": "string", "ContextKeyValues": ["eu-west-1"]}
    again = await world.call(
        "SimulateCustomPolicy", PolicyInputList=[document], ActionNames=["sqs:SendMessage"], ContextEntries=[entry]
    )
    assert again["EvaluationResults"][0]["EvalDecision"] == "allowed"
