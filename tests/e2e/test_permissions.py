"""Who is refused, and in which words: credentials, policies of every kind, over HTTP with boto3."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta

import botocore.auth
import botocore.crt.auth
import pytest
from botocore.exceptions import ClientError

from alonzo.core.context import Principal
from alonzo.core.ids import Ids
from alonzo.services.sts.sessions import SealedSessions
from alonzo.testing import Server

from .conftest import RUNTIME, TRUST, Maker, zip_of

pytestmark = pytest.mark.slow

ACCOUNT = "000000000000"
#: A read-only operation of every service and the family of its errors: (service, operation, family, status).
CALLS = [
    ("s3", "list_buckets", "s3", 403),
    ("sts", "get_caller_identity", "query", 403),
    ("iam", "list_roles", "query", 403),
    ("sns", "list_topics", "query", 403),
    ("lambda", "list_functions", "json", 403),
    ("logs", "describe_log_groups", "json", 400),
    ("sqs", "list_queues", "json", 400),
]
CODE = zip_of({"app.py": "def handler(e, c):\n    return 'hello'\n"})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action, resource="*", **more):
    return {**allow(action, resource), "Effect": "Deny", **more}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def refusal(call, **params):
    """(code, message, status) of the error that the call raises."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


class User:
    """An IAM user with an access key, made on a server."""

    def __init__(self, server: Server, name: str, *statements, boundary: str | None = None) -> None:
        self.server, self.iam, self.name = server, server.client("iam"), name
        self.arn = self.iam.create_user(UserName=name, **({"PermissionsBoundary": boundary} if boundary else {}))[
            "User"
        ]["Arn"]
        if statements:
            self.may(*statements)
        self.key = self.iam.create_access_key(UserName=name)["AccessKey"]

    def may(self, *statements) -> None:
        self.iam.put_user_policy(UserName=self.name, PolicyName="inline", PolicyDocument=document(*statements))

    def client(self, service: str):
        key = self.key
        return self.server.client(service, access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])


def session_client(server: Server, service: str, credentials):
    return server.client(
        service,
        access_key_id=credentials["AccessKeyId"],
        secret_access_key=credentials["SecretAccessKey"],
        session_token=credentials["SessionToken"],
    )


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory):
    """A server, and credentials that it sealed for a role and whose hour was over a second ago."""
    folder = tmp_path_factory.mktemp("expired")
    with Server(folder) as server:
        arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/late/one"
        role = f"arn:aws:iam::{ACCOUNT}:role/late"
        who = Principal("role", ACCOUNT, arn, "AROA:one", role_arn=role, name="one", issued_at=time.time() - 3601)
        issued = SealedSessions((folder / "sessions.key").read_bytes(), Ids()).issue(who, float(int(time.time()) - 1))
        yield server, issued


@pytest.mark.parametrize(("service", "operation", "family", "status"), CALLS)
def test_expired_credentials(expired, service, operation, family, status):
    """Temporary credentials whose time is over are refused as expired, in each service's own words."""
    server, issued = expired
    client = server.client(
        service,
        access_key_id=issued.access_key_id,
        secret_access_key=issued.secret,
        session_token=issued.session_token,
    )
    said = refusal(getattr(client, operation))
    if family == "s3":
        assert said == ("ExpiredToken", "The provided token has expired.", 400)
    else:
        code = "ExpiredToken" if family == "query" else "ExpiredTokenException"
        assert said == (code, "The security token included in the request is expired", status)


def sign_at(monkeypatch: pytest.MonkeyPatch, off: timedelta) -> datetime:
    """Let boto3's clock be off, and stand still; both of its signers'."""
    wrong = datetime.now(UTC) + off
    for signer in (botocore.auth, botocore.crt.auth):
        monkeypatch.setattr(
            signer,
            "get_current_datetime",
            lambda remove_tzinfo=True: wrong.replace(tzinfo=None) if remove_tzinfo else wrong,
        )
    return wrong


@pytest.mark.parametrize("minutes", [-16, 16])
@pytest.mark.parametrize(("service", "operation", "family", "status"), CALLS)
def test_clock_that_is_off(alonzo, monkeypatch, service, operation, family, status, minutes):
    """A request signed 16 minutes ago, or in 16 minutes, is refused with both times and the limit."""
    wrong = sign_at(monkeypatch, timedelta(minutes=minutes))
    code, message, given = refusal(getattr(alonzo.client(service), operation))
    assert given == status
    if family == "s3":
        assert code == "RequestTimeTooSkewed"
        assert message == "The difference between the request time and the current time is too large."
        return
    assert code == ("SignatureDoesNotMatch" if family == "query" else "InvalidSignatureException")
    stamp = r"\d{8}T\d{6}Z"
    signed = wrong.strftime("%Y%m%dT%H%M%SZ")
    if minutes < 0:
        assert re.fullmatch(rf"Signature expired: {signed} is now earlier than {stamp} \({stamp} - 15 min\.\)", message)
    else:
        assert re.fullmatch(
            rf"Signature not yet current: {signed} is still later than {stamp} \({stamp} \+ 15 min\.\)", message
        )


def test_s3_says_both_times_where_a_clock_is_off(alonzo, monkeypatch):
    """RequestTimeTooSkewed carries the request's time, the server's and the allowance in milliseconds."""
    wrong = sign_at(monkeypatch, -timedelta(hours=1))
    with pytest.raises(ClientError) as caught:
        alonzo.client("s3").list_buckets()
    error = caught.value.response["Error"]
    assert error["RequestTime"] == wrong.strftime("%Y%m%dT%H%M%SZ")
    assert error["MaxAllowedSkewMilliseconds"] == "900000"
    server = datetime.strptime(error["ServerTime"], "%Y-%m-%dT%H:%M:%SZ")
    assert abs((server - datetime.now(UTC).replace(tzinfo=None)).total_seconds()) < 10


def test_a_wrong_secret_and_a_key_that_is_unknown_or_disabled(alonzo):
    """Each is refused in the service's words, and nothing tells a disabled key from one that never was."""
    user = User(alonzo, "keyed", allow("*"))
    good = user.key["AccessKeyId"]
    for service, operation, family, status in CALLS:
        wrong = alonzo.client(service, access_key_id=good, secret_access_key="not the secret")
        code, message, given = refusal(getattr(wrong, operation))
        assert code == ("InvalidSignatureException" if family == "json" else "SignatureDoesNotMatch")
        assert message.startswith("The request signature we calculated does not match the signature you provided.")
        assert given == status
    user.iam.update_access_key(UserName="keyed", AccessKeyId=good, Status="Inactive")
    for key_id in (good, "AKIAQAAAAAAAAAAAAAAA"):
        for service, operation, family, status in CALLS:
            said = refusal(getattr(alonzo.client(service, access_key_id=key_id, secret_access_key="x"), operation))
            if family == "s3":
                text = "The AWS Access Key Id you provided does not exist in our records."
                assert said == ("InvalidAccessKeyId", text, 403)
            else:
                code = "InvalidClientTokenId" if family == "query" else "UnrecognizedClientException"
                assert said == (code, "The security token included in the request is invalid.", status)


def test_pass_role(alonzo, make: Maker):
    """Whoever may create functions but not pass the role is denied, and no function is made."""
    role = make.role()
    user = User(alonzo, "deployer", allow("lambda:*"))
    functions = user.client("lambda")
    wanted = {"FunctionName": "passed", "Runtime": RUNTIME, "Handler": "app.handler", "Code": {"ZipFile": CODE}}
    expected = (
        f"User: {user.arn} is not authorized to perform: iam:PassRole on resource: {role}"
        " because no identity-based policy allows the iam:PassRole action"
    )
    assert refusal(functions.create_function, Role=role, **wanted) == ("AccessDeniedException", expected, 403)
    assert refusal(functions.get_function, FunctionName="passed")[0] == "ResourceNotFoundException"
    # For another service only is as good as not at all.
    other = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    user.may(allow("lambda:*"), allow("iam:PassRole", role, Condition=other))
    assert refusal(functions.create_function, Role=role, **wanted) == ("AccessDeniedException", expected, 403)
    user.may(allow("lambda:*"), allow("iam:PassRole", role), deny("iam:PassRole", role))
    explicit = expected.partition(" because")[0] + " with an explicit deny in an identity-based policy"
    assert refusal(functions.create_function, Role=role, **wanted) == ("AccessDeniedException", explicit, 403)
    lambdas = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    user.may(allow("lambda:*"), allow("iam:PassRole", role, Condition=lambdas))
    assert functions.create_function(Role=role, **wanted)["Role"] == role
    make.functions.get_waiter("function_active_v2").wait(FunctionName="passed", WaiterConfig={"Delay": 1})
    # The same counts where a function's role is changed.
    second = make.role()
    code, message, _ = refusal(functions.update_function_configuration, FunctionName="passed", Role=second)
    assert (code, f"iam:PassRole on resource: {second} because" in message) == ("AccessDeniedException", True)
    assert functions.get_function_configuration(FunctionName="passed")["Role"] == role


def test_permissions_boundary(alonzo):
    """A boundary bounds a user and a role, whatever their own policies allow, and is named as the reason."""
    iam = alonzo.client("iam")
    boundary = iam.create_policy(
        PolicyName="edge",
        PolicyDocument=document(allow(["s3:GetObject", "sts:*"]), deny("s3:GetObject", "arn:aws:s3:::*/hidden")),
    )["Policy"]["Arn"]
    s3 = alonzo.client("s3")
    s3.create_bucket(Bucket="bounded")
    for key in ("k", "hidden"):
        s3.put_object(Bucket="bounded", Key=key, Body=b"seen")
    user = User(alonzo, "bounded", allow("*"), boundary=boundary)
    trust = document({"Effect": "Allow", "Principal": {"AWS": user.arn}, "Action": "sts:AssumeRole"})
    role = iam.create_role(RoleName="bounded", AssumeRolePolicyDocument=trust, PermissionsBoundary=boundary)["Role"]
    iam.put_role_policy(RoleName="bounded", PolicyName="all", PolicyDocument=document(allow("*")))
    session = user.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="one")
    mine = session_client(alonzo, "s3", session["Credentials"])
    for client, arn in ((user.client("s3"), user.arn), (mine, session["AssumedRoleUser"]["Arn"])):
        assert client.get_object(Bucket="bounded", Key="k")["Body"].read() == b"seen"
        put = f'User: {arn} is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::bounded/k"'
        because = " because no permissions boundary allows the s3:PutObject action"
        said = refusal(client.put_object, Bucket="bounded", Key="k", Body=b"x")
        assert said == ("AccessDenied", put + because, 403)
        get = f'User: {arn} is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::bounded/hidden"'
        said = refusal(client.get_object, Bucket="bounded", Key="hidden")
        assert said == ("AccessDenied", get + " with an explicit deny in a permissions boundary", 403)
    iam.delete_user_permissions_boundary(UserName="bounded")
    user.client("s3").put_object(Bucket="bounded", Key="k", Body=b"x")


def test_session_policies(alonzo):
    """What AssumeRole is given bounds that session alone: inline document, managed ones, or either of both."""
    iam, s3 = alonzo.client("iam"), alonzo.client("s3")
    s3.create_bucket(Bucket="sessions")
    s3.put_object(Bucket="sessions", Key="k", Body=b"seen")
    trust = document({"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"})
    role = iam.create_role(RoleName="sessions", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.put_role_policy(RoleName="sessions", PolicyName="all", PolicyDocument=document(allow("s3:*")))
    sts = alonzo.client("sts")

    def client(**bounds):
        answer = sts.assume_role(RoleArn=role, RoleSessionName="one", **bounds)
        return session_client(alonzo, "s3", answer["Credentials"])

    who = f"User: arn:aws:sts::{ACCOUNT}:assumed-role/sessions/one is not authorized to perform: "
    unbound = client()
    unbound.put_object(Bucket="sessions", Key="k", Body=b"seen")
    bound = client(Policy=document(allow("s3:Get*", "arn:aws:s3:::sessions/*")))
    assert bound.get_object(Bucket="sessions", Key="k")["Body"].read() == b"seen"
    put = who + 's3:PutObject on resource: "arn:aws:s3:::sessions/k"'
    expected = put + " because no session policy allows the s3:PutObject action"
    assert refusal(bound.put_object, Bucket="sessions", Key="k") == ("AccessDenied", expected, 403)
    denied = client(Policy=document(allow("*"), deny("s3:PutObject")))
    expected = put + " with an explicit deny in a session policy"
    assert refusal(denied.put_object, Bucket="sessions", Key="k") == ("AccessDenied", expected, 403)
    managed = client(PolicyArns=[{"arn": "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"}])
    assert managed.list_objects_v2(Bucket="sessions")["KeyCount"] == 1
    assert "because no session policy allows" in refusal(managed.put_object, Bucket="sessions", Key="k")[1]
    # A session policy gives nothing that the role lacks.
    more = session_client(
        alonzo,
        "iam",
        sts.assume_role(RoleArn=role, RoleSessionName="one", Policy=document(allow("*")))["Credentials"],
    )
    code, message, _ = refusal(more.list_roles)
    assert (code, "because no identity-based policy allows the iam:ListRoles action" in message) == (
        "AccessDenied",
        True,
    )


def test_trust_decides_who_assumes(alonzo):
    """A user whom the trust policy does not name is denied, as AWS says it, whatever the user's own policies say."""
    iam = alonzo.client("iam")
    role = iam.create_role(RoleName="closed", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    user = User(alonzo, "stranger", allow("*"))
    expected = f"User: {user.arn} is not authorized to perform: sts:AssumeRole on resource: {role}"
    said = refusal(user.client("sts").assume_role, RoleArn=role, RoleSessionName="one")
    assert said == ("AccessDenied", expected, 403)


def test_deny_in_a_bucket_policy(alonzo):
    """A bucket policy's Deny beats every Allow, also its owner's administrator's, who can still take it away."""
    s3 = alonzo.client("s3")
    s3.create_bucket(Bucket="walled")
    s3.put_object(Bucket="walled", Key="k", Body=b"x")
    user = User(alonzo, "walled", allow("*"))
    policy = document(deny("s3:GetObject", "arn:aws:s3:::walled/*", Principal="*"))
    s3.put_bucket_policy(Bucket="walled", Policy=policy)
    for client, arn in ((user.client("s3"), user.arn), (s3, f"arn:aws:iam::{ACCOUNT}:root")):
        expected = (
            f'User: {arn} is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::walled/k"'
            " with an explicit deny in a resource-based policy"
        )
        assert refusal(client.get_object, Bucket="walled", Key="k") == ("AccessDenied", expected, 403)
    s3.put_bucket_policy(Bucket="walled", Policy=document(deny("s3:*", "arn:aws:s3:::walled", Principal="*")))
    assert refusal(s3.list_objects_v2, Bucket="walled")[0] == "AccessDenied"
    assert refusal(user.client("s3").delete_bucket_policy, Bucket="walled")[0] == "AccessDenied"
    s3.delete_bucket_policy(Bucket="walled")
    assert user.client("s3").get_object(Bucket="walled", Key="k")["Body"].read() == b"x"


def test_deny_in_a_queue_policy(alonzo):
    """A queue policy's Deny beats the sender's own Allow."""
    sqs = alonzo.client("sqs")
    url = sqs.create_queue(QueueName="walled")["QueueUrl"]
    user = User(alonzo, "sender", allow("sqs:*"))
    user.client("sqs").send_message(QueueUrl=url, MessageBody="before")
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:walled"
    policy = document(deny("sqs:SendMessage", arn, Principal={"AWS": user.arn}))
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    code, message, status = refusal(user.client("sqs").send_message, QueueUrl=url, MessageBody="after")
    assert code in ("AccessDenied", "AccessDeniedException") and status in (400, 403)
    assert message.lower() == (
        f"user: {user.arn} is not authorized to perform: sqs:sendmessage on resource: {arn}"
        " with an explicit deny in a resource-based policy"
    )
    sqs.send_message(QueueUrl=url, MessageBody="the owner's")


def test_a_stranger_needs_both_sides(alonzo):
    """Another account's user needs its own policy and the bucket's; one of them is not enough."""
    s3 = alonzo.client("s3")
    s3.create_bucket(Bucket="shared-with")
    s3.put_object(Bucket="shared-with", Key="k", Body=b"x")
    abroad = alonzo.client("iam", access_key_id="111122223333", secret_access_key="x")
    arn = abroad.create_user(UserName="guest")["User"]["Arn"]
    key = abroad.create_access_key(UserName="guest")["AccessKey"]
    guest = alonzo.client("s3", access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])
    where = {"Bucket": "shared-with", "Key": "k"}
    assert refusal(guest.get_object, **where)[0] == "AccessDenied"
    everything = document(allow("s3:*"))
    abroad.put_user_policy(UserName="guest", PolicyName="p", PolicyDocument=everything)
    assert "because no resource-based policy allows the s3:GetObject action" in refusal(guest.get_object, **where)[1]
    grant = document(allow("s3:GetObject", "arn:aws:s3:::shared-with/*", Principal={"AWS": arn}))
    s3.put_bucket_policy(Bucket="shared-with", Policy=grant)
    assert guest.get_object(**where)["Body"].read() == b"x"
    abroad.delete_user_policy(UserName="guest", PolicyName="p")
    assert "because no identity-based policy allows the s3:GetObject action" in refusal(guest.get_object, **where)[1]
