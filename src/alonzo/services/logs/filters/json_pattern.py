"""`{ $.a = "x" && $.b[0].c > 3 || $.d IS NULL }`: patterns for events that are JSON objects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from alonzo.services.logs.filters.errors import invalid
from alonzo.services.logs.filters.expression import Lookup, Parser

_STEP = re.compile(
    r"""\.?\[(?P<index>\d{1,9})\]
      | \.?\[(?P<every>\*)\]
      | \.?\['(?P<quoted>[^']+)'\]
      | \.(?P<all>\*)(?=[.\[]|$)
      | \.(?P<name>[^.\[\]]+)""",
    re.VERBOSE,
)


class JsonPattern:
    """Matches messages that are JSON objects or lists and meet the condition."""

    def __init__(self, source: str) -> None:
        self._condition = Parser(source, select).parse()

    def __call__(self, message: str) -> bool:
        if message.lstrip()[:1] not in ("{", "["):
            return False
        try:
            event = orjson.loads(message)
        except ValueError:  # no JSON, or nested deeper than orjson's own limit
            return False
        return self._condition(event)


def select(selector: str) -> Lookup:
    """The lookup of `$.a.b[0]['c d'].*`. Every step names distinct parts of a tree, so the work is the event's size."""
    steps: list[str | int | None] = []
    at = 1
    while at < len(selector):
        match = _STEP.match(selector, at)
        if match is None:
            raise invalid(f"'{selector}' is no selector.")
        if match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["every"] or match["all"]:
            steps.append(None)
        else:
            steps.append(match["quoted"] or match["name"])
        at = match.end()
    if not steps:
        raise invalid(f"'{selector}' is no selector.")

    def lookup(event: Any) -> Sequence[Any]:
        found = [event]
        for step in steps:
            found = [child for value in found for child in _children(value, step)]
        return found

    return lookup


def _children(value: Any, step: str | int | None) -> Sequence[Any]:
    if isinstance(value, dict):
        if step is None:
            return list(value.values())
        return [value[step]] if isinstance(step, str) and step in value else ()
    if isinstance(value, list):
        if step is None:
            return value
        return [value[step]] if isinstance(step, int) and step < len(value) else ()
    return ()
