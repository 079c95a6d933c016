"""The packet filter of functions with outbound internet: one nf_tables table of our own, spoken to over netlink.

No command is needed on the machine, and no other table is touched. The table belongs to the socket that made it: the
kernel removes it when the host process ends, however it ends. Source: linux/netfilter/nf_tables.h, nft(8).
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

_NETLINK_NETFILTER = 12
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NFTABLES = 10
_NEWTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _NEWRULE = 0, 2, 3, 4, 6
_REQUEST, _ACK, _DUMP, _CREATE, _APPEND = 0x1, 0x4, 0x300, 0x400, 0x800
_NESTED = 0x8000
_INET, _IPV4 = 1, 2
_TABLE_OWNER = 2
_HOOK_INPUT, _HOOK_FORWARD, _HOOK_OUTPUT, _HOOK_POSTROUTING = 1, 2, 3, 4
_DROP, _ACCEPT = 0, 1
_META_IIFNAME, _META_OIFNAME, _META_NFPROTO, _META_L4PROTO = 6, 7, 15, 16
_EQ, _NEQ = 0, 1
_SADDR, _DADDR = 12, 16
#: Bits of a connection's state: established and related.
_GOES_ON = struct.pack("=I", 2 | 4)
_TIMEOUT = struct.pack("=qq", 5, 0)


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _nest(kind: int, *children: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(children))


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


# -- expressions: register 1 holds what is compared, the verdict goes to register 0 ------------------------------------


def _expression(name: str, *attributes: bytes) -> bytes:
    return _nest(1, _text(1, name), _nest(2, *attributes))


def _compare(operator: int, value: bytes) -> bytes:
    return _expression("cmp", _u32(1, 1), _u32(2, operator), _nest(3, attribute(1, value)))


def _interface(key: int, operator: int, name: str, *, prefix: bool) -> bytes:
    """The name of the incoming or outgoing interface begins with, or is, `name`."""
    value = name.encode() if prefix else name.encode().ljust(16, b"\0")
    return _expression("meta", _u32(2, key), _u32(1, 1)) + _compare(operator, value)


def comes_from(name: str, *, prefix: bool = True, not_: bool = False) -> bytes:
    """The packet came in by this interface."""
    return _interface(_META_IIFNAME, _NEQ if not_ else _EQ, name, prefix=prefix)


def goes_to(name: str, *, prefix: bool = True, not_: bool = False) -> bytes:
    """The packet goes out by this interface."""
    return _interface(_META_OIFNAME, _NEQ if not_ else _EQ, name, prefix=prefix)


def _ipv4(operator: int = _EQ) -> bytes:
    return _expression("meta", _u32(2, _META_NFPROTO), _u32(1, 1)) + _compare(operator, bytes([_socket.AF_INET]))


def _address(offset: int, network: str, bits: int, operator: int) -> bytes:
    mask = struct.pack(">I", 0xFFFFFFFF << (32 - bits) & 0xFFFFFFFF)
    load = _expression("payload", _u32(1, 1), _u32(2, 1), _u32(3, offset), _u32(4, 4))
    masks = (_nest(4, attribute(1, mask)), _nest(5, attribute(1, bytes(4))))
    cut = _expression("bitwise", _u32(1, 1), _u32(2, 1), _u32(3, 4), *masks)
    return _ipv4() + load + cut + _compare(operator, _socket.inet_aton(network))


def source(network: str, bits: int, *, not_: bool = False) -> bytes:
    """The packet's source address lies in the network."""
    return _address(_SADDR, network, bits, _NEQ if not_ else _EQ)


def destination(network: str, bits: int) -> bytes:
    """The packet's destination address lies in the network."""
    return _address(_DADDR, network, bits, _EQ)


def _opens_connection() -> bytes:
    """The packet belongs to no connection that exists, nor to an error about one."""
    masks = (_nest(4, attribute(1, _GOES_ON)), _nest(5, attribute(1, bytes(4))))
    cut = _expression("bitwise", _u32(1, 1), _u32(2, 1), _u32(3, 4), *masks)
    return _expression("ct", _u32(2, 0), _u32(1, 1)) + cut + _compare(_EQ, bytes(4))


def _verdict(code: int) -> bytes:
    return _expression("immediate", _u32(1, 0), _nest(2, _nest(2, _u32(1, code))))


#: What is refused fails at once instead of after minutes: TCP by a reset, the rest by ICMP's "administratively
#: prohibited" (of which the kernel sends only some a second).
_TCP = _expression("meta", _u32(2, _META_L4PROTO), _u32(1, 1)) + _compare(_EQ, bytes([_socket.IPPROTO_TCP]))
_RESET = _TCP + _expression("reject", _u32(1, 1), attribute(2, b"\0"))
_PROHIBIT = _expression("reject", _u32(1, 2), attribute(2, b"\x03"))
_MASQUERADE = _expression("masq")


def _reject(match: bytes) -> list[bytes]:
    return [match + _RESET, match + _PROHIBIT]


class Filter:
    """One table in the network namespace of the caller, there while this object is.

    `name` names it, `prefix` begins the names of the host's ends of all its links, `family` those of every instance;
    `network`/`bits` is where the functions' addresses lie. `guarded` are interfaces between which nothing was forwarded
    before forwarding was turned on for functions (pairs in, out): nothing will be.
    """

    def __init__(
        self, name: str, prefix: str, family: str, network: str, bits: int, guarded: list[tuple[str, str]]
    ) -> None:
        self._name = name
        self._channel = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._channel.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, _TIMEOUT)
        self._sequence = 0
        self.owned = True
        try:
            # A table of this name can only be what a host left that was killed on a kernel without owned tables.
            self._remove()
            rules = self._rules(prefix, family, network, bits, guarded)
            try:
                self._send([self._table(_NEWTABLE, _TABLE_OWNER), *rules])
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                self.owned = False  # before Linux 5.12
                self._send([self._table(_NEWTABLE, 0), *rules])
        except BaseException:
            self._channel.close()
            raise

    def close(self) -> None:
        """Take the table away."""
        try:
            self._remove()
        finally:
            self._channel.close()

    def other_forward_drops(self) -> list[str]:
        """Names of other tables whose chains drop what is forwarded by default, as Docker's and some firewalls' do."""
        kind = _NFTABLES << 8 | _GETCHAIN
        self._sequence += 1
        self._channel.send(_message(kind, _REQUEST | _DUMP, self._sequence, struct.pack(">BBH", 0, 0, 0)))
        names: list[str] = []
        for attributes in self._dumped():
            hook = _attributes(attributes.get(4, b""))
            number = struct.unpack(">I", hook[1])[0] if 1 in hook else -1
            policy = struct.unpack(">I", attributes[5])[0] if 5 in attributes else _ACCEPT
            table = attributes.get(1, b"").rstrip(b"\0").decode(errors="replace")
            if number == _HOOK_FORWARD and policy == _DROP and table != self._name and table not in names:
                names.append(table)
        return names

    def _rules(
        self, prefix: str, family: str, network: str, bits: int, guarded: list[tuple[str, str]]
    ) -> list[tuple[int, int, bytes]]:
        inside = comes_from(prefix)
        # Of the functions' addresses one that no function has would leave by the default route, as would what still
        # arrives for a function that has ended.
        nobodys = destination(network, bits) + goes_to(family, not_=True)
        forward = [
            # The order matters: a packet is judged by the first rule that knows it.
            inside + source(network, bits, not_=True) + _verdict(_DROP),
            *_reject(inside + _ipv4(_NEQ)),
            *_reject(inside + goes_to(family)),
            *_reject(inside + destination("169.254.0.0", 16)),
            *_reject(inside + nobodys),
            nobodys + _verdict(_DROP),
            goes_to(prefix) + _opens_connection() + _verdict(_DROP),
            *(comes_from(a, prefix=False) + goes_to(b, prefix=False) + _verdict(_DROP) for a, b in guarded),
        ]
        chains = [
            ("input", "filter", _HOOK_INPUT, -10, _reject(inside)),
            ("forward", "filter", _HOOK_FORWARD, -10, forward),
            ("output", "filter", _HOOK_OUTPUT, -10, _reject(nobodys + goes_to("lo", prefix=False, not_=True))),
            ("nat", "nat", _HOOK_POSTROUTING, 100, [source(network, bits) + goes_to(family, not_=True) + _MASQUERADE]),
        ]
        messages = []
        for name, kind, hook, priority, rules in chains:
            body = _text(1, self._name) + _text(3, name) + _nest(4, _u32(1, hook), _u32(2, priority)) + _text(7, kind)
            messages.append((_NEWCHAIN, _CREATE, body))
            for rule in rules:
                body = _text(1, self._name) + _text(2, name) + _nest(4, rule)
                messages.append((_NEWRULE, _CREATE | _APPEND, body))
        return messages

    def _table(self, kind: int, flags: int) -> tuple[int, int, bytes]:
        body = _text(1, self._name) + (_u32(2, flags) if flags else b"")
        return kind, _CREATE if kind == _NEWTABLE else 0, body

    def _remove(self) -> None:
        try:
            self._send([self._table(_DELTABLE, 0)])
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def _send(self, messages: list[tuple[int, int, bytes]]) -> None:
        """All of the messages take effect, or none. Raises OSError with the first one's reason."""
        edge = struct.pack(">BBH", 0, 0, _NFTABLES)
        self._sequence += 1
        parts = [_message(_BATCH_BEGIN, _REQUEST, self._sequence, edge)]
        first = self._sequence + 1
        for kind, flags, body in messages:
            self._sequence += 1
            head = struct.pack(">BBH", _INET, 0, 0)
            parts.append(_message(_NFTABLES << 8 | kind, _REQUEST | _ACK | flags, self._sequence, head + body))
        last = self._sequence
        self._sequence += 1
        parts.append(_message(_BATCH_END, _REQUEST, self._sequence, edge))
        self._channel.send(b"".join(parts))
        failed = 0
        answered = 0
        # A batch that is refused as a whole is answered under the number of its first line.
        while answered < last - first + 1:
            data = self._channel.recv(1 << 16)
            while len(data) >= 20:
                size, _, _, sequence, _ = struct.unpack_from("=IHHII", data)
                (code,) = struct.unpack_from("=i", data, 16)
                if sequence >= first - 1:
                    answered += 1
                    failed = failed or -code
                    if sequence == first - 1:
                        answered = last
                data = data[size + 3 & ~3 :]
        if failed:
            raise OSError(failed, f"nf_tables: {os.strerror(failed)}")

    def _dumped(self) -> list[dict[int, bytes]]:
        found: list[dict[int, bytes]] = []
        while True:
            data = self._channel.recv(1 << 18)
            while len(data) >= 16:
                size, kind, _, sequence, _ = struct.unpack_from("=IHHII", data)
                if sequence == self._sequence:
                    if kind in (2, 3):  # an error, or the end
                        return found
                    found.append(_attributes(data[20:size]))
                data = data[size + 3 & ~3 :]


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[4:size]
        data = data[size + 3 & ~3 :]
    return found
