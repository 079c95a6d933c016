"""The system calls that Python does not offer, by ctypes; no C compiler, and nothing imported but ctypes and os.

Every function raises OSError with the call's name. Source: man7.org section 2, linux/mount.h, linux/sched.h.
"""

from __future__ import annotations

import ctypes
import os

# The GIL is kept over these calls (PyDLL): none blocks for long, and the child of clone3 must come back holding it.
_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

# Equal on x86_64 and aarch64: both use the common numbers from 424 on.
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_CLONE3, _CLOSE_RANGE, _MOUNT_SETATTR = 435, 436, 442
MACHINE = os.uname().machine
_PIVOT_ROOT, _SECCOMP, _CAPSET = {"x86_64": (155, 317, 126), "aarch64": (41, 277, 91)}.get(MACHINE, (-1, -1, -1))

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x10000000, 0x20000000, 0x40000000
CLONE_PARENT, CLONE_INTO_CGROUP = 0x00008000, 0x200000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_NOATIME = 1, 2, 4, 8, 32, 1024
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOATIME = 1, 2, 4, 8, 16

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_CAPBSET_DROP, PR_SET_SECUREBITS = 1, 4, 15, 24, 28
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4

_AT_EMPTY_PATH, _AT_RECURSIVE, _AT_FDCWD = 0x1000, 0x8000, -100
_MOVE_MOUNT_F_EMPTY_PATH, _OPEN_TREE_CLONE = 4, 1
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6


def _check(result: int, name: str, path: str | None = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}", path)
    return result


def _path(path: str | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def call(number: int, *arguments: int) -> int:
    """A system call by its number; answers what it answers, -1 where it failed."""
    return int(_syscall(number, *(ctypes.c_long(argument) for argument in arguments)))


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    result = _libc.mount(_path(source), _path(target), _path(kind), ctypes.c_ulong(flags), _path(options))
    _check(result, "mount", target)


def umount(target: str) -> None:
    """umount2(2), lazily."""
    _check(_libc.umount2(_path(target), MNT_DETACH), "umount2", target)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    _check(_syscall(_PIVOT_ROOT, _path(new), _path(old)), "pivot_root", new)


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """setns(2)."""
    _check(_libc.setns(descriptor, kind), "setns")


def prctl(option: int, first: int = 0, second: int = 0) -> None:
    """prctl(2) with integers."""
    arguments = (ctypes.c_ulong(first), ctypes.c_ulong(second), ctypes.c_ulong(0), ctypes.c_ulong(0))
    _check(_libc.prctl(option, *arguments), "prctl")


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Close every descriptor from `first` to `last`."""
    if first > last:
        return
    if _syscall(_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(last), 0) < 0:  # before Linux 5.9
        os.closerange(first, min(last + 1, os.sysconf("SC_OPEN_MAX")))


class _CloneArguments(ctypes.Structure):
    _names = "flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid set_tid_size cgroup"
    _fields_ = [(name, ctypes.c_uint64) for name in _names.split()]


def clone(flags: int, cgroup: int = -1) -> int:
    """fork() with `flags`, into the v2 cgroup whose folder is open as `cgroup`; answers 0 in the child.

    With CLONE_PARENT the child's end is told as the caller's own is.
    """
    arguments = _CloneArguments(flags=flags, exit_signal=0 if flags & CLONE_PARENT else 17)
    size = 64  # without set_tid, set_tid_size and cgroup: known to every kernel that has the call
    if cgroup >= 0:
        arguments.flags |= CLONE_INTO_CGROUP
        arguments.cgroup = cgroup
        size = ctypes.sizeof(arguments)
    return _check(_syscall(_CLONE3, ctypes.byref(arguments), ctypes.c_size_t(size)), "clone3")


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def drop_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets."""
    header = _CapabilityHeader(0x20080522, 0)
    _check(_syscall(_CAPSET, ctypes.byref(header), (ctypes.c_uint32 * 6)()), "capset")


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def load_filter(program: bytes) -> None:
    """Install a seccomp filter (an array of sock_filter) for this thread and its children."""
    arguments = _FilterProgram(len(program) // 8, program)
    _check(_syscall(_SECCOMP, 1, 0, ctypes.byref(arguments)), "seccomp")


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def _remount(target: str, attributes: int) -> None:
    """Before Linux 5.12; the flags that are set must be repeated, or an unprivileged remount is refused."""
    kept = os.statvfs(target).f_flag & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME)
    flags = kept | (attributes & 15) | (MS_NOATIME if attributes & MOUNT_ATTR_NOATIME else 0)
    mount(None, target, None, MS_REMOUNT | MS_BIND | flags)


def restrict_mount(target: str, attributes: int, *, recursive: bool = True) -> None:
    """Add `attributes` (MOUNT_ATTR_*) to the mount at `target` and, if recursive, to those under it."""
    settings = _MountAttributes(attr_set=attributes)
    flags = _AT_RECURSIVE if recursive else 0
    size = ctypes.c_size_t(ctypes.sizeof(settings))
    if _syscall(_MOUNT_SETATTR, _AT_FDCWD, _path(target), flags, ctypes.byref(settings), size) < 0:
        if ctypes.get_errno() != 38:  # ENOSYS
            _check(-1, "mount_setattr", target)
        _remount(target, attributes)


def bind(source: str, target: str, attributes: int, *, recursive: bool = True) -> None:
    """Show `source` at `target` with `attributes` (MOUNT_ATTR_*)."""
    mount(source, target, None, MS_BIND | (MS_REC if recursive else 0))
    if attributes:
        restrict_mount(target, attributes, recursive=recursive)


def detached_mount(kind: str, options: dict[str, str | None], attributes: int) -> int:
    """A new file system that is mounted nowhere yet, as a descriptor for `attach_mount`."""
    context = _check(_syscall(_FSOPEN, _path(kind), 1), "fsopen", kind)
    try:
        for name, value in options.items():
            command = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
            _check(_syscall(_FSCONFIG, context, command, _path(name), _path(value), 0), "fsconfig", name)
        _check(_syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig", kind)
        return _check(_syscall(_FSMOUNT, context, 1, attributes), "fsmount", kind)
    finally:
        os.close(context)


def clone_tree(path: str) -> int:
    """A detached copy of the mount that shows `path`, as a descriptor for `attach_mount`.

    Mounts under it are left out; where the kernel forbids that (in a user namespace, they could uncover something),
    they come along.
    """
    for flags in (_OPEN_TREE_CLONE, _OPEN_TREE_CLONE | _AT_RECURSIVE):
        descriptor = int(_syscall(_OPEN_TREE, _AT_FDCWD, _path(path), flags | os.O_CLOEXEC))
        if descriptor >= 0 or ctypes.get_errno() != 22:  # EINVAL
            break
    return _check(descriptor, "open_tree", path)


def attach_mount(descriptor: int, target: str) -> None:
    """Mount what `detached_mount` or `clone_tree` made at `target`, in the caller's mount namespace."""
    result = _syscall(_MOVE_MOUNT, descriptor, b"", _AT_FDCWD, _path(target), _MOVE_MOUNT_F_EMPTY_PATH)
    _check(result, "move_mount", target)


def rename_process(name: bytes) -> None:
    """Write `name` over the command line that /proc shows of this process and of those it forks."""
    descriptor = os.open("/proc/self/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fields = os.read(descriptor, 4096).rpartition(b")")[2].split()
    finally:
        os.close(descriptor)
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, counted from the third field
    if 0 < start < end:
        ctypes.memmove(start, name[: end - start - 1].ljust(end - start, b"\0"), end - start)
    buffer = ctypes.create_string_buffer(name[:15])
    prctl(PR_SET_NAME, ctypes.addressof(buffer))
