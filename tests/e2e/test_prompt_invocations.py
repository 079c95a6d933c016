"""What is known of a caller and a function on the warm path ends with what made it true, from the next request on."""

from __future__ import annotations

import json
import uuid

import pytest
from botocore.exceptions import ClientError

from alonzo.testing import Server

from .conftest import RUNTIME, TRUST, Maker, wait_for, zip_of

pytestmark = pytest.mark.slow

NAMED = "def handler(event, context):\n    return {'as': %r, 'got': event}\n"


def code_of(call) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


class Caller:
    """A user of its own with a function of its own; `warm` invokes until all about both is remembered."""

    def __init__(self, server: Server, make: Maker) -> None:
        self.make, self.iam, self.user = make, server.client("iam"), f"user-{uuid.uuid4().hex[:8]}"
        self.function = make.function(NAMED % "first")
        self.iam.create_user(UserName=self.user)
        self.allow("Allow")
        key = self.key = self.iam.create_access_key(UserName=self.user)["AccessKey"]
        self.client = server.client(
            "lambda", access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"]
        )

    def allow(self, effect: str) -> None:
        statement = {"Effect": effect, "Action": "lambda:InvokeFunction", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.iam.put_user_policy(UserName=self.user, PolicyName="p", PolicyDocument=document)

    def invoke(self, payload=None, **more):
        return json.loads(
            self.client.invoke(FunctionName=self.function, Payload=json.dumps(payload or {}), **more)["Payload"].read()
        )

    def warm(self) -> None:
        for n in range(4):
            assert self.invoke({"n": n}) == {"as": "first", "got": {"n": n}}


@pytest.fixture
def caller(alonzo: Server, make: Maker) -> Caller:
    made = Caller(alonzo, make)
    made.warm()
    return made


def test_a_policy_taken_away(caller: Caller) -> None:
    """Without its policy, or against a Deny, a warm caller is refused; allowed again, it goes on."""
    caller.iam.delete_user_policy(UserName=caller.user, PolicyName="p")
    assert code_of(caller.invoke) == "AccessDeniedException"
    caller.allow("Allow")
    caller.warm()
    caller.allow("Deny")
    assert code_of(caller.invoke) == "AccessDeniedException"


def test_a_key_made_inactive_and_deleted(caller: Caller) -> None:
    """An access key ends at once, though its requests were remembered."""
    key = {"UserName": caller.user, "AccessKeyId": caller.key["AccessKeyId"]}
    caller.iam.update_access_key(**key, Status="Inactive")
    assert code_of(caller.invoke) == "UnrecognizedClientException"
    caller.iam.update_access_key(**key, Status="Active")
    caller.warm()
    caller.iam.delete_access_key(**key)
    assert code_of(caller.invoke) == "UnrecognizedClientException"


def test_a_functions_own_policy(caller: Caller, alonzo: Server) -> None:
    """A permission on the function counts from the next request on, and stops with its removal."""
    caller.iam.delete_user_policy(UserName=caller.user, PolicyName="p")
    assert code_of(caller.invoke) == "AccessDeniedException"
    arn = caller.iam.get_user(UserName=caller.user)["User"]["Arn"]
    functions = alonzo.client("lambda")
    functions.add_permission(
        FunctionName=caller.function, StatementId="s", Action="lambda:InvokeFunction", Principal=arn
    )
    caller.warm()
    functions.remove_permission(FunctionName=caller.function, StatementId="s")
    assert code_of(caller.invoke) == "AccessDeniedException"


def test_a_function_changed_and_deleted(caller: Caller, alonzo: Server) -> None:
    """New code answers the next request; a function without concurrency throttles; a deleted one is not found."""
    functions = alonzo.client("lambda")
    functions.update_function_code(FunctionName=caller.function, ZipFile=zip_of({"app.py": NAMED % "second"}))
    wait_for(lambda: functions.get_function(FunctionName=caller.function)["Configuration"]["State"] == "Active")
    functions.get_waiter("function_updated_v2").wait(FunctionName=caller.function)
    assert caller.invoke({"n": 1}) == {"as": "second", "got": {"n": 1}}
    functions.put_function_concurrency(FunctionName=caller.function, ReservedConcurrentExecutions=0)
    assert code_of(caller.invoke) == "TooManyRequestsException"
    functions.delete_function_concurrency(FunctionName=caller.function)
    assert caller.invoke({"n": 2}) == {"as": "second", "got": {"n": 2}}
    functions.delete_function(FunctionName=caller.function)
    assert code_of(caller.invoke) == "ResourceNotFoundException"


def test_everybody_gets_their_own(alonzo: Server) -> None:
    """Equal names in two accounts and regions are two functions: the warm path never mixes them up."""
    name = f"same-{uuid.uuid4().hex[:8]}"
    places = [("111111111111", "us-east-1"), ("222222222222", "us-east-1"), ("111111111111", "eu-west-1")]
    clients = []
    for account, region in places:
        iam = alonzo.client("iam", access_key_id=account)
        role_name = f"role-{uuid.uuid4().hex[:8]}"
        role = iam.create_role(RoleName=role_name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        client = alonzo.client("lambda", access_key_id=account, region=region)
        client.create_function(
            FunctionName=name,
            Runtime=RUNTIME,
            Handler="app.handler",
            Role=role,
            Code={"ZipFile": zip_of({"app.py": NAMED % f"{account} {region}"})},
        )
        client.get_waiter("function_active_v2").wait(FunctionName=name)
        clients.append(client)
    for n in range(4):
        for (account, region), client in zip(places, clients, strict=True):
            answer = json.loads(client.invoke(FunctionName=name, Payload=json.dumps(n))["Payload"].read())
            assert answer == {"as": f"{account} {region}", "got": n}


def test_events_are_accepted_in_the_same_way(caller: Caller) -> None:
    """An Event is answered 202 with no body, and run; without permission it is refused."""
    for n in range(3):
        answer = caller.client.invoke(
            FunctionName=caller.function, InvocationType="Event", Payload=json.dumps({"event": n})
        )
        assert answer["StatusCode"] == 202 and answer["Payload"].read() == b""
    wait_for(lambda: sum("REPORT" in line for line in caller.make.log(caller.function)) >= 7)
    caller.iam.delete_user_policy(UserName=caller.user, PolicyName="p")
    with pytest.raises(ClientError):
        caller.client.invoke(FunctionName=caller.function, InvocationType="Event")
