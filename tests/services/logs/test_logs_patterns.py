"""Filter patterns: AWS's documented examples, and what a hostile one may cost."""

from __future__ import annotations

import json
import time

import pytest

from alonzo.core.errors import ServiceError
from alonzo.services.logs.filters import compile_pattern

BAD_REQUEST = "[ERROR 400] BAD REQUEST"
UNAUTHORIZED = "[ERROR 401] UNAUTHORIZED REQUEST"
SUCCESS = "[SUCCESS 200] AUTHORIZED REQUEST"
ARGUMENT = "ERROR: missing ARGUMENTS, WARN 419"


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("", [BAD_REQUEST, UNAUTHORIZED, SUCCESS, ARGUMENT]),
        ("ERROR", [BAD_REQUEST, UNAUTHORIZED, ARGUMENT]),
        ("error", []),
        ("ERROR ARGUMENTS", [ARGUMENT]),
        ("?ERROR ?SUCCESS", [BAD_REQUEST, UNAUTHORIZED, SUCCESS, ARGUMENT]),
        ("?SUCCESS ?WARN", [SUCCESS, ARGUMENT]),
        ("ERROR -ARGUMENTS", [BAD_REQUEST, UNAUTHORIZED]),
        ("-ERROR", [SUCCESS]),
        ("REQUEST ?WARN", [BAD_REQUEST, UNAUTHORIZED, SUCCESS]),
        ('"BAD REQUEST"', [BAD_REQUEST]),
        ('-"BAD REQUEST" REQUEST', [UNAUTHORIZED, SUCCESS]),
        ('"ERROR: missing"', [ARGUMENT]),
        ("%AUTHORIZED%", [UNAUTHORIZED, SUCCESS]),
        ("%4[01][0-9]%", [BAD_REQUEST, UNAUTHORIZED, ARGUMENT]),
        ("%4[01]{2}%", [BAD_REQUEST, UNAUTHORIZED]),
        (r"%^\[SUCC%", [SUCCESS]),
        ("%QUEST$%", [BAD_REQUEST, UNAUTHORIZED, SUCCESS]),
        ("%4[0-9]+$%", [ARGUMENT]),
        ("%ERROR|SUCCESS%", [BAD_REQUEST, UNAUTHORIZED, SUCCESS, ARGUMENT]),
        (r"%\d{3}.? B?A%", [BAD_REQUEST, SUCCESS]),
        (r"%\sUN?\S*D\s%", [UNAUTHORIZED]),
        ("ERROR %40[0-9]%", [BAD_REQUEST, UNAUTHORIZED]),
    ],
)
def test_terms(pattern: str, matching: list[str]) -> None:
    """Terms, phrases, ?, - and regular expressions choose these of four messages."""
    matches = compile_pattern(pattern)
    assert [m for m in (BAD_REQUEST, UNAUTHORIZED, SUCCESS, ARGUMENT) if matches(m)] == matching


EVENT = {
    "eventType": "UpdateTrail",
    "sourceIPAddress": "111.111.111.111",
    "arrayKey": ["value", "another value"],
    "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
    "SomeObject": None,
    "cluster.name": "c",
    "ThisFlag": True,
    "ThatFlag": False,
    "user": {"id": 1, "email": "John.Stiles@example.com"},
    "users": [{"id": 2, "email": "John.Doe@example.com"}],
    "actions": ["GET", "PUT", "DELETE"],
    "coordinates": [[0, 1, 2], [4, 5, 6]],
    "bandwidth": 75.5,
    "errorCode": 400,
    "number": [0.001, 1000],
    "text": "404",
    "host.name": {"x": "ü"},
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('{ $.eventType = "UpdateTrail" }', True),
        ('{ $.eventType = "updateTrail" }', False),
        ("{ $.eventType = %Trail% }", True),
        ("{ $.eventType != %Trail% }", False),
        ("{ $.eventType = *Trail }", True),
        ('{ $.eventType = "Up*il" }', True),
        ("{ $.sourceIPAddress != 123.123.* }", True),
        ("{ $.sourceIPAddress = 111.111.* }", True),
        ("{ $.missing != 123.123.* }", False),
        ('{ $.arrayKey[0] = "value" }', True),
        ('{ $.arrayKey[1] = "value" }', False),
        ('{ $.arrayKey[9] = "value" }', False),
        ('{ $.arrayKey[*] = "another value" }', True),
        ("{ $.objectList[1].id = 2 }", True),
        ("{ $.objectList[*].id = 2 }", True),
        ("{ $.objectList[*].id = 3 }", False),
        ("{ $.SomeObject IS NULL }", True),
        ("{ $.user IS NULL }", False),
        ("{ $.SomeOtherObject NOT EXISTS }", True),
        ("{ $.SomeObject NOT EXISTS }", False),
        ("{ $.ThisFlag IS TRUE }", True),
        ("{ $.ThisFlag IS FALSE }", False),
        ("{ $.ThatFlag IS FALSE }", True),
        ("{ $.ThisFlag = true }", True),
        ('{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }', True),
        ('{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }', False),
        (
            '{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "n") && $.actions[2] = "nomatch" }',
            False,
        ),
        (
            '{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "n" && $.actions[2] = "nomatch" }',
            True,
        ),
        ("{ $.coordinates[0][1] = 1 }", True),
        ("{ $.bandwidth > 75 }", True),
        ("{ $.bandwidth < 50 }", False),
        ("{ $.bandwidth >= 75.5 }", True),
        ("{ $.bandwidth <= 5 }", False),
        ("{ $.errorCode = 400}", True),
        ("{ $.errorCode = 400.0 }", True),
        ("{ $.errorCode != 500 }", True),
        ("{ $.errorCode = 4* }", True),
        ("{ $.number[0] = 1e-3 }", True),
        ("{ $.number[1] != 1e+3 }", False),
        ("{ $.text > 403 }", True),
        ("{ $.text = 404 }", True),
        ("{ $.['cluster.name'] = \"c\" }", True),
        ("{$.['host.name'].x = ü}", True),
        ('{ $.eventType = "*" }', True),
        ('{ $.user = "*" }', True),
        ('{ $.SomeObject = "*" }', False),
        ("{ $.user.* = 1 }", True),
        ("{ $.actions = GET }", False),
        ('{ $.eventType = "Up\\"date" }', False),
    ],
)
def test_json(pattern: str, expected: bool) -> None:
    """Selectors, comparisons, wildcards, null, flags and precedence decide about one JSON event."""
    assert compile_pattern(pattern)(json.dumps(EVENT)) is expected


@pytest.mark.parametrize("message", ["", "no json", "{", '"text"', "12", "[1", "{" * 100_000, "[" * 1_000_000])
def test_json_patterns_leave_out_what_is_no_json(message: str) -> None:
    """A message that is no JSON object never matches, and never fails the search."""
    assert compile_pattern("{ $.missing NOT EXISTS }")(message) is False


LINES = [
    '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534',
    '127.0.0.1 Prod alice [10/Oct/2000:13:25:16 -0700] "POST /pay HTTP/1.0" 200 50',
    '10.0.0.9 Test bob [10/Oct/2000:13:25:17 -0700] "GET /a.html HTTP/1.0" 410 2000',
    "ERROR something went wrong",
]


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("[ip, user, username, timestamp, request, status_code, bytes]", [0, 1, 2]),
        ("[ip, user, username, timestamp, request =*.html*, status_code = 4*, bytes]", [0, 2]),
        ("[ip, user, username, timestamp, request, status_code = 404 || status_code = 410, bytes]", [0, 2]),
        ("[..., status_code=200, bytes]", [1]),
        ("[ip, ..., bytes > 1000]", [0, 2]),
        ("[ip=127.0.0.1, ..., bytes > 1000]", [0]),
        ("[ip!=127.0.0.1, user, username, timestamp, request, status_code, bytes]", [2]),
        ("[w1=ERROR, w2, w3, w4]", [3]),
        ("[w1=ERROR||w1=%\\d+%, ...]", [0, 1, 2, 3]),
        ("[w1!=ERROR&&w1!=10.*, ...]", [0, 1]),
        ("[a, b]", []),
        ('[ip, user, username="frank", ...]', [0]),
        ("[ip, user, username, ts, request=%GET.*HTTP%, s, b]", [0, 2]),
        ("[]", []),
    ],
)
def test_fields(pattern: str, matching: list[int]) -> None:
    """Fields between spaces (quotes and brackets hold theirs together) choose these lines."""
    matches = compile_pattern(pattern)
    assert [number for number, line in enumerate(LINES) if matches(line)] == matching


@pytest.mark.parametrize(
    "pattern",
    [
        "{ $.a = }",
        "{ $.a }",
        "{ = 1 }",
        "{ $.a = 1 && }",
        "{ ($.a = 1 }",
        "{ $.a = 1",
        "{ $.a > x }",
        "{ $.a IS NICE }",
        "{ $..a = 1 }",
        "{ $ = 1 }",
        "{ $.a[x] = 1 }",
        "{ $.a = 1 } }",
        "{ $.a = %x% || $.a = %y% || $.a = %z% }",
        "{ $.a > %x% }",
        "{ " + "(" * 60 + "$.a = 1" + ")" * 60 + " }",
        "[a, b",
        "[a,,b]",
        "[..., a, ...]",
        "[a=]",
        "[a = 1 && other = 2]",
        '"open',
        "%open",
        'a"b"c',
        "%%",
        "%(a)%",
        "%a**%",
        "%*a%",
        "%a{2%",
        "%a{3,2}%",
        "%[z-a]%",
        "%[]%",
        "%[a%",
        "%something!%",
        "%ü%",
        "%a^b%",
        "%a$b%",
        "%a{501}%",
        "%a{9999}{9999}%",
        "%a\\%",
        "%a% %b% %c%",
        "[" + ",".join(f"f{n}" for n in range(101)) + "]",
    ],
)
def test_wrong_patterns_are_refused_with_the_reason(pattern: str) -> None:
    """Each is an InvalidParameterException that says what is wrong."""
    with pytest.raises(ServiceError) as error:
        compile_pattern(pattern)
    assert error.value.code == "InvalidParameterException"
    assert error.value.message.startswith("Invalid filter pattern: ")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("%a*a*a*a*a*a*a*a*a*a*a*a*b%", "a" * 50_000),
        ("%.*.*.*.*.*.*.*.*=.*%", "x" * 50_000),
        ("%[ab]{0,200}c[ab]{0,200}d%", "abc" * 15_000),
        ("%x.{240}y.{240}z%", "xy" * 20_000),
        ('{ $.a = "*a*a*a*a*a*a*a*a*b" }', json.dumps({"a": "a" * 50_000})),
        ("{ $.*.*.*.*.*.* = 1 }", json.dumps({str(n): {str(m): [m] * 10 for m in range(50)} for n in range(50)})),
        ("[a=*a*a*a*b, ...]", "a" * 50_000),
        ("[a, ...]", '"' * 20_000),
        ("[a, ...]", "[" * 20_000),
        ("[a, ...]", "[ " * 50_000),
        ("[a, ...]", '"\\" ' * 50_000),
        ("{ $.a = 1 }", "{" + " " * 100_000),
        (" ".join(["?aaaaaaaaaaaaaaab"] * 50), "a" * 50_000),
    ],
)
def test_hostile_patterns_cost_little(pattern: str, message: str) -> None:
    """What would keep a backtracking matcher busy for ever is decided in processor time that grows with the message."""
    started = time.thread_time()
    compile_pattern(pattern)(message)
    assert time.thread_time() - started < 5


@pytest.mark.slow
def test_the_automaton_agrees_with_pythons_regular_expressions() -> None:
    """Random expressions of the supported kind find what `re` finds."""
    import random
    import re

    rng = random.Random(7)
    atoms = ["a", "b", ".", "[ab]", "[^a]", r"\d", "c", r"\w"]
    for _ in range(1500):
        pieces = [
            rng.choice(atoms) + rng.choice(["", "", "?", "*", "+", "{2}", "{1,3}", "{2,}"])
            for _ in range(rng.randint(1, 5))
        ]
        source = rng.choice(["", "", "^"]) + "".join(pieces) + rng.choice(["", "", "$"])
        if rng.random() < 0.3:
            source += "|" + rng.choice(atoms)
        matches = compile_pattern(f"%{source}%")
        for _ in range(5):
            text = "".join(rng.choices("abc1-", k=rng.randint(0, 8)))
            assert matches(text) is bool(re.search(source, text)), (source, text)
