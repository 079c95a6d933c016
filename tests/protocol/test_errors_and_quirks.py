"""Errors in each protocol, and what S3, SQS and Lambda have of their own."""

import json
from pathlib import Path
from xml.etree import ElementTree

import botocore
import botocore.parsers
import cbor2
import pytest
from botocore.awsrequest import HeadersDict

from alonzo.core.errors import NotImplementedOperation, ServiceError
from alonzo.core.http import Headers, Request
from alonzo.core.streams import BytesStream, FileBody
from alonzo.protocol.model import UnknownService, load_model
from alonzo.protocol.names import snake
from alonzo.protocol.parse import detect_protocol, parse
from alonzo.protocol.serialize import serialize, serialize_error


def headers(response):
    return {name.lower(): value for name, value in response.headers}


def error_of(service, operation, error, protocol=None):
    model = load_model(service)
    response = serialize_error(model, operation, error, request_id="the-id", protocol=protocol)
    parser = botocore.parsers.create_parser(protocol or model.protocol)
    message = {"status_code": response.status, "headers": HeadersDict(response.headers), "body": response.body}
    return response, parser.parse(message, None)


def test_lambda_errors_have_type_and_message():
    """Lambda's errors are `{"Type", "Message"}` with the code in a header, the message's case as the model has it."""
    error = ServiceError("ResourceNotFoundException", "Function not found: f")
    response, parsed = error_of("lambda", "GetFunction", error)
    assert response.status == 404
    assert response.body == b'{"Type":"User","Message":"Function not found: f"}'
    assert headers(response)["x-amzn-errortype"] == "ResourceNotFoundException"
    assert headers(response)["x-amzn-requestid"] == "the-id"
    assert parsed["Error"] == {"Code": "ResourceNotFoundException", "Message": "Function not found: f"}
    conflict, _ = error_of("lambda", "CreateFunction", ServiceError("ResourceConflictException", "m"))
    assert (conflict.status, conflict.body) == (409, b'{"Type":"User","message":"m"}')
    server, _ = error_of("lambda", "Invoke", ServiceError("ServiceException", "m"))
    assert (server.status, json.loads(server.body)["Type"]) == (500, "Service")
    bare, _ = error_of(
        "lambda", "CreateAlias", ServiceError("InvalidParameterValueException", "m", fields={"Type": None})
    )
    assert bare.body == b'{"message":"m"}'


def test_lambda_throttles_carry_their_reason_and_header():
    """Members that the model puts into headers go there; the others stay in the body."""
    error = ServiceError(
        "TooManyRequestsException",
        "Rate Exceeded.",
        fields={"retryAfterSeconds": "1", "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded"},
    )
    response, _ = error_of("lambda", "Invoke", error)
    assert response.status == 429
    assert headers(response)["retry-after"] == "1"
    assert json.loads(response.body) == {
        "Type": "User", "message": "Rate Exceeded.", "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
    }  # fmt: skip


def test_validation_errors_are_not_modelled_and_still_written():
    """An error that the model has not keeps its own code and status."""
    response, parsed = error_of("lambda", "GetFunction", ServiceError("ValidationException", "1 validation error"))
    assert (response.status, response.body) == (400, b'{"message":"1 validation error"}')
    assert parsed["Error"]["Code"] == "ValidationException"


def test_s3_errors_have_fields_and_both_identifiers():
    """S3's errors are a bare Error element with fields of their own, RequestId and HostId."""
    error = ServiceError("NoSuchKey", "The specified key does not exist.", status=404, fields={"Key": "a<b\x01"})
    response, _ = error_of("s3", "GetObject", error)
    assert response.status == 404
    root = [(child.tag, child.text) for child in ElementTree.fromstring(response.body.replace(b"&#x1;", b""))]
    host = headers(response)["x-amz-id-2"]
    assert root == [
        ("Code", "NoSuchKey"), ("Message", "The specified key does not exist."), ("Key", "a<b"),
        ("RequestId", "the-id"), ("HostId", host),
    ]  # fmt: skip
    assert headers(response)["x-amz-request-id"] == "the-id"


def test_s3_errors_of_head_and_not_modified_have_no_body():
    """HEAD's errors and 304 have no body, and keep their status."""
    head = serialize_error(load_model("s3"), "HeadObject", ServiceError("404", "Not Found", status=404), request_id="r")
    assert (head.status, head.body) == (404, b"")
    same = serialize_error(
        load_model("s3"),
        "GetObject",
        ServiceError("304", "Not Modified", status=304, headers={"ETag": '"a"'}),
        request_id="r",
    )
    assert (same.status, same.body, headers(same)["etag"]) == (304, b"", '"a"')


def test_query_errors_are_wrapped():
    """IAM's errors are an ErrorResponse in its namespace with Type, Code and Message."""
    response, parsed = error_of("iam", "GetRole", ServiceError("NoSuchEntity", "no <role>", status=404))
    assert response.status == 404
    assert parsed["Error"] == {"Type": "Sender", "Code": "NoSuchEntity", "Message": "no <role>"}
    assert parsed["ResponseMetadata"]["RequestId"] == "the-id"
    assert b'xmlns="https://iam.amazonaws.com/doc/2010-05-08/"' in response.body
    by_shape, parsed = error_of("iam", "GetRole", ServiceError("NoSuchEntityException", "m"))
    assert (by_shape.status, parsed["Error"]["Code"]) == (404, "NoSuchEntity")


def test_json_errors_name_their_type():
    """JSON errors have `__type`, and 400 even for what is not found."""
    response, _ = error_of("logs", "GetLogEvents", ServiceError("ResourceNotFoundException", "m", status=404))
    assert response.status == 400
    assert json.loads(response.body) == {"__type": "ResourceNotFoundException", "message": "m"}
    assert headers(response)["content-type"] == "application/x-amz-json-1.1"


def test_sqs_errors_keep_their_old_codes():
    """SQS's JSON errors tell the query protocol's code in a header, its query errors in the body."""
    error = ServiceError("QueueDoesNotExist", "The specified queue does not exist.")
    response, parsed = error_of("sqs", "GetQueueUrl", error)
    assert headers(response)["x-amzn-query-error"] == "AWS.SimpleQueueService.NonExistentQueue;Sender"
    assert parsed["Error"]["QueryErrorCode"] == "QueueDoesNotExist"
    _, parsed = error_of("sqs", "GetQueueUrl", error, "query")
    assert parsed["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"


def test_cbor_errors_are_cbor():
    """rpc-v2-cbor errors are a map with `__type`."""
    response, parsed = error_of("cloudwatch", "GetDashboard", ServiceError("ResourceNotFound", "m", status=404))
    assert cbor2.loads(response.body)["message"] == "m"
    assert headers(response)["smithy-protocol"] == "rpc-v2-cbor"
    assert parsed["Error"]["Message"] == "m"


@pytest.mark.parametrize("service", ["s3", "lambda", "iam", "logs", "cloudwatch"])
def test_what_is_not_implemented_says_so(service):
    """An operation without a handler answers 501 in the service's protocol, naming the operation."""
    _, parsed = error_of(service, "Nothing", NotImplementedOperation(service, "Nothing"))
    response, _ = error_of(service, None, NotImplementedOperation(service, "Nothing"))
    assert response.status == 501
    assert f"{service}:Nothing" in parsed["Error"]["Message"]


def s3(method, path, query="", **fields):
    fields = {name.replace("_", "-"): value for name, value in fields.items()}
    return Request(method, path, query, Headers(fields.items()), BytesStream(b"data"))


@pytest.mark.parametrize(
    ("made", "operation"),
    [
        (s3("GET", "/"), "ListBuckets"),
        (s3("PUT", "/b"), "CreateBucket"),
        (s3("PUT", "/b/"), "CreateBucket"),
        (s3("GET", "/b"), "ListObjects"),
        (s3("GET", "/b/", "list-type=2&prefix=a"), "ListObjectsV2"),
        (s3("GET", "/b", "versions"), "ListObjectVersions"),
        (s3("GET", "/b", "versioning="), "GetBucketVersioning"),
        (s3("GET", "/b", "uploads"), "ListMultipartUploads"),
        (s3("GET", "/b", "location"), "GetBucketLocation"),
        (s3("GET", "/b", "notification"), "GetBucketNotificationConfiguration"),
        (s3("PUT", "/b", "notification"), "PutBucketNotificationConfiguration"),
        (s3("GET", "/b", "lifecycle"), "GetBucketLifecycleConfiguration"),
        (s3("GET", "/b", "analytics"), "ListBucketAnalyticsConfigurations"),
        (s3("GET", "/b", "analytics&id=1"), "GetBucketAnalyticsConfiguration"),
        (s3("POST", "/b", "delete"), "DeleteObjects"),
        (s3("GET", "/b/k"), "GetObject"),
        (s3("GET", "/b/k", "x-id=GetObject&response-content-type=a"), "GetObject"),
        (s3("GET", "/b/k", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0"), "GetObject"),
        (s3("GET", "/b/k", "tagging"), "GetObjectTagging"),
        (s3("GET", "/b/k", "attributes", x_amz_object_attributes="ETag"), "GetObjectAttributes"),
        (s3("GET", "/b/k", "uploadId=1"), "ListParts"),
        (s3("HEAD", "/b/k"), "HeadObject"),
        (s3("HEAD", "/b"), "HeadBucket"),
        (s3("PUT", "/b/k"), "PutObject"),
        (s3("PUT", "/b/k", x_amz_copy_source="/b/a"), "CopyObject"),
        (s3("PUT", "/b/k", "partNumber=1&uploadId=1"), "UploadPart"),
        (s3("PUT", "/b/k", "partNumber=1&uploadId=1", x_amz_copy_source="/b/a"), "UploadPartCopy"),
        (s3("POST", "/b/k", "uploads"), "CreateMultipartUpload"),
        (s3("DELETE", "/b/k", "uploadId=1"), "AbortMultipartUpload"),
        (s3("DELETE", "/b/k", "versionId=1"), "DeleteObject"),
    ],
)
async def test_s3_requests_find_their_operation(made, operation):
    """Method, path, query keys and headers tell S3's operations apart."""
    made.body = BytesStream(b"<Delete><Object><Key>k</Key></Object></Delete>" if operation == "DeleteObjects" else b"")
    assert (await parse(load_model("s3"), made)).operation == operation


async def test_s3_bodies_and_metadata():
    """An object's body is handed on unread, its metadata gathered from the headers."""
    made = s3("PUT", "/b/k", content_type="image/png", x_amz_meta_a="1", x_amz_meta_b_c="2", content_length="4")
    parsed = await parse(load_model("s3"), made, max_body=0)
    assert parsed.params["Body"] is made.body
    assert parsed.params["Metadata"] == {"a": "1", "b-c": "2"}
    assert (parsed.params["ContentType"], parsed.params["ContentLength"]) == ("image/png", 4)


def test_s3_answers_have_their_own_roots():
    """Root elements and namespaces are S3's; a location is the root's own text."""
    model = load_model("s3")
    body = serialize(model, "ListBuckets", {"Buckets": []}, request_id="r").body
    assert ElementTree.fromstring(body).tag == "{http://s3.amazonaws.com/doc/2006-03-01/}ListAllMyBucketsResult"
    body = serialize(model, "GetBucketLocation", {"LocationConstraint": "eu-west-1"}, request_id="r").body
    assert ElementTree.fromstring(body).text == "eu-west-1"
    body = serialize(model, "GetBucketLocation", {}, request_id="r").body
    assert ElementTree.fromstring(body).text is None
    ranged = serialize(
        model, "GetObject", {"Body": FileBody(Path("/x"), 0, 5), "ContentRange": "bytes 0-4/9", "ContentLength": 5},
        request_id="r",
    )  # fmt: skip
    assert ranged.status == 206
    assert "content-length" not in headers(ranged)
    head = serialize(model, "HeadObject", {"ContentLength": 5, "ContentType": "a/b"}, request_id="r")
    assert (headers(head)["content-length"], headers(head)["content-type"], head.body) == ("5", "a/b", b"")


def test_no_value_ends_a_header():
    """Line breaks in a result never reach a header, and characters beyond Latin-1 go out as UTF-8."""
    response = serialize(
        load_model("s3"),
        "GetObject",
        {"Body": b"", "ContentType": "a\r\nSet-Cookie: b", "Metadata": {"k\r\nx": "v\nw"}, "CacheControl": "é☃"},
        request_id="r",
    )
    assert all("\r" not in part and "\n" not in part for pair in response.headers for part in pair)
    assert headers(response)["cache-control"].encode("latin-1") == "é☃".encode()


def test_protocols_are_told_apart():
    """A service that speaks several protocols answers in that of the request."""
    model = load_model("cloudwatch")
    for fields, wanted in [
        ({"smithy-protocol": "rpc-v2-cbor"}, "smithy-rpc-v2-cbor"),
        ({"x-amz-target": "GraniteServiceVersion20100801.ListMetrics"}, "json"),
        ({"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, "query"),
        ({}, "smithy-rpc-v2-cbor"),
    ]:
        assert detect_protocol(model, Request("POST", "/", "", Headers(fields.items()))) == wanted
    assert detect_protocol(model, Request("GET", "/", "Action=ListMetrics", Headers())) == "query"


async def test_sqs_is_called_at_the_queue_too():
    """A query request at a queue's URL means that queue."""
    made = Request(
        "POST",
        "/000000000000/q",
        "",
        Headers([("host", "localhost:4566"), ("content-type", "application/x-www-form-urlencoded")]),
        BytesStream(b"Action=SendMessage&MessageBody=hello+%26+bye&Version=2012-11-05"),
    )
    parsed = await parse(load_model("sqs"), made)
    assert parsed.protocol == "query"
    assert parsed.params == {"QueueUrl": "http://localhost:4566/000000000000/q", "MessageBody": "hello & bye"}


def test_models_load_lazily_and_by_name_only():
    """Models have botocore's names; no name leads out of the models' folders."""
    assert load_model("lambda") is load_model("lambda")
    assert load_model("lambda").snake_names()["get_function_url_config"] == "GetFunctionUrlConfig"
    assert load_model("alonzo").protocol == "json"
    for name in ("nothing", "", "..", "../data/s3", "/etc", "s3/2006-03-01"):
        with pytest.raises(UnknownService):
            load_model(name)


def test_operation_names_in_snake_case_are_boto3s():
    """Every operation of every service is spelt as boto3 spells it."""
    names = set()
    for folder in (Path(botocore.__file__).parent / "data").iterdir():
        if folder.is_dir() and folder.name in {"s3", "lambda", "iam", "sts", "logs", "ec2", "iot", "rds", "opensearch"}:
            names.update(load_model(folder.name).operation_names)
    assert len(names) > 1000
    assert {name: snake(name) for name in names} == {name: botocore.xform_name(name) for name in names}
