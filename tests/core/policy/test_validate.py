"""What may be stored as a policy, and what AWS says to the rest."""

import json

import pytest

from alonzo.core.policy import MalformedPolicy, check_identity, check_resource, check_trust

OK = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::example_bucket"}
SYNTAX, LEGACY = "Syntax errors in policy.", "The policy failed legacy parsing"


def document(*statements, **top) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **top})


def without(*names: str) -> dict:
    return {name: value for name, value in OK.items() if name not in names}


@pytest.mark.parametrize(
    "text, message",
    [
        ("not json", SYNTAX),
        ('{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}', SYNTAX),
        (document(OK, Version="2008-10-17"), "Policy document must be version 2012-10-17 or greater."),
        (document(OK, Version="2013-10-17"), SYNTAX),
        (document(), SYNTAX),
        (document("afd"), SYNTAX),
        (document(OK, Extra=1), SYNTAX),
        (document({**OK, "Extra": 1}), SYNTAX),
        (document(OK, Id={}), SYNTAX),
        (document({**OK, "Effect": "invalid"}), SYNTAX),
        (document({**OK, "Effect": "denY"}), LEGACY),
        (document({**OK, "Sid": []}), SYNTAX),
        (document({**OK, "Sid": "a"}, {**OK, "Sid": "a"}), "Statement IDs (SID) in a single policy must be unique."),
        (document(without("Effect")), SYNTAX),
        (document(without("Action")), "Policy statement must contain actions."),
        (document({**OK, "Action": []}), "Policy statement must contain actions."),
        (document({**OK, "Action": {}}), SYNTAX),
        (document({**OK, "NotAction": "s3:*"}), SYNTAX),
        (
            document({**OK, "Action": "invalid"}),
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ),
        (document({**OK, "Action": "a a:ListBucket"}), "Vendor a a is not valid"),
        (document({**OK, "Action": "s3:List:Bucket"}), "Actions/Condition can contain only one colon."),
        (document(without("Resource")), "Policy statement must contain resources."),
        (document({**OK, "Resource": []}), "Policy statement must contain resources."),
        (document({**OK, "Resource": {"a": "b"}}), SYNTAX),
        (document({**OK, "NotResource": "*"}), SYNTAX),
        (document({**OK, "Resource": "invalid resource"}), 'Resource invalid resource must be in ARN format or "*".'),
        (
            document({**OK, "Resource": "arn:error:s3:::example_bucket"}),
            'Partition "error" is not valid for resource "arn:error:s3:::example_bucket".',
        ),
        (
            document({**OK, "Resource": "a:bsdf"}),
            'Partition "bsdf" is not valid for resource "arn:bsdf:*:*:*:*".',
        ),
        (document({**OK, "Resource": "arn:aws:s3::example_bucket"}), LEGACY),
        (
            document({**OK, "Resource": "arn:aws"}),
            "Resource vendor must be fully qualified and cannot contain regexes.",
        ),
        (
            document({**OK, "Resource": "arn:aws:s3:us-east-1::b"}),
            "Resource arn:aws:s3:us-east-1::b can not contain region information.",
        ),
        (
            document({**OK, "Resource": "arn:aws:iam:us-east-1::b"}),
            "IAM resource arn:aws:iam:us-east-1::b cannot contain region information.",
        ),
        (document({**OK, "Principal": "*"}), "Policy document should not specify a principal."),
        (document({**OK, "Condition": []}), SYNTAX),
        (document({**OK, "Condition": {"a": "b"}}), SYNTAX),
        (document({**OK, "Condition": {"x": {"a": "1"}}}), SYNTAX),
        (document({**OK, "Condition": {"ForAnyValue::StringEquals": {"a": "1"}}}), SYNTAX),
        (document({**OK, "Condition": {"DateGreaterThan": {"a": {}}}}), SYNTAX),
        (document({**OK, "Condition": {"DateGreaterThan": {"a": "sdfdsf"}}}), LEGACY),
    ],
)
def test_malformed_identity_policies(text, message) -> None:
    """Each mistake in a managed policy has AWS's own sentence."""
    with pytest.raises(MalformedPolicy) as caught:
        check_identity(text, managed=True)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Action": "*"},
        {"Resource": ["arn:aws:s3:::b", "*"]},
        {"Resource": "arn:aws:iam:::user/b"},
        {"Resource": "arn:aws:iam::*:role/*"},
        {"Resource": "arn:aws:s3:::${aws:username}/*"},
        {"Resource": "arn:*:s3:::b"},
        {"Condition": {}},
        {"Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": "Department"}}},
        {"Condition": {"DateGreaterThan": {"aws:CurrentTime": "2017-07-01T00:00:00Z"}}},
        {"Condition": {"Bool": {"aws:SecureTransport": False}}},
        {"Condition": {"NumericLessThan": {"s3:max-keys": 10}}},
    ],
)
def test_well_formed_identity_policies(change) -> None:
    """Documents that AWS takes are taken, as one statement or a list."""
    check_identity(document({**OK, **change}), managed=True)
    check_identity(json.dumps({"Version": "2012-10-17", "Statement": {**OK, **change}}), managed=True)


def test_inline_policies_may_be_of_the_old_version() -> None:
    """Only managed policies insist on the newer version."""
    check_identity(document(OK, Version="2008-10-17"))
    check_identity(json.dumps({"Statement": [OK]}))


TRUST = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "This policy contains invalid Json"),
        (document({**TRUST, "Resource": "*"}), "Has prohibited field Resource"),
        (document({k: v for k, v in TRUST.items() if k != "Principal"}), "Missing required field Principal"),
        (document({**TRUST, "Action": "s3:*"}), "AssumeRole policy may only specify STS AssumeRole actions."),
        (document({**TRUST, "Principal": {"AWS": "bob"}}), 'Invalid principal in policy: "AWS":"bob"'),
        (document({**TRUST, "Principal": {"Service": "lambda"}}), 'Invalid principal in policy: "SERVICE":"lambda"'),
        (document({**TRUST, "Principal": {"Nobody": "x"}}), SYNTAX),
    ],
)
def test_malformed_trust_policies(text, message) -> None:
    """Each mistake in a trust policy has AWS's own sentence."""
    with pytest.raises(MalformedPolicy) as caught:
        check_trust(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "principal",
    [
        {"Service": ["lambda.amazonaws.com", "states.us-east-1.amazonaws.com"]},
        {"AWS": "111122223333"},
        {"AWS": ["arn:aws:iam::111122223333:root", "arn:aws:iam::111122223333:user/a/b"]},
        {"AWS": "arn:aws:sts::111122223333:assumed-role/r/s"},
        {"Federated": "cognito-identity.amazonaws.com"},
        "*",
    ],
)
def test_well_formed_trust_policies(principal) -> None:
    """Every kind of principal may be trusted."""
    check_trust(document({**TRUST, "Principal": principal, "Action": ["sts:AssumeRole", "sts:TagSession"]}))


@pytest.mark.parametrize("name", ["Principal", "Action", "Resource"])
def test_resource_policies_need_all_elements(name) -> None:
    """A resource's policy names who, what and on what."""
    full = {**OK, "Principal": "*"}
    check_resource(document(full))
    with pytest.raises(MalformedPolicy, match=f"Missing required field {name}"):
        check_resource(document({k: v for k, v in full.items() if k != name}))
