"""IAM and STS as boto3 sees them, on a running server."""

import json
import uuid

import boto3
import pytest
from botocore.exceptions import ClientError

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}],
}
DOCUMENT = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iam:GetRole", "Resource": "arn:aws:iam::*:role/%2B+x"}],
}


def refused(call, **params):
    with pytest.raises(ClientError) as caught:
        call(**params)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


@pytest.mark.slow
def test_a_role_from_making_to_assuming(alonzo) -> None:
    """boto3 reads documents back as they were, its paginators end, and a session is bound by its role."""
    iam, sts = alonzo.client("iam"), alonzo.client("sts")
    name = f"wire-{uuid.uuid4().hex[:8]}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    assert role["AssumeRolePolicyDocument"] == TRUST
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(DOCUMENT))
    assert iam.get_role_policy(RoleName=name, PolicyName="p")["PolicyDocument"] == DOCUMENT
    pages = iam.get_paginator("list_policies").paginate(Scope="AWS", PaginationConfig={"PageSize": 7})
    arns = [policy["Arn"] for page in pages for policy in page["Policies"]]
    assert len(arns) == len(set(arns)) > 40
    assert refused(iam.get_role, RoleName="nobody") == (
        "NoSuchEntity",
        404,
        "The role with name nobody cannot be found.",
    )
    given = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="boto")["Credentials"]
    session = boto3.Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name="us-east-1"
    )
    endpoint = iam.meta.endpoint_url
    me = session.client("sts", endpoint_url=endpoint).get_caller_identity()
    assert me["Arn"] == f"arn:aws:sts::000000000000:assumed-role/{name}/boto"
    code, status, message = refused(session.client("iam", endpoint_url=endpoint).list_roles)
    assert (code, status) == ("AccessDenied", 403)
    assert message.endswith("because no identity-based policy allows the iam:ListRoles action")
    code, status, _ = refused(session.client("lambda", endpoint_url=endpoint).list_functions)
    assert (code, status) == ("AccessDeniedException", 403)


@pytest.mark.slow
def test_wrong_credentials_on_the_wire(alonzo) -> None:
    """boto3 sees AWS's codes for an unknown key, a wrong secret and a forged token, in each protocol."""
    endpoint = alonzo.client("iam").meta.endpoint_url
    codes = {}
    for label, keys in {
        "key": ("AKIAIOSFODNN7EXAMPLE", "x"),
        "secret": ("test", "wrong"),
        "token": ("ASIAIOSFODNN7EXAMPLE", "x", "forged"),
    }.items():
        session = boto3.Session(*keys, region_name="us-east-1")
        codes[label] = [
            refused(getattr(session.client(service, endpoint_url=endpoint), operation))[0]
            for service, operation in (
                ("s3", "list_buckets"),
                ("lambda", "list_functions"),
                ("iam", "list_users"),
                ("logs", "describe_log_groups"),
            )
        ]
    unknown = ["UnrecognizedClientException", "InvalidClientTokenId", "UnrecognizedClientException"]
    mismatch = ["InvalidSignatureException", "SignatureDoesNotMatch", "InvalidSignatureException"]
    assert codes == {
        "key": ["InvalidAccessKeyId", *unknown],
        "secret": ["SignatureDoesNotMatch", *mismatch],
        "token": ["InvalidToken", *unknown],
    }
