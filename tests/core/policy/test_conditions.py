"""Condition operators: each with what holds, what does not, and what a missing key means."""

import pytest

from alonzo.core.policy.conditions import OPERATORS, Condition, UnknownOperator


def holds(operator: str, wanted, value=None, *, variables=True, **other) -> bool:
    wanted = wanted if isinstance(wanted, list) else [wanted]
    context = {name.replace("_", ":"): [text] for name, text in other.items()}
    if value is not None:
        context["k"] = value if isinstance(value, list) else [value]
    return Condition(operator, "K", wanted, variables=variables).holds(context.get)


CASES = [
    ("StringEquals", "abc", "abc", "ABC"),
    ("StringEquals", "a*", "a*", "abc"),
    ("StringNotEquals", "abc", "ABC", "abc"),
    ("StringEqualsIgnoreCase", "abc", "ABC", "abd"),
    ("StringNotEqualsIgnoreCase", "abc", "abd", "ABC"),
    ("StringLike", "a?c*", "abcdef", "ac"),
    ("StringLike", "*", "", None),
    ("StringNotLike", "a*", "ba", "ab"),
    ("NumericEquals", "10", "10.0", "11"),
    ("NumericNotEquals", "10", "11", "10"),
    ("NumericLessThan", "10", "9.99", "10"),
    ("NumericLessThanEquals", "10", "10", "10.01"),
    ("NumericGreaterThan", "10", "11", "10"),
    ("NumericGreaterThanEquals", "10", "10", "9"),
    ("NumericEquals", "NaN", None, "NaN"),
    ("NumericEquals", "ten", None, "ten"),
    ("DateEquals", "2025-01-01T00:00:00Z", "1735689600", "2025-01-01T00:00:01Z"),
    ("DateNotEquals", "2025-01-01", "2025-01-02", "2025-01-01T00:00:00Z"),
    ("DateLessThan", "2025-01-01T00:00:00+01:00", "2024-12-31T22:59:59Z", "2024-12-31T23:00:00Z"),
    ("DateLessThanEquals", "2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "2025-01-01T00:00:01Z"),
    ("DateGreaterThan", "1735689600", "2025-01-01T00:00:01Z", "2025-01-01T00:00:00Z"),
    ("DateGreaterThanEquals", "2025-01", "2025-01-01", "2024-12-31"),
    ("Bool", "true", "True", "false"),
    ("BinaryEquals", "QUJD", "QUJD", "QUJE"),
    ("IpAddress", "10.0.0.0/8", "10.255.1.2", "11.0.0.1"),
    ("IpAddress", "10.1.2.3", "10.1.2.3", "10.1.2.4"),
    ("IpAddress", "2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
    ("IpAddress", "0.0.0.0/0", "1.2.3.4", "::1"),
    ("NotIpAddress", "10.0.0.0/8", "11.0.0.1", "10.0.0.1"),
    ("ArnEquals", "arn:aws:s3:::b*", "arn:aws:s3:::bucket", "arn:aws:s3:::x"),
    ("ArnLike", "arn:aws:lambda:*:1*:function:f?", "arn:aws:lambda:eu-west-1:123:function:f1", "arn:aws:lambda::123"),
    ("ArnNotEquals", "arn:aws:s3:::b", "arn:aws:s3:::c", "arn:aws:s3:::b"),
    ("ArnNotLike", "arn:aws:s3:::b*", "arn:aws:s3:::c", "arn:aws:s3:::bb"),
]


@pytest.mark.parametrize("operator, wanted, good, bad", CASES)
def test_each_operator(operator, wanted, good, bad) -> None:
    """An operator holds for the good value and not for the bad one."""
    if good is not None:
        assert holds(operator, wanted, good)
    if bad is not None:
        assert not holds(operator, wanted, bad)


def test_every_operator_has_a_case() -> None:
    """The table above leaves no operator out."""
    assert {case[0].lower() for case in CASES} | {"null"} == OPERATORS


NEGATED = [name for name in sorted(OPERATORS) if "not" in name]
POSITIVE = [name for name in sorted(OPERATORS) if "not" not in name and name != "null"]


@pytest.mark.parametrize("operator", POSITIVE)
def test_a_missing_key_fails_positive_operators(operator) -> None:
    """Without the key a positive operator fails, and its IfExists form holds."""
    assert not holds(operator, "1")
    assert holds(operator + "IfExists", "1")


@pytest.mark.parametrize("operator", NEGATED)
def test_a_missing_key_satisfies_negated_operators(operator) -> None:
    """Without the key a negated operator holds, with IfExists or without."""
    assert holds(operator, "1")
    assert holds(operator + "IfExists", "1")


def test_if_exists_still_compares_what_exists() -> None:
    """IfExists changes nothing where the key is there."""
    assert holds("StringEqualsIfExists", "a", "a")
    assert not holds("StringEqualsIfExists", "a", "b")


def test_null() -> None:
    """Null tells whether the key is there, and an empty multivalued key is there."""
    assert holds("Null", "true") and not holds("Null", "true", "x")
    assert holds("Null", "false", "x") and not holds("Null", "false")


def test_values_are_alternatives_and_negations_exclude_all() -> None:
    """Several values mean any of them; negated, none of them."""
    assert holds("StringEquals", ["a", "b"], "b")
    assert not holds("StringNotEquals", ["a", "b"], "b")
    assert holds("StringNotEquals", ["a", "b"], "c")


@pytest.mark.parametrize(
    "operator, wanted, values, expected",
    [
        ("ForAllValues:StringEquals", ["a", "b"], ["a", "b"], True),
        ("ForAllValues:StringEquals", ["a", "b"], ["a", "c"], False),
        ("ForAllValues:StringEquals", ["a"], None, True),
        ("ForAllValues:StringEquals", ["a"], [], True),
        ("ForAllValues:StringNotEquals", ["a"], ["b", "c"], True),
        ("ForAllValues:StringNotEquals", ["a"], ["a", "b"], False),
        ("ForAnyValue:StringEquals", ["a", "b"], ["c", "b"], True),
        ("ForAnyValue:StringEquals", ["a", "b"], ["c"], False),
        ("ForAnyValue:StringEquals", ["a"], None, False),
        ("ForAnyValue:StringNotEquals", ["a"], None, False),
        ("ForAnyValue:StringNotEquals", ["a"], ["a", "b"], True),
        ("ForAnyValue:StringNotEquals", ["a"], ["a"], False),
        ("ForAnyValue:StringLike", ["x*"], ["y", "xy"], True),
        ("ForAnyValue:StringEqualsIfExists", ["a"], None, True),
    ],
)
def test_set_operators(operator, wanted, values, expected) -> None:
    """ForAllValues holds vacuously without the key, ForAnyValue does not."""
    assert holds(operator, wanted, values) is expected


def test_names_are_not_case_sensitive() -> None:
    """Operators and keys are compared without regard to case."""
    assert holds("stringequals", "a", "a")
    assert Condition("StringEquals", "AWS:UserName", ["x"], variables=True).holds({"aws:username": ["x"]}.get)


@pytest.mark.parametrize(
    "name", ["", "Strings", "ForAnyValue:", "ForAnyValue::StringEquals", "NullIfExists", "IfExists"]
)
def test_unknown_operators_raise(name) -> None:
    """What is no operator raises instead of being ignored."""
    with pytest.raises(UnknownOperator):
        Condition(name, "k", ["v"], variables=True)


def test_variables_in_values() -> None:
    """A variable stands for its value, whose wildcards are plain characters; without one, nothing matches."""
    assert holds("StringEquals", "home/${aws:username}", "home/ann", aws_username="ann")
    assert holds("StringLike", "${aws:username}/*", "a*/x", aws_username="a*")
    assert not holds("StringLike", "${aws:username}/*", "ab/x", aws_username="a*")
    assert not holds("StringEquals", "${aws:username}", "${aws:username}")
    assert holds("StringEquals", "${aws:username, 'nobody'}", "nobody")
    assert holds("StringEquals", "${*}", "*") and not holds("StringLike", "${*}", "x")
    assert holds("StringLike", "${?}${$}", "?$")
    assert holds("StringEquals", "${aws:username}", "${aws:username}", variables=False, aws_username="ann")


@pytest.mark.parametrize("value", ["", "x" * 10000, "9" * 400, "\ud7ff", "2025-99-99", "1e999999999", "::::", "İ"])
@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_no_value_breaks_an_operator(operator, value) -> None:
    """Whatever a request sends, an operator answers true or false."""
    for wanted in (value, "1", "*"):
        assert holds(operator, wanted, value) in (True, False)
