"""The system calls a function may not make, as a seccomp filter built once by the host and loaded by every child.

A deny-list, with a ceiling: numbers above the newest call reviewed here answer ENOSYS, so a new kernel adds nothing.
The reasoning against an allow-list: functions are arbitrary programs in arbitrary languages, and an allow-list that
runs them all holds some 330 calls; what keeps a function in is that it has no capability, no foreign namespace and no
host file, while the filter takes away the parts of the kernel in which such limits have been broken before (user
namespaces, mounts, bpf, io_uring, keyrings, userfaultfd, perf, ptrace, rare socket families).
Source: seccomp(2), linux/filter.h, linux/audit.h, linux/seccomp.h.
"""

from __future__ import annotations

import errno
import struct

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _JUMP_EQ, _JUMP_GT, _JUMP_SET, _AND, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
_NUMBER, _ARCH = 0, 4
#: mseal; later calls answer ENOSYS. The x32 calls of x86_64 (bit 30 set) are above it too.
_NEWEST = 462

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Refused with EPERM: (x86_64, aarch64); None where the architecture never had the call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # mounts and roots
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "statmount": (457, 457),
    "listmount": (458, 458), "swapon": (167, 224), "swapoff": (168, 225), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263),
    # namespaces
    "unshare": (272, 97), "setns": (308, 268), "sethostname": (170, 161), "setdomainname": (171, 162),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "move_pages": (279, 239), "migrate_pages": (256, 238),
    # the kernel itself
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "reboot": (169, 142), "syslog": (103, 116), "acct": (163, 89), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171), "vhangup": (153, 58),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42), "set_mempolicy_home_node": (450, 450),
    # keyrings are not namespaced by uid alone
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # relics of x86
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None), "uselib": (134, None),
    "_sysctl": (156, None), "ustat": (136, None), "sysfs": (139, None), "create_module": (174, None),
    "get_kernel_syms": (177, None), "query_module": (178, None),
}  # fmt: skip

# Answered with ENOSYS, because libraries then take the older way: glibc uses clone, libuv threads.
_ABSENT = {"clone3": 435, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "memfd_secret": 447}

_NAMESPACE_FLAGS = 0x7E020080  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_RAW, _SOCK_PACKET = 3, 10
_TIOCSTI, _TIOCLINUX, _TIOCSETD = 0x5412, 0x541C, 0x5423
_S_IFMT, _S_IFCHR, _S_IFBLK = 0o170000, 0o020000, 0o060000


def _op(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, true, false, value)


def _return(value: int) -> bytes:
    return _op(_RETURN, value)


def _refuse(code: int) -> bytes:
    return _return(_ERRNO | code)


def _argument(index: int) -> bytes:
    """Load the low half of an argument; both architectures are little-endian."""
    return _op(_LOAD, 16 + 8 * index)


def _case(number: int, body: list[bytes]) -> bytes:
    """Run `body`, which ends with a return, if the call is `number` (which is in the accumulator)."""
    return _op(_JUMP_EQ, number, 0, len(body)) + b"".join(body)


_EPERM = _refuse(errno.EPERM)
_PASS = _return(_ALLOW)


def _clone_case(number: int) -> bytes:
    return _case(number, [_argument(0), _op(_JUMP_SET, _NAMESPACE_FLAGS, 0, 1), _EPERM, _PASS])


def _socket_case(number: int) -> bytes:
    """AF_UNIX, AF_INET and AF_INET6 without raw types; AF_NETLINK only for routes, which getaddrinfo asks for."""
    refused = _refuse(errno.EAFNOSUPPORT)
    body = [  # jumps are counted from the following instruction; the numbers are positions
        _argument(0),  # 0
        _op(_JUMP_EQ, _AF_UNIX, 12, 0),  # 1: to 14
        _op(_JUMP_EQ, _AF_INET, 3, 0),  # 2: to 6
        _op(_JUMP_EQ, _AF_INET6, 2, 0),  # 3: to 6
        _op(_JUMP_EQ, _AF_NETLINK, 7, 0),  # 4: to 12
        refused,  # 5
        _argument(1),  # 6: the type of an internet socket
        _op(_AND, 0xF),  # 7: without SOCK_CLOEXEC and SOCK_NONBLOCK
        _op(_JUMP_EQ, _SOCK_RAW, 1, 0),  # 8: to 10
        _op(_JUMP_EQ, _SOCK_PACKET, 0, 1),  # 9: to 10 or 11
        _EPERM,  # 10
        _PASS,  # 11
        _argument(2),  # 12: the protocol of a netlink socket
        _op(_JUMP_EQ, 0, 0, 1),  # 13: NETLINK_ROUTE to 14, else to 15
        _PASS,  # 14
        refused,  # 15
    ]
    return _case(number, body)


def _pair_case(number: int) -> bytes:
    return _case(number, [_argument(0), _op(_JUMP_EQ, _AF_UNIX, 0, 1), _PASS, _refuse(errno.EAFNOSUPPORT)])


def _ioctl_case(number: int) -> bytes:
    body = [_argument(1)]
    body += [_op(_JUMP_EQ, _TIOCSTI, 2, 0), _op(_JUMP_EQ, _TIOCLINUX, 1, 0), _op(_JUMP_EQ, _TIOCSETD, 0, 1)]
    return _case(number, [*body, _EPERM, _PASS])


def _mknod_case(number: int, mode: int) -> bytes:
    """Pipes and sockets may be made, devices not."""
    body = [_argument(mode), _op(_AND, _S_IFMT), _op(_JUMP_EQ, _S_IFCHR, 1, 0), _op(_JUMP_EQ, _S_IFBLK, 0, 1)]
    return _case(number, [*body, _EPERM, _PASS])


def _personality_case(number: int) -> bytes:
    """Asking and the default are harmless; the rest switches address randomisation off, or the call table."""
    return _case(number, [_argument(0), _op(_JUMP_EQ, 0xFFFFFFFF, 1, 0), _op(_JUMP_EQ, 0, 0, 1), _PASS, _EPERM])


def build(machine: str) -> bytes:
    """The filter for `machine` ("x86_64" or "aarch64"), ready for `syscalls.load_filter`."""
    if machine not in _AUDIT_ARCH:
        raise ValueError(f"no system call table for {machine}: Alonzo isolates functions on x86_64 and aarch64")
    x86 = machine == "x86_64"
    clone, socket, pair, ioctl, mknodat, personality = (
        (56, 41, 53, 16, 259, 135) if x86 else (220, 198, 199, 29, 33, 92)
    )
    parts = [
        _op(_LOAD, _ARCH),
        _op(_JUMP_EQ, _AUDIT_ARCH[machine], 1, 0),
        _return(_KILL),
        _op(_LOAD, _NUMBER),
        _op(_JUMP_GT, _NEWEST, 0, 1),
        _refuse(errno.ENOSYS),
        _clone_case(clone),
        _socket_case(socket),
        _pair_case(pair),
        _ioctl_case(ioctl),
        _mknod_case(mknodat, 2),
        _personality_case(personality),
    ]
    if x86:
        parts.append(_mknod_case(133, 1))
    parts += [_case(number, [_refuse(errno.ENOSYS)]) for number in _ABSENT.values()]
    for numbers in _REFUSED.values():
        number = numbers[0 if x86 else 1]
        if number is not None:
            parts.append(_case(number, [_EPERM]))
    parts.append(_PASS)
    return b"".join(parts)
