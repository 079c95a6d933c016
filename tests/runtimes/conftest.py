"""What the tests of runtimes share: one folder of prepared runtimes, and a way to run a root without the sandbox."""

from __future__ import annotations

import asyncio
import io
import json
import os
import zipfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from alonzo.config import Settings, load_settings
from alonzo.core.ids import Ids
from alonzo.runtimes import Root, Runtimes
from alonzo.runtimes.interpreters import Interpreters
from alonzo.storage import Blobs


@dataclass(frozen=True)
class Package:
    blob_id: str
    sha256: str


@dataclass(frozen=True)
class Function:
    """As much of a function version as a root needs."""

    code: Package
    runtime: str = "python3.11"
    handler: str = "app.handler"
    region: str = "eu-west-1"
    layers: tuple[Package, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_mib: int = 128


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """A plain package."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@dataclass
class House:
    """Runtimes over real folders of one test; runtimes already prepared are shared by all tests of a run."""

    settings: Settings
    blobs: Blobs
    runtimes: Runtimes

    async def store(self, package: bytes) -> Package:
        ref = await self.blobs.put(package)
        return Package(ref.id, ref.sha256)

    async def function(
        self, files: Mapping[str, str | bytes], *layers: Mapping[str, str | bytes], **more: Any
    ) -> Function:
        stored = [await self.store(zipped(layer)) for layer in layers]
        return Function(await self.store(zipped(files)), layers=tuple(stored), **more)


@pytest.fixture(scope="session")
def runtimes_dir() -> Path:
    """The folder that every server of this user shares: preparing each runtime anew would take a minute a run."""
    return load_settings().runtimes_dir


@pytest.fixture
def house(tmp_path: Path, runtimes_dir: Path) -> House:
    settings = load_settings({"data_dir": tmp_path / "data", "runtimes_dir": runtimes_dir}, {})
    blobs = Blobs(tmp_path / "data" / "blobs", Ids(), durable=False)
    blobs.open()
    return House(settings, blobs, Runtimes(SimpleNamespace(settings=settings, blobs=blobs)))


def found_here() -> list[str]:
    """The Python runtimes whose interpreter this machine has; at least the one that runs the tests."""
    return sorted(f"python{minor}" for minor in asyncio.run(Interpreters().all()))


@dataclass
class Ran:
    """What a run of a root said: requests to the Runtime API in order as (path, JSON body), and everything printed."""

    said: list[tuple[str, Any]]
    printed: str
    code: int

    def response(self) -> Any:
        return next(body for path, body in self.said if path.endswith("/response"))

    def init_error(self) -> Any:
        return next(body for path, body in self.said if path.endswith("/init/error"))


#: Shows a root's mounts in a mount namespace of its own, then becomes its program. A stand-in for the sandbox.
_SHOW = """
set -e
umask 022
mount --make-rprivate /
mount -t tmpfs stage /mnt
mkdir -p /mnt/var /mnt/opt
mount --bind /mnt/var /var; mount --bind /mnt/opt /opt
while [ "$1" != -- ]; do
  mkdir -p "$2"; mount --bind "$1" "$2"; mount -o remount,bind,ro "$2"; shift 2
done
shift; cd "$1"; shift
exec "$@"
"""


@pytest.fixture
def run() -> Callable[..., Awaitable[Ran]]:
    """Shows a root's mounts and starts its program."""

    async def _run(root: Root, event: Any = None, environment: Mapping[str, str] | None = None) -> Ran:
        mounts = [part for source, target in root.mounts for part in (str(source), target)]
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        shown = ["unshare", *user, "--mount", "/bin/sh", "-c", _SHOW, "sh", *mounts, "--", root.cwd]
        return await talk(list(root.argv), {**root.env, **(environment or {})}, "/", event, shown)

    return _run


async def talk(
    argv: list[str], environment: Mapping[str, str], cwd: str, event: Any = None, within: Sequence[str] = ()
) -> Ran:
    """Start `within` + `argv`, and be its Runtime API: one event, then nothing more."""
    said: list[tuple[str, Any]] = []
    answered = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if method == "GET" and answered.is_set():
                    await asyncio.sleep(3600)
                if method == "GET":
                    payload, status = json.dumps(event).encode(), "200 OK"
                else:
                    said.append((path, json.loads(body or b"null")))
                    answered.set()
                    payload, status = b'{"status":"OK"}', "202 Accepted"
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
                    "Lambda-Runtime-Aws-Request-Id: request-1\r\nLambda-Runtime-Deadline-Ms: 4000000000000\r\n"
                    "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-west-1:000000000000:function:f\r\n"
                    "\r\n".encode()
                    + payload
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    variables = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        **environment,
    }
    process = await asyncio.create_subprocess_exec(
        *within,
        *("env", "-i", *(f"{key}={value}" for key, value in variables.items()), *argv),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    ended = asyncio.ensure_future(process.wait())
    try:
        first = asyncio.ensure_future(answered.wait())
        await asyncio.wait({ended, first}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        if any(path.endswith("/init/error") for path, _ in said):
            await asyncio.wait({ended}, timeout=10)
    finally:
        if process.returncode is None:
            process.kill()
        code = await ended
        server.close()
    assert process.stdout is not None
    printed = (await process.stdout.read()).decode(errors="replace")
    return Ran(said, printed, code)
