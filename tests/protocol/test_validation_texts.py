"""Validation errors against what AWS answered."""

import json
import re
from pathlib import Path

import pytest

from alonzo.core.errors import ServiceError
from alonzo.protocol.model import load_model
from alonzo.protocol.validate import validate

RECORDINGS = Path(__file__).resolve().parents[2] / ".." / "shared" / "reference" / "aws-recordings" / "lambda"
ROLE = "arn:aws:iam::111111111111:role/role"
CODE = {"ZipFile": b""}


def refusal(service, operation, params):
    with pytest.raises(ServiceError) as refused:
        validate(load_model(service), operation, params)
    return refused.value


#: (operation, parameters, whether the installed model still has the constraint that was recorded word for word)
RECORDED = [
    ("CreateAlias", {"FunctionName": "f", "Name": "2024", "FunctionVersion": "1"}, True),
    ("CreateFunction", {"FunctionName": "f", "Role": "r1", "Code": CODE}, True),
    ("CreateFunction", {"FunctionName": "f", "Role": ROLE, "Code": CODE, "Architectures": ["x86_64", "arm64"]}, True),
    ("CreateFunction", {"FunctionName": "f", "Role": ROLE, "Code": CODE, "Architectures": ["X86_64"]}, True),
    ("CreateFunction", {"FunctionName": "f", "Role": ROLE, "Code": CODE, "SnapStart": {"ApplyOn": "invalidOption"}},
     True),
    ("CreateFunction", {"FunctionName": "f", "Role": ROLE, "Code": CODE,
                        "VpcConfig": {"SubnetIds": ["<subnet_id_2>"]}}, True),
    ("CreateFunction", {"FunctionName": "f", "Role": ROLE, "Code": CODE,
                        "VpcConfig": {"SecurityGroupIds": ["<security_group_id_2>"]}}, True),
    ("CreateFunction", {"FunctionName": "f", "Role": ROLE, "Code": CODE,
                        "Layers": ["arn:<partition>:lambda:<region>:111111111111:layer:<resource:1>"]}, False),
    ("GetFunction", {"FunctionName": "f", "Qualifier": "invalid-qualifier-with-?-char"}, True),
    ("GetFunction", {"FunctionName": "invalid:function:name"}, False),
    ("ListFunctions", {"FunctionVersion": "invalid"}, True),
    ("ListLayers", {"CompatibleArchitecture": "archdoesnotexist"}, True),
    ("ListLayers", {"CompatibleRuntime": "runtimedoesnotexist"}, False),
    ("PublishLayerVersion", {"LayerName": "l", "Content": CODE, "CompatibleRuntimes": ["invalidruntime"],
                             "CompatibleArchitectures": ["invalidarch"]}, False),
    ("PublishLayerVersion", {"LayerName": "l", "Content": CODE,
                             "CompatibleRuntimes": ["invalidruntime", "invalidruntime2", "nodejs20.x"],
                             "CompatibleArchitectures": ["invalidarch", "x86_64"]}, False),
    ("AddLayerVersionPermission", {"LayerName": "l", "VersionNumber": 1, "StatementId": "s", "Action": "*",
                                   "Principal": "*"}, True),
    ("AddPermission", {"FunctionName": "f", "StatementId": "example.com", "Action": "lambda:InvokeFunction",
                       "Principal": "s3.amazonaws.com"}, True),
    ("PutProvisionedConcurrencyConfig", {"FunctionName": "f", "Qualifier": "1", "ProvisionedConcurrentExecutions": 0},
     True),
    ("PutFunctionRecursionConfig", {"FunctionName": "f", "RecursiveLoop": "InvalidValue"}, True),
    ("CreateEventSourceMapping", {"FunctionName": "f", "StartingPosition": "invalid"}, False),
    ("UntagResource", {"Resource": "arn:aws:lambda:us-east-1:111111111111:function:f"}, True),
    ("UpdateAlias", {"FunctionName": "f", "Name": "a", "RoutingConfig": {"AdditionalVersionWeights": {"2": 2.0}}},
     True),
    ("UpdateAlias", {"FunctionName": "f", "Name": "a", "RoutingConfig": {"AdditionalVersionWeights": {"2": -1.0}}},
     True),
    ("UpdateAlias", {"FunctionName": "f", "Name": "a", "RoutingConfig": {"AdditionalVersionWeights": {"$LATEST": 0.5}}},
     True),
]  # fmt: skip


def recorded_messages():
    found = set()

    def walk(value):
        if isinstance(value, dict):
            error = value.get("Error")
            if isinstance(error, dict) and "failed to satisfy" in (error.get("Message") or ""):
                found.add((error["Code"], error["Message"]))
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    for file in RECORDINGS.glob("*.json"):
        walk(json.loads(file.read_text()))
    return found


def loose(message):
    """Without patterns, and without what enums hold: models gain values, and word patterns anew."""
    message = re.sub(r"enum value set: \[[^\]]*\]", "enum value set: []", message)
    return re.sub(r"pattern: .*?(?=, Member must not be null|; Value|\]$|$)", "pattern:", message)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside this checkout")
@pytest.mark.parametrize(
    ("operation", "params", "exact"), RECORDED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_texts_are_those_that_aws_answered(operation, params, exact):
    """A request that AWS refused is refused with the same code and words."""
    error = refusal("lambda", operation, params)
    messages = recorded_messages()
    if exact:
        assert (error.code, error.message) in messages
    else:
        assert (error.code, loose(error.message)) in {(code, loose(message)) for code, message in messages}


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside this checkout")
def test_runtimes_are_listed_as_aws_lists_them():
    """CreateFunction's own text for an unknown runtime names the runtimes in AWS's order, and no retired one."""
    error = refusal(
        "lambda", "CreateFunction", {"FunctionName": "f", "Role": ROLE, "Code": CODE, "Runtime": "PYTHON3.9"}
    )
    recorded = next(
        text for code, text in recorded_messages() if code == error.code and text.startswith("Value PYTHON3.9")
    )
    runtimes = [set(re.search(r"\[(.*)\]", text).group(1).split(", ")) for text in (error.message, recorded)]
    assert runtimes[1] <= runtimes[0]
    assert loose(error.message) == loose(recorded)


OTHERS = [
    ("iam", "CreateRole", {"RoleName": "a b", "AssumeRolePolicyDocument": "{}"}, "ValidationError",
     "The specified value for roleName is invalid. It must contain only alphanumeric characters and/or the "
     "following: +=,.@_-"),
    ("iam", "CreateRole", {"RoleName": "a" * 65, "AssumeRolePolicyDocument": "{}"}, "ValidationError",
     "1 validation error detected: Value '" + "a" * 65 + "' at 'roleName' failed to satisfy constraint: "
     "Member must have length less than or equal to 64"),
    ("sts", "AssumeRole", {"RoleArn": "x", "RoleSessionName": "session"}, "ValidationError",
     "1 validation error detected: Value 'x' at 'roleArn' failed to satisfy constraint: "
     "Member must have length greater than or equal to 20"),
    ("logs", "CreateLogGroup", {"logGroupName": "a:b"}, "InvalidParameterException",
     "1 validation error detected: Value 'a:b' at 'logGroupName' failed to satisfy constraint: "
     "Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+"),
    ("sqs", "SendMessage", {"QueueUrl": "u"}, "MissingRequiredParameterException",
     "The request must contain the parameter MessageBody."),
    ("kinesis", "CreateStream", {"StreamName": ""}, "ValidationException",
     "2 validation errors detected: Value '' at 'streamName' failed to satisfy constraint: "
     "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; Value '' at 'streamName' failed to satisfy "
     "constraint: Member must have length greater than or equal to 1"),
    ("lambda", "UpdateFunctionConfiguration", {"FunctionName": "f", "Environment": {"Variables": {"1": "secret"}}},
     "ValidationException",
     "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must "
     "satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]"),
    ("iam", "TagRole", {"RoleName": "r", "Tags": [{"Key": "k", "Value": "v"}, {"Key": "a", "Value": "!"}]},
     "ValidationError",
     "1 validation error detected: Value '!' at 'tags.2.member.value' failed to satisfy constraint: "
     "Member must satisfy regular expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "operation", "params", "code", "text"), OTHERS)
def test_other_services_have_their_own_codes(service, operation, params, code, text):
    """Each service refuses with its own code, and texts never show what the model calls sensitive."""
    error = refusal(service, operation, params)
    assert (error.code, error.message) == (code, text)


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [
        ("lambda", "CreateFunction", {"FunctionName": "f", "Role": ROLE, "Code": CODE, "Runtime": "python3.13",
                                      "Environment": {"Variables": {"KEY": "é"}}, "Timeout": 900,
                                      "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}}),
        ("lambda", "Invoke", {"FunctionName": "arn:aws:lambda:us-east-1:111111111111:function:f:$LATEST"}),
        ("iam", "TagRole", {"RoleName": "r", "Tags": [{"Key": "Ключ 1", "Value": "Größe @ 日本"}]}),
        ("iam", "PutRolePolicy", {"RoleName": "r", "PolicyName": "p", "PolicyDocument": '{"é": "ÿ\t\n"}'}),
        ("s3", "PutObject", {}),
        ("logs", "PutLogEvents", {"logGroupName": "/aws/lambda/f", "logStreamName": "2024/01/01/[$LATEST]0",
                                  "logEvents": [{"timestamp": 0, "message": "x" * 300_000}]}),
    ],
)  # fmt: skip
def test_valid_parameters_pass(service, operation, params):
    """What satisfies the model passes, and S3 is left to check for itself."""
    validate(load_model(service), operation, params)


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("DeleteObjects", {"Delete": {}}, "MalformedXML"),
        ("DeleteObjects", {"Delete": {"Objects": [{"Key": "a"}, {"VersionId": "b"}]}}, "MalformedXML"),
        ("DeleteObjects", {}, "MissingRequestBodyError"),
        ("PutObjectTagging", {"Tagging": {"TagSet": [{"Key": "k"}]}}, "MalformedXML"),
        ("PutBucketNotificationConfiguration",
         {"NotificationConfiguration": {"LambdaFunctionConfigurations": [{"Events": ["s3:ObjectCreated:*"]}]}},
         "MalformedXML"),
    ],
)  # fmt: skip
def test_s3_bodies_lack_nothing(operation, params, code):
    """A body of S3 that lacks what its schema wants is MalformedXML at any depth, and no body has its own error."""
    assert refusal("s3", operation, {"Bucket": "b", "Key": "k", **params}).code == code


def test_s3_bodies_that_lack_nothing_pass():
    """A complete body passes."""
    validate(load_model("s3"), "DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "a"}]}})
    validate(load_model("s3"), "CreateBucket", {"Bucket": "b"})


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ({"timestamp": -1, "message": "a"}, "Value '-1' at 'logEvents.2.member.timestamp' failed to satisfy constraint:"
         " Member must have value greater than or equal to 0"),
        ({"timestamp": 1, "message": ""}, "Value '' at 'logEvents.2.member.message' failed to satisfy constraint:"
         " Member must have length greater than or equal to 1"),
        ({"timestamp": 1}, "Value null at 'logEvents.2.member.message' failed to satisfy constraint:"
         " Member must not be null"),
        ({"timestamp": None, "message": "a"}, "Value null at 'logEvents.2.member.timestamp' failed to satisfy"
         " constraint: Member must not be null"),
    ],
)  # fmt: skip
def test_the_one_bad_structure_of_many_is_named(bad, text):
    """A list that is checked as a whole where it is sound still says which of its elements is not."""
    good = {"timestamp": 1, "message": "a"}
    params = {"logGroupName": "g", "logStreamName": "s", "logEvents": [good, bad, good]}
    refused = refusal("logs", "PutLogEvents", params)
    assert refused.message == f"1 validation error detected: {text}"
    validate(load_model("logs"), "PutLogEvents", {**params, "logEvents": [good, good, good]})
