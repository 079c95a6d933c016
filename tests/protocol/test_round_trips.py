"""Real operations of real services, both ways, against botocore's own serializers and parsers."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import urlencode

import botocore.model
import botocore.parsers
import botocore.serialize
import botocore.session
import pytest
from botocore.awsrequest import HeadersDict
from botocore.utils import percent_encode_sequence

from alonzo.core.http import Headers, Request
from alonzo.core.streams import BytesStream
from alonzo.protocol.model import load_model
from alonzo.protocol.parse import parse
from alonzo.protocol.query_names import query_model
from alonzo.protocol.serialize import serialize

SERVICES = [
    ("s3", "rest-xml"), ("lambda", "rest-json"), ("iam", "query"), ("sts", "query"), ("logs", "json"), ("sqs", "json"),
    ("sqs", "query"),
    ("sns", "query"), ("cloudwatch", "smithy-rpc-v2-cbor"), ("cloudwatch", "json"), ("cloudwatch", "query"),
    ("dynamodb", "json"), ("kinesis", "json"), ("apigateway", "rest-json"), ("route53", "rest-xml"),
]  # fmt: skip
MOMENT = datetime(2024, 2, 29, 12, 30, 45, tzinfo=UTC)

#: Operations whose requests are those of another one: which of the two is meant, nobody can tell.
TWINS = {
    "s3": {
        "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
        "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
        "GetBucketNotification": "GetBucketNotificationConfiguration",
        "PutBucketNotification": "PutBucketNotificationConfiguration",
        "ListDirectoryBuckets": "ListBuckets",
    }
}
#: Not comparable, by service and operation.
EXCEPT_REQUESTS = {("s3", "WriteGetObjectResponse"): "its route must be a host label"}
EXCEPT_RESULTS = {
    ("s3", "GetBucketLocation"): "botocore reads its body in a customization; tested by itself",
    ("s3", "GetBucketNotification"): "the model has two members of one name on the wire",
}


@pytest.fixture(scope="module")
def session():
    return botocore.session.get_session()


def sample(shape, depth=0):
    """A value that fills every member, three levels deep."""
    kind = shape.type_name
    if kind == "structure":
        if shape.is_document_type:
            return {"a": [1, "b"]}
        members = {
            name: sample(member, depth + 1)
            for name, member in shape.members.items()
            if depth < 4 or name in shape.required_members
        }
        members = {name: value for name, value in members.items() if value is not None}
        if shape.is_tagged_union:
            members = dict(list(members.items())[:1])
        return members or (None if shape.members else {})
    if kind == "list":
        item = sample(shape.member, depth + 1)
        return [item, item] if item is not None and depth < 5 else None
    if kind == "map":
        item = sample(shape.value, depth + 1)
        return {"key-a": item, "key-b": item} if item is not None and depth < 5 else None
    if kind == "string":
        return shape.enum[0] if shape.enum else "te xt/é&<>"
    if kind == "timestamp":
        return MOMENT
    if kind == "blob":
        return b"\x00blob\xff"
    if kind == "boolean":
        return True
    return 1.5 if kind in ("float", "double") else 7


def header_safe(shape, params):
    """Header fields are ASCII on the wire."""
    for name, member in shape.members.items():
        place = member.serialization.get("location")
        if place == "header" and member.type_name == "string" and not member.enum:
            params[name] = "plain text"
        elif place == "header" and member.type_name == "list" and not member.member.enum:
            params[name] = ["one", "two"]
        elif place == "headers":
            params[name] = {"name": "value"}
    return params


def their_model(session, service, protocol):
    """botocore's model; SQS's for JSON with the names that its query protocol has."""
    theirs = session.get_service_model(service)
    if (service, protocol) != ("sqs", "query"):
        return theirs
    named = query_model(load_model(service))
    shapes = {name: named.raw_shape(name) for name in theirs.shape_names}
    return botocore.model.ServiceModel({**theirs._service_description, "shapes": shapes}, service)


def request_of(theirs, protocol, operation, params):
    made = botocore.serialize.create_serializer(protocol, include_validation=False).serialize_to_request(
        params, operation
    )
    path, _, query = made["url_path"].partition("?")
    more = made["query_string"]
    if more:
        query = "&".join(filter(None, [query, percent_encode_sequence(more)]))
    body = made["body"]
    if isinstance(body, dict):
        body = urlencode(body).encode()
    headers = [(name, str(value)) for name, value in made["headers"].items()]
    return Request(made["method"], path, query, Headers(headers), BytesStream(body or b""))


async def _read(params):
    return {key: await value.read(10**6) if hasattr(value, "trailers") else value for key, value in params.items()}


@pytest.mark.parametrize(("service", "protocol"), SERVICES)
async def test_requests_of_every_operation_are_understood(session, service, protocol):
    """A request that botocore makes with every parameter set is parsed into those parameters, typed as they were."""
    theirs, model = their_model(session, service, protocol), load_model(service)
    failures = []
    for name in theirs.operation_names:
        operation = theirs.operation_model(name)
        shape = operation.input_shape
        if operation.has_event_stream_input or (service, name) in EXCEPT_REQUESTS:
            continue
        params = header_safe(shape, sample(shape)) if shape is not None and shape.members else {}
        if service == "s3" and "Expires" in params:
            # botocore makes it a moment; S3 keeps the header as the client wrote it.
            params["Expires"] = "Thu, 29 Feb 2024 12:30:45 GMT"
        try:
            parsed = await parse(model, request_of(theirs, protocol, operation, params))
            assert parsed.operation == TWINS.get(service, {}).get(name, name)
            assert parsed.protocol == protocol
            if name not in TWINS.get(service, {}):
                assert await _read(parsed.params) == params
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {error}"[:900])
    assert not failures, f"{len(failures)} of {len(theirs.operation_names)}\n" + "\n".join(failures)


async def _collect(body):
    return b"".join([chunk async for chunk in body]) if hasattr(body, "__aiter__") else body


@pytest.mark.parametrize(("service", "protocol"), SERVICES)
def test_results_of_every_operation_are_understood(session, service, protocol):
    """A result with every member set comes back from botocore's parser as it was."""
    theirs, model = their_model(session, service, protocol), load_model(service)
    failures = []
    for name in theirs.operation_names:
        operation = theirs.operation_model(name)
        shape = operation.output_shape
        if operation.has_event_stream_output or (service, name) in EXCEPT_RESULTS:
            continue
        result = header_safe(shape, sample(shape)) if shape is not None and shape.members else {}
        for member, part in shape.members.items() if shape is not None else ():
            if part.serialization.get("location") == "statusCode":
                result[member] = 200
        result.pop("ExpiresString", None)
        try:
            response = serialize(model, name, result, request_id="request", protocol=protocol)
            body = asyncio.run(_collect(response.body))
            message = {
                "status_code": response.status,
                "headers": HeadersDict([*response.headers]),
                "body": body,
                "context": {"operation_name": name},
            }
            if protocol == "query" and shape is not None:
                # The models of services that speak JSON by now no longer say it.
                shape.serialization.setdefault("resultWrapper", f"{name}Result")
            payload = shape.serialization.get("payload") if shape is not None else None
            if payload and shape.members[payload].type_name == "blob":
                message["body"] = body.decode("latin-1")
                result[payload] = result[payload].decode("latin-1")
            parsed = botocore.parsers.create_parser(protocol).parse(message, shape)
            if parsed.pop("ResponseMetadata", None) is None and protocol != "smithy-rpc-v2-cbor":
                raise AssertionError("no metadata")
            if response.status == 206:
                result.setdefault("ContentRange", "plain text")
            if "ContentLength" in result and "ContentLength" not in parsed:
                # The server that sends the body counts it.
                result.pop("ContentLength")
            assert parsed == result
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {error}"[:900])
    assert not failures, f"{len(failures)} of {len(theirs.operation_names)}\n" + "\n".join(failures)
