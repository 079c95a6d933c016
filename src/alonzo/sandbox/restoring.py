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
PLACES = range(0x10_0000_0000, 0x5000_0000_0000, 0x10_0000_0000)
#: The last descriptor that stays. Above are the error pipe, and while the steps are made the image and what is mapped.
_TELEMETRY_FD = 62
IMAGE_FD = 100
FIRST_FD, LAST_FD = 101, 1000

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


class Plan:
    """What it takes to have an image's memory, written down by whoever takes it (`images`).

    `steps` expect the image and files at certain descriptors. `files` are descriptor, inode and path of each; `groups`
    memory that several places show: descriptor, offset, size and place in the image of each part. `kernels` is where
    the kernel's own pages must lie, `layout` what PR_SET_MM_MAP is told, `places` where there is room for all that
    restoring itself needs.
    """

    def __init__(self) -> None:
        self.steps = b""
        self.layout = b""
        self.files: list[tuple[int, int, str]] = []
        self.groups: list[tuple[int, int, int, int]] = []
        self.kernels: list[tuple[str, int, int]] = []
        self.places: list[int] = []
        self._steps: list[bytes] = []

    def add(self, number: int, *arguments: int, answer: int = 0) -> None:
        """One more system call."""
        words = [*arguments, *[0] * (6 - len(arguments))]
        self._steps.append(struct.pack("=8Q", *(word & (1 << 64) - 1 for word in (number, *words, answer))))

    def taken(self) -> bytes:
        return b"".join(self._steps)

    def map(self, area: Range, protection: int, flags: int, file: int = -1, offset: int = 0) -> None:
        start, end = area
        self.add(_MMAP, start, end - start, protection, flags | _FIXED, file, offset, answer=start)

    def own(self, area: Range, protection: int) -> None:
        """Empty memory."""
        self.map(area, protection, _PRIVATE | _ANONYMOUS | _NORESERVE)

    def droppable(self, area: Range, protection: int) -> None:
        self.map(area, protection, _DROPPABLE | _ANONYMOUS)

    def wiped(self, area: Range, protection: int) -> None:
        """Memory that is empty in every child."""
        self.map(area, protection, _PRIVATE | _ANONYMOUS)
        self.add(_MADVISE, area[0], area[1] - area[0], _MADV_WIPEONFORK)

    def pages(self, area: Range, protection: int, offset: int) -> None:
        """Memory that lies in the image."""
        if not protection & _EXECUTE:
            self.map(area, protection, _PRIVATE, IMAGE_FD, offset)
            return
        # Code is read into memory and not mapped: nobody may execute what lies in that file.
        start, size = area[0], area[1] - area[0]
        self.map(area, _READ | _WRITE, _PRIVATE | _ANONYMOUS)
        self.add(_PREAD, IMAGE_FD, start, size, offset, answer=size)
        self.add(_MPROTECT, start, size, protection)

    def file(self, area: Range, protection: int, number: int, offset: int, *, shared: bool) -> None:
        self.map(area, protection, _SHARED if shared else _PRIVATE, number, offset)

    def pack(self) -> bytes:
        numbers = [" ".join(str(word) for word in row) for row in (self.places, *self.groups)]
        kernels = [f"{start} {end} {name}" for name, start, end in self.kernels]
        files = [f"{number} {inode} {path}" for number, inode, path in self.files]
        texts = ("\n".join(rows).encode("utf-8", "surrogateescape") for rows in (numbers, kernels, files))
        return b"".join(struct.pack("=Q", len(part)) + part for part in (self.layout, *texts, self.taken()))

    @classmethod
    def unpack(cls, data: bytes) -> Plan:
        parts, at = [], 0
        while at < len(data):
            (size,) = struct.unpack_from("=Q", data, at)
            parts.append(data[at + 8 : at + 8 + size])
            at += 8 + size
        plan = cls()
        plan.layout, plan.steps = parts[0], parts[4]
        numbers, kernels, files = (part.decode("utf-8", "surrogateescape").split("\n") for part in parts[1:4])
        plan.places = [int(word) for word in numbers[0].split()]
        for row in numbers[1:]:
            number, offset, size, source = row.split()
            plan.groups.append((int(number), int(offset), int(size), int(source)))
        for row in filter(None, kernels):
            start, end, name = row.split(" ", 2)
            plan.kernels.append((name, int(start), int(end)))
        for row in filter(None, files):
            number, inode, path = row.split(" ", 2)
            plan.files.append((int(number), int(inode), path))
        return plan


def room(steps: int) -> int:
    """Bytes that restoring needs beside the kernel's pages: its code, the layout, and so many steps and some more."""
    return _PAGE + (64 * (steps + 64) // _PAGE + 1) * _PAGE


def restore(image: int, frame: int, offset: int, size: int) -> None:
    """Become what `image` holds, whose plan lies at `offset`; `frame` is where it rests. Returns only by an error."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, [number for number in range(1, 65) if number not in (32, 33)])
    plan = Plan.unpack(os.pread(image, size, offset))
    ours = _kernels_pages()
    if [(name, end - start) for name, start, end in ours] != [(name, end - start) for name, start, end in plan.kernels]:
        raise OSError(22, "the snapshot is of another kernel")
    mine = room(len(plan.steps) // 64)
    place = _free(plan.places, mine + sum(end - start for _, start, end in ours))
    _leave_rseq()
    before, after = Plan(), Plan()
    at = place + mine
    for (_, start, end), (_, target, _) in zip(ours, plan.kernels, strict=True):
        size = end - start
        before.add(_MREMAP, start, size, size, _MAYMOVE_FIXED, at, answer=at)
        after.add(_MREMAP, at, size, size, _MAYMOVE_FIXED, target, answer=target)
        at += size
    before.add(_MUNMAP, 0, place)
    before.add(_MUNMAP, at, _TOP - at)
    after.add(_PRCTL, _PR_SET_MM, _PR_SET_MM_MAP, place + _PAGE - 128, _LAYOUT)
    after.add(_CLOSE_RANGE, 3, _TELEMETRY_FD - 1)
    after.add(_CLOSE_RANGE, _TELEMETRY_FD + 1, 0xFFFFFFFF)
    after.add(-1, frame, place, at - place)
    os.dup2(image, IMAGE_FD)
    _open_all(plan)
    _go(before.taken() + plan.steps + after.taken(), plan.layout, place)


def _kernels_pages() -> list[tuple[str, int, int]]:
    descriptor = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
    parts: list[bytes] = []
    while piece := os.read(descriptor, 1 << 16):
        parts.append(piece)
    os.close(descriptor)
    found = []
    for line in b"".join(parts).split(b"\n"):
        if line.endswith(b"]") and line.rpartition(b" ")[2].startswith((b"[vvar", b"[vdso")):
            start, end = (int(word, 16) for word in line.split(b" ", 1)[0].split(b"-"))
            found.append((line.rpartition(b" ")[2].decode(), start, end))
    return found


def _free(places: list[int], size: int) -> int:
    """Take the first of `places` with that much room here."""
    for place in places:
        if syscalls.call(_MMAP, place, size, 0, _PRIVATE | _ANONYMOUS | _FIXED_NOREPLACE, -1, 0) == place:
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


def _open_all(plan: Plan) -> None:
    """Have files and groups at the descriptors where the steps expect them."""
    for number, inode, path in plan.files:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(descriptor).st_ino != inode:
            raise OSError(116, f"{path} is another file than when the snapshot was taken")
        os.dup2(descriptor, number)
        os.close(descriptor)
    made = set()
    for number, offset, size, source in plan.groups:
        if number not in made:
            made.add(number)
            os.dup2(os.memfd_create("snapshot", os.MFD_CLOEXEC), number)
        if os.fstat(number).st_size < offset + size:
            os.truncate(number, offset + size)
        os.pwrite(number, os.pread(IMAGE_FD, size, source), offset)


def _go(table: bytes, layout: bytes, place: int) -> None:
    """Put code, layout and steps into place, and jump."""
    if syscalls.call(_MPROTECT, place, _PAGE + len(table), _READ | _WRITE) < 0:
        raise OSError(12, "there is no room for restoring a snapshot")
    code = _STEPS + _FAILED
    ctypes.memmove(place, code, len(code))
    ctypes.memmove(place + _PAGE - 128, layout, len(layout))
    ctypes.memmove(place + _PAGE, table, len(table))
    if syscalls.call(_MPROTECT, place, _PAGE, _READ | _EXECUTE) < 0:
        raise OSError(13, "code cannot be placed in memory")
    ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(place)(place + _PAGE)
