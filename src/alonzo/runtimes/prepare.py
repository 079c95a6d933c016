"""Prepares a managed runtime's folder once, then read-only; what is in it is its language's `Recipe`.

A prepared folder is complete or absent: it is built beside its place under a lock that all processes share, tried out,
and renamed. It holds `lang` (/var/lang inside), `runtime` (/var/runtime inside) and `manifest.json`.
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
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from alonzo.core.dataclasses import dataclass
from alonzo.runtimes import langtree
from alonzo.runtimes.errors import RuntimeUnavailable
from alonzo.runtimes.interpreters import Interpreters
from alonzo.runtimes.node import NodeRecipe
from alonzo.runtimes.nodes import Nodes
from alonzo.runtimes.processes import to_the_end
from alonzo.runtimes.python import PythonRecipe
from alonzo.runtimes.recipe import Program, Progress, Recipe
from alonzo.runtimes.table import RUNTIMES, ManagedRuntime, lookup

#: Raised whenever a prepared folder looks different; also the number in `python:3.12.v1`.
LAYOUT = 1
#: How long to wait while another process prepares the same runtime.
LOCK_DEADLINE_S = 600.0
_LOCK_POLL_S = 0.1
#: A prepared folder that no process has used for so long is removed when its runtime is prepared anew.
UNUSED_S = 7 * 86400.0


def _silent(_: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A runtime ready for use. `packages` maps names to versions; `client` is the setting `runtime_client`."""

    runtime: ManagedRuntime
    folder: Path
    interpreter: str
    interpreter_version: str
    packages: dict[str, str]
    client: str = "lean"

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
    """Makes and finds the prepared folders below `root`. `nodes` are by default those of the whole machine."""

    def __init__(
        self, root: Path, interpreters: Interpreters, *, nodes: Nodes | None = None, offline: bool = False
    ) -> None:
        self._root = root
        self._recipes: dict[str, Recipe] = {
            "python": PythonRecipe(interpreters),
            "nodejs": NodeRecipe(nodes or Nodes(interpreters.folders), root / "node"),
        }
        self._offline = offline
        # Shared locks on the manifests of folders in use, for as long as this process lives.
        self._held: dict[Path, int] = {}

    async def install(self, identifier: str, progress: Progress = _silent, *, fetch: bool = True) -> Prepared:
        """Prepare a runtime unless it is there already; any number of callers, in any number of processes.

        With `fetch`, an interpreter that the machine lacks is fetched where its language has that.
        Raises RuntimeUnavailable: no such runtime, no interpreter, offline, or the packages cannot be installed.
        """
        runtime = lookup(identifier)
        if runtime.language == "provided":
            return _nothing_to_prepare(runtime)
        interpreter = await self._program(runtime, progress, fetch=fetch and not self._offline)
        ready = await asyncio.to_thread(self.prepared, runtime, interpreter, hold=True)
        if ready is not None:
            return ready
        if self._offline:
            raise RuntimeUnavailable(
                identifier,
                f"The runtime {identifier} has not been prepared, and fetching its packages is turned off (offline).",
                f"Run `alonzo runtime install {identifier}` once while the machine is online.",
            )
        async with self._errors(runtime):
            await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True)
            async with self._locked(runtime):
                ready = await asyncio.to_thread(self.prepared, runtime, interpreter, hold=True)
                return ready or await self._prepare(runtime, interpreter, progress)

    async def _program(self, runtime: ManagedRuntime, progress: Progress, *, fetch: bool) -> Program:
        recipe = self._recipes[runtime.language]
        try:
            return await recipe.find(runtime)
        except RuntimeUnavailable:
            if not fetch:
                raise
        async with self._errors(runtime):
            await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True)
            async with self._locked(runtime):
                await recipe.fetch(runtime, progress)
        return await recipe.find(runtime)

    @contextlib.asynccontextmanager
    async def _errors(self, runtime: ManagedRuntime) -> AsyncIterator[None]:
        """What the disk says against preparing a runtime, in words that help."""
        try:
            yield
        except OSError as error:
            raise RuntimeUnavailable(
                runtime.identifier,
                f"The runtime {runtime.identifier} could not be prepared in {self._root}: {error.strerror or error}.",
                "Make room there, or name another folder in ALONZO_RUNTIMES_DIR.",
            ) from error

    async def statuses(self) -> list[RuntimeStatus]:
        """Every runtime in the table that can be available here, and what there is of it."""
        found = {language: await recipe.all() for language, recipe in self._recipes.items()}
        return [await asyncio.to_thread(self._status, runtime, found) for runtime in RUNTIMES.values()]

    def _status(self, runtime: ManagedRuntime, found: Mapping[str, Mapping[str, Program]]) -> RuntimeStatus:
        if not runtime.available:
            return RuntimeStatus(runtime, why_not="not available in Alonzo yet")
        if runtime.language == "provided":
            none = _nothing_to_prepare(runtime)
            return RuntimeStatus(runtime, none.interpreter, none.interpreter_version, none)
        program = found[runtime.language].get(runtime.version)
        if program is None:
            why_not, mend = self._recipes[runtime.language].missing(runtime)
            return RuntimeStatus(runtime, why_not=why_not, mend=mend)
        return RuntimeStatus(runtime, program.executable, program.version, self.prepared(runtime, program))

    def prepared(self, runtime: ManagedRuntime, interpreter: Program, *, hold: bool = False) -> Prepared | None:
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

    def _folder(self, runtime: ManagedRuntime, interpreter: Program) -> Path:
        beside = self._recipes[runtime.language].fingerprint()
        facts = f"{LAYOUT}\n{interpreter.executable}\n{interpreter.version}\n{beside}"
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

    async def _prepare(self, runtime: ManagedRuntime, interpreter: Program, progress: Progress) -> Prepared:
        await asyncio.to_thread(self._remove_leftovers, runtime)
        temporary = self._root / f".{runtime.identifier}-{secrets.token_hex(6)}.tmp"
        try:
            versions = await self._recipes[runtime.language].build(runtime, interpreter, temporary, progress)
            manifest = {"interpreter": interpreter.executable, "version": interpreter.version, "packages": versions}
            (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1))
            await to_the_end(lambda: langtree.make_readable(temporary))
            folder = self._folder(runtime, interpreter)
            temporary.rename(folder)
            self._hold(folder / "manifest.json")
            await to_the_end(lambda: self._prune(runtime, folder))
        finally:
            await to_the_end(lambda: shutil.rmtree(temporary, ignore_errors=True))
        progress(f"{runtime.identifier} is ready")
        return Prepared(runtime, folder, interpreter.executable, interpreter.version, versions)

    def _remove_leftovers(self, runtime: ManagedRuntime) -> None:
        for leftover in self._root.glob(f".{runtime.identifier}-*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)


def _nothing_to_prepare(runtime: ManagedRuntime) -> Prepared:
    """An OS-only runtime: the function's own `bootstrap` is the program, this machine's system the rest."""
    system = platform.freedesktop_os_release() if sys.platform == "linux" else {}
    name = system.get("PRETTY_NAME", platform.platform())
    return Prepared(runtime, Path(), "bootstrap of the function", name, {})
