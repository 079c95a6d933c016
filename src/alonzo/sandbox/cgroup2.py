"""Control groups, version 2: one hierarchy; the child is cloned straight into its group.

Limits work only in a group whose parent hands the controllers down, and a group that does so may hold no processes
itself. So the base group goes under the nearest ancestor of our own group that allows it.
Source: docs.kernel.org/admin-guide/cgroup-v2.html
"""

# pathlib is too large for the host.
# ruff: noqa: PTH103, PTH106
from __future__ import annotations

import contextlib
import os

from alonzo.sandbox import cgroups
from alonzo.sandbox.cgroups import Mounted

_WANTED = ("memory", "pids", "cpu")
_LEAF = "alonzo.leaf"


class Group:
    """One environment's folder; see `cgroup1.Group`. `into` is the open folder for CLONE_INTO_CGROUP."""

    __slots__ = ("controllers", "folder", "freeze", "into", "join", "quota")

    def __init__(self, folder: str, controllers: set[str]) -> None:
        self.folder = folder
        self.controllers = controllers
        self.join: list[int] = []
        self.freeze = self.quota = self.into = -1

    def open(self) -> None:
        """Open what the child and the server need."""
        self.into = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.freeze = os.open(f"{self.folder}/cgroup.freeze", os.O_WRONLY | os.O_CLOEXEC)
        if "cpu" in self.controllers:
            self.quota = os.open(f"{self.folder}/cpu.max", os.O_WRONLY | os.O_CLOEXEC)

    def joining(self) -> tuple[list[int], int]:
        """What a further process needs to join: like `join` and `into`, and the caller's to close."""
        return [], os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def limit(self, memory_mib: int, pids: int) -> None:
        """Set the limits that hold from the start."""
        if "memory" in self.controllers:
            cgroups.write(f"{self.folder}/memory.max", str(memory_mib << 20))
            cgroups.write(f"{self.folder}/memory.oom.group", "1")
            with contextlib.suppress(OSError):  # no swap in this kernel
                cgroups.write(f"{self.folder}/memory.swap.max", "0")
        if "pids" in self.controllers:
            cgroups.write(f"{self.folder}/pids.max", str(pids))

    def watched(self) -> tuple[str, str]:
        """The files that the server reads: processes, and the counter of kills for want of memory."""
        oom = f"{self.folder}/memory.events" if "memory" in self.controllers else ""
        return (f"{self.folder}/cgroup.procs", oom)

    def thaw(self) -> None:
        """Frozen processes of version 2 can be killed; nothing to do."""

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in (self.into, self.freeze, self.quota):
            if descriptor >= 0:
                os.close(descriptor)
        self.into = self.freeze = self.quota = -1

    def remove(self) -> bool:
        """Remove the folder; False if a process has not quite gone yet."""
        try:
            os.rmdir(self.folder)
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True


def _enable(folder: str) -> set[str]:
    """Hand the controllers down from `folder` as far as it has them; OSError(EBUSY) if it holds processes."""
    offered = set(cgroups.read(f"{folder}/cgroup.controllers").split())
    handed = set(cgroups.read(f"{folder}/cgroup.subtree_control").split())
    for controller in _WANTED:
        if controller in offered and controller not in handed:
            cgroups.write(f"{folder}/cgroup.subtree_control", f"+{controller}")
            handed.add(controller)
    return handed & set(_WANTED)


def _make_room(folder: str) -> None:
    """Move a container's own processes out of its topmost group, which must be empty to hand controllers down."""
    leaf = f"{folder}/{_LEAF}"
    os.makedirs(leaf, exist_ok=True)
    for pid in cgroups.read(f"{folder}/cgroup.procs").split():
        with contextlib.suppress(OSError):  # a process may have ended
            cgroups.write(f"{leaf}/cgroup.procs", pid)


class Groups:
    """The base group. `controllers` is empty, and `problems` says why, where none could be had."""

    version = 2

    def __init__(self, hierarchy: Mounted, top: str) -> None:
        self.base = ""
        self.controllers: set[str] = set()
        self.problems: dict[str, str] = {}
        reason = "no group above this process lets it hand controllers down"
        folder = hierarchy.folder
        while folder.startswith(top):
            try:
                self._take(folder, is_top=folder == top)
                break
            except OSError as error:
                reason = f"{folder}: {os.strerror(error.errno or 0)}"
            folder = folder.rpartition("/")[0]
        for controller in (*_WANTED, "freezer"):
            if not self.base or (controller != "freezer" and controller not in self.controllers):
                self.problems[controller] = reason
        self._count = 0

    def _take(self, folder: str, *, is_top: bool) -> None:
        try:
            controllers = _enable(folder)
        except OSError as error:
            if not is_top or error.errno != 16:  # EBUSY: it holds processes
                raise
            _make_room(folder)
            controllers = _enable(folder)
        if "memory" not in controllers:
            raise OSError(2, "the memory controller is not offered")
        for entry in list(os.scandir(folder)):
            if cgroups.is_leftover(entry.name):
                cgroups.remove_tree(entry.path)
        base = f"{folder}/{cgroups.base_name()}"
        os.makedirs(base, exist_ok=True)
        try:
            self.controllers = _enable(base)
        except OSError:
            os.rmdir(base)
            raise
        self.base = base

    def make(self) -> Group:
        """A new group, not limited yet."""
        self._count += 1
        group = Group(f"{self.base}/{self._count}", self.controllers)
        os.makedirs(group.folder, exist_ok=True)
        try:
            group.open()
        except BaseException:
            group.close()
            group.remove()
            raise
        return group

    def close(self) -> None:
        """Remove the base group."""
        if self.base:
            cgroups.remove_tree(self.base)
