"""The forms of a runtime's requests: those of one program differ in id, length and body, so the rest is parsed once.

A form is remembered when the parser has read a request that has it. What is not whole, or not plain, has none.
"""

from __future__ import annotations

from collections.abc import Sequence

_INVOCATION = b"/2018-06-01/runtime/invocation/"
POST = b"POST " + _INVOCATION
#: What a response carries whose sender does not wait for its answer, which then comes before the next one's.
_LATER = (b"alonzo-answer", b"later")
#: As AWS's clients write it, and as most others do.
_LENGTHS = (b"\r\ncontent-length: ", b"\r\nContent-Length: ")
_POST_LENGTH, _LENGTH_LENGTH = len(POST), len(_LENGTHS[0])
#: Headers that say nothing about how a request is to be read, but for the length of its body.
_PLAIN = frozenset(
    {
        b"host",
        b"user-agent",
        b"accept",
        b"accept-encoding",
        b"content-type",
        b"content-length",
        b"connection",
        _LATER[0],
    }
)
#: Forms remembered for an environment, and how large a request may be to be remembered.
_MAX_FORMS, _MAX_FORM = 16, 4_096


class Forms:
    """What whole requests of one environment looked like."""

    __slots__ = ("nexts", "responses")

    def __init__(self) -> None:
        #: Requests for the next event.
        self.nexts: set[bytes] = set()
        #: What responses have before and after their length, and whether their answer may come later.
        self.responses: dict[tuple[bytes, bytes], bool] = {}

    def learn(
        self, data: bytes, method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]], body_size: int
    ) -> None:
        """Remember the form of a request that came whole and by itself, if all of it is plain."""
        if len(data) > _MAX_FORM or len(self.nexts) + len(self.responses) >= _MAX_FORMS:
            return
        if not _PLAIN.issuperset(name.lower() for name, _ in headers):
            return
        if method == b"GET" and data.startswith(b"GET ") and url == _INVOCATION + b"next" and not body_size:
            self.nexts.add(data)
        elif method == b"POST" and data.startswith(POST) and url.endswith(b"/response"):
            split = split_response(data, data.find(b"\r\n\r\n"))
            if split is not None and split[2] == body_size and end_of_response(data) == len(data):
                self.responses[split[1]] = may_wait(headers)


def may_wait(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the answer to a response may come later."""
    return any((name.lower(), value) == _LATER for name, value in headers)


def split_response(data: bytes, end: int) -> tuple[str, tuple[bytes, bytes], int] | None:
    """Request id, what a response's head has before and after its length, and the length. `end` is the head's end."""
    id_end = data.find(b"/", _POST_LENGTH, end)
    if end < 0 or id_end < 0:
        return None
    start = data.find(_LENGTHS[0], id_end, end)
    if start < 0 and (start := data.find(_LENGTHS[1], id_end, end)) < 0:
        return None
    start += _LENGTH_LENGTH
    line_end = data.find(b"\r\n", start, end + 2)
    digits = data[start:line_end]
    if not digits.isdigit() or len(digits) > 8:
        return None
    return data[_POST_LENGTH:id_end].decode("latin-1"), (data[id_end:start], data[line_end:end]), int(digits)


def end_of_response(data: bytes) -> int:
    """Where the response ends with which `data` begins; the end of all where it is none, or not whole."""
    if data.startswith(POST):
        end = data.find(b"\r\n\r\n")
        split = split_response(data, end)
        if split is not None:
            return min(end + 4 + split[2], len(data))
    return len(data)
