"""One environment made by the sandbox host, as the server has it: descriptors, and what it says and is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping
from typing import Protocol

from alonzo.sandbox import cgroups, footprint, watchdog, wire
from alonzo.sandbox.base import (
    AWS_PORT,
    INSIDE_ADDRESS,
    RUNTIME_API_PORT,
    ExecError,
    Exit,
    SandboxError,
    Spec,
)
from alonzo.sandbox.companion import NamespaceCompanion
from alonzo.sandbox.status import STATUS

_END_TIMEOUT_S = 30.0


class Unanswered(SandboxError):
    """The host has not answered in time; it may still do what it was asked."""


class Owner(Protocol):
    """What an environment needs of its sandbox."""

    def send(self, kind: bytes, id: str, *fields: bytes) -> None:
        """Queue a message for the host."""

    async def ask(self, kind: bytes, id: str) -> None:
        """Send and wait for the answer."""

    async def request(self, kind: bytes, id: str, *fields: bytes) -> tuple[bytes, list[int]]:
        """Ask the host about a living environment: the request's number and descriptors, or SandboxError."""

    def forget(self, environment: NamespaceEnvironment) -> None:
        """`environment` has been released."""


class _Control:
    """The descriptors of one environment's control files, and the names of those that are only read."""

    def __init__(self, version: int, names: list[str], freeze: int, quota: int) -> None:
        self.version = version
        self.processes, self.oom = (names[0], names[1]) if len(names) == 2 else ("", "")
        self.memory = self.oom.rpartition("/")[0]
        self.freeze = freeze
        self.quota = quota

    def close(self) -> None:
        for descriptor in (self.freeze, self.quota):
            if descriptor >= 0:
                os.close(descriptor)
        self.freeze = self.quota = -1


class NamespaceSnapshot:
    """A snapshot that the host keeps; see `base.Snapshot`."""

    def __init__(self, id: str, owner: Owner) -> None:
        self.id = id
        self._owner = owner
        self._discarded = False

    def discard(self) -> None:
        """See `base.Snapshot.discard`."""
        if not self._discarded:
            self._discarded = True
            with contextlib.suppress(SandboxError):  # the host has died, and its snapshots with it
                self._owner.send(wire.FORGET, self.id)


class NamespaceEnvironment:
    """A process tree in namespaces of its own; see `base.Environment`."""

    runtime_api_address = f"{INSIDE_ADDRESS}:{RUNTIME_API_PORT}"
    aws_address = f"{INSIDE_ADDRESS}:{AWS_PORT}"

    def __init__(self, spec: Spec, owner: Owner, fields: list[bytes], descriptors: list[int]) -> None:
        self.id = spec.id
        self._spec = spec
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.init_pid = int(fields[0])
        has_freeze, has_quota, has_gate = (flag == b"1" for flag in fields[3].split())
        self.runtime_api, self.aws = (socket.socket(fileno=each) for each in descriptors[:2])
        for listener in (self.runtime_api, self.aws):
            listener.setblocking(False)
        self.output, self.telemetry, self._error, self._status = descriptors[2:6]
        controls = descriptors[6:]
        freeze = controls.pop(0) if has_freeze else -1
        quota = controls.pop(0) if has_quota else -1
        self._gate = controls.pop(0) if has_gate else -1
        self._companions: list[NamespaceCompanion] = []
        self._control = _Control(int(fields[1]), wire.split(fields[2]), freeze, quota)
        self._started: asyncio.Future[bytes] = self._loop.create_future()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._peak = 0
        self._frozen = False
        self._killed = self._released = False
        self._said = b""
        self._loop.add_reader(self._error, self._read_error)
        self._loop.add_reader(self._status, self._read_status)

    # -- what the host and the kernel tell -------------------------------------------------------------------------

    def _read_error(self) -> None:
        """Until the program is executed, which closes the pipe, or something failed, which is then written there."""
        said = os.read(self._error, 4096)
        self._said += said
        if said:
            return
        self._loop.remove_reader(self._error)
        os.close(self._error)
        self._error = -1
        if not self._started.done():
            self._started.set_result(self._said)

    def _read_status(self) -> None:
        """init writes the first process's wait status; if it was killed itself, the pipe just ends."""
        said = os.read(self._status, STATUS.size)
        self._loop.remove_reader(self._status)
        os.close(self._status)
        self._status = -1
        if len(said) == STATUS.size:
            status, peak = STATUS.unpack(said)
            self._peak = max(self._peak, peak)
            code = os.waitstatus_to_exitcode(status)
            oom = code == -signal.SIGKILL and self._out_of_memory()
            self._settle(Exit.of(code, oom=oom))
        elif self._gone.done():
            self._settle(Exit(None, signal.SIGKILL))

    def _settle(self, ended: Exit) -> None:
        if not self._exit.done():
            self._exit.set_result(ended)

    def _out_of_memory(self) -> bool:
        if self._killed or not self._control.oom:
            return False
        with contextlib.suppress(OSError):
            for line in cgroups.read(self._control.oom).splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count) > 0
        return False

    def ended(self, oom: bool = False) -> None:
        """The host says that nothing of the tree is left; `oom`: its watchdog ended it."""
        if not self._gone.done():
            self._gone.set_result(None)
        if oom or self._status < 0:
            self._settle(Exit(None, signal.SIGKILL, oom=oom))

    async def started(self) -> None:
        """Wait until the program is executed; SandboxError or ExecError if it could not be."""
        said = await self._started
        if not said:
            return
        stage, number, text = said.split(b"\0", 2)
        if stage == b"exec":
            raise ExecError(self._spec.argv[0], int(number))
        if stage == b"cwd":
            raise ExecError(self._spec.cwd, int(number))
        raise SandboxError(f"the sandbox could not be made: {text.decode('utf-8', 'replace')}")

    # -- base.Environment ------------------------------------------------------------------------------------------

    async def wait(self) -> Exit:
        """See `base.Environment.wait`."""
        return await asyncio.shield(self._exit)

    async def go(self) -> None:
        """One byte."""
        gate, self._gate = self._gate, -1
        if gate >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(gate, b"1")
            os.close(gate)
        async with asyncio.timeout(_END_TIMEOUT_S):
            await self.started()

    async def spawn(self, argv: tuple[str, ...], env: Mapping[str, str], cwd: str) -> NamespaceCompanion:
        """See `base.Environment.spawn`."""
        words: list[tuple[str, ...]] = [argv, tuple(f"{name}={value}" for name, value in env.items()), (cwd,)]
        try:
            fields = [wire.join(each) for each in words]
        except wire.WireError as error:
            raise SandboxError(f"the program's description cannot be sent: {error}") from error
        number, descriptors = await self._owner.request(wire.SPAWN, self.id, *fields)

        async def send(signal_number: int) -> None:
            with contextlib.suppress(SandboxError):  # the environment has ended meanwhile
                await self._owner.request(wire.SIGNAL, self.id, number, b"%d" % signal_number)

        companion = NamespaceCompanion(argv, descriptors, send)
        self._companions.append(companion)
        await companion.started()
        return companion

    async def signal(self, number: int) -> None:
        """See `base.Environment.signal`."""
        if not self._exit.done():
            with contextlib.suppress(SandboxError):
                await self._owner.request(wire.SIGNAL, self.id, b"", b"%d" % number)

    async def open_socket(self) -> socket.socket:
        """See `base.Environment.open_socket`."""
        _, descriptors = await self._owner.request(wire.SOCKET, self.id)
        return socket.socket(fileno=descriptors[0])

    async def snapshot(self, frame: int, most_mib: int) -> NamespaceSnapshot:
        """See `base.Environment.snapshot`."""
        snapshot = NamespaceSnapshot(self.id, self._owner)
        try:
            await self._owner.request(wire.SNAPSHOT, self.id, b"%d" % frame, b"%d" % (most_mib << 20))
        except (Unanswered, asyncio.CancelledError):
            snapshot.discard()
            raise
        return snapshot

    async def limit_cpu(self) -> None:
        """One write of the quota."""
        if self._control.version == 0:
            self._tell(wire.LIMIT_CPU)
        if self._control.quota < 0:
            return
        quota = cgroups.quota_us(self._spec.memory_mib)
        text = f"{quota} {cgroups.PERIOD_US}" if self._control.version == 2 else str(quota)
        os.write(self._control.quota, text.encode())

    async def freeze(self) -> None:
        """One write; the kernel stops the tree within a millisecond."""
        self._peak_now()
        self._freeze(True)

    async def thaw(self) -> None:
        """One write."""
        self._freeze(False)

    def _freeze(self, frozen: bool) -> None:
        if self._frozen == frozen or self._exit.done():
            return
        self._frozen = frozen
        if self._control.freeze >= 0:
            words = (b"THAWED", b"FROZEN") if self._control.version == 1 else (b"0", b"1")
            os.write(self._control.freeze, words[frozen])
        elif self._control.version == 0:
            self._tell(wire.FREEZE if frozen else wire.THAW)

    def _tell(self, kind: bytes) -> None:
        """Without control groups the host's watchdog does it."""
        with contextlib.suppress(SandboxError):  # the host has died, and the tree with it
            self._owner.send(kind, self.id)

    def processes(self) -> list[int]:
        """The ids, as seen outside, of the tree's processes without init."""
        if self._control.processes:
            with contextlib.suppress(OSError):
                return [int(pid) for pid in cgroups.read(self._control.processes).split()]
            return []
        return watchdog.descendants(self.init_pid)

    def _peak_now(self) -> None:
        """The kernel keeps each process's own peak: only those that came and went since the last look are missed."""
        total = 0
        for pid in self.processes():
            total += _high_water(pid)
        self._peak = max(self._peak, total)

    def memory_peak(self) -> int:
        """The sum of the processes' peak resident memory: what AWS calls Max Memory Used counts no page cache.

        It takes 0.1 ms and more, for /proc is slow.
        """
        if not self._exit.done():
            self._peak_now()
        elif self._exit.result().oom:
            return self._spec.memory_mib << 20
        return min(self._peak, self._spec.memory_mib << 20)

    async def memory(self) -> tuple[int, int]:
        """See `base.Environment.memory`. With control groups two reads, of 50 µs together."""
        if self._exit.done():
            return 0, 0
        if self._control.memory:
            return footprint.charged(self._control.memory, self._control.version)
        return await asyncio.to_thread(footprint.resident, [self.init_pid, *self.processes()]), 0

    async def reclaim(self) -> None:
        """One write, which takes a third of a millisecond of the processor and may wait much longer."""
        if self._frozen and self._control.memory and not self._exit.done():
            await asyncio.to_thread(footprint.give_back, self._control.memory, self._control.version)

    async def kill(self) -> None:
        """SIGKILL init, and so the tree."""
        if not self._exit.done():
            self._peak_now()
            self._killed = True
        if not self._gone.done():
            self._owner.send(wire.KILL, self.id)
            async with asyncio.timeout(_END_TIMEOUT_S):
                await asyncio.shield(self._gone)
        if self._status >= 0:
            await asyncio.shield(self._exit)

    async def release(self) -> None:
        """Give everything back."""
        if self._released:
            return
        self._released = True
        try:
            await self.kill()
            self._close()
            await self._owner.ask(wire.RELEASE, self.id)
        finally:
            self._owner.forget(self)

    def _close(self) -> None:
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1
        for companion in self._companions:
            companion.close()
        self.runtime_api.close()
        self.aws.close()
        for name in ("_error", "_status"):
            if getattr(self, name) >= 0:
                self._loop.remove_reader(getattr(self, name))
        for name in ("output", "telemetry", "_error", "_status"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)
        self._control.close()

    def lost(self) -> None:
        """The host has died, and the tree with it."""
        self._freeze(False)  # frozen processes of version 1 cannot die
        self.ended()
        if not self._started.done():
            self._started.set_result(b"sandbox\0" + b"0\0the sandbox host has died")


def _high_water(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in cgroups.read(f"/proc/{pid}/status").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
