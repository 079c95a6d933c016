"""What a function's role does not allow is denied to the function, whatever service it asks."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from .conftest import Maker

pytestmark = pytest.mark.slow

ACCOUNT = "000000000000"
ASKING = """
import boto3
from botocore.exceptions import ClientError
def handler(event, context):
    answers = {}
    for service, operation, params in event:
        try:
            getattr(boto3.client(service), operation)(**params)
            answers[operation] = "allowed"
        except ClientError as error:
            answers[operation] = [error.response["Error"]["Code"], error.response["Error"]["Message"],
                error.response["ResponseMetadata"]["HTTPStatusCode"]]
    return answers
"""


def test_every_service_names_what_the_role_lacks(alonzo, make: Maker):
    """Each denial names the session of the role, the action, the resource and the reason, with the service's code."""
    s3, sqs, sns, logs = (alonzo.client(service) for service in ("s3", "sqs", "sns", "logs"))
    s3.create_bucket(Bucket="inside")
    s3.put_object(Bucket="inside", Key="a/k", Body=b"x")
    url = sqs.create_queue(QueueName="inside")["QueueUrl"]
    topic = sns.create_topic(Name="inside")["TopicArn"]
    logs.create_log_group(logGroupName="inside")
    role = make.role(
        name="inside",
        inline={
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "sqs:GetQueueUrl", "Resource": "*"},
                {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
                {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::inside/a/*"},
            ],
        },
    )
    name = make.function(ASKING, role=role, MemorySize=1024, Timeout=30)
    here = f"us-east-1:{ACCOUNT}"
    function = f"arn:aws:lambda:{here}:function:{name}"
    asked = [
        ("sqs", "get_queue_url", {"QueueName": "inside"}, None, ""),
        ("s3", "get_object", {"Bucket": "inside", "Key": "a/k"}, None, ""),
        ("s3", "delete_object", {"Bucket": "inside", "Key": "a/k"}, "AccessDenied", '"arn:aws:s3:::inside/a/k"'),
        ("sqs", "send_message", {"QueueUrl": url, "MessageBody": "m"}, "AccessDenied", f"arn:aws:sqs:{here}:inside"),
        ("sns", "publish", {"TopicArn": topic, "Message": "m"}, "AuthorizationError", topic),
        ("lambda", "invoke", {"FunctionName": name}, "AccessDeniedException", function),
        (
            "logs",
            "delete_log_group",
            {"logGroupName": "inside"},
            "AccessDeniedException",
            f"arn:aws:logs:{here}:log-group:inside:log-stream:",
        ),
        ("iam", "create_user", {"UserName": "me"}, "AccessDenied", f"arn:aws:iam::{ACCOUNT}:user/me"),
    ]
    answers, response = make.invoke(name, [row[:3] for row in asked])
    assert "FunctionError" not in response, answers
    who = f"User: arn:aws:sts::{ACCOUNT}:assumed-role/inside/{name} is not authorized to perform: "
    for service, operation, _, code, resource in asked:
        if code is None:
            assert answers[operation] == "allowed"
            continue
        given, message, status = answers[operation]
        action = service + ":" + "".join(word.capitalize() for word in operation.split("_"))
        # SNS and SQS write their actions in ways of their own.
        action = action.replace("lambda:Invoke", "lambda:InvokeFunction").replace("sns:", "SNS:")
        action = action.lower() if service == "sqs" else action
        because = f" because no identity-based policy allows the {action} action"
        if operation == "delete_object":
            because = " with an explicit deny in an identity-based policy"
        text = f"{who}{action} on resource: {resource}{because}"
        assert (given, message) == (code, text)
        assert status in (400, 403)
    with pytest.raises(ClientError, match="NoSuchEntity"):
        alonzo.client("iam").get_user(UserName="me")
    # Permission given later counts at once, also for an environment that is warm.
    more = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}]}
    make.iam.put_role_policy(RoleName="inside", PolicyName="more", PolicyDocument=json.dumps(more))
    assert make.invoke(name, [asked[3][:3]])[0] == {"send_message": "allowed"}
    make.iam.delete_role_policy(RoleName="inside", PolicyName="more")
    assert make.invoke(name, [asked[3][:3]])[0]["send_message"][0] == "AccessDenied"
