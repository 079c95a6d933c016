"""From an image to a process: what the first process of an environment does instead of going on with its program.

It has given up every privilege by then, is single-threaded and behind its filter, so an image, which a function's code
may have filled with anything, can do no more here than that code could do anyway. It replaces all of its own memory:
it writes down the system calls that this takes, moves what must stay to a place that the image does not need, makes
the calls from a few instructions there, and jumps to where the image says that it rests (`runtimes/bootstraps/
snapshot.py` is what rests there). Part of what a zygote gets (`forking.BUNDLE`); x86_64 only.
Source: mmap(2), mremap(2), prctl(2) (PR_SET_MM_MAP), rseq(2).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would import enum
import ctypes
import os
import struct

from alonzo.sandbox import syscalls

#: `steps(table)`: each step is a system call's number, six arguments and the answer it must have; then -1, the frame to
#: go on with, and the place and size of all this. What fails is said on descriptor 63 and ends the process.
_STEPS = bytes.fromhex(
    "4889fb"  # mov    %rdi,%rbx
    "488b03 4885c0 7826"  # next: mov (%rbx),%rax; test %rax,%rax; js done
    "488b7b08 488b7310 488b5318"  # mov    8(%rbx),%rdi; 16(%rbx),%rsi; 24(%rbx),%rdx
    "4c8b5320 4c8b4328 4c8b4b30"  # mov    32(%rbx),%r10; 40(%rbx),%r8; 48(%rbx),%r9
    "0f05 483b4338 7518"  # syscall; cmp 56(%rbx),%rax; jne failed
    "4883c340 ebd2"  # add    $64,%rbx; jmp next
    "488b7b08 4c8b6310 4c8b6b18"  # done: mov 8(%rbx),%rdi; 16(%rbx),%r12; 24(%rbx),%r13
    "488b27 ff6708"  # mov    (%rdi),%rsp; jmp *8(%rdi)
    "488d351d000000 bf3f000000 ba2c000000"  # failed: lea text(%rip),%rsi; mov $63,%edi; mov $44,%edx
    "b801000000 0f05"  # mov    $1,%eax; syscall             write
    "bf7f000000 b8e7000000 0f05"  # mov    $127,%edi; $231,%eax; syscall  exit_group
)
_FAILED = b"sandbox\x000\x00the snapshot could not be restored"
_MMAP, _MPROTECT, _MUNMAP, _PREAD, _MREMAP, _MADVISE = 9, 10, 11, 17, 25, 28
_PRCTL, _RSEQ, _CLOSE_RANGE = 157, 334, 436
_PR_SET_MM, _PR_SET_MM_MAP, _PR_SET_MM_MAP_SIZE, _RSEQ_SIGNATURE, _MADV_WIPEONFORK = 35, 14, 15, 0x53053053, 18
#: The size of struct prctl_mm_map.
_LAYOUT = 104
_SHARED, _PRIVATE, _DROPPABLE, _FIXED, _ANONYMOUS, _NORESERVE = 1, 2, 8, 0x10, 0x20, 0x4000
_FIXED_NOREPLACE = 0x100000
_READ, _WRITE, _EXECUTE = 1, 2, 4
_MAYMOVE_FIXED = 3
_TOP = 0x7FFFFFFFF000
_PAGE = 4096
#: Where a free place is looked for: between programs and libraries, as Linux lays them out.
_PLACES = range(0x10_0000_0000, 0x5000_0000_0000, 0x10_0000_0000)
#: The last descriptor that stays, and the one on which a failure is told until the end.
_TELEMETRY_FD = 62

Range = tuple[int, int]


def problem() -> str:
    """Why nothing can be restored on this machine, or ""."""
    if syscalls.MACHINE != "x86_64":
        return f"snapshots are restored on x86_64, not on {syscalls.MACHINE}"
    size = ctypes.c_uint()
    if (
        syscalls.call(_PRCTL, _PR_SET_MM, _PR_SET_MM_MAP_SIZE, ctypes.addressof(size), 0, 0) < 0
        or size.value != _LAYOUT
    ):
        return "the kernel was built without CONFIG_CHECKPOINT_RESTORE"
    return ""


class _Plan:
    """The steps, in order."""

    def __init__(self) -> None:
        self.steps: list[bytes] = []

    def add(self, number: int, *arguments: int, answer: int = 0) -> None:
        words = [*arguments, *[0] * (6 - len(arguments))]
        self.steps.append(struct.pack("=8Q", *(word & (1 << 64) - 1 for word in (number, *words, answer))))

    def map(self, start: int, end: int, protection: int, flags: int, file: int = -1, offset: int = 0) -> None:
        self.add(_MMAP, start, end - start, protection, flags | _FIXED, file, offset, answer=start)

    def pack(self, frame: int, place: int, size: int) -> bytes:
        return b"".join(self.steps) + struct.pack("=8Q", (1 << 64) - 1, frame, place, size, 0, 0, 0, 0)


def restore(image: int, frame: int, offset: int, size: int) -> None:
    """Become what `image` holds, whose list lies at `offset`; `frame` is where it rests. Returns only by an error."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, [number for number in range(1, 65) if number not in (32, 33)])
    lines = os.pread(image, size, offset).decode("utf-8", "surrogateescape").split("\n")
    rows = [line.split(" ") for line in lines]
    theirs = [(int(row[1], 16), int(row[2], 16)) for row in rows if row[0] != "layout"]
    ours = _own_areas()
    kernels = {name: area for name, area in ours if name.startswith(("[vvar", "[vdso"))}
    wanted = {row[4]: (int(row[1], 16), int(row[2], 16)) for row in rows if row[0] == "kernels"}
    if {name: end - start for name, (start, end) in kernels.items()} != {
        name: end - start for name, (start, end) in wanted.items()
    }:
        raise OSError(22, "the snapshot is of another kernel")
    plan = _Plan()
    room = 64 * (8 * len(rows) + 64) // _PAGE * _PAGE + 4 * _PAGE
    aside = sum(end - start for start, end in kernels.values())
    place = _free(room + aside, [*theirs, *(area for _, area in ours)])
    _leave_rseq()
    parked: dict[str, int] = {}
    at = place + room
    for name, (start, end) in kernels.items():
        plan.add(_MREMAP, start, end - start, end - start, _MAYMOVE_FIXED, at, answer=at)
        parked[name], at = at, at + end - start
    plan.add(_MUNMAP, 0, place)
    plan.add(_MUNMAP, at, _TOP - at)
    layout = _map_all(plan, rows, image)
    for name, (start, end) in wanted.items():
        plan.add(_MREMAP, parked[name], end - start, end - start, _MAYMOVE_FIXED, start, answer=start)
    plan.add(_PRCTL, _PR_SET_MM, _PR_SET_MM_MAP, place + _PAGE - 128, _LAYOUT)
    plan.add(_CLOSE_RANGE, 3, _TELEMETRY_FD - 1)
    plan.add(_CLOSE_RANGE, _TELEMETRY_FD + 1, 0xFFFFFFFF)
    _go(plan.pack(frame, place, at - place), layout, place, room)


def _own_areas() -> list[tuple[str, Range]]:
    descriptor = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
    text = b""
    while piece := os.read(descriptor, 1 << 16):
        text += piece
    os.close(descriptor)
    found: list[tuple[str, Range]] = []
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        words = line.split(None, 5)
        start, end = (int(word, 16) for word in words[0].split("-"))
        found.append((words[5] if len(words) > 5 else "", (start, end)))
    return found


def _free(size: int, taken: list[Range]) -> int:
    for place in _PLACES:
        if all(end <= place - _PAGE or start >= place + size + _PAGE for start, end in taken):
            return place
    raise OSError(12, "there is no room for restoring a snapshot")


def _leave_rseq() -> None:
    """The kernel would go on writing to where this thread's area was."""
    library = ctypes.CDLL(None)
    try:
        offset = ctypes.c_ssize_t.in_dll(library, "__rseq_offset").value
        length = ctypes.c_uint.in_dll(library, "__rseq_size").value
    except ValueError:
        return
    base = ctypes.c_ulong()
    syscalls.call(158, 0x1003, ctypes.addressof(base))  # arch_prctl(ARCH_GET_FS)
    for size in (32, length, 28, 24, 20):
        if syscalls.call(_RSEQ, base.value + offset, size, 1, _RSEQ_SIGNATURE) == 0:
            return


def _map_all(plan: _Plan, rows: list[list[str]], image: int) -> bytes:
    """The image's memory; answers the layout for PR_SET_MM_MAP."""
    files: dict[str, int] = {}
    groups = _groups(rows, image)
    layout = b""
    for row in rows:
        kind = row[0]
        if kind == "layout":
            layout = struct.pack("=11QQIi", *(int(word) for word in row[1:12]), 0, 0, -1)
            continue
        start, end, protection = int(row[1], 16), int(row[2], 16), int(row[3])
        if kind == "own":
            plan.map(start, end, protection, _PRIVATE | _ANONYMOUS | _NORESERVE)
        elif kind == "empty":
            plan.map(start, end, protection, _ANONYMOUS | (_DROPPABLE if row[4] == "dp" else _PRIVATE))
            if row[4] == "wf":
                plan.add(_MADVISE, start, end - start, _MADV_WIPEONFORK)
        elif kind in ("file", "shared"):
            path = " ".join(row[6:])
            if path not in files:
                files[path] = _open(path, int(row[5]))
            plan.map(start, end, protection, _SHARED if kind == "shared" else _PRIVATE, files[path], int(row[4], 16))
        elif kind == "pages":
            plan.map(start, end, protection, _PRIVATE, image, int(row[4]))
        elif kind == "code":
            plan.map(start, end, _READ | _WRITE, _PRIVATE | _ANONYMOUS)
            plan.add(_PREAD, image, start, end - start, int(row[4]), answer=end - start)
            plan.add(_MPROTECT, start, end - start, protection)
        elif kind == "group":
            plan.map(start, end, protection, _SHARED, groups[row[5]], int(row[4], 16))
    return layout


def _open(path: str, inode: int) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(descriptor).st_ino != inode:
        raise OSError(116, f"{path} is another file than when the snapshot was taken")
    return descriptor


def _groups(rows: list[list[str]], image: int) -> dict[str, int]:
    """Memory that several places show, made anew."""
    made: dict[str, int] = {}
    for row in rows:
        if row[0] != "group":
            continue
        start, end, offset, group, source = int(row[1], 16), int(row[2], 16), int(row[4], 16), row[5], int(row[6])
        if group not in made:
            made[group] = os.memfd_create("snapshot", os.MFD_CLOEXEC)
        file = made[group]
        if os.fstat(file).st_size < offset + end - start:
            os.truncate(file, offset + end - start)
        os.pwrite(file, os.pread(image, end - start, source), offset)
    return made


def _go(table: bytes, layout: bytes, place: int, room: int) -> None:
    """Put code, layout and table into place, and jump."""
    if len(table) > room - _PAGE:
        raise OSError(12, "the snapshot has too many parts")
    flags = _PRIVATE | _ANONYMOUS | _FIXED_NOREPLACE
    if syscalls.call(_MMAP, place, room, _READ | _WRITE, flags, -1, 0) != place:
        raise OSError(12, "there is no room for restoring a snapshot")
    code = _STEPS + _FAILED
    ctypes.memmove(place, code, len(code))
    ctypes.memmove(place + _PAGE - 128, layout, len(layout))
    ctypes.memmove(place + _PAGE, table, len(table))
    if syscalls.call(_MPROTECT, place, _PAGE, _READ | _EXECUTE) < 0:
        raise OSError(13, "code cannot be placed in memory")
    ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(place)(place + _PAGE)
