"""Which events a pattern matches."""

from __future__ import annotations

import time
from typing import Any

import pytest

from alonzo.core.patterns import compile_pattern

#: pattern, what it matches, what it does not.
TABLE: list[tuple[Any, list[Any], list[Any]]] = [
    ({"a": ["x"]}, [{"a": "x"}, {"a": ["y", "x"]}, {"a": [["x"]]}], [{"a": "X"}, {}, {"b": "x"}, {"a": []}, {"a": {}}]),
    ({"a": ["x", "y"]}, [{"a": "y"}], [{"a": "z"}]),
    ({"a": [""]}, [{"a": ""}], [{"a": None}, {"a": " "}]),
    ({"a": ["x"], "b": [1]}, [{"a": "x", "b": 1}], [{"a": "x"}, {"b": 1}]),
    ({"a": {"b": ["x"]}}, [{"a": {"b": "x", "c": 1}}], [{"a": "x"}, {"b": "x"}, {"a": {"c": "x"}}]),
    ({"a": [None]}, [{"a": None}], [{"a": "null"}, {"a": []}, {}, {"a": 0}]),
    ({"a": [True]}, [{"a": True}], [{"a": "true"}, {"a": 1}, {"a": False}]),
    ({"a": [1]}, [{"a": 1}, {"a": 1.0}], [{"a": True}, {"a": "1"}, {"a": 1.1}]),
    ('{"a": [3.0e2]}', [{"a": 300}, {"a": 300.0}], [{"a": 3}]),
    ('{"a": [123456789012345]}', [{"a": 123456789012345}], [{"a": 123456789012346}]),
    ({"a": [{"prefix": "us-"}]}, [{"a": "us-east-1"}, {"a": "us-"}], [{"a": "US-1"}, {"a": 1}, {"a": None}]),
    ({"a": [{"prefix": {"equals-ignore-case": "uS-"}}]}, [{"a": "Us-1"}], [{"a": "eu-1"}]),
    ({"a": [{"suffix": ".png"}]}, [{"a": "x.png"}], [{"a": "x.PNG"}, {"a": "x.png "}]),
    ({"a": [{"suffix": {"equals-ignore-case": ".png"}}]}, [{"a": "x.PNG"}], [{"a": "x.jpg"}]),
    ({"a": [{"equals-ignore-case": "aLiCe"}]}, [{"a": "Alice"}], [{"a": "Alicea"}, {"a": 1}]),
    ({"a": [{"exactly": "x"}]}, [{"a": "x"}], [{"a": "y"}]),
    ({"a": [{"anything-but": "x"}]}, [{"a": "y"}, {"a": None}, {"a": 1}, {"a": ["x", "y"]}], [{"a": "x"}, {}]),
    ({"a": [{"anything-but": ["x", "y"]}]}, [{"a": "z"}], [{"a": "x"}, {"a": "y"}, {"a": ["x", "y"]}]),
    ({"a": [{"anything-but": 5}]}, [{"a": 6}, {"a": "5"}], [{"a": 5}, {"a": 5.0}]),
    ({"a": [{"anything-but": [0]}]}, [{"a": 1}], [{"a": 0}]),
    ({"a": [{"anything-but": {"prefix": "in"}}]}, [{"a": "out"}, {"a": 1}, {"a": None}], [{"a": "init"}, {}]),
    ({"a": [{"anything-but": {"prefix": ["in", "st"]}}]}, [{"a": "out"}], [{"a": "init"}, {"a": "stop"}]),
    ({"a": [{"anything-but": {"suffix": ".txt"}}]}, [{"a": "a.png"}], [{"a": "a.txt"}]),
    ({"a": [{"anything-but": {"wildcard": "*/lib/*"}}]}, [{"a": "/etc/x"}], [{"a": "/lib/x"}]),
    ({"a": [{"anything-but": {"equals-ignore-case": ["on", "off"]}}]}, [{"a": "idle"}], [{"a": "ON"}]),
    ({"a": [{"numeric": ["=", 300]}]}, [{"a": 300}, {"a": 3.0e2}], [{"a": "300"}, {"a": None}, {"a": True}]),
    ({"a": [{"numeric": [">", 0, "<=", 5]}]}, [{"a": 5}, {"a": 0.000001}], [{"a": 0}, {"a": 5.000001}, {"a": -1}]),
    ({"a": [{"numeric": ["<", 10]}]}, [{"a": -5e9}, {"a": 9.999999}], [{"a": 10}, {"a": -5e9 - 1}, {"a": 1e400}]),
    ({"a": [{"numeric": [">=", 1, "<", 2]}]}, [{"a": 1}], [{"a": 2}]),
    ({"a": [{"exists": True}]}, [{"a": None}, {"a": 0}, {"a": ["x"]}], [{}, {"a": []}, {"a": {"b": 1}}]),
    ({"a": [{"exists": False}]}, [{}, {"a": []}, {"a": {"b": 1}}], [{"a": 1}, {"a": None}]),
    (
        {"a": {"b": [{"exists": False}]}},
        [{}, {"a": {"c": 1}}, {"a": 1}],
        [{"a": {"b": 1}}, {"a": [{"b": 1}, {"c": 1}]}],
    ),
    ({"a": [{"anything-but": ["x"]}, {"exists": False}]}, [{}, {"a": "y"}], [{"a": "x"}]),
    ({"a": [{"cidr": "10.0.0.0/24"}]}, [{"a": "10.0.0.255"}], [{"a": "10.0.1.0"}, {"a": "x"}, {"a": 1}, {"a": "::1"}]),
    ({"a": [{"cidr": "2001:db8::/32"}]}, [{"a": "2001:db8::1"}], [{"a": "2001:db9::1"}]),
    ({"a": [{"wildcard": "*.png"}]}, [{"a": ".png"}, {"a": "x.png"}], [{"a": "x.pn"}, {"a": 1}]),
    ({"a": [{"wildcard": "a*b*c"}]}, [{"a": "abc"}, {"a": "axxbxxbc"}], [{"a": "acb"}, {"a": "ab"}]),
    ({"a": [{"wildcard": "aba*ba"}]}, [{"a": "ababa"}], [{"a": "aba"}]),
    ({"a": [{"wildcard": r"a\*b\\c"}]}, [{"a": r"a*b\c"}], [{"a": r"axb\c"}]),
    ({"$or": [{"a": ["x"]}, {"b": ["y"]}]}, [{"a": "x"}, {"b": "y"}], [{"a": "y"}, {}]),
    (
        {"s": [1], "$or": [{"a": [1]}, {"b": [1], "$or": [{"c": [1]}, {"d": [1]}]}]},
        [{"s": 1, "a": 1}, {"s": 1, "b": 1, "d": 1}],
        [{"a": 1}, {"s": 1, "b": 1}],
    ),
    ({"a.b": ["x"]}, [{"a": {"b": "x"}}, {"a.b": "x"}], [{"a": "x"}]),
    ({"a": {"b": ["x"]}}, [{"a.b": "x"}, {"a": {"c": 1}, "a.b": "x"}], [{"a.b": {"b": "x"}}]),
    # What is asked of one object must be in one element.
    (
        {"a": {"x": [1], "y": [2]}},
        [{"a": [{"x": 0, "y": 0}, {"x": 1, "y": 2}]}],
        [{"a": [{"x": 1, "y": 0}, {"x": 0, "y": 2}]}],
    ),
    (
        {"a": {"x": [1]}, "$or": [{"a": {"y": [2]}}, {"b": [3]}]},
        [{"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1}], "b": 3}],
        [{"a": [{"x": 1}, {"y": 2}]}],
    ),
    ('{"a": ["x"], "a": ["y"]}', [{"a": "y"}], [{"a": "x"}]),
    ('{"\\u0061": ["\\u00e9", "\\ud83d\\ude00"]}', [{"a": "é"}, {"a": "😀"}], [{"a": "e"}]),
]


@pytest.mark.parametrize(("pattern", "yes", "no"), TABLE, ids=[str(row[0])[:60] for row in TABLE])
def test_truth_table(pattern: Any, yes: list[Any], no: list[Any]) -> None:
    """A pattern matches what AWS documents that it matches, and nothing else."""
    matcher = compile_pattern(pattern)
    assert [event for event in yes if not matcher.matches(event)] == []
    assert [event for event in no if matcher.matches(event)] == []


def test_what_is_no_object_never_matches() -> None:
    """An event that is a list, a text or null matches nothing."""
    matcher = compile_pattern({"a": [{"exists": False}]})
    for event in ([], "x", None, 1, [{}]):
        assert not matcher.matches(event)  # type: ignore[arg-type]


@pytest.mark.slow
def test_hostile_patterns_take_linear_time() -> None:
    """Stars, arrays and deep events that blow up a backtracking matcher are answered at once."""
    started = time.thread_time()
    stars = compile_pattern({"a": [{"wildcard": "*a*b*c*d*ab*bc*cd*da*x"}]})
    assert not stars.matches({"a": "abcd" * 50_000})
    elements = [{f"k{n}": 1} for n in range(20)] * 100
    many = compile_pattern({"a": {f"k{n}": [1] for n in range(20)}})
    assert not many.matches({"a": elements})
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert compile_pattern({"a": ["x"]}).matches({"a": deep})
    assert time.thread_time() - started < 10


def test_a_deep_event_with_dotted_names_is_answered() -> None:
    """An event nested beyond any pattern's depth does not exhaust the stack."""
    deep: Any = {"x.y": "z"}
    for _ in range(5_000):
        deep = {"d": deep}
    assert not compile_pattern({"a": {"b": ["x"]}}).matches({"deep": deep})
    assert compile_pattern({"p": {"q": [1]}}).matches({"deep": deep, "p.q": 1})
    wide = ".".join("x" * 3_000)
    assert not compile_pattern({"a": ["x"]}).matches({wide: 1})
