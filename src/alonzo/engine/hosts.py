"""Where environments are made. The invoker asks a Host and never knows which machine it is.

`LocalHost` is this machine. A cluster is another Host whose `start` answers an environment that lives elsewhere.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
from collections.abc import Awaitable, Callable
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
from alonzo.engine.variables import environment_variables
from alonzo.runtimes.errors import CodeError, RuntimesError, RuntimeUnavailable
from alonzo.runtimes.root import Base, Packaged, Root
from alonzo.sandbox.base import ExecError, Mount, Sandbox, SandboxError, Spec, Zygote

#: Serves AWS's endpoints on an environment's socket; what it answers stops that again.
ServeAws = Callable[[socket.socket, FunctionVersion], Awaitable[Callable[[], Awaitable[None]]]]


class RootSource(Protocol):
    """`runtimes.root.Runtimes`."""

    async def root(self, function: Packaged) -> Root: ...


class Host(Protocol):
    """Makes execution environments."""

    async def start(self, fv: FunctionVersion, heir_of: ExecutionEnvironment | None = None) -> ExecutionEnvironment:
        """A new environment whose process has been started; await its `initialised`.

        `heir_of` is an ended environment of the same version whose /tmp and log stream go on here.
        Raises ServiceError (the runtime is missing, the role cannot be assumed, no sandbox can be made).
        """


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
        self._internet = parts.settings.internet != "off"
        self._forks = parts.settings.cold_start == "fast"
        self._slowly = parts.settings.cold_start == "aws"
        self._starting = asyncio.Semaphore(max(4, 2 * (os.cpu_count() or 1)))

    async def start(self, fv: FunctionVersion, heir_of: ExecutionEnvironment | None = None) -> ExecutionEnvironment:
        """See `Host.start`."""
        root = await self._root(fv)
        credentials = await self._credentials.of(fv)
        if heir_of is not None:
            stream = heir_of.stream
        else:
            day = datetime.fromtimestamp(self._shared.clock.now(), UTC).strftime("%Y/%m/%d")
            group = fv.log_group or f"/aws/lambda/{fv.name}"
            name = f"{day}/[{fv.version}]{self._ids.hex(32)}"
            stream = LogStream(fv.account_id, fv.region, group, name, credentials.principal, fv.arn)
        await self._starting.acquire()
        try:
            environment = await self._make(fv, root, credentials, stream, heir_of)
        except BaseException:
            self._starting.release()
            raise
        self._release_later(environment)
        return environment

    async def _make(
        self,
        fv: FunctionVersion,
        root: Root,
        credentials: RoleCredentials,
        stream: LogStream,
        heir_of: ExecutionEnvironment | None,
    ) -> ExecutionEnvironment:
        environment = ExecutionEnvironment(
            fv,
            self._shared,
            stream=stream,
            lines=lines_of(fv.log_format, fv.system_log_level),
            credentials=credentials,
        )
        environment.log_init_start(root.runtime_version, root.runtime_version_arn, again=heir_of is not None)
        if root.broken:
            environment.initialised.set_result(entrypoint_failure(root.broken))
            return environment
        if self._slowly:
            await self._shared.clock.sleep(aws_pause_s(root.package_bytes))
        extensions = self._extensions(root)
        variables = environment_variables(fv, root.env, credentials, log_group=stream.group, log_stream=stream.name)
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
            zygote=zygote_of(root.base, fv) if root.base is not None and self._forks else None,
        )
        await self._spawn(environment, spec)
        if extensions:
            self._shared.tasks.start(environment.bring_up(extensions, spec.env))
        return environment

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

    async def prepare(self, fv: FunctionVersion) -> None:
        """Start what the version's environments will be forked from. Raises ServiceError as `start` does."""
        root = await self._root(fv)
        if root.base is not None and self._forks:
            await self._sandbox.prepare(zygote_of(root.base, fv))

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
        try:
            stop_aws = await self._serve_aws(sandbox.aws, environment.fv)
            await environment.attach(sandbox, stop_aws)
        except BaseException:
            await sandbox.kill()
            await sandbox.release()
            raise


#: How long a starting environment counts as starting: a slow initialisation mostly waits and must not hold up others.
_START_SHARE_S = 0.5
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
    if base.imports:
        env["_ALONZO_IMPORTS"] = ",".join(base.imports)
    return Zygote(
        base.argv, tuple(env.items()), tuple(Mount(source, target) for source, target in base.mounts), base.forks
    )


def _entrypoint(error: ExecError) -> Failure:
    why = "exec format error" if error.errno == errno.ENOEXEC else os.strerror(error.errno).lower()
    return entrypoint_failure(f"fork/exec {error.path}: {why}")
