"""What the host keeps ready, so that a cold start does not pay for it: network namespaces, control groups, disks."""

from __future__ import annotations

import contextlib
import os

from alonzo.sandbox import cgroup1, cgroup2
from alonzo.sandbox.netns import NetworkMaker
from alonzo.sandbox.tmpdisk import Disk, LoopDisks, MemoryDisks

_SLOTS = 8
_DISKS = 4
#: The size of /tmp unless a function asks for more.
DEFAULT_TMP_MIB = 512


class Slot:
    """A network namespace with its listening sockets, and a control group; used once."""

    __slots__ = ("group", "key", "listeners", "netns")

    def __init__(self, key: int, netns: int, listeners: list[int], group: cgroup1.Group | cgroup2.Group | None) -> None:
        self.key = key
        self.netns = netns
        self.listeners = listeners
        self.group = group

    def close_listeners(self) -> None:
        """The server has its own copies."""
        for descriptor in self.listeners:
            os.close(descriptor)
        self.listeners = []

    def close(self) -> None:
        """Close what is open; the group's folders are removed by `Stock.remove`."""
        self.close_listeners()
        if self.netns >= 0:
            os.close(self.netns)
            self.netns = -1
        if self.group is not None:
            self.group.close()


class Stock:
    """Slots and disks: taken from the shelf, or made on the spot when it is empty."""

    def __init__(
        self,
        networks: NetworkMaker,
        groups: cgroup1.Groups | cgroup2.Groups | None,
        disks: LoopDisks | MemoryDisks,
    ) -> None:
        self._networks = networks
        self._groups = groups
        self._makers = disks
        self._slots: list[Slot] = []
        self._disks: list[Disk] = []
        self._unremoved: list[cgroup1.Group | cgroup2.Group] = []
        self._count = 0

    def _make_slot(self) -> Slot:
        self._count += 1
        netns, listeners = self._networks.make()
        slot = Slot(self._count, netns, listeners, None)
        try:
            slot.group = self._groups.make() if self._groups is not None else None
        except BaseException:
            slot.close()
            raise
        return slot

    def slot(self) -> Slot:
        """A slot that nobody has used."""
        return self._slots.pop() if self._slots else self._make_slot()

    def disk(self, mib: int) -> Disk:
        """An empty disk."""
        if mib == DEFAULT_TMP_MIB and self._disks:
            return self._disks.pop()
        return self._makers.make(mib)

    def remove(self, slot: Slot) -> None:
        """The slot's environment is over."""
        slot.close()
        if slot.group is not None and not slot.group.remove():
            self._unremoved.append(slot.group)

    @property
    def wanting(self) -> bool:
        """Whether `tend` has something to do."""
        return bool(self._unremoved) or len(self._slots) < _SLOTS or len(self._disks) < _DISKS

    def tend(self) -> bool:
        """Do one small piece of work (under a millisecond or two); False if the machine will not let us now."""
        self._unremoved = [group for group in self._unremoved if not group.remove()]
        try:
            if len(self._slots) < _SLOTS:
                self._slots.append(self._make_slot())
            elif len(self._disks) < _DISKS:
                self._disks.append(self._makers.make(DEFAULT_TMP_MIB))
        except Exception:  # a full disk, no more loop devices: the next create says so to whom it concerns
            return False
        return not self._unremoved

    def close(self) -> None:
        """Give everything back."""
        for slot in self._slots:
            self.remove(slot)
        for disk in self._disks:
            with contextlib.suppress(OSError):
                disk.discard()
        self._slots, self._disks = [], []
        self._unremoved = [group for group in self._unremoved if not group.remove()]
        if self._groups is not None:
            self._groups.close()
