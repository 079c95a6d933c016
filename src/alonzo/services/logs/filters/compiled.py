"""Which of the four kinds a pattern is."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from alonzo.services.logs.filters.errors import invalid
from alonzo.services.logs.filters.fields import FieldsPattern
from alonzo.services.logs.filters.json_pattern import JsonPattern
from alonzo.services.logs.filters.terms import TermsPattern

Pattern = Callable[[str], bool]


@lru_cache(maxsize=128)
def compile_pattern(source: str) -> Pattern:
    """A predicate on messages. Raises InvalidParameterException with the reason."""
    source = source.strip()
    if not source:
        return lambda message: True
    if source[0] == "{":
        if source[-1] != "}":
            raise invalid("'{' is not closed.")
        return JsonPattern(source[1:-1])
    if source[0] == "[":
        if source[-1] != "]":
            raise invalid("'[' is not closed.")
        return FieldsPattern(source[1:-1])
    return TermsPattern(source)
