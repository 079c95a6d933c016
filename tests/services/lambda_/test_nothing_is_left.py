"""Functions that come and go leave nothing behind: no row, file, process, mount, cgroup or descriptor."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from alonzo.testing import Server

pytestmark = pytest.mark.slow

FUNCTIONS = 40
RUNTIME = f"python3.{sys.version_info.minor}"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
#: What outlives a function on AWS too: its logs; and here the bill.
OUTLIVES = ("logs_", "engine_meter", "sqlite_")


def descendants(pid: int) -> list[int]:
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            children[int(stat.read_text().rsplit(") ", 1)[1].split()[1])].append(int(stat.parent.name))
        except OSError:
            continue
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children[found[-1]]
    return found


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def is_somebodys(pid: int) -> bool:
    """Whether this is the init of a function's environment: those that lie ready have no package yet."""
    try:
        return command(pid).startswith("alonzo-init") and " /var/task " in Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        return False


def what_is_there(server: Server, data: Path) -> dict[str, Any]:
    """Everything that a function could have left, counted."""
    assert server.process is not None
    pid = server.process.pid
    found: dict[str, Any] = {}
    with sqlite3.connect(f"file:{data}/alonzo.db?mode=ro", uri=True) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            if not table.startswith(OUTLIVES):
                found[table] = database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
    database.close()
    for folder in ("blobs", "code"):
        found[folder] = sum(len(files) for _, _, files in os.walk(data / folder))
    processes = descendants(pid)
    # What lies ready grows with what was wanted at a time, up to a bound.
    assert len(processes) < 200
    found["environments"] = sum(is_somebodys(one) for one in processes)
    # The server and its sandbox host are the two that stay.
    found["mounts"] = [len(Path(f"/proc/{one}/mountinfo").read_text().splitlines()) for one in processes[:2]]
    found["cgroups"] = sum(
        str(pid) in name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names if name.startswith("alonzo")
    )
    return found


def descriptors(server: Server) -> list[int]:
    assert server.process is not None
    return [len(os.listdir(f"/proc/{one}/fd")) for one in descendants(server.process.pid)[:2]]


class Lives:
    """Lives of functions, each through all that leaves rows and files."""

    def __init__(self, server: Server, make_zip: Callable[..., bytes]) -> None:
        self.functions, self.zip = server.client("lambda", max_pool_connections=8), make_zip
        role = server.client("iam").create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(TRUST))
        self.role = role["Role"]["Arn"]

    def settle(self, name: str) -> None:
        deadline = time.monotonic() + 60
        while True:
            shown = self.functions.get_function_configuration(FunctionName=name)
            if shown["State"] == "Active" and shown["LastUpdateStatus"] == "Successful":
                return
            assert time.monotonic() < deadline, shown
            time.sleep(0.02)

    def create(self, name: str, answer: str) -> None:
        self.functions.create_function(
            FunctionName=name,
            Runtime=RUNTIME,
            Handler="handler.handler",
            Role=self.role,
            Code={"ZipFile": self.code(name, answer)},
        )
        self.settle(name)

    def code(self, name: str, answer: str) -> bytes:
        return self.zip(f"def handler(event, context): return {[name, answer]!r}")

    def run(self, name: str, answer: str) -> None:
        assert json.load(self.functions.invoke(FunctionName=name)["Payload"]) == [name, answer]

    def live(self, number: int) -> None:
        """Created, updated, deleted, made again and deleted again; some run in between, some have attachments."""
        name, runs = f"f{number}", number % 10 == 0
        self.create(name, "one")
        if runs:
            self.run(name, "one")
        self.functions.update_function_code(FunctionName=name, ZipFile=self.code(name, "two"))
        self.settle(name)
        self.functions.update_function_configuration(FunctionName=name, Timeout=7, MemorySize=256)
        if number % 5 == 0:
            self.attach(name)
        self.settle(name)
        if runs:
            self.run(name, "two")
            self.functions.invoke(FunctionName=name, InvocationType="Event")
        self.functions.delete_function(FunctionName=name)
        self.create(name, "three")
        if runs:
            self.run(name, "three")
        self.functions.delete_function(FunctionName=name)

    def attach(self, name: str) -> None:
        self.settle(name)
        named = {"FunctionName": name}
        self.functions.publish_version(**named)
        self.functions.publish_version(**named, PublishTo="LATEST_PUBLISHED")
        self.functions.create_alias(**named, Name="live", FunctionVersion="1")
        for qualifier in ({}, {"Qualifier": "1"}, {"Qualifier": "live"}):
            permission = {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
            self.functions.add_permission(**named, **permission, **qualifier)
            self.functions.put_function_event_invoke_config(**named, MaximumRetryAttempts=0, **qualifier)
        self.functions.create_function_url_config(**named, AuthType="NONE")
        self.functions.put_function_recursion_config(**named, RecursiveLoop="Allow")
        self.functions.put_runtime_management_config(**named, UpdateRuntimeOn="FunctionUpdate")
        self.functions.put_provisioned_concurrency_config(**named, Qualifier="live", ProvisionedConcurrentExecutions=1)


def test_functions_that_come_and_go_leave_nothing(tmp_path: Path, make_zip: Callable[..., bytes]) -> None:
    """After many whole lives of functions, some of which ran, everything is as it was before the first."""
    data = tmp_path / "data"
    with Server(data) as server:
        lives = Lives(server, make_zip)
        lives.live(1_000)
        before, opened = settled(server, data), descriptors(server)
        assert server.process is not None
        processes = len(descendants(server.process.pid))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lives.live, range(FUNCTIONS)))
        assert settled(server, data, before) == before
        # A few connections of the clients may still be open; descriptors of a hundred functions would be more. The
        # sandbox host has some for what lies ready.
        in_server, in_host = (now - then for now, then in zip(descriptors(server), opened, strict=True))
        assert in_server <= 24
        assert in_host <= 200 + 8 * max(0, len(descendants(server.process.pid)) - processes)
        assert lives.functions.list_functions()["Functions"] == []


def settled(server: Server, data: Path, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """What is there once it is `wanted`, or (without that, and after a minute at most) once it no longer changes."""
    deadline, since, last = time.monotonic() + 60, time.monotonic(), what_is_there(server, data)
    while time.monotonic() < deadline and last != wanted and (wanted or time.monotonic() - since < 2):
        time.sleep(0.2)
        found = what_is_there(server, data)
        if found != last:
            since, last = time.monotonic(), found
    return last
