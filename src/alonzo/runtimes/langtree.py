"""Copies an interpreter into a folder that can be shown at /var/lang."""

from __future__ import annotations

import fnmatch
import os
import shutil
import stat
from pathlib import Path

from alonzo.runtimes.interpreters import Interpreter

#: Parts of an installation that no function uses; the test suite alone is four times the rest.
_LEFT_OUT = (
    "test",
    "tests",
    "idlelib",
    "turtledemo",
    "config-*",
    "site-packages",
    "dist-packages",
    "*.opt-?.pyc",
    "*.a",
)
#: Libraries that interpreters bring along in their own `lib` (standalone builds, conda).
_LIBRARIES: tuple[str, ...] = (
    "libpython*",
    "libssl*",
    "libcrypto*",
    "libffi*",
    "libz.*",
    "libsqlite3*",
    "libbz2*",
    "liblzma*",
)
_LIBRARIES += (
    "libexpat*",
    "libreadline*",
    "libncurses*",
    "libtinfo*",
    "libuuid*",
    "libstdc++*",
    "libgcc_s*",
    "libmpdec*",
)


def build(interpreter: Interpreter, lang: Path) -> None:
    """Lay the interpreter out below `lang` as CPython's default layout has it, whatever the machine's own looks like.

    The executable is copied because CPython finds its library from where its real file lies. Raises OSError.
    """
    name = f"python{interpreter.minor}"
    library = lang / "lib" / name
    (lang / "bin").mkdir(parents=True)
    shutil.copyfile(interpreter.executable, lang / "bin" / name)
    (lang / "bin" / name).chmod(0o755)
    for alias in ("python3", "python"):
        (lang / "bin" / alias).symlink_to(name)
    shutil.copytree(interpreter.stdlib, library, ignore=_ignore, symlinks=False)
    if Path(interpreter.platstdlib).resolve() != Path(interpreter.stdlib).resolve():
        shutil.copytree(interpreter.platstdlib, library, ignore=_ignore, symlinks=False, dirs_exist_ok=True)
    if not (library / "lib-dynload").is_dir():
        dynload = Path(interpreter.dynload)
        if dynload.is_dir():
            shutil.copytree(dynload, library / "lib-dynload")
        else:
            (library / "lib-dynload").mkdir()
    (library / "site-packages").mkdir(exist_ok=True)
    (library / "sitecustomize.py").unlink(missing_ok=True)
    (library / "EXTERNALLY-MANAGED").unlink(missing_ok=True)
    if interpreter.platlibdir != "lib":
        (lang / interpreter.platlibdir).symlink_to("lib")
    if interpreter.base_prefix != "/usr":
        _copy_libraries(interpreter, lang / "lib")


def make_readable(folder: Path) -> None:
    """Folders 0755, files 0644 or 0755, whatever the umask was: an environment's own uid reads them."""
    for parent, _, files in os.walk(folder):
        Path(parent).chmod(0o755)
        for file in files:
            path = Path(parent, file)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                path.chmod(0o755 if mode & 0o111 else 0o644)


def _ignore(_: str, names: list[str]) -> list[str]:
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in _LEFT_OUT)]


def _copy_libraries(interpreter: Interpreter, target: Path) -> None:
    for source in {Path(interpreter.libdir), Path(interpreter.base_prefix) / "lib"}:
        if not source.is_dir() or source in (Path("/usr/lib"), Path("/usr/lib64"), Path("/lib")):
            continue
        for path in source.iterdir():
            if ".so" in path.name and path.is_file() and any(fnmatch.fnmatchcase(path.name, p) for p in _LIBRARIES):
                shutil.copyfile(path, target / path.name)
                (target / path.name).chmod(0o755)
