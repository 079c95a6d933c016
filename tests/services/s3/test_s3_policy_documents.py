"""Bucket policies at the door: what is malformed is refused, and no document keeps the server busy."""

from __future__ import annotations

import json
import time

import pytest

from alonzo.core.errors import ServiceError
from alonzo.services.s3.policy import _within, check_policy


class _Bucket:
    arn = "arn:aws:s3:::" + "a" * 60


def document(**more):
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": _Bucket.arn + "/*",
        **more,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_unknown_condition_operator_is_malformed():
    """A condition that means nothing is refused when it is put, not ignored when it is asked."""
    with pytest.raises(ServiceError) as caught:
        check_policy(document(Condition={"StringEqualish": {"aws:SourceIp": "1"}}), _Bucket)
    assert caught.value.code == "MalformedPolicy"


def test_many_wildcards_take_no_time():
    """A resource of many stars is compared in time that does not grow with their number."""
    started = time.process_time()
    assert not _within("arn:aws:s3:::" + "a*" * 5000 + "b", _Bucket.arn)
    assert time.process_time() - started < 1
