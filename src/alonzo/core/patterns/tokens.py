"""JSON, one token at a time, with the positions that AWS's messages give.

AWS compiles patterns while it reads them, so what is reported is the first fault in reading order, whether of JSON or
of the pattern, and its place is how far the reader had come: past a literal or a bracket, one past the opening quote of
a string that has not been looked into, and, at a field's name, already at its value.
"""

from __future__ import annotations

import re
from typing import NoReturn

from alonzo.core.patterns.errors import Fault, SyntaxFault

_SPACE = " \t\r\n"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[\w$]+")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
#: Characters of the pattern that a message repeats at most.
_SHOWN = 500
_EXPECTED = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"


class Tokens:
    """`advance` gives the kind of the next token: one of `{ } [ ]`, name, string, number, true, false, null."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._open: list[str] = []
        self._string_from: int | None = None
        self._pending: str | None = None
        self._wants_comma = False
        self._text = ""
        self._name = ""
        self.kind = ""

    @property
    def name(self) -> str:
        """The field's name last read."""
        return self._name

    @property
    def text(self) -> str:
        """The current token as written, strings without quotes and escapes."""
        self._finish_string()
        return self._text

    def advance(self) -> str:
        if self._pending is not None:  # the reader is at the value already, and has not looked into it
            self.kind, self._pending = self._pending, None
            return self._took_value(self.kind)
        self._finish_string()
        self._skip_space()
        self.kind = self._next()
        return self.kind

    def fail(self, message: str) -> NoReturn:
        """Raise Fault with the place that has been reached."""
        raise Fault(message + self._place())

    def end(self) -> None:
        """Nothing but space may follow."""
        self._skip_space()
        if self._at < len(self._source):
            self._bad_value()

    # -- reading ------------------------------------------------------------------------------------------------------

    def _next(self) -> str:
        char = self._peek()
        if self._open and char == ("}" if self._open[-1] == "{" else "]"):
            self._at += 1
            self._open.pop()
            self._wants_comma = True
            self._text = char
            return char
        if self._wants_comma and self._open:
            if char != ",":
                what = "Object" if self._open[-1] == "{" else "Array"
                self._unexpected(f"was expecting comma to separate {what} entries")
            self._at += 1
            self._skip_space()
        self._wants_comma = False
        if self._open and self._open[-1] == "{":
            return self._read_name()
        return self._took_value(self._read_value())

    def _read_name(self) -> str:
        if self._peek() != '"':
            self._unexpected("was expecting double-quote to start field name")
        self._at += 1
        self._name = self._read_string()
        self._skip_space()
        if self._peek() != ":":
            self._unexpected("was expecting a colon to separate field name and value")
        self._at += 1
        self._skip_space()
        self._pending = self._read_value()
        return "name"

    def _took_value(self, kind: str) -> str:
        if kind in ("{", "["):
            self._open.append(kind)
            self._wants_comma = False
        else:
            self._wants_comma = True
        return kind

    def _read_value(self) -> str:
        char = self._peek()
        if char in "{[":
            self._at += 1
            self._text = char
            return char
        if char == '"':
            self._at += 1
            self._string_from = self._at
            return "string"
        number = _NUMBER.match(self._source, self._at)
        if number is not None:
            self._at, self._text = number.end(), number.group()
            return "number"
        word = _WORD.match(self._source, self._at)
        if word is not None and word.group() in ("true", "false", "null"):
            self._at, self._text = word.end(), word.group()
            return self._text
        return self._bad_value()

    def _bad_value(self) -> NoReturn:
        word = _WORD.match(self._source, self._at)
        if word is None:
            self._unexpected(f"expected a valid value {_EXPECTED}")
        self._at = word.end()
        self._broken(f"Unrecognized token '{word.group()[:256]}': was expecting {_EXPECTED}")

    def _finish_string(self) -> None:
        if self._string_from is not None:
            self._string_from = None
            self._text = self._read_string()

    def _read_string(self) -> str:
        parts: list[str] = []
        while True:
            plain = _PLAIN.match(self._source, self._at)
            assert plain is not None
            parts.append(plain.group())
            self._at = plain.end()
            if self._at >= len(self._source):
                self._broken("Unexpected end-of-input: was expecting closing quote for a string value")
            char = self._source[self._at]
            self._at += 1
            if char == '"':
                return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            if char != "\\":
                self._broken(
                    f"Illegal unquoted character ((CTRL-CHAR, code {ord(char)})): has to be escaped using backslash"
                    " to be included in string value"
                )
            parts.append(self._read_escape())

    def _read_escape(self) -> str:
        char = self._peek()
        self._at += 1
        if char == "u":
            digits = self._source[self._at : self._at + 4]
            if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                self._broken("Unexpected character: expected a hex-digit for character escape sequence")
            self._at += 4
            return chr(int(digits, 16))
        if char not in _ESCAPES:
            self._broken(f"Unrecognized character escape '{char}' (code {ord(char)})")
        return _ESCAPES[char]

    def _skip_space(self) -> None:
        while self._at < len(self._source) and self._source[self._at] in _SPACE:
            self._at += 1

    def _peek(self) -> str:
        if self._at >= len(self._source):
            what = "" if not self._open else " within/between " + ("Object" if self._open[-1] == "{" else "Array")
            self._broken(f"Unexpected end-of-input{what}{' entries' if what else ''}")
        return self._source[self._at]

    def _unexpected(self, expected: str) -> NoReturn:
        char = self._peek()
        self._broken(f"Unexpected character ('{char}' (code {ord(char)})): {expected}")

    def _broken(self, message: str) -> NoReturn:
        raise SyntaxFault(message, self._place(), self._line_and_column())

    def _line_and_column(self) -> tuple[int, int]:
        line = self._source.count("\n", 0, self._at) + 1
        return line, self._at - self._source.rfind("\n", 0, self._at)

    def _place(self) -> str:
        line, column = self._line_and_column()
        shown = self._source[:_SHOWN]
        more = len(self._source) - len(shown)
        cut = f"[truncated {more} chars]" if more > 0 else ""
        return f'\n at [Source: (String)"{shown}"{cut}; line: {line}, column: {column}]'
