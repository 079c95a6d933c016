"""What version 1 and version 2 of control groups have in common: where our groups may lie, and their names.

Every environment has a group of its own under one base group, which is named after the host process (its id and its
start time). So a later start can tell what a dead host left from what a living one uses.
"""

# pathlib is too large for the host.
# ruff: noqa: PTH106, PTH118
from __future__ import annotations

import contextlib
import os

PREFIX = "alonzo-"
#: AWS gives one whole processor per 1,769 MB. Source: docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
MIB_PER_CPU = 1769
#: With a shorter period 128 MiB would fall under the kernel's smallest quota, and short work would be throttled more.
PERIOD_US = 100_000


def quota_us(memory_mib: int) -> int:
    """Microseconds of processor time per PERIOD_US."""
    return max(1000, PERIOD_US * memory_mib // MIB_PER_CPU)


def write(path: str, text: str) -> None:
    """Write a control file in one write; OSError says why the kernel refuses."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read(path: str) -> str:
    """A control file's text."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 65536).decode("ascii", "replace")
    finally:
        os.close(descriptor)


def start_time(pid: int) -> str:
    """The start time of a process in clock ticks; empty if there is no such process."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def base_name() -> str:
    """The name of this process's base group."""
    pid = os.getpid()
    return f"{PREFIX}{pid}-{start_time(pid)}"


def is_leftover(name: str) -> bool:
    """Whether `name` is a base group whose host is no more."""
    parts = name.removeprefix(PREFIX).split("-")
    if not name.startswith(PREFIX) or len(parts) != 2 or not parts[0].isdecimal() or not parts[1].isdecimal():
        return False
    return start_time(int(parts[0])) != parts[1]


def remove_tree(path: str) -> None:
    """Remove a group and those under it as far as they are empty of processes."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
    with contextlib.suppress(OSError):
        os.rmdir(path)


class Mounted:
    """A mounted hierarchy at `top`: `folder` is this process's own group in it, `controllers` what it controls."""

    __slots__ = ("controllers", "folder", "top", "version")

    def __init__(self, version: int, controllers: tuple[str, ...], top: str, folder: str) -> None:
        self.top = top
        self.version = version
        self.controllers = controllers
        self.folder = folder


def _unescape(path: str) -> str:
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def mounted(mountinfo: str, own: str) -> list[Mounted]:
    """The hierarchies named by the texts of /proc/self/mountinfo and /proc/self/cgroup that this process can see."""
    paths: dict[str, str] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            paths[name] = path
    found: list[Mounted] = []
    seen: set[str] = set()
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        root, point = (_unescape(field) for field in fields.split(" ")[3:5])
        kind, _, options = rest.split(" ")[:3]
        if kind == "cgroup2":
            names: tuple[str, ...] = ("",)
        elif kind == "cgroup":
            names = tuple(name for name in options.split(",") if name in paths and name)
        else:
            continue
        if not names or names[0] not in paths or names[0] in seen:
            continue
        path = paths[names[0]]
        inside = os.path.relpath(path, root)
        if inside.startswith(".."):  # another container's part of the hierarchy
            continue
        seen.update(names)
        folder = os.path.normpath(os.path.join(point, inside))
        found.append(Mounted(2, (), point, folder) if kind == "cgroup2" else Mounted(1, names, point, folder))
    return found
