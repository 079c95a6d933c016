"""Which operation a REST request asks for: method, path, query keys and headers."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, unquote_plus

from alonzo.core.dataclasses import dataclass, field
from alonzo.core.http import Headers
from alonzo.protocol.model import ServiceModel
from alonzo.protocol.problems import Malformed

#: More than any operation has; each costs memory before anything has been checked.
MAX_QUERY_KEYS = 2_000

Query = dict[str, list[str]]


def read_query(text: str) -> Query:
    """A query string's values by key, in order. `?uploads` has one empty value. Raises Malformed."""
    query: Query = {}
    if not text:
        return query
    if text.count("&") >= MAX_QUERY_KEYS:
        raise Malformed(f"More than {MAX_QUERY_KEYS} query parameters.")
    for part in text.split("&"):
        if not part:
            continue
        key, _, value = part.partition("=")
        try:
            if "%" in part or "+" in part:
                key, value = unquote_plus(key, errors="strict"), unquote_plus(value, errors="strict")
        except UnicodeDecodeError as error:
            raise Malformed("The query string is not UTF-8.") from error
        query.setdefault(key, []).append(value)
    return query


@dataclass(frozen=True, slots=True)
class Candidate:
    """An operation that a path may mean. `literals` are query keys with their value (None: any)."""

    name: str
    labels: tuple[str, ...]
    literals: tuple[tuple[str, str | None], ...]
    required_query: tuple[str, ...]
    required_headers: tuple[str, ...]
    deprecated: bool

    def rank(self, query: Query, headers: Headers) -> tuple[int, int, int, int] | None:
        """How well the request fits; None where it does not. The highest wins."""
        for key, value in self.literals:
            given = query.get(key)
            if given is None or (value is not None and value not in given):
                return None
        complete = all(key in query for key in self.required_query) and all(
            name in headers for name in self.required_headers
        )
        required = len(self.required_query) + len(self.required_headers)
        return (len(self.literals), int(complete), required if complete else 0, -int(self.deprecated))


@dataclass(slots=True)
class _Choice:
    """The operations of one method at one path; `plain` are those that an empty query string may mean."""

    candidates: list[Candidate] = field(default_factory=list)
    plain: list[Candidate] = field(default_factory=list)

    def add(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)
        if not candidate.literals and not candidate.required_query:
            self.plain.append(candidate)
            self.plain.sort(key=lambda plain: (-len(plain.required_headers), plain.deprecated))


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    label: _Node | None = None
    #: What may follow a greedy label.
    greedy: dict[str, dict[str, _Choice]] = field(default_factory=dict)
    here: dict[str, _Choice] = field(default_factory=dict)


class Routes:
    """A service's REST operations, as a tree of path segments."""

    def __init__(self, model: ServiceModel) -> None:
        self._root = _Node()
        for name in model.operation_names:
            self._add(model, name)

    def _add(self, model: ServiceModel, name: str) -> None:
        operation = model.operation(name)
        path, _, query = operation.uri.partition("?")
        literals = []
        for part in filter(None, query.split("&")):
            key, equals, value = part.partition("=")
            # `x-id` only tells SDKs' operations apart; clients that are no SDK do not send it.
            if key != "x-id":
                literals.append((key, value if equals else None))
        required_query, required_headers = _required(model, name)
        labels: list[str] = []
        node = self._root
        segments = path.strip("/").split("/") if path.strip("/") else []
        for index, segment in enumerate(segments):
            if not segment.startswith("{"):
                node = node.literals.setdefault(segment, _Node())
                continue
            labels.append(segment.strip("{}").rstrip("+"))
            if segment.endswith("+}"):
                rest = "".join("/" + text for text in segments[index + 1 :])
                found = Candidate(
                    name, tuple(labels), tuple(literals), required_query, required_headers, operation.deprecated
                )
                node.greedy.setdefault(rest, {}).setdefault(operation.method, _Choice()).add(found)
                return
            if node.label is None:
                node.label = _Node()
            node = node.label
        found = Candidate(name, tuple(labels), tuple(literals), required_query, required_headers, operation.deprecated)
        node.here.setdefault(operation.method, _Choice()).add(found)

    def find(self, method: str, path: str, query: Query, headers: Headers) -> tuple[str, Mapping[str, str]] | None:
        """The operation and its labels' values, decoded. Raises UnicodeDecodeError."""
        segments = path[1:].split("/") if path.startswith("/") else path.split("/")
        found = self._descend(segments, method, query, headers)
        if found is None and segments[-1] == "":
            # `/bucket/` is the bucket, `/functions/` the collection.
            segments.pop()
            found = self._descend(segments, method, query, headers)
        if found is None:
            return None
        candidate, values = found
        if "%" in path:
            values = [unquote(value, errors="strict") for value in values]
        return candidate.name, dict(zip(candidate.labels, values, strict=True))

    def _descend(
        self, segments: list[str], method: str, query: Query, headers: Headers
    ) -> tuple[Candidate, list[str]] | None:
        """As far as there is only one way to go without calls, which is all the way for most paths."""
        node = self._root
        values: list[str] = []
        for index, segment in enumerate(segments):
            following = node.literals.get(segment)
            if node.greedy and following is None and node.label is None:
                return self._take_rest(node, segments, index, method, query, headers, values)
            if node.greedy or (following is not None and node.label is not None):
                return self._walk(node, segments, index, method, query, headers, values)
            if following is None:
                following = node.label
                if following is None or not segment:
                    return None
                values.append(segment)
            node = following
        best = _best(node.here.get(method), query, headers)
        return (best, values) if best is not None else None

    def _walk(
        self,
        node: _Node,
        segments: list[str],
        index: int,
        method: str,
        query: Query,
        headers: Headers,
        values: list[str],
    ) -> tuple[Candidate, list[str]] | None:
        """Literals before labels before greedy labels; back where a branch ends in nothing."""
        if index == len(segments):
            best = _best(node.here.get(method), query, headers)
            return (best, values) if best is not None else None
        segment = segments[index]
        following = node.literals.get(segment)
        if following is not None:
            found = self._walk(following, segments, index + 1, method, query, headers, values)
            if found is not None:
                return found
        if node.label is not None and segment:
            found = self._walk(node.label, segments, index + 1, method, query, headers, [*values, segment])
            if found is not None:
                return found
        return self._take_rest(node, segments, index, method, query, headers, values)

    def _take_rest(
        self,
        node: _Node,
        segments: list[str],
        index: int,
        method: str,
        query: Query,
        headers: Headers,
        values: list[str],
    ) -> tuple[Candidate, list[str]] | None:
        """What a greedy label takes: all that is left but for what must follow it."""
        tail = "/".join(segments[index:])
        for rest, choices in node.greedy.items():
            if tail.endswith(rest) and len(tail) > len(rest):
                best = _best(choices.get(method), query, headers)
                if best is not None:
                    return best, [*values, tail[: len(tail) - len(rest)]]
        return None


def _best(choice: _Choice | None, query: Query, headers: Headers) -> Candidate | None:
    if choice is None:
        return None
    if not query and choice.plain:
        # In the order of their ranks already: the first that has its headers is the best.
        for candidate in choice.plain:
            if all(name in headers for name in candidate.required_headers):
                return candidate
        return choice.plain[-1]
    candidates = choice.candidates
    if len(candidates) == 1 and not candidates[0].literals:
        return candidates[0]
    best: Candidate | None = None
    best_rank: tuple[int, int, int, int] = (-1, 0, 0, 0)
    for candidate in candidates:
        rank = candidate.rank(query, headers)
        if rank is not None and rank > best_rank:
            best, best_rank = candidate, rank
    return best


def _required(model: ServiceModel, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    shape = model.operation(name).input
    if shape is None:
        return (), ()
    members = shape.members
    query, headers = [], []
    for member in shape.required:
        place, wire = members[member].location, members[member].wire_name or member
        if place == "querystring":
            query.append(wire)
        elif place == "header":
            headers.append(wire.lower())
    return tuple(query), tuple(headers)
