"""Network namespaces in which only `lo` is up, with the sockets through which the server is reached from inside.

**Outbound internet is a seam**: `alonzo.sandbox.network` (if it is there) offers

    def start(rootless: bool) -> Provider      # raises OSError or RuntimeError, whose text says why and what mends it

    class Provider:
        detail: str                             # one sentence for `alonzo doctor`
        resolv_conf: bytes                      # /etc/resolv.conf of environments with internet
        def attach(self, netns: int, key: int) -> None   # give the namespace open as `netns` a way out
        def detach(self, key: int) -> None      # the environment has ended; idempotent
        def close(self) -> None                 # the host ends

`attach` gets a namespace made here (lo up, 169.254.100.1 on it) and is called in the host: single-threaded, in its own
mount namespace and, without root, as "root" of its own user namespace. `key` is unique among living environments.
"""

from __future__ import annotations

import _socket
import os
import struct

from alonzo.sandbox import syscalls

INSIDE_ADDRESS = "169.254.100.1"
PORTS = (9001, 4566)
_BACKLOG = 512

_RTM_NEWLINK, _RTM_NEWADDR = 16, 20
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 1, 4, 0x200, 0x400
_IFF_UP, _IFA_ADDRESS, _IFA_LOCAL = 1, 1, 2


def _ask(channel: _socket.socket, kind: int, flags: int, body: bytes) -> None:
    """One netlink request and its acknowledgement."""
    flags |= _NLM_F_REQUEST | _NLM_F_ACK
    channel.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
    (code,) = struct.unpack_from("=i", channel.recv(4096), 16)
    if code:
        raise OSError(-code, f"netlink: {os.strerror(-code)}")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


def _bring_up_loopback() -> None:
    address = _socket.inet_aton(INSIDE_ADDRESS)
    channel = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)
    try:
        # ifinfomsg of interface 1, which lo always is; then ifaddrmsg with prefix 32 and host scope (254).
        _ask(channel, _RTM_NEWLINK, 0, struct.pack("=BxHiII", 0, 0, 1, _IFF_UP, _IFF_UP))
        attributes = _attribute(_IFA_LOCAL, address) + _attribute(_IFA_ADDRESS, address)
        body = struct.pack("=BBBBI", _socket.AF_INET, 32, 0, 254, 1) + attributes
        _ask(channel, _RTM_NEWADDR, _NLM_F_CREATE | _NLM_F_EXCL, body)
    finally:
        channel.close()


def _listen(port: int) -> int:
    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        listener.bind((INSIDE_ADDRESS, port))
        listener.listen(_BACKLOG)
        return listener.detach()
    finally:
        listener.close()


class NetworkMaker:
    """Makes namespaces; must be called from a single-threaded process, which moves into each for a moment."""

    def __init__(self) -> None:
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def make(self) -> tuple[int, list[int]]:
        """A namespace, and the descriptors of the sockets listening in it, in the order of PORTS."""
        namespace = -1
        listeners: list[int] = []
        try:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            _bring_up_loopback()
            for port in PORTS:
                listeners.append(_listen(port))
            return namespace, listeners
        except BaseException:
            for descriptor in (*listeners, *((namespace,) if namespace >= 0 else ())):
                os.close(descriptor)
            raise
        finally:
            syscalls.setns(self._home, syscalls.CLONE_NEWNET)
