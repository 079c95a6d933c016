"""Resource policies put whole: what is kept and refused, and that a real server goes by them."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import insert

from alonzo.services.lambda_.store.tables import policies

ARN = "arn:aws:lambda:us-east-1:111111111111:function:f"
OTHER = "222222222222"


def statement(effect: str = "Allow", **more: Any) -> dict[str, Any]:
    return {
        "Effect": effect,
        "Principal": {"AWS": [OTHER, f"arn:aws:iam::{OTHER}:role/caller"]},
        "Action": ["lambda:InvokeFunction", "lambda:GetFunction"],
        "Resource": ARN,
        **more,
    }


def policy(*statements: dict[str, Any], **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", **more, "Statement": list(statements)})


async def test_a_policy_is_put_shown_and_deleted_whole(world: Any) -> None:
    """Put answers the document and a revision; both ways of reading show them; deleted, there is none."""
    await world.create()
    text = policy(statement(Sid="one"), statement("Deny", Sid="two"), Id="mine")
    put = await world.call("PutResourcePolicy", ResourceArn=ARN, Policy=text)
    assert json.loads(put["Policy"]) == json.loads(text)
    assert await world.call("GetResourcePolicy", ResourceArn=ARN) == put
    assert await world.call("GetPolicy", FunctionName="f") == put
    assert await world.call("DeleteResourcePolicy", ResourceArn=ARN) == {}
    error = await world.fails("GetResourcePolicy", ResourceArn=ARN)
    assert (error.code, error.status) == ("ResourceNotFoundException", 404)
    error = await world.fails("DeleteResourcePolicy", ResourceArn=ARN)
    assert error.message == "No policy is associated with the given resource."


async def test_put_replaces_what_add_permission_made(world: Any) -> None:
    """Both kinds of operation work on the one policy."""
    await world.create()
    added = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    await world.call("AddPermission", FunctionName="f", StatementId="old", **added)
    await world.call("PutResourcePolicy", ResourceArn=ARN, Policy=policy(statement(), Id="mine"))
    await world.call("AddPermission", FunctionName="f", StatementId="new", **added)
    document = json.loads((await world.call("GetResourcePolicy", ResourceArn=ARN))["Policy"])
    assert document["Id"] == "mine"
    assert [one.get("Sid") for one in document["Statement"]] == [None, "new"]
    await world.call("RemovePermission", FunctionName="f", StatementId="new")
    document = json.loads((await world.call("GetResourcePolicy", ResourceArn=ARN))["Policy"])
    assert document["Statement"] == [statement()]


async def test_a_single_statement_needs_no_list(world: Any) -> None:
    """A statement that stands by itself counts, and others can be added to it."""
    await world.create()
    await world.call("PutResourcePolicy", ResourceArn=ARN, Policy=json.dumps({"Statement": statement()}))
    added = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    await world.call("AddPermission", FunctionName="f", StatementId="new", **added)
    document = json.loads((await world.call("GetResourcePolicy", ResourceArn=ARN))["Policy"])
    assert len(document["Statement"]) == 2


async def test_each_qualifier_has_a_policy_of_its_own(world: Any) -> None:
    """Versions and aliases are named by their ARNs; `$LATEST` takes none."""
    await world.create()
    await world.call("PublishVersion", FunctionName="f")
    await world.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    for qualifier in ("1", "live"):
        own = policy(statement(Resource=f"{ARN}:{qualifier}"))
        await world.call("PutResourcePolicy", ResourceArn=f"{ARN}:{qualifier}", Policy=own)
    assert (await world.fails("GetResourcePolicy", ResourceArn=ARN)).code == "ResourceNotFoundException"
    shown = await world.call("GetResourcePolicy", ResourceArn=f"{ARN}:live")
    assert shown["RevisionId"] == (await world.call("GetAlias", FunctionName="f", Name="live"))["RevisionId"]
    error = await world.fails("PutResourcePolicy", ResourceArn=f"{ARN}:$LATEST", Policy=policy(statement()))
    assert error.message == "We currently do not support adding policies for $LATEST."
    await world.call("DeleteResourcePolicy", ResourceArn=f"{ARN}:1")
    await world.call("GetResourcePolicy", ResourceArn=f"{ARN}:live")


async def test_a_stale_revision_changes_nothing(world: Any) -> None:
    """Put and Delete with another revision than the current one fail, and each put makes a new one."""
    await world.create()
    stale = "11111111-1111-4111-8111-111111111111"
    text = policy(statement())
    for operation, more in (("PutResourcePolicy", {"Policy": text}), ("DeleteResourcePolicy", {})):
        error = await world.fails(operation, ResourceArn=ARN, RevisionId=stale, **more)
        assert (error.code, error.status) == ("PreconditionFailedException", 412)
    first = await world.call("PutResourcePolicy", ResourceArn=ARN, Policy=text)
    second = await world.call("PutResourcePolicy", ResourceArn=ARN, Policy=text, RevisionId=first["RevisionId"])
    assert first["RevisionId"] != second["RevisionId"]
    await world.call("DeleteResourcePolicy", ResourceArn=ARN, RevisionId=second["RevisionId"])


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        policy(),
        policy({"Effect": "Allow", "Action": "lambda:*", "Resource": ARN}),
        policy(statement(Action="s3:GetObject")),
        policy(statement(Condition={"NoSuchOperator": {"aws:SourceArn": "x"}})),
        policy(statement(Sid="twice"), statement(Sid="twice")),
        policy(statement(), Surprise=1),
    ],
)
async def test_what_is_no_policy_is_refused(world: Any, text: str) -> None:
    """A document that IAM could not evaluate is not kept."""
    await world.create()
    error = await world.fails("PutResourcePolicy", ResourceArn=ARN, Policy=text)
    assert error.code == "InvalidParameterValueException"
    assert (await world.fails("GetResourcePolicy", ResourceArn=ARN)).code == "ResourceNotFoundException"


async def test_what_is_not_there_has_no_policy(world: Any) -> None:
    """A missing function, a missing alias, and a runtime of one's own."""
    missing = f"{ARN}:gone"
    text = policy(statement())
    assert (
        await world.fails("PutResourcePolicy", ResourceArn=ARN, Policy=text)
    ).message == f"Function not found: {ARN}"
    await world.create()
    error = await world.fails("PutResourcePolicy", ResourceArn=missing, Policy=text)
    assert error.message == f"Cannot find alias arn: {missing}"
    own = "arn:aws:lambda:us-east-1:111111111111:runtime/mine"
    assert (await world.fails("GetResourcePolicy", ResourceArn=own)).code == "ResourceNotFoundException"


async def test_a_policy_of_an_older_folder_is_read(world: Any) -> None:
    """Rows that hold only the statements are the policies that AddPermission made of them."""
    await world.create()
    row = {"account_id": "111111111111", "region": "us-east-1", "name": "f", "qualifier": ""}
    statements = json.dumps([statement(Sid="old")])
    await world.db.write(lambda connection: connection.execute(insert(policies).values(**row, statements=statements)))
    shown = json.loads((await world.call("GetPolicy", FunctionName="f"))["Policy"])
    assert shown == {"Version": "2012-10-17", "Id": "default", "Statement": [statement(Sid="old")]}


@pytest.mark.slow
def test_a_policy_put_whole_is_enforced(alonzo: Any, make_zip: Any) -> None:
    """It lets another account in, and what it denies is denied even to an administrator of its own account."""
    mine, theirs = alonzo.client("lambda"), alonzo.client("lambda", access_key_id=OTHER)
    iam = alonzo.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName=f"worker-{uuid.uuid4().hex[:8]}",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]["Arn"]
    name = f"f-{uuid.uuid4().hex[:8]}"
    code = {"ZipFile": make_zip()}
    arn = mine.create_function(
        FunctionName=name, Runtime="python3.11", Role=role, Handler="handler.handler", Code=code
    )["FunctionArn"]
    mine.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})

    def may(client: Any) -> bool:
        try:
            return bool(client.invoke(FunctionName=arn, InvocationType="DryRun")["StatusCode"] == 204)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDeniedException"
            return False

    try:
        assert (may(mine), may(theirs)) == (True, False)
        letting = statement(Principal={"AWS": OTHER}, Resource=arn)
        mine.put_resource_policy(ResourceArn=arn, Policy=policy(letting))
        assert (may(mine), may(theirs)) == (True, True)
        mine.put_resource_policy(
            ResourceArn=arn,
            Policy=policy(letting, statement("Deny", Principal="*", Action="lambda:InvokeFunction", Resource=arn)),
        )
        assert (may(mine), may(theirs)) == (False, False)
        mine.delete_resource_policy(ResourceArn=arn)
        assert (may(mine), may(theirs)) == (True, False)
    finally:
        mine.delete_function(FunctionName=name)
