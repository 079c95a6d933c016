"""Requests made to break the parser: each gets its protocol's own error, quickly."""

import time

import pytest

from alonzo.core.http import Headers, Request
from alonzo.core.streams import BytesStream
from alonzo.protocol.java_regex import compile_java, pattern_test
from alonzo.protocol.linear_regex import LinearPattern
from alonzo.protocol.model import load_model
from alonzo.protocol.parse import parse
from alonzo.protocol.problems import ParseError
from alonzo.protocol.serialize import serialize_error
from alonzo.protocol.validate import validate

XML = {"content-type": "application/xml"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
CBOR = {"smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor"}
PUT_METRIC = "/service/GraniteServiceVersion20100801/operation/PutMetricData"


def target(operation):
    return {"x-amz-target": f"Logs_20140328.{operation}"}


def request(method, path, query="", headers=None, body=b""):
    return Request(method, path, query, Headers((headers or {}).items()), BytesStream(body))


async def refused(service, made, *, max_body=10**9):
    model = load_model(service)
    started = time.process_time()
    with pytest.raises(ParseError) as caught:
        await parse(model, made, max_body=max_body)
    assert time.process_time() - started < 5
    error = caught.value
    assert error.protocol is not None
    response = serialize_error(model, None, error, request_id="id")
    assert response.status == error.status or service in ("logs", "cloudwatch")
    return error


DEEP = b'{"a":' * 500 + b"1" + b"}" * 500
BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
    b"<Delete><Object><Key>&b;</Key></Object></Delete>"
)
EXTERNAL = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&a;</Key></Object></Delete>'


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        EXTERNAL,
        b"<Delete>" * 200 + b"</Delete>" * 200,
        b"<Delete><Object></Delete>",
        b"\xff\xfe<\x00D",
        b"<Delete><Object><Key>\xff\xfe</Key></Object></Delete>",
        b"<Delete>\x00</Delete>",
        b"not xml",
        b"<a/>" * 3,
        b"<Delete>" + b"<a/>" * 250_000 + b"</Delete>",
        b"<Delete><Quiet>perhaps</Quiet></Delete>",
        b"<?xml version='1.0' encoding='bogus-9'?><Delete/>",
    ],
    ids=range(12),
)
async def test_bad_xml_is_malformed(body):
    """Entities, document types, depth, wrong bytes and wrong types in XML are S3's MalformedXML."""
    error = await refused("s3", request("POST", "/bucket", "delete", XML, body))
    assert (error.code, error.status) == ("MalformedXML", 400)


async def test_large_text_in_xml_costs_no_more_than_its_size():
    """A text of megabytes in many pieces is read in time linear in its length."""
    body = b"<Tagging><TagSet><Tag><Key>" + b"a&amp;" * 1_000_000 + b"</Key><Value/></Tag></TagSet></Tagging>"
    started = time.process_time()
    parsed = await parse(load_model("s3"), request("PUT", "/bucket/key", "tagging", XML, body))
    assert len(parsed.params["Tagging"]["TagSet"][0]["Key"]) == 2_000_000
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"logGroupName":1}',
        b'{"logGroupName":"\xff"}',
        b'{"logGroupName":{"a":1}}',
        b'{"tags":[]}',
        b"[]",
        b'"text"',
        DEEP,
        b"[" * 100_000,
        b'{"logGroupName":"a"} trailing',
        b'{"logGroupName":NaN}',
    ],
    ids=range(11),
)
async def test_bad_json_is_a_serialization_exception(body):
    """Broken, mistyped and bottomless JSON is a SerializationException."""
    error = await refused("logs", request("POST", "/", headers=target("CreateLogGroup"), body=body))
    assert (error.code, error.status, error.operation) == ("SerializationException", 400, "CreateLogGroup")


@pytest.mark.parametrize("value", [b'"5"', b"1.5", b"true", b"99999999999", b"1e400", b"{}", b"[]"])
async def test_integers_are_integers(value):
    """What is no 32-bit integer is refused where the model wants one."""
    body = b'{"logGroupName":"g","retentionInDays":' + value + b"}"
    error = await refused("logs", request("POST", "/", headers=target("PutRetentionPolicy"), body=body))
    assert error.code == "SerializationException"


async def test_a_body_of_millions_of_values_is_refused():
    """Values that would take fifty times their size in memory are counted before they are made."""
    body = b'{"logEvents":[' + b"{}," * 600_000 + b"{}]}"
    error = await refused("logs", request("POST", "/", headers=target("PutLogEvents"), body=body))
    assert "too many values" in error.message


@pytest.mark.parametrize(
    ("query", "name"),
    [("max-keys=ten", "max-keys"), ("max-keys=9" + "9" * 5000, "max-keys"), ("max-keys=", "max-keys")],
)
async def test_s3_names_the_parameter_that_is_no_integer(query, name):
    """A query parameter that is no integer is S3's InvalidArgument naming it."""
    error = await refused("s3", request("GET", "/bucket", query))
    assert error.code == "InvalidArgument"
    assert error.message == f"Provided {name} not an integer or within integer range"
    assert error.fields["ArgumentName"] == name


async def test_query_strings_have_a_limit():
    """Thousands of parameters are refused before anything is made of them."""
    error = await refused("s3", request("GET", "/bucket", "&".join(f"k{n}=v" for n in range(5000))))
    assert error.code == "InvalidArgument"
    error = await refused("iam", request("POST", "/", headers=FORM, body=b"&".join(b"k=v" for _ in range(20_000))))
    assert error.code == "MalformedQueryString"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"Action=CreateRole&Tags.member.x.Key=a", "MalformedInput"),
        (b"Action=CreateRole&" + b"a." * 100 + b"b=1", "MalformedInput"),
        (b"Action=CreateRole&Tags.member.1=a&MaxSessionDuration=1.5", "MalformedInput"),
        (b"Action=CreateRole&MaxSessionDuration=\xff", "MalformedQueryString"),
        (b"Action=CreateRole&RoleName=%ff", "MalformedQueryString"),
        (b"Action=Nothing", "InvalidAction"),
        (b"RoleName=a", "MissingAction"),
        (b"Action=CreateRole&RoleName.x.y=a", "MalformedInput"),
    ],
    ids=range(8),
)
async def test_bad_forms_have_the_query_protocols_errors(body, code):
    """Broken forms, unknown and missing actions have the codes of the query protocol."""
    assert (await refused("iam", request("POST", "/", headers=FORM, body=body))).code == code


@pytest.mark.parametrize(
    "body",
    [
        b"\xa1",
        b"\x9f" * 5000,
        b"\x81" * 5000 + b"\x01",
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa1\x69Namespace\xd8\x23\x62(a",
        b"\xa1\x69Namespace\xd8\x1c\xd8\x1d\x00",
        b"\xa1\x01\x02",
        b"\xa1\x69Namespace\x61\xff",
        b"\xa0\xa0",
        b"\xff",
        b"\xbf\x69Namespace\xff\xff",
        b"\xa1\x69Namespace\x01",
        b"\x9f" + b"\x80" * 600_000 + b"\xff",
        b"\x1c",
    ],
    ids=range(15),
)
async def test_bad_cbor_is_a_serialization_exception(body):
    """Truncated, bottomless, tagged and mistyped CBOR is a SerializationException."""
    error = await refused("cloudwatch", request("POST", PUT_METRIC, headers=CBOR, body=body))
    assert error.code == "SerializationException"


@pytest.mark.parametrize("path", ["/bucket/%ff", "/bucket/%c3%28"])
async def test_paths_are_utf8(path):
    """A key that is no UTF-8 is S3's InvalidURI."""
    assert (await refused("s3", request("GET", path))).code == "InvalidURI"


async def test_nul_and_odd_characters_arrive_as_they_are():
    """NUL, slashes, dots and plus signs in a key are part of the key."""
    model = load_model("s3")
    for path, key in [
        ("/bucket/a%00b", "a\0b"),
        ("/bucket//a", "/a"),
        ("/bucket/a/../b", "a/../b"),
        ("/bucket/a%2Fb/", "a/b/"),
        ("/bucket/a+b%2B", "a+b+"),
        ("/bucket/%E2%98%83", "☃"),
    ]:
        parsed = await parse(model, request("GET", path))
        assert (parsed.operation, parsed.params["Key"]) == ("GetObject", key)


async def test_bodies_have_a_limit():
    """A body above the operation's limit, or the caller's, is refused with the size in the text."""
    error = await refused(
        "lambda", request("POST", "/2015-03-31/functions/f/invocations", body=b"x" * 101), max_body=100
    )
    assert (error.code, error.status) == ("RequestEntityTooLargeException", 413)
    assert error.message == "Request must be smaller than 100 bytes for the Invoke operation"
    error = await refused("logs", request("POST", "/", headers=target("CreateLogGroup"), body=b" " * (9 << 20)))
    assert error.status == 413


async def test_unknown_operations_are_named():
    """What the model has not is an error of the protocol, and says what was asked for."""
    assert "Logs_20140328.Nothing" in (await refused("logs", request("POST", "/", headers=target("Nothing")))).message
    assert (await refused("lambda", request("GET", "/nothing"))).status == 404
    assert (await refused("s3", request("PATCH", "/bucket"))).code == "MethodNotAllowed"
    assert (await refused("cloudwatch", request("POST", "/service/x/operation/No", headers=CBOR))).status == 404


EVIL = [
    (r"(a+)+", "a" * 5_000 + "!"),
    (r"^[a-z0-9*](?:[._\-/a-z0-9*]?[a-z0-9*]+)*$", "a" * 5_000 + "!"),
    (r"^[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*$", " a" * 2_000 + "\x01"),
    (r"arn:.+:.+:.+:.+:[0-9]{12}", "arn" + ":" * 16_000),
    (r"(?=(a|aa)+$)a*", "a" * 300 + "!"),
    (r"(\w+)+\1", "a" * 5_000 + "!"),
]


@pytest.mark.parametrize(("pattern", "value"), EVIL)
def test_no_value_keeps_a_pattern_busy(pattern, value):
    """Values made for patterns that backtrack without end are refused within seconds."""
    test = pattern_test(pattern)
    started = time.process_time()
    assert test is not None
    assert not test(value)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "pattern", [pattern for pattern, _ in EVIL[:5]] + [r"(\d{1,3}|x)*?-?\b$", r"[^a-c\s]+|(?!z).*"]
)
def test_the_linear_matcher_agrees_with_pythons(pattern):
    """On short values both matchers say the same."""
    compiled, linear = compile_java(pattern), LinearPattern(pattern)
    for value in ["", "a", "aa", "ab", "a b", "a.b", "12-", "x1", "zed", "arn:a:b:c:d:123456789012", "é", "a\n", "\n"]:
        assert linear.matches(value) is (compiled.fullmatch(value) is not None), value


def test_validation_of_a_hostile_value_is_quick():
    """A parameter with a value made for its pattern is refused in time."""
    rule = {"prefix": "a", "repositoryName": "a-" * 5_000}
    started = time.process_time()
    with pytest.raises(Exception, match="repositoryName"):
        validate(load_model("ecr"), "CreateRepository", rule)
    assert time.process_time() - started < 5
