"""Fetches the peers by their package names into an environment of the benchmark's own, with the ordinary clients.

`ALONZO_BENCHMARKS_DIR` says where (default `~/.cache/alonzo-benchmarks`); nothing else of the machine is changed, and
deleting the folder undoes it. Versions are pinned, so that a figure names what it was measured against.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PYTHON_PACKAGES = {
    "ministack": "1.5.33",
    "moto[server]": "5.2.5",
    "awslambdaric": "4.2.2",
    "boto3": "1.43.106",
    "py-spy": "0.4.3",
    "matplotlib": "3.11.2",
}
NODE_PACKAGES = {"serverless": "3.40.0", "serverless-offline": "13.10.1"}
#: The Runtime Interface Emulator as AWS builds and ships it. Module proxies do not all have its Go module; this package
#: contains the finished program.
SAM = ("aws-sam-cli", "1.170.0")


class Unavailable(Exception):
    """A peer cannot take part; the message says why."""


def folder() -> Path:
    """The benchmark's own folder."""
    chosen = os.environ.get("ALONZO_BENCHMARKS_DIR", "~/.cache/alonzo-benchmarks")
    path = Path(chosen).expanduser()
    path.mkdir(parents=True, exist_ok=True)
    return path


def environment(**more: str) -> dict[str, str]:
    """A plain environment for a peer: none of this process's settings reach it."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    return {**{key: os.environ[key] for key in kept if key in os.environ}, **more}


def run(command: list[str], what: str, *, timeout_s: float = 600, cwd: Path | None = None) -> str:
    """Run a fetching command. Raises Unavailable with the last line it printed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, cwd=cwd, check=False)
    except FileNotFoundError:
        raise Unavailable(f"{what}: {command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what}: not fetched within {timeout_s:g} s") from None
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        said = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise Unavailable(f"{what} could not be fetched: {said[:160]}")
    return done.stdout


def python() -> Path:
    """The interpreter of the environment, of the same version as this one, with every Python package."""
    wanted = [f"{name}=={version}" for name, version in PYTHON_PACKAGES.items()]
    home = folder() / f"python{sys.version_info.major}.{sys.version_info.minor}"
    marker, interpreter = home / "fetched", home / "bin" / "python"
    if marker.exists() and marker.read_text().split() == wanted:
        return interpreter
    base = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    run([base, "-m", "venv", "--clear", str(home)], "the Python packages")
    run([str(interpreter), "-m", "pip", "install", "--quiet", *wanted], "the Python packages")
    run([str(interpreter), "-m", "compileall", "-q", str(home / "lib")], "the Python packages")
    marker.write_text(" ".join(wanted))
    return interpreter


def node() -> Path:
    """The folder that has `node_modules` with serverless and serverless-offline."""
    wanted = [f"{name}@{version}" for name, version in NODE_PACKAGES.items()]
    home = folder() / "node"
    marker = home / "fetched"
    if marker.exists() and marker.read_text().split() == wanted:
        return home
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    (home / "package.json").write_text('{"private": true}\n')
    flags = ["--no-audit", "--no-fund", "--ignore-scripts"]
    run(["npm", "install", *flags, *wanted], "serverless-offline", cwd=home)
    marker.write_text(" ".join(wanted))
    return home


def emulator() -> Path:
    """AWS's Runtime Interface Emulator, out of the package of AWS's that contains it."""
    machine = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    if machine is None:
        raise Unavailable(f"no Runtime Interface Emulator for {platform.machine()}")
    name, version = SAM
    home = folder() / f"rie-{version}"
    program = home / "aws-lambda-rie"
    if program.exists():
        return program
    command = [str(python()), "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    run([*command, "-d", str(home), f"{name}=={version}"], "the Runtime Interface Emulator")
    (wheel,) = home.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        program.write_bytes(archive.read(f"samcli/local/rapid/aws-lambda-rie-{machine}"))
    program.chmod(0o755)
    wheel.unlink()
    return program
