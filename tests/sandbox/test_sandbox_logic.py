"""The parts of the sandbox that need no privilege."""

from __future__ import annotations

import errno
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from alonzo.sandbox import cgroup2, cgroups, seccomp, stock, wire
from alonzo.sandbox.base import Mount
from alonzo.sandbox.process import remap
from alonzo.sandbox.watchdog import Share

ALLOW = 0x7FFF0000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def judge(program: bytes, arch: int, number: int, *arguments: int) -> int | str:
    """Run a filter as the kernel does; "allow", "kill" or the errno."""
    words = [number, arch, 0, 0]
    for index in range(6):
        value = arguments[index] if index < len(arguments) else 0
        words += [value & 0xFFFFFFFF, value >> 32]
    accumulator = position = 0
    while True:
        code, true, false, value = struct.unpack_from("<HBBI", program, position * 8)
        position += 1
        if code == 0x20:
            accumulator = words[value // 4]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            if value == ALLOW:
                return "allow"
            return "kill" if value == 0x80000000 else value & 0xFFFF
        else:
            met = {0x15: accumulator == value, 0x25: accumulator > value, 0x45: bool(accumulator & value)}[code]
            position += true if met else false


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter(machine: str) -> None:
    """The filter allows ordinary calls, refuses the listed ones, and looks at the arguments of the divided ones."""
    program, arch = seccomp.build(machine), ARCHITECTURES[machine]
    x86 = machine == "x86_64"
    read, openat, execve = (0, 257, 59) if x86 else (63, 56, 221)
    for number in (read, openat, execve):
        assert judge(program, arch, number) == "allow"
    clone, socket, pair, ioctl, mknodat, personality = (
        (56, 41, 53, 16, 259, 135) if x86 else (220, 198, 199, 29, 33, 92)
    )
    assert judge(program, arch, clone, 0x50F00) == "allow"
    for flag in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert judge(program, arch, clone, flag | 17) == errno.EPERM
    for family in range(50):
        for kind in (1, 2, 1 | 0o2000000, 2 | 0o4000):
            expected: int | str = "allow" if family in (1, 2, 10, 16) else errno.EAFNOSUPPORT
            assert judge(program, arch, socket, family, kind, 0) == expected
    for family in (2, 10):
        assert judge(program, arch, socket, family, 3, 1) == errno.EPERM
        assert judge(program, arch, socket, family, 3 | 0o2000000, 1) == errno.EPERM
        assert judge(program, arch, socket, family, 10, 3) == errno.EPERM
        assert judge(program, arch, socket, family, 1, 6) == "allow"
    assert judge(program, arch, socket, 16, 3, 0) == "allow"
    assert judge(program, arch, socket, 16, 3, 9) == errno.EAFNOSUPPORT
    assert judge(program, arch, pair, 1, 1, 0) == "allow"
    assert judge(program, arch, pair, 30, 1, 0) == errno.EAFNOSUPPORT
    assert judge(program, arch, ioctl, 0, 0x5413) == "allow"
    for request in (0x5412, 0x541C, 0x5423):
        assert judge(program, arch, ioctl, 0, request) == errno.EPERM
    for mode, expected in ((0o010644, "allow"), (0o140755, "allow"), (0o100644, "allow"), (0o020666, 1), (0o060666, 1)):
        assert judge(program, arch, mknodat, 0, 0, mode) == expected
    assert judge(program, arch, personality, 0xFFFFFFFF) == "allow"
    assert judge(program, arch, personality, 0x40000) == errno.EPERM
    for number in (435, 425, 426, 427, 463, 1000, 0x40000000 | 59):
        assert judge(program, arch, number) == errno.ENOSYS
    for name, numbers in seccomp._REFUSED.items():
        wanted = numbers[0 if x86 else 1]
        if wanted is not None:
            assert judge(program, arch, wanted) == errno.EPERM, name


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_kills_the_wrong_architecture(machine: str) -> None:
    """Calls of another architecture (32-bit on x86_64) end the process."""
    assert judge(seccomp.build(machine), 0x40000003, 1) == "kill"


def test_filter_needs_a_known_machine() -> None:
    """An architecture without a table is refused rather than left open."""
    with pytest.raises(ValueError, match="riscv64"):
        seccomp.build("riscv64")


def test_wire_carries_any_fields() -> None:
    """Fields come out as they went in; cut or empty messages are refused."""
    fields = [b"", b"a", bytes(range(256)), b"x" * 70000]
    message = wire.pack(*fields)
    assert wire.unpack(message) == fields
    for cut in (1, 5, len(message) - 1):
        with pytest.raises(wire.WireError):
            wire.unpack(message[:cut])
    with pytest.raises(wire.WireError):
        wire.unpack(b"")
    with pytest.raises(wire.WireError, match="the most is"):
        wire.pack(b"x" * wire.MAX_MESSAGE)
    assert wire.split(wire.join(("a", "", "ä\udcff"))) == ["a", "", "ä\udcff"]
    assert wire.split(wire.join(())) == []
    with pytest.raises(wire.WireError, match="NUL"):
        wire.join(("a\0b",))


def test_remap_whole_paths_only() -> None:
    """The process backend maps mount targets in text, the longest first, and no mere prefixes."""
    mounts = (Mount(Path("/src/task"), "/var/task"), Mount(Path("/src/lang"), "/var/lang"), Mount(Path("/s"), "/opt"))
    assert remap("/var/lang/bin:/var/task:/opt/bin", mounts) == "/src/lang/bin:/src/task:/s/bin"
    assert (
        remap("/var/tasks /x/var/task /var/task.py --dir=/opt", mounts)
        == "/var/tasks /x/var/task /var/task.py --dir=/s"
    )


MOUNTINFO = """\
22 1 0:20 / /proc rw - proc proc rw
30 22 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
31 22 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 22 0:28 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
33 22 0:29 /other /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
34 22 0:30 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw
"""
OWN = "5:memory:/user/me\n4:cpu,cpuacct:/\n3:pids:/docker/abc/x\n2:freezer:/mine\n1:name=systemd:/\n0::/user.slice/a\n"


def test_hierarchies_are_found() -> None:
    """Own groups are found below each mount, in containers too; another container's part of one is left alone."""
    found = {hierarchy.controllers: hierarchy.folder for hierarchy in cgroups.mounted(MOUNTINFO, OWN)}
    assert found == {
        ("memory",): "/sys/fs/cgroup/memory/user/me",
        ("cpu", "cpuacct"): "/sys/fs/cgroup/cpu,cpuacct",
        ("pids",): "/sys/fs/cgroup/pids/x",
        (): "/sys/fs/cgroup/uni fied/user.slice/a",
    }


def test_leftovers_are_told_from_the_living() -> None:
    """A base group is a leftover if no process with its id and start time exists."""
    assert not cgroups.is_leftover(cgroups.base_name())
    assert cgroups.is_leftover(f"alonzo-{os.getpid()}-1")
    assert cgroups.is_leftover("alonzo-4194305-77")
    for other in ("alonzo.leaf", "system.slice", "alonzo-x-1", "alonzo-1", "docker-12-13"):
        assert not cgroups.is_leftover(other)


def test_quota() -> None:
    """The CPU share follows memory, and never falls under the kernel's least quota."""
    assert cgroups.quota_us(1769) == 100_000
    assert cgroups.quota_us(128) == 7235
    assert cgroups.quota_us(10240) == 578_858
    assert cgroups.quota_us(1) == 1000


def _fake_v2(folder: Path, controllers: str, handed: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.controllers").write_text(controllers)
    (folder / "cgroup.subtree_control").write_text(handed)
    (folder / "cgroup.procs").write_text("")


def test_version_2_takes_the_nearest_group_that_hands_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a fake tree (this is no kernel): the base group goes under the ancestor that has the controllers."""
    _fake_v2(tmp_path, "cpu memory pids", "cpu memory pids")
    _fake_v2(tmp_path / "user", "cpu memory pids", "cpu memory pids")
    _fake_v2(tmp_path / "user" / "scope", "", "")
    base = tmp_path / "user" / cgroups.base_name()
    _fake_v2(base, "cpu memory pids", "cpu memory pids")
    hierarchy = cgroups.Mounted(2, (), str(tmp_path), str(tmp_path / "user" / "scope"))
    groups = cgroup2.Groups(hierarchy, hierarchy.top)
    assert groups.base == str(base)
    assert groups.problems == {}
    folder = base / "1"
    folder.mkdir()
    for name in ("cgroup.freeze", "cpu.max", "memory.max", "memory.oom.group", "memory.swap.max", "pids.max"):
        (folder / name).write_text("")
    group = groups.make()
    group.limit(128, 50)
    assert (folder / "memory.max").read_text() == str(128 << 20)
    assert (folder / "memory.swap.max").read_text() == "0"
    assert (folder / "pids.max").read_text() == "50"
    assert group.into >= 0
    assert group.watched() == (f"{folder}/cgroup.procs", f"{folder}/memory.events")
    os.write(group.quota, b"7235 100000")
    assert (folder / "cpu.max").read_text() == "7235 100000"
    group.close()


def test_version_2_without_delegation_says_why(tmp_path: Path) -> None:
    """Where no ancestor hands memory down there is no base group, and every limit names the reason."""
    _fake_v2(tmp_path, "")
    groups = cgroup2.Groups(cgroups.Mounted(2, (), str(tmp_path), str(tmp_path)), str(tmp_path))
    assert groups.base == ""
    assert set(groups.problems) == {"memory", "pids", "cpu", "freezer"}


def test_share_holds_over_time() -> None:
    """A tree that always wants the processor gets its share of it, whatever the length of the looks."""
    for cpus, look in ((0.1, 0.02), (0.0723, 0.03), (0.5, 0.02)):
        share, now, used, resting = Share(cpus, 0.0, 0.0), 0.0, 0.0, 0.0
        while now < 20:
            now += look
            if now >= resting:
                used += look
                rest = share.rest_s(used, now)
                resting = now + rest if rest else 0.0
        assert cpus * 20 * 0.9 <= used <= cpus * 20 * 1.1 + 0.15


def test_share_of_an_idle_tree() -> None:
    """Credit does not pile up: after a long rest a burst of one period is free, no more."""
    share = Share(0.1, 5.0, 0.0)
    assert share.rest_s(5.0, 100.0) == 0.0
    assert share.rest_s(5.009, 100.01) == 0.0
    assert share.rest_s(5.06, 100.06) > 0.3


_LATE = """
import os, signal, socket
from alonzo.sandbox import host

class Quiet:
    def __init__(self, control, folder): pass
    def run(self):
        if WHEN == "before":
            os.kill(os.getpid(), signal.SIGTERM)
    def close(self):
        os.kill(os.getpid(), signal.SIGTERM)
        print("closed", flush=True)

class Signals:
    SIGTERM, SIG_IGN = host._signal.SIGTERM, host._signal.SIG_IGN
    sent = WHEN == "before"
    def signal(self, number, action):
        if action == self.SIG_IGN and not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGTERM)
        return signal.signal(number, action)

host.Host, host._signal = Quiet, Signals()
host.main(socket.socketpair()[0].detach(), "")
"""


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_host_clears_up_whenever_it_is_told_to_end(when: str) -> None:
    """The signal may come before the control socket's end is noticed, just after it, and more than once."""
    script = _LATE.replace("WHEN", repr(when))
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=30, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, b"closed\n", b"")


@pytest.mark.parametrize(("available_gib", "ready"), [(1, 8), (4, 32), (64, 100)])
def test_what_lies_ready_fits_into_memory(monkeypatch: pytest.MonkeyPatch, available_gib: int, ready: int) -> None:
    """After a burst of a hundred as many are kept ready as a small part of the memory is enough for."""
    monkeypatch.setattr(stock, "meminfo", {"MemAvailable": available_gib << 30}.__getitem__)
    shelf = stock.Stock.__new__(stock.Stock)
    shelf._burst, shelf._burst_until, shelf._most = 100, math.inf, 0
    assert shelf._expected == ready
