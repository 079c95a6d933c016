"""Service models: botocore's data read without botocore's code.

Importing `botocore.model` costs a quarter of a second and 26 MB; its data are plain JSON. A model keeps every shape as
a small piece of JSON text without documentation and decodes it when an operation is compiled, so that a large model
(S3: 1.4 MB of JSON) stays below half a megabyte while nothing of it is used.
"""

from __future__ import annotations

import gzip
import importlib.util
from array import array
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from alonzo.protocol.names import snake

#: Where Alonzo's own models lie, in botocore's layout: `<name>/<date>/service-2.json`.
OWN_MODELS = Path(__file__).parent / "models"
_UNUSED = ("documentation", "endpoint", "endpointdiscovery", "examples", "httpChecksum", "documentationUrl")


class UnknownService(LookupError):
    """Neither botocore nor Alonzo has a model of that name."""


class Shape:
    """A shape where it is used: the target's traits overlaid by those of the reference. Lives only while compiling."""

    __slots__ = ("key", "model", "name", "traits", "type", "wire_name")

    def __init__(self, model: ServiceModel, reference: Mapping[str, Any]) -> None:
        self.model = model
        self.name: str = reference["shape"]
        target = model.raw_shape(self.name)
        self.type: str = target["type"]
        own = {key: value for key, value in reference.items() if key != "shape"}
        self.traits: dict[str, Any] = {**target, **own}
        #: `locationName`: what a member is called on the wire, None where it is the same. A name that the target itself
        #: has is only that of a root element.
        self.wire_name: str | None = own.get("locationName")
        #: Equal keys mean equal wire formats, so one compiled closure serves both.
        self.key: tuple[str, bytes] = (self.name, orjson.dumps(own, option=orjson.OPT_SORT_KEYS))

    @property
    def members(self) -> dict[str, Shape]:
        return {name: Shape(self.model, reference) for name, reference in self.traits.get("members", {}).items()}

    @property
    def member(self) -> Shape:
        return Shape(self.model, self.traits["member"])

    @property
    def map_key(self) -> Shape:
        return Shape(self.model, self.traits["key"])

    @property
    def map_value(self) -> Shape:
        return Shape(self.model, self.traits["value"])

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(self.traits.get("required", ()))

    @property
    def location(self) -> str | None:
        place: str | None = self.traits.get("location")
        return place

    @property
    def in_response_body(self) -> bool:
        """Of an output's member: bindings that only requests have (path, query string) mean nothing in a response."""
        return self.location not in ("header", "headers", "statusCode")

    @property
    def flattened(self) -> bool:
        return bool(self.traits.get("flattened"))

    def flat_name(self, name: str) -> str:
        """What each element of a flattened list is called: as the list, unless the list's shape itself is flattened
        and names its elements (models older than Smithy).
        """
        outer = self.wire_name or name
        if self.model.raw_shape(self.name).get("flattened"):
            return self.member.wire_name or outer
        return outer

    @property
    def streaming(self) -> bool:
        return bool(self.traits.get("streaming"))

    @property
    def payload(self) -> str | None:
        """Of a structure: the member that is the whole body."""
        name: str | None = self.traits.get("payload")
        return name

    def event_stream(self) -> tuple[str, Shape] | None:
        """Of an output: the member that is an event stream."""
        for name, shape in self.members.items():
            if shape.traits.get("eventstream"):
                return name, shape
        return None


class Operation:
    """One operation: where it lies and its shapes."""

    __slots__ = ("_raw", "deprecated", "method", "model", "name", "status", "uri")

    def __init__(self, model: ServiceModel, name: str, raw: Mapping[str, Any]) -> None:
        self.model = model
        self.name = name
        http = raw.get("http", {})
        self.method: str = http.get("method", "POST")
        self.uri: str = http.get("requestUri", "/")
        self.status: int = http.get("responseCode", 200)
        self.deprecated = bool(raw.get("deprecated"))
        self._raw = raw

    @property
    def input(self) -> Shape | None:
        reference = self._raw.get("input")
        return Shape(self.model, reference) if reference else None

    @property
    def output(self) -> Shape | None:
        reference = self._raw.get("output")
        return Shape(self.model, reference) if reference else None


class ServiceModel:
    """A service's operations and shapes.

    `cache` holds what the parsers, validators and serializers compile on first use, by their own keys.
    """

    def __init__(self, name: str, data: dict[str, Any]) -> None:
        metadata = data["metadata"]
        self.name = name
        self.metadata: dict[str, Any] = metadata
        self.protocol: str = metadata["protocol"]
        self.protocols: tuple[str, ...] = tuple(metadata.get("protocols") or (self.protocol,))
        self.api_version: str = metadata["apiVersion"]
        self.signing_name: str = metadata.get("signingName") or metadata.get("endpointPrefix", name)
        self.target_prefix: str = metadata.get("targetPrefix", "")
        self.json_version: str = str(metadata.get("jsonVersion", "1.0"))
        self.xml_namespace: str = metadata.get("xmlNamespace", "")
        self.query_compatible = "awsQueryCompatible" in metadata
        self.cache: dict[Any, Any] = {}
        self._operations = _Packed(data["operations"])
        self._shapes = _Packed(data["shapes"])
        self._snake: dict[str, str] | None = None
        self._errors: dict[str, str] | None = None

    @property
    def operation_names(self) -> tuple[str, ...]:
        return tuple(self._operations.names)

    def __contains__(self, operation: object) -> bool:
        return operation in self._operations.names

    def operation(self, name: str) -> Operation:
        """Raises LookupError where the model has no such operation."""
        return Operation(self, name, self._operations.get(name))

    def snake_names(self) -> dict[str, str]:
        """Operation names by their snake case, as boto3 spells its methods."""
        if self._snake is None:
            self._snake = {snake(name): name for name in self._operations.names}
        return self._snake

    def raw_shape(self, name: str) -> dict[str, Any]:
        return self._shapes.get(name)

    def error_shape(self, code: str) -> Shape | None:
        """The error's shape, by shape name or by the code it has on the wire."""
        if self._errors is None:
            self._errors = self._index_errors()
        name = self._errors.get(code)
        return Shape(self, {"shape": name}) if name is not None else None

    def _index_errors(self) -> dict[str, str]:
        by_code: dict[str, str] = {}
        for name in self._shapes.names:
            raw = self._shapes.get(name)
            if raw.get("exception") or raw.get("error"):
                by_code[name] = name
                code = raw.get("error", {}).get("code")
                if code:
                    by_code.setdefault(code, name)
        return by_code


class _Packed:
    """Named JSON objects in one block of memory, so that loading a model leaves no holes behind."""

    __slots__ = ("_block", "_ends", "names")

    def __init__(self, objects: dict[str, dict[str, Any]]) -> None:
        self.names: dict[str, int] = {}
        self._ends = array("I", [0])
        pieces = []
        for index, (name, value) in enumerate(objects.items()):
            _strip(value)
            piece = orjson.dumps(value)
            pieces.append(piece)
            self.names[name] = index
            self._ends.append(self._ends[-1] + len(piece))
        self._block = b"".join(pieces)

    def get(self, name: str) -> dict[str, Any]:
        index = self.names[name]
        value: dict[str, Any] = orjson.loads(self._block[self._ends[index] : self._ends[index + 1]])
        return value


def _strip(value: dict[str, Any]) -> None:
    """Drop what only people and clients read. A member may itself be called `documentation`; it stays."""
    for key in _UNUSED:
        value.pop(key, None)
    for child in ("member", "key", "value", "input", "output"):
        inner = value.get(child)
        if isinstance(inner, dict):
            inner.pop("documentation", None)
    members = value.get("members")
    if isinstance(members, dict):
        for inner in members.values():
            inner.pop("documentation", None)
    value.pop("errors", None)


@cache
def _botocore_data() -> Path:
    found = importlib.util.find_spec("botocore")
    if found is None or not found.submodule_search_locations:
        raise UnknownService("botocore is not installed")
    return Path(next(iter(found.submodule_search_locations))) / "data"


def _find(name: str) -> Path | None:
    """The newest model of `name`."""
    for root in (OWN_MODELS, _botocore_data()):
        folder = root / name
        if folder.parent != root or not folder.is_dir():
            continue
        for version in sorted((entry for entry in folder.iterdir() if entry.is_dir()), reverse=True):
            for file in ("service-2.json", "service-2.json.gz"):
                if (version / file).is_file():
                    return version / file
    return None


@cache
def load_model(service: str) -> ServiceModel:
    """The model of a service by botocore's name (`s3`, `lambda`) or of our own. Raises UnknownService."""
    path = _find(service)
    if path is None:
        raise UnknownService(f"no service model named {service!r}")
    raw = path.read_bytes()
    return ServiceModel(service, orjson.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw))
