"""A request to an operation and its parameters, shaped like boto3's."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from alonzo.core.http import Request
from alonzo.core.streams import BodyTooLarge
from alonzo.protocol.bindings import RestReader
from alonzo.protocol.body_cbor import cbor_reader, decode_cbor
from alonzo.protocol.body_form import MAX_FIELDS, Field, decode_form, form_reader
from alonzo.protocol.body_json import decode_json, json_reader
from alonzo.protocol.model import ServiceModel
from alonzo.protocol.problems import Malformed, ParseError, bad_uri, malformed, no_operation, too_large
from alonzo.protocol.query_names import query_model
from alonzo.protocol.routing import Routes, read_query

MIB = 1024 * 1024
#: Bodies that are held in memory, in bytes, where the operation has no limit of its own here. Text may take six times
#: its size in JSON, and the largest that a service takes is a megabyte (SQS, CloudWatch Logs).
DEFAULT_BODY = 8 * MIB
#: Lambda's is AWS's own; the others are above AWS's, so that the operation itself can answer with AWS's own text.
LAMBDA_ARCHIVE_BODY = 70_167_211
BODY_LIMITS: dict[tuple[str, str], int] = {
    # Zip archives in Base64: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    ("lambda", "CreateFunction"): LAMBDA_ARCHIVE_BODY,
    ("lambda", "UpdateFunctionCode"): LAMBDA_ARCHIVE_BODY,
    ("lambda", "PublishLayerVersion"): LAMBDA_ARCHIVE_BODY,
    # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
    ("dynamodb", "BatchWriteItem"): 48 * MIB,
    # https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
    ("kinesis", "PutRecords"): 24 * MIB,
}


class Parsed(NamedTuple):
    """What a request asks for, and the protocol in which it wants the answer."""

    operation: str
    params: dict[str, Any]
    protocol: str


def detect_protocol(model: ServiceModel, request: Request) -> str:
    """Which of the service's protocols a request speaks; its first where nothing tells."""
    if len(model.protocols) == 1 and model.protocol != "json":
        return model.protocol
    headers = request.headers
    if headers.get("smithy-protocol") == "rpc-v2-cbor" and "smithy-rpc-v2-cbor" in model.protocols:
        return "smithy-rpc-v2-cbor"
    if "x-amz-target" in headers and "json" in model.protocols:
        return "json"
    form = (headers.get("content-type") or "").startswith("application/x-www-form-urlencoded")
    if (form or "Action=" in request.query) and ("query" in model.protocols or model.query_compatible):
        return "query"
    return model.protocol


async def parse(model: ServiceModel, request: Request, *, max_body: int = 128 * MIB) -> Parsed:
    """Find the operation and its parameters. Raises ParseError.

    A body that is not streamed is read up to `max_body` bytes, or the operation's own limit where that is less.
    """
    protocol = detect_protocol(model, request)
    try:
        return await _PARSERS[protocol](model, request, max_body, protocol)
    except ParseError as error:
        error.protocol = protocol
        raise


async def _body(model: ServiceModel, request: Request, operation: str, max_body: int, protocol: str) -> bytes:
    limit = min(max_body, BODY_LIMITS.get((model.name, operation), DEFAULT_BODY))
    try:
        return await request.body.read(limit)
    except BodyTooLarge as error:
        raise too_large(model, protocol, operation, limit) from error


def _tokens(model: ServiceModel, operation: str) -> tuple[str, ...]:
    """The members that are idempotency tokens."""
    key = ("tokens", operation)
    tokens: tuple[str, ...] | None = model.cache.get(key)
    if tokens is None:
        shape = model.operation(operation).input
        members = shape.members.items() if shape is not None else ()
        tokens = tuple(name for name, member in members if member.traits.get("idempotencyToken"))
        model.cache[key] = tokens
    return tokens


def _fill(params: dict[str, Any], tokens: tuple[str, ...]) -> None:
    """Idempotency tokens that the client left out, as the service would make them."""
    for name in tokens:
        if name not in params:
            params[name] = str(uuid.uuid4())


def read_rest_head(model: ServiceModel, request: Request, protocol: str) -> tuple[str, RestReader, dict[str, Any]]:
    """Operation, its reader and the parameters of all but the body. Raises ParseError."""
    routes: Routes | None = model.cache.get("routes")
    if routes is None:
        routes = model.cache["routes"] = Routes(model)
    try:
        query = read_query(request.query)
        found = routes.find(request.method, request.path, query, request.headers)
    except UnicodeDecodeError as error:
        raise bad_uri(model) from error
    except Malformed as error:
        raise malformed(model, protocol, error, in_body=False) from error
    if found is None:
        raise no_operation(
            model, protocol, f"{request.method} {request.path}" if model.name != "s3" else request.method
        )
    operation, labels = found
    reader: RestReader | None = model.cache.get(("rest", operation))
    if reader is None:
        reader = RestReader(model.operation(operation), xml=protocol == "rest-xml", tokens=_tokens(model, operation))
        model.cache[("rest", operation)] = reader
    try:
        return operation, reader, reader.read(request, labels, query)
    except Malformed as error:
        problem = malformed(model, protocol, error, in_body=False)
        problem.operation = operation
        raise problem from error


async def _parse_rest(model: ServiceModel, request: Request, max_body: int, protocol: str) -> Parsed:
    operation, reader, params = read_rest_head(model, request, protocol)
    if reader.reads_body:
        body = await _body(model, request, operation, max_body, protocol)
        try:
            reader.read_body(body, params)
        except Malformed as error:
            problem = malformed(model, protocol, error, in_body=True)
            problem.operation = operation
            raise problem from error
    if reader.tokens:
        _fill(params, reader.tokens)
    return Parsed(operation, params, protocol)


def _compiled(model: ServiceModel, operation: str, kind: str, make: Callable[..., Any]) -> Callable[[Any], Any]:
    key = (kind, operation)
    reader: Callable[[Any], Any] | None = model.cache.get(key)
    if reader is None:
        shape = model.operation(operation).input
        reader = model.cache[key] = make(shape) if shape is not None else lambda _value: {}
    return reader


def json_operation(model: ServiceModel, request: Request) -> str | None:
    """Which operation a request of the JSON protocol names, if the model has it."""
    operation = (request.headers.get("x-amz-target") or "").rpartition(".")[2]
    return operation if operation in model else None


def json_params(model: ServiceModel, operation: str) -> Callable[[bytes], dict[str, Any]]:
    """What reads an operation's parameters from a body of the JSON protocol. Raises Malformed."""
    read, tokens = _compiled(model, operation, "json", json_reader), _tokens(model, operation)

    def params(body: bytes) -> dict[str, Any]:
        found: dict[str, Any] = read(decode_json(body.strip()))
        if tokens:
            _fill(found, tokens)
        return found

    return params


async def _parse_json(model: ServiceModel, request: Request, max_body: int, protocol: str) -> Parsed:
    operation = json_operation(model, request)
    if operation is None:
        raise no_operation(model, protocol, request.headers.get("x-amz-target") or "")
    body = await _body(model, request, operation, max_body, protocol)
    return _decoded(model, operation, protocol, json_reader, lambda: decode_json(body.strip()))


async def _parse_cbor(model: ServiceModel, request: Request, max_body: int, protocol: str) -> Parsed:
    parts = request.path.strip("/").split("/")
    if len(parts) < 4 or parts[-4] != "service" or parts[-2] != "operation" or parts[-1] not in model:
        raise no_operation(model, protocol, request.path)
    operation = parts[-1]
    body = await _body(model, request, operation, max_body, protocol)
    return _decoded(model, operation, protocol, cbor_reader, lambda: decode_cbor(body))


def _decoded(
    model: ServiceModel, operation: str, protocol: str, make: Callable[..., Any], decode: Callable[[], Any]
) -> Parsed:
    try:
        params = _compiled(model, operation, protocol, make)(decode())
    except Malformed as error:
        problem = malformed(model, protocol, error, in_body=True)
        problem.operation = operation
        raise problem from error
    _fill(params, _tokens(model, operation))
    return Parsed(operation, params, protocol)


async def _parse_form(model: ServiceModel, request: Request, max_body: int, protocol: str) -> Parsed:
    body = await _body(model, request, "requested", max_body, protocol)
    try:
        if body.count(b"&") >= MAX_FIELDS:
            raise Malformed(f"More than {MAX_FIELDS} parameters.")
        fields = {key: values[0] for key, values in read_query(request.query).items()}
        fields.update(_form_fields(body))
    except (Malformed, UnicodeDecodeError) as error:
        raise ParseError("MalformedQueryString", f"The query string is malformed: {error}", status=404) from error
    operation = fields.pop("Action", "")
    if operation not in model:
        raise no_operation(model, protocol, operation)
    _queue_url(model, request, fields)
    return _decoded(query_model(model), operation, protocol, _form_reader, lambda: decode_form(fields.items()))


def _form_fields(body: bytes) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    for part in body.decode("ascii").split("&"):
        key, _, value = part.partition("=")
        if key:
            fields[unquote_plus(key, errors="strict")] = unquote_plus(value, errors="strict")
    return fields


def _form_reader(shape: Any) -> Callable[[Field], Any]:
    return form_reader(shape)


def _queue_url(model: ServiceModel, request: Request, fields: dict[str, str]) -> None:
    """SQS in the query protocol is called at the queue's own URL, which then is the parameter QueueUrl."""
    if model.name == "sqs" and "QueueUrl" not in fields and request.path.count("/") >= 2:
        fields["QueueUrl"] = f"{request.scheme}://{request.host}{request.path}"


_PARSERS = {
    "rest-json": _parse_rest,
    "rest-xml": _parse_rest,
    "json": _parse_json,
    "smithy-rpc-v2-cbor": _parse_cbor,
    "query": _parse_form,
}
