"""The sandbox host: a small, single-threaded process that holds the privileges and makes environments.

It is started by `namespaces.NamespaceSandbox`, talks `wire` over the socket it was given, lives in a mount namespace of
its own (so every mount vanishes with it), and ends when the server does. It imports nothing large: its memory is what
every environment's init shares, and a later zygote forks from here. `machine` says what it found and could set up.
"""

from __future__ import annotations

import _signal
import _socket
import contextlib
import os
import select
import sys
from collections.abc import Callable

from alonzo.sandbox import enter, syscalls, wire
from alonzo.sandbox.confine import UidBlock
from alonzo.sandbox.machine import Machine
from alonzo.sandbox.mounts import View, passwd
from alonzo.sandbox.stock import Slot
from alonzo.sandbox.tmpdisk import Disk, DiskFull

_IDLE_MS = 20  # how long nobody must have asked for anything before the stock is filled up


class _Gone(BaseException):
    """The server has gone, or wants us to go."""


class Living:
    """One environment, from its creation to its release."""

    __slots__ = ("disk", "id", "pid", "pidfd", "slot", "uid")

    def __init__(self, id: bytes, slot: Slot, disk: Disk, uid: int) -> None:
        self.id = id
        self.slot = slot
        self.disk: Disk | None = disk
        self.uid = uid
        self.pid = self.pidfd = -1


class Host:
    """Answers the server's messages, one after the other."""

    def __init__(self, control: _socket.socket, folder: str) -> None:
        self.control = control
        self.machine = Machine(folder)
        self.stock = self.machine.stock
        self.place = self.machine.place
        self.uids = None if self.machine.rootless else UidBlock()
        self.living: dict[bytes, Living] = {}
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)
        self.watched: dict[int, Callable[[], None]] = {}
        self.helpers: set[int] = set()

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the server goes."""
        lines = [field for line in self.machine.enforcements() for field in line]
        wire.send(self.control, wire.pack(wire.READY, *(line.encode() for line in lines)))
        stalled = False
        while True:
            ready = self.poll.poll(_IDLE_MS if self.stock.wanting and not stalled else 1000 if stalled else None)
            if not ready:
                stalled = not self.stock.tend()
            for descriptor, _ in ready:
                if descriptor == self.control.fileno():
                    self._receive()
                elif descriptor in self.watched:
                    self.watched[descriptor]()
            if ready:
                stalled = False

    def _receive(self) -> None:
        message, descriptors = wire.receive(self.control)
        for descriptor in descriptors:  # the server sends none
            os.close(descriptor)
        if not message:
            raise _Gone
        fields = wire.unpack(message)
        if fields[0] == wire.CREATE:
            self._create(fields[1:])
        elif fields[0] == wire.KILL:
            self._kill(fields[1])
        elif fields[0] == wire.RELEASE:
            self._release(fields[1])
        elif fields[0] == wire.STOP:
            raise _Gone

    def _reply(self, *fields: bytes, descriptors: list[int] | None = None) -> None:
        try:
            wire.send(self.control, wire.pack(*fields), descriptors)
        except (BrokenPipeError, ConnectionResetError):
            raise _Gone from None

    def _watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        self.watched[descriptor] = callback
        self.poll.register(descriptor, select.POLLIN)

    def _unwatch(self, descriptor: int) -> None:
        del self.watched[descriptor]
        self.poll.unregister(descriptor)
        os.close(descriptor)

    # -- create ----------------------------------------------------------------------------------------------------

    def _create(self, fields: list[bytes]) -> None:
        id = fields[0]
        try:
            if id in self.living:
                raise ValueError(f"an environment {id.decode()!r} is alive already: choose another id")
            self._make(id, fields)
        except (OSError, ValueError, IndexError, DiskFull) as error:
            self._reply(wire.FAILED, id, (str(error) or type(error).__name__).encode("utf-8", "replace"))

    def _make(self, id: bytes, fields: list[bytes]) -> None:
        argv, env, cwd, mounts = (wire.split(field) for field in fields[1:5])
        memory_mib, tmp_mib, pids, nofile, internet = (int(number) for number in fields[5].split())
        pairs = list(zip(mounts[::2], mounts[1::2], strict=True))
        self.place.root.prepare(pairs)
        uid = self.uids.take() if self.uids is not None else -1
        slot = self.stock.slot()
        disk = None
        pipes: list[int] = []
        try:
            disk = self._disk(fields[6], tmp_mib)
            plan = enter.Plan(argv, env, cwd[0], nofile, pids)
            for _ in range(4):
                pipes.extend(os.pipe())
            output, plan.output, telemetry, plan.telemetry, error, plan.error, status, plan.status = pipes
            plan.uid = uid
            plan.netns = slot.netns
            files = self._files(uid)
            if internet:
                files += self.machine.connect(slot)
            plan.view = View(pairs, files, disk.mount, disk.path)
            details = b""
            shared = [*slot.listeners, output, telemetry, error, status]
            if slot.group is not None:
                slot.group.limit(memory_mib + self.machine.allowance(tmp_mib), pids)
                plan.join, plan.into = slot.group.join, slot.group.into
                details = wire.join(slot.group.watched())
                shared += [each for each in (slot.group.freeze, slot.group.quota) if each >= 0]
            living = Living(id, slot, disk, uid)
            living.pid = enter.start(self.place, plan)
            living.pidfd = os.pidfd_open(living.pid)
            self.living[id] = living
            self._watch(living.pidfd, lambda: self._ended(living))
        except BaseException:
            if disk is not None:
                disk.discard()
            if uid >= 0 and self.uids is not None:
                self.uids.give_back(uid)
            self.stock.remove(slot)
            raise
        else:
            controls = b"%d %d" % (
                slot.group is not None and slot.group.freeze >= 0,
                slot.group is not None and slot.group.quota >= 0,
            )
            version = b"%d" % self.machine.group_version
            self._reply(wire.CREATED, id, b"%d" % living.pid, version, details, controls, descriptors=shared)
            slot.close_listeners()
            if slot.group is not None:
                slot.group.close()
        finally:
            for descriptor in pipes:
                os.close(descriptor)

    def _disk(self, tmp_of: bytes, mib: int) -> Disk:
        """A new /tmp, or that of an environment which has ended."""
        former = self.living.get(tmp_of) if tmp_of else None
        if former is None or former.disk is None:
            return self.stock.disk(mib)
        if former.pidfd >= 0:
            raise ValueError(f"the environment {tmp_of.decode()!r} still runs: its /tmp cannot go on elsewhere")
        if former.disk.mib != mib:
            raise ValueError(f"the /tmp of {tmp_of.decode()!r} has {former.disk.mib} MiB, not {mib}")
        former.disk.again()
        disk, former.disk = former.disk, None
        return disk

    def _files(self, uid: int) -> list[tuple[str, str]]:
        """/etc/passwd and /etc/group that know the environment's own uid. Made once per uid."""
        if uid < 0:
            return []
        stem = f"{self.machine.run}/users/{uid}"
        if not os.path.exists(f"{stem}.passwd"):  # noqa: PTH110 (pathlib is too large for the host)
            for kind, text in zip(("passwd", "group"), passwd(uid, uid), strict=True):
                descriptor = os.open(f"{stem}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
                os.write(descriptor, text.encode())
                os.close(descriptor)
        return [(f"{stem}.passwd", "/etc/passwd"), (f"{stem}.group", "/etc/group")]

    # -- the end of an environment ---------------------------------------------------------------------------------

    def _ended(self, living: Living) -> None:
        """init was reaped by nobody yet; when it is, nothing of the environment runs any more."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(living.pid, 0)
        self._unwatch(living.pidfd)
        living.pidfd = -1
        if self.uids is not None:
            self.uids.give_back(living.uid)
        self.machine.disconnect(living.slot)
        self._reply(wire.ENDED, living.id)

    def _kill(self, id: bytes) -> None:
        """SIGKILL init, and with it all; ENDED follows. A frozen tree of version 1 must be thawed to die."""
        living = self.living.get(id)
        if living is None or living.pidfd < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            _signal.pidfd_send_signal(living.pidfd, _signal.SIGKILL)
        if living.slot.group is not None:
            living.slot.group.thaw()

    def _release(self, id: bytes) -> None:
        living = self.living.pop(id, None)
        if living is not None:
            if living.pidfd >= 0:  # the server kills before it releases; be safe
                self.living[id] = living
                self._kill(id)
                self._ended(living)
                del self.living[id]
            self.stock.remove(living.slot)
            if living.disk is not None:
                self._discard(living.disk)
        self._reply(wire.RELEASED, id)

    def _discard(self, disk: Disk) -> None:
        """Unmounting a loop device takes tens of milliseconds, so a helper process does it."""
        if disk.device < 0:
            disk.discard()
            return
        pid = syscalls.clone(0)
        if pid == 0:
            try:
                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, _signal.SIGKILL)
                keep = sorted((disk.mount, disk.device))
                syscalls.close_range(0, keep[0] - 1)
                syscalls.close_range(keep[0] + 1, keep[1] - 1)
                syscalls.close_range(keep[1] + 1)
                disk.discard()
            finally:
                os._exit(0)
        helper = os.pidfd_open(pid)

        def done() -> None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            self._unwatch(helper)
            os.close(disk.mount)
            os.close(disk.device)

        self._watch(helper, done)

    def close(self) -> None:
        """Kill everything and give everything back."""
        for id in list(self.living):
            self._kill(id)
        for living in self.living.values():
            if living.pidfd >= 0:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(living.pid, 0)
                self.machine.disconnect(living.slot)
            self.stock.remove(living.slot)
            if living.disk is not None:
                with contextlib.suppress(OSError):
                    living.disk.discard()
        self.stock.close()
        self.machine.close()


def _terminate(number: int, frame: object) -> None:
    raise _Gone


def main(descriptor: int, folder: str) -> None:
    """Be the host: the control socket is `descriptor`, `folder` holds what must lie on disk."""
    # SIGTERM rather than SIGKILL, so that frozen processes are thawed and groups removed; the socket's end says it too.
    _signal.signal(_signal.SIGTERM, _terminate)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, _signal.SIGTERM)
    syscalls.prctl(syscalls.PR_SET_NAME, _address_of(b"alonzo-sandbox\0"))
    control = _socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    control.setblocking(True)
    try:
        host = Host(control, folder)
    except (OSError, ValueError) as error:
        wire.send(control, wire.pack(wire.FAILED, b"", str(error).encode("utf-8", "replace")))
        sys.exit(1)
    try:
        host.run()
    except _Gone:
        pass
    finally:
        _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)
        host.close()
    with contextlib.suppress(OSError):
        wire.send(control, wire.pack(wire.STOPPED))


_NAMES: list[object] = []


def _address_of(text: bytes) -> int:
    import ctypes

    buffer = ctypes.create_string_buffer(text)
    _NAMES.append(buffer)
    return ctypes.addressof(buffer)
