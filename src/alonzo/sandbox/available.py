"""How much memory this machine, or the container this is in, has; and whether it runs short of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from alonzo.sandbox import cgroups
from alonzo.sandbox.cgroups import Mounted
from alonzo.sandbox.footprint import charged
from alonzo.sandbox.meminfo import meminfo

#: It is short where less than this share is available, ...
_LEAST_SHARE = 0.05
#: ... or where all work stood still for want of memory for more than this share of the last ten seconds, in percent.
_MOST_STALLED = 10.0
#: Version 1 writes "no limit" as a number above all memory there is.
_UNLIMITED = 1 << 60


class MachineMemory:
    """Reads /proc, and the control groups above this process that have a limit."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._limits = _limited(proc)
        machine = meminfo("MemTotal", str(proc))
        if not machine:  # not Linux
            machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        #: Bytes.
        self.total = min([machine, *(limit for limit, _, _ in self._limits)])

    def available(self) -> int:
        """Bytes that could be had without swapping; all of them where nobody tells."""
        found = [meminfo("MemAvailable", str(self._proc)) or self.total]
        for limit, folder, version in self._limits:
            used, cache = charged(folder, version)
            found.append(max(0, limit - used + cache))
        return min(found)

    def short(self) -> bool:
        """Whether processes are about to wait for memory, or do already."""
        return self.available() < _LEAST_SHARE * self.total or self._stalled() > _MOST_STALLED

    def _stalled(self) -> float:
        """Pressure stall information: `full avg10`; 0 where the kernel keeps none."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (self._proc / "pressure" / "memory").read_text().splitlines():
                if line.startswith("full avg10="):
                    return float(line.split()[1].partition("=")[2])
        return 0.0


def _limited(proc: Path) -> list[tuple[int, str, int]]:
    """The groups that this process is in and that have a limit: bytes, folder, version."""
    try:
        hierarchies = cgroups.mounted((proc / "self/mountinfo").read_text(), (proc / "self/cgroup").read_text())
    except (OSError, ValueError):
        return []
    found: list[tuple[int, str, int]] = []
    for hierarchy in hierarchies:
        if hierarchy.version == 2 or "memory" in hierarchy.controllers:
            found += _limits(hierarchy)
    return found


def _limits(hierarchy: Mounted) -> list[tuple[int, str, int]]:
    name = "memory.limit_in_bytes" if hierarchy.version == 1 else "memory.max"
    found: list[tuple[int, str, int]] = []
    folder = Path(hierarchy.folder)
    for group in (folder, *folder.parents):
        if not group.is_relative_to(hierarchy.top):
            break
        with contextlib.suppress(OSError, ValueError):  # "max": none
            limit = int((group / name).read_text())
            if limit < _UNLIMITED:
                found.append((limit, str(group), hierarchy.version))
    return found
