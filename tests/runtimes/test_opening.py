"""The start that is rehearsed in a process before its order comes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.runtimes import conftest as _conftest

FORKED = [runtime for runtime in _conftest.found_here() if runtime not in ("python3.8", "python3.9")]
pytestmark = pytest.mark.slow

#: Rehearses as `bootstrap.py` does in a zygote's fork, over the real client, and says what is other than before.
PROGRAM = """
import gc, json, logging, os, sys
os.environ["LAMBDA_RUNTIME_DIR"] = folder = sys.argv[1]
sys.path[:0] = [folder, sys.argv[2]]
import _alonzo_client
main = _alonzo_client.main()
import _alonzo_opening as opening
del sys.modules["_alonzo_opening"]
import runtime_client
from awslambdaric import bootstrap

def state():
    root = logging.getLogger()
    # _deaf is set anew by each start
    client = {name: value for name, value in vars(runtime_client).items() if isinstance(value, (str, bytes))}
    return [
        dict(os.environ), sys.path[:], sorted(sys.modules), sorted(sys.path_importer_cache),
        root.handlers[:], root.level, sys.stdout, sys.stderr,
        logging.Formatter.converter, vars(runtime_client._connection).copy(), client,
        bootstrap._GLOBAL_AWS_REQUEST_ID, sorted(os.listdir("/proc/self/fd")),
    ]

def begin():
    sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
    main([os.environ["LAMBDA_TASK_ROOT"], os.environ["_HANDLER"]])

def broken():
    begin_of_something_else

before = state()
well = [opening.rehearse(begin, folder), opening.rehearse(begin, folder), opening.rehearse(broken, folder)]
after = state()
print(json.dumps([well, [number for number, pair in enumerate(zip(before, after)) if pair[0] != pair[1]]]))
"""


@pytest.mark.parametrize("runtime", FORKED)
async def test_a_rehearsed_start_runs_to_its_end_and_leaves_nothing(house: Any, tmp_path: Path, runtime: str) -> None:
    """It gets past the event to the wait for the next, as often as asked. All is as before, even where it failed."""
    installed = await house.runtimes.install(runtime)
    (tmp_path / "program.py").write_text(PROGRAM)
    packages = installed.folder / "lang/lib" / runtime / "site-packages"
    command = [str(installed.folder / "lang/bin" / runtime), "-S", str(tmp_path / "program.py")]
    done = subprocess.run(
        [*command, str(installed.folder / "runtime"), str(packages)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    well, changed = json.loads(done.stdout)
    assert well == [True, True, False]
    assert not changed, done.stderr
