"""Environments isolated by Linux namespaces: the server's side of the sandbox host (`host`).

The server itself needs no privilege for any of this: it asks the host, and gets descriptors back (listening sockets,
pipes, and the control files with which it freezes and thaws by a single write).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from alonzo.sandbox import wire
from alonzo.sandbox.base import Enforcement, SandboxError, Spec, Zygote
from alonzo.sandbox.environment import NamespaceEnvironment, NamespaceSnapshot, Unanswered

log = logging.getLogger(__name__)

_START_TIMEOUT_S = 20.0
_CREATE_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 30.0
_TELEMETRY_FD = 62
#: -I and -S: nothing of the caller's environment, user site or site-packages reaches the privileged process. What it is
#: told comes by variables, because its command line can be read inside (it is process 1's there).
_CODE = (
    "from os import environ as e; import sys; sys.path.insert(0, e['PACKAGE']); "
    "from alonzo.sandbox.host import main; main(int(e['SOCKET']), e['FOLDER'])"
)


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
        self._requests: dict[bytes, asyncio.Future[list[int]]] = {}
        self._count = 0
        #: The keys of zygotes that the host has been told of, and what it said of each.
        self._zygotes: dict[Zygote, bytes] = {}
        self._prepared: dict[bytes, asyncio.Future[bool]] = {}
        self._outbox: deque[bytes] = deque()
        self._ready: asyncio.Future[list[bytes]] | None = None

    # -- start and stop --------------------------------------------------------------------------------------------

    def _command(self) -> list[str]:
        """The host's argument vector; from its first word, a path, the interpreter finds its library."""
        return [sys.executable, "-I", "-S", "-c", _CODE]

    def launch(self) -> None:
        """Start the host; `start` waits until it has set up the machine."""
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
        # A new host has been told of none.
        self._zygotes.clear()
        self._prepared.clear()
        told = {"PACKAGE": str(Path(__file__).parents[2]), "SOCKET": str(theirs.fileno()), "FOLDER": str(self._folder)}
        try:
            # Not asyncio's: its child watcher would need a thread of its own on Python 3.11.
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

    async def start(self) -> None:
        """Wait until the host has set up the machine; start it if it has not been launched."""
        if self._channel is None:
            self.launch()
        assert self._channel is not None
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        loop.add_reader(self._channel.fileno(), self._receive)
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

    async def request(self, kind: bytes, id: str, *fields: bytes) -> tuple[bytes, list[int]]:
        """Ask the host about a living environment: the request's number, and the answer's descriptors."""
        self._count += 1
        number = b"%d" % self._count
        future: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._requests[number] = future
        try:
            self.send(kind, id, number, *fields)
            async with asyncio.timeout(_CREATE_TIMEOUT_S):
                return number, await future
        except TimeoutError:
            raise Unanswered("the sandbox host did not answer") from None
        finally:
            self._requests.pop(number, None)

    def _answered(self, number: bytes, problem: bytes, descriptors: list[int]) -> None:
        future = self._requests.get(number)
        if future is None or future.done():  # whoever asked has gone
            for descriptor in descriptors:
                os.close(descriptor)
        elif problem:
            future.set_exception(SandboxError(problem.decode("utf-8", "replace")))
        else:
            future.set_result(descriptors)

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
        elif kind == wire.ANSWER:
            self._answered(fields[2], fields[3], descriptors)
        elif kind == wire.FAILED:
            error = SandboxError(fields[2].decode("utf-8", "replace"))
            if id in self._creating:
                self._creating.pop(id)[1].set_exception(error)
            elif self._ready is not None and not self._ready.done():
                self._ready.set_exception(error)
        elif kind == wire.ENDED and id in self._living:
            self._living[id].ended(oom=fields[2] == wire.OOM)
        elif kind == wire.PREPARED:
            self._zygote_ready(fields[1], fields[2].decode("utf-8", "replace"))
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
        for request in self._requests.values():
            if not request.done():
                request.set_exception(error)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(None)
        self._asked.clear()
        for key in tuple(self._prepared):
            self._zygote_ready(key, "the sandbox host has died")
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(SandboxError("the sandbox host ended while it started; its output says why"))
        for environment in self._living.values():
            environment.lost()

    # -- zygotes ---------------------------------------------------------------------------------------------------

    async def prepare(self, zygote: Zygote) -> bool:
        """See `base.Sandbox.prepare`."""
        key = self._key(zygote)
        future = self._prepared.get(key)
        if future is None:
            return False
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                return await asyncio.shield(future)
        except TimeoutError:
            return False

    def _key(self, zygote: Zygote) -> bytes:
        """Its key; the host is told of it the first time."""
        key = self._zygotes.get(zygote)
        if key is None:
            env = [f"{name}={value}" for name, value in zygote.env]
            mounts = [word for mount in zygote.mounts for word in (str(mount.source.absolute()), mount.target)]
            fields = [wire.join(tuple(each)) for each in (zygote.argv, env, mounts)]
            key = self._zygotes[zygote] = b"%d" % (len(self._zygotes) + 1)
            self._prepared[key] = asyncio.get_running_loop().create_future()
            self.send(wire.ZYGOTE, key.decode(), *fields, b"%d" % zygote.forks)
        return key

    def _zygote_ready(self, key: bytes, problem: str) -> None:
        """The first word about it counts; the host starts it again by itself."""
        future = self._prepared.get(key)
        if future is not None and not future.done():
            future.set_result(not problem)
            if problem:
                log.warning("Environments are executed, not forked: %s.", problem)

    # -- environments ----------------------------------------------------------------------------------------------

    async def create(self, spec: Spec) -> NamespaceEnvironment:
        """Make an environment; the answer comes when its program has been executed."""
        if self._channel is None:
            raise SandboxError("the sandbox has not been started: call start() first")
        if spec.id in self._living or spec.id in self._creating:
            raise SandboxError(f"an environment {spec.id!r} is alive already: choose another id")
        environment = await self._request(spec)
        if spec.gated:
            return environment
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
        numbers = f"{spec.memory_mib} {spec.tmp_mib} {spec.pids} {spec.nofile} {int(spec.internet)} {int(spec.gated)}"
        numbers += f" {int(spec.template)}"
        snapshot = spec.snapshot.id if isinstance(spec.snapshot, NamespaceSnapshot) else ""
        try:
            words = [spec.argv, [f"{name}={value}" for name, value in env.items()], [spec.cwd], mounts]
            fields = [wire.join(tuple(each)) for each in words]
            zygote = self._key(spec.zygote) if spec.zygote is not None else b""
        except wire.WireError as error:
            raise SandboxError(f"the environment's description cannot be sent: {error}") from error
        future: asyncio.Future[NamespaceEnvironment] = asyncio.get_running_loop().create_future()
        self._creating[spec.id] = (spec, future)
        try:
            last = (spec.tmp_of.encode(), zygote, snapshot.encode())
            self.send(wire.CREATE, spec.id, *fields, numbers.encode(), *last)
        except SandboxError:
            self._creating.pop(spec.id, None)
            raise
        async with asyncio.timeout(_CREATE_TIMEOUT_S):
            return await future

    def forget(self, environment: NamespaceEnvironment) -> None:
        """`environment` has been released."""
        if self._living.get(environment.id) is environment:
            del self._living[environment.id]
