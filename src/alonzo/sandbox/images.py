"""Copies of a process's memory: what a snapshot is made of, and how the host takes one.

The process has one thread, waits at a place where all that matters of its registers lies in its memory, and is not
trusted: it has run a function's code. So it is only read, by a child of the host, and what is read is never more than
bytes to anybody with a privilege. An image is a file without a name: the pages that are the process's own, one after
the other, and then a list of what lay where (`restoring` reads it, in a sandbox, without privileges). What can be
mapped from the runtime's or the function's files again is not copied.
Source: proc(5) (maps, smaps, pagemap, mem, stat).
"""

from __future__ import annotations

import contextlib
import gc
import os
import struct

from alonzo.sandbox import restoring, syscalls

_PAGE = 4096
_PIECE = 1 << 20
#: Runs of own pages with at most so many others between them are copied, and mapped, as one.
_GAP = 8
#: Address space of more than this is not looked through.
_MOST_SPACE = 1 << 38
_PRESENT, _SWAPPED, _OF_FILE = 1 << 63, 1 << 62, 1 << 61
_STACK = 8 << 20
#: Free space that snapshots leave on the disk they lie on.
_RESERVE = 256 << 20
_NO_ROOM = "the disk has no room for a snapshot"
_SIGKILL = 9
_WRITE = 2
#: Places from which the one that restores takes the first that is free there too.
_PLACES = 16

Range = tuple[int, int]


def _read(path: str) -> str:
    parts: list[bytes] = []
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while part := os.read(descriptor, 1 << 17):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "surrogateescape")


class Refused(Exception):
    """No image can be made; the text says why."""


class Area:
    """One line of /proc/PID/smaps. `flags` is what VmFlags says."""

    __slots__ = ("end", "flags", "inode", "offset", "path", "protection", "shared", "start")

    def __init__(self, line: str) -> None:
        words = line.split(None, 5)
        self.start, self.end = (int(word, 16) for word in words[0].split("-"))
        self.protection = sum(bit for letter, bit in zip(words[1], (1, 2, 4), strict=False) if letter != "-")
        self.shared = words[1][3] == "s"
        self.offset = int(words[2], 16)
        self.inode = int(words[4])
        self.path = words[5] if len(words) > 5 else ""
        self.flags: list[str] = []

    @property
    def is_kernels(self) -> bool:
        """The vDSO and its data: every process has them."""
        return self.path.startswith(("[vvar", "[vdso"))

    @property
    def has_file(self) -> bool:
        """Its file will be there again: what lies in /tmp, or is deleted, will not."""
        return (
            self.path.startswith("/") and not self.path.startswith(("/tmp/", "/dev/")) and " (deleted)" not in self.path
        )


def areas(pid: int) -> list[Area]:
    found: list[Area] = []
    for line in _read(f"/proc/{pid}/smaps").split("\n")[:-1]:
        name = line.split(None, 1)[0]
        if not name.endswith(":"):
            found.append(Area(line))
        elif name == "VmFlags:":
            found[-1].flags = line.split()[1:]
    return [area for area in found if area.path != "[vsyscall]"]


def take(pid: int, out: int, most: int) -> tuple[int, int]:
    """Write the image of process `pid` to the file `out`; answers where in it the list begins, and its length.

    Raises Refused where there are more than `most` bytes to copy, or threads, or what cannot be made again.
    """
    return _Taker(pid, out, most).take()


class _Taker:
    def __init__(self, pid: int, out: int, most: int) -> None:
        self._pid = pid
        self._out = out
        self._most = most
        self._at = 0
        self._plan = restoring.Plan()
        #: Descriptors in the plan, by path or by memory that is shared.
        self._numbers: dict[str, int] = {}
        self._memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        self._pagemap = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)

    def take(self) -> tuple[int, int]:
        self._check()
        found = areas(self._pid)
        if sum(area.end - area.start for area in found) > _MOST_SPACE:
            raise Refused("the process has too much address space")
        self._layout(found)
        for before, area in zip([None, *found], found, strict=False):
            if area.is_kernels:
                self._plan.kernels.append((area.path, area.start, area.end))
            else:
                self._copy(area, before.end if before is not None else 0)
        self._find_room(found)
        text = self._plan.pack()
        if os.pwrite(self._out, text, self._at) < len(text):
            raise Refused(_NO_ROOM)
        return self._at, len(text)

    def _check(self) -> None:
        status = dict(line.split(":\t", 1) for line in _read(f"/proc/{self._pid}/status").split("\n") if ":\t" in line)
        if status["Threads"].strip() != "1":
            raise Refused("initialisation has left threads running")

    def _layout(self, found: list[Area]) -> None:
        """What the kernel believes of the address space: where code, data, heap, stack and variables lie."""
        fields = _read(f"/proc/{self._pid}/stat").rpartition(")")[2].split()
        numbers = [int(fields[number - 3]) for number in (26, 27, 45, 46, 47, 28, 48, 49, 50, 51)]
        start_brk = numbers[4]
        brk = max([area.end for area in found if area.path == "[heap]"], default=start_brk)
        # struct prctl_mm_map: after the addresses an auxiliary vector, and a program's file: both stay as they are.
        self._plan.layout = struct.pack("=12QIi", *numbers[:5], brk, *numbers[5:], 0, 0, -1)

    def _find_room(self, found: list[Area]) -> None:
        """Places where this process has nothing; whether the one that restores has, shows then."""
        size = restoring.room(len(self._plan.taken()) // 64) + sum(end - start for _, start, end in self._plan.kernels)
        for place in restoring.PLACES:
            if all(area.end <= place - _PAGE or area.start >= place + size + _PAGE for area in found):
                self._plan.places.append(place)
                if len(self._plan.places) == _PLACES:
                    return

    def _number(self, key: str) -> int:
        number = self._numbers.setdefault(key, restoring.FIRST_FD + len(self._numbers))
        if number > restoring.LAST_FD:
            raise Refused("the process has mapped too many files")
        return number

    def _copy(self, area: Area, room: int) -> None:
        plan, place, protection = self._plan, (area.start, area.end), area.protection
        if "dp" in area.flags:
            plan.droppable(place, protection)
        elif "wf" in area.flags:  # what must not be in two processes
            plan.wiped(place, protection)
        elif area.shared and not (area.has_file and not protection & _WRITE):
            number = self._number(f"{area.inode}:{area.path}")
            plan.file(place, protection, number, area.offset, shared=True)
            plan.groups.append((number, area.offset, area.end - area.start, self._at))
            self._write(area.start, area.end)
        elif area.has_file:
            is_new = (key := f"{area.inode} {area.path}") not in self._numbers
            number = self._number(key)
            if is_new:
                plan.files.append((number, area.inode, area.path))
            plan.file(place, protection, number, area.offset, shared=area.shared)
            if not area.shared:
                self._overlay(area, self._own(area))
        elif area.path and not area.path.startswith(("[", "/")):
            raise Refused(f"{area.path} is mapped, which cannot be mapped again")
        elif area.path == "[stack]":
            plan.own((max(min(area.start, area.end - _STACK), room), area.end), protection)  # as far as it may grow
            self._overlay(area, self._own(area))
        else:
            plan.own(place, protection)
            # Of a file in /tmp, all; else only what was touched.
            self._overlay(area, [place] if area.inode else self._own(area))

    def _own(self, area: Area) -> list[Range]:
        """Runs of pages that are the process's own."""
        runs: list[Range] = []
        at = area.start
        while at < area.end:
            size = min((area.end - at) // _PAGE * 8, _PIECE)
            found = os.pread(self._pagemap, size, at // _PAGE * 8)
            if not found:
                break
            # What was never touched is mostly zero, and there may be a lot of it.
            entries = memoryview(found).cast("Q") if found.strip(b"\0") else ()
            for number, entry in enumerate(entries):
                if entry & (_PRESENT | _SWAPPED) and not entry & _OF_FILE:
                    start = at + number * _PAGE
                    if runs and start - runs[-1][1] <= _GAP * _PAGE:
                        runs[-1] = (runs[-1][0], start + _PAGE)
                    else:
                        runs.append((start, start + _PAGE))
            at += len(found) // 8 * _PAGE
        return runs

    def _overlay(self, area: Area, runs: list[Range]) -> None:
        for start, end in runs:
            self._plan.pages((start, end), area.protection, self._at)
            self._write(start, end)

    def _write(self, start: int, end: int) -> None:
        if self._at + end - start > self._most:
            raise Refused(f"the process has more than {self._most >> 20} MiB of its own")
        while start < end:
            try:
                piece = os.pread(self._memory, min(_PIECE, end - start), start)
            except OSError:  # past the end of a file that is mapped, or not to be read
                piece = b""
            piece = piece or bytes(_PAGE)
            if os.pwrite(self._out, piece, self._at) < len(piece):
                raise Refused(_NO_ROOM)
            self._at += len(piece)
            start += len(piece)


def new_file(folder: str) -> int:
    """A file without a name in `folder`, or in memory where file systems cannot do that."""
    with contextlib.suppress(OSError):
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o400)
    return os.memfd_create("snapshot", os.MFD_CLOEXEC)


def read_only(descriptor: int) -> int:
    """The same file, to be read only; closes `descriptor`."""
    again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    os.close(descriptor)
    return again


class Image:
    """An image that was taken, or is being taken by the child `pid`."""

    __slots__ = ("file", "offset", "pid", "pidfd", "size", "status")

    def __init__(self, folder: str, process: int, most: int) -> None:
        self.file = new_file(folder)
        self.offset = self.size = 0
        self.status, theirs = os.pipe()
        try:
            self.pid = syscalls.clone(0)
            if self.pid == 0:
                _report(process, self.file, most, theirs)
        finally:
            os.close(theirs)
        self.pidfd = os.pidfd_open(self.pid)

    def finish(self) -> str:
        """The child has ended: "", or why there is no image."""
        said = b""
        while piece := os.read(self.status, 4096):
            said += piece
        os.close(self.status)
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        if not said.startswith(b"taken "):
            os.close(self.file)
            self.file = -1
            return said.decode("utf-8", "replace") or "the process that takes it has died"
        self.offset, self.size = (int(word) for word in said.split()[1:])
        self.file = read_only(self.file)
        return ""

    def close(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


def _report(process: int, file: int, most: int, pipe: int) -> None:
    """In the child; never returns."""
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, _SIGKILL)
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        gc.disable()  # it would copy the pages shared with the host
        said = b"taken %d %d" % take(process, file, most)
    except (Refused, OSError, ValueError, KeyError, IndexError) as error:
        said = (str(error) or type(error).__name__).encode("utf-8", "replace")[:2000]
    except BaseException as error:
        said = type(error).__name__.encode()
    try:
        os.write(pipe, said)
    finally:
        os._exit(0)


class Images:
    """Those of one host, by the id of the environment that each was taken of."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        #: With the address at which the process rests.
        self._taken: dict[bytes, tuple[Image, int]] = {}
        self._taking: dict[bytes, Image] = {}
        self._unwanted: set[bytes] = set()

    def begin(self, id: bytes, processes: list[int], most: int) -> Image:
        """Have a child copy an environment's only process. ValueError or OSError says why not."""
        problem = restoring.problem()
        if problem:
            raise ValueError(problem)
        if id in self._taking or id in self._taken:
            raise ValueError("the environment is being copied already")
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < most + _RESERVE:
            raise ValueError(f"{self._folder} has no room for a snapshot")
        if len(processes) != 1:
            raise ValueError("initialisation has left processes running")
        image = self._taking[id] = Image(self._folder, processes[0], most)
        return image

    def finish(self, id: bytes, frame: int) -> str:
        """The child has ended: "", or why there is no image."""
        image = self._taking.pop(id)
        problem = image.finish()
        if not problem and id in self._unwanted:
            problem = "nobody wants it any more"
            image.close()
        elif not problem:
            self._taken[id] = (image, frame)
        self._unwanted.discard(id)
        return problem

    def order(self, id: bytes) -> tuple[list[int], bytes]:
        """The image's descriptor and, for an order, where in it the first process goes on; nothing without an id."""
        if not id:
            return [], b""
        if id not in self._taken:
            raise ValueError("there is no such snapshot")
        image, frame = self._taken[id]
        return [image.file], b"%d %d %d" % (frame, image.offset, image.size)

    def forget(self, id: bytes) -> None:
        """Environments that came of it keep what they need of it."""
        if id in self._taking:
            self._unwanted.add(id)
        elif id in self._taken:
            self._taken.pop(id)[0].close()

    def close(self) -> None:
        for id in tuple(self._taken):
            self.forget(id)
