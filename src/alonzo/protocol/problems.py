"""Requests that cannot be understood: each protocol's, or service's, own error for them."""

from __future__ import annotations

from alonzo.core.errors import ServiceError
from alonzo.protocol.model import ServiceModel

#: S3's one sentence for every fault of a body.
MALFORMED_XML = "The XML you provided was not well-formed or did not validate against our published schema"


class ParseError(ServiceError):
    """A request that is no call of an operation. `protocol` says how the answer must be written."""

    protocol: str | None = None
    operation: str | None = None


class Malformed(ValueError):
    """Raised by the readers; the text is for the client. Only `parse` turns it into a ParseError."""


class BadNumber(Malformed):
    """Text in a header or query parameter that is no integer."""

    def __init__(self, name: str, value: str) -> None:
        super().__init__(f"Provided {name} not an integer or within integer range")
        self.name = name
        self.value = value


#: Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and the services' answers.
_CODES = {
    "rest-json": "SerializationException",
    "json": "SerializationException",
    "smithy-rpc-v2-cbor": "SerializationException",
    "rest-xml": "MalformedInput",
    "query": "MalformedInput",
}


def malformed(model: ServiceModel, protocol: str, problem: Malformed, *, in_body: bool) -> ParseError:
    """The body, a header or the query string is not what the model says."""
    if model.name == "s3":
        if in_body:
            return ParseError("MalformedXML", MALFORMED_XML)
        if isinstance(problem, BadNumber):
            return ParseError(
                "InvalidArgument",
                str(problem),
                fields={"ArgumentName": problem.name, "ArgumentValue": problem.value},
            )
        return ParseError("InvalidArgument", str(problem))
    return ParseError(_CODES[protocol], str(problem))


def bad_uri(model: ServiceModel) -> ParseError:
    """The path is no UTF-8 once decoded."""
    if model.name == "s3":
        return ParseError("InvalidURI", "Couldn't parse the specified URI.")
    return ParseError("ValidationException", "Malformed URI: the path is not UTF-8.")


def no_operation(model: ServiceModel, protocol: str, name: str | None) -> ParseError:
    """Nothing in the model answers to this request."""
    if protocol == "query":
        if not name:
            return ParseError("MissingAction", "Missing Action", status=400)
        return ParseError(
            "InvalidAction", f"Could not find operation {name} for version {model.api_version}", status=400
        )
    if model.name == "s3":
        return ParseError(
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
            status=405,
            fields={"Method": name or ""},
        )
    return ParseError("UnknownOperationException", f"Unknown operation: {name or 'none given'}", status=404)


def too_large(model: ServiceModel, protocol: str, operation: str, limit: int) -> ParseError:
    """The body exceeds what the operation can take."""
    if model.name == "s3":
        return ParseError("MaxMessageLengthExceeded", "Your request was too big.")
    code = "RequestEntityTooLarge" if protocol in ("query", "rest-xml") else "RequestEntityTooLargeException"
    return ParseError(code, f"Request must be smaller than {limit} bytes for the {operation} operation", status=413)
