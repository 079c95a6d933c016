"""Finds the CPython interpreters of this machine, and proves each by running it once."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alonzo.core.dataclasses import dataclass
from alonzo.runtimes.errors import RuntimeUnavailable
from alonzo.runtimes.table import RUNTIMES

#: An interpreter that does not answer within this time is left out.
PROBE_DEADLINE_S = 20.0
#: Interpreters probed side by side.
_PROBES = 4

_PROBE = r"""
import importlib.util, json, os, struct, sys, sysconfig
get = sysconfig.get_config_var
paths = sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_exec_prefix})
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": list(sys.version_info[:3]),
    "final": sys.version_info[3] == "final",
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "base_prefix": sys.base_prefix,
    "stdlib": os.path.dirname(os.path.realpath(os.__file__)),
    "platstdlib": paths["platstdlib"],
    "dynload": get("DESTSHARED") or "",
    "libdir": get("LIBDIR") or "",
    "platlibdir": getattr(sys, "platlibdir", "lib"),
    "plain": not (getattr(sys, "abiflags", "").strip("m") or get("Py_GIL_DISABLED")),
    "bits": struct.calcsize("P") * 8,
    "pip": importlib.util.find_spec("pip") is not None,
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One CPython, as it described itself. `minor` is "3.12", `version` "3.12.1"; paths are the machine's own."""

    executable: str
    minor: str
    version: str
    final: bool
    base_prefix: str
    stdlib: str
    platstdlib: str
    dynload: str
    libdir: str
    platlibdir: str
    pip: bool

    @property
    def rank(self) -> tuple[bool, tuple[int, ...]]:
        """Higher is preferred: releases over previews, then the newest."""
        return self.final, tuple(int(part) for part in self.version.split("."))


class Interpreters:
    """The interpreters that can be found, by version; what a probe answered is kept in `cache`.

    `folders` are searched first: each holds interpreters itself, or in its `bin`.
    """

    def __init__(
        self,
        folders: Iterable[Path] = (),
        cache: Path | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        only: bool = False,
    ) -> None:
        self.folders = tuple(folders)
        self._cache = cache
        self._environ = os.environ if environ is None else environ
        self._only = only
        self._lock = asyncio.Lock()

    async def find(self, minor: str) -> Interpreter:
        """The best CPython `minor` ("3.12"). Raises RuntimeUnavailable with the way to install it."""
        found = await self._probe_all(list(self._candidates((minor,))))
        fitting = [interpreter for interpreter in found if interpreter.minor == minor]
        if not fitting:
            raise RuntimeUnavailable(
                f"python{minor}",
                f"The runtime python{minor} needs CPython {minor}, which was not found on this machine.",
                f"Install it with `uv python install {minor}` or your system's package python{minor}, "
                "or name its folder in ALONZO_INTERPRETERS.",
            )
        return max(fitting, key=lambda interpreter: interpreter.rank)

    async def all(self) -> dict[str, Interpreter]:
        """The best interpreter for each version in the table of runtimes."""
        minors = tuple(row.version for row in RUNTIMES.values() if row.language == "python")
        best: dict[str, Interpreter] = {}
        for interpreter in await self._probe_all(list(self._candidates(minors))):
            rival = best.get(interpreter.minor)
            if interpreter.minor in minors and (rival is None or interpreter.rank > rival.rank):
                best[interpreter.minor] = interpreter
        return best

    def _bins(self) -> Iterator[Path]:
        for folder in self.folders:
            yield folder
            yield folder / "bin"
        if self._only:
            return
        yield Path(sys.base_prefix) / "bin"
        home = Path(self._environ.get("HOME") or "~").expanduser()
        data = Path(self._environ.get("XDG_DATA_HOME") or home / ".local/share")
        pyenv = Path(self._environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
        uv = Path(self._environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")
        for versions in (pyenv, uv, Path("/opt")):
            for version in _children(versions):
                yield version / "bin"
        yield Path("/usr/local/bin")
        yield Path("/usr/bin")
        for entry in self._environ.get("PATH", "").split(os.pathsep):
            if entry and Path(entry).is_absolute():
                yield Path(entry)

    def _candidates(self, minors: tuple[str, ...]) -> Iterator[Path]:
        seen: set[Path] = set()
        for folder in self._bins():
            for minor in minors:
                path = folder / f"python{minor}"
                try:
                    # pyenv's shims and the like stay what they are: resolving them would lose the name they go by.
                    real = path.resolve(strict=True)
                except OSError:
                    continue
                if real not in seen and os.access(real, os.X_OK) and real.is_file():
                    seen.add(real)
                    yield path

    async def _probe_all(self, paths: list[Path]) -> list[Interpreter]:
        async with self._lock:
            cache = await asyncio.to_thread(self._load)
            slots = asyncio.Semaphore(_PROBES)

            async def one(path: Path) -> tuple[str, dict[str, Any] | None]:
                key = _key(path)
                if key in cache:
                    return key, cache[key]
                async with slots:
                    return key, await _probe(path)

            answers = await asyncio.gather(*(one(path) for path in paths))
            fresh = {key: answer for key, answer in answers if key not in cache}
            if fresh:
                await asyncio.to_thread(self._save, {**cache, **fresh})
        return [Interpreter(**answer) for _, answer in answers if answer is not None]

    def _load(self) -> dict[str, dict[str, Any] | None]:
        if self._cache is None:
            return {}
        try:
            loaded = json.loads(self._cache.read_bytes())
            if loaded["format"] != _FORMAT:
                return {}
            answers: dict[str, dict[str, Any] | None] = loaded["answers"]
            return {key: answer for key, answer in answers.items() if answer is None or Interpreter(**answer)}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _save(self, answers: dict[str, dict[str, Any] | None]) -> None:
        if self._cache is None:
            return
        temporary = self._cache.with_name(f".{self._cache.name}.{os.getpid()}")
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"format": _FORMAT, "answers": answers}, indent=1))
            temporary.replace(self._cache)
        except OSError:
            # The cache only saves time; a full or read-only disk shows itself where it matters.
            temporary.unlink(missing_ok=True)


#: Raised whenever the probe asks for something else.
_FORMAT = 1


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir(), reverse=True)
    except OSError:
        return []


def _key(path: Path) -> str:
    status = path.stat()
    return f"{path}:{status.st_mtime_ns}:{status.st_size}"


async def _probe(path: Path) -> dict[str, Any] | None:
    """What the interpreter says of itself; None if it does not run, or is not a plain 64-bit CPython."""
    try:
        process = await asyncio.create_subprocess_exec(
            str(path),
            "-I",
            "-c",
            _PROBE,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return None
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PROBE_DEADLINE_S)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        said = json.loads(output)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    if said["implementation"] != "cpython" or not said["plain"] or said["bits"] != 64:
        return None
    major, minor, micro = said["version"]
    fields = {name: said[name] for name in Interpreter.__slots__ if name in said and name != "version"}
    return asdict(Interpreter(minor=f"{major}.{minor}", version=f"{major}.{minor}.{micro}", **fields))


def find_uv() -> str | None:
    """The uv command, on PATH or beside this interpreter."""
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
