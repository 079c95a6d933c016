"""The constraints of the models, with AWS's texts.

A service checks a whole request before it acts, and names every violation in one error. Validators are compiled for
each operation on first use; a value that satisfies everything costs a comparison or two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alonzo.core.errors import ServiceError
from alonzo.protocol.java_regex import pattern_test
from alonzo.protocol.java_text import enum_set, hash_order, java_name, java_text
from alonzo.protocol.model import ServiceModel, Shape
from alonzo.protocol.validate_s3 import body_check

#: Appends to the problems: the value, the path of what holds it (with its dot, empty at the top), the problems.
Check = Callable[[Any, str, list[str]], None]
#: What a value must satisfy, and how AWS says it.
Constraint = tuple[Callable[[Any], bool], str]

#: The code where it is neither the JSON protocols' ValidationException nor the query protocol's ValidationError.
_CODES = {
    "logs": "InvalidParameterException",
    "events": "ValidationException",
    "sqs": "MissingRequiredParameterException",
}
#: SQS knows only that something is missing; its handlers check values.
_ONLY_REQUIRED = frozenset({"sqs"})
#: Values remembered for each shape in each operation.
MAX_PASSED = 128
_NOT_NULL = "Member must not be null"
#: Elements may be null here: the services' texts do not say that they must not.
_NULLABLE_ELEMENTS = {("lambda", "SubnetIds"), ("lambda", "SecurityGroupIds")}
#: Lambda checks these lists itself: no brackets, and runtimes that have gone are not named.
_BARE_ELEMENTS = {("lambda", "CompatibleRuntimes")}
#: Values that AWS's texts have in another order than that of a set.
_ENUM_ORDERS = {("lambda", "InvokeMode"): "[RESPONSE_STREAM, BUFFERED]"}
_RETIRED_RUNTIMES = frozenset(
    {"nodejs", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x", "nodejs14.x"}
    | {"java8", "go1.x", "ruby2.5", "ruby2.7", "provided", "python2.7", "python3.6", "python3.7"}
    | {"dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1", "dotnetcore3.1"}
)
#: Where Lambda looks at the runtime only after everything else, and says so in another form and with another code.
_RUNTIME_OPERATIONS = {("lambda", "CreateFunction"), ("lambda", "UpdateFunctionConfiguration")}
#: IAM has a sentence of its own for its oldest pattern.
_IAM_NAME_PATTERN = r"[\w+=,.@-]+"


def validate(model: ServiceModel, operation: str, params: Mapping[str, Any]) -> None:
    """Raise ServiceError (400, the service's code) unless `params` satisfy the operation's input shape."""
    check: Check | None = model.cache.get(("validate", operation))
    if check is None:
        check = prepare_validation(model, operation)
    problems: list[str] = []
    check(params, "", problems)
    if problems:
        raise _error(model, problems)


def prepare_validation(model: ServiceModel, operation: str) -> Check:
    """Do what else the first `validate` of the operation does."""
    check = model.cache[("validate", operation)] = _compile_operation(model, operation)
    return check


def _error(model: ServiceModel, problems: list[str]) -> ServiceError:
    default = "ValidationError" if "query" in model.protocols or model.protocol == "rest-xml" else "ValidationException"
    code = _CODES.get(model.name, default)
    if model.name in _ONLY_REQUIRED:
        return ServiceError(code, problems[0])
    for problem in problems:
        if problem.startswith("The specified value for "):
            return ServiceError(code, problem)
    plural = "s" if len(problems) > 1 else ""
    return ServiceError(code, f"{len(problems)} validation error{plural} detected: {'; '.join(problems)}")


def _nothing(_value: Any, _path: str, _problems: list[str]) -> None:
    return None


def _compile_operation(model: ServiceModel, operation: str) -> Check:
    shape = model.operation(operation).input
    if shape is None:
        return _nothing
    if model.name == "s3":
        return body_check(shape) or _nothing
    if model.name in _ONLY_REQUIRED:
        return _only_required(shape)
    memo: dict[Any, Check | None] = {}
    if (model.name, operation) in _RUNTIME_OPERATIONS:
        return _with_runtime(shape, _structure(shape, memo, without="Runtime") or _nothing)
    return _structure(shape, memo) or _nothing


def _with_runtime(shape: Shape, check: Check) -> Check:
    runtime = shape.members["Runtime"]
    known, named = frozenset(runtime.traits["enum"]), _current_runtimes(runtime)

    def check_all(value: Any, path: str, problems: list[str]) -> None:
        check(value, path, problems)
        given = value.get("Runtime")
        if not problems and given is not None and given not in known:
            raise ServiceError(
                "InvalidParameterValueException",
                f"Value {given} at 'runtime' failed to satisfy constraint: "
                f"Member must satisfy enum value set: {named} or be a valid ARN",
                fields={"Type": "User"},
            )

    return check_all


def _only_required(shape: Shape) -> Check:
    required = shape.required

    def check(value: Any, _path: str, problems: list[str]) -> None:
        for name in required:
            if value.get(name) is None:
                problems.append(f"The request must contain the parameter {name}.")

    return check


def _structure(shape: Shape, memo: dict[Any, Check | None], *, without: str = "") -> Check | None:
    required = frozenset(shape.required)
    members = shape.members
    if "query" not in shape.model.protocols:
        # The newer services report violations in the order of a hash map of their members' names.
        by_java_name = {java_name(name): name for name in members}
        members = {by_java_name[text]: members[by_java_name[text]] for text in hash_order(by_java_name)}
    checks: list[tuple[str, str, Check | None, bool]] = []
    for name, member in members.items():
        check = _member(member, memo) if name != without else None
        if check is not None or name in required:
            checks.append((name, java_name(name), check, name in required))
    if not checks:
        return None

    def check_structure(value: Any, path: str, problems: list[str]) -> None:
        for name, text, check, needed in checks:
            item = value.get(name)
            if item is None:
                if needed:
                    problems.append(f"Value null at '{path}{text}' failed to satisfy constraint: {_NOT_NULL}")
            elif check is not None:
                check(item, path + text, problems)

    return check_structure


def _member(shape: Shape, memo: dict[Any, Check | None]) -> Check | None:
    key = shape.key
    if key in memo:
        return memo[key]
    if shape.type in ("structure", "list", "map"):

        def later(value: Any, path: str, problems: list[str]) -> None:
            found = memo[key]
            if found is not None:
                found(value, path, problems)

        memo[key] = later
    compiled: Check | None
    if shape.type == "structure":
        compiled = _nested(_structure(shape, memo))
    elif shape.type == "list":
        compiled = _list(shape, memo)
    elif shape.type == "map":
        compiled = _map(shape, memo)
    else:
        compiled = _scalar(shape)
    memo[key] = compiled
    return compiled


def _nested(check: Check | None) -> Check | None:
    if check is None:
        return None
    return lambda value, path, problems: check(value, path + ".", problems)


def _report(shape: Shape, value: Any, path: str, text: str) -> str:
    shown = "" if shape.traits.get("sensitive") else f" '{java_text(value)}'"
    return f"Value{shown} at '{path}' failed to satisfy constraint: {text}"


def _scalar(shape: Shape) -> Check | None:
    constraints = _constraints(shape)
    if not constraints:
        return None
    # One by one the pattern comes first; in a list's brackets it comes last.
    ordered = [pair for pair in constraints if "pattern" in pair[1]] + [
        pair for pair in constraints if "pattern" not in pair[1]
    ]
    # What has passed once passes again, and most calls name the same few things.
    passed: set[str] = set()
    text_shape = shape.type == "string"
    iam = shape.model.name == "iam" and shape.traits.get("pattern") == _IAM_NAME_PATTERN

    def check(value: Any, path: str, problems: list[str]) -> None:
        short = text_shape and len(value) <= 256
        if short and value in passed:
            return
        before = len(problems)
        for test, text in ordered:
            if not test(value):
                if iam and "pattern" in text:
                    problems.append(
                        f"The specified value for {path.rpartition('.')[2]} is invalid. It must contain only "
                        "alphanumeric characters and/or the following: +=,.@_-"
                    )
                else:
                    problems.append(_report(shape, value, path, text))
        if len(problems) == before and short and len(passed) < MAX_PASSED:
            passed.add(value)

    return check


def _sizes(shape: Shape) -> list[Constraint]:
    """How many elements or entries."""
    found: list[Constraint] = []
    low, high = shape.traits.get("min"), shape.traits.get("max")
    if high is not None:
        found.append((lambda value: len(value) <= high, f"Member must have length less than or equal to {high}"))
    if low:
        found.append((lambda value: len(value) >= low, f"Member must have length greater than or equal to {low}"))
    return found


def _list(shape: Shape, memo: dict[Any, Check | None]) -> Check | None:
    sizes = _sizes(shape)
    member = shape.member
    inner = _member(member, memo) if member.type in ("structure", "list", "map") else None
    tests = _constraints(member) if inner is None else []
    text = _elements_text(shape, member, tests)
    sound = _columns(member) if inner is not None else None
    if not sizes and not tests and inner is None:
        return None

    def check(value: Any, path: str, problems: list[str]) -> None:
        for test, said in sizes:
            if not test(value):
                problems.append(_report(shape, value, path, said))
        if sound is not None and len(value) > 1 and sound(value):
            return
        for item in value if tests else ():
            if item is not None and not all(test(item) for test, _ in tests):
                problems.append(_report(member if member.traits.get("sensitive") else shape, value, path, text))
                break
        for index, item in enumerate(value if inner is not None else (), 1):
            if item is not None and inner is not None:
                inner(item, f"{path}.{index}.member", problems)

    return check


def _columns(shape: Shape) -> Callable[[Any], bool] | None:
    """Whether a whole list of structures is sound, where these have nothing but required members with bounds: log
    events above all, which come by the thousand. False says nothing: then one is looked at after the other."""
    if shape.type != "structure":
        return None
    bounds: list[tuple[str, bool, Any, Any]] = []
    for name, member in shape.members.items():
        traits = member.traits
        bounded = "min" in traits or "max" in traits
        if member.type in ("structure", "list", "map") or "pattern" in traits or "enum" in traits:
            return None
        if name in shape.required:
            bounds.append((name, member.type in ("string", "blob", "character"), traits.get("min"), traits.get("max")))
        elif bounded:
            return None

    def sound(items: Any) -> bool:
        try:
            for name, sized, low, high in bounds:
                values = [item[name] for item in items]
                if None in values:
                    return False
                if sized:
                    values = list(map(len, values))
                if (low is not None and min(values) < low) or (high is not None and max(values) > high):
                    return False
        except (KeyError, TypeError):
            return False
        return True

    return sound


def _elements_text(shape: Shape, member: Shape, tests: list[Constraint]) -> str:
    texts = [text for _, text in tests]
    place = (shape.model.name, shape.name)
    if place in _BARE_ELEMENTS:
        return f"Member must satisfy enum value set: {_current_runtimes(member)}"
    if place not in _NULLABLE_ELEMENTS:
        texts.append(_NOT_NULL)
    return f"Member must satisfy constraint: [{', '.join(texts)}]"


def _current_runtimes(shape: Shape) -> str:
    return enum_set(value for value in shape.traits["enum"] if value not in _RETIRED_RUNTIMES)


def _map(shape: Shape, memo: dict[Any, Check | None]) -> Check | None:
    sizes = _sizes(shape)
    key_shape, value_shape = shape.map_key, shape.map_value
    keys = _constraints(key_shape)
    inner = _member(value_shape, memo) if value_shape.type in ("structure", "list", "map") else None
    values = _constraints(value_shape) if inner is None else []
    key_text = f"Map keys must satisfy constraint: [{', '.join(text for _, text in keys)}]"
    value_text = f"Map value must satisfy constraint: [{', '.join([*(text for _, text in values), _NOT_NULL])}]"
    hidden = next((part for part in (shape, key_shape, value_shape) if part.traits.get("sensitive")), shape)
    if not sizes and not keys and not values and inner is None:
        return None

    def check(value: Any, path: str, problems: list[str]) -> None:
        for test, said in sizes:
            if not test(value):
                problems.append(_report(hidden, value, path, said))
        if keys and not all(test(key) for key in value for test, _ in keys):
            problems.append(_report(hidden, value, path, key_text))
        if values and not all(test(item) for item in value.values() if item is not None for test, _ in values):
            problems.append(_report(hidden, value, path, value_text))
        if inner is not None:
            for key, item in value.items():
                if item is not None:
                    inner(item, f"{path}.{key}.member", problems)

    return check


def _constraints(shape: Shape) -> list[Constraint]:
    """A scalar's constraints in the order of AWS's brackets: at most, at least, pattern, enum."""
    traits = shape.traits
    found: list[Constraint] = []
    low, high = traits.get("min"), traits.get("max")
    if shape.type in ("string", "blob", "character"):
        if high is not None:
            found.append((lambda value: len(value) <= high, f"Member must have length less than or equal to {high}"))
        if low is not None:
            found.append((lambda value: len(value) >= low, f"Member must have length greater than or equal to {low}"))
        pattern = traits.get("pattern")
        if pattern is not None and not traits.get("enum"):
            test = _when_used(pattern) if "\\p" in pattern else pattern_test(pattern)
            # Better to accept a value than to refuse a good one.
            if test is not None:
                found.append((test, f"Member must satisfy regular expression pattern: {pattern}"))
        found.extend(_enum(shape))
    elif shape.type in ("integer", "long", "short", "byte", "float", "double"):
        if high is not None:
            shown = java_text(float(high)) if shape.type in ("float", "double") else high
            found.append((lambda value: value <= high, f"Member must have value less than or equal to {shown}"))
        if low is not None:
            shown = java_text(float(low)) if shape.type in ("float", "double") else low
            found.append((lambda value: value >= low, f"Member must have value greater than or equal to {shown}"))
    return found


def _when_used(pattern: str) -> Callable[[str], bool]:
    """A pattern's test, compiled when the first value comes. Those with Unicode's categories take up to a tenth of a
    second, and are mostly those of tags, which few requests have.
    """
    tests: list[Callable[[str], bool]] = []

    def test(value: str) -> bool:
        if not tests:
            tests.append(pattern_test(pattern) or (lambda value: True))
        return tests[0](value)

    return test


def _enum(shape: Shape) -> list[Constraint]:
    values = shape.traits.get("enum")
    if not values:
        return []
    allowed = frozenset(values)
    shown = _ENUM_ORDERS.get((shape.model.name, shape.name)) or enum_set(values)
    return [(lambda value: value in allowed, f"Member must satisfy enum value set: {shown}")]
