"""The grammar: a pattern's text becomes a `Matcher`, or a PatternError in the words of the service that asked.

`$or` multiplies: a pattern is a list of alternatives, each a mapping of paths to what is asked there.
Source: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from alonzo.core.patterns import conditions
from alonzo.core.patterns.errors import Fault, PatternError, SyntaxFault
from alonzo.core.patterns.expressions import expression
from alonzo.core.patterns.matching import MAX_DEPTH, Matcher, Question
from alonzo.core.patterns.tokens import Tokens

Dialect = Literal["events", "lambda", "sns"]
Alternatives = list[dict[str, Question]]

#: Characters. Source: EventBridge's and Lambda's quotas; for SNS https://docs.aws.amazon.com/sns/latest/dg/subscription-filter-policy-constraints.html
MAX_TEXT: Mapping[str, int] = {"events": 4096, "lambda": 4096, "sns": 262_144}
_MAX_ALTERNATIVES = 1_000
_MAX_COMBINATIONS = 150
_MAX_KEYS = 5
#: Field names that may not be used inside $or.
_RESERVED = frozenset(
    {
        "exactly",
        "equals-ignore-case",
        "prefix",
        "suffix",
        "anything-but",
        "exists",
        "wildcard",
        "numeric",
        "cidr",
        "=",
        "<",
        "<=",
        ">",
        ">=",
        "regex",
        "not-wildcard",
        "not-equals-ignore-case",
        "date-after",
        "date-on-or-after",
        "date-before",
        "date-on-or-before",
        "in-date-range",
        "ip-address-in-range",
        "ip-address-not-in-range",
    }
)


def compile_pattern(pattern: str | Mapping[str, Any], dialect: Dialect = "events", *, nested: bool = True) -> Matcher:
    """Compile once. Raises PatternError.

    `nested` False is SNS's rule for message attributes: no objects below the first level, and levels do not count
    towards the combinations.
    """
    text = pattern if isinstance(pattern, str) else _as_text(pattern)
    try:
        if len(text) > MAX_TEXT[dialect]:
            raise Fault(f"The pattern is longer than {MAX_TEXT[dialect]} characters")
        alternatives = _read(text, nested)
        if dialect == "sns":
            _check_complexity(alternatives, nested)
        return Matcher(alternatives)
    except Fault as fault:
        if dialect == "sns" and isinstance(fault, SyntaxFault):
            raise _error(f"failed to parse JSON. {fault.redacted}", dialect) from None
        raise _error(str(fault), dialect) from None


def json_fault(text: str) -> str | None:
    """What AWS says of a text that is no JSON object, with its place; None where it is one."""
    tokens, depth = Tokens(text), 0
    try:
        while True:
            kind = tokens.advance()
            depth += (kind in ("{", "[")) - (kind in ("}", "]"))
            if depth == 0:
                tokens.end()
                return None if kind == "}" else "The JSON is no object"
    except SyntaxFault as fault:
        return fault.redacted


def _as_text(pattern: Mapping[str, Any]) -> str:
    try:
        return json.dumps(pattern)
    except RecursionError:
        return "{" * (MAX_DEPTH + 1)


def _error(reason: str, dialect: Dialect) -> PatternError:
    if dialect == "lambda":
        return PatternError("InvalidParameterValueException", "Invalid filter pattern definition.", reason)
    if dialect == "sns":
        if reason == _NESTED:
            return PatternError("InvalidParameter", reason, reason)
        return PatternError("InvalidParameter", f"FilterPolicy: {reason}", reason)
    return PatternError("InvalidEventPatternException", f"Event pattern is not valid. Reason: {reason}", reason)


_NESTED = "Filter policy scope MessageAttributes does not support nested filter policy"


def _read(text: str, nested: bool) -> Alternatives:
    tokens = Tokens(text)
    if tokens.advance() != "{":
        tokens.fail("Filter is not an object")
    alternatives: Alternatives = []
    _object(tokens, alternatives, (), nested=nested, inside_or=False)
    tokens.end()
    return alternatives


def _object(
    tokens: Tokens, alternatives: Alternatives, path: tuple[str, ...], *, nested: bool, inside_or: bool
) -> None:
    """The fields up to the closing brace, each added to all alternatives."""
    if len(path) >= MAX_DEPTH // 2:
        tokens.fail("The pattern is nested too deeply")
    some = False
    while tokens.advance() != "}":
        some = True
        name = tokens.name
        if name == "$or":
            _either(tokens, alternatives, path, nested=nested)
            continue
        if inside_or and name in _RESERVED:
            tokens.fail(f"{name} is Ruler reserved fieldName which cannot be used inside $or.")
        kind = tokens.advance()
        if kind == "{":
            if not nested:
                # Whatever is wrong below is said first, as AWS compiles before it looks at the scope.
                _object(tokens, [], (*path, name), nested=True, inside_or=inside_or)
                raise Fault(_NESTED)
            _object(tokens, alternatives, (*path, name), nested=nested, inside_or=inside_or)
        elif kind == "[":
            question = _question(tokens)
            if not alternatives:
                alternatives.append({})
            for alternative in alternatives:
                alternative[".".join((*path, name))] = question
        else:
            tokens.fail(f'"{name}" must be an object or an array')
    if not some:
        tokens.fail("Empty objects are not allowed")


def _either(tokens: Tokens, alternatives: Alternatives, path: tuple[str, ...], *, nested: bool) -> None:
    before = [dict(one) for one in alternatives] or [{}]
    alternatives.clear()
    if tokens.advance() != "[":
        tokens.fail("It must be an Array followed with $or.")
    count = 0
    while (kind := tokens.advance()) != "]":
        count += 1
        if kind != "{":
            tokens.fail("Only JSON object is allowed in array of $or relationship.")
        branch = [dict(one) for one in before]
        _object(tokens, branch, path, nested=nested, inside_or=True)
        alternatives.extend(branch)
        if len(alternatives) > _MAX_ALTERNATIVES:
            raise Fault(f"The pattern has more than {_MAX_ALTERNATIVES} combinations of $or relationships")
    if count < 2:
        tokens.fail("There must have at least 2 Objects in $or relationship.")


def _question(tokens: Tokens) -> Question:
    """The values up to the closing bracket: any of them."""
    tests: list[conditions.Test] = []
    absent = some = False
    while (kind := tokens.advance()) != "]":
        some = True
        if kind == "{":
            test = expression(tokens)
            if test is None:
                absent = True
            else:
                tests.append(test)
        elif kind == "string":
            tests.append(conditions.exactly(tokens.text))
        elif kind == "number":
            tests.append(conditions.number(tokens.text))
        elif kind in ("true", "false", "null"):
            tests.append(conditions.exactly({"true": True, "false": False, "null": None}[kind]))
        else:
            tokens.fail("Match value must be String, number, true, false, or null")
    if not some:
        tokens.fail("Empty arrays are not allowed")
    return Question(tuple(tests), absent)


def _check_complexity(alternatives: Alternatives, nested: bool) -> None:
    """SNS's limits: five keys, and 150 combinations of values (times their depth, where the body is filtered)."""
    if max(len(one) for one in alternatives) > _MAX_KEYS:
        raise Fault(f"Filter policy can not have more than {_MAX_KEYS} keys")
    total = 0
    for one in alternatives:
        combinations = 1
        for path, question in one.items():
            combinations *= len(question.tests) + question.absent
            combinations *= path.count(".") + 1 if nested else 1
        total += combinations
    if total > _MAX_COMBINATIONS:
        raise Fault("Filter policy is too complex")
