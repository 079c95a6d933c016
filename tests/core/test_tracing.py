"""Lineages in trace headers."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from alonzo.core import tracing
from alonzo.core.ids import Ids

ARN = "arn:aws:lambda:us-east-1:111111111111:function:"
F, G = tracing.mark_of(f"{ARN}f"), tracing.mark_of(f"{ARN}g")
HEADER = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=[01];Lineage=1:[0-9a-f:|]+")


def test_a_chain_begins_where_there_was_no_header() -> None:
    """The first function of a chain gets a whole header in which it has not run before."""
    header, before = tracing.enter("", F, Ids(1), 1_700_000_000.0)
    assert HEADER.fullmatch(header) and "Root=1-6553f100-" in header
    assert before == 0 and header.endswith(f"Lineage=1:{F}:0")


def test_each_function_of_a_chain_is_counted_by_itself() -> None:
    """Two functions that call each other count their own invocations; the root stays."""
    header, counts = "", []
    for mark in (F, G, F, G, F):
        root = header.partition(";")[0]
        header, before = tracing.enter(header, mark, Ids(), 0.0)
        assert header.startswith(root)
        counts.append(before)
    assert counts == [0, 0, 1, 1, 2]
    assert (tracing.loops_of(header, f"{ARN}f"), tracing.loops_of(header, f"{ARN}g")) == (2, 1)


def test_what_boto3_quotes_is_read() -> None:
    """boto3 quotes the bar between two functions."""
    header, _ = tracing.enter("", F, Ids(), 0.0)
    header, _ = tracing.enter(header, G, Ids(), 0.0)
    quoted = quote(header, safe="-=;:+&[]{}\"',")
    assert "%7C" in quoted
    assert tracing.enter(quoted, F, Ids(), 0.0)[1] == 1


@pytest.mark.parametrize(
    "header", ["Lineage=;;=", "Lineage=1:zzzz:9", "x" * 5000, "Root=1-6553f100-bad\r\nX: y", "%ff"]
)
def test_a_malformed_header_begins_a_new_chain(header: str) -> None:
    """Nothing that a client invents gets through to a function, or stops it."""
    made, before = tracing.enter(header, F, Ids(), 0.0)
    assert HEADER.fullmatch(made) and before == 0


def test_a_header_stays_short() -> None:
    """A chain of very many functions does not make the header grow without end."""
    header = ""
    for number in range(200):
        header, _ = tracing.enter(header, tracing.mark_of(str(number)), Ids(), 0.0)
    assert len(header) < 1024
    assert tracing.loops_of(tracing.enter(header, tracing.mark_of("199"), Ids(), 0.0)[0], "199") == 1


def test_the_deepest_header_of_a_batch() -> None:
    """Of several messages the one that went round most often counts."""
    one, _ = tracing.enter("", F, Ids(), 0.0)
    two, _ = tracing.enter(one, F, Ids(), 0.0)
    assert tracing.deepest(["", one, two, "Root=x"], f"{ARN}f") == two
    assert tracing.deepest([], f"{ARN}f") == ""
