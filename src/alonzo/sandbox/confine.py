"""Giving up privileges for good, in the child; and who it is afterwards.

As root every living environment has a uid and gid of its own from a block that this host claimed, so that no signal,
ptrace or file permission reaches from one to another even if namespaces failed; and its init, which lies outside the
control groups, has another one again, so that the function cannot take it over. Without root there is only one uid; the
environment then gets a user namespace of its own, in which it is uid 993 and owns nothing outside.
Source: capabilities(7), user_namespaces(7), prctl(2).
"""

from __future__ import annotations

import _socket
import contextlib
import os

from alonzo.sandbox import cgroups, syscalls
from alonzo.sandbox.mounts import USER_ID

# Above the range that systemd gives to containers (to 0x6FFFFFFF), below what programs take for negative.
_FIRST_UID, _BLOCK, _BLOCKS = 0x70000000, 4096, 65535

# NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, set and locked; KEEP_CAPS locked unset.
_SECUREBITS = 0xEF


class UidBlock:
    """BLOCK uids that no other host on this machine uses. The claim is an abstract socket, so it ends with the host."""

    def __init__(self) -> None:
        self._claim = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        for attempt in range(256):
            block = (os.getpid() + attempt) % _BLOCKS
            with contextlib.suppress(OSError):
                self._claim.bind(f"\0alonzo-uids-{block}")
                self._first = _FIRST_UID + block * _BLOCK
                break
        else:
            raise OSError(98, "no free block of uids")
        # Handed out in turn: a uid comes back as late as possible. Every second one is an init's.
        self._free = list(range(0, _BLOCK, 2))

    def take(self) -> int:
        """A uid that nobody uses; IndexError if all are in use."""
        return self._first + self._free.pop(0)

    def give_back(self, uid: int) -> None:
        """The environment has ended."""
        self._free.append(uid - self._first)


def last_capability() -> int:
    """The highest capability this kernel knows."""
    return int(cgroups.read("/proc/sys/kernel/cap_last_cap"))


def map_user(inside: int) -> None:
    """Move into a new user namespace in which the present user and group are `inside`, with all capabilities."""
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    with contextlib.suppress(FileNotFoundError):
        cgroups.write("/proc/self/setgroups", "deny")
    cgroups.write("/proc/self/uid_map", f"{inside} {uid} 1")
    cgroups.write("/proc/self/gid_map", f"{inside} {gid} 1")


def drop_privileges(uid: int, last_cap: int, program: bytes) -> None:
    """Become `uid` (-1: stay who we are) without any capability, for ever, behind the seccomp filter `program`."""
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(last_cap + 1):
        syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)
    syscalls.prctl(syscalls.PR_SET_SECUREBITS, _SECUREBITS)
    if uid >= 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    # The securebits keep setresuid from doing this.
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.load_filter(program)


def map_function_user() -> None:
    """Without root: be uid 993 in a user namespace of the environment's own."""
    map_user(USER_ID)
