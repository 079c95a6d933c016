"""How Node.js starts inside: its flags, and where it finds modules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

#: Set by a function in NODE_OPTIONS, either of them means that Lambda sets neither.
_HEAP = ("--max_semi_space_size", "--max_old_space_size", "--max-semi-space-size", "--max-old-space-size")


def path(major: str) -> str:
    """NODE_PATH. Source: recorded on AWS, contract §6."""
    layers = f"/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules"
    return f"{layers}:/var/runtime/node_modules:/var/runtime:/var/task"


def flags(version: str, memory_mib: int, options: str) -> list[str]:
    """The flags of Node.js `version` for a function with so much memory, whose NODE_OPTIONS are `options`.

    Features that the language still calls experimental are off unless the function asks for them.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-nodejs.html
    """
    major, minor, *_ = (int(part) for part in version.split("."))
    chosen = ["--expose-gc"]
    if not any(option in options for option in _HEAP):
        # A tenth of the memory is left to what is no heap; the young generation is three times its semi-space.
        rest = memory_mib // 10
        chosen += [f"--max-semi-space-size={rest // 6}", f"--max-old-space-size={memory_mib - rest}"]
    if (major == 22 or (major == 20 and minor >= 17)) and "--experimental-require-module" not in options:
        chosen.append("--no-experimental-require-module")
    if major == 22 and "--experimental-detect-module" not in options:
        chosen.append("--no-experimental-detect-module")
    return chosen


def module_mounts(major: str, mounts: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Folders that let `import` find what NODE_PATH lets `require` find.

    AWS's Node.js is built to look there; an ordinary one looks into every parent's node_modules only. So the SDK is
    shown at /node_modules, and a layer's modules at /var/node_modules, where only the function's own go before them.
    """
    found = {target: folder for folder, target in mounts}
    shown = [(found["/var/runtime"] / "node_modules", "/node_modules")]
    for name in (f"nodejs/node{major}/node_modules", "nodejs/node_modules"):
        folder = found["/opt"] / name if "/opt" in found else None
        if folder is not None and folder.is_dir() and not folder.is_symlink():
            return [*shown, (folder, "/var/node_modules")]
    return shown
