"""The trace header: which chain of calls a request belongs to, and how often each function has run in it.

`Root=1-…;Parent=…;Sampled=0;Lineage=1:a87bd80c:0|68fd508a:5`: the lineage has, for each function of the chain, eight
digits that stand for it and how many of its invocations came before this one. The SDKs inside functions pass the header
on, and so do the services that invoke functions, so a loop is seen whatever it leads through.
Source: https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from urllib.parse import unquote

from alonzo.core.ids import Ids

#: So many invocations of one function in one chain are run; the next is not.
#: Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
MAX_LOOPS = 16
#: What the exception says.
STOPPED = (
    "Lambda has detected your function being invoked in a recursive loop with other AWS resources and stopped your"
    " function's invocation."
)
#: Longer headers are not passed on: a chain of distinct functions would make them grow without end.
_MAX_HEADER = 2_048
_MAX_FUNCTIONS = 64
_HOP = re.compile(r"([0-9a-f]{8}):(\d{1,5})")
_ROOT = re.compile(r"1-[0-9a-fA-F]{8}-[0-9a-fA-F]{24}")


@lru_cache(4_096)
def mark_of(function_arn: str) -> str:
    """The digits that stand for a function in a lineage, whatever qualifier the ARN has."""
    unqualified = ":".join(function_arn.split(":")[:7])
    return hashlib.sha256(unqualified.encode()).hexdigest()[:8]


def enter(header: str, mark: str, ids: Ids, now: float) -> tuple[str, int]:
    """The header that a function's invocation gets, made from its caller's, and how often it ran in the chain before.

    What the caller did not send is made: a chain begins here.
    """
    if not header:
        digits = ids.hex(40)
        return f"Root=1-{int(now):08x}-{digits[:24]};Parent={digits[24:]};Sampled=0;Lineage=1:{mark}:0", 0
    fields = _fields(header)
    lineage = _lineage(fields.get("Lineage", ""))
    before = lineage.pop(mark, -1) + 1
    if len(lineage) >= _MAX_FUNCTIONS:
        del lineage[next(iter(lineage))]
    lineage[mark] = before
    root = fields.get("Root", "")
    if not _ROOT.fullmatch(root):
        root = f"1-{int(now):08x}-{ids.hex(24)}"
    sampled = "1" if fields.get("Sampled") == "1" else "0"
    hops = "|".join(f"{one}:{count}" for one, count in lineage.items())
    return f"Root={root};Parent={ids.hex(16)};Sampled={sampled};Lineage=1:{hops}", before


def loops_of(header: str, function_arn: str) -> int:
    """How often a function ran in the chain before the invocation that has this header."""
    mark = mark_of(function_arn)
    if header.endswith(f"Lineage=1:{mark}:0") or (mark not in header and "%" not in header):
        return 0
    return _lineage(_fields(header).get("Lineage", "")).get(mark, 0)


def deepest(headers: list[str], function_arn: str) -> str:
    """The header that goes furthest round, of several that one invocation has (a batch of messages)."""
    mark = mark_of(function_arn)
    return max(headers, key=lambda one: _lineage(_fields(one).get("Lineage", "")).get(mark, -1), default="")


def _fields(header: str) -> dict[str, str]:
    if not header or len(header) > _MAX_HEADER:
        return {}
    if "%" in header:
        header = unquote(header)  # boto3 quotes it
    return {name.strip(): value.strip() for name, _, value in (part.partition("=") for part in header.split(";"))}


def _lineage(text: str) -> dict[str, int]:
    return {found[1]: int(found[2]) for found in _HOP.finditer(text)}
