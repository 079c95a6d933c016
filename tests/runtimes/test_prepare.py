"""Finding interpreters and preparing runtimes: what goes wrong says what mends it, and leaves nothing half-done."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from alonzo.runtimes import RUNTIMES, RuntimeUnavailable, lookup
from alonzo.runtimes.interpreters import Interpreters
from alonzo.runtimes.prepare import Preparer

THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"


def only(folder: Path, cache: Path | None = None) -> Interpreters:
    """Interpreters of one folder and nowhere else."""
    return Interpreters([folder], cache, only=True)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with the interpreter that runs the tests."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / f"python{THIS}").symlink_to(sys.executable)
    return folder


async def test_interpreter_is_described_by_itself(here):
    """An interpreter is found by its name and tells its real version and place, the virtual environment's base."""
    found = await only(here).find(THIS)
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert found.base_prefix == sys.base_prefix
    assert (Path(found.stdlib) / "os.py").exists()


async def test_missing_interpreter_says_how_to_install_it(here):
    """A runtime without interpreter is refused with two ways to mend it."""
    other = "3.13" if THIS != "3.13" else "3.12"
    with pytest.raises(RuntimeUnavailable) as refused:
        await only(here).find(other)
    assert str(refused.value) == (
        f"The runtime python{other} needs CPython {other}, which was not found on this machine. Install it with "
        f"`uv python install {other}` or your system's package python{other}, "
        "or name its folder in ALONZO_INTERPRETERS."
    )


async def test_what_is_no_interpreter_is_passed_over(tmp_path):
    """A file with the right name that fails, prints rubbish or is another version is not taken."""
    for folder, script in (("fails", "exit 3"), ("prints", "echo 3.13"), ("other", f'exec {sys.executable} "$@"')):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "python3.9"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    interpreters = Interpreters([tmp_path / name for name in ("fails", "prints", "other")], only=True)
    with pytest.raises(RuntimeUnavailable, match="was not found"):
        await interpreters.find("3.9")


async def test_answers_are_kept(here, tmp_path):
    """A second search does not run an interpreter again while its file stays the same; a changed file is asked anew."""
    counter = tmp_path / "count"
    script = here / f"python{THIS}"
    script.unlink()
    script.write_text(f'#!/bin/sh\necho x >> {counter}\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    cache = tmp_path / "cache" / "interpreters.json"
    first = await only(here, cache).find(THIS)
    assert await only(here, cache).find(THIS) == first
    assert counter.read_text().count("x") == 1
    os.utime(script, ns=(1, 1))
    await only(here, cache).find(THIS)
    assert counter.read_text().count("x") == 2
    cache.write_text("{broken")
    assert await only(here, cache).find(THIS) == first


async def test_offline_is_refused_with_the_command_that_mends_it(here, tmp_path):
    """An unprepared runtime on an offline machine is refused at once, and nothing is made."""
    with pytest.raises(RuntimeUnavailable) as refused:
        await Preparer(tmp_path / "runtimes", only(here), offline=True).install(f"python{THIS}")
    assert refused.value.mend == f"Run `alonzo runtime install python{THIS}` once while the machine is online."
    assert not (tmp_path / "runtimes").exists()


@pytest.mark.slow
async def test_unreachable_index_leaves_nothing(here, tmp_path, monkeypatch):
    """When the packages cannot be fetched the reason is told, and the next attempt starts afresh."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    with pytest.raises(RuntimeUnavailable, match=r"could not be installed: .*awslambdaric") as refused:
        await Preparer(tmp_path / "runtimes", only(here)).install(f"python{THIS}")
    assert "Check the connection to the package index" in refused.value.mend
    assert [path.name for path in (tmp_path / "runtimes").iterdir()] == [f"python{THIS}.lock"]


async def test_unwritable_folder_is_told(here, tmp_path):
    """A runtimes folder that cannot be made is named, with the setting that changes it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeUnavailable, match="ALONZO_RUNTIMES_DIR"):
        await Preparer(tmp_path / "file" / "runtimes", only(here)).install(f"python{THIS}")


@pytest.mark.slow
async def test_two_processes_prepare_once(here, tmp_path):
    """Of two processes that need a runtime at the same time one prepares it, the other waits and uses it."""
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from alonzo.runtimes.interpreters import Interpreters; from alonzo.runtimes.prepare import Preparer\n"
        f"preparer = Preparer(Path({str(tmp_path / 'runtimes')!r}), Interpreters([Path({str(here)!r})], only=True))\n"
        f"print(asyncio.run(preparer.install('python{THIS}', lambda step: print('step', step))).folder)\n"
    )

    async def run() -> list[str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode().splitlines()

    (*steps_a, folder_a), (*steps_b, folder_b) = await asyncio.gather(run(), run())
    assert folder_a == folder_b
    assert sorted(map(bool, (steps_a, steps_b))) == [False, True]
    folder = Path(folder_a)
    left = sorted(path.name for path in folder.parent.iterdir())
    assert left == [folder.name, f"python{THIS}.lock"]
    closed = [p for p in folder.rglob("*") if not p.is_symlink() and stat.S_IMODE(p.stat().st_mode) & 0o444 != 0o444]
    assert closed == []
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {"awslambdaric", "boto3", "botocore"} <= manifest["packages"].keys()


@pytest.mark.slow
async def test_folders_long_unused_go(here, tmp_path):
    """Preparing a runtime removes its former folders once they are old and no process holds them, and no other."""
    root = tmp_path / "runtimes"
    for name in (f"python{THIS}-old", f"python{THIS}-used", f"python{THIS}-recent", "python3.7-old"):
        (root / name).mkdir(parents=True)
        (root / name / "manifest.json").write_text("{}")
        if not name.endswith("recent"):
            os.utime(root / name / "manifest.json", (1, 1))
    with (root / f"python{THIS}-used" / "manifest.json").open() as used:
        fcntl.flock(used, fcntl.LOCK_SH)
        made = await Preparer(root, only(here)).install(f"python{THIS}")
        names = {path.name for path in root.iterdir()}
    kept = {f"python{THIS}-used", f"python{THIS}-recent", "python3.7-old", f"python{THIS}.lock", made.folder.name}
    assert names == kept


@pytest.mark.slow
async def test_killed_preparation_is_cleaned_up(here, tmp_path):
    """What a killed preparation left is removed by the next, which succeeds or fails on its own."""
    root = tmp_path / "runtimes"
    (root / f".python{THIS}-abc.tmp" / "lang").mkdir(parents=True)
    preparer = Preparer(root, only(here))
    task = asyncio.ensure_future(preparer.install(f"python{THIS}"))
    while not any((root / f".python{THIS}-abc.tmp").parent.glob(f".python{THIS}-????????????.tmp")):
        await asyncio.sleep(0.01)
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path.name for path in root.iterdir()] == [f"python{THIS}.lock"]


def test_table_of_runtimes():
    """Python, Node.js and custom runtimes can run; other languages are known and say that they cannot yet; the rest is
    unknown."""
    python = [f"python3.{minor}" for minor in range(8, 15)]
    node = [f"nodejs{major}.x" for major in (18, 20, 22, 24)]
    available = [name for name, row in RUNTIMES.items() if row.available]
    assert available == [*python, *node, "provided.al2", "provided.al2023"]
    with pytest.raises(RuntimeUnavailable, match=r"The runtime java21 is not available in Alonzo yet\."):
        lookup("java21")
    with pytest.raises(RuntimeUnavailable, match="There is no managed runtime 'cobol'"):
        lookup("cobol")


async def test_statuses_name_what_is_missing(here, tmp_path):
    """Every runtime has a status: found and unprepared, or without interpreter and the command that gets one."""
    rows = {row.runtime.identifier: row for row in await Preparer(tmp_path, only(here)).statuses()}
    assert rows[f"python{THIS}"].interpreter_version == ".".join(map(str, sys.version_info[:3]))
    assert rows[f"python{THIS}"].prepared is None
    other = "3.14" if THIS != "3.14" else "3.13"
    assert rows[f"python{other}"].mend == f"uv python install {other}"
    assert rows["java21"].why_not == "not available in Alonzo yet"
