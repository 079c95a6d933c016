"""Every backend under one roof: each is started once per test, and programs run in it are small Python programs."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from alonzo.runtimes import bootstraps
from alonzo.runtimes.bootstraps import python as python_bootstrap
from alonzo.sandbox.base import Environment, Exit, Mount, Sandbox, Snapshot, Spec, Zygote
from alonzo.sandbox.namespaces import NamespaceSandbox
from alonzo.sandbox.process import ProcessSandbox

ORDINARY_USER = 65534
#: What the bootstrap of Python's runtimes does to be a zygote; in each environment it runs the order's last word.
ZYGOTE = f"""
import os, sys

{inspect.getsource(python_bootstrap._be_zygote)}
exec(_be_zygote(int(os.environ["_ALONZO_ZYGOTE"]), lambda: None)[-1])
"""

#: The same for a program that cannot fork and is started once for each environment.
STARTED = """
import os

def take_order(number):
    message, fields = os.read(number, 1 << 20), []
    os.close(number)
    while message:
        size = int.from_bytes(message[:4], "little")
        fields.append(message[4 : 4 + size].decode())
        message = message[4 + size :]
    os.environ.clear()
    os.environ.update(entry.partition("=")[::2] for entry in fields[1].split(chr(0)))
    os.chdir(fields[2])
    return fields[0].split(chr(0))

if "_ALONZO_ORDER" in os.environ:
    exec(take_order(int(os.environ["_ALONZO_ORDER"]))[-1])
"""


#: Rests until a snapshot is taken of it; each environment that goes on from that runs the file that only it has.
RESTING = """
import sys
sys.path.insert(0, "/var/rest")
import _alonzo_snapshot, _socket

connection = _socket.socket()
connection.connect(("169.254.100.1", 9001))
_alonzo_snapshot.rest(connection.detach(), "GET /rest HTTP/1.1\\r\\n", (62,))
exec(open("/var/code/main.py").read())
"""


def _ordinary_python() -> str:
    """An interpreter that an ordinary user can run; the tests' own may lie in root's home."""
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3", "/usr/bin/python3.12"):
        command = [candidate, "-c", "import sys; assert sys.version_info >= (3, 11)"]
        try:
            if (
                subprocess.run(command, user=ORDINARY_USER, group=ORDINARY_USER, extra_groups=[], cwd="/").returncode
                == 0
            ):
                return candidate
        except OSError:
            continue
    return ""


class RootlessSandbox(NamespaceSandbox):
    """The host runs as an ordinary user; the test stays root, which gives it nothing but the right to look."""

    def _command(self) -> list[str]:
        identity = ["--reuid", str(ORDINARY_USER), "--regid", str(ORDINARY_USER), "--clear-groups", "--inh-caps=-all"]
        return [str(shutil.which("setpriv")), *identity, _ordinary_python(), *super()._command()[1:]]


@dataclass
class Result:
    exit: Exit
    output: str
    peak: int


@dataclass
class Backend:
    """A started sandbox, and how to run Python in it."""

    name: str
    sandbox: Sandbox
    python: str
    mounts: tuple[Mount, ...]
    task: Path
    folder: Path
    zygote: Zygote | None = None
    snapshot: Snapshot | None = None
    count: int = 0
    open: list[Environment] = field(default_factory=list)

    @property
    def isolated(self) -> bool:
        return self.name != "process"

    def spec(self, code: str, *, argv: tuple[str, ...] | None = None, **changes: Any) -> Spec:
        self.count += 1
        env = {
            "PATH": "/var/lang/bin:/usr/bin:/bin",
            "AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001",
            "AWS_ENDPOINT_URL": "http://169.254.100.1:4566",
            "PYTHONDONTWRITEBYTECODE": "1",
        } | changes.pop("env", {})
        mounts = (*self.mounts, *changes.pop("mounts", ()))
        snapshot = changes.pop("snapshot", self.snapshot) if argv is None else None
        if snapshot is not None:
            file = self.folder / f"code-{self.count}.py"
            file.write_text(textwrap.dedent(code))
            mounts = (*mounts, Mount(file, "/var/code/main.py"))
        return Spec(
            id=changes.pop("id", f"e{self.count}"),
            argv=argv or (self.python, "-I", "-S", "-c", textwrap.dedent(code)),
            env=env,
            mounts=mounts,
            zygote=self.zygote if argv is None else None,
            snapshot=snapshot,
            **changes,
        )

    async def create(self, code: str, **changes: Any) -> Environment:
        environment = await self.sandbox.create(self.spec(code, **changes))
        self.open.append(environment)
        return environment

    async def read_until(self, environment: Environment, text: str) -> str:
        """What the environment writes, up to `text`."""
        return await read_all(environment.output, lambda data: text.encode() in data)

    async def run(self, code: str, **changes: Any) -> Result:
        """Run to the end, and give everything back."""
        environment = await self.create(code, **changes)
        try:
            output = await read_all(environment.output)
            ended = await asyncio.wait_for(environment.wait(), 30)
            return Result(ended, output, environment.memory_peak())
        finally:
            await environment.release()

    def rest_mount(self) -> Mount:
        """What a program needs to rest."""
        rest = self.folder / "rest"
        if not rest.exists():
            rest.mkdir()
            shutil.copy(Path(bootstraps.__file__).with_name("snapshot.py"), rest / "_alonzo_snapshot.py")
            rest.chmod(0o755)
        return Mount(rest, "/var/rest")

    async def rests(self, environment: Environment) -> tuple[socket.socket, int]:
        """The connection on which a program rests, and where."""
        loop = asyncio.get_running_loop()
        connection, _ = await asyncio.wait_for(loop.sock_accept(environment.runtime_api), 20)
        request = await asyncio.wait_for(loop.sock_recv(connection, 65536), 20)
        assert b"Alonzo-Snapshot: " in request, request
        return connection, int(request.partition(b"Alonzo-Snapshot: ")[2].split()[0], 16)

    async def take(self, code: str = RESTING, **changes: Any) -> Snapshot:
        """A snapshot of a program that comes to rest; nothing is left of the program."""
        mounts = (self.rest_mount(), *changes.pop("mounts", ()))
        environment = await self.create(code, template=True, snapshot=None, mounts=mounts, **changes)
        try:
            connection, frame = await self.rests(environment)
            with connection:
                return await environment.snapshot(frame, 256)
        finally:
            await environment.release()


async def read_all(descriptor: int, enough: Callable[[bytes], bool] = lambda data: False) -> str:
    """What comes through a pipe until its end, or until `enough`."""

    def read() -> bytes:
        data = b""
        while not enough(data):
            piece = os.read(descriptor, 65536)
            if not piece:
                break
            data += piece
        return data

    return (await asyncio.wait_for(asyncio.to_thread(read), 30)).decode("utf-8", "replace")


def require_root() -> None:
    if os.geteuid() != 0:
        pytest.fail("the sandbox's tests need root, from which they also become an ordinary user: run them with sudo")


async def start(name: str, folder: Path) -> Backend:
    task = folder / "task"
    task.mkdir()
    (task / "hello.txt").write_text("hello from the package\n")
    task.chmod(0o755)
    mounts = (Mount(task, "/var/task"),)
    state = folder / "state"
    sandbox: Sandbox
    if name == "process":
        sandbox, python = ProcessSandbox(), "/var/lang/bin/python3"
    elif name in ("namespaces", "forked", "started", "restored"):
        require_root()
        sandbox, python = NamespaceSandbox(state), "/var/lang/bin/python3"
    else:
        require_root()
        python = _ordinary_python()
        if not python:
            pytest.fail("no Python 3.11 or newer that an ordinary user can run was found: install python3")
        state.mkdir()
        os.chown(state, ORDINARY_USER, ORDINARY_USER)
        sandbox = RootlessSandbox(state)
    if not name.endswith("rootless"):
        mounts = (*mounts, Mount(Path(sys.base_prefix), "/var/lang"))
    await sandbox.start()
    zygote = None
    if name.startswith(("forked", "started", "restored")):
        zygote = await _zygote(sandbox, folder, python, mounts[1:], forks=not name.startswith("started"))
    backend = Backend(name, sandbox, python, mounts, task, folder, zygote)
    if name.startswith("restored"):
        backend.snapshot = await backend.take()
    return backend


async def _zygote(sandbox: Sandbox, folder: Path, python: str, mounts: tuple[Mount, ...], *, forks: bool) -> Zygote:
    runtime = folder / "runtime"
    runtime.mkdir()
    (runtime / "zygote.py").write_text(ZYGOTE if forks else STARTED)
    runtime.chmod(0o755)
    zygote = Zygote((python, "-I", "-S", "/var/zygote/zygote.py"), (), (*mounts, Mount(runtime, "/var/zygote")), forks)
    assert await sandbox.prepare(zygote)
    return zygote


@pytest.fixture
def start_backend() -> Any:
    """`start`, for tests that stop by themselves."""
    return start


@pytest.fixture
def folder() -> Any:
    """Like tmp_path, but every user can get there."""
    path = Path(tempfile.mkdtemp(prefix="alonzo-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


async def stop(backend: Backend) -> None:
    await backend.sandbox.stop()


@pytest.fixture(params=["process", "namespaces", "rootless", "forked", "forked rootless", "started"])
async def backend(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Backend]:
    """Each backend in turn."""
    started = await start(request.param, folder)
    yield started
    await stop(started)


@pytest.fixture(
    params=["namespaces", "rootless", "forked", "forked rootless", "started", "restored", "restored rootless"]
)
async def isolated(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Backend]:
    """Each backend that isolates."""
    started = await start(request.param, folder)
    yield started
    await stop(started)


@pytest.fixture
async def privileged(folder: Path) -> AsyncIterator[Backend]:
    """The namespaces backend as root."""
    started = await start("namespaces", folder)
    yield started
    await stop(started)
