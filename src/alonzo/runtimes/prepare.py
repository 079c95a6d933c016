"""Prepares a managed runtime's folder: interpreter, AWS's runtime interface client, boto3; once, then read-only.

A prepared folder is complete or absent: it is built beside its place under a lock that all processes share, tried out,
and renamed. It holds `lang` (/var/lang inside), `runtime` (/var/runtime inside) and `manifest.json`. The interpreter is
copied, not shown in place: its own site-packages stay out of sight, and what happens to it later does not matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from alonzo.runtimes import bootstraps, langtree
from alonzo.runtimes.errors import RuntimeUnavailable
from alonzo.runtimes.interpreters import Interpreter, Interpreters, find_uv
from alonzo.runtimes.table import RUNTIMES, ManagedRuntime, lookup

#: Raised whenever a prepared folder looks different; also the number in `python:3.12.v1`.
LAYOUT = 1
#: What is installed beside the interpreter: AWS's runtime interface client and SDK, the newest the interpreter takes.
PACKAGES = ("awslambdaric", "boto3")
#: Fetching and installing the packages may take this long.
INSTALL_DEADLINE_S = 300.0
#: How long to wait while another process prepares the same runtime.
LOCK_DEADLINE_S = 600.0
_LOCK_POLL_S = 0.1
_COMPILE_DEADLINE_S = 300.0
_TRY_DEADLINE_S = 60.0
#: A prepared folder that no process has used for so long is removed when its runtime is prepared anew.
UNUSED_S = 7 * 86400.0

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A runtime ready for use. `packages` maps names to versions."""

    runtime: ManagedRuntime
    folder: Path
    interpreter: str
    interpreter_version: str
    packages: dict[str, str]

    @property
    def mounts(self) -> tuple[tuple[Path, str], ...]:
        """Folders to show inside; an OS-only runtime brings none."""
        if self.runtime.language == "provided":
            return ()
        return (self.lang, "/var/lang"), (self.task_runtime, "/var/runtime")

    @property
    def lang(self) -> Path:
        return self.folder / "lang"

    @property
    def task_runtime(self) -> Path:
        return self.folder / "runtime"

    @property
    def version_name(self) -> str:
        """As in INIT_START: `python:3.12.v1`."""
        return f"{self.runtime.language}:{self.runtime.version}.v{LAYOUT}"

    def version_arn(self, region: str, partition: str = "aws") -> str:
        """As in RuntimeVersionConfig: the digest names interpreter and packages, so it changes whenever they do."""
        facts = json.dumps([self.runtime.identifier, LAYOUT, self.interpreter_version, sorted(self.packages.items())])
        return f"arn:{partition}:lambda:{region}::runtime:{hashlib.sha256(facts.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """One line of `alonzo runtime list` and `alonzo doctor`. Without an interpreter, `mend` says how to get one."""

    runtime: ManagedRuntime
    interpreter: str = ""
    interpreter_version: str = ""
    prepared: Prepared | None = None
    why_not: str = ""
    mend: str = ""


class Preparer:
    """Makes and finds the prepared folders below `root`."""

    def __init__(self, root: Path, interpreters: Interpreters, *, offline: bool = False) -> None:
        self._root = root
        self._interpreters = interpreters
        self._offline = offline
        # Shared locks on the manifests of folders in use, for as long as this process lives.
        self._held: dict[Path, int] = {}

    async def install(self, identifier: str, progress: Progress = _silent) -> Prepared:
        """Prepare a runtime unless it is there already; any number of callers, in any number of processes.

        Raises RuntimeUnavailable: no such runtime, no interpreter, offline, or the packages cannot be installed.
        """
        runtime = lookup(identifier)
        if runtime.language == "provided":
            return _nothing_to_prepare(runtime)
        interpreter = await self._interpreters.find(runtime.version)
        ready = await asyncio.to_thread(self.prepared, runtime, interpreter, hold=True)
        if ready is not None:
            return ready
        if self._offline:
            raise RuntimeUnavailable(
                identifier,
                f"The runtime {identifier} has not been prepared, and fetching its packages is turned off (offline).",
                f"Run `alonzo runtime install {identifier}` once while the machine is online.",
            )
        try:
            await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True)
            async with self._locked(runtime):
                ready = await asyncio.to_thread(self.prepared, runtime, interpreter, hold=True)
                return ready or await self._prepare(runtime, interpreter, progress)
        except OSError as error:
            raise RuntimeUnavailable(
                identifier,
                f"The runtime {identifier} could not be prepared in {self._root}: {error.strerror or error}.",
                "Make room there, or name another folder in ALONZO_RUNTIMES_DIR.",
            ) from error

    async def statuses(self) -> list[RuntimeStatus]:
        """Every runtime in the table that can be available here, and what there is of it."""
        found = await self._interpreters.all()
        rows = []
        for runtime in RUNTIMES.values():
            if not runtime.available:
                rows.append(RuntimeStatus(runtime, why_not="not available in Alonzo yet"))
                continue
            if runtime.language == "provided":
                none = _nothing_to_prepare(runtime)
                rows.append(RuntimeStatus(runtime, none.interpreter, none.interpreter_version, none))
                continue
            interpreter = found.get(runtime.version)
            if interpreter is None:
                rows.append(
                    RuntimeStatus(
                        runtime,
                        why_not=f"no CPython {runtime.version} on this machine",
                        mend=f"uv python install {runtime.version}",
                    )
                )
                continue
            ready = await asyncio.to_thread(self.prepared, runtime, interpreter)
            rows.append(RuntimeStatus(runtime, interpreter.executable, interpreter.version, ready))
        return rows

    def prepared(self, runtime: ManagedRuntime, interpreter: Interpreter, *, hold: bool = False) -> Prepared | None:
        """The prepared folder for this interpreter, if there is one; with `hold` nobody removes it from now on."""
        folder = self._folder(runtime, interpreter)
        path = folder / "manifest.json"
        try:
            if hold:
                self._hold(path)
            manifest = json.loads(path.read_bytes())
            return Prepared(runtime, folder, manifest["interpreter"], manifest["version"], manifest["packages"])
        except (OSError, ValueError, KeyError):
            held = self._held.pop(path, -1)  # removed just before it was held
            if held >= 0:
                os.close(held)
            return None

    def _hold(self, manifest: Path) -> None:
        if manifest not in self._held:
            fd = os.open(manifest, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_SH)
            self._held[manifest] = fd
            with contextlib.suppress(OSError):  # another user's folder
                os.utime(manifest)

    def _prune(self, runtime: ManagedRuntime, keep: Path) -> None:
        """Remove this runtime's folders for former interpreters, packages and layouts that nothing uses any more."""
        for manifest in self._root.glob(f"{runtime.identifier}-*/manifest.json"):
            if manifest.parent == keep or time.time() - manifest.stat().st_mtime < UNUSED_S:
                continue
            fd = os.open(manifest, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                gone = manifest.parent.with_name(f".{manifest.parent.name}.tmp")
                manifest.parent.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
            except OSError:
                pass  # in use, or another user's
            finally:
                os.close(fd)

    def _folder(self, runtime: ManagedRuntime, interpreter: Interpreter) -> Path:
        facts = f"{LAYOUT}\n{interpreter.executable}\n{interpreter.version}\n{bootstraps.digest()}"
        return self._root / f"{runtime.identifier}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"

    @contextlib.asynccontextmanager
    async def _locked(self, runtime: ManagedRuntime) -> AsyncIterator[None]:
        """One preparer of a runtime at a time; the kernel lets go of the lock of a process that dies."""
        path = self._root / f"{runtime.identifier}.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            deadline = asyncio.get_running_loop().time() + LOCK_DEADLINE_S
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if asyncio.get_running_loop().time() > deadline:
                        raise RuntimeUnavailable(
                            runtime.identifier,
                            f"Another process has been preparing {runtime.identifier} for {LOCK_DEADLINE_S:.0f} s.",
                            f"See which one holds {path}.",
                        ) from None
                    await asyncio.sleep(_LOCK_POLL_S)
            yield
        finally:
            os.close(fd)

    async def _prepare(self, runtime: ManagedRuntime, interpreter: Interpreter, progress: Progress) -> Prepared:
        await asyncio.to_thread(self._remove_leftovers, runtime)
        temporary = self._root / f".{runtime.identifier}-{secrets.token_hex(6)}.tmp"
        try:
            progress(f"Copying CPython {interpreter.version} from {interpreter.base_prefix}")
            await _to_the_end(lambda: langtree.build(interpreter, temporary / "lang"))
            (temporary / "runtime").mkdir()
            packages = self._packages_folder(runtime, temporary)
            progress(f"Installing {', '.join(PACKAGES)}")
            await self._install_packages(runtime, interpreter, packages)
            bootstraps.write(temporary / "runtime")
            progress("Compiling")
            await self._compile(runtime, temporary)
            await self._try(runtime, temporary)
            await self._record_patterns(runtime, temporary)
            versions = {d.metadata["Name"]: d.version for d in distributions(path=[str(packages)])}
            manifest = {"interpreter": interpreter.executable, "version": interpreter.version, "packages": versions}
            (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1))
            await _to_the_end(lambda: langtree.make_readable(temporary))
            folder = self._folder(runtime, interpreter)
            temporary.rename(folder)
            self._hold(folder / "manifest.json")
            await _to_the_end(lambda: self._prune(runtime, folder))
        finally:
            await _to_the_end(lambda: shutil.rmtree(temporary, ignore_errors=True))
        progress(f"{runtime.identifier} is ready")
        return Prepared(runtime, folder, interpreter.executable, interpreter.version, versions)

    def _remove_leftovers(self, runtime: ManagedRuntime) -> None:
        for leftover in self._root.glob(f".{runtime.identifier}-*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)

    @staticmethod
    def _packages_folder(runtime: ManagedRuntime, folder: Path) -> Path:
        """Where the SDK lies on AWS: site-packages from Python 3.11 on, /var/runtime before."""
        if tuple(int(part) for part in runtime.version.split(".")) >= (3, 11):
            return folder / "lang" / "lib" / f"python{runtime.version}" / "site-packages"
        return folder / "runtime"

    async def _install_packages(self, runtime: ManagedRuntime, interpreter: Interpreter, target: Path) -> None:
        reasons = []
        for argv in _installers(interpreter, target):
            code, output = await _run(argv, INSTALL_DEADLINE_S, _installer_environment())
            if code == 0 and all((target / package).is_dir() for package in PACKAGES):
                # Console scripts name the machine's own interpreter; nothing inside could run them.
                shutil.rmtree(target / "bin", ignore_errors=True)
                return
            reasons.append(_last_error(output) or f"{Path(argv[0]).name} ended with status {code}")
        raise RuntimeUnavailable(
            runtime.identifier,
            f"The packages of {runtime.identifier} ({', '.join(PACKAGES)}) could not be installed: {reasons[0]}."
            if reasons
            else f"Neither pip nor uv was found to install the packages of {runtime.identifier}.",
            f"Check the connection to the package index, then run `alonzo runtime install {runtime.identifier}`."
            if reasons
            else f"Install uv, or pip for {interpreter.executable}.",
        )

    async def _compile(self, runtime: ManagedRuntime, folder: Path) -> None:
        # Some packages ship templates that are no valid Python; compileall says so by its status, and goes on.
        await self._python(
            *(runtime, folder, "-m", "compileall", "-q", "-q", str(folder / "lang" / "lib"), str(folder / "runtime")),
            deadline_s=_COMPILE_DEADLINE_S,
        )

    async def _try(self, runtime: ManagedRuntime, folder: Path) -> None:
        path = [str(self._packages_folder(runtime, folder)), str(folder / "runtime")]
        program = f"import sys; sys.path[:0] = {path!r}; import ssl, runtime_client, awslambdaric.bootstrap, boto3"
        code, output = await self._python(runtime, folder, "-B", "-c", program)
        if code != 0:
            raise RuntimeUnavailable(
                runtime.identifier,
                f"The interpreter of {runtime.identifier} does not work when copied: {_last_error(output)}.",
                f"Install another CPython {runtime.version}, for example with `uv python install {runtime.version}`.",
            )

    async def _record_patterns(self, runtime: ManagedRuntime, folder: Path) -> None:
        file = folder / "runtime" / "patterns.bin"
        code, output = await self._python(
            runtime, folder, "-B", str(bootstraps.PATTERNS), str(file), str(self._packages_folder(runtime, folder))
        )
        if code != 0:
            raise RuntimeUnavailable(
                runtime.identifier, f"The client of {runtime.identifier} cannot be imported: {_last_error(output)}."
            )

    @staticmethod
    async def _python(
        runtime: ManagedRuntime, folder: Path, *arguments: str, deadline_s: float = _TRY_DEADLINE_S
    ) -> tuple[int, str]:
        executable = folder / "lang" / "bin" / f"python{runtime.version}"
        environment = {"LD_LIBRARY_PATH": str(folder / "lang" / "lib"), "PATH": os.defpath, "LC_CTYPE": "C.UTF-8"}
        return await _run([str(executable), "-E", "-s", "-S", *arguments], deadline_s, environment)


def _nothing_to_prepare(runtime: ManagedRuntime) -> Prepared:
    """An OS-only runtime: the function's own `bootstrap` is the program, this machine's system the rest."""
    system = platform.freedesktop_os_release() if sys.platform == "linux" else {}
    name = system.get("PRETTY_NAME", platform.platform())
    return Prepared(runtime, Path(), "bootstrap of the function", f"on {name}", {})


def _installers(interpreter: Interpreter, target: Path) -> list[list[str]]:
    """Ways to install the packages for `interpreter` into `target`, best first. Wheels only: nothing is built here."""
    pip = ["install", "--quiet", "--no-input", "--no-compile", "--disable-pip-version-check"]
    pip += ["--only-binary", ":all:", "--target", str(target), *PACKAGES]
    ways = []
    if interpreter.pip:
        ways.append([interpreter.executable, "-I", "-m", "pip", *pip])
    uv = find_uv()
    if uv is not None:
        wheels = ["--only-binary", ":all:", "--target", str(target), *PACKAGES]
        ways.append(
            [uv, "pip", "install", "--quiet", "--no-python-downloads", "--python", interpreter.executable, *wheels]
        )
    if any(d.metadata["Name"] == "pip" for d in distributions()):
        other = ["--python-version", interpreter.minor, "--implementation", "cp"]
        ways.append([sys.executable, "-I", "-m", "pip", pip[0], *other, *pip[1:]])
    return ways


def _installer_environment() -> dict[str, str]:
    """The user's own index settings count; settings that would send the packages elsewhere do not."""
    elsewhere = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "UV_TARGET", "UV_PREFIX")
    kept = {key: value for key, value in os.environ.items() if key not in elsewhere}
    return {**kept, "PIP_ROOT_USER_ACTION": "ignore", "PIP_RETRIES": kept.get("PIP_RETRIES", "2")}


async def _to_the_end(work: Callable[[], None]) -> None:
    """Run in a thread, and wait for it even when cancelled: a thread left alone would write into what is cleaned up."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait({task})


async def _run(argv: Sequence[str], deadline_s: float, environment: dict[str, str]) -> tuple[int, str]:
    """Run to the end, at most `deadline_s`; the exit status and what was printed."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), deadline_s)
    except TimeoutError:
        return -1, f"it took longer than {deadline_s:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


def _last_error(output: str) -> str:
    """The line that says why, of what pip, uv or Python printed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    chosen = errors[-1] if errors else lines[-1] if lines else ""
    return chosen.removeprefix("ERROR:").strip().rstrip(".")[:300]
