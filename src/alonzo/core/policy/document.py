"""A policy document in the form that is evaluated: read once, kept by its text.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from alonzo.core.dataclasses import dataclass
from alonzo.core.policy.conditions import Condition, UnknownOperator
from alonzo.core.policy.patterns import Lookup, Pattern

#: No document of any service is longer (S3's bucket policies, in bytes).
MAX_DOCUMENT = 20480
VERSIONS = ("2008-10-17", "2012-10-17")


class MalformedPolicy(ValueError):
    """A document that is no policy; the message is AWS's."""


SYNTAX = "Syntax errors in policy."


def strings(value: Any) -> list[str]:
    """A string or a list of strings (numbers and booleans as JSON writes them). Raises MalformedPolicy."""
    items = value if isinstance(value, list) else [value]
    found: list[str] = []
    for item in items:
        if isinstance(item, bool):
            found.append("true" if item else "false")
        elif isinstance(item, str | int | float):
            found.append(str(item))
        else:
            raise MalformedPolicy(SYNTAX)
    return found


@dataclass(frozen=True, slots=True)
class Statement:
    """`principals` maps AWS, Service, Federated, CanonicalUser or `*` to values; None where the element is absent."""

    allow: bool
    sid: str
    actions: tuple[Pattern, ...]
    not_actions: bool
    resources: tuple[Pattern, ...] | None
    not_resources: bool
    principals: Mapping[str, frozenset[str]] | None
    not_principals: bool
    conditions: tuple[Condition, ...]

    def covers(self, action: str, resource: str, lookup: Lookup) -> bool:
        """Action and resource fit; `action` in lower case. A statement without Resource is about what it is on."""
        if any(pattern.matches(action, lookup) for pattern in self.actions) is self.not_actions:
            return False
        if self.resources is None:
            return True
        return any(pattern.matches(resource, lookup) for pattern in self.resources) is not self.not_resources

    def holds(self, lookup: Lookup) -> bool:
        return all(condition.holds(lookup) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class Policy:
    statements: tuple[Statement, ...]


def load(text: str, broken: str = SYNTAX) -> dict[str, Any]:
    """The JSON object. Raises MalformedPolicy, with the text `broken` where it is no JSON."""
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise MalformedPolicy(broken) from None
    if not isinstance(document, dict):
        raise MalformedPolicy(SYNTAX)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedPolicy(SYNTAX)
    return found


@lru_cache(maxsize=1024)
def compile_policy(text: str) -> Policy:
    """The evaluated form of a document. Raises MalformedPolicy."""
    document = load(text)
    variables = document.get("Version") == "2012-10-17"
    raw = document.get("Statement", [])
    return Policy(tuple(_statement(one, variables) for one in (raw if isinstance(raw, list) else [raw])))


def _statement(raw: Any, variables: bool) -> Statement:
    if not isinstance(raw, dict) or raw.get("Effect") not in ("Allow", "Deny"):
        raise MalformedPolicy(SYNTAX)
    actions = strings(raw.get("NotAction", raw.get("Action", [])))
    resources = raw.get("NotResource", raw.get("Resource"))
    principals = raw.get("NotPrincipal", raw.get("Principal"))
    return Statement(
        allow=raw["Effect"] == "Allow",
        sid=str(raw.get("Sid", "")),
        actions=tuple(Pattern(action.lower(), variables=False, fold=True) for action in actions),
        not_actions="NotAction" in raw,
        resources=None if resources is None else tuple(_resources(strings(resources), variables)),
        not_resources="NotResource" in raw,
        principals=None if principals is None else _principals(principals),
        not_principals="NotPrincipal" in raw,
        conditions=tuple(_conditions(raw.get("Condition") or {}, variables)),
    )


def _resources(values: Iterable[str], variables: bool) -> Iterable[Pattern]:
    return (Pattern(value, variables=variables, arn=True) for value in values)


def _principals(raw: Any) -> dict[str, frozenset[str]]:
    if raw == "*":
        return {"*": frozenset("*")}
    if not isinstance(raw, dict):
        raise MalformedPolicy(SYNTAX)
    return {kind: frozenset(strings(values)) for kind, values in raw.items()}


def _conditions(raw: Any, variables: bool) -> Iterable[Condition]:
    if not isinstance(raw, dict):
        raise MalformedPolicy(SYNTAX)
    for operator, keys in raw.items():
        if not isinstance(keys, dict):
            raise MalformedPolicy(SYNTAX)
        for key, values in keys.items():
            try:
                yield Condition(operator, key, strings(values), variables=variables)
            except UnknownOperator:
                raise MalformedPolicy(f"Invalid Condition type : {operator}.") from None
