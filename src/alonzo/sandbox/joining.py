"""Another process in a sandbox that exists: the host's side of `Environment.spawn`.

Two processes come of it. The **program** is a process of the environment like the function's own: in its namespaces and
control groups, with its uid, no capabilities, the same filter and limits. Its **keeper**, its parent, stays outside the
pid namespace and the control groups, gives up its privileges and only waits, as init does for the first process: it
writes the program's wait status and ends. When the environment's init ends, the kernel kills the program.
Source: setns(2), pid_namespaces(7).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would import enum
import _socket
import contextlib
import fcntl
import gc
import os
import resource

from alonzo.sandbox import confine, enter, smallinit, syscalls
from alonzo.sandbox.status import STATUS
from alonzo.sandbox.stock import Slot

_ALL = (
    syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS
)
#: Descriptors that lead into a sandbox, with the kinds of namespaces to take of each; net is the first's.
Doors = list[tuple[int, int]]


def doors(place: enter.Place, slot: Slot) -> Doors:
    """The ways into a sandbox that is complete. Without root an undumpable init's pidfd is none."""
    if not place.rootless:
        return [(slot.pidfd, _ALL)]
    return [(door, 0) for door in slot.doors]


class Joined:
    """A program's keeper, as the host knows it; `shared` are the reading ends for the server: output, error, status."""

    __slots__ = ("pid", "pidfd", "shared")

    def __init__(self, pid: int, shared: list[int]) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.shared = shared

    def close(self) -> None:
        """Close what the server has its own copies of."""
        for descriptor in self.shared:
            os.close(descriptor)
        self.shared = []


def start(place: enter.Place, slot: Slot, order: enter.Order) -> Joined:
    """Start a program in the environment of `slot`."""
    ways, uid, group = doors(place, slot), slot.uid, slot.group
    readers: list[int] = []
    writers: list[int] = []
    try:
        for _ in range(3):
            reader, writer = os.pipe()
            readers.append(reader)
            writers.append(writer)
        join, into = group.joining() if group is not None else ([], -1)
        writers += [*join, *((into,) if into >= 0 else ())]
        pid = syscalls.clone(0)
        if pid == 0:
            gc.disable()
            _begin(place, ways, uid, writers, len(join), order)
        return Joined(pid, readers)
    except BaseException:
        for reader in readers:
            os.close(reader)
        raise
    finally:
        for writer in writers:
            os.close(writer)


def _begin(place: enter.Place, ways: Doors, uid: int, writers: list[int], joins: int, order: enter.Order) -> None:
    """In the keeper; never returns."""
    error = writers[1]
    try:
        kept = _keep_only([*writers, place.host, *(way for way, _ in ways)])
        output, error, status = kept[:3]
        join, into = kept[3 : 3 + joins], kept[3 + joins] if len(writers) > 3 + joins else -1
        place.host = kept[len(writers)]
        enter.die_with_host(place)
        for way, (_, kinds) in zip(kept[len(writers) + 1 :], ways, strict=True):
            syscalls.setns(way, kinds)
            os.close(way)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        program = syscalls.clone(0, into)
        if program == 0:
            try:
                _be_program(place, uid, join, output, error, order)
            except BaseException as problem:
                enter.report(error, problem)
            finally:
                os._exit(127)
        _keep(place, uid, status, program)
    except BaseException as problem:
        enter.report(error, problem)
    finally:
        os._exit(127)


def _keep_only(wanted: list[int]) -> list[int]:
    """Close everything else that belongs to the host; answers the descriptors' new numbers, from 70 on."""
    moved = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, max(70 + len(wanted), *wanted) + 1) for each in wanted]
    null = os.open("/dev/null", os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    numbers = list(range(70, 70 + len(moved)))
    for target, source in zip(numbers, moved, strict=True):
        os.dup2(source, target, inheritable=False)
    syscalls.close_range(3, 69)
    syscalls.close_range(70 + len(moved))
    return numbers


def _keep(place: enter.Place, uid: int, status: int, program: int) -> None:
    os.dup2(status, 3)
    os.dup2(place.host, 4)
    syscalls.close_range(5)
    place.host = 4
    confine.drop_privileges(uid + 1 if uid >= 0 else -1, place.last_cap, place.filter)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    enter.die_with_host(place)
    os.close(4)
    if not place.rootless:
        with contextlib.suppress(OSError):
            smallinit.become(syscalls.MACHINE, program)
    _, result, usage = os.wait4(program, 0)
    os.write(3, STATUS.pack(result, usage.ru_maxrss * 1024))


def _be_program(place: enter.Place, uid: int, join: list[int], output: int, error: int, order: enter.Order) -> None:
    for group in join:
        os.write(group, b"0")
    if place.rootless:
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        confine.map_function_user()
    syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    with contextlib.suppress(OSError):
        enter.write_own("/proc/self/oom_score_adj", b"500")
    os.setsid()
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGTERM):  # the host ignores or handles them
        _signal.signal(number, _signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    confine.drop_privileges(uid, place.last_cap, place.filter)
    os.setpriority(os.PRIO_PROCESS, 0, place.priority)
    enter.set_limits(order)
    os.set_inheritable(error, False)
    enter.run(order)


def open_socket(place: enter.Place, slot: Slot, home: int) -> int:
    """A TCP socket inside the network namespace of the environment of `slot`; `home` is the host's own."""
    syscalls.setns(doors(place, slot)[0][0], syscalls.CLONE_NEWNET)
    try:
        kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
        return _socket.socket(_socket.AF_INET, kind).detach()
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNET)


def order_of(fields: list[bytes], numbers: bytes) -> enter.Order:
    """The order for a program: argv, env and cwd as the server sent them, limits as the first process has them."""
    return enter.Order([fields[0], fields[1], fields[2], numbers])
