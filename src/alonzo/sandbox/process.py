"""Environments without isolation: a plain process on this machine (macOS, or where the kernel allows no namespaces).

A plain process cannot have its own /var/task or its own 169.254.100.1. So wherever a mount's target, or one of the two
inside addresses, stands in `argv`, `env` or `cwd`, it is replaced by the mount's source or by the 127.0.0.1 address of
the socket. `/tmp` becomes a folder of the environment's own, named by TMPDIR. Code that spells such paths out in itself
sees the machine's real ones; `enforcements()` says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from alonzo.sandbox import footprint, watchdog
from alonzo.sandbox.base import (
    AWS_PORT,
    INSIDE_ADDRESS,
    RUNTIME_API_PORT,
    Enforcement,
    ExecError,
    Exit,
    Mount,
    SandboxError,
    Snapshot,
    Spec,
    Zygote,
)

_MEND = "run on Linux, as root or with user namespaces (alonzo doctor names what is missing)"


def remap(text: str, mounts: Sequence[Mount]) -> str:
    """Replace every mount target that stands as a whole path in `text` by its source; the longest target wins."""
    if not mounts:
        return text
    sources = {mount.target.rstrip("/"): str(mount.source) for mount in mounts}
    targets = "|".join(re.escape(target) for target in sorted(sources, key=len, reverse=True))
    # A path starts the text or follows a separator (PATH's ":", an option's "=", a blank), and ends at "/", a
    # separator or the end: "/var/tasks" and "/x/var/task" are other paths.
    return re.sub(rf"(?<![\w./-])({targets})(?![\w.-])", lambda match: sources[match.group(1)], text)


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    listener.setblocking(False)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


class ProcessCompanion:
    """See `base.Companion`."""

    def __init__(self, owner: ProcessEnvironment, argv: tuple[str, ...], env: Mapping[str, str], cwd: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self.output, end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [owner.outside(word) for word in argv],
                env={"TMPDIR": str(owner.tmp)} | {name: owner.outside(value) for name, value in env.items()},
                cwd=owner.outside(cwd),
                stdin=subprocess.DEVNULL,
                stdout=end,
                stderr=end,
                start_new_session=True,
            )
        except OSError as error:
            os.close(self.output)
            raise ExecError(argv[0], error.errno or 0) from error
        finally:
            os.close(end)
        threading.Thread(target=self._reap, name=f"wait-{owner.id}-companion", daemon=True).start()

    def _reap(self) -> None:
        code = self._process.wait()
        ended = Exit.of(code)
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._ended, ended)

    def _ended(self, ended: Exit) -> None:
        if not self._exit.done():
            self._exit.set_result(ended)

    async def wait(self) -> Exit:
        """See `base.Companion.wait`."""
        return await asyncio.shield(self._exit)

    async def signal(self, number: int) -> None:
        """See `base.Companion.signal`."""
        if not self._exit.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def close(self) -> None:
        """The environment is given back."""
        if self.output >= 0:
            os.close(self.output)
            self.output = -1


class ProcessEnvironment:
    """A process group of its own; see `base.Environment`."""

    def __init__(self, spec: Spec, tmp: Path, owner: ProcessSandbox) -> None:
        self.id = spec.id
        self.tmp = tmp
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._peak = 0
        self._killed = False
        self.runtime_api = _listen()
        self.aws = _listen()
        self.runtime_api_address = _address(self.runtime_api)
        self.aws_address = _address(self.aws)
        self._spec = spec
        self._process: subprocess.Popen[bytes] | None = None
        self._companions: list[ProcessCompanion] = []
        self.output, output_end = os.pipe()
        self.telemetry, telemetry_end = os.pipe()
        self._ends = (output_end, telemetry_end)
        if not spec.gated:
            self._begin()

    def _begin(self) -> None:
        (output_end, telemetry_end), self._ends = self._ends, (-1, -1)
        try:
            self._process = self._spawn(self._spec, output_end, telemetry_end)
        except BaseException:
            self._close()
            raise
        finally:
            os.close(output_end)
            os.close(telemetry_end)
        threading.Thread(target=self._reap, name=f"wait-{self.id}", daemon=True).start()

    async def go(self) -> None:
        """Start the program."""
        if self._killed:
            raise SandboxError("the environment has ended")
        self._begin()

    async def spawn(self, argv: tuple[str, ...], env: Mapping[str, str], cwd: str) -> ProcessCompanion:
        """Another plain process."""
        companion = ProcessCompanion(self, argv, env, cwd)
        self._companions.append(companion)
        return companion

    async def signal(self, number: int) -> None:
        """Only the first process."""
        if self._process is not None and not self._exit.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def open_socket(self) -> socket.socket:
        """A socket of this machine's: there is no other network."""
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        return made

    async def snapshot(self, frame: int, most_mib: int) -> Snapshot:
        """There are none: nothing here may read another process's memory."""
        raise SandboxError("the process isolation takes no snapshots")

    def outside(self, text: str) -> str:
        """What `text` means on this machine."""
        addresses = {
            f"{INSIDE_ADDRESS}:{RUNTIME_API_PORT}": self.runtime_api_address,
            f"{INSIDE_ADDRESS}:{AWS_PORT}": self.aws_address,
            f"127.0.0.1:{RUNTIME_API_PORT}": self.runtime_api_address,
        }
        for inside, address in addresses.items():
            text = text.replace(inside, address)
        return remap(text, self._spec.mounts)

    def _spawn(self, spec: Spec, output_end: int, telemetry_end: int) -> subprocess.Popen[bytes]:
        outside = self.outside
        env = {name: outside(value) for name, value in spec.env.items()}
        env.setdefault("TMPDIR", str(self.tmp))
        env.setdefault("_LAMBDA_TELEMETRY_LOG_FD", str(telemetry_end))
        argv = [outside(word) for word in spec.argv]
        cwd = outside(spec.cwd)
        if not Path(cwd).is_dir():
            raise ExecError(spec.cwd, 2)
        try:
            return subprocess.Popen(
                argv,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output_end,
                stderr=output_end,
                pass_fds=(telemetry_end,),
                start_new_session=True,
            )
        except OSError as error:
            raise ExecError(spec.argv[0], error.errno or 0) from error

    def _reap(self) -> None:
        assert self._process is not None
        _, status, usage = os.wait4(self._process.pid, 0)
        # Linux counts in KiB, macOS in bytes.
        self._peak = max(self._peak, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
        self._process.returncode = os.waitstatus_to_exitcode(status)
        code = self._process.returncode
        ended = Exit.of(code)
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._ended, ended)

    def _ended(self, ended: Exit) -> None:
        if not self._exit.done():
            self._exit.set_result(ended)

    def _signal(self, number: int) -> None:
        for companion in self._companions:
            companion.signal_group(number)
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def wait(self) -> Exit:
        """See `base.Environment.wait`."""
        return await asyncio.shield(self._exit)

    async def limit_cpu(self) -> None:
        """Not enforced by this backend (`enforcements` says so)."""

    async def freeze(self) -> None:
        """Stop the process group."""
        self._signal(signal.SIGSTOP)

    async def thaw(self) -> None:
        """Let the process group go on."""
        self._signal(signal.SIGCONT)

    def memory_peak(self) -> int:
        """The first process's peak resident memory.

        After its end also that of the largest process it waited for, and at least this server's own peak at the time:
        the kernel counts what a process shared before it executed its program.
        """
        if self._process is None:
            return 0
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self._process.pid}/status").read_text("ascii", "replace").splitlines():
                if line.startswith("VmHWM:"):
                    self._peak = max(self._peak, int(line.split()[1]) * 1024)
        return self._peak

    async def memory(self) -> tuple[int, int]:
        """What its processes have resident, where /proc tells (not on macOS)."""
        if self._process is None or self._exit.done():
            return 0, 0
        pids = [self._process.pid, *watchdog.descendants(self._process.pid)]
        return await asyncio.to_thread(footprint.resident, pids), 0

    async def reclaim(self) -> None:
        """There is nothing by which a plain process could be told to."""

    async def kill(self) -> None:
        """SIGKILL the process group and wait for the first process."""
        self._killed = True
        self._signal(signal.SIGKILL)
        if self._process is None:
            self._ended(Exit(None, signal.SIGKILL))
        for companion in self._companions:
            await companion.wait()
        await self.wait()
        self._signal(signal.SIGKILL)  # what the first process left behind in its group

    def _close(self) -> None:
        for listener in (self.runtime_api, self.aws):
            listener.close()
        for companion in self._companions:
            companion.close()
        for end in self._ends:
            if end >= 0:
                os.close(end)
        self._ends = (-1, -1)
        for name in ("output", "telemetry"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)

    async def release(self) -> None:
        """Close the sockets and pipes, and drop /tmp unless a later environment took it over."""
        await self.kill()
        self._close()
        self._owner.forget(self)


class ProcessSandbox:
    """Makes plain processes; see `base.Sandbox`."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._environments: dict[str, ProcessEnvironment] = {}
        self._tmp: dict[str, Path] = {}

    def launch(self) -> None:
        """Nothing here takes time."""

    async def start(self) -> None:
        """Make the folder that holds the environments' /tmp folders."""
        self._root = Path(tempfile.mkdtemp(prefix="alonzo-process-"))

    async def stop(self) -> None:
        """Kill every environment and remove their folders."""
        for environment in list(self._environments.values()):
            await environment.release()
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root = None

    async def prepare(self, zygote: Zygote) -> bool:
        """There are none here."""
        return False

    async def create(self, spec: Spec) -> ProcessEnvironment:
        """Start the process."""
        if self._root is None:
            raise SandboxError("the sandbox has not been started: call start() first")
        if spec.id in self._environments:
            raise SandboxError(f"an environment {spec.id!r} is alive already: choose another id")
        tmp = self._tmp.pop(spec.tmp_of, None) if spec.tmp_of else None
        if tmp is None:
            tmp = Path(tempfile.mkdtemp(prefix="tmp-", dir=self._root))
        try:
            environment = ProcessEnvironment(spec, tmp, self)
        except BaseException:
            shutil.rmtree(tmp, ignore_errors=True)
            raise
        self._environments[spec.id] = environment
        self._tmp[spec.id] = tmp
        return environment

    def forget(self, environment: ProcessEnvironment) -> None:
        """An environment was released: remove its /tmp unless another one has it."""
        self._environments.pop(environment.id, None)
        tmp = self._tmp.pop(environment.id, None)
        if tmp is not None:
            shutil.rmtree(tmp, ignore_errors=True)

    @property
    def summary(self) -> str:
        """No isolation."""
        return "no isolation: plain processes"

    def enforcements(self) -> Sequence[Enforcement]:
        """Nothing but the process group is enforced, and every line says so."""
        details = {
            "isolation": "functions run as plain processes of this user: host files and processes are in their sight",
            "memory": "no limit: a function can use all the machine's memory",
            "cpu": "no share: a function can use every processor",
            "pids": "no limit of its own on processes and threads",
            "tmp": "/tmp is a plain folder (TMPDIR) without a size limit",
            "filesystem": "not read-only; /var/task and /opt are the real folders, mapped in argv, env and cwd only",
            "network": "the host's network, its loopback included",
            "privileges": "the server's own uid, no seccomp filter",
            "kill": "processes that leave their process group survive a kill",
        }
        return [Enforcement(name, False, detail, _MEND) for name, detail in details.items()]
