"""Errors in each protocol's shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alonzo.core.errors import ServiceError
from alonzo.core.http import Response
from alonzo.protocol.model import ServiceModel, Shape
from alonzo.protocol.s3 import host_id
from alonzo.protocol.write_headers import header_writer
from alonzo.protocol.write_values import cbor_scalar, dump_cbor, dump_json, json_scalar, value_writer
from alonzo.protocol.write_xml import escape, xml_writer

#: The namespace that some services put before `__type`; SDKs read only what is behind the `#`.
_TYPE_PREFIXES = {
    "dynamodb": "com.amazonaws.dynamodb.v20120810#",
    "dynamodbstreams": "com.amazonaws.dynamodb.v20120810#",
    "sqs": "com.amazonaws.sqs#",
    "cloudwatch": "com.amazonaws.cloudwatch#",
}
_CORAL = "com.amazon.coral.service#"
_CORAL_CODES = frozenset({"SerializationException", "UnknownOperationException", "InternalFailure"})
#: SQS's errors as its query protocol calls them, which the model of its JSON protocol no longer says.
#: Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
_SQS = "AWS.SimpleQueueService."
_SQS_CODES = {
    "QueueDoesNotExist": _SQS + "NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    "MissingRequiredParameterException": "MissingParameter",
    "InvalidParameterValueException": "InvalidParameterValue",
    **{
        name: _SQS + name
        for name in (
            "BatchEntryIdsNotDistinct",
            "BatchRequestTooLong",
            "EmptyBatchRequest",
            "InvalidBatchEntryId",
            "MessageNotInflight",
            "PurgeQueueInProgress",
            "QueueDeletedRecently",
            "TooManyEntriesInBatchRequest",
            "UnsupportedOperation",
        )
    },
}


def query_namespace(model: ServiceModel) -> str:
    """The attribute of the query protocol's root elements."""
    uri = model.xml_namespace or (f"http://queue.amazonaws.com/doc/{model.api_version}/" if model.name == "sqs" else "")
    return f' xmlns="{escape(uri)}"' if uri else ""


def write_error(model: ServiceModel, error: ServiceError, request_id: str, protocol: str) -> Response:
    """The response without the headers that name the request."""
    shape = model.error_shape(error.code)
    response = _WRITERS[protocol](model, error, shape, request_id)
    response.headers.extend(error.headers.items())
    return response


def _status(error: ServiceError, shape: Shape | None) -> int:
    if shape is None:
        return error.status
    modelled = shape.traits.get("error", {}).get("httpStatusCode")
    if modelled is None:
        return error.status if error.status != 400 or not shape.traits.get("fault") else 500
    return int(modelled)


def _code(model: ServiceModel, error: ServiceError, shape: Shape | None) -> str:
    """The code on the wire of the query protocols."""
    if model.name == "sqs":
        return _SQS_CODES.get(error.code, error.code)
    code = shape.traits.get("error", {}).get("code") if shape is not None else None
    return str(code) if code else error.code


def _members(error: ServiceError, shape: Shape | None, *, kind: str | None) -> dict[str, Any]:
    """The error's members by their model names, in the model's order; unknown fields last.

    A member `Type` is filled in (`User` or `Service`) unless the error says `Type=None`, which leaves it out.
    """
    found: dict[str, Any] = {}
    fields = dict(error.fields)
    placed = False
    for name in shape.members if shape is not None else ():
        if name in fields:
            value = fields.pop(name)
            if value is not None:
                found[name] = value
            placed = placed or name.lower() == "message"
        elif name.lower() == "message" and not placed:
            found[name] = error.message
            placed = True
        elif name == "Type" and kind is not None:
            found[name] = kind
    if not placed:
        found["message"] = error.message
    found.update((name, value) for name, value in fields.items() if value is not None)
    return found


def _rest_json(model: ServiceModel, error: ServiceError, shape: Shape | None, request_id: str) -> Response:
    status = _status(error, shape)
    members = _members(error, shape, kind="User" if status < 500 else "Service")
    headers = [("Content-Type", "application/json"), ("x-amzn-ErrorType", shape.name if shape else error.code)]
    for name, member in shape.members.items() if shape is not None else ():
        if member.location == "header" and name in members:
            text = header_writer(member)(members.pop(name))
            if text is not None:
                headers.append((member.wire_name or name, text))
    return Response(status, headers, dump_json(_json_members(members, shape)))


def _json_members(members: dict[str, Any], shape: Shape | None) -> dict[str, Any]:
    known = shape.members if shape is not None else {}
    written = {}
    for name, value in members.items():
        member = known.get(name)
        writer = value_writer(member, json_scalar) if member is not None else None
        wire = (member.wire_name or name) if member is not None else name
        written[wire] = value if writer is None else writer(value)
    return written


def _type(model: ServiceModel, error: ServiceError, shape: Shape | None) -> str:
    name = shape.name if shape is not None else error.code
    return (_CORAL if name in _CORAL_CODES and shape is None else _TYPE_PREFIXES.get(model.name, "")) + name


def _query_header(model: ServiceModel, error: ServiceError, shape: Shape | None, status: int) -> list[tuple[str, str]]:
    """The old code, for clients that spoke query before. Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html"""
    if not model.query_compatible:
        return []
    side = "Sender" if status < 500 else "Receiver"
    return [("x-amzn-query-error", f"{_code(model, error, shape)};{side}")]


def _rpc_status(model: ServiceModel, error: ServiceError, shape: Shape | None) -> int:
    """RPC services answer 400 to whatever the caller did, unless their model says otherwise; a status in the model of
    a service that spoke query before is only that of the query protocol.
    """
    status = _status(error, shape)
    if status >= 500 or status == 413:
        return status
    modelled = shape is not None and "httpStatusCode" in shape.traits.get("error", {})
    return status if modelled and not model.query_compatible else 400


def _json(model: ServiceModel, error: ServiceError, shape: Shape | None, request_id: str) -> Response:
    status = _rpc_status(model, error, shape)
    body = {"__type": _type(model, error, shape), **_json_members(_members(error, shape, kind=None), shape)}
    headers = [("Content-Type", f"application/x-amz-json-{model.json_version}")]
    return Response(status, headers + _query_header(model, error, shape, status), dump_json(body))


def _cbor(model: ServiceModel, error: ServiceError, shape: Shape | None, request_id: str) -> Response:
    status = _rpc_status(model, error, shape)
    known = shape.members if shape is not None else {}
    body: dict[str, Any] = {"__type": _type(model, error, shape)}
    for name, value in _members(error, shape, kind=None).items():
        writer = value_writer(known[name], cbor_scalar) if name in known else None
        body[name] = value if writer is None else writer(value)
    headers = [("Content-Type", "application/cbor")]
    return Response(status, headers + _query_header(model, error, shape, status), dump_cbor(body))


def _query(model: ServiceModel, error: ServiceError, shape: Shape | None, request_id: str) -> Response:
    status = _status(error, shape)
    return Response(status, [("Content-Type", "text/xml")], _error_response(model, error, shape, request_id, status))


def _error_response(
    model: ServiceModel, error: ServiceError, shape: Shape | None, request_id: str, status: int
) -> bytes:
    namespace = query_namespace(model)
    out = [
        f"<ErrorResponse{namespace}><Error><Type>{'Sender' if status < 500 else 'Receiver'}</Type>"
        f"<Code>{escape(_code(model, error, shape))}</Code><Message>{escape(error.message)}</Message>"
    ]
    known = shape.members if shape is not None else {}
    for name, value in _members(error, shape, kind=None).items():
        if name.lower() in ("message", "code") or value is None:
            continue
        if name in known:
            if known[name].in_response_body:
                xml_writer(known[name], known[name].wire_name or name, millis=False)(out, value)
        else:
            out.append(f"<{name}>{escape(str(value))}</{name}>")
    out.append(f"</Error><RequestId>{escape(request_id)}</RequestId></ErrorResponse>")
    return "".join(out).encode()


def _rest_xml(model: ServiceModel, error: ServiceError, shape: Shape | None, request_id: str) -> Response:
    status = _status(error, shape) if shape is None or error.status == 400 else error.status
    if status == 304:
        return Response(304, [])
    headers = [("Content-Type", "application/xml")]
    for name, member in shape.members.items() if shape is not None else ():
        if member.location == "header" and error.fields.get(name) is not None:
            headers.append((member.wire_name or name, header_writer(member)(error.fields[name]) or ""))
    if model.name != "s3":
        return Response(status, headers, _error_response(model, error, shape, request_id, status))
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error>'
        f"<Code>{escape(_code(model, error, shape))}</Code><Message>{escape(error.message)}</Message>"
    ]
    for name, value in error.fields.items():
        if value is not None:
            out.append(f"<{name}>{escape(str(value))}</{name}>")
    out.append(f"<RequestId>{escape(request_id)}</RequestId><HostId>{host_id(request_id)}</HostId></Error>")
    return Response(status, headers, "".join(out).encode())


_WRITERS: dict[str, Callable[[ServiceModel, ServiceError, Shape | None, str], Response]] = {
    "rest-json": _rest_json,
    "rest-xml": _rest_xml,
    "json": _json,
    "smithy-rpc-v2-cbor": _cbor,
    "query": _query,
}
