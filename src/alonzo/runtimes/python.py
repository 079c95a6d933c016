"""Prepares Python's runtimes: a copy of the interpreter, AWS's runtime interface client, boto3.

The interpreter is copied, not shown in place: its own site-packages stay out of sight, and what happens to it later
does not matter.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

from alonzo.runtimes import bootstraps, langtree
from alonzo.runtimes.errors import RuntimeUnavailable
from alonzo.runtimes.interpreters import Interpreter, Interpreters, find_uv
from alonzo.runtimes.processes import last_error, run, to_the_end
from alonzo.runtimes.recipe import Program, Progress
from alonzo.runtimes.table import ManagedRuntime

#: What is installed beside the interpreter: AWS's runtime interface client and SDK, the newest the interpreter takes.
PACKAGES = ("awslambdaric", "boto3")
#: Fetching and installing the packages may take this long.
INSTALL_DEADLINE_S = 300.0
_COMPILE_DEADLINE_S = 300.0
_TRY_DEADLINE_S = 60.0


class PythonRecipe:
    """See `recipe.Recipe`."""

    def __init__(self, interpreters: Interpreters) -> None:
        self._interpreters = interpreters

    async def find(self, runtime: ManagedRuntime) -> Interpreter:
        return await self._interpreters.find(runtime.version)

    async def all(self) -> Mapping[str, Interpreter]:
        return await self._interpreters.all()

    def missing(self, runtime: ManagedRuntime) -> tuple[str, str]:
        return f"no CPython {runtime.version} on this machine", f"uv python install {runtime.version}"

    async def fetch(self, runtime: ManagedRuntime, progress: Progress) -> None:
        """Interpreters are the machine's own."""

    def fingerprint(self) -> str:
        return bootstraps.digest()

    async def build(
        self, runtime: ManagedRuntime, program: Program, folder: Path, progress: Progress
    ) -> dict[str, str]:
        interpreter = program if isinstance(program, Interpreter) else await self.find(runtime)
        progress(f"Copying CPython {interpreter.version} from {interpreter.base_prefix}")
        await to_the_end(lambda: langtree.build(interpreter, folder / "lang"))
        (folder / "runtime").mkdir()
        packages = self._packages_folder(runtime, folder)
        progress(f"Installing {', '.join(PACKAGES)}")
        await self._install_packages(runtime, interpreter, packages)
        bootstraps.write(folder / "runtime", client=await self._knows(runtime, folder))
        progress("Compiling")
        await self._compile(runtime, folder)
        await self._try(runtime, folder)
        await self._record_patterns(runtime, folder)
        return {d.metadata["Name"]: d.version for d in distributions(path=[str(packages)])}

    @staticmethod
    def _packages_folder(runtime: ManagedRuntime, folder: Path) -> Path:
        """Where the SDK lies on AWS: site-packages from Python 3.11 on, /var/runtime before."""
        if tuple(int(part) for part in runtime.version.split(".")) >= (3, 11):
            return folder / "lang" / "lib" / f"python{runtime.version}" / "site-packages"
        return folder / "runtime"

    async def _install_packages(self, runtime: ManagedRuntime, interpreter: Interpreter, target: Path) -> None:
        reasons = []
        for argv in _installers(interpreter, target):
            code, output = await run(argv, INSTALL_DEADLINE_S, _installer_environment())
            if code == 0 and all((target / package).is_dir() for package in PACKAGES):
                # Console scripts name the machine's own interpreter; nothing inside could run them.
                shutil.rmtree(target / "bin", ignore_errors=True)
                return
            reasons.append(last_error(output) or f"{Path(argv[0]).name} ended with status {code}")
        raise RuntimeUnavailable(
            runtime.identifier,
            f"The packages of {runtime.identifier} ({', '.join(PACKAGES)}) could not be installed: {reasons[0]}."
            if reasons
            else f"Neither pip nor uv was found to install the packages of {runtime.identifier}.",
            f"Check the connection to the package index, then run `alonzo runtime install {runtime.identifier}`."
            if reasons
            else f"Install uv, or pip for {interpreter.executable}.",
        )

    async def _knows(self, runtime: ManagedRuntime, folder: Path) -> bool:
        packages = self._packages_folder(runtime, folder)
        return (await self._python(runtime, folder, "-B", str(bootstraps.KNOWN), str(packages)))[0] == 0

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
                f"The interpreter of {runtime.identifier} does not work when copied: {last_error(output)}.",
                f"Install another CPython {runtime.version}, for example with `uv python install {runtime.version}`.",
            )

    async def _record_patterns(self, runtime: ManagedRuntime, folder: Path) -> None:
        file = folder / "runtime" / "patterns.bin"
        code, output = await self._python(
            runtime, folder, "-B", str(bootstraps.PATTERNS), str(file), str(self._packages_folder(runtime, folder))
        )
        if code != 0:
            raise RuntimeUnavailable(
                runtime.identifier, f"The client of {runtime.identifier} cannot be imported: {last_error(output)}."
            )

    @staticmethod
    async def _python(
        runtime: ManagedRuntime, folder: Path, *arguments: str, deadline_s: float = _TRY_DEADLINE_S
    ) -> tuple[int, str]:
        executable = folder / "lang" / "bin" / f"python{runtime.version}"
        environment = {"LD_LIBRARY_PATH": str(folder / "lang" / "lib"), "PATH": os.defpath, "LC_CTYPE": "C.UTF-8"}
        return await run([str(executable), "-E", "-s", "-S", *arguments], deadline_s, environment)


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
