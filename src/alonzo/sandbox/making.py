"""An environment as the host has it: what was asked for, what it is made of, and what lives."""

from __future__ import annotations

import os

from alonzo.sandbox import enter, syscalls, wire
from alonzo.sandbox.joining import Joined
from alonzo.sandbox.stock import Home, Slot
from alonzo.sandbox.tmpdisk import Disk
from alonzo.sandbox.watchdog import Tree

Mounts = list[tuple[str, str]]


class Wish:
    """What the server asks for."""

    __slots__ = (
        "cwd",
        "gated",
        "id",
        "internet",
        "memory_mib",
        "mounts",
        "nofile",
        "pids",
        "program",
        "snapshot",
        "spare",
        "tmp_mib",
        "tmp_of",
        "zygote",
    )

    def __init__(self, fields: list[bytes]) -> None:
        self.id = fields[0]
        #: argv, env and cwd, as an order has them.
        self.program = fields[1:4]
        self.cwd = fields[3]
        words = wire.split(fields[4])
        self.mounts: Mounts = sorted(zip(words[::2], words[1::2], strict=True), key=lambda pair: pair[1].count("/"))
        numbers = (int(number) for number in fields[5].split())
        self.memory_mib, self.tmp_mib, self.pids, self.nofile, self.internet, self.gated, self.spare = numbers
        self.tmp_of, self.zygote, self.snapshot = fields[6:9]

    @property
    def usual(self) -> bool:
        """Whether a program that was executed before its order came could be this one."""
        return b"%d %d" % (self.nofile, self.pids) == enter.USUAL_LIMITS and self.cwd == b"/var/task" and not self.gated


class Making:
    """One environment until its sandbox is finished. It owns what it opens, until it is closed."""

    def __init__(self, wish: Wish, slot: Slot, disk: Disk, data_mib: int) -> None:
        self.id = wish.id
        self.slot = slot
        self.disk = disk
        self.memory_mib = wish.memory_mib
        #: For programs that join, too: limits as an order has them.
        self.limits = b"%d %d %d 0" % (wish.nofile, wish.pids, data_mib)
        self._trees: list[int] = []
        self._targets: list[str] = []
        #: The reading end is the first process's, the writing end the server's.
        self._gate = list(os.pipe()) if wish.gated else []
        self._program = wish.program

    @property
    def gate(self) -> list[int]:
        """For the server: a byte written here lets the program go."""
        return self._gate[1:]

    def show(self, mounts: Mounts) -> None:
        """Open what is to be seen inside."""
        for source, target in mounts:
            self._trees.append(syscalls.clone_tree(source))
            self._targets.append(target)

    def complete(self, home: Home, rest: bytes, image: list[int]) -> None:
        """Let the program begin, in a sandbox that is finished."""
        limits = self.limits[:-1] + (b"1" if self._gate else b"0")
        order = wire.pack(*self._program, limits, rest)
        more = [*self._gate[:1], *image]
        self.slot.complete(home, self._targets, [self.disk.mount, *self._trees], order, more)

    def close(self) -> None:
        """What the sandbox and the server have copies of."""
        for descriptor in (*self._trees, *self._gate):
            os.close(descriptor)
        self._trees, self._gate = [], []


class Living:
    """One environment, from its creation to its release."""

    __slots__ = ("disk", "id", "joined", "limits", "oom", "running", "slot", "tree")

    def __init__(self, id: bytes, slot: Slot, disk: Disk, tree: Tree | None, limits: bytes) -> None:
        self.limits = limits
        #: Programs that joined later, by the number of the request.
        self.joined: dict[bytes, Joined] = {}
        self.tree = tree
        self.oom = False
        self.id = id
        self.slot = slot
        self.disk: Disk | None = disk
        self.running = True
