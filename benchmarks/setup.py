"""A server with functions, buckets and a role, as the cases need them."""

from __future__ import annotations

import io
import json
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alonzo.testing import Server

RUNTIME = f"python3.{min(sys.version_info.minor, 14)}"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


@contextmanager
def durable_server(**settings: str) -> Iterator[Server]:
    """A server with a durable data folder on disk: isolation, signatures, permissions and durability on."""
    with (
        tempfile.TemporaryDirectory(prefix="alonzo-bench-", dir=Path.cwd() / ".cache") as folder,
        Server(Path(folder) / "data", {"account_concurrency": "3000", **settings}) as server,
    ):
        yield server


def zipped(source: str, name: str = "app.py") -> bytes:
    """A deployment package with one module."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, source)
    return buffer.getvalue()


def role(server: Server, name: str = "bench") -> str:
    """A role with the basic execution policy; returns its ARN."""
    iam = server.client("iam")
    try:
        return str(iam.get_role(RoleName=name)["Role"]["Arn"])
    except iam.exceptions.NoSuchEntityException:
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
        iam.attach_role_policy(
            RoleName=name, PolicyArn="arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
        )
        return str(arn)


def function(server: Server, name: str, source: str, **more: Any) -> str:
    """Create a function and wait until it is active; returns its ARN."""
    client = server.client("lambda")
    arn = client.create_function(
        FunctionName=name,
        **{
            "Runtime": RUNTIME,
            "Handler": "app.handler",
            "Role": role(server),
            "Code": {"ZipFile": zipped(source)},
            "MemorySize": 1769,
            "Timeout": 30,
            **more,
        },
    )["FunctionArn"]
    deadline = time.monotonic() + 300
    while (state := client.get_function_configuration(FunctionName=name))["State"] == "Pending":
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} is still pending")
        time.sleep(0.05)
    assert state["State"] == "Active", state
    return str(arn)


def _processes() -> dict[int, list[int]]:
    """Every process's children."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(") ", 1)[1].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        except (OSError, IndexError):
            continue
    return children


def memory_of(server: int, init: str) -> list[float]:
    """Private memory, in MB, of each environment of the server `server`: its init, whose command line is `init`, and
    the processes below it. Those that lie ready, without a function's package, are not counted."""
    children, found = _processes(), []
    for host in children.get(server, ()):
        for leader in children.get(host, ()):
            try:
                if not Path(f"/proc/{leader}/cmdline").read_text().startswith(init):
                    continue
                if " /var/task " not in Path(f"/proc/{leader}/mountinfo").read_text():
                    continue
                private = 0.0
                for pid in (leader, *children.get(leader, ())):
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                    private += sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
                found.append(private)
            except OSError:
                continue
    return found


def memory_mb(pid: int) -> float:
    """Proportional memory of a process and all its descendants, in MB."""
    children = _processes()
    total, todo = 0.0, [pid]
    while todo:
        current = todo.pop()
        todo += children.get(current, [])
        try:
            lines = Path(f"/proc/{current}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return total


class Peak(threading.Thread):
    """Samples a process's memory until told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._ended, self.peak = pid, threading.Event(), 0.0

    def run(self) -> None:
        while not self._ended.wait(0.05):
            self.peak = max(self.peak, memory_mb(self._pid))

    def end(self) -> float:
        self._ended.set()
        self.join()
        return self.peak
