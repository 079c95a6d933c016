"""What environments take of the machine's memory, and what the frozen ones give back."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from alonzo.sandbox import footprint
from alonzo.sandbox.available import MachineMemory

MIB = 1 << 20
HOLDS = "held = bytearray(b'x') * (24 << 20); print('ready', flush=True); import time; time.sleep(60)"
WRITES = """
import os, sys, time
with open("/tmp/file", "wb") as file:
    file.write(b"x" * (24 << 20))
    os.fsync(file.fileno())
print("ready", flush=True)
time.sleep(0.1)
with open("/tmp/file", "rb") as file:
    data = file.read()
print("whole" if data == b"x" * (24 << 20) else "broken", flush=True)
time.sleep(60)
"""


def _gives_back(backend: Any) -> bool:
    """Whether this machine has what it takes, as the backend says: a tmpfs has no page cache to give."""
    lines = {line.name: line for line in backend.sandbox.enforcements()}
    return lines["reclaim"].enforced and "ext4" in lines["tmp"].detail


@pytest.mark.sandbox
@pytest.mark.slow
async def test_memory_of_a_living_environment(backend: Any) -> None:
    """What a program has taken is counted, also while it is frozen, and nothing after its end."""
    small = await backend.create("print('ready', flush=True); import time; time.sleep(60)")
    large = await backend.create(HOLDS)
    for environment in (small, large):
        await backend.read_until(environment, "ready")
        await environment.freeze()
    try:
        (few, _), (many, reclaimable) = await small.memory(), await large.memory()
        assert 0 < few < 20 * MIB
        assert 22 * MIB < many - few < 32 * MIB
        assert reclaimable < 4 * MIB
        await large.reclaim()
        assert abs((await large.memory())[0] - many) < 4 * MIB
        await large.kill()
        assert await large.memory() == (0, 0)
    finally:
        await small.release()
        await large.release()


@pytest.mark.sandbox
@pytest.mark.slow
async def test_a_frozen_environment_gives_its_page_cache_back(privileged: Any) -> None:
    """What it wrote to /tmp leaves the memory and is there again when it goes on; one that runs is left alone."""
    environment = await privileged.create(WRITES)
    try:
        await privileged.read_until(environment, "ready")
        running, _ = await environment.memory()
        await environment.reclaim()
        assert (await environment.memory())[0] > running - 8 * MIB
        await environment.freeze()
        before, reclaimable = await environment.memory()
        await environment.reclaim()
        after, left = await environment.memory()
        if _gives_back(privileged):
            assert reclaimable > 16 * MIB
            assert before - after > 16 * MIB
            assert left < 4 * MIB
        else:
            assert abs(before - after) < 4 * MIB
        await environment.thaw()
        assert "whole" in await privileged.read_until(environment, "\n")
    finally:
        await environment.release()


@pytest.mark.sandbox
async def test_the_doctor_says_whether_memory_is_given_back(privileged: Any) -> None:
    (line,) = [line for line in privileged.sandbox.enforcements() if line.name == "reclaim"]
    assert "page cache" in line.detail if line.enforced else line.mend


def test_version_2_is_asked_for_as_much_as_there_is(tmp_path: Path) -> None:
    """Page cache alone: neither what lies in a tmpfs nor anonymous memory."""
    (tmp_path / "memory.current").write_text("50000000\n")
    (tmp_path / "memory.stat").write_text("anon 9000000\nfile 41000000\ninactive_file 30000000\nactive_file 1000000\n")
    (tmp_path / "memory.reclaim").write_text("")
    assert footprint.can_give_back(str(tmp_path), 2)
    assert footprint.charged(str(tmp_path), 2) == (50000000, 31000000)
    footprint.give_back(str(tmp_path), 2)
    assert (tmp_path / "memory.reclaim").read_text() == "31000000"


def test_a_group_that_has_gone_is_no_error(tmp_path: Path) -> None:
    for version in (1, 2):
        assert not footprint.can_give_back(str(tmp_path / "gone"), version)
        assert footprint.charged(str(tmp_path / "gone"), version) == (0, 0)
        footprint.give_back(str(tmp_path / "gone"), version)


def machine(folder: Path, available_mib: int = 9_000, stalled: float | None = None, **group: str) -> MachineMemory:
    """A machine of 10,000 MiB; `group` are the files of a control group that everything is in."""
    (folder / "self").mkdir(exist_ok=True)
    (folder / "group" / "inner").mkdir(parents=True, exist_ok=True)
    (folder / "meminfo").write_text(f"MemTotal: {10_000 << 10} kB\nMemAvailable: {available_mib << 10} kB\n")
    if stalled is not None:
        (folder / "pressure").mkdir(exist_ok=True)
        some = "some avg10=99.00 avg60=0.00 avg300=0.00 total=7\n"
        (folder / "pressure" / "memory").write_text(f"{some}full avg10={stalled:.2f} avg60=0.00 avg300=0.00 total=5\n")
    for name, text in group.items():
        (folder / "group" / name.replace("__", ".")).write_text(text)
    (folder / "self" / "cgroup").write_text("0::/inner\n")
    (folder / "self" / "mountinfo").write_text(f"30 20 0:26 / {folder}/group rw - cgroup2 cgroup2 rw\n")
    return MachineMemory(folder)


def test_a_machine_is_short_of_memory_when_little_is_left(tmp_path: Path) -> None:
    assert machine(tmp_path).total == 10_000 * MIB
    assert not machine(tmp_path, 600).short()
    assert machine(tmp_path, 400).short()


def test_a_machine_is_short_of_memory_when_work_waits_for_it(tmp_path: Path) -> None:
    """All of it: a process that reads much for the first time waits too."""
    assert not machine(tmp_path, stalled=2).short()
    assert machine(tmp_path, stalled=30).short()


def test_a_container_has_the_memory_of_its_limit(tmp_path: Path) -> None:
    """Page cache does not count as used: it goes when it must."""
    files = {"memory__max": str(1_000 * MIB), "memory__current": str(990 * MIB)}
    cached = f"anon 1\ninactive_file {500 * MIB}\nactive_file {100 * MIB}\n"
    roomy = machine(tmp_path, **files, memory__stat=cached)
    assert roomy.total == 1_000 * MIB
    assert roomy.available() == 610 * MIB
    assert not roomy.short()
    assert machine(tmp_path, **files, memory__stat="anon 1\n").short()
    assert machine(tmp_path, memory__max="max\n").total == 10_000 * MIB


def test_this_machine_has_memory() -> None:
    with contextlib.suppress(AttributeError):
        assert MachineMemory().total <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < MachineMemory().available() <= MachineMemory().total


@pytest.mark.sandbox
@pytest.mark.slow
async def test_giving_back_while_the_environment_ends(privileged: Any) -> None:
    """Whoever ends meanwhile is no error."""
    environment = await privileged.create(HOLDS)
    await privileged.read_until(environment, "ready")
    await environment.freeze()
    await asyncio.gather(environment.reclaim(), environment.memory(), environment.release())
    await environment.reclaim()
    assert await environment.memory() == (0, 0)
