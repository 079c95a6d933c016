"""What memory an environment takes of the machine, and how it gives back what it can do without.

Only the server uses this. Where there are control groups the kernel has counted: everything that the tree was the first
to touch, its kernel memory and page cache included. Elsewhere it is what the processes have resident, shared pages
divided among those that share them.
"""

from __future__ import annotations

import contextlib
import os

from alonzo.sandbox import cgroups, watchdog

#: The control files of each version of control groups: what is charged, and what to write where to have it reclaimed.
_USAGE = {1: "memory.usage_in_bytes", 2: "memory.current"}


def charged(folder: str, version: int) -> tuple[int, int]:
    """Bytes charged to the group, and how many of them are page cache, which can be given back; zeros if it is gone."""
    try:
        usage = int(cgroups.read(f"{folder}/{_USAGE[version]}"))
        cache = 0
        for line in cgroups.read(f"{folder}/memory.stat").splitlines():
            name, _, number = line.partition(" ")
            if name in ("inactive_file", "active_file"):
                cache += int(number)
    except (OSError, ValueError):
        return 0, 0
    return usage, min(usage, cache)


def give_back(folder: str, version: int) -> None:
    """Have the kernel reclaim the group's page cache. It may wait (for the disk, for all processors): use a thread.

    Anonymous memory stays where it is, with swap too: a function's limit is one of memory without swap, and what lay in
    swap would not count against it. Version 1 keeps to memory.swappiness, which is 0; version 2 to memory.swap.max.
    Sources: docs.kernel.org/admin-guide/cgroup-v1/memory.html (5.1), docs.kernel.org/admin-guide/cgroup-v2.html
    """
    with contextlib.suppress(OSError):  # EAGAIN: it could not have all of it; ENOENT: it has ended, or an older kernel
        if version == 1:
            cgroups.write(f"{folder}/memory.force_empty", "0")
        else:
            cgroups.write(f"{folder}/memory.reclaim", str(charged(folder, version)[1]))


def can_give_back(folder: str, version: int) -> bool:
    """Whether this kernel reclaims a group's memory when it is told to (version 2: since Linux 5.19)."""
    return os.access(f"{folder}/{'memory.force_empty' if version == 1 else 'memory.reclaim'}", os.W_OK)


def resident(pids: list[int]) -> int:
    """Resident bytes of processes, shared pages divided. It takes a millisecond for a few of them: use a thread."""
    return sum(map(watchdog.proportional, pids))
