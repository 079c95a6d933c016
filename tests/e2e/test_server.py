"""The server as a process: starting, stopping, crashing, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from alonzo.testing import Server

from .conftest import Maker, wait_for

pytestmark = pytest.mark.slow

HELLO = "def handler(e, c):\n    return 'hello'\n"


def descendants(pid: int) -> set[int]:
    """Every process below `pid`."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(") ", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found.update(below)
        todo += below
    return found


def cgroups_of(pid: int) -> list[Path]:
    """cgroup folders that carry this server's process id in their name."""
    # os.walk passes over folders that vanish while it looks, which rglob does not.
    found = (Path(folder) / name for folder, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    return [path for path in found if path.match(f"alonzo*{pid}*")]


def gone(pids: set[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_health(alonzo):
    """GET /_alonzo/health answers JSON that says what is enforced."""
    with urllib.request.urlopen(f"{alonzo.endpoint}/_alonzo/health", timeout=5) as answer:
        body = json.load(answer)
    assert body["status"] == "ok"
    assert body["isolation"]
    assert body["services"]["lambda"] > 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_clean_stop(tmp_path, number):
    """SIGTERM and Ctrl-C stop the server within five seconds, and nothing of it is left."""
    server = Server(tmp_path).start()
    make = Maker(server)
    make.invoke(make.function(HELLO))
    pid = server.process.pid
    below = descendants(pid)
    assert below
    mounts = Path("/proc/self/mountinfo").read_text()
    started = time.monotonic()
    server.process.send_signal(number)
    assert server.process.wait(10) == 0
    assert time.monotonic() - started < 5
    wait_for(lambda: gone(below), 2)
    assert cgroups_of(pid) == []
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_kill_9_takes_the_environments_along(tmp_path):
    """After kill -9 every environment dies at once, and the next start cleans up what was left."""
    server = Server(tmp_path).start()
    make = Maker(server)
    name = make.function(HELLO)
    make.invoke(name)
    below = descendants(server.process.pid)
    dead = server.process.pid
    server.kill()
    wait_for(lambda: gone(below), 3)
    with Server(tmp_path) as again:
        assert Maker(again).invoke(name)[0] == "hello"
        assert cgroups_of(dead) == []


def test_second_server_is_refused(tmp_path):
    """A second server on the same data folder is refused with a sentence that names the first."""
    with Server(tmp_path) as first, pytest.raises(RuntimeError) as caught:
        Server(tmp_path).start()
    assert f"Another Alonzo (process {first.process.pid}) uses the data folder" in str(caught.value)


def test_accepted_events_survive_kill_9(tmp_path):
    """Events that were answered with 202 are run after the server was killed and started again."""
    source = (
        "import boto3, time\n"
        "s3 = boto3.client('s3')\n"
        "def handler(e, c):\n    s3.put_object(Bucket='out', Key=str(e), Body=b'')\n"
    )
    full = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
    server = Server(tmp_path, {"account_concurrency": "105"}).start()
    make = Maker(server)
    server.client("s3").create_bucket(Bucket="out")
    name = make.function(source, role=make.role(full), MemorySize=512, Timeout=30)
    make.functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    accepted = []
    for n in range(120):
        response = make.functions.invoke(FunctionName=name, InvocationType="Event", Payload=str(n).encode())
        assert response["StatusCode"] == 202
        accepted.append(str(n))
    server.kill()
    with Server(tmp_path, {"account_concurrency": "105"}) as again:
        s3 = again.client("s3")
        wait_for(lambda: s3.list_objects_v2(Bucket="out").get("KeyCount") == len(accepted), 60, every=0.2)
        keys = {o["Key"] for o in s3.list_objects_v2(Bucket="out")["Contents"]}
        assert keys == set(accepted)


def test_state_survives_kill_9(tmp_path):
    """Buckets, objects, roles, functions and the bill are there after kill -9."""
    server = Server(tmp_path).start()
    make = Maker(server)
    s3 = server.client("s3")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="small", Body=b"x" * 100)
    s3.put_object(Bucket="kept", Key="large", Body=b"y" * 3_000_000)
    name = make.function(HELLO)
    server.kill()
    with Server(tmp_path) as again:
        s3 = again.client("s3")
        assert s3.get_object(Bucket="kept", Key="small")["Body"].read() == b"x" * 100
        assert s3.get_object(Bucket="kept", Key="large")["Body"].read() == b"y" * 3_000_000
        assert Maker(again).invoke(name)[0] == "hello"


def test_port_in_use_is_a_sentence(alonzo, tmp_path):
    """A port that is taken gives one sentence with the mend, no traceback."""
    import subprocess
    import sys

    port = alonzo.endpoint.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "alonzo.cli.main", "up", "--port", port, "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "Choose another with --port" in done.stderr
    assert "Traceback" not in done.stderr


def test_foreign_host_names_are_refused(alonzo):
    """A request that names a host of somebody else's is refused: a web page may have rebound its name."""
    request = urllib.request.Request(f"{alonzo.endpoint}/", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=5)
    assert caught.value.code == 403
    caught.value.close()


def test_memory_backed_folder_is_removed(tmp_path):
    """An ephemeral server leaves no folder behind, and one that was killed has its folder removed by the next."""
    pattern = f"alonzo-{os.getuid()}-*"
    killed = Server().start()
    before = set(Path("/dev/shm").glob(pattern))
    killed.kill()
    with Server():
        pass
    after = set(Path("/dev/shm").glob(pattern))
    assert len(after) == len(before) - 1
