"""Regular expressions as filter patterns allow them, matched in linear time.

There are no groups, so an expression is a choice of sequences of repeated character sets: an automaton whose states are
the bits of an integer, its transitions remembered as they are met. A backtracking matcher would let `%.*.*.*=.*%` and a
long message keep a processor busy for hours.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html#regex-expressions
"""

from __future__ import annotations

from collections.abc import Callable

from alonzo.core.dataclasses import dataclass
from alonzo.services.logs.filters.errors import invalid

#: Character sets after repetitions are written out; more would only slow down whoever asks.
MAX_POSITIONS = 500
_MAX_REMEMBERED = 4096

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS = frozenset("0123456789")
_WORD = _LETTERS | _DIGITS | {"_"}
_SPACE = frozenset(" \t\n\r\f\v")
_SYMBOLS = frozenset(":_#=@/;,- ")
_OPERATORS = frozenset("^$?[]{}|\\*+.")


@dataclass(frozen=True, slots=True)
class _Set:
    chars: frozenset[str]
    negated: bool = False

    def __contains__(self, char: str) -> bool:
        return (char in self.chars) is not self.negated


_CLASSES = {
    "d": _Set(_DIGITS),
    "D": _Set(_DIGITS, True),
    "w": _Set(_WORD),
    "W": _Set(_WORD, True),
    "s": _Set(_SPACE),
    "S": _Set(_SPACE, True),
}
_ANY = _Set(frozenset("\n"), True)


@dataclass(slots=True)
class _Atom:
    set: _Set
    optional: bool = False
    repeats: bool = False


@dataclass(slots=True)
class _Sequence:
    atoms: list[_Atom]
    at_start: bool = False
    at_end: bool = False


def compile_regex(source: str) -> Callable[[str], bool]:
    """A search for `source` (without the percent signs). Raises InvalidParameterException."""
    sequences = _Parser(source).parse()
    if len(sequences) == 1 and not (sequences[0].at_start or sequences[0].at_end):
        literal = _literal(sequences[0])
        if literal is not None:
            return lambda text: literal in text
    return _Automaton(sequences).search


def _literal(sequence: _Sequence) -> str | None:
    if any(a.optional or a.repeats or a.set.negated or len(a.set.chars) != 1 for a in sequence.atoms):
        return None
    return "".join(next(iter(atom.set.chars)) for atom in sequence.atoms)


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._positions = 0

    def parse(self) -> list[_Sequence]:
        if not self._source:
            raise invalid("the regular expression is empty.")
        sequences = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            sequences.append(self._sequence())
        return sequences

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise invalid("the regular expression ends too early.")
        self._at += 1
        return char

    def _sequence(self) -> _Sequence:
        sequence = _Sequence([])
        while (char := self._peek()) and char != "|":
            if char == "^":
                if sequence.atoms or sequence.at_start:
                    raise invalid("'^' may only begin a regular expression.")
                self._at += 1
                sequence.at_start = True
            elif char == "$":
                self._at += 1
                if self._peek() not in ("", "|"):
                    raise invalid("'$' may only end a regular expression.")
                sequence.at_end = True
            else:
                self._repeated(sequence.atoms, self._atom())
        return sequence

    def _repeated(self, atoms: list[_Atom], chars: _Set) -> None:
        least, most = self._repetition()
        self._positions += max(least, 1) if most is None else most
        if self._positions > MAX_POSITIONS or least > MAX_POSITIONS:
            raise invalid(f"the regular expression is longer than {MAX_POSITIONS} characters with its repetitions.")
        atoms.extend(_Atom(chars) for _ in range(least))
        if most is None:
            atoms.append(_Atom(chars, optional=True, repeats=True))
        else:
            atoms.extend(_Atom(chars, optional=True) for _ in range(most - least))

    def _repetition(self) -> tuple[int, int | None]:
        char = self._peek()
        if char not in ("?", "*", "+", "{") or not char:
            return 1, 1
        self._at += 1
        least: int
        most: int | None
        if char == "{":
            least, most = self._braces()
        else:
            least, most = {"?": (0, 1), "*": (0, None), "+": (1, None)}[char]
        if self._peek() and self._peek() in "?*+{":
            raise invalid(f"'{self._peek()}' has nothing to repeat.")
        return least, most

    def _braces(self) -> tuple[int, int | None]:
        end = self._source.find("}", self._at)
        inside = self._source[self._at : end] if end >= 0 else ""
        low, comma, high = inside.partition(",")
        if not _is_count(low) or (high and not _is_count(high)):
            raise invalid(f"'{{{inside}' is no repetition.")
        self._at = end + 1
        least = int(low)
        most = int(high) if high else (None if comma else least)
        if most is not None and most < least:
            raise invalid(f"'{{{inside}}}' is no repetition.")
        return least, most

    def _atom(self) -> _Set:
        char = self._take()
        if char == ".":
            return _ANY
        if char == "[":
            return self._bracket()
        if char == "\\":
            return self._escape()
        if char in _OPERATORS and char not in "]}":
            raise invalid(f"'{char}' has nothing to repeat.")
        if char in "()":
            raise invalid("parentheses are not supported in regular expressions.")
        if char not in _WORD and char not in _SYMBOLS and char not in "]}":
            raise invalid(f"the character '{char}' is not supported in regular expressions.")
        return _Set(frozenset(char))

    def _escape(self) -> _Set:
        char = self._take()
        if char in _CLASSES:
            return _CLASSES[char]
        if char == "x":
            code = self._take() + self._take()
            try:
                return _Set(frozenset(chr(int(code, 16))))
            except ValueError:
                raise invalid(f"'\\x{code}' is no character.") from None
        if char in _LETTERS or char in _DIGITS:
            raise invalid(f"'\\{char}' is not supported in regular expressions.")
        return _Set(frozenset(char))

    def _bracket(self) -> _Set:
        negated = self._peek() == "^"
        self._at += negated
        chars: set[str] = set()
        while (char := self._take()) != "]":
            first = self._escape() if char == "\\" else _Set(frozenset(char))
            if first.negated:
                raise invalid("a negated class may not stand in brackets.")
            following = self._source[self._at + 1 : self._at + 2]
            if self._peek() == "-" and following not in ("]", "") and len(first.chars) == 1:
                self._at += 1
                last = self._take()
                last_set = self._escape() if last == "\\" else _Set(frozenset(last))
                low, high = ord(next(iter(first.chars))), ord(next(iter(last_set.chars)))
                if len(last_set.chars) != 1 or not low <= high < 256:
                    raise invalid("a range in brackets is out of order.")
                chars.update(map(chr, range(low, high + 1)))
            else:
                chars |= first.chars
        if not chars:
            raise invalid("brackets are empty.")
        return _Set(frozenset(chars), negated)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4


class _Automaton:
    """Bit i of a state: the next character may be atom i's; the bit after a sequence's last atom: it has matched.

    Following optional atoms without a loop: G. Navarro, M. Raffinot, Flexible Pattern Matching in Strings, section 4.4.
    """

    def __init__(self, sequences: list[_Sequence]) -> None:
        self._atoms: list[_Atom | None] = []
        starts_once = starts_always = finals = finals_at_end = 0
        for sequence in sequences:
            start = 1 << len(self._atoms)
            self._atoms += [*sequence.atoms, None]
            final = 1 << (len(self._atoms) - 1)
            starts_once |= start
            starts_always |= 0 if sequence.at_start else start
            finals |= 0 if sequence.at_end else final
            finals_at_end |= final
        self._loops = self._bits(lambda atom: atom is not None and atom.repeats)
        skip = self._bits(lambda atom: atom is not None and atom.optional)
        self._run_begins = skip & ~(skip << 1)
        self._run_ends = (skip << 1) & ~skip
        self._reached = skip << 1
        self._finals, self._finals_at_end = finals, finals_at_end
        self._always = self._follow(starts_always)
        self._first = self._follow(starts_once)
        self._accepting: dict[str, int] = {}
        self._known: dict[int, dict[str, int]] = {}
        self._remembered = 0

    def _bits(self, wanted: Callable[[_Atom | None], bool]) -> int:
        return sum(1 << index for index, atom in enumerate(self._atoms) if wanted(atom))

    def _follow(self, state: int) -> int:
        ended = state | self._run_ends
        return state | (self._reached & ~((ended - self._run_begins) ^ ended))

    def search(self, text: str) -> bool:
        state = self._first
        finals, known = self._finals, self._known
        for char in text:
            if state & finals:
                return True
            try:
                state = known[state][char]
            except KeyError:
                state = self._step(state, char)
            if not state:
                return False
        return bool(state & self._finals_at_end)

    def _step(self, state: int, char: str) -> int:
        accepting = self._accepting.get(char)
        if accepting is None:
            accepting = self._bits(lambda atom: atom is not None and char in atom.set)
            if len(self._accepting) < _MAX_REMEMBERED:
                self._accepting[char] = accepting
        hit = state & accepting
        following = self._follow(hit << 1 | hit & self._loops) | self._always
        if self._remembered >= _MAX_REMEMBERED:
            self._known.clear()
            self._remembered = 0
        self._known.setdefault(state, {})[char] = following
        self._remembered += 1
        return following
