"""Finds the Node.js programs of this machine, and asks each for its version."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from alonzo.core.dataclasses import dataclass
from alonzo.runtimes.errors import RuntimeUnavailable
from alonzo.runtimes.processes import run

PROBE_DEADLINE_S = 20.0
#: Programs asked side by side.
_PROBES = 4
_PROBE = (
    "console.log(JSON.stringify({version: process.versions.node, executable: process.execPath, "
    "release: process.release.name, prerelease: process.version.includes('-')}))"
)


@dataclass(frozen=True, slots=True)
class Node:
    """One Node.js. `executable` is its real file, `version` as "22.20.0"."""

    executable: str
    version: str

    @property
    def major(self) -> str:
        return self.version.split(".", 1)[0]

    @property
    def rank(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))

    @property
    def npm(self) -> tuple[str, ...]:
        """The command that runs the npm which came with it, () without one."""
        script = Path(self.executable).parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
        return (self.executable, str(script)) if script.is_file() else ()


class Nodes:
    """The Node.js programs that can be found. `folders` are searched first: each holds programs itself, or in `bin`;
    with `only` nothing else is."""

    def __init__(
        self, folders: Iterable[Path] = (), environ: Mapping[str, str] | None = None, *, only: bool = False
    ) -> None:
        self._folders = tuple(folders)
        self._environ = os.environ if environ is None else environ
        self._only = only
        self._answers: dict[str, Node | None] = {}
        self._lock = asyncio.Lock()
        self._slots = asyncio.Semaphore(_PROBES)

    async def all(self, fetched: Path) -> dict[str, Node]:
        """The newest of each major version; `fetched` is the folder of those that Alonzo got itself."""
        best: dict[str, Node] = {}
        async with self._lock:
            paths = await asyncio.to_thread(lambda: list(self._candidates(fetched)))
            for node in await asyncio.gather(*(self._probe(path) for path in paths)):
                if node is not None and (node.major not in best or node.rank > best[node.major].rank):
                    best[node.major] = node
        return best

    async def find(self, major: str, fetched: Path) -> Node:
        """The best of one major version. Raises RuntimeUnavailable with the ways to get one."""
        node = (await self.all(fetched)).get(major)
        if node is None:
            raise RuntimeUnavailable(
                f"nodejs{major}.x",
                f"The runtime nodejs{major}.x needs Node.js {major}, which was not found on this machine.",
                f"Fetch it with `alonzo runtime install nodejs{major}.x`, "
                "or name the folder of yours in ALONZO_INTERPRETERS.",
            )
        return node

    async def _probe(self, path: Path) -> Node | None:
        status = path.stat()
        key = f"{path}:{status.st_mtime_ns}:{status.st_size}"
        if key not in self._answers:
            async with self._slots:
                self._answers[key] = await _ask(path)
        return self._answers[key]

    def _candidates(self, fetched: Path) -> Iterator[Path]:
        seen: set[Path] = set()
        for folder in self._bins(fetched):
            for name in ("node", "nodejs"):
                try:
                    real = (folder / name).resolve(strict=True)
                except OSError:
                    continue
                # Volta and others put a launcher in the place of every program: their real ones are found below.
                if real not in seen and real.name.startswith("node") and os.access(real, os.X_OK) and real.is_file():
                    seen.add(real)
                    yield real

    def _bins(self, fetched: Path) -> Iterator[Path]:
        for folder in self._folders:
            yield folder
            yield folder / "bin"
        yield from fetched.glob("*/bin")
        if self._only:
            return
        home = Path(self._environ.get("HOME") or "~").expanduser()
        data = Path(self._environ.get("XDG_DATA_HOME") or home / ".local/share")
        nvm = Path(self._environ.get("NVM_DIR") or home / ".nvm")
        volta = Path(self._environ.get("VOLTA_HOME") or home / ".volta")
        for folder, pattern in (
            (nvm, "versions/node/*/bin"),
            (Path(self._environ.get("FNM_DIR") or data / "fnm"), "node-versions/*/installation/bin"),
            (volta, "tools/image/node/*/bin"),
            (home / ".asdf", "installs/nodejs/*/bin"),
            (data / "mise", "installs/node/*/bin"),
            (Path(self._environ.get("N_PREFIX") or "/usr/local"), "n/versions/node/*/bin"),
            (Path("/opt"), "*/bin"),
        ):
            yield from sorted(folder.glob(pattern))
        yield Path("/usr/local/bin")
        yield Path("/usr/bin")
        if sys.platform == "darwin":
            yield from sorted(Path("/opt/homebrew/opt").glob("node*/bin"))
        for entry in self._environ.get("PATH", "").split(os.pathsep):
            if entry and Path(entry).is_absolute():
                yield Path(entry)


async def _ask(path: Path) -> Node | None:
    try:
        code, output = await run([str(path), "-e", _PROBE], PROBE_DEADLINE_S, {"PATH": os.defpath})
    except OSError:
        return None
    if code != 0:
        return None
    try:
        said = json.loads(output)
        if said["release"] != "node" or said["prerelease"]:
            return None
        return Node(said["executable"], said["version"])
    except (ValueError, KeyError, TypeError):
        return None
