"""`ERROR "exact phrase" ?either ?or -without %regex%`: patterns for any text. Case matters."""

from __future__ import annotations

import re
from collections.abc import Callable

from alonzo.services.logs.filters.errors import invalid
from alonzo.services.logs.filters.expression import MAX_REGEXES, unescape
from alonzo.services.logs.filters.regex import compile_regex

_TERM = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|%((?:[^%\\]|\\.)*)%|([^\s"%]+))(?=\s|$)', re.DOTALL)


class TermsPattern:
    """All plain terms, none of the excluded; `?` terms count only where no other kind is used (as on AWS)."""

    def __init__(self, source: str) -> None:
        tests: dict[str, list[Callable[[str], bool]]] = {"": [], "?": [], "-": []}
        at = regexes = 0
        source = source.strip()
        while at < len(source):
            match = _TERM.match(source, at)
            if match is None:
                raise invalid(
                    f"'{source[at : at + 20].strip()}' is no term; put double quotes around special characters."
                )
            kind, quoted, regex, word = match.groups()
            if regex is not None:
                regexes += 1
                tests[kind].append(compile_regex(regex))
            else:
                tests[kind].append(_contains(word if quoted is None else unescape(quoted)))
            at = match.end()
        if regexes > MAX_REGEXES:
            raise invalid(f"at most {MAX_REGEXES} regular expressions are supported in a pattern.")
        self._wanted, self._either, self._unwanted = tests[""], tests["?"], tests["-"]

    def __call__(self, message: str) -> bool:
        if self._wanted or self._unwanted:
            return all(test(message) for test in self._wanted) and not any(test(message) for test in self._unwanted)
        return any(test(message) for test in self._either)


def _contains(term: str) -> Callable[[str], bool]:
    return lambda message: term in message
