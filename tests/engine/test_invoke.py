"""Synchronous invocations with AWS's own runtime client."""

from __future__ import annotations

import json
import re
from typing import Any

from .conftest import BOTH_CLIENTS

pytestmark = BOTH_CLIENTS

ECHO = "def handler(event, context):\n    print('hello', event)\n    return {'got': event}\n"


async def test_invoke_answers_what_the_function_returns(world: Any) -> None:
    """A function run by AWS's unchanged client answers its return value."""
    fv = world.function("echo", ECHO)
    result = await world.invoke(fv, b'{"a": 1}')
    assert json.loads(result.payload) == {"got": {"a": 1}}
    assert (result.function_error, result.executed_version) == ("", "$LATEST")


async def test_log_lines_are_awss(world: Any) -> None:
    """A cold and a warm invocation write INIT_START, START, the function's lines, END and REPORT as AWS does."""
    fv = world.function("echo", ECHO)
    for _ in range(2):
        await world.invoke(fv, b"7")
    await world.invoke(fv, b"7", log_tail=True)
    log = await world.log()
    shape = [re.sub(r"[0-9a-f-]{36}", "ID", line) for line in log]
    assert shape[0] == (
        "INIT_START Runtime Version: python:3.11.v1\t"
        "Runtime Version ARN: arn:aws:lambda:us-east-1::runtime:0123456789abcdef\n"
    )
    warm = [
        "START RequestId: ID Version: $LATEST\n",
        "hello 7\n",
        "END RequestId: ID\n",
    ]
    assert shape[1:4] == warm
    assert re.fullmatch(
        r"REPORT RequestId: [0-9a-f-]{36}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB"
        r"\tMax Memory Used: \d+ MB\tInit Duration: \d+\.\d\d ms\t\n",
        log[4],
    )
    assert shape[5:8] == warm
    assert re.fullmatch(
        r"REPORT RequestId: [0-9a-f-]{36}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB"
        r"\tMax Memory Used: \d+ MB\t\n",
        log[8],
    )
