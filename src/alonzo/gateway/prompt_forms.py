"""How the prompt way reads parameters and writes results: by the parsers and serializers of the ordinary way, with what
does not change between requests worked out before."""

from __future__ import annotations

from typing import Protocol

from alonzo.core.errors import ServiceError
from alonzo.core.http import Request
from alonzo.dispatch import Params, Result
from alonzo.protocol.model import ServiceModel
from alonzo.protocol.parse import json_operation, json_params, read_rest_head
from alonzo.protocol.problems import Malformed
from alonzo.protocol.serialize import head_around_id, json_body
from alonzo.protocol.validate import validate

#: Heads of answers remembered for each operation.
_MAX_HEADS = 64

_Heads = dict[tuple[object, ...], tuple[int, str, str]]


class Form(Protocol):
    """One operation's form in one protocol."""

    operation: str
    protocol: str

    def read(self, body: bytes) -> tuple[Params, bytes] | None:
        """Parameters that have been validated, and the payload; None where something is wrong with them."""

    def write(self, result: Result) -> tuple[int, str, str, bytes]:
        """Status, header fields before and after the request's id, body."""


def form_of(model: ServiceModel, request: Request) -> Form | None:
    """None where requests of this kind go the ordinary way."""
    if model.protocol == "rest-json":
        return _rest_form(model, request)
    if "json" in model.protocols and request.method == "POST":
        operation = json_operation(model, request)
        return _JsonForm(model, operation) if operation is not None else None
    return None


class RestForm:
    """REST with a blob as the body both ways: the parameters are in the head, and stay."""

    __slots__ = ("_blob", "_heads", "_model", "_params", "operation", "protocol")

    def __init__(self, model: ServiceModel, operation: str, params: Params, blob: str, heads: _Heads) -> None:
        self.operation, self.protocol = operation, model.protocol
        self._model = model
        #: All but the payload; nobody changes them.
        self._params = params
        #: The member of the result that is the answer's body.
        self._blob = blob
        #: Shared by all requests for the operation: a head follows from the result alone.
        self._heads = heads

    def read(self, body: bytes) -> tuple[Params, bytes]:
        return self._params, body

    def label(self) -> tuple[str, str, str] | None:
        """Before, name and after of the only parameter in the operation's path; None where that is not all of it."""
        before, _, rest = self._model.operation(self.operation).uri.partition("{")
        name, _, after = rest.partition("}")
        return (before, name, after) if name in self._params and not {"{", "?"}.intersection(after) else None

    def with_label(self, name: str, value: str) -> RestForm | None:
        """The form of a request that differs in its path's parameter only; None where something is wrong with it."""
        params = {**self._params, name: value}
        try:
            validate(self._model, self.operation, params)
        except ServiceError:
            return None
        return RestForm(self._model, self.operation, params, self._blob, self._heads)

    def says(self, name: str, value: str) -> bool:
        return self._params.get(name) == value

    def write(self, result: Result) -> tuple[int, str, str, bytes]:
        body = result.pop(self._blob)
        key = tuple(result.items())
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            head = head_around_id(self._model, self.operation, {**result, self._blob: b""}, self.protocol)
            self._heads[key] = head
        return *head, body


def _rest_form(model: ServiceModel, request: Request) -> Form | None:
    try:
        operation, reader, params = read_rest_head(model, request, model.protocol)
        validate(model, operation, params)
    except ServiceError:
        return None
    if reader.blob is None or reader.header_names is None:
        return None
    key = ("prompt", operation)
    answers: tuple[str | None, _Heads] | None = model.cache.get(key)
    if answers is None:
        output = model.operation(operation).output
        answers = model.cache[key] = (output.payload if output is not None else None, {})
    blob, heads = answers
    return RestForm(model, operation, params, blob, heads) if blob is not None else None


class _JsonForm:
    """JSON both ways: all parameters are in the body."""

    __slots__ = ("_after", "_before", "_body", "_model", "_params", "_status", "operation", "protocol")

    def __init__(self, model: ServiceModel, operation: str) -> None:
        self.operation, self.protocol = operation, "json"
        self._model = model
        self._params = json_params(model, operation)
        self._status, self._before, self._after = head_around_id(model, operation, {}, "json")
        self._body = json_body(model, operation)

    def read(self, body: bytes) -> tuple[Params, bytes] | None:
        try:
            params = self._params(body)
            validate(self._model, self.operation, params)
        except (Malformed, ServiceError):
            return None
        return params, b""

    def write(self, result: Result) -> tuple[int, str, str, bytes]:
        return self._status, self._before, self._after, self._body(result)
