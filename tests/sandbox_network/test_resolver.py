"""Which name servers a function is given."""

from __future__ import annotations

import pytest

from alonzo.sandbox import network

RESOLV, UPSTREAM = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"


@pytest.mark.parametrize(
    ("files", "servers"),
    [
        ({RESOLV: "nameserver 192.0.2.53\nsearch example.org\nnameserver 192.0.2.54\n"}, ["192.0.2.53", "192.0.2.54"]),
        ({RESOLV: "nameserver 127.0.0.53\n", UPSTREAM: "nameserver 192.0.2.53\n"}, ["192.0.2.53"]),
        ({RESOLV: "nameserver 198.51.100.1\nnameserver 192.0.2.53\n"}, ["192.0.2.53"]),
        ({RESOLV: "nameserver ::1\nnameserver fe80::1%eth0\nnameserver\nnameserver junk\n"}, []),
        ({RESOLV: "".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6))}, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        ({}, []),
    ],
)
def test_only_servers_that_can_be_reached(monkeypatch, files, servers):
    """Servers on this machine are left out, a local resolver's upstream ones take their place; three at most."""
    monkeypatch.setattr(network, "_read", lambda path: files.get(path, ""))
    assert network._nameservers({"198.51.100.1"}) == servers


def test_without_root_it_says_so():
    """Without root there is no outbound internet, and the reason names what mends it."""
    with pytest.raises(RuntimeError, match="no outbound internet without root: run `alonzo up` as root"):
        network.start(rootless=True)
