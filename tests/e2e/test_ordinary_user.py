"""The whole server as an ordinary user, with nothing but user namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from alonzo.testing import Server

from .conftest import Maker

pytestmark = pytest.mark.slow

NOBODY = 65534
ROOT = Path(__file__).resolve().parents[2]


def interpreter(user: int | None) -> str:
    """A Python of this version that the user can run; the one of the tests may lie in a closed home folder."""
    version = f"python3.{sys.version_info.minor}"
    identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            subprocess.run([candidate, "-c", ""], check=True, cwd="/", **identity)
        except OSError:
            continue
        return candidate
    pytest.fail(
        f"no {version} here that an ordinary user can run: install one for all users (Debian: apt install {version})"
    )


@pytest.fixture(scope="module")
def ordinary():
    user = NOBODY if os.getuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="alonzo-ordinary-", dir="/tmp"))
    if user is not None:
        os.chown(home, user, user)
    variables = {
        "HOME": str(home),
        "PYTHONPATH": f"{ROOT / 'src'}:{sysconfig.get_path('purelib')}",
        "ALONZO_RUNTIMES_DIR": str(home / "runtimes"),
    }
    server = Server(home / "data", python=interpreter(user), user=user, variables=variables)
    try:
        with server:
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_isolated_without_root(ordinary):
    """An ordinary user's server isolates by namespaces, and says so."""
    assert "namespaces" in ordinary.ready_line


def test_functions_run_and_see_nothing_of_the_host(ordinary):
    """Functions run, reach the services as their role, and see neither the host's files nor its processes."""
    make = Maker(ordinary)
    name = make.function(
        "import os, boto3\n"
        "def handler(e, c):\n"
        "    try:\n        open('/var/task/x', 'w')\n        wrote = True\n    except OSError:\n        wrote = False\n"
        "    return {'me': boto3.client('sts').get_caller_identity()['Arn'], 'wrote': wrote,\n"
        "        'home': os.listdir(e) if os.path.isdir(e) else [],\n"
        "        'pids': [p for p in os.listdir('/proc') if p.isdigit()]}\n",
        MemorySize=512,
        Timeout=30,
    )
    seen = make.invoke(name, os.environ.get("HOME", "/root"))[0]
    assert seen["me"].startswith("arn:aws:sts::000000000000:assumed-role/")
    assert seen["wrote"] is False
    assert seen["home"] == []
    assert len(seen["pids"]) <= 3


def test_memory_and_time_are_enforced_without_control_groups(ordinary):
    """The memory limit and the time-out hold for an ordinary user too."""
    make = Maker(ordinary)
    name = make.function(
        "import time\ndef handler(e, c):\n    x = b'x' * (e['mb'] << 20)\n    time.sleep(e['s'])\n    return len(x)\n",
        MemorySize=128,
        Timeout=3,
    )
    assert make.invoke(name, {"mb": 10, "s": 0})[0] == 10 << 20
    payload, response = make.invoke(name, {"mb": 600, "s": 2})
    assert response["FunctionError"] == "Unhandled"
    assert payload["errorType"] in ("Runtime.ExitError", "MemoryError", "Runtime.OutOfMemory")
    assert make.invoke(name, {"mb": 1, "s": 20})[0]["errorType"] == "Sandbox.Timedout"
    assert make.invoke(name, {"mb": 1, "s": 0})[0] == 1 << 20
