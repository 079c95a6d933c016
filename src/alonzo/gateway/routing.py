"""Which service a request is for, told from what SDKs and the AWS CLI really send.

In this order: the signature's scope, the target header, the rpc path, the host name, the path, and else S3.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import parse_qs, quote, unquote

from alonzo.core.dataclasses import dataclass, replace
from alonzo.core.http import Request

#: Signing names that differ from botocore's service names.
_BY_SIGNING_NAME = {
    "apigateway": "apigateway",
    "monitoring": "cloudwatch",
    "execute-api": "execute-api",
    "s3express": "s3",
    "s3-object-lambda": "s3",
    "states": "stepfunctions",
    "cognito-idp": "cognito-idp",
    "elasticloadbalancing": "elbv2",
}

#: X-Amz-Target's part before the dot.
_BY_TARGET = {
    "Logs_20140328": "logs",
    "AmazonSQS": "sqs",
    "DynamoDB_20120810": "dynamodb",
    "DynamoDBStreams_20120810": "dynamodbstreams",
    "Kinesis_20131202": "kinesis",
    "AWSEvents": "events",
    "GraniteServiceVersion20100801": "cloudwatch",
    "AWSStepFunctions": "stepfunctions",
    "secretsmanager": "secretsmanager",
    "AmazonSSM": "ssm",
    "Alonzo": "alonzo",
}

#: The Version field of the query protocol, for requests that are not signed (some of STS) or signed oddly.
_BY_VERSION = {
    "2010-05-08": "iam",
    "2011-06-15": "sts",
    "2012-11-05": "sqs",
    "2010-03-31": "sns",
    "2010-08-01": "cloudwatch",
    "2010-05-15": "cloudformation",
}

_LAMBDA_PATH = re.compile(
    r"/20\d\d-\d\d-\d\d/(functions|layers|event-source-mappings|account-settings|tags|code-signing)"
)
_RPC_PATH = re.compile(r"/service/([A-Za-z0-9_]+)/operation/[A-Za-z0-9_]+$")
_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request")
_REGION = re.compile(r"^[a-z]{2}(-[a-z]+)+-\d$")

#: Services whose names appear as a label of the host.
_HOST_LABELS = ("lambda", "iam", "sts", "logs", "sqs", "sns", "dynamodb", "kinesis", "events", "monitoring", "alonzo")


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes.

    `service` is botocore's name, or `lambda-url` / `execute-api` with `label` as the function URL's or API's id.
    `region` is "" where the request does not say. `request` is the request to parse: S3 in path style.
    """

    service: str
    request: Request
    region: str = ""
    bucket: str = ""
    label: str = ""


def route(request: Request, bases: tuple[str, ...]) -> Route:
    """Find the service. `bases` are the domain names under which virtual-hosted names are understood."""
    signing_name, region = _scope(request)
    labels = host_labels(request.host, bases)
    if labels and len(labels) >= 2 and labels[1] in ("lambda-url", "execute-api"):
        return Route(labels[1], request, labels[2] if len(labels) > 2 else region, label=labels[0])
    if labels and labels[-1] == "execute-api" and len(labels) == 2:
        return Route("execute-api", request, region, label=labels[0])
    service = _BY_SIGNING_NAME.get(signing_name, signing_name) or _unsigned_service(request, labels)
    if service == "s3":
        bucket, host_region = _bucket_of(labels)
        if bucket:
            moved = replace(request, path="/" + quote(bucket) + (request.path if request.path != "/" else "/"))
            return Route("s3", moved, region or host_region, bucket=bucket)
        first = request.path.split("/", 2)
        return Route("s3", request, region or host_region, bucket=unquote(first[1]) if len(first) > 1 else "")
    return Route(service, request, region or _host_region(labels))


def _scope(request: Request) -> tuple[str, str]:
    """(signing name, region) of the signature, ("", "") where there is none."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        found = _CREDENTIAL.search(authorization)
        if found:
            return found[4], found[3]
    elif "X-Amz-Credential=" in request.query:
        values = parse_qs(request.query, max_num_fields=1000).get("X-Amz-Credential", [""])
        parts = values[0].split("/")
        if len(parts) == 5:
            return parts[3], parts[2]
    return "", ""


@lru_cache(maxsize=4096)
def host_labels(host: str, bases: tuple[str, ...]) -> tuple[str, ...] | None:
    """The labels before the base domain, or None where the host is an address or no base of ours."""
    name = _host_name(host)
    for base in bases:
        if name == base:
            return ()
        if name.endswith("." + base):
            return tuple(name[: -len(base) - 1].split("."))
    return None


@lru_cache(maxsize=4096)
def known_host(host: str, bases: tuple[str, ...]) -> bool:
    """Whether a request may name this host: an address, or a base domain and what is under it.

    Anything else reached a loopback address through somebody's DNS: a web page rebinding its name to this machine.
    """
    if host_labels(host, bases) is not None:
        return True
    try:
        ipaddress.ip_address(_host_name(host))
    except ValueError:
        return False
    return True


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1 : host.find("]")]
    return host.rsplit(":", 1)[0].lower().rstrip(".")


def _unsigned_service(request: Request, labels: tuple[str, ...] | None) -> str:
    target = request.headers.get("x-amz-target")
    if target is not None:
        return _BY_TARGET.get(target.split(".", 1)[0], target.split(".", 1)[0].lower())
    rpc = _RPC_PATH.match(request.path)
    if rpc:
        return _BY_TARGET.get(rpc[1], rpc[1].lower())
    for label in labels or ():
        if label in _HOST_LABELS:
            return _BY_SIGNING_NAME.get(label, label)
    if "AWSAccessKeyId=" in request.query and "Signature=" in request.query:
        return "s3"  # a link of Signature Version 2, which carries no scope
    if _LAMBDA_PATH.match(request.path):
        return "lambda"
    if request.path == "/" and "Version=" in request.query and "Action=" in request.query:
        version = parse_qs(request.query, max_num_fields=1000).get("Version", [""])[0]
        return _BY_VERSION.get(version, "s3")
    content_type = request.headers.get("content-type") or ""
    if (
        request.method == "POST"
        and request.path == "/"
        and content_type.startswith("application/x-www-form-urlencoded")
    ):
        return "sts"
    return "s3"


def _bucket_of(labels: tuple[str, ...] | None) -> tuple[str, str]:
    """(bucket, region) of `[bucket.]s3[.region]`, `[bucket.]s3-region` or plainly `bucket`."""
    if not labels:
        return "", ""
    for index, label in enumerate(labels):
        if label == "s3" or (label.startswith("s3-") and _REGION.match(label[3:])):
            rest = [part for part in labels[index + 1 :] if part != "dualstack"]
            region = label[3:] or (rest[0] if rest and _REGION.match(rest[0]) else "")
            if not rest or (len(rest) == 1 and rest[0] == region):
                return ".".join(labels[:index]), region
    return ".".join(labels), ""


def _host_region(labels: tuple[str, ...] | None) -> str:
    return next((label for label in labels or () if _REGION.match(label)), "")
