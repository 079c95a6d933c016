"""What the kernel says of the machine's memory. The sandbox host imports this: keep it small."""

from __future__ import annotations

import contextlib

from alonzo.sandbox import cgroups


def meminfo(name: str, proc: str = "/proc") -> int:
    """Bytes that a line of /proc/meminfo says ("MemTotal"); 0 where it is not there."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in cgroups.read(f"{proc}/meminfo").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0
