"""The service through boto3 on a real server: what clients see on the wire, and functions that really run."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.slow

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


@pytest.fixture(scope="module")
def client(alonzo: Any) -> Any:
    return alonzo.client("lambda")


@pytest.fixture(scope="module")
def role(alonzo: Any) -> str:
    created = alonzo.client("iam").create_role(
        RoleName=f"worker-{uuid.uuid4().hex[:8]}", AssumeRolePolicyDocument=json.dumps(TRUST)
    )
    arn: str = created["Role"]["Arn"]
    return arn


@pytest.fixture
def function(client: Any, role: str, make_zip: Any) -> Iterator[Any]:
    """Makes functions and removes them afterwards."""
    names = []

    def make(text: str, **more: Any) -> str:
        names.append(f"f-{uuid.uuid4().hex[:8]}")
        params = {"Runtime": "python3.11", "Role": role, "Handler": "handler.handler", **more}
        client.create_function(FunctionName=names[-1], Code={"ZipFile": make_zip(text)}, **params)
        client.get_waiter("function_active_v2").wait(FunctionName=names[-1], WaiterConfig={"Delay": 1})
        return names[-1]

    yield make
    for name in names:
        client.delete_function(FunctionName=name)


def run(client: Any, name: str, **more: Any) -> Any:
    answer = client.invoke(FunctionName=name, **more)
    payload = json.load(answer["Payload"])
    assert "FunctionError" not in answer, payload
    return payload


def test_versions_keep_their_own_code(client: Any, function: Any, make_zip: Any) -> None:
    """A published version goes on running the code and configuration it was published with."""
    name = function(
        "import os\ndef handler(e, c): return ['one', os.environ['MODE']]", Environment={"Variables": {"MODE": "a"}}
    )
    client.publish_version(FunctionName=name)
    client.update_function_code(
        FunctionName=name, ZipFile=make_zip("def handler(e, c): return ['two', c.function_version]")
    )
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {"MODE": "b"}})
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    assert run(client, name) == ["two", "$LATEST"]
    assert run(client, name, Qualifier="1") == ["one", "a"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert run(client, f"{name}:live") == ["one", "a"]


def test_the_published_latest_is_replaced(client: Any, function: Any, make_zip: Any) -> None:
    """`$LATEST.PUBLISHED` runs what was published, warm or not, until it is published again."""
    text = "def handler(e, c): return [{!r}, c.function_version, c.invoked_function_arn.split(':')[-1]]"
    name, qualifier = function(text.format("one")), "$LATEST.PUBLISHED"
    client.publish_version(FunctionName=name, PublishTo="LATEST_PUBLISHED")
    client.update_function_code(FunctionName=name, ZipFile=make_zip(text.format("two")))
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    assert run(client, name)[0] == "two"
    assert run(client, name, Qualifier=qualifier) == ["one", qualifier, qualifier]
    client.publish_version(FunctionName=name, PublishTo="LATEST_PUBLISHED")
    assert run(client, name, Qualifier=qualifier) == ["two", qualifier, qualifier]


def test_code_location_is_fetched_without_credentials(client: Any, function: Any, make_zip: Any) -> None:
    """Code.Location serves the archive to anyone who has the link, and only that link."""
    text = "def handler(e, c): return 1"
    name = function(text)
    location = client.get_function(FunctionName=name)["Code"]["Location"]
    with urllib.request.urlopen(location) as response:
        assert response.read() == make_zip(text)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(location[:-3] + "abc")


def test_layers_lie_over_one_another_in_order(client: Any, function: Any, make_zip: Any) -> None:
    """Layers are in /opt, later ones over earlier ones, and importable from /opt/python."""
    arns = []
    for number in (1, 2):
        content = {"ZipFile": make_zip(f"value = {number}", "python/shared.py")}
        layer = client.publish_layer_version(LayerName=f"layer-{uuid.uuid4().hex[:8]}", Content=content)
        arns.append(layer["LayerVersionArn"])
    body = "import shared\ndef handler(e, c): return [shared.value, shared.__file__]"
    assert run(client, function(body, Layers=arns)) == [2, "/opt/python/shared.py"]
    assert run(client, function(body, Layers=arns[::-1])) == [1, "/opt/python/shared.py"]


def test_errors_have_awss_shape_on_the_wire(client: Any, role: str, make_zip: Any) -> None:
    """Codes, messages, types and statuses arrive as AWS sends them."""
    with pytest.raises(ClientError) as caught:
        client.get_function(FunctionName="nothing-here")
    response = caught.value.response
    assert response["Error"]["Code"] == "ResourceNotFoundException"
    assert response["Type"] == "User" and response["Message"] == response["Error"]["Message"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 404
    params = {"Runtime": "python3.11", "Role": role, "Handler": "h.h"}
    with pytest.raises(ClientError) as caught:
        client.create_function(FunctionName="too-big", Code={"ZipFile": bytes(52_428_800)}, **params)
    assert caught.value.response["Error"] == {
        "Code": "RequestEntityTooLargeException",
        "Message": "Zipped size must be smaller than 52428800 bytes",
    }
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="cannot be assumed by Lambda"):
        missing = {**params, "Role": role + "-that-is-missing"}
        client.create_function(FunctionName="no-role", Code={"ZipFile": make_zip()}, **missing)


def test_invoke_limits_on_the_wire(client: Any, function: Any) -> None:
    """6 MB pass both ways; more, or what is no JSON, is refused; ClientContext arrives."""
    name = function("def handler(e, c): return [len(e), c.client_context and c.client_context.custom]", MemorySize=256)
    largest = b'"' + b"x" * (6_291_456 - 2) + b'"'
    context = "eyJjdXN0b20iOnsiYSI6MX19"
    assert run(client, name, Payload=largest, ClientContext=context) == [6_291_454, {"a": 1}]
    with pytest.raises(ClientError, match=r"EntityTooLargeException.* smaller than 6291456 bytes for the InvokeFunc"):
        client.invoke(FunctionName=name, Payload=largest + b" ")
    with pytest.raises(client.exceptions.InvalidRequestContentException, match="Could not parse request body"):
        client.invoke(FunctionName=name, Payload=b"{nonsense")
    answer = client.invoke(FunctionName=name, InvocationType="DryRun")
    assert (answer["StatusCode"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (204, 204)


def test_a_runtime_that_is_not_there(client: Any, role: str, make_zip: Any) -> None:
    """A function of a runtime that Alonzo does not have yet becomes Failed and says why."""
    client.create_function(
        FunctionName="java", Runtime="java21", Role=role, Handler="i.h", Code={"ZipFile": make_zip("", "i.txt")}
    )
    with pytest.raises(Exception, match="FunctionActiveV2 failed"):
        client.get_waiter("function_active_v2").wait(FunctionName="java", WaiterConfig={"Delay": 1})
    shown = client.get_function_configuration(FunctionName="java")
    assert (shown["State"], shown["StateReasonCode"]) == ("Failed", "InvalidRuntime")
    assert "java21" in shown["StateReason"]
    client.delete_function(FunctionName="java")
