"""Outbound internet of functions: a link of its own for each environment, address translation and a filter.

Privileges: root's CAP_NET_ADMIN in the host's network namespace, held by the sandbox host for its whole life. What a
function may reach through its link: everything that this machine reaches, except this machine itself by any of its
addresses, other functions, and link-local addresses (where clouds hand out the machine's own credentials). Nobody opens
a connection to a function. Nothing leaves this machine for an address of the functions' block. IPv4 only.

Everything here dies with the host process: the filter belongs to its socket, the links to the environments' network
namespaces, the block of addresses to a socket. The one lasting trace is forwarding of the uplink, see `_Forwarding`.
"""

# ruff: noqa: PTH123
from __future__ import annotations

import _socket
import contextlib
import errno
import os
import struct
from collections import deque

from alonzo.sandbox import syscalls
from alonzo.sandbox.netfilter import Filter, attribute

#: Names of the host's ends begin so, for every instance on the machine; then two digits of the instance.
FAMILY = "alz"
_INSIDE = "eth0"
_BLOCK_BITS = 18
_LINK_BITS = 30
_LINKS = 1 << (_LINK_BITS - _BLOCK_BITS)
#: Where blocks of addresses are looked for: the range for benchmarks of networks first, which no real network uses.
_RANGES = (("198.18.0.0", 15), ("10.254.0.0", 16), ("172.31.0.0", 16))

_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _NEWROUTE, _GETROUTE = 16, 17, 18, 20, 24, 26
_REQUEST, _ACK, _EXCL, _DUMP, _CREATE = 0x1, 0x4, 0x200, 0x300, 0x400
_UP = 1
_TIMEOUT = struct.pack("=qq", 5, 0)
_NO_ROOT = "functions have no outbound internet without root"
_NO_ROOT_MEND = "run `alonzo up` as root"


class Netlink:
    """Routing netlink in the network namespace where it is made."""

    def __init__(self) -> None:
        self._channel = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)
        self._channel.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, _TIMEOUT)

    def close(self) -> None:
        self._channel.close()

    def ask(self, kind: int, flags: int, body: bytes) -> None:
        """One request and its acknowledgement. Raises OSError."""
        self._channel.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, 1, 0) + body)
        (code,) = struct.unpack_from("=i", self._channel.recv(1 << 16), 16)
        if code:
            raise OSError(-code, f"netlink: {os.strerror(-code)}")

    def routes(self) -> list[tuple[str, int, int, int]]:
        """Every IPv4 route of every table: network, bits, type (2: an own address), index of the interface."""
        body = struct.pack("=BBBBBBBBI", _socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        self._channel.send(struct.pack("=IHHII", 16 + len(body), _GETROUTE, _REQUEST | _DUMP, 1, 0) + body)
        found: list[tuple[str, int, int, int]] = []
        while True:
            data = self._channel.recv(1 << 18)
            while len(data) >= 16:
                size, kind = struct.unpack_from("=IH", data)
                if kind in (2, 3):
                    return found
                bits, route = data[17], data[23]
                attributes = _attributes(data[28:size])
                network = _socket.inet_ntoa(attributes.get(1, bytes(4)))
                interface = struct.unpack("=I", attributes[4])[0] if 4 in attributes else 0
                found.append((network, bits, route, interface))
                data = data[size + 3 & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[4:size]
        data = data[size + 3 & ~3 :]
    return found


def _number(address: str) -> int:
    (number,) = struct.unpack(">I", _socket.inet_aton(address))
    return int(number)


def _dotted(number: int) -> str:
    return _socket.inet_ntoa(struct.pack(">I", number))


def _link(index: int, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, flags, flags)


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _blocks() -> list[tuple[int, int]]:
    """(number of the block, first address)."""
    starts: list[int] = []
    for network, bits in _RANGES:
        starts.extend(range(_number(network), _number(network) + (1 << (32 - bits)), 1 << (32 - _BLOCK_BITS)))
    return list(enumerate(starts))


def _claim(number: int) -> _socket.socket | None:
    """A claim to block `number`, None if another instance has it.

    It is a socket with an abstract name: unique in the network namespace, gone with the process.
    """
    claim = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        claim.bind(f"\0alonzo-network-{number:02x}")
        return claim
    except OSError as error:
        claim.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None


def _choose(routes: list[tuple[str, int, int, int]], servers: list[str]) -> tuple[int, int, _socket.socket]:
    """A block of addresses that no route of the machine, no name server and no other instance uses, and its claim."""
    used = [(_number(network), bits) for network, bits, _, _ in routes if bits]
    used += [(_number(server), 32) for server in servers]
    for number, start in _blocks():
        if any((start ^ network) >> (32 - min(bits, _BLOCK_BITS)) == 0 for network, bits in used):
            continue
        claim = _claim(number)
        if claim is not None:
            return number, start, claim
    raise RuntimeError("no private block of addresses is free for functions: this machine routes all of them")


def _others(own: int) -> bool:
    """Whether another instance is alive in this network namespace."""
    for number, _ in _blocks():
        if number != own:
            claim = _claim(number)
            if claim is None:
                return True
            claim.close()
    return False


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _nameservers(own: set[str]) -> list[str]:
    """The machine's IPv4 name servers that lie elsewhere; a local resolver's own upstream ones in its place."""
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"):
        servers = []
        for line in _read(path).splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver":
                with contextlib.suppress(OSError):
                    address = _dotted(_number(words[1]))
                    if not address.startswith("127.") and address != "0.0.0.0" and address not in own:
                        servers.append(address)
        if servers:
            return servers[:3]
    return []


def resolver_configuration() -> str:
    """/etc/resolv.conf of environments with internet: the machine's name servers that a function can reach."""
    netlink = Netlink()
    try:
        own = {network for network, _, route, _ in netlink.routes() if route == 2}
    finally:
        netlink.close()
    return "".join(f"nameserver {server}\n" for server in _nameservers(own))


class _Forwarding:
    """IPv4 forwarding, turned on only where it is off and only for the interfaces that need it.

    Where the machine forwards already (`net.ipv4.ip_forward`), nothing is done. Else it is turned on for the uplink
    alone (replies come in there), and the filter drops whatever would be forwarded between the machine's own
    interfaces, so that it becomes nobody's router. The last instance to close turns it off again; after a kill -9 it
    stays on, for the uplink only, and the next start takes it for the machine's own choice.
    """

    def __init__(self, uplinks: list[str], own: int) -> None:
        self._own = own
        self._paths: list[str] = []
        if _read("/proc/sys/net/ipv4/ip_forward").strip() == "1":
            return
        shared = _others(own)
        for name in uplinks:
            path = f"/proc/sys/net/ipv4/conf/{name}/forwarding"
            if _read(path).strip() != "1":
                _write(path, "1")
            elif not shared:
                continue
            self._paths.append(path)

    def close(self) -> None:
        if self._paths and not _others(self._own):
            for path in self._paths:
                with contextlib.suppress(OSError):  # the interface may have gone
                    _write(path, "0")
        self._paths = []


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


class Provider:
    """Ways out for the environments of one host. Called from one thread; never while in another namespace."""

    def __init__(self) -> None:
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._netlink = Netlink()
        self._claim: _socket.socket | None = None
        self._filter: Filter | None = None
        self._forwarding: _Forwarding | None = None
        self._links: dict[int, int] = {}
        # The link used longest ago is used next: the kernel takes its time to remove a namespace's interfaces.
        self._free = deque(range(_LINKS))
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        routes = self._netlink.routes()
        uplinks = sorted({_socket.if_indextoname(index) for _, bits, route, index in routes if not bits and index})
        own = {network for network, _, route, _ in routes if route == 2}
        servers = _nameservers(own)
        self.resolv_conf = "".join(f"nameserver {server}\n" for server in servers).encode()
        number, self._first, self._claim = _choose(routes, servers)
        self._prefix = f"{FAMILY}{number:02x}-"
        forwards = _read("/proc/sys/net/ipv4/ip_forward").strip() == "1"
        others = [name for _, name in _socket.if_nameindex() if name != "lo" and not name.startswith(FAMILY)]
        guarded = [] if forwards else [(a, b) for a in uplinks for b in others]
        # The filter first: at no moment is something forwarded that it would have dropped.
        network = _dotted(self._first)
        self._filter = Filter(f"alonzo-{number:02x}", self._prefix, FAMILY, network, _BLOCK_BITS, guarded)
        self._forwarding = _Forwarding(uplinks, number)
        forwarding = "" if forwards else ", forwarding turned on for it"
        self.detail = f"addresses {network}/{_BLOCK_BITS} behind {', '.join(uplinks) or 'no default route'}{forwarding}"
        if not uplinks:
            self.detail += "; this machine has no default route, so functions reach nothing yet"
        if not servers:
            self.detail += "; no name server that functions can reach is in /etc/resolv.conf"
        dropping = self._filter.other_forward_drops()
        if dropping:
            self.detail += (
                f"; the firewall (table {', '.join(dropping)}) drops what it does not know: let it accept what comes "
                f"from and goes to interfaces {FAMILY}+"
            )

    def attach(self, netns: int, key: int) -> None:
        """Give the namespace open as `netns` a way out; `key` names it for `detach`. Raises OSError."""
        if not self._free:
            raise OSError(errno.EADDRNOTAVAIL, f"all {_LINKS} addresses of functions with internet are in use")
        slot = self._free.popleft()
        name = f"{self._prefix}{slot:x}"
        network = self._first + slot * (1 << (32 - _LINK_BITS))
        try:
            try:
                self._add_pair(name, netns)
            except FileExistsError:
                self._delete(name)
                self._add_pair(name, netns)
            index = _socket.if_nametoindex(name)
            self._set_up(self._netlink, index, network + 1, forwarding=True)
            syscalls.setns(netns, syscalls.CLONE_NEWNET)
            try:
                self._inside(network)
            finally:
                syscalls.setns(self._home, syscalls.CLONE_NEWNET)
        except BaseException:
            self._delete(name)
            self._free.append(slot)
            raise
        self._links[key] = slot

    def detach(self, key: int) -> None:
        """The environment has ended; its link goes with its namespace. Idempotent."""
        slot = self._links.pop(key, None)
        if slot is not None:
            self._free.append(slot)

    def close(self) -> None:
        """The host ends: filter, forwarding and the links that are left go."""
        for slot in self._links.values():
            self._delete(f"{self._prefix}{slot:x}")
        self._links = {}
        if self._forwarding is not None:
            self._forwarding.close()
            self._forwarding = None
        if self._filter is not None:
            self._filter.close()
            self._filter = None
        if self._claim is not None:
            self._claim.close()
        if self._home >= 0:
            self._netlink.close()
            os.close(self._home)
            self._home = -1

    def _add_pair(self, name: str, netns: int) -> None:
        peer = _link(0) + _text(3, _INSIDE) + attribute(28, struct.pack("=i", netns))
        info = attribute(18, _text(1, "veth") + attribute(2, attribute(1, peer)))
        self._netlink.ask(_NEWLINK, _CREATE | _EXCL, _link(0) + _text(3, name) + info)

    def _delete(self, name: str) -> None:
        with contextlib.suppress(OSError):  # it may never have been made, or have gone with its namespace
            self._netlink.ask(_DELLINK, 0, _link(0) + _text(3, name))

    @staticmethod
    def _set_up(netlink: Netlink, index: int, address: int, *, forwarding: bool) -> None:
        """Up, with one IPv4 address and no IPv6 one, not even link-local: nothing here filters neighbours' traffic."""
        four = attribute(2, attribute(1, attribute(1, struct.pack("=I", 1)))) if forwarding else b""
        six = attribute(10, attribute(8, b"\x01"))
        try:
            netlink.ask(_NEWLINK, 0, _link(index) + attribute(26, four + six))
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                raise
            if forwarding:  # a kernel without IPv6
                netlink.ask(_NEWLINK, 0, _link(index) + attribute(26, four))
        # Apart, since one request would bring the link up first, and IPv6 with it.
        netlink.ask(_NEWLINK, 0, _link(index, _UP))
        packed = struct.pack(">I", address)
        body = (
            struct.pack("=BBBBI", _socket.AF_INET, _LINK_BITS, 0, 0, index)
            + attribute(2, packed)
            + attribute(1, packed)
        )
        netlink.ask(_NEWADDR, _CREATE | _EXCL, body)

    def _inside(self, network: int) -> None:
        """In the environment's namespace: the address, and the way out through the host's end."""
        netlink = Netlink()
        try:
            index = _socket.if_nametoindex(_INSIDE)
            self._set_up(netlink, index, network + 2, forwarding=False)
            gateway = attribute(5, struct.pack(">I", network + 1)) + attribute(4, struct.pack("=I", index))
            # table main (254), protocol static (4), scope universe (0), type unicast (1)
            body = struct.pack("=BBBBBBBBI", _socket.AF_INET, 0, 0, 0, 254, 4, 0, 1, 0) + gateway
            netlink.ask(_NEWROUTE, _CREATE | _EXCL, body)
        finally:
            netlink.close()


def start(rootless: bool) -> Provider:
    """The provider of this host. Raises OSError or RuntimeError, whose text says why and what mends it."""
    if rootless:
        raise RuntimeError(f"{_NO_ROOT}: {_NO_ROOT_MEND}")
    try:
        return Provider()
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: functions have no outbound internet; {_mend(error)}") from error


def available() -> tuple[bool, str, str]:
    """Whether functions can have outbound internet here: (yes or no, why, what mends it). Changes nothing."""
    if os.geteuid() != 0:
        return False, _NO_ROOT, _NO_ROOT_MEND
    try:
        provider = Provider()
    except (OSError, RuntimeError) as error:
        return False, str(error), _mend(error)
    provider.close()
    return True, provider.detail, ""


def _mend(error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code in (errno.EPERM, errno.EACCES):
        return "give the process CAP_NET_ADMIN (in a container: --cap-add NET_ADMIN)"
    if code in (errno.EPROTONOSUPPORT, errno.ENOENT, errno.EOPNOTSUPP):
        return "load the kernel's nf_tables, nft_masq, nft_ct, nft_reject_inet and veth modules"
    if code == errno.EROFS:
        return "mount /proc/sys writable, or set net.ipv4.ip_forward to 1"
    return "free some of the private addresses 198.18.0.0/15" if isinstance(error, RuntimeError) else "see `dmesg`"
