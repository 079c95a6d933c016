"""What a Python package will import, as far as that can be told without running it.

An environment may be forked from an interpreter that has imported the SDK already. That is right only for a function
that imports the runtime's own: others would find modules that nobody imported, and one that brings its own copy would
get the wrong one.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

#: Top-level names that importing boto3 brings in, beside the standard library.
SDK = frozenset({"boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six", "awscrt"})
_IMPORT = re.compile(rb"^[ \t]*(?:import|from)[ \t]+(?:boto3|botocore)\b", re.MULTILINE)
#: Looked at, at most: files, and bytes of each.
_FILES, _BYTES = 400, 1 << 20


def uses_sdk(task: Path, opt: Path | None, version: str) -> bool:
    """Whether the function in `task`, with the layers in `opt`, imports the runtime's own boto3.

    A missed import only costs time. False where a file or folder that comes before site-packages has the name of
    anything that boto3 imports.
    """
    folders = [task]
    if opt is not None:
        folders += [opt / "python", opt / "python" / "lib" / f"python{version}" / "site-packages"]
    return not any(_shadows(folder) for folder in folders) and _imports(folders)


def _shadows(folder: Path) -> bool:
    try:
        names = {entry.name.partition(".")[0] for entry in os.scandir(folder)}
    except OSError:
        return False
    return not names.isdisjoint(SDK | sys.stdlib_module_names)


def _imports(folders: Iterable[Path]) -> bool:
    """Breadth first: the function's own modules before what lies deep in what it brings along."""
    waiting = [str(folder) for folder in folders]
    seen = 0
    while waiting and seen < _FILES:
        deeper: list[str] = []
        for folder in waiting:
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                if entry.is_symlink():
                    continue
                if entry.is_dir():
                    deeper.append(entry.path)
                elif entry.name.endswith(".py") and entry.is_file():
                    seen += 1
                    if seen > _FILES:
                        return False
                    with open(entry.path, "rb") as file:  # noqa: PTH123 - a path string, thousands of times
                        if _IMPORT.search(file.read(_BYTES)):
                            return True
        waiting = deeper
    return False
