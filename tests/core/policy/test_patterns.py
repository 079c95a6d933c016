"""Wildcards and ARNs, and how long the worst of them takes."""

import fnmatch
import random
import re
import time

import pytest

from alonzo.core.policy.patterns import Pattern


def matches(pattern: str, text: str, *, arn=False, **context) -> bool:
    lookup = {name.replace("_", ":"): [value] for name, value in context.items()}.get
    return Pattern(pattern, variables=True, arn=arn).matches(text, lookup)


def test_wildcards_agree_with_a_reference() -> None:
    """On two thousand random patterns the answer is the standard library's."""
    rng = random.Random(1)
    for _ in range(2000):
        pattern = "".join(rng.choices("ab*?", k=rng.randrange(8)))
        text = "".join(rng.choices("ab", k=rng.randrange(10)))
        expected = re.fullmatch(fnmatch.translate(pattern), text) is not None
        assert matches(pattern, text) is expected, (pattern, text)


@pytest.mark.parametrize(
    "pattern, text, expected",
    [
        ("*", "anything", True),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b/k/e:y", True),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b", False),
        ("arn:aws:s3:::b*", "arn:aws:s3:::bucket/key", True),
        ("arn:aws:lambda:*:*:function:f", "arn:aws:lambda:us-east-1:000000000000:function:f", True),
        ("arn:aws:lambda:*:function:f", "arn:aws:lambda:us-east-1:000000000000:function:f", False),
        ("arn:aws:s3:*:*:b", "arn:aws:s3:::b", True),
        ("arn:aws:logs:*:*:*", "arn:aws:logs:us-east-1:1:log-group:/x:log-stream:y", True),
        ("arn:aws:s3:::${aws:username}/*", "arn:aws:s3:::ann/x", True),
        ("arn:aws:s3:::${aws:username}/*", "arn:aws:s3:::bob/x", False),
        ("arn:aws:s3:::${aws:nothing}/*", "arn:aws:s3:::/x", False),
        ("arn:aws:s3:::${aws:nothing, 'all:of:us'}/*", "arn:aws:s3:::all:of:us/x", True),
        ("arn:aws:s3:::ÄÖ?/*", "arn:aws:s3:::ÄÖÜ/x", True),
    ],
)
def test_resources(pattern, text, expected) -> None:
    """Resources match segment by segment, the last one over colons, variables by their values."""
    assert matches(pattern, text, arn=True, aws_username="ann") is expected


def test_a_variables_value_cannot_widen_a_resource() -> None:
    """A user named `*` does not get everybody's folder."""
    assert not matches("arn:aws:s3:::b/${aws:username}/x", "arn:aws:s3:::b/ann/x", arn=True, aws_username="*")


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 10000 + "b", "a*" * 10000 + "b", "*?" * 10000 + "b", ("*" + "a?" * 50) * 100 + "b", "*" * 20000 + "b"],
)
def test_hostile_patterns_take_bounded_time(pattern) -> None:
    """A pattern of twenty thousand characters against a long text is answered in seconds at most, without recursion."""
    text = "a" * 2048
    started = time.thread_time()
    assert not matches(pattern, text)
    assert time.thread_time() - started < 5
