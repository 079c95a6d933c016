"""Results and errors to responses, as AWS writes them in each protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alonzo.core.errors import ServiceError
from alonzo.core.http import Response
from alonzo.core.streams import FileBody
from alonzo.protocol.errors import query_namespace, write_error
from alonzo.protocol.event_stream import CONTENT_TYPE as EVENT_STREAM
from alonzo.protocol.event_stream import EventStreamWriter
from alonzo.protocol.model import Operation, ServiceModel, Shape
from alonzo.protocol.problems import ParseError
from alonzo.protocol.query_names import query_model
from alonzo.protocol.s3 import LOCATION_OPERATION, NAMESPACE, ROOTS, bucket_location, host_id
from alonzo.protocol.write_headers import HeaderWriter, header_writer, one_line
from alonzo.protocol.write_values import (
    cbor_scalar,
    dump_cbor,
    dump_json,
    json_scalar,
    structure_writer,
    value_writer,
)
from alonzo.protocol.write_xml import escape, members_writer, xml_writer

#: From a result and the request's id.
Serializer = Callable[[Mapping[str, Any], str], Response]
#: Stands for a request's id.
_ID = "00000000-0000-0000-0000-request-id"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def serialize(
    model: ServiceModel,
    operation: str,
    result: Mapping[str, Any],
    *,
    request_id: str,
    protocol: str | None = None,
) -> Response:
    """The response to a call that succeeded. `protocol` is the one of the request, the service's first by default."""
    key = ("serialize", operation, protocol)
    serializer: Serializer | None = model.cache.get(key)
    if serializer is None:
        chosen = protocol or model.protocol
        serializer = model.cache[key] = _COMPILERS[chosen](model.operation(operation), chosen)
    return serializer(result, request_id)


def head_around_id(
    model: ServiceModel, operation: str, result: Mapping[str, Any], protocol: str
) -> tuple[int, str, str]:
    """The status of a response, and its header fields as lines, before and after the request's id.

    Of a result whose payload is a blob, or in the JSON protocol: the fields do not depend on the body.
    """
    response = serialize(model, operation, result, request_id=_ID, protocol=protocol)
    lines = "".join([f"{name}: {one_line(value)}\r\n" for name, value in response.headers])
    before, _, after = lines.partition(_ID)
    return response.status, before, after


def serialize_error(
    model: ServiceModel,
    operation: str | None,
    error: ServiceError,
    *,
    request_id: str,
    protocol: str | None = None,
) -> Response:
    """The response to a call that failed; `operation` is None where the request did not get so far."""
    if isinstance(error, ParseError):
        operation, protocol = operation or error.operation, protocol or error.protocol
    chosen = protocol or model.protocol
    head = operation is not None and operation in model and model.operation(operation).method == "HEAD"
    response = write_error(model, error, request_id, chosen)
    response.headers[:0] = id_headers(model, chosen, request_id)
    if head:
        response.body = b""
    return response


def id_headers(model: ServiceModel, protocol: str, request_id: str) -> list[tuple[str, str]]:
    """The headers that name the request."""
    if protocol == "rest-xml":
        return [("x-amz-request-id", request_id), ("x-amz-id-2", host_id(request_id))]
    headers = [("x-amzn-RequestId", request_id)]
    if protocol == "smithy-rpc-v2-cbor":
        headers.append(("smithy-protocol", "rpc-v2-cbor"))
    return headers


def _compile_rest(operation: Operation, protocol: str) -> Serializer:
    model, shape = operation.model, operation.output
    status_member, headers, header_maps = _bound(shape)
    body = _rest_body(operation, shape, protocol)
    head, status = operation.method == "HEAD", operation.status
    ranged = model.name == "s3" and operation.name in ("GetObject", "HeadObject")

    def write(result: Mapping[str, Any], request_id: str) -> Response:
        found = id_headers(model, protocol, request_id)
        content, kind = (b"", None) if head else body(result)
        # The edge counts what it can; a member that says the length too must not say it twice.
        counted = not head and isinstance(content, bytes | FileBody)
        for member, value in result.items():
            known = headers.get(member)
            if known is None or value is None:
                continue
            name, to_text = known
            if counted and name == "Content-Length":
                continue
            text = to_text(value)
            if text is not None:
                found.append((name, text))
                if name == "Content-Type":
                    kind = None
        for member, prefix in header_maps:
            for key, value in (result.get(member) or {}).items():
                found.append((one_line(prefix + key), one_line(value)))
        code = result.get(status_member, status) if status_member is not None else status
        if ranged and result.get("ContentRange"):
            code = 206
        if kind is not None:
            found.append(("Content-Type", kind))
        return Response(code, found, content)

    return write


def _bound(
    shape: Shape | None,
) -> tuple[str | None, dict[str, tuple[str, HeaderWriter]], list[tuple[str, str]]]:
    status_member: str | None = None
    headers: dict[str, tuple[str, HeaderWriter]] = {}
    header_maps: list[tuple[str, str]] = []
    for name, member in shape.members.items() if shape is not None else ():
        wire = member.wire_name or name
        if member.location == "statusCode":
            status_member = name
        elif member.location == "header":
            headers[name] = ("Content-Type" if wire.lower() == "content-type" else wire, header_writer(member))
        elif member.location == "headers":
            header_maps.append((name, member.wire_name or ""))
    return status_member, headers, header_maps


Body = Callable[[Mapping[str, Any]], tuple[Any, str | None]]


def _rest_body(operation: Operation, shape: Shape | None, protocol: str) -> Body:
    """What writes the body and says its type (None: no body)."""
    if shape is None:
        return lambda result: (b"", None)
    stream = shape.event_stream()
    if stream is not None:
        name, events = stream
        writer = EventStreamWriter(events, protocol)
        return lambda result: (writer.stream(result.get(name) or ()), EVENT_STREAM)
    if shape.payload is not None:
        return _payload(operation, shape.payload, shape.members[shape.payload], protocol)
    if protocol == "rest-json":
        if shape.members and not any(member.in_response_body for member in shape.members.values()):
            return lambda result: (b"", None)
        write_json = structure_writer(shape, json_scalar, {})
        return lambda result: (dump_json(write_json(result)), "application/json")
    return _xml_structure(operation, shape)


def _payload(operation: Operation, name: str, member: Shape, protocol: str) -> Body:
    if member.type in ("blob", "string"):
        default = _payload_type(operation, member, protocol)

        def raw(result: Mapping[str, Any]) -> tuple[Any, str | None]:
            value = result.get(name)
            if value is None:
                return b"", None
            return (value.encode() if isinstance(value, str) else value), default

        return raw
    if protocol == "rest-json":
        writer = value_writer(member, json_scalar)

        def as_json(result: Mapping[str, Any]) -> tuple[Any, str | None]:
            value = result.get(name)
            if value is None:
                return (b"{}" if member.type == "structure" else b""), "application/json"
            return dump_json(value if writer is None else writer(value)), "application/json"

        return as_json
    s3 = operation.model.name == "s3"
    namespace = NAMESPACE if s3 and "xmlNamespace" not in member.traits else ""
    write = xml_writer(member, _root_name(operation, member), millis=s3)

    def as_xml(result: Mapping[str, Any]) -> tuple[Any, str | None]:
        value = result.get(name)
        if value is None:
            return b"", None
        return _document(write, value, namespace), "application/xml"

    return as_xml


def _payload_type(operation: Operation, member: Shape, protocol: str) -> str:
    if member.traits.get("mediaType"):
        return str(member.traits["mediaType"])
    if member.type == "string":
        return "application/json" if operation.model.name == "s3" else "text/plain"
    if operation.model.name == "lambda":
        return "application/json"
    return "binary/octet-stream" if operation.model.name == "s3" else "application/octet-stream"


def _root_name(operation: Operation, shape: Shape) -> str:
    if operation.model.name == "s3" and operation.name in ROOTS:
        return ROOTS[operation.name]
    trait = shape.traits.get("locationName")
    return str(trait) if trait else shape.name


def _document(write: Callable[[list[str], Any], None], value: Any, namespace: str) -> bytes:
    out: list[str] = []
    write(out, value)
    if namespace:
        # The root's start tag is the first piece, complete but for its attributes.
        head, closed, rest = out[0].partition(">")
        out[0] = f'{head} xmlns="{namespace}"{closed}{rest}'
    return (_DECLARATION + "".join(out)).encode()


def _xml_structure(operation: Operation, shape: Shape) -> Body:
    model = operation.model
    if model.name == "s3" and operation.name == LOCATION_OPERATION:
        return lambda result: (bucket_location(result), "application/xml")
    if not any(member.in_response_body for member in shape.members.values()):
        return lambda result: (b"", None)
    s3 = model.name == "s3"
    namespace = NAMESPACE if s3 else model.xml_namespace
    write = xml_writer(shape, _root_name(operation, shape), millis=s3)
    if "xmlNamespace" in shape.traits:
        namespace = ""
    return lambda result: (_document(write, result, namespace), "application/xml")


def json_body(model: ServiceModel, operation: str) -> Callable[[Mapping[str, Any]], bytes]:
    """What writes an operation's results in the JSON protocol; not for event streams.

    An operation without a result answers an empty body, one with an empty result `{}`.
    """
    key = ("json body", operation)
    body: Callable[[Mapping[str, Any]], bytes] | None = model.cache.get(key)
    if body is None:
        shape = model.operation(operation).output
        writer = structure_writer(shape, json_scalar, {}) if shape is not None else None
        body = model.cache[key] = lambda result: dump_json(writer(result)) if writer is not None else b""
    return body


def _compile_json(operation: Operation, protocol: str) -> Serializer:
    model, shape = operation.model, operation.output
    kind = f"application/x-amz-json-{model.json_version}"
    stream = shape.event_stream() if shape is not None else None
    if shape is not None and stream is not None:
        return _compile_stream(operation, shape, stream, protocol)
    body = json_body(model, operation.name)

    def write(result: Mapping[str, Any], request_id: str) -> Response:
        return Response(200, [("x-amzn-RequestId", request_id), ("Content-Type", kind)], body(result))

    return write


def _compile_cbor(operation: Operation, protocol: str) -> Serializer:
    model, shape = operation.model, operation.output
    stream = shape.event_stream() if shape is not None else None
    if shape is not None and stream is not None:
        return _compile_stream(operation, shape, stream, protocol)
    writer = structure_writer(shape, cbor_scalar, {}) if shape is not None else None

    def write(result: Mapping[str, Any], request_id: str) -> Response:
        headers = id_headers(model, protocol, request_id)
        if writer is None:
            return Response(200, headers, b"")
        headers.append(("Content-Type", "application/cbor"))
        return Response(200, headers, dump_cbor(writer(result)))

    return write


def _compile_stream(operation: Operation, shape: Shape, stream: tuple[str, Shape], protocol: str) -> Serializer:
    name, events = stream
    encoder = EventStreamWriter(events, protocol)
    scalars, dump = (cbor_scalar, dump_cbor) if protocol == "smithy-rpc-v2-cbor" else (json_scalar, dump_json)
    writer = structure_writer(shape, scalars, {})

    def write(result: Mapping[str, Any], request_id: str) -> Response:
        headers = id_headers(operation.model, protocol, request_id)
        headers.append(("Content-Type", EVENT_STREAM))
        initial = encoder.initial(dump(writer({key: value for key, value in result.items() if key != name})))
        return Response(200, headers, encoder.stream(result.get(name) or (), initial))

    return write


def _compile_query(operation: Operation, protocol: str) -> Serializer:
    model, name = operation.model, operation.name
    shape = query_model(model).operation(name).output
    namespace = query_namespace(model)
    opening, closing = f"<{name}Response{namespace}>", f"</{name}Response>"
    members = members_writer(shape, millis=False)[1] if shape is not None else None
    wrapper = (shape.traits.get("resultWrapper") or f"{name}Result") if shape is not None else ""

    def write(result: Mapping[str, Any], request_id: str) -> Response:
        out = [opening]
        if members is not None:
            out.append(f"<{wrapper}>")
            members(out, result)
            out.append(f"</{wrapper}>")
        out.append(f"<ResponseMetadata><RequestId>{escape(request_id)}</RequestId></ResponseMetadata>{closing}")
        headers = [("x-amzn-RequestId", request_id), ("Content-Type", "text/xml")]
        return Response(200, headers, "".join(out).encode())

    return write


_COMPILERS: dict[str, Callable[[Operation, str], Serializer]] = {
    "rest-json": _compile_rest,
    "rest-xml": _compile_rest,
    "json": _compile_json,
    "smithy-rpc-v2-cbor": _compile_cbor,
    "query": _compile_query,
}
