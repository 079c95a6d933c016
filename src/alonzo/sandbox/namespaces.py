"""Environments isolated by Linux namespaces: the server's side of the sandbox host (`host`).

The server itself needs no privilege for any of this: it asks the host, and gets descriptors back (listening sockets,
pipes, and the control files with which it freezes and thaws by a single write).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from alonzo.sandbox import cgroups, watchdog, wire
from alonzo.sandbox.base import (
    AWS_PORT,
    INSIDE_ADDRESS,
    RUNTIME_API_PORT,
    Enforcement,
    ExecError,
    Exit,
    SandboxError,
    Spec,
)

_START_TIMEOUT_S = 20.0
_CREATE_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 30.0
_TELEMETRY_FD = 62
_STATUS = struct.Struct("=iq")  # as in `enter`, which this side does not import
#: -I and -S: nothing of the caller's environment, user site or site-packages reaches the privileged process. What it is
#: told comes by variables, because its command line can be read inside (it is process 1's there).
_CODE = (
    "from os import environ as e; import sys; sys.path.insert(0, e['PACKAGE']); "
    "from alonzo.sandbox.host import main; main(int(e['SOCKET']), e['FOLDER'])"
)


class _Control:
    """The descriptors of one environment's control files, and the names of those that are only read."""

    def __init__(self, version: int, names: list[str], freeze: int, quota: int) -> None:
        self.version = version
        self.processes, self.oom = (names[0], names[1]) if len(names) == 2 else ("", "")
        self.freeze = freeze
        self.quota = quota

    def close(self) -> None:
        for descriptor in (self.freeze, self.quota):
            if descriptor >= 0:
                os.close(descriptor)
        self.freeze = self.quota = -1


class NamespaceEnvironment:
    """A process tree in namespaces of its own; see `base.Environment`."""

    runtime_api_address = f"{INSIDE_ADDRESS}:{RUNTIME_API_PORT}"
    aws_address = f"{INSIDE_ADDRESS}:{AWS_PORT}"

    def __init__(self, spec: Spec, owner: NamespaceSandbox, fields: list[bytes], descriptors: list[int]) -> None:
        self.id = spec.id
        self._spec = spec
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.init_pid = int(fields[0])
        has_freeze, has_quota = (flag == b"1" for flag in fields[3].split())
        self.runtime_api, self.aws = (socket.socket(fileno=each) for each in descriptors[:2])
        for listener in (self.runtime_api, self.aws):
            listener.setblocking(False)
        self.output, self.telemetry, self._error, self._status = descriptors[2:6]
        controls = descriptors[6:]
        freeze = controls.pop(0) if has_freeze else -1
        quota = controls.pop(0) if has_quota else -1
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
        said = os.read(self._status, _STATUS.size)
        self._loop.remove_reader(self._status)
        os.close(self._status)
        self._status = -1
        if len(said) == _STATUS.size:
            status, peak = _STATUS.unpack(said)
            self._peak = max(self._peak, peak)
            code = os.waitstatus_to_exitcode(status)
            oom = code == -signal.SIGKILL and self._out_of_memory()
            self._settle(Exit(code, None) if code >= 0 else Exit(None, -code, oom))
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
        total = 0
        for pid in self.processes():
            total += _high_water(pid)
        self._peak = max(self._peak, total)

    def memory_peak(self) -> int:
        """The sum of the processes' peak resident memory: what AWS calls Max Memory Used counts no page cache."""
        if not self._exit.done():
            self._peak_now()
        elif self._exit.result().oom:
            return self._spec.memory_mib << 20
        return min(self._peak, self._spec.memory_mib << 20)

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


class NamespaceSandbox:
    """Makes environments through the sandbox host; see `base.Sandbox`. `folder` holds /tmp images while they live."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._lines: list[Enforcement] = []
        self._summary = "namespaces (not started)"
        self._living: dict[str, NamespaceEnvironment] = {}
        self._creating: dict[str, tuple[Spec, asyncio.Future[NamespaceEnvironment]]] = {}
        self._asked: dict[tuple[bytes, str], asyncio.Future[None]] = {}
        self._outbox: deque[bytes] = deque()
        self._ready: asyncio.Future[list[bytes]] | None = None

    # -- start and stop --------------------------------------------------------------------------------------------

    def _command(self) -> list[str]:
        """The host's argument vector. Its first word must be the interpreter's path, from which it finds its library."""
        return [sys.executable, "-I", "-S", "-c", _CODE]

    async def start(self) -> None:
        """Start the host and wait until it has set up the machine."""
        if not sys.platform.startswith("linux"):
            raise SandboxError("namespaces exist on Linux only: choose the process isolation")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:  # eight descriptors for each environment
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * wire.MAX_MESSAGE)
        ours.setblocking(False)
        told = {"PACKAGE": str(Path(__file__).parents[2]), "SOCKET": str(theirs.fileno()), "FOLDER": str(self._folder)}
        try:
            self._process = subprocess.Popen(
                self._command(),
                env={"LC_ALL": "C.UTF-8", **told},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise SandboxError(f"the sandbox host cannot be started: {error}") from error
        finally:
            theirs.close()
        self._channel = ours
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        loop.add_reader(ours.fileno(), self._receive)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                fields = await self._ready
        except TimeoutError:
            await self.stop()
            raise SandboxError(f"the sandbox host did not answer within {_START_TIMEOUT_S:.0f} s") from None
        except SandboxError:
            await self.stop()
            raise
        self._summary = fields.pop(0).decode()
        self._lines = [
            Enforcement(name.decode(), flag == b"1", detail.decode(), mend.decode())
            for name, flag, detail, mend in zip(*(fields[each::4] for each in range(4)), strict=True)
        ]

    async def stop(self) -> None:
        """Kill every environment and end the host."""
        for environment in list(self._living.values()):
            with contextlib.suppress(SandboxError, TimeoutError):
                await environment.release()
        process, self._process = self._process, None
        if self._channel is not None:
            with contextlib.suppress(SandboxError):
                self.send(wire.STOP, "")
            self._hang_up()
        if process is not None:
            try:
                await asyncio.to_thread(process.wait, _END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
            with contextlib.suppress(OSError):
                self._folder.rmdir()

    def _hang_up(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            asyncio.get_running_loop().remove_writer(self._channel.fileno())
            self._channel.close()
            self._channel = None
        self._outbox.clear()

    @property
    def summary(self) -> str:
        """The isolation in force, as the host found the machine."""
        return self._summary

    def enforcements(self) -> Sequence[Enforcement]:
        """As the host found the machine; empty before `start`."""
        return list(self._lines)

    # -- messages --------------------------------------------------------------------------------------------------

    def send(self, kind: bytes, id: str, *fields: bytes) -> None:
        """Queue a message for the host."""
        if self._channel is None:
            raise SandboxError("the sandbox host is not running: start the server again")
        try:
            message = wire.pack(kind, id.encode(), *fields)
        except wire.WireError as error:
            raise SandboxError(f"the environment's description cannot be sent: {error}") from error
        self._outbox.append(message)
        self._flush()

    def _flush(self) -> None:
        channel = self._channel
        if channel is None:
            return
        loop = asyncio.get_running_loop()
        while self._outbox:
            try:
                wire.send(channel, self._outbox[0])
            except BlockingIOError:
                loop.add_writer(channel.fileno(), self._flush)
                return
            except OSError:
                self._lost()
                return
            self._outbox.popleft()
        loop.remove_writer(channel.fileno())

    async def ask(self, kind: bytes, id: str) -> None:
        """Send and wait for the answer (only RELEASE has one of its own)."""
        if self._channel is None:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[wire.RELEASED, id] = future
        self.send(kind, id)
        async with asyncio.timeout(_END_TIMEOUT_S):
            await future

    def _receive(self) -> None:
        assert self._channel is not None
        for _ in range(64):
            try:
                message, descriptors = wire.receive(self._channel)
            except BlockingIOError:
                return
            except OSError:
                message, descriptors = b"", []
            if not message:
                self._lost()
                return
            self._handle(wire.unpack(message), descriptors)
            if self._channel is None:
                return

    def _handle(self, fields: list[bytes], descriptors: list[int]) -> None:
        kind, id = fields[0], fields[1].decode() if len(fields) > 1 else ""
        if kind == wire.READY and self._ready is not None and not self._ready.done():
            self._ready.set_result(fields[1:])
        elif kind == wire.CREATED:
            self._created(id, fields[2:], descriptors)
        elif kind == wire.FAILED:
            error = SandboxError(fields[2].decode("utf-8", "replace"))
            if id in self._creating:
                self._creating.pop(id)[1].set_exception(error)
            elif self._ready is not None and not self._ready.done():
                self._ready.set_exception(error)
        elif kind == wire.ENDED and id in self._living:
            self._living[id].ended(oom=fields[2] == wire.OOM)
        elif kind == wire.RELEASED and (kind, id) in self._asked:
            future = self._asked.pop((kind, id))
            if not future.done():
                future.set_result(None)

    def _created(self, id: str, fields: list[bytes], descriptors: list[int]) -> None:
        spec, future = self._creating.pop(id)
        environment = NamespaceEnvironment(spec, self, fields, descriptors)
        self._living[id] = environment
        if future.done():  # whoever wanted it has gone
            task = asyncio.ensure_future(environment.release())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        else:
            future.set_result(environment)

    def _lost(self) -> None:
        """The host has died: the kernel kills its environments, and nothing can be made any more."""
        self._hang_up()
        error = SandboxError("the sandbox host has died: start the server again")
        for _, future in self._creating.values():
            if not future.done():
                future.set_exception(error)
        self._creating.clear()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(None)
        self._asked.clear()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(SandboxError("the sandbox host ended while it started; its output says why"))
        for environment in self._living.values():
            environment.lost()

    # -- environments ----------------------------------------------------------------------------------------------

    async def create(self, spec: Spec) -> NamespaceEnvironment:
        """Make an environment; the answer comes when its program has been executed."""
        if self._channel is None:
            raise SandboxError("the sandbox has not been started: call start() first")
        if spec.id in self._living or spec.id in self._creating:
            raise SandboxError(f"an environment {spec.id!r} is alive already: choose another id")
        environment = await self._request(spec)
        try:
            async with asyncio.timeout(_CREATE_TIMEOUT_S):
                await environment.started()
        except BaseException:
            await environment.release()
            raise
        return environment

    async def _request(self, spec: Spec) -> NamespaceEnvironment:
        if not spec.argv or not spec.id:
            raise SandboxError("an environment needs an id and a program")
        env = {"_LAMBDA_TELEMETRY_LOG_FD": str(_TELEMETRY_FD), **spec.env}
        mounts = [word for mount in spec.mounts for word in (str(mount.source.absolute()), mount.target)]
        numbers = f"{spec.memory_mib} {spec.tmp_mib} {spec.pids} {spec.nofile} {int(spec.internet)}"
        try:
            words = [spec.argv, [f"{name}={value}" for name, value in env.items()], [spec.cwd], mounts]
            fields = [wire.join(tuple(each)) for each in words]
        except wire.WireError as error:
            raise SandboxError(f"the environment's description cannot be sent: {error}") from error
        future: asyncio.Future[NamespaceEnvironment] = asyncio.get_running_loop().create_future()
        self._creating[spec.id] = (spec, future)
        try:
            self.send(wire.CREATE, spec.id, *fields, numbers.encode(), spec.tmp_of.encode())
        except SandboxError:
            self._creating.pop(spec.id, None)
            raise
        async with asyncio.timeout(_CREATE_TIMEOUT_S):
            return await future

    def forget(self, environment: NamespaceEnvironment) -> None:
        """`environment` has been released."""
        if self._living.get(environment.id) is environment:
            del self._living[environment.id]
