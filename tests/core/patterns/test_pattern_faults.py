"""What is no pattern, and AWS's words for it."""

from __future__ import annotations

import pytest

from alonzo.core.patterns import PatternError, compile_pattern

#: pattern, what AWS says, the column it gives (0: none). The messages are AWS's own, as its API has answered them.
FAULTS: list[tuple[str, str, int]] = [
    ('{"int": 42}', '"int" must be an object or an array', 11),
    ('{"string": "my-value"}', '"string" must be an object or an array', 13),
    ('{"resources": []}', "Empty arrays are not allowed", 17),
    ('{"source": ["aws.health"], "detail": {}}', "Empty objects are not allowed", 40),
    ('{"my_key": [{"EXISTS": true}]}', "Unrecognized match type EXISTS", 28),
    ('{"detail": {"equal": [{"NUMERIC": ["=", 5]}]}}', "Unrecognized match type NUMERIC", 36),
    ('{"detail": {"c-count": [{"numeric": [">", 0, ">", 0]}]}}', "Bad numeric range operator: >", 49),
    ('{"detail": {"c-count": [{"numeric": [">", 0, "<"]}]}}', "Value of < must be numeric", 50),
    ('{"key":[["value"]]}', "Match value must be String, number, true, false, or null", 10),
    ('{"key":[{"wrong-operator":true}]}', "Unrecognized match type wrong-operator", 31),
    ('{"key":[{"suffix":"value","prefix":"value2"}]}', "Only one key allowed in match expression", 37),
    ('{"key":[{"suffix":100}]}', "suffix match pattern must be a string", 22),
    ('{"key":[{"suffix":null}]}', "suffix match pattern must be a string", 23),
    ('{"key":[{"suffix":[]}]}', "suffix match pattern must be a string", 20),
    ('{"key":{"suffix":"value"}}', '"suffix" must be an object or an array', 19),
    ('{"key":[{"numeric":[]}]}', "Invalid member in numeric match: ]", 22),
    ('{"key":[{"numeric":["operator"]}]}', "Unrecognized numeric range operator: operator", 32),
    ('{"key":[{"numeric":[1,"<="]}]}', "Invalid member in numeric match: 1", 22),
    ('{"key":[{"numeric":["=","000"]}]}', "Value of equals must be numeric", 26),
    ('{"key":[{"numeric":[">="]}]}', "Value of >= must be numeric", 26),
    ('{"key":[{"numeric":["<",100,">",10]}]}', "Too many elements in numeric expression", 30),
    ('{"key":[{"numeric":[">",3,"<",1]}]}', "Bottom must be less than top", 33),
    ('{"key":[{"numeric":[">",20,30]}]}', "Bad value in numeric range: 30", 30),
    ('{"key":[{"numeric":[">",20,"test"]}]}', "Bad numeric range operator: test", 34),
    ('{"key":[{"numeric":[">","20","<","30"]}]}', "Value of > must be numeric", 26),
    ('{"key":[{"numeric":[">",20,"<",30,"<",50]}]}', "Too many terms in numeric range expression", 36),
    ('{"key":[{"exists":null}]}', "exists match pattern must be either true or false.", 23),
    ('{"key":[{"exists":"no"}]}', "exists match pattern must be either true or false.", 20),
    ('{"key_a":"value_one"}', '"key_a" must be an object or an array', 11),
    ('{"time": [{"prefix": 123}]}', "prefix match pattern must be a string", 25),
    ('{"detail": {"sourceIPAddress": [{"cidr": ["bad-type"]}]}}', "prefix match pattern must be a string", 43),
    (
        '{"detail": {"state": [{"anything-but": {"equals-ignore-case": 123}}]}}',
        "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.",
        66,
    ),
    (
        '{"detail": {"FileName": [{"anything-but": {"prefix": {"equals-ignore-case": "file"}}}]}}',
        "Value of anything-but must be an array or single string/number value.",
        55,
    ),
    ("this is valid json but not a dict", "Unrecognized token 'this': was expecting (JSON String, Number, Array, "
     "Object or token 'null', 'true' or 'false')", 5),
    ("{'bad': 'quotation'}", "Unexpected character (''' (code 39)): was expecting double-quote to start field name", 2),
    ('{"not": closed mark"', "Unrecognized token 'closed': was expecting (JSON String, Number, Array, "
     "Object or token 'null', 'true' or 'false')", 15),
    ('["not", "a", "dict", "but valid json"]', "Filter is not an object", 2),
    ('{"a": [{"cidr": "10.0.0.0"}]}', "Malformed CIDR, one '/' required", 0),
    ('{"a": [{"cidr": "10.0.0.0/x"}]}', "Malformed CIDR, mask bits must be an integer", 0),
    ('{"a": [{"cidr": "xx.11.xx/8"}]}', "Nonstandard IP address: xx.11.xx", 0),
    (
        '{"EventBusArn": [{"wildcard": "*:*:*:*:*:event-bus/*"}]}',
        "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a"
        " wildcard character",
        0,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "reason", "column"), FAULTS, ids=[row[0][:60] for row in FAULTS])
def test_faults_have_awss_words(pattern: str, reason: str, column: int) -> None:
    """A bad pattern is refused with AWS's message and the place that AWS names."""
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    place = f'\n at [Source: (String)"{pattern}"; line: 1, column: {column}]' if column else ""
    assert caught.value.message == f"Event pattern is not valid. Reason: {reason}{place}"
    assert caught.value.code == "InvalidEventPatternException"


def test_a_fault_in_a_list_names_its_place_twice() -> None:
    """AWS repeats the place of a fault inside a list of anything-but, and so does Alonzo."""
    pattern = '{"detail": {"state": [{"anything-but": {"prefix": [123, "test"]}}]}}'
    place = f'\n at [Source: (String)"{pattern}"; line: 1, column: 55]'
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    assert caught.value.reason == f"prefix/suffix match pattern must be a string{place}{place}"


def test_consecutive_wildcards() -> None:
    """Two stars in a row are refused with the position that AWS counts, its own quote included."""
    pattern = '{"EventBusArn": [{"wildcard": "arn:aws:events:us-east-1:**:event-bus/*"}]}'
    with pytest.raises(PatternError, match=r"Consecutive wildcard characters at pos 26\n at .*column: 72"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "null", "", " ", "simple string", '{"eventSource": "aws:sqs"}', '{"eventSource": []}', "{}", "[]", '{"a": [1]',
        '{"a": [1]}}', '{"a": [01]}', '{"a": ["\n"]}', '{"a": ["\\x"]}', '{"a": ["\\u12"]}',
        '{"a" [1]}', '{"a": [1 2]}',
        '{"a": [1,]}', '{"a": [1],}', '{"$or": []}', '{"$or": [{"a": [1]}]}', '{"$or": {"a": [1]}}',
        '{"$or": [{"prefix": [1]}, {"b": [1]}]}', '{"a": [{"anything-but": []}]}',
        '{"a": [{"anything-but": [1, "x"]}]}',
        '{"a": [{"anything-but": [null]}]}', '{"a": [{"anything-but": {"prefix": ""}}]}',
        '{"a": [{"wildcard": "\\\\x"}]}',
        '{"a": [{"numeric": ["=", 5000000001]}]}', '{"a": [{"numeric": ["=", 1e999999999]}]}', '{"a": [{}]}',
        '{"a": [{"cidr": "10.0.0.0/33"}]}', '{"a": [{"cidr": "10.0.0.0/-1"}]}', '{"a":' * 800 + "[1]" + "}" * 800,
        '{"a": ["' + "x" * 5000 + '"]}',
        '{"$or": [' + ",".join('{"a": [1], "$or": [{"b": [1]}, {"c": [1]}]}' for _ in range(600))[:4000],
    ],
    ids=lambda pattern: pattern[:50],
)  # fmt: skip
def test_lambda_says_one_thing_to_every_fault(pattern: str) -> None:
    """Whatever is wrong with a filter, Lambda answers the same text."""
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern, "lambda")
    assert (caught.value.code, caught.value.message) == (
        "InvalidParameterValueException",
        "Invalid filter pattern definition.",
    )


def test_deep_dictionaries_are_refused() -> None:
    """A pattern given as an object that is nested without end is refused, not followed."""
    deep: dict[str, object] = {"a": ["x"]}
    for _ in range(10_000):
        deep = {"a": deep}
    with pytest.raises(PatternError):
        compile_pattern(deep, "lambda")


def test_or_does_not_explode() -> None:
    """Alternatives that multiply are refused before they fill the memory."""
    many = ",".join(f'"k{n}": {{"$or": [{{"a": [1]}}, {{"b": [1]}}]}}' for n in range(30))
    with pytest.raises(PatternError, match=r"combinations"):
        compile_pattern("{" + many + "}")


def test_snss_limits() -> None:
    """A filter policy has five keys and 150 combinations, and depth counts where the body is filtered."""
    compile_pattern({f"k{n}": ["x"] for n in range(5)}, "sns", nested=False)
    with pytest.raises(PatternError, match=r"^FilterPolicy: Filter policy can not have more than 5 keys$"):
        compile_pattern({f"k{n}": ["x"] for n in range(6)}, "sns", nested=False)
    values = [str(n) for n in range(150)]
    compile_pattern({"a": values}, "sns")
    with pytest.raises(PatternError, match=r"^FilterPolicy: Filter policy is too complex$"):
        compile_pattern({"a": {"b": values}}, "sns")
    with pytest.raises(PatternError, match=r"^FilterPolicy: Filter policy is too complex$"):
        compile_pattern({"a": [*values, "x"]}, "sns", nested=False)
    with pytest.raises(PatternError, match=r"^Filter policy scope MessageAttributes does not support nested"):
        compile_pattern({"a": {"b": ["x"]}}, "sns", nested=False)
