"""What an environment of a function version is made of: which program runs, and what it sees of the file system."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from alonzo.config import Settings
from alonzo.core.dataclasses import dataclass, replace
from alonzo.runtimes import node_start
from alonzo.runtimes.code import CodeCache
from alonzo.runtimes.imports import uses_sdk
from alonzo.runtimes.interpreters import Interpreters
from alonzo.runtimes.prepare import Prepared, Preparer, RuntimeStatus
from alonzo.runtimes.table import ManagedRuntime
from alonzo.storage import Blobs

#: Variables of the execution environment that a function's own configuration may replace (contract §6).
USER_MAY_REPLACE = frozenset(
    {"AWS_LAMBDA_LOG_FORMAT", "AWS_LAMBDA_LOG_LEVEL", "AWS_XRAY_CONTEXT_MISSING", "AWS_XRAY_DAEMON_ADDRESS"}
    | {"LANG", "LC_CTYPE", "LD_LIBRARY_PATH", "NODE_PATH", "PATH", "PYTHONPATH", "TZ"}
)
#: The first 3.x on Amazon Linux 2023, which lacks the locale that LANG names: there Python itself sets LC_CTYPE.
_FIRST_WITHOUT_LOCALES = 12
#: Roots kept in memory; a least recently used one is cheap to make again.
_KEPT = 4096


class Parts(Protocol):
    """What runtimes are built from; `dispatch.Parts` has it."""

    @property
    def settings(self) -> Settings: ...
    @property
    def blobs(self) -> Blobs: ...


class PackageRef(Protocol):
    """A package in the blob store; `engine.function.CodeRef` is one."""

    @property
    def blob_id(self) -> str: ...
    @property
    def sha256(self) -> str: ...


class Packaged(Protocol):
    """What must be known of a function version; `engine.function.FunctionVersion` knows it."""

    @property
    def region(self) -> str: ...
    @property
    def runtime(self) -> str: ...
    @property
    def handler(self) -> str: ...
    @property
    def code(self) -> PackageRef: ...
    @property
    def layers(self) -> tuple[PackageRef, ...]: ...
    @property
    def environment(self) -> Mapping[str, str]: ...
    @property
    def memory_mib(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Base:
    """What a root's program looks like before it has a function: a process that many environments can be forked from.

    It is started as `argv`, sees `mounts`, which every such root has too, and has the variables `env`. `imports` are
    modules that it imports beside the client. Where it cannot fork, each environment needs one of its own.
    """

    argv: tuple[str, ...]
    mounts: tuple[tuple[Path, str], ...]
    env: tuple[tuple[str, str], ...]
    imports: tuple[str, ...] = ()
    forks: bool = True


@dataclass(frozen=True, slots=True)
class Root:
    """One root tree and the program that starts in it.

    `mounts` are pairs (folder on this machine, absolute target inside), to be made in this order, each read-only:
    `sandbox.base.Mount(source, target)` for each. They are complete but for the system itself (/usr, /lib, /etc, /dev,
    /proc, /tmp), which is the sandbox's; /opt is missing where there are no layers. `env` holds the runtime's
    variables only (see `runtime_variables`). `runtime_version` and `runtime_version_arn` are what INIT_START names.
    `broken` says in AWS's words why there is nothing to start: initialising it fails with Runtime.InvalidEntrypoint.
    `base` is what the program can be forked from, with the same result; None: it must be executed. `package_bytes` is
    the size of the archives that it was unpacked from.
    """

    argv: tuple[str, ...]
    mounts: tuple[tuple[Path, str], ...]
    env: Mapping[str, str]
    runtime_version: str
    runtime_version_arn: str
    cwd: str = "/var/task"
    broken: str = ""
    base: Base | None = None
    package_bytes: int = 0


def runtime_variables(runtime: ManagedRuntime, handler: str) -> dict[str, str]:
    """The variables that depend on runtime and handler alone; the engine adds region, credentials and the function's.

    PYTHONPATH is missing because /var/runtime/bootstrap.py sets it once the interpreter runs, so that it does not
    change the search path; NODE_EXTRA_CA_CERTS because Node.js would read the certificates at every start.
    Source: recorded on AWS, contract §6.
    """
    variables = {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "LD_LIBRARY_PATH": (
            "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
        ),
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "_HANDLER": handler,
    }
    if runtime.execution_env:
        variables["AWS_EXECUTION_ENV"] = runtime.execution_env
    if runtime.identifier == "provided.al2":
        # As recorded: the older system names no /var/lang.
        variables["PATH"] = variables["PATH"].removeprefix("/var/lang/bin:")
        variables["LD_LIBRARY_PATH"] = variables["LD_LIBRARY_PATH"].removeprefix("/var/lang/lib:")
    if runtime.language == "python":
        variables |= {"PWD": "/var/task", "SHLVL": "0"}
        if int(runtime.version.removeprefix("3.")) >= _FIRST_WITHOUT_LOCALES:
            variables["LC_CTYPE"] = "C.UTF-8"
    if runtime.language == "nodejs":
        variables |= {"NODE_PATH": node_start.path(runtime.version), "PWD": "/var/task", "SHLVL": "0"}
    return variables


class Runtimes:
    """Makes roots. `code_dir` is where packages are unpacked; by default a folder of the data folder. `interpreters`
    are searched for; by default those of the whole machine and of the settings' folders.

    Raises OSError if that folder cannot be made; cleans up what an earlier run left in it.
    """

    def __init__(self, parts: Parts, *, code_dir: Path | None = None, interpreters: Interpreters | None = None) -> None:
        settings = parts.settings
        root = settings.runtimes_dir.expanduser()
        folders = [Path(folder).expanduser() for folder in settings.interpreters.split(":") if folder]
        interpreters = interpreters or Interpreters(folders, root / "interpreters.json")
        self._client = settings.runtime_client
        self._preparer = Preparer(root, interpreters, offline=settings.offline)
        self._blobs = parts.blobs
        self._code = CodeCache(code_dir or settings.data_dir.expanduser() / "code")
        self._prepared: dict[str, Prepared] = {}
        self._roots: OrderedDict[object, Root] = OrderedDict()
        self._code.open()

    async def install(self, runtime: str, progress: Callable[[str], None] | None = None) -> Prepared:
        """Prepare a runtime, so that the first root does not wait for it. Raises RuntimeUnavailable."""
        ready = self._prepared.get(runtime)
        if ready is None:
            ready = await (self._preparer.install(runtime, progress) if progress else self._preparer.install(runtime))
            ready = replace(ready, client=self._client)
            self._prepared[runtime] = ready
        return ready

    def version_arn(self, runtime: str, region: str) -> str:
        """The ARN of a runtime's build, "" as long as this process has not prepared it."""
        ready = self._prepared.get(runtime)
        return ready.version_arn(region) if ready is not None else ""

    async def list_runtimes(self) -> list[RuntimeStatus]:
        """Every managed runtime, and whether it can be used here."""
        return await self._preparer.statuses()

    async def root(self, function: Packaged) -> Root:
        """The root of a function version; the second call for the same content does no I/O.

        Raises RuntimeUnavailable, CodeError (a broken package, too large together), RuntimesError (cannot be
        unpacked), storage.DiskFull.
        """
        key = _key(function)
        known = self._roots.get(key)
        if known is not None:
            self._roots.move_to_end(key)
            return known
        prepared = self._prepared.get(function.runtime)
        if prepared is None:
            # Only who asks for it gets an interpreter fetched; a function is told how to.
            prepared = await self._preparer.install(function.runtime, fetch=False)
            prepared = replace(prepared, client=self._client)
            self._prepared[function.runtime] = prepared
        mounts = await self._mounts(function, prepared)
        base = await asyncio.to_thread(_base, function, prepared, mounts)
        size = sum(self._blobs.path(each.blob_id).stat().st_size for each in (function.code, *function.layers))
        root = replace(_root(function, prepared, mounts, base), package_bytes=size)
        self._roots[key] = root
        if len(self._roots) > _KEPT:
            self._roots.popitem(last=False)
        return root

    async def forget(self, live: set[str]) -> int:
        """Remove unpacked packages that are not in `live` (sha256 of all packages of all function versions and running
        environments). Returns how many folders went."""
        self._roots.clear()
        return await self._code.forget(live)

    async def _mounts(self, function: Packaged, prepared: Prepared) -> tuple[tuple[Path, str], ...]:
        task = await self._code.unpack(self._blobs.path(function.code.blob_id), function.code.sha256)
        mounts = [*prepared.mounts, (task, "/var/task")]
        if function.layers:
            layers = [(self._blobs.path(layer.blob_id), layer.sha256) for layer in function.layers]
            unpacked = [await self._code.unpack(package, sha256) for package, sha256 in layers]
            await self._code.check_total(task, unpacked)
            mounts.append((await self._code.merge(layers), "/opt"))
        if prepared.runtime.language == "nodejs":
            mounts += node_start.module_mounts(prepared.runtime.version, mounts)
        return tuple(mounts)


def _key(function: Packaged) -> object:
    layers = tuple(layer.sha256 for layer in function.layers)
    start: object = (_how_to_start(function.environment), _leaves_sdk_alone(function.environment))
    if function.runtime.startswith("nodejs"):
        start = (start, function.memory_mib, function.environment.get("NODE_OPTIONS"))
    return (function.code.sha256, layers, function.runtime, function.handler, function.region, start)


def _how_to_start(environment: Mapping[str, str]) -> str:
    if environment.get("AWS_LAMBDA_EXEC_WRAPPER"):
        return "wrapper"
    # Start-up hooks (sitecustomize) can only come from a PYTHONPATH; without one `site` has nothing to find.
    if environment.get("PYTHONPATH"):
        return "site"
    return "lean" if any(_READ_AT_START.match(name) for name in environment) else "fork"


#: Variables that the interpreter, the C library or a library reads when it starts: a fork would come too late for them.
_READ_AT_START = re.compile(
    r"(PYTHON|NODE_|UV_|ICU_|LD_|LC_|MALLOC_|GLIBC_|OPENSSL_|SSL_|BOTO|GCONV_|LOCPATH|LOCALDOMAIN|RES_OPTIONS|HOSTALIASES)"
    r"|LANG(UAGE)?$|AWS_LAMBDA_LOG_(FORMAT|LEVEL)$"
)
#: The oldest interpreter that `sandbox.forking` runs on.
_FORKABLE = (3, 10)


def _base(function: Packaged, prepared: Prepared, mounts: tuple[tuple[Path, str], ...]) -> Base | None:
    version = prepared.runtime.version
    if prepared.runtime.language == "provided" or _how_to_start(function.environment) != "fork":
        return None
    env = runtime_variables(prepared.runtime, "")
    del env["_HANDLER"]
    if prepared.runtime.language == "nodejs":
        return Base(_node(function, prepared, mounts), prepared.mounts, tuple(env.items()), forks=False)
    if tuple(int(part) for part in version.split(".")) < _FORKABLE:
        return None
    if prepared.client == "aws" or not (prepared.task_runtime / "_alonzo_client.py").is_file():
        return None  # AWS's own reads the Runtime API's address when it is imported: too early in a zygote
    folders = {target: source for source, target in mounts}
    sdk = _leaves_sdk_alone(function.environment) and uses_sdk(folders["/var/task"], folders.get("/opt"), version)
    argv, imports = _python(function, prepared, mounts), ("_alonzo_sdk",) if sdk else ()
    return Base(argv, prepared.mounts, tuple(env.items()), imports)


def _leaves_sdk_alone(environment: Mapping[str, str]) -> bool:
    """Whether none of the function's own variables can change what the SDK does when it is imported or configured."""
    return not any(name.startswith("AWS_") or name == "HOME" for name in environment)


def _root(
    function: Packaged, prepared: Prepared, mounts: tuple[tuple[Path, str], ...], base: Base | None = None
) -> Root:
    argv = {"provided": _bootstrap, "python": _python, "nodejs": _node}[prepared.runtime.language](
        function, prepared, mounts
    )
    return Root(
        argv=argv,
        mounts=mounts,
        env=runtime_variables(prepared.runtime, function.handler),
        runtime_version=prepared.version_name,
        runtime_version_arn=prepared.version_arn(function.region),
        broken="" if argv else NO_BOOTSTRAP,
        base=base,
    )


#: AWS's text where neither the package nor a layer has a `bootstrap`.
NO_BOOTSTRAP = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"


def _bootstrap(function: Packaged, prepared: Prepared, mounts: tuple[tuple[Path, str], ...]) -> tuple[str, ...]:
    """The function's own program: the package's before a layer's; a folder of that name does not count.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html
    """
    for folder, target in mounts:
        path = folder / "bootstrap"
        if path.is_symlink() or path.is_file():  # a link may point at what only exists inside
            return (f"{target}/bootstrap",)
    return ()


def _node(function: Packaged, prepared: Prepared, mounts: tuple[tuple[Path, str], ...]) -> tuple[str, ...]:
    flags = node_start.flags(
        prepared.interpreter_version, function.memory_mib, function.environment.get("NODE_OPTIONS", "")
    )
    program = ("/var/lang/bin/node", *flags, "/var/runtime/index.cjs")
    return program if _how_to_start(function.environment) != "wrapper" else ("/var/runtime/bootstrap", *program)


def _python(function: Packaged, prepared: Prepared, mounts: tuple[tuple[Path, str], ...]) -> tuple[str, ...]:
    python = f"/var/lang/bin/python{prepared.runtime.version}"
    program = ("/var/runtime/bootstrap.py", "/opt", *(("aws",) if prepared.client == "aws" else ()))
    return {
        "wrapper": ("/var/runtime/bootstrap", python, *program),
        "site": (python, "-s", *program),
        "lean": (python, "-S", *program),
        "fork": (python, "-S", *program),
    }[_how_to_start(function.environment)]
