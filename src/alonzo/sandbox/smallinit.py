"""A program of 224 bytes for process 1 to become, once it has nothing left to do but to reap.

As Python, init keeps 1.4 MB of pages of its own for as long as its environment lives; as this, some 20 KB. It makes
itself undumpable, waits for every child, and when that child is the first process, writes its wait status and peak
memory (`enter.STATUS`) to descriptor 3 and exits. Other architectures than x86_64, and hosts without root, stay with
Python's loop.
"""

from __future__ import annotations

import os
import struct

_PID = 0x11223344
# The listing is the source; numbers on the right are positions in the code.
_X86_64 = bytes.fromhex(
    "4881ec00020000"  # sub    $512,%rsp            room: status at 0, struct rusage at 16
    "bf04000000"  # mov    $4,%edi             PR_SET_DUMPABLE
    "31f6"  # xor    %esi,%esi
    "b89d000000"  # mov    $157,%eax           prctl
    "0f05"  # syscall
    "bfffffffff"  # mov    $-1,%edi            0x15 again: any child
    "4889e6"  # mov    %rsp,%rsi
    "31d2"  # xor    %edx,%edx
    "4c8d542410"  # lea    16(%rsp),%r10
    "b83d000000"  # mov    $61,%eax            wait4
    "0f05"  # syscall
    "3d44332211"  # cmp    $pid,%eax
    "740b"  # je     found
    "85c0"  # test   %eax,%eax
    "79df"  # jns    again
    "bf01000000"  # mov    $1,%edi
    "eb24"  # jmp    out
    "488b442430"  # mov    48(%rsp),%rax       0x3d found: ru_maxrss, in KiB
    "48c1e00a"  # shl    $10,%rax
    "4889442404"  # mov    %rax,4(%rsp)
    "bf03000000"  # mov    $3,%edi
    "4889e6"  # mov    %rsp,%rsi
    "ba0c000000"  # mov    $12,%edx
    "b801000000"  # mov    $1,%eax             write
    "0f05"  # syscall
    "31ff"  # xor    %edi,%edi
    "b8e7000000"  # mov    $231,%eax           0x61 out: exit_group
    "0f05"  # syscall
)
_BASE = 0x400000
_HEADERS = 64 + 56


def program(first: int) -> bytes:
    """The executable whose child `first` is the first process. Source: elf(5)."""
    code = _X86_64.replace(struct.pack("<I", _PID), struct.pack("<I", first))
    size = _HEADERS + len(code)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code


def become(machine: str, first: int) -> None:
    """Replace this process; returns (or raises OSError) where that cannot be, and then the caller must do the work."""
    if machine != "x86_64":
        return
    descriptor = os.memfd_create("init", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, program(first))
        os.execve(descriptor, ["alonzo-init"], {})
    finally:
        os.close(descriptor)
