"""Control groups, version 1: one hierarchy per controller, one folder per environment in each.

A process joins by writing "0" to `tasks` itself: that moves one thread and takes 50 µs, where `cgroup.procs` waits for
an RCU grace period (8-15 ms on an idle machine).
Source: docs.kernel.org/admin-guide/cgroup-v1
"""

# pathlib is too large for the host.
# ruff: noqa: PTH103, PTH106
from __future__ import annotations

import contextlib
import os

from alonzo.sandbox import cgroups
from alonzo.sandbox.cgroups import Mounted

CONTROLLERS = ("memory", "cpu", "pids", "freezer")


class Group:
    """One environment's folders. `join`: descriptors to which its first process writes "0"; `freeze` and `quota`:
    control files for the server (-1: none); `into`: only version 2 has it.
    """

    __slots__ = ("folders", "freeze", "into", "join", "quota")

    def __init__(self, folders: dict[str, str]) -> None:
        self.folders = folders
        self.join: list[int] = []
        self.freeze = self.quota = self.into = -1

    def open(self) -> None:
        """Open what the child and the server need, and set what is the same for all."""
        if "cpu" in self.folders:
            cgroups.write(f"{self.folders['cpu']}/cpu.cfs_period_us", str(cgroups.PERIOD_US))
        if "memory" in self.folders:
            with contextlib.suppress(OSError):
                cgroups.write(f"{self.folders['memory']}/memory.swappiness", "0")
        for folder in self.folders.values():
            self.join.append(os.open(f"{folder}/tasks", os.O_WRONLY | os.O_CLOEXEC))
        if "freezer" in self.folders:
            self.freeze = os.open(f"{self.folders['freezer']}/freezer.state", os.O_WRONLY | os.O_CLOEXEC)
        if "cpu" in self.folders:
            self.quota = os.open(f"{self.folders['cpu']}/cpu.cfs_quota_us", os.O_WRONLY | os.O_CLOEXEC)

    def joining(self) -> tuple[list[int], int]:
        """What a further process needs to join: like `join` and `into`, and the caller's to close."""
        return [os.open(f"{folder}/tasks", os.O_WRONLY | os.O_CLOEXEC) for folder in self.folders.values()], -1

    def limit(self, memory_mib: int, pids: int) -> None:
        """Set the limits that hold from the start. The order matters: memsw may not be under the memory limit."""
        if "memory" in self.folders:
            folder, size = self.folders["memory"], str(memory_mib << 20)
            cgroups.write(f"{folder}/memory.limit_in_bytes", size)
            with contextlib.suppress(OSError):  # kernels without swap accounting have no such file
                cgroups.write(f"{folder}/memory.memsw.limit_in_bytes", size)
        if "pids" in self.folders:
            cgroups.write(f"{self.folders['pids']}/pids.max", str(pids))

    def watched(self) -> tuple[str, str]:
        """The files that the server reads: processes, and the counter of kills for want of memory."""
        folder = next(iter(self.folders.values()), "")
        oom = f"{self.folders['memory']}/memory.oom_control" if "memory" in self.folders else ""
        return (f"{folder}/cgroup.procs" if folder else "", oom)

    def thaw(self) -> None:
        """A frozen process of version 1 does not even die."""
        if "freezer" in self.folders:
            with contextlib.suppress(OSError):
                cgroups.write(f"{self.folders['freezer']}/freezer.state", "THAWED")

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in (*self.join, self.freeze, self.quota):
            if descriptor >= 0:
                os.close(descriptor)
        self.join = []
        self.freeze = self.quota = -1

    def remove(self) -> bool:
        """Remove the folders; False if a process has not quite gone yet."""
        gone = True
        for folder in self.folders.values():
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                gone = False
        return gone


class Groups:
    """The base group in every hierarchy."""

    version = 1

    def __init__(self, hierarchies: list[Mounted]) -> None:
        self.bases: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        name = cgroups.base_name()
        for controller in CONTROLLERS:
            hierarchy = next((each for each in hierarchies if controller in each.controllers), None)
            if hierarchy is None:
                self.problems[controller] = "the controller is not mounted"
                continue
            base = f"{hierarchy.folder}/{name}"
            try:
                self._clean(hierarchy.folder)
                os.makedirs(base, exist_ok=True)
                os.close(os.open(f"{base}/tasks", os.O_WRONLY | os.O_CLOEXEC))
            except OSError as error:
                self.problems[controller] = f"{base}: {os.strerror(error.errno or 0)}"
                continue
            self.bases[controller] = base
        self._count = 0

    def _clean(self, folder: str) -> None:
        for entry in list(os.scandir(folder)):
            if not cgroups.is_leftover(entry.name):
                continue
            for child in list(os.scandir(entry.path)):
                if child.is_dir(follow_symlinks=False):
                    with contextlib.suppress(OSError):
                        cgroups.write(f"{child.path}/freezer.state", "THAWED")
            cgroups.remove_tree(entry.path)

    def make(self) -> Group:
        """A new group, not limited yet."""
        self._count += 1
        # Co-mounted controllers (cpu,cpuacct) share a folder, hence exist_ok.
        group = Group({controller: f"{base}/{self._count}" for controller, base in self.bases.items()})
        try:
            for folder in group.folders.values():
                os.makedirs(folder, exist_ok=True)
            group.open()
        except BaseException:
            group.close()
            group.remove()
            raise
        return group

    def close(self) -> None:
        """Remove the base group."""
        for base in self.bases.values():
            cgroups.remove_tree(base)
