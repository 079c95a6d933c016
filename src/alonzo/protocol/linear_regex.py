"""Matching in time linear in the value, for patterns that a backtracking matcher could be kept busy with for years.

Thompson's construction: the parsed pattern becomes a program, and all its threads step through the value together.
Source: https://swtch.com/~rsc/regexp/regexp2.html
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

CharTest = Callable[[str], bool]
#: Instructions of a program, counted repeats written out.
MAX_PROGRAM = 4_000


class Unsupported(ValueError):
    """The pattern has what no finite automaton can do (back references), or what is not built here (lookbehind)."""


class LinearPattern:
    """`fullmatch` as a test. Raises Unsupported where the pattern cannot be compiled."""

    def __init__(self, pattern: str) -> None:
        self._program: list[tuple[Any, ...]] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = _parser.parse(pattern)
        if parsed.state.flags & (re.IGNORECASE | re.MULTILINE | re.ASCII):
            raise Unsupported("flags")
        self._dotall = bool(parsed.state.flags & re.DOTALL)
        self._emit(parsed)
        self._add("match")

    def matches(self, text: str) -> bool:
        return self._run(text, 0, whole=True)

    def _add(self, *instruction: Any) -> int:
        if len(self._program) >= MAX_PROGRAM:
            raise Unsupported("the pattern is too long when written out")
        self._program.append(instruction)
        return len(self._program) - 1

    def _emit(self, items: Iterable[tuple[Any, Any]]) -> None:
        for operator, argument in items:
            if operator in (op.MAX_REPEAT, op.MIN_REPEAT):
                self._repeat(*argument)
            elif operator is op.SUBPATTERN:
                if argument[1] or argument[2]:
                    raise Unsupported("flags within the pattern")
                self._emit(argument[3])
            elif operator is op.BRANCH:
                self._branch(argument[1])
            elif operator in (op.ASSERT, op.ASSERT_NOT):
                self._look(argument, negated=operator is op.ASSERT_NOT)
            elif operator is op.AT:
                self._add("at", argument)
            elif operator is op.ANY and self._dotall:
                self._add("char", bool, {})
            else:
                self._add("char", _char_test(operator, argument), {})

    def _repeat(self, low: int, high: Any, items: Any) -> None:
        for _ in range(low):
            self._emit(items)
        if high is op.MAXREPEAT:
            split = self._add("split", 0, 0)
            self._emit(items)
            self._add("jump", split)
            self._program[split] = ("split", split + 1, len(self._program))
            return
        splits = []
        for _ in range(int(high) - low):
            splits.append(self._add("split", 0, 0))
            self._emit(items)
        for split in splits:
            self._program[split] = ("split", split + 1, len(self._program))

    def _branch(self, branches: list[Any]) -> None:
        ends = []
        for branch in branches[:-1]:
            split = self._add("split", 0, 0)
            self._emit(branch)
            ends.append(self._add("jump", 0))
            self._program[split] = ("split", split + 1, len(self._program))
        self._emit(branches[-1])
        for end in ends:
            self._program[end] = ("jump", len(self._program))

    def _look(self, argument: tuple[int, Any], *, negated: bool) -> None:
        direction, items = argument
        if direction < 0:
            raise Unsupported("lookbehind")
        inner = LinearPattern.__new__(LinearPattern)
        inner._program, inner._dotall = [], self._dotall
        inner._emit(items)
        inner._add("match")
        self._add("look", inner, negated)

    def _run(self, text: str, start: int, *, whole: bool) -> bool:
        program = self._program
        current = self._follow([0], text, start)
        for at in range(start, len(text) + 1):
            if not whole and any(program[thread][0] == "match" for thread in current):
                return True
            if at == len(text) or not current:
                break
            character = text[at]
            stepped = []
            for thread in current:
                instruction = program[thread]
                if instruction[0] == "char":
                    known = instruction[2].get(character)
                    if known is None:
                        known = instruction[1](character)
                        if len(instruction[2]) < 512:
                            instruction[2][character] = known
                    if known:
                        stepped.append(thread + 1)
            current = self._follow(stepped, text, at + 1)
        return any(program[thread][0] == "match" for thread in current)

    def _follow(self, threads: list[int], text: str, at: int) -> set[int]:
        """All instructions that the threads reach without taking a character."""
        seen: set[int] = set()
        stack = list(threads)
        while stack:
            thread = stack.pop()
            if thread in seen:
                continue
            seen.add(thread)
            instruction = self._program[thread]
            kind = instruction[0]
            if kind == "jump":
                stack.append(instruction[1])
            elif kind == "split":
                stack.extend(instruction[1:])
            elif (kind == "at" and _at(instruction[1], text, at)) or (
                kind == "look" and instruction[1]._run(text, at, whole=False) is not instruction[2]
            ):
                stack.append(thread + 1)
        return seen


def _at(place: Any, text: str, at: int) -> bool:
    if place in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
        return at == 0
    if place is op.AT_END_STRING:
        return at == len(text)
    if place is op.AT_END:
        return at == len(text) or (at == len(text) - 1 and text[at] == "\n")
    before = at > 0 and _is_word(text[at - 1])
    after = at < len(text) and _is_word(text[at])
    if place is op.AT_BOUNDARY:
        return before is not after
    if place is op.AT_NON_BOUNDARY:
        return before is after
    raise Unsupported("an anchor")


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


_CATEGORIES: dict[Any, CharTest] = {
    op.CATEGORY_DIGIT: str.isdecimal,
    op.CATEGORY_NOT_DIGIT: lambda character: not character.isdecimal(),
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_NOT_SPACE: lambda character: not character.isspace(),
    op.CATEGORY_WORD: _is_word,
    op.CATEGORY_NOT_WORD: lambda character: not _is_word(character),
}


def _char_test(operator: Any, argument: Any) -> CharTest:
    if operator is op.LITERAL:
        return lambda character: ord(character) == argument
    if operator is op.NOT_LITERAL:
        return lambda character: ord(character) != argument
    if operator is op.ANY:
        return lambda character: character != "\n"
    if operator is op.CATEGORY:
        return _CATEGORIES[argument]
    if operator is op.RANGE:
        return lambda character: argument[0] <= ord(character) <= argument[1]
    if operator is op.IN:
        negated = bool(argument) and argument[0][0] is op.NEGATE
        tests = [_char_test(*item) for item in argument[1 if negated else 0 :]]
        return lambda character: any(test(character) for test in tests) is not negated
    raise Unsupported(str(operator))


def effort(pattern: str) -> int:
    """How a backtracking matcher's time may grow: 0 with the value, 1 with a power of it, 2 exponentially."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nested, count = _unbounded(_parser.parse(pattern), inside=False)
    except (re.error, RecursionError):
        return 2
    return 2 if nested else int(count > 1)


def _unbounded(items: Any, *, inside: bool) -> tuple[bool, int]:
    """Whether one unbounded repeat lies within another, and how many there are."""
    nested, count = False, 0
    for operator, argument in items:
        inner: list[Any] = []
        deeper = inside
        if operator in (op.MAX_REPEAT, op.MIN_REPEAT):
            if argument[1] is op.MAXREPEAT or argument[1] > 64:
                nested, count, deeper = nested or inside, count + 1, True
            inner = [argument[2]]
        elif operator is op.SUBPATTERN:
            inner = [argument[3]]
        elif operator is op.BRANCH:
            inner = argument[1]
        elif operator in (op.ASSERT, op.ASSERT_NOT):
            inner = [argument[1]]
        for part in inner:
            found, more = _unbounded(part, inside=deeper)
            nested, count = nested or found, count + more
    return nested, count
