"""What a start may not do: things that cost time or memory before anybody has asked for anything."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import alonzo

#: What no start needs; each costs 2 to 250 ms, or megabytes.
_NOT_IMPORTED = {
    "awscrt",
    "boto3",
    "botocore",
    "cryptography",
    "http.client",
    "pydantic",
    "rich",
    "unittest",
    "urllib3",
}
#: Says what is there when nobody has asked for anything yet.
_PROGRAM = """
import asyncio, json, sys
from alonzo.app import App
from alonzo.config import load_settings
from alonzo.protocol.model import load_model

async def main():
    async with App(load_settings({"port": 0, "ephemeral": True, "isolation": "process"}, {})) as app:
        assert app.ready_line()
        operations = app._health()["services"]
        for _ in range(100):  # the background work begins
            await asyncio.sleep(0)
        await asyncio.to_thread(sum, [])
        print(json.dumps([sorted(sys.modules), load_model.cache_info().currsize, operations]))

asyncio.run(main())
"""


def test_a_start_does_only_what_the_first_answer_needs() -> None:
    """Up to the first request no service model has been read and no large library been imported."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_PROGRAM)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    modules, models, operations = json.loads(done.stdout)
    assert not _NOT_IMPORTED & set(modules)
    assert models == 0
    assert operations["lambda"] > 50  # known without the model


def test_the_sandbox_is_launched_before_the_database_is_imported() -> None:
    """What is needed to take folder and port and to launch the host is neither the database, nor a service."""
    program = "import json, sys, alonzo.begin, alonzo.sandbox.namespaces; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    modules = set(json.loads(done.stdout))
    assert not {"sqlalchemy", "sqlite3", "alonzo.app", "alonzo.services", "alonzo.engine", "alonzo.gateway"} & modules


def test_dataclasses_are_our_own() -> None:
    """Outside what runs in environments, no module makes its dataclasses at the standard library's cost."""
    package = Path(alonzo.__file__).parent
    theirs = re.compile(r"^from dataclasses import .*\bdataclass\b|^import dataclasses\b", re.MULTILINE)
    found = {str(path.relative_to(package)) for path in package.rglob("*.py") if theirs.search(path.read_text())}
    assert {name for name in found if not name.startswith("runtimes/bootstraps/")} == {"core/dataclasses.py"}
