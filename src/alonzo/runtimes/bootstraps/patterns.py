# mypy: ignore-errors
"""Writes the regular expressions that AWS's client and the standard library compile while they are imported.

Run once by each prepared interpreter: `patterns.py FILE FOLDER...`, the folders being what to import from. Compiling
them is a seventh of a cold start; `bootstrap.py` puts them into `re`'s own cache instead. Keeps to Python 3.8's syntax.
"""

import _sre
import marshal
import sys

_compile = _sre.compile
_made = []


def _record(*arguments):
    pattern = _compile(*arguments)
    _made.append((pattern, arguments))
    return pattern


if __name__ == "__main__":
    _sre.compile = _record
    sys.path[:0] = sys.argv[2:]
    import concurrent.futures.thread  # noqa: F401 - what the client imports when it begins to poll, from 3.12 on
    import re

    import awslambdaric.__main__  # noqa: F401

    by_pattern = {id(pattern): arguments for pattern, arguments in _made}
    rows = []
    for (kind, source, flags), pattern in list(re._cache.items()):
        if kind is str and id(pattern) in by_pattern:
            text, all_flags, code, groups, names, by_index = by_pattern[id(pattern)]
            code = [int(step) for step in code]
            rows.append((source, int(flags), (text, int(all_flags), code, groups, dict(names), tuple(by_index))))
    with open(sys.argv[1], "wb") as file:  # noqa: PTH123
        marshal.dump(rows, file)
