"""The host's helper: it does what makes the kernel wait (network namespaces, loop devices), so that the host need not.

A forked child of the host, in the same namespaces, with one request at a time over a socket of its own. Whatever it
makes are descriptors, so it needs no names, and when it dies the host does the work itself.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would import enum
import _socket
import contextlib
import os

from alonzo.sandbox import syscalls, wire
from alonzo.sandbox.netns import NetworkMaker
from alonzo.sandbox.tmpdisk import Disk, LoopDisks

NETWORK, DISK, DISCARD, BROKEN = b"network", b"disk", b"discard", b"broken"


class Stocker:
    """The host's end. `channel` is readable when something that was asked for is there."""

    def __init__(self, networks: NetworkMaker, disks: LoopDisks | None) -> None:
        self.channel, theirs = _pair()
        self.asked: set[bytes] = set()
        self.pid = syscalls.clone(0)
        if self.pid == 0:
            try:
                keep = theirs.fileno()
                self.channel.close()
                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, _signal.SIGKILL)
                _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)
                _serve(theirs, keep, networks, disks)
            finally:
                os._exit(0)
        theirs.close()

    def ask(self, kind: bytes, *fields: bytes) -> None:
        """Ask for one more of `kind`, unless that has been asked for already."""
        if kind not in self.asked and self.pid:
            self.asked.add(kind)
            self._send(wire.pack(kind, *fields), [])

    def discard(self, disk: Disk) -> None:
        """Throw away a disk on a loop device: the helper will be the last to hold it."""
        self._send(wire.pack(DISCARD, b"%d" % disk.mib), [disk.mount, disk.device])
        os.close(disk.mount)
        os.close(disk.device)

    def _send(self, message: bytes, descriptors: list[int]) -> None:
        try:
            wire.send(self.channel, message, descriptors)
        except OSError:
            self.pid = 0

    def take(self) -> tuple[list[bytes], list[int]]:
        """What has come; empty when the helper has died."""
        message, descriptors = wire.receive(self.channel)
        if not message:
            self.pid = 0
            self.asked.clear()
            return [], []
        fields = wire.unpack(message)
        self.asked.discard(fields[0])
        return fields, descriptors

    def close(self) -> None:
        """Let it finish what it was asked, and wait for its end."""
        self.channel.close()
        with contextlib.suppress(ChildProcessError):
            if self.pid:
                os.waitpid(self.pid, 0)


def _pair() -> tuple[_socket.socket, _socket.socket]:
    first, second = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    return first, second


def _serve(channel: _socket.socket, keep: int, networks: NetworkMaker, disks: LoopDisks | None) -> None:
    while True:
        message, descriptors = wire.receive(channel)
        if not message:
            return
        kind, *fields = wire.unpack(message)
        made: list[int] = []
        try:
            if kind == NETWORK:
                netns, listeners = networks.make()
                made = [netns, *listeners]
            elif kind == DISK and disks is not None:
                disk = disks.make(int(fields[0]))
                made = [disk.mount, disk.device]
            elif kind == DISCARD:
                Disk(int(fields[0]), descriptors[0], "", descriptors[1]).discard()
                continue
            wire.send(channel, wire.pack(kind, *fields), made)
        except Exception as error:
            wire.send(channel, wire.pack(kind, BROKEN, str(error).encode("utf-8", "replace")[:500]))
        finally:
            for descriptor in made:
                os.close(descriptor)
