"""The host's helper: it does what makes the kernel wait (network namespaces, loop devices), so the host need not.

A forked child of the host, in the same namespaces, with one request at a time over a socket of its own. Whatever it
makes are descriptors, so it needs no names. When it dies, the host makes what it needs itself, except ways to the
internet: those the helper alone can make, because it holds their filter. It ends when the host's end of the socket
does.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would import enum
import _socket
import contextlib
import os

from alonzo.sandbox import network, syscalls, wire
from alonzo.sandbox.netns import NetworkMaker
from alonzo.sandbox.tmpdisk import Disk, LoopDisks

# Requests. NETWORK has no way out, LINKED has one; both take the key by which DETACH gives it back.
NETWORK, LINKED, DETACH, DISK, DISCARD = b"network", b"linked", b"detach", b"disk", b"discard"
#: The helper's priority: what it makes is for later; and when it is for now.
_PATIENT, _IMPATIENT = 5, -10
BROKEN = b"broken"  # the second field of an answer: what was asked for could not be made


class Stocker:
    """The host's end. `channel` is readable when something that was asked for is there."""

    def __init__(self, networks: NetworkMaker, disks: LoopDisks | None, *, rootless: bool) -> None:
        self.channel, theirs = _pair()
        self.internet_problem = ""
        self.internet_detail = ""
        self.resolv_conf = b""
        self.asked: set[bytes] = set()
        self._early: list[tuple[list[bytes], list[int]]] = []
        self.pid = syscalls.clone(0)
        if self.pid == 0:
            try:
                self.channel.close()
                os.setpriority(os.PRIO_PROCESS, 0, _PATIENT)
                _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)
                _Helper(theirs, networks, disks, rootless=rootless).serve()
            finally:
                os._exit(0)
        theirs.close()

    def learn(self) -> None:
        """Wait until the helper has found out about the internet, which it does first of all."""
        fields, _ = self.take()
        if fields:
            self.internet_problem, self.internet_detail = (field.decode("utf-8", "replace") for field in fields[1:3])
            self.resolv_conf = fields[3]

    def ask(self, kind: bytes, *fields: bytes) -> None:
        """Ask for one more of `kind`, unless that has been asked for already."""
        if kind not in self.asked and self.pid:
            self.asked.add(kind)
            self._send(wire.pack(kind, *fields), [])

    def detach(self, key: int) -> None:
        """A LINKED network is not used any more."""
        self._send(wire.pack(DETACH, b"%d" % key), [])

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

    def next(self) -> tuple[list[bytes], list[int]]:
        """What came while `wait` waited for something else; then what comes."""
        return self._early.pop(0) if self._early else self.take()

    def wait(self, kind: bytes, field: bytes, *, any_will_do: bool = True) -> tuple[bytes, list[int]]:
        """Wait for one of `kind`, asking for it if nobody has: its field, and descriptors.

        RuntimeError or OSError says why there is none. Not `any_will_do`: only an answer to `field` counts.
        """
        for index, (fields, descriptors) in enumerate(self._early):
            if any_will_do and fields[0] == kind and BROKEN not in fields[1:2]:
                del self._early[index]
                return fields[1], descriptors
        if self.pid and not (any_will_do and kind in self.asked):
            self._send(wire.pack(kind, field), [])
        self._hurry(_IMPATIENT)
        try:
            return self._await(kind, field, any_will_do)
        finally:
            self._hurry(_PATIENT)

    def _hurry(self, priority: int) -> None:
        """While somebody waits for it, the helper must not wait for those who wait for somebody else."""
        with contextlib.suppress(OSError):  # not without root
            os.setpriority(os.PRIO_PROCESS, self.pid, priority)

    def _await(self, kind: bytes, field: bytes, any_will_do: bool) -> tuple[bytes, list[int]]:
        while self.pid:
            fields, descriptors = self.take()
            if fields[:1] == [kind] and BROKEN in fields[1:2]:
                raise RuntimeError(fields[2].decode("utf-8", "replace"))
            if fields[:1] == [kind] and (any_will_do or fields[1] == field):
                return fields[1], descriptors
            if fields:
                self._early.append((fields, descriptors))
        raise OSError(32, "the sandbox host's helper has died: start the server again")

    @property
    def early(self) -> bool:
        """Whether `next` answers at once."""
        return bool(self._early)

    def close(self) -> None:
        """Let it finish what it was asked, and wait for its end."""
        self.channel.close()
        with contextlib.suppress(ChildProcessError):
            if self.pid:
                os.waitpid(self.pid, 0)


def _pair() -> tuple[_socket.socket, _socket.socket]:
    first, second = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    return first, second


class _Helper:
    """The helper's end."""

    def __init__(
        self, channel: _socket.socket, networks: NetworkMaker, disks: LoopDisks | None, *, rootless: bool
    ) -> None:
        self.channel = channel
        self.networks = networks
        self.disks = disks
        self.provider: network.Provider | None = None
        problem = detail = ""
        resolv_conf = b""
        try:
            self.provider = network.start(rootless)
            detail, resolv_conf = self.provider.detail, self.provider.resolv_conf
        except (OSError, RuntimeError) as error:
            problem = str(error)
        wire.send(channel, wire.pack(b"internet", problem.encode(), detail.encode(), resolv_conf))

    def serve(self) -> None:
        """Until the host goes."""
        while True:
            message, descriptors = wire.receive(self.channel)
            if not message:
                break
            kind, *fields = wire.unpack(message)
            made: list[int] = []
            try:
                made = self._do(kind, fields, descriptors)
                if made:
                    wire.send(self.channel, wire.pack(kind, *fields), made)
            except Exception as error:
                self._say_broken(kind, error)
            finally:
                for descriptor in made:
                    os.close(descriptor)
        if self.provider is not None:
            self.provider.close()

    def _say_broken(self, kind: bytes, error: Exception) -> None:
        with contextlib.suppress(OSError):
            wire.send(self.channel, wire.pack(kind, BROKEN, str(error).encode("utf-8", "replace")[:500]))

    def _do(self, kind: bytes, fields: list[bytes], descriptors: list[int]) -> list[int]:
        if kind == DISK and self.disks is not None:
            disk = self.disks.make(int(fields[0]))
            return [disk.mount, disk.device]
        if kind in (NETWORK, LINKED):
            netns, listeners = self.networks.make()
            try:
                if kind == LINKED:
                    if self.provider is None:
                        raise OSError(95, "functions have no outbound internet here")
                    self.provider.attach(netns, int(fields[0]))
            except BaseException:
                for descriptor in (netns, *listeners):
                    os.close(descriptor)
                raise
            return [netns, *listeners]
        if kind == DETACH and self.provider is not None:
            self.provider.detach(int(fields[0]))
        if kind == DISCARD:
            Disk(int(fields[0]), descriptors[0], "", descriptors[1]).discard()
        return []
