"""Matching: a compiled pattern over an event.

The fields under one array of objects must all hold in one element of it. A name with dots and nested names are the
same, in patterns and in events. Source: the array consistency of https://github.com/aws/event-ruler
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alonzo.core.dataclasses import dataclass, field
from alonzo.core.patterns.conditions import Test

Path = tuple[str, ...]

#: Levels of an event that are looked at; what is deeper than any pattern goes cannot matter.
MAX_DEPTH = 200


@dataclass(frozen=True, slots=True)
class Question:
    """What a field is asked: any of the tests, or that it is absent."""

    tests: tuple[Test, ...]
    absent: bool = False


@dataclass(slots=True)
class Node:
    """One level of a pattern."""

    path: Path
    question: Question | None = None
    children: dict[str, Node] = field(default_factory=dict)


class Matcher:
    """A compiled pattern: holds no state between events, so it may be shared."""

    __slots__ = ("_alternatives",)

    def __init__(self, alternatives: Iterable[Mapping[str, Question]]) -> None:
        """Each alternative is a mapping of dotted paths; an event matches if all of one's questions are answered."""
        self._alternatives = tuple(_tree(one) for one in alternatives)

    def matches(self, event: Mapping[str, Any]) -> bool:
        if not isinstance(event, Mapping):
            return False
        event = _without_dots(event)
        return any(_matches(root, event, (event,)) for root in self._alternatives)


def _tree(fields: Mapping[str, Question]) -> Node:
    root = Node(())
    for path, question in fields.items():
        node = root
        for name in path.split("."):
            following = node.children.get(name)
            if following is None:
                following = node.children[name] = Node((*node.path, name))
            node = following
        node.question = question
    return root


def _matches(node: Node, event: Mapping[str, Any], values: Sequence[Any]) -> bool:
    leaves, objects = _flat(values)
    question = node.question
    if question is not None and not _answered(question, leaves, event, node.path):
        return False
    if not node.children:
        return True
    return any(
        all(_matches(child, event, (found[name],) if name in found else ()) for name, child in node.children.items())
        for found in objects or ({},)
    )


def _answered(question: Question, leaves: Sequence[Any], event: Mapping[str, Any], path: Path) -> bool:
    if any(test(leaf) for leaf in leaves for test in question.tests):
        return True
    return question.absent and not _is_present(event, path)


def _flat(values: Sequence[Any]) -> tuple[list[Any], list[Mapping[str, Any]]]:
    """The scalars and the objects among values, arrays within arrays opened."""
    leaves: list[Any] = []
    objects: list[Mapping[str, Any]] = []
    waiting = list(reversed(values))
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            objects.append(value)
        elif isinstance(value, list | tuple):
            waiting.extend(reversed(value))
        else:
            leaves.append(value)
    return leaves, objects


def _is_present(event: Mapping[str, Any], path: Path) -> bool:
    """Whether there is a leaf at a path, in any element of any array: absence is of the whole event."""
    values: list[Any] = [event]
    for name in path:
        _, objects = _flat(values)
        values = [found[name] for found in objects if name in found]
    return bool(_flat(values)[0])


def _without_dots(event: Mapping[str, Any]) -> Mapping[str, Any]:
    return _undotted(event, 0) if _has_dots(event) else event


def _has_dots(event: Mapping[str, Any]) -> bool:
    waiting: list[Any] = [event]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if any("." in name for name in value):
                return True
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
    return False


def _undotted(value: Any, depth: int) -> Any:
    if depth >= MAX_DEPTH:
        return value
    if isinstance(value, list | tuple):
        return [_undotted(one, depth + 1) for one in value]
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for name, inner in value.items():
        parts = name.split(".", MAX_DEPTH)
        inner = _undotted(inner, depth + len(parts))
        for part in reversed(parts[1:]):
            inner = {part: inner}
        found[parts[0]] = _merged(found[parts[0]], inner) if parts[0] in found else inner
    return found


def _merged(first: Any, second: Any) -> Any:
    """Two values of one path: objects become one, anything else may be either."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return {
            name: _merged(first[name], second[name])
            if name in first and name in second
            else (first if name in first else second)[name]
            for name in {**first, **second}
        }
    return [first, second]
