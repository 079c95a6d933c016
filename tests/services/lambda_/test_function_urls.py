"""Function URLs: their configuration, and the shapes of events and answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from alonzo.core.context import ANONYMOUS, Context, Principal
from alonzo.core.http import Headers, Request
from alonzo.services.lambda_.models import UrlConfig
from alonzo.services.lambda_.url_answers import MalformedAnswer, allowed, answer_of, preflight
from alonzo.services.lambda_.url_events import event_of

CONFIG = UrlConfig("111111111111", "us-east-1", "f", "", "a" * 32, "NONE", None, "", 0.0, 0.0)
CTX = Context("111111111111", "us-east-1", ANONYMOUS, "request-1")


async def test_no_url_is_left_of_a_deleted_function(world: Any) -> None:
    """A function made anew under an old name has no URL."""
    await world.create("f")
    await world.call("CreateFunctionUrlConfig", FunctionName="f", AuthType="NONE")
    await world.call("DeleteFunction", FunctionName="f")
    await world.create("f")
    assert (await world.fails("GetFunctionUrlConfig", FunctionName="f")).status == 404


@pytest.mark.parametrize(
    ("endpoint", "ending"),
    [
        ("http://localhost:4599", ".lambda-url.us-east-1.localhost:4599/"),
        ("https://lambda.us-east-1.alonzo.localhost", ".lambda-url.us-east-1.alonzo.localhost/"),
        ("http://169.254.100.1:80", ".lambda-url.us-east-1.localhost:4566/"),
    ],
)
async def test_a_url_is_under_the_name_that_the_client_used(world: Any, endpoint: str, ending: str) -> None:
    """The base domain and port of a FunctionUrl are those of the request, or the server's own."""
    await world.create("f")
    world.ctx = replace(world.ctx, endpoint=endpoint)
    url = (await world.call("CreateFunctionUrlConfig", FunctionName="f", AuthType="NONE"))["FunctionUrl"]
    assert url.endswith(ending)
    assert len(url.partition("://")[2].partition(".")[0]) == 32


async def test_the_condition_of_the_auth_type(world: Any) -> None:
    """A policy can restrict which URLs may be made by their authentication."""
    await world.create("f")
    await world.call("CreateFunctionUrlConfig", FunctionName="f", AuthType="NONE")
    asked = world.judge.asked[-1]
    assert asked.action == "lambda:CreateFunctionUrlConfig"
    assert asked.conditions["lambda:FunctionUrlAuthType"] == "NONE"


# -- events and answers -----------------------------------------------------------------------------------------------


def event(request: Request, body: bytes = b"", *, config: UrlConfig = CONFIG, ctx: Context = CTX) -> Any:
    return json.loads(event_of(config, ctx, request, body, "Root=1", 1_700_000_000.5))


def test_headers_of_the_event() -> None:
    """Repeated fields are joined, the connection's own are dropped, forwarding is told."""
    headers = Headers(
        [
            ("Host", "abc.lambda-url.us-east-1.localhost:4566"),
            ("X-A", "1"),
            ("X-a", "2"),
            ("Connection", "keep-alive"),
            ("X-Forwarded-For", "10.0.0.1"),
        ]
    )
    made = event(Request("GET", "/p", "", headers, client="127.0.0.1"))
    assert made["headers"] == {
        "host": "abc.lambda-url.us-east-1.localhost:4566",
        "x-a": "1,2",
        "x-forwarded-for": "10.0.0.1, 127.0.0.1",
        "x-forwarded-port": "4566",
        "x-forwarded-proto": "http",
        "x-amzn-trace-id": "Root=1",
    }
    context = made["requestContext"]
    assert context["time"] == "14/Nov/2023:22:13:20 +0000"
    assert context["timeEpoch"] == 1_700_000_000_500
    assert context["routeKey"] == made["routeKey"] == context["stage"] == "$default"


def test_hostile_requests_become_events() -> None:
    """Odd ports, many query fields and broken escapes are no errors of the server's."""
    headers = Headers([("host", "abc.lambda-url.us-east-1.localhost:abc"), ("x-a", "\xff\x01"), ("cookie", ";;a;=")])
    made = event(Request("GET", "/%zz\xff", "&".join(["a%ff=%"] * 9_000), headers))
    assert made["headers"]["x-forwarded-port"] == "80"
    assert made["cookies"] == ["a", "="]
    assert made["queryStringParameters"]["a\ufffd"].count("%") == 9_000


@pytest.mark.parametrize(
    ("kind", "body", "encoded"),
    [
        ("text/plain", b"a", False),
        ("application/json; charset=utf-8", "é".encode(), False),
        ("application/problem+json", b"{}", False),
        ("application/json", b"\xff", True),
        ("application/x-www-form-urlencoded", b"a=1", True),
        ("multipart/form-data; boundary=x", b"--x", True),
        ("", b"a", True),
        ("image/png", b"", False),
    ],
)
def test_which_bodies_are_encoded(kind: str, body: bytes, encoded: bool) -> None:
    """Text goes as text, all else in Base64."""
    request = Request("POST", "/", "", Headers([("content-type", kind)] if kind else []))
    assert event(request, body)["isBase64Encoded"] is encoded


def test_the_caller_of_an_authenticated_request() -> None:
    """With AWS_IAM the event names the caller, and does not show the signature."""
    who = Principal("user", "222222222222", "arn:aws:iam::222222222222:user/u", "AIDA1", "AKIA1")
    request = Request("GET", "/", "", Headers([("authorization", "AWS4-HMAC-SHA256 x")]))
    config = replace(CONFIG, auth_type="AWS_IAM")
    made = event(request, config=config, ctx=replace(CTX, principal=who))
    assert made["requestContext"]["authorizer"]["iam"]["accessKey"] == "AKIA1"
    assert made["requestContext"]["accountId"] == "222222222222"
    assert "authorization" not in made["headers"]
    assert event(request)["headers"]["authorization"] == "AWS4-HMAC-SHA256 x"


@pytest.mark.parametrize(
    "returned",
    [
        b"not json",
        b'{"statusCode": 99}',
        b'{"statusCode": true}',
        b'{"statusCode": "abc"}',
        b'{"statusCode": 200, "headers": {"a b": "x"}}',
        b'{"statusCode": 200, "headers": {"a": ["x"]}}',
        b'{"statusCode": 200, "cookies": [1]}',
        b'{"statusCode": 200, "cookies": ["%s"]}' % (b"x" * 70_000),
        b'{"statusCode": 200, "body": "abcde", "isBase64Encoded": true}',
    ],
)
def test_malformed_answers(returned: bytes) -> None:
    """What cannot be made a response is refused."""
    with pytest.raises(MalformedAnswer):
        answer_of(returned)


def test_fields_that_are_the_servers_own() -> None:
    """A function cannot frame its response: such fields get another name or go."""
    value = {
        "statusCode": 200,
        "headers": {"Content-Length": "9", "Transfer-Encoding": "chunked", "X-N": 1},
        "body": "x",
    }
    fields = dict(answer_of(json.dumps(value).encode()).headers)
    assert fields == {"x-amzn-remapped-content-length": "9", "x-n": "1", "content-type": "application/json"}


def test_origins() -> None:
    """A star stands for anything, for every origin only without credentials."""
    assert allowed({"AllowOrigins": ["*"]}, "http://a") == [("access-control-allow-origin", "*")]
    some = dict(allowed({"AllowOrigins": ["*"], "AllowCredentials": True}, "http://a"))
    assert some["access-control-allow-origin"] == "http://a"
    assert allowed({"AllowOrigins": ["https://*"]}, "http://a") == []
    assert preflight({"AllowOrigins": ["http://b"], "AllowMethods": ["*"]}, "http://a").headers == []
