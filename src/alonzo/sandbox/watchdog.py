"""Limits where there are no control groups: the host looks at the running process trees every few milliseconds.

Memory: a tree whose resident memory is over the limit (pages shared with others divided among them) is ended as out of
memory. CPU: a tree that has used its share is stopped until the share has grown enough. A function can exceed a limit
for the length of one look; RLIMIT_DATA bounds by how much. The number of processes needs no look: RLIMIT_NPROC counts
in the environment's own user namespace. Frozen trees are not looked at and cost nothing.
"""

# pathlib is too large for the host.
# ruff: noqa: PTH208
from __future__ import annotations

import contextlib
import os

from alonzo.sandbox import cgroups

#: How often running trees are looked at.
INTERVAL_S = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_SIGCONT, _SIGSTOP = 18, 19


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, by /proc; init adopts orphans, so none escapes."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                with contextlib.suppress(OSError):
                    children = [int(child) for child in cgroups.read(f"/proc/{parent}/task/{task}/children").split()]
                    found += children
                    waiting += children
    return found


def signal_tree(init: int, number: int) -> None:
    """Signal everything below `init`; repeated until no process appears that has not been signalled."""
    signalled: set[int] = set()
    while fresh := set(descendants(init)) - signalled:
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        signalled |= fresh


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(cgroups.read(f"/proc/{pid}/statm").split()[1]) * _PAGE
    return 0


def proportional(pid: int) -> int:
    """Resident bytes, shared pages divided; all of them if the kernel does not tell."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in cgroups.read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return _resident(pid)


def _cpu_s(pids: list[int]) -> float:
    """Processor time of living processes and of those they have waited for; with init among them it never shrinks."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            ticks += sum(int(each) for each in cgroups.read(f"/proc/{pid}/stat").rpartition(")")[2].split()[11:15])
    return ticks / _TICKS


class Share:
    """A tree's processor time as an account: it fills by `cpus` seconds a second, up to a tenth of a second's worth."""

    def __init__(self, cpus: float, used_s: float, now: float) -> None:
        self._cpus = cpus
        self._used_s = used_s
        self._credit_s = cpus * cgroups.PERIOD_US / 1e6
        self._now = now

    def rest_s(self, used_s: float, now: float) -> float:
        """How long the tree must rest, given what it has used since ever; 0.0 if it may run."""
        most = self._cpus * cgroups.PERIOD_US / 1e6
        grown = self._credit_s + (now - self._now) * self._cpus
        self._credit_s = min(most, grown) - max(0.0, used_s - self._used_s)
        self._used_s, self._now = max(used_s, self._used_s), now
        return 0.0 if self._credit_s >= 0 else -self._credit_s / self._cpus


class Tree:
    """One environment's processes, below `init`."""

    def __init__(self, init: int, memory_mib: int) -> None:
        self.init = init
        self._memory_mib = memory_mib
        self._share: Share | None = None
        self._resting_until = 0.0
        self.frozen = False

    def limit_cpu(self, now: float) -> None:
        """From now on the share holds."""
        self._share = Share(self._memory_mib / cgroups.MIB_PER_CPU, _cpu_s([self.init, *descendants(self.init)]), now)

    def freeze(self, frozen: bool) -> None:
        """Stop the tree or let it go on; a tree that rests for its CPU share goes on when its rest is over."""
        if frozen != self.frozen:
            self.frozen = frozen
            if not self._resting_until:
                signal_tree(self.init, _SIGSTOP if frozen else _SIGCONT)

    @property
    def idle(self) -> bool:
        """Whether it need not be looked at."""
        return self.frozen and not self._resting_until

    def look(self, now: float) -> bool:
        """Enforce the limits; False if the tree is out of memory."""
        if self._resting_until:
            if now < self._resting_until:
                return True
            self._resting_until = 0.0
            if not self.frozen:
                signal_tree(self.init, _SIGCONT)
        if self.frozen:
            return True
        pids = descendants(self.init)
        limit = self._memory_mib << 20
        if sum(map(_resident, pids)) > limit and sum(map(proportional, pids)) > limit:
            return False
        if self._share is not None:
            rest_s = self._share.rest_s(_cpu_s([self.init, *pids]), now)
            if rest_s:
                self._resting_until = now + rest_s
                signal_tree(self.init, _SIGSTOP)
        return True
