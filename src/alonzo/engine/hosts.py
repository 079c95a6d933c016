"""Where environments are made. The invoker asks a Host and never knows which machine it is.

`LocalHost` is this machine. A cluster is another Host whose `start` answers an environment that lives elsewhere.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.dispatch import Parts
from alonzo.engine.credentials import Credentials, RoleCredentials
from alonzo.engine.environments import ExecutionEnvironment, Surroundings
from alonzo.engine.function import FunctionVersion
from alonzo.engine.log_lines import lines_of
from alonzo.engine.log_shipper import LogStream
from alonzo.engine.outcome import Failure, entrypoint_failure
from alonzo.engine.snap_start import SnapStart
from alonzo.engine.snapshots import Outcome, Snapshots, Taken
from alonzo.engine.variables import environment_variables
from alonzo.runtimes.errors import CodeError, RuntimesError, RuntimeUnavailable
from alonzo.runtimes.root import Base, Packaged, Root
from alonzo.sandbox.base import (
    INSIDE_ADDRESS,
    RUNTIME_API_PORT,
    Environment,
    ExecError,
    Mount,
    Sandbox,
    SandboxError,
    Spec,
    Zygote,
)

log = logging.getLogger(__name__)

#: Serves AWS's endpoints on an environment's socket; what it answers stops that again.
ServeAws = Callable[[socket.socket, FunctionVersion], Awaitable[Callable[[], Awaitable[None]]]]


class RootSource(Protocol):
    """`runtimes.root.Runtimes`."""

    async def root(self, function: Packaged) -> Root: ...


class Needless(Exception):
    """Before the turn of a new environment came, nobody needed it any more."""


class Host(Protocol):
    """Makes execution environments."""

    async def start(
        self,
        fv: FunctionVersion,
        heir_of: ExecutionEnvironment | None = None,
        needless: asyncio.Future[None] | None = None,
    ) -> ExecutionEnvironment:
        """A new environment whose process has been started; await its `initialised`.

        `heir_of` is an ended environment of the same version whose /tmp and log stream go on here. `needless` is done
        when nobody needs the environment any more, which is then not made: Needless. When its making begins, the host
        cancels that future.
        Raises ServiceError (the runtime is missing, the role cannot be assumed, no sandbox can be made).
        """

    def distrust(self, environment: ExecutionEnvironment) -> None:
        """An environment ended before it was ready, though it went on from a snapshot: do not use that again."""


class LocalHost:
    """This machine. At most twice as many environments as processors start at the same moment."""

    def __init__(
        self,
        parts: Parts,
        shared: Surroundings,
        *,
        sandbox: Sandbox,
        runtimes: RootSource,
        serve_aws: ServeAws,
        credentials: Credentials,
    ) -> None:
        self._ids: Ids = parts.ids
        self._shared = shared
        self._sandbox = sandbox
        self._runtimes = runtimes
        self._serve_aws = serve_aws
        self._credentials = credentials
        self._found: dict[Path, tuple[str, ...]] = {}
        self._dispatcher = parts.dispatcher
        self._prepared = False
        self._internet = parts.settings.internet != "off"
        self._forks = parts.settings.cold_start == "fast"
        self._slowly = parts.settings.cold_start == "aws"
        self.snapshots = Snapshots(self.take, shared.tasks)
        self._starting = asyncio.Semaphore(max(4, 2 * (os.cpu_count() or 1)))

    async def start(
        self,
        fv: FunctionVersion,
        heir_of: ExecutionEnvironment | None = None,
        needless: asyncio.Future[None] | None = None,
    ) -> ExecutionEnvironment:
        """See `Host.start`."""
        root = await self._root(fv)
        credentials = await self._credentials.of(fv)
        stream = heir_of.stream if heir_of is not None else self._stream(fv, credentials)
        taken = self.snapshots.find(fv) if fv.snap_start else None
        return await self._begin(fv, root, credentials, stream, heir_of, taken, needless=needless)

    async def _begin(
        self,
        fv: FunctionVersion,
        root: Root,
        credentials: RoleCredentials,
        stream: LogStream,
        heir_of: ExecutionEnvironment | None = None,
        taken: Taken | None = None,
        *,
        template: bool = False,
        needless: asyncio.Future[None] | None = None,
    ) -> ExecutionEnvironment:
        await self._turn(needless)
        try:
            environment = await self._make(fv, root, credentials, stream, heir_of, taken, template=template)
        except BaseException:
            self._starting.release()
            raise
        self._release_later(environment)
        return environment

    async def _turn(self, needless: asyncio.Future[None] | None) -> None:
        """Wait until one more may start. Raises Needless."""
        if needless is None:
            await self._starting.acquire()
            return
        if self._starting.locked() and not needless.done():
            turn = asyncio.ensure_future(self._starting.acquire())
            try:
                await asyncio.wait((turn, needless), return_when=asyncio.FIRST_COMPLETED)
                if needless.done():
                    raise Needless
            except BaseException:
                if not turn.cancel():
                    self._starting.release()
                raise
        elif needless.done():
            raise Needless
        else:
            await self._starting.acquire()
        needless.cancel()

    def _stream(self, fv: FunctionVersion, credentials: RoleCredentials) -> LogStream:
        day = datetime.fromtimestamp(self._shared.clock.now(), UTC).strftime("%Y/%m/%d")
        group = fv.log_group or f"/aws/lambda/{fv.name}"
        name = f"{day}/[{fv.version}]{self._ids.hex(32)}"
        return LogStream(fv.account_id, fv.region, group, name, credentials.principal, fv.arn)

    async def _make(
        self,
        fv: FunctionVersion,
        root: Root,
        credentials: RoleCredentials,
        stream: LogStream,
        heir_of: ExecutionEnvironment | None,
        taken: Taken | None,
        *,
        template: bool,
    ) -> ExecutionEnvironment:
        token = "" if not fv.snap_start else taken.token if taken is not None else self._ids.hex(64)
        snap_start = SnapStart(credentials, token, taken, template=template) if fv.snap_start else None
        environment = ExecutionEnvironment(
            fv,
            self._shared,
            stream=stream,
            lines=lines_of(fv.log_format, fv.system_log_level),
            credentials=credentials,
            snap_start=snap_start,
        )
        environment.log_init_start(root.runtime_version, root.runtime_version_arn, again=heir_of is not None)
        if root.broken:
            environment.initialised.set_result(entrypoint_failure(root.broken))
            return environment
        if self._slowly:
            await self._shared.clock.sleep(aws_pause_s(root.package_bytes))
        extensions = self._extensions(root)
        variables = environment_variables(
            fv, root.env, credentials, log_group=stream.group, log_stream=stream.name, token=token
        )
        spec = Spec(
            id=self._ids.hex(32),
            argv=root.argv,
            env=variables,
            mounts=tuple(Mount(source, target) for source, target in root.mounts),
            cwd=root.cwd,
            memory_mib=fv.memory_mib,
            tmp_mib=fv.tmp_mib,
            internet=fv.internet and self._internet,
            tmp_of=heir_of.id if heir_of is not None else "",
            gated=bool(extensions),
            zygote=self._zygote(root, fv),
            template=template,
            snapshot=taken.snapshot if taken is not None else None,
        )
        if taken is None or not await self._restore(environment, spec, taken, root):
            await self._spawn(environment, replace(spec, snapshot=None))
        if extensions:
            self._shared.tasks.start(environment.bring_up(extensions, spec.env))
        return environment

    async def _restore(self, environment: ExecutionEnvironment, spec: Spec, taken: Taken, root: Root) -> bool:
        """False: the snapshot is of no use, and the environment begins anew."""
        try:
            # The snapshot brings its own /tmp.
            await self._attach(environment, await self._sandbox.create(replace(spec, tmp_of="")))
        except SandboxError as error:
            log.info("%s was not restored: %s", environment.fv.qualified_arn, error)
            assert environment.snap_start is not None
            environment.snap_start.taken = None
            environment.log_init_start(root.runtime_version, root.runtime_version_arn)
            return False
        return True

    async def take(self, fv: FunctionVersion) -> Outcome:
        """Initialise a version and copy its process. Raises ServiceError as `start` does."""
        root = await self._root(fv)
        zygote = self._zygote(root, fv)
        if zygote is None:
            return Outcome(refusal="this runtime's environments are executed here, not forked")
        credentials = await self._credentials.of(fv)
        await self._sandbox.prepare(zygote)
        stream = self._stream(fv, credentials)
        environment = await self._begin(fv, root, credentials, stream, template=True)
        try:
            return await self._copy(environment)
        finally:
            environment.discard(keep_tmp=False)
            self._shared.tasks.start(environment.release())

    async def _copy(self, environment: ExecutionEnvironment) -> Outcome:
        assert environment.snap_start is not None and environment.snap_start.rests is not None
        rests, initialised = environment.snap_start.rests, environment.initialised
        limit_s = max(SNAPSHOT_LIMIT_S, float(environment.fv.timeout_s))
        await asyncio.wait((rests, initialised), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if not rests.done():
            failure = initialised.result() if initialised.done() else Failure("timeout", "")
            if failure is None:
                return Outcome(refusal="its runtime does not stop for a snapshot")
            environment.log_init_report(environment.age_ms, "init", failure)
            return Outcome(failure=failure)
        init_ms = environment.age_ms
        frame, refusal = rests.result()
        if not frame:
            return Outcome(refusal=refusal or "its runtime cannot be copied")
        try:
            taken = await environment.snap_start.copy(frame, environment.fv.memory_mib)
        except (SandboxError, TimeoutError) as error:
            return Outcome(refusal=str(error))
        environment.log_lines(environment.lines.snapshot_taken(init_ms))
        return Outcome(taken)

    def _extensions(self, root: Root) -> tuple[str, ...]:
        """The external extensions in the layers: what lies in /opt/extensions itself."""
        layers = next((source for source, target in root.mounts if target == "/opt"), None)
        if layers is None:
            return ()
        found = self._found.get(layers)
        if found is None:
            folder = layers / "extensions"
            names = sorted(each.name for each in folder.iterdir() if each.is_file()) if folder.is_dir() else []
            if len(self._found) >= _KEPT:
                self._found.clear()
            found = self._found[layers] = tuple(names)
        return found

    def _release_later(self, environment: ExecutionEnvironment) -> None:
        """The environment counts as starting until it is initialised, or for a moment where that takes long."""
        timer: asyncio.TimerHandle

        def release(*_: object) -> None:
            environment.initialised.remove_done_callback(release)
            timer.cancel()
            self._starting.release()

        timer = asyncio.get_running_loop().call_later(_START_SHARE_S, release)
        environment.initialised.add_done_callback(release)

    def distrust(self, environment: ExecutionEnvironment) -> None:
        """See `Host.distrust`."""
        if environment.snap_start is not None and environment.snap_start.taken is not None:
            self.snapshots.distrust(environment.fv, environment.snap_start.taken)

    async def prepare(self, fv: FunctionVersion) -> None:
        """Start what the version's environments will be forked from. Raises ServiceError as `start` does."""
        if not self._prepared:  # it would cost the first environments, and those that start while they log, 20 ms
            self._prepared = True
            for service, operations in _NEEDED.items():
                await asyncio.to_thread(self._dispatcher.prepare, service, *operations)
        zygote = self._zygote(await self._root(fv), fv)
        if zygote is not None:
            await self._sandbox.prepare(zygote)

    def _zygote(self, root: Root, fv: FunctionVersion) -> Zygote | None:
        """What the version's environments are forked from; None: they are executed."""
        return zygote_of(root.base, fv) if root.base is not None and self._forks else None

    async def _root(self, fv: FunctionVersion) -> Root:
        try:
            return await self._runtimes.root(fv)
        except RuntimeUnavailable as error:
            raise ServiceError("InvalidRuntimeException", str(error), status=502, fields={"Type": "User"}) from error
        except CodeError as error:
            raise ServiceError("InvalidZipFileException", error.message, status=502, fields={"Type": "User"}) from error
        except RuntimesError as error:
            raise ServiceError("ServiceException", str(error), status=500, fields={"Type": "Service"}) from error

    async def _spawn(self, environment: ExecutionEnvironment, spec: Spec) -> None:
        try:
            sandbox = await self._sandbox.create(spec)
        except ExecError as error:
            environment.initialised.set_result(_entrypoint(error))
            return
        except SandboxError as error:
            raise ServiceError("ServiceException", str(error), status=500, fields={"Type": "Service"}) from error
        await self._attach(environment, sandbox)

    async def _attach(self, environment: ExecutionEnvironment, sandbox: Environment) -> None:
        try:
            stop_aws = await self._serve_aws(sandbox.aws, environment.fv)
            await environment.attach(sandbox, stop_aws)
        except BaseException:
            await sandbox.kill()
            await sandbox.release()
            raise


#: How long a starting environment counts as starting: a slow initialisation mostly waits and must not hold up others.
_START_SHARE_S = 0.5
#: Initialisation before a snapshot. Source: execution-environment contract §9.
SNAPSHOT_LIMIT_S = 130.0
#: What every environment calls.
_NEEDED = {"sts": ("AssumeRole",), "logs": ("CreateLogGroup", "CreateLogStream", "PutLogEvents")}
#: Layers whose extensions are remembered: unpacked layers never change.
_KEPT = 4096


def aws_pause_s(package_bytes: int) -> float:
    """Seconds by which an initialisation on AWS is longer than ours, at random: a package is fetched while it starts.

    From 100 cold starts each of packages from 1 KB to 64 MB: 171 ms to 3,110 ms on the average, nearly 45 ms for each
    megabyte beyond the first few, the slowest tenth about a third longer.
    Source: https://gist.github.com/adriantanasa/d9cb9f7313f985f180c0aec98e482f2b (nodejs18.x, us-east-1)
    """
    return (0.13 + 0.045 * max(0.0, package_bytes / (1 << 20) - 2)) * random.lognormvariate(0, 0.2)


def zygote_of(base: Base, fv: FunctionVersion) -> Zygote:
    """The zygote of an environment: AWS's client reads how to log when it is imported."""
    env = dict(base.env)
    if fv.log_format == "JSON" and base.forks:
        env["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        env["AWS_LAMBDA_LOG_LEVEL"] = fv.application_log_level or "INFO"
    if not base.forks:  # each is in the network of its own environment, and connects before it is needed
        env["AWS_LAMBDA_RUNTIME_API"] = f"{INSIDE_ADDRESS}:{RUNTIME_API_PORT}"
    if base.imports:
        env["_ALONZO_IMPORTS"] = ",".join(base.imports)
    return Zygote(
        base.argv, tuple(env.items()), tuple(Mount(source, target) for source, target in base.mounts), base.forks
    )


def _entrypoint(error: ExecError) -> Failure:
    why = "exec format error" if error.errno == errno.ENOEXEC else os.strerror(error.errno).lower()
    return entrypoint_failure(f"fork/exec {error.path}: {why}")
