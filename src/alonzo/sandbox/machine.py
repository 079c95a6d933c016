"""What this machine offers the host, set up once: namespaces, control groups, disks; and a plain account of it."""

# pathlib is too large for the host.
# ruff: noqa: PTH102, PTH103, PTH106
from __future__ import annotations

import contextlib
import os

from alonzo.sandbox import cgroup1, cgroup2, cgroups, confine, seccomp, syscalls
from alonzo.sandbox.cgroups import Mounted
from alonzo.sandbox.enter import Place
from alonzo.sandbox.mounts import Root
from alonzo.sandbox.netns import NetworkMaker
from alonzo.sandbox.stock import Stock
from alonzo.sandbox.tmpdisk import LoopDisks, MemoryDisks

_MKFS = ("/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4", "/usr/bin/mkfs.ext4", "/usr/local/sbin/mkfs.ext4")

Line = tuple[str, str, str, str]


def _read(path: str) -> str:
    parts: list[bytes] = []
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while part := os.read(descriptor, 65536):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def find_groups(hierarchies: list[Mounted]) -> cgroup1.Groups | cgroup2.Groups | None:
    """Version 1 where its memory controller is mounted, else version 2, else none."""
    if any("memory" in hierarchy.controllers for hierarchy in hierarchies):
        first = cgroup1.Groups(hierarchies)
        return first if first.bases else None
    for hierarchy in hierarchies:
        if hierarchy.version == 2:
            second = cgroup2.Groups(hierarchy, hierarchy.top)
            return second if second.base else None
    return None


class Machine:
    """Everything the host needs, made in the order in which it must be made."""

    def __init__(self, folder: str) -> None:
        self.rootless = os.geteuid() != 0
        hierarchies = cgroups.mounted(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
        self.groups = find_groups(hierarchies)
        self.group_version = self.groups.version if self.groups is not None else 0
        self._separate()
        self.run = f"{folder}/run"
        os.makedirs(self.run, mode=0o700, exist_ok=True)
        flags = syscalls.MS_NOSUID | (syscalls.MS_NODEV if self.rootless else 0)
        syscalls.mount("alonzo", self.run, "tmpfs", flags, "mode=755,size=64m")
        for name in ("root", "tmp", "users"):
            os.mkdir(f"{self.run}/{name}")
        root = Root(f"{self.run}/root", rootless=self.rootless)
        program = seccomp.build(syscalls.MACHINE)
        self.place = Place(root, program, rootless=self.rootless)
        self.tmp_problem = ""
        disks = self._disks(folder)
        self.stock = Stock(self.run, self.place, NetworkMaker(), self.groups, disks)
        self.stock.check()

    def _separate(self) -> None:
        """Privileges from here on: root's, or those of the "root" of a user namespace that owns nothing else."""
        try:
            if self.rootless:
                confine.map_user(0)
            # Without root the host needs a network namespace of its own user namespace to come back to (`netns`).
            syscalls.unshare(syscalls.CLONE_NEWNS | (syscalls.CLONE_NEWNET if self.rootless else 0))
        except OSError as error:
            raise OSError(
                error.errno,
                f"this machine allows no {'user ' if self.rootless else ''}namespaces ({os.strerror(error.errno or 0)}): "
                "run as root, or set user.max_user_namespaces above 0, kernel.unprivileged_userns_clone to 1 and "
                "kernel.apparmor_restrict_unprivileged_userns to 0 with sysctl",
            ) from error
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)

    def _disks(self, folder: str) -> LoopDisks | MemoryDisks:
        if self.rootless:
            self.tmp_problem = "without root it is a tmpfs of that size"
        else:
            mkfs = next((path for path in _MKFS if os.access(path, os.X_OK)), "")
            try:
                if not mkfs:
                    raise OSError(2, "mkfs.ext4 is not installed")
                return LoopDisks(folder, mkfs)
            except OSError as error:
                self.tmp_problem = f"no loop devices ({error}), so it is a tmpfs of that size"
        return MemoryDisks(f"{self.run}/tmp")

    def allowance(self, tmp_mib: int) -> int:
        """MiB to add to the memory limit, where the kernel charges what lies in /tmp to the function."""
        return tmp_mib if self.tmp_problem and self.groups is not None else 0

    @property
    def summary(self) -> str:
        """The isolation in force, in a few words."""
        groups = f"cgroup v{self.group_version}" if self.group_version else "no cgroups, watchdog instead"
        return f"namespaces as {'an ordinary user' if self.rootless else 'root'}, {groups}"

    def enforcements(self) -> list[Line]:
        """Lines of `base.Enforcement`: name, "1" or "0", detail, mend."""
        problems = self.groups.problems if self.groups is not None else {}
        return [("isolation", "1", "namespaces", "")]

    def close(self) -> None:
        """The mounts would vanish with the host anyway; the folder they lie on would not."""
        with contextlib.suppress(OSError):
            syscalls.umount(self.run)
        with contextlib.suppress(OSError):
            os.rmdir(self.run)
