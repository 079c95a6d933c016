"""Says what is wrong with a payload that is no JSON, in the words of the parser that AWS uses (Jackson)."""

from __future__ import annotations

import json
import re

_SOURCE = "[Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled)"
_EXPECTED = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
_WORD = re.compile(rb"[A-Za-z_$][A-Za-z0-9_$]*")


def explain(body: bytes) -> str:
    """The parser's message with the place, lines and columns counted from one (columns in bytes)."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return _bad_utf8(body, error.start)
    try:
        json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return _bad_json(body, text, error)
    except (ValueError, RecursionError):
        pass
    return f"Unexpected character: not valid JSON\n at {_SOURCE}; line: 1, column: 1]"


def _refuse(name: str) -> None:
    raise json.JSONDecodeError("non-standard token", name, 0)


def _bad_utf8(body: bytes, start: int) -> str:
    byte = body[start]
    if not body[:start].strip():
        return f"{_unexpected(byte)}{_at(body, start)}"
    # Inside a token the decoder complains, one column further on.
    return f"Invalid UTF-8 start byte 0x{byte:02x}{_at(body, start + 1)}"


def _bad_json(body: bytes, text: str, error: json.JSONDecodeError) -> str:
    offset = len(text[: error.pos].encode())
    rest = body[offset:]
    stripped = rest.lstrip()
    offset += len(rest) - len(stripped)
    if error.msg == "non-standard token":
        offset = body.find(error.doc.encode())
        stripped = body[offset:]
    if not stripped or error.msg.startswith("Unterminated"):
        return f"Unexpected end-of-input{_at(body, len(body))}"
    word = _WORD.match(stripped)
    if word:
        token = word[0].decode()
        return f"Unrecognized token '{token}': was expecting {_EXPECTED}{_at(body, offset + len(word[0]))}"
    return f"{_unexpected(stripped[0])}{_at(body, offset)}"


def _unexpected(byte: int) -> str:
    shown = f"'{chr(byte)}' (code {byte})" if 32 <= byte < 127 else f"(CTRL-CHAR, code {byte})"
    return f"Unexpected character ({shown}): expected a valid value {_EXPECTED}"


def _at(body: bytes, offset: int) -> str:
    before = body[:offset]
    line = before.count(b"\n") + 1
    column = offset - (before.rfind(b"\n") + 1) + 1
    return f"\n at {_SOURCE}; line: {line}, column: {column}]"
