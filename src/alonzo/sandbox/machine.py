"""What this machine offers the host, set up once: namespaces, control groups, disks; and a plain account of it."""

# pathlib is too large for the host.
# ruff: noqa: PTH102, PTH103, PTH106
from __future__ import annotations

import contextlib
import os

from alonzo.sandbox import cgroup1, cgroup2, cgroups, confine, footprint, restoring, seccomp, syscalls
from alonzo.sandbox.cgroups import Mounted
from alonzo.sandbox.enter import Place
from alonzo.sandbox.mounts import Root
from alonzo.sandbox.netns import NetworkMaker
from alonzo.sandbox.stock import Stock
from alonzo.sandbox.tmpdisk import LoopDisks, MemoryDisks
from alonzo.sandbox.zygotes import Zygotes

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
        self.root = Root(f"{self.run}/root", rootless=self.rootless)
        program = seccomp.build(syscalls.MACHINE)
        priority = max(0, os.getpriority(os.PRIO_PROCESS, 0))
        host = os.pidfd_open(os.getpid())
        self.place = Place(self.root, program, host, priority, confine.last_capability(), rootless=self.rootless)
        self.tmp_problem = ""
        disks = self._disks(folder)
        self.zygotes = Zygotes(self.place, self.root)
        self.stock = Stock(self.run, self.place, NetworkMaker(), self.groups, disks, self.zygotes)
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
                f"no {'user ' if self.rootless else ''}namespaces on this machine ({os.strerror(error.errno or 0)}): "
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
        return [
            ("isolation", "1", "own mount, pid, network, ipc, uts and cgroup namespaces; host files out of sight", ""),
            ("privileges", "1", "no capabilities, no_new_privs, seccomp filter, rlimits", ""),
            self._user_line(),
            *self._group_lines(),
            self._tmp_line(),
            ("filesystem", "1", "everything read-only but /tmp; no /dev/shm, as on AWS", ""),
            self._internet_line(),
            self._snapshot_line(),
        ]

    def _user_line(self) -> Line:
        if self.rootless:
            detail = "one uid for all environments, each in a user namespace of its own; supplementary groups are kept"
            return ("user", "0", detail, "run as root for a uid of its own per environment")
        return ("user", "1", "an own uid and gid for every living environment", "")

    def _group_lines(self) -> list[Line]:
        mend = "run as root, or in a delegated cgroup v2 (systemd-run --user --scope -p Delegate=yes alonzo up)"
        if self.groups is None:
            why = "no control group can be made here, so a watchdog looks every 20 ms"
            return [
                ("memory", "1", f"{why}; a function can exceed the limit for that long, RLIMIT_DATA bounds it", mend),
                ("cpu", "1", f"{why}, and stops processes that have used their share", mend),
                ("pids", "1", "RLIMIT_NPROC in the environment's user namespace", ""),
                ("freeze", "1", "SIGSTOP and SIGCONT, which a function's own parent processes can see", mend),
                ("reclaim", "0", "idle environments keep what memory they have until they end", mend),
            ]
        details = {
            "memory": "hard limit of the process tree, without swap",
            "cpu": f"1 processor per {cgroups.MIB_PER_CPU} MiB, in periods of 100 ms",
            "pids": "processes and threads",
            "freezer": "frozen between invocations",
        }
        lines: list[Line] = []
        for controller, detail in details.items():
            problem = self.groups.problems.get(controller, "")
            name = "freeze" if controller == "freezer" else controller
            where = f"{detail} (cgroup v{self.group_version})"
            if problem and controller == "pids":
                lines.append((name, "1", f"RLIMIT_NPROC of the environment's own uid ({problem})", ""))
            else:
                lines.append((name, "0" if problem else "1", problem or where, mend if problem else ""))
        return [*lines, self._reclaim_line(self.groups)]

    @staticmethod
    def _reclaim_line(groups: cgroup1.Groups | cgroup2.Groups) -> Line:
        folder = groups.bases.get("memory", "") if isinstance(groups, cgroup1.Groups) else groups.base
        if folder and footprint.can_give_back(folder, groups.version):
            file = "memory.force_empty" if groups.version == 1 else "memory.reclaim"
            return ("reclaim", "1", f"idle environments give back their page cache ({file})", "")
        mend = "use Linux 5.19 or newer, where cgroup v2 has memory.reclaim"
        return ("reclaim", "0", "idle environments keep what memory they have until they end", mend)

    def _tmp_line(self) -> Line:
        if not self.tmp_problem:
            return ("tmp", "1", "an ext4 of its own of the size asked for, not charged to memory", "")
        if self.groups is None:
            return ("tmp", "1", f"{self.tmp_problem}; its pages lie in the machine's memory, uncharged", "")
        detail = f"{self.tmp_problem}; what lies in it counts as memory, so the memory limit is raised by its size"
        return ("tmp", "0", detail, "install e2fsprogs and load the kernel's loop module" if not self.rootless else "")

    def _internet_line(self) -> Line:
        problem = self.stock.stocker.internet_problem
        if not problem:
            return ("internet", "1", self.stock.stocker.internet_detail, "")
        return ("internet", "0", "no outbound connections: functions reach only AWS's services here", problem)

    @staticmethod
    def _snapshot_line() -> Line:
        problem = restoring.problem()
        if problem:
            return ("snapstart", "0", f"versions with SnapStart are initialised in each environment: {problem}", "")
        return ("snapstart", "1", "environments of a version go on from a copy of its initialised process", "")

    def close(self) -> None:
        """The mounts would vanish with the host anyway; the folder they lie on would not."""
        with contextlib.suppress(OSError):
            syscalls.umount(self.run)
        with contextlib.suppress(OSError):
            os.rmdir(self.run)
