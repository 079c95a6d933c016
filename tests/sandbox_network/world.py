"""A small world in network namespaces: "the internet", this machine, functions. Run under unshare(1), prints JSON.

    internet  203.0.113.7, 169.254.169.254 ---- 192.0.2.254  [veth]  192.0.2.1 ---- this machine ---- functions

The internet has no route to the functions' addresses, so an answer proves that addresses are translated.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from alonzo.sandbox import syscalls
from alonzo.sandbox.network import FAMILY, Provider, available, resolver_configuration

PORT = 7777
SITE = "203.0.113.7"
METADATA = "169.254.169.254"
#: In the functions' block; the internet would answer there, were it asked.
NOBODYS = "198.18.63.254"


class World:
    """Made in the current network namespace, which is new and plays this machine."""

    def __init__(self, *, forward: bool = False) -> None:
        self.machine = os.open("/proc/self/ns/net", os.O_RDONLY)
        if forward:
            write("/proc/sys/net/ipv4/ip_forward", "1")
        self.internet = self.namespace()
        with IPRoute() as route:
            route.link("set", index=1, state="up")
            route.link("add", ifname="up0", kind="veth", peer={"ifname": "site0", "net_ns_fd": self.internet})
            index = route.link_lookup(ifname="up0")[0]
            route.addr("add", index=index, address="192.0.2.1", prefixlen=24)
            route.link("set", index=index, state="up")
        with self.inside(self.internet), IPRoute() as route:
            index = route.link_lookup(ifname="site0")[0]
            route.addr("add", index=index, address="192.0.2.254", prefixlen=24)
            for address in (SITE, METADATA, NOBODYS):
                route.addr("add", index=1, address=address, prefixlen=32)
            route.link("set", index=index, state="up")
            serve(SITE, METADATA, NOBODYS)
        with IPRoute() as route:
            route.route("add", dst="default", gateway="192.0.2.254")
        serve("0.0.0.0")

    def namespace(self) -> int:
        """A new network namespace with its lo up."""
        syscalls.unshare(syscalls.CLONE_NEWNET)
        made = os.open("/proc/self/ns/net", os.O_RDONLY)
        with IPRoute() as route:
            route.link("set", index=1, state="up")
        syscalls.setns(self.machine, syscalls.CLONE_NEWNET)
        return made

    @contextlib.contextmanager
    def inside(self, namespace: int) -> Iterator[None]:
        syscalls.setns(namespace, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(self.machine, syscalls.CLONE_NEWNET)

    def reach(
        self, namespace: int, address: str, kind: socket.SocketKind = socket.SOCK_STREAM, port: int = PORT
    ) -> str:
        """What a client in the namespace hears from `address`: its own address as seen there, or the error's name."""
        settle()
        with self.inside(namespace), socket.socket(socket.AF_INET, kind) as client:
            client.settimeout(0.5)
            try:
                client.connect((address, port))
                client.send(b"who am I")
                return client.recv(100).decode()
            except TimeoutError:
                return "timeout"
            except OSError as error:
                return type(error).__name__ if error.errno != 113 else "EHOSTUNREACH"


def settle() -> None:
    """Wait until the kernel has noticed that every link which is up has a carrier; it drops packets until then."""
    deadline = time.monotonic() + 3
    with IPRoute() as route:
        while time.monotonic() < deadline:
            links = [link for link in route.get_links() if link["flags"] & 1 and link.get_attr("IFLA_IFNAME") != "lo"]
            if all(link.get_attr("IFLA_OPERSTATE") == "UP" for link in links):
                return
            time.sleep(0.002)


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


def serve(*addresses: str) -> None:
    """In the current namespace: tell everybody who connects, or sends a datagram, which address it came from."""
    selector = selectors.DefaultSelector()
    for address in addresses or ("0.0.0.0",):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            server = socket.socket(type=kind)
            server.bind((address, PORT))
            if kind == socket.SOCK_STREAM:
                server.listen()
            selector.register(server, selectors.EVENT_READ)

    def run() -> None:
        while True:
            for key, _ in selector.select():
                server = key.fileobj
                assert isinstance(server, socket.socket)
                if server.type == socket.SOCK_STREAM:
                    connection, peer = server.accept()
                    connection.settimeout(1)
                    with connection, contextlib.suppress(OSError):
                        connection.recv(100)
                        connection.send(peer[0].encode())
                else:
                    _, peer = server.recvfrom(100)
                    server.sendto(peer[0].encode(), peer)

    threading.Thread(target=run, daemon=True).start()


def interfaces() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex() if name.startswith(FAMILY))


def tables() -> list[str]:
    """Names of all nf_tables tables here."""
    from pyroute2.nftables.main import NFTables

    with NFTables(nfgen_family=0) as nft:
        return sorted(table.get_attr("NFTA_TABLE_NAME") for table in nft.get_tables())


def reaching() -> Any:
    """What one function reaches, by both transports."""
    world = World()
    unfiltered = world.reach(world.machine, NOBODYS)
    provider = Provider()
    one, two = world.namespace(), world.namespace()
    before = world.reach(one, SITE)
    provider.attach(one, 1)
    provider.attach(two, 2)
    with world.inside(two):
        serve()
        with IPRoute() as route:
            second = next(a.get_attr("IFA_ADDRESS") for a in route.get_addr(family=2) if a["index"] != 1)
            sixes = [a.get_attr("IFA_ADDRESS") for a in route.get_addr(family=10) if a["index"] != 1]
    with IPRoute() as route:
        gateways = [
            a.get_attr("IFA_ADDRESS") for a in route.get_addr(family=2) if a.get_attr("IFA_LABEL").startswith(FAMILY)
        ]
        host_sixes = [i for i in route.get_addr(family=10) if i["index"] in route.link_lookup(kind="veth")]
        links = {link.get_attr("IFLA_IFNAME"): link["index"] for link in route.get_links()}
        host_sixes = [
            a for a in route.get_addr(family=10) if a["index"] in [i for n, i in links.items() if n.startswith(FAMILY)]
        ]
    udp = socket.SOCK_DGRAM
    answer = {
        "before": before,
        "nobody's before": unfiltered,
        "site": world.reach(one, SITE),
        "site udp": world.reach(one, SITE, udp),
        "site from the second": world.reach(two, SITE),
        "machine's metadata": world.reach(world.machine, METADATA),
        "metadata": world.reach(one, METADATA),
        "metadata udp": world.reach(one, METADATA, udp),
        "gateway": world.reach(one, gateways[0]),
        "gateway udp": world.reach(one, gateways[0], udp),
        "gateway of the other": world.reach(one, gateways[1]),
        "uplink": world.reach(one, "192.0.2.1"),
        "uplink udp": world.reach(one, "192.0.2.1", udp),
        "loopback": world.reach(one, "127.0.0.1"),
        "other": world.reach(one, second),
        "other udp": world.reach(one, second, udp),
        "nobody's": world.reach(one, NOBODYS),
        "nobody's udp": world.reach(one, NOBODYS, udp),
        "nobody's from the machine": world.reach(world.machine, NOBODYS),
        "own gateway from the machine": world.reach(world.machine, gateways[0]),
        "machine's loopback": world.reach(world.machine, "127.0.0.1"),
        "from the machine": world.reach(world.machine, second),
        "sixes": sixes + host_sixes,
        "detail": provider.detail,
    }
    provider.detach(1)
    provider.detach(1)
    provider.close()
    return answer


def inbound() -> Any:
    """The internet, with a route to the functions, tries to connect to one."""
    world = World()
    provider = Provider()
    function = world.namespace()
    provider.attach(function, 1)
    with world.inside(function):
        serve()
    with world.inside(world.internet), IPRoute() as route:
        route.route("add", dst="198.18.0.0/15", gateway="192.0.2.1")
    inward = world.reach(world.internet, "198.18.0.2")
    outward = world.reach(function, SITE)
    provider.close()
    return {"inward": inward, "outward": outward}


def ended() -> Any:
    """What the internet sends to a function's address, and how much of it comes back, without and with the filter."""
    world = World(forward=True)
    with world.inside(world.internet), IPRoute() as route:
        route.route("add", dst="198.18.0.0/15", gateway="192.0.2.1")
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800))
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.settimeout(0.5)
    settle()

    def returned() -> int:
        sender.sendto(b"to one that has ended", ("198.18.0.2", PORT))
        seen = 0
        with contextlib.suppress(TimeoutError):
            while True:
                packet, (_, _, kind, *_) = wire.recvfrom(200)
                seen += kind != socket.PACKET_OUTGOING and packet[16:20] == socket.inet_aton("198.18.0.2")
        return seen

    before = returned()
    provider = Provider()
    during = returned()
    provider.close()
    return [before, during]


def router() -> Any:
    """Whether the machine forwards between its own interfaces, before and with functions."""
    results = {}
    for forward in (False, True):
        syscalls.unshare(syscalls.CLONE_NEWNET)
        world = World(forward=forward)
        lan = world.namespace()
        with IPRoute() as route:
            route.link("add", ifname="lan0", kind="veth", peer={"ifname": "pc0", "net_ns_fd": lan})
            index = route.link_lookup(ifname="lan0")[0]
            route.addr("add", index=index, address="198.51.100.1", prefixlen=24)
            route.link("set", index=index, state="up")
        with world.inside(lan), IPRoute() as route:
            index = route.link_lookup(ifname="pc0")[0]
            route.addr("add", index=index, address="198.51.100.2", prefixlen=24)
            route.link("set", index=index, state="up")
            route.route("add", dst="default", gateway="198.51.100.1")
            serve()
        with world.inside(world.internet), IPRoute() as route:
            route.route("add", dst="198.51.100.0/24", gateway="192.0.2.1")
        before = world.reach(world.internet, "198.51.100.2")
        settings = [read(f"/proc/sys/net/ipv4/conf/{name}/forwarding") for name in ("all", "up0", "lan0")]
        provider = Provider()
        function = world.namespace()
        provider.attach(function, 1)
        during = world.reach(world.internet, "198.51.100.2")
        reached = world.reach(function, SITE)
        changed = [read(f"/proc/sys/net/ipv4/conf/{name}/forwarding") for name in ("all", "up0", "lan0")]
        provider.close()
        after = [read(f"/proc/sys/net/ipv4/conf/{name}/forwarding") for name in ("all", "up0", "lan0")]
        results[str(forward)] = [before, during, reached, settings, changed, after]
    return results


def wait_for_links_to_go() -> None:
    """The kernel removes the links of namespaces that ended in its own time."""
    deadline = time.monotonic() + 5
    while interfaces() and time.monotonic() < deadline:
        time.sleep(0.01)


def leftovers() -> Any:
    """What is there before, with, and after a provider that is closed; and after one that was killed."""
    world = World()
    counts = {}
    other = os.fork()
    if not other:  # another program's table must stay as it is
        from pyroute2.nftables.main import NFTables

        with NFTables(nfgen_family=1) as nft:
            nft.table("add", name="others")
        os._exit(0)
    os.waitpid(other, 0)
    counts["before"] = [interfaces(), tables()]
    provider = Provider()
    namespaces = [world.namespace() for _ in range(3)]
    for key, namespace in enumerate(namespaces):
        provider.attach(namespace, key)
    counts["with"] = [interfaces(), tables()]
    provider.close()
    counts["after"] = [interfaces(), tables()]
    for namespace in namespaces:
        os.close(namespace)
    # A host that is killed, with an environment that dies with it.
    ready, go = os.pipe()
    child = os.fork()
    if not child:
        provider = Provider()
        namespace = world.namespace()
        provider.attach(namespace, 1)
        os.write(go, b"x")
        time.sleep(60)
    os.read(ready, 1)
    counts["running"] = [interfaces(), tables()]
    os.kill(child, 9)
    os.waitpid(child, 0)
    wait_for_links_to_go()
    counts["killed"] = [interfaces(), tables()]
    return counts


def instances() -> Any:
    """Two hosts on one machine, one of whose usual addresses are in use elsewhere."""
    world = World()
    with IPRoute() as route:
        route.route("add", dst="198.18.0.0/18", gateway="192.0.2.254")
    first, second = Provider(), Provider()
    one, two = world.namespace(), world.namespace()
    first.attach(one, 1)
    second.attach(two, 1)
    with world.inside(two):
        serve()
        with IPRoute() as route:
            address = next(a.get_attr("IFA_ADDRESS") for a in route.get_addr(family=2) if a["index"] != 1)
    answer = {
        "details": [first.detail, second.detail],
        "sites": [world.reach(one, SITE), world.reach(two, SITE)],
        "across": world.reach(one, address),
    }
    first.close()
    answer["left"] = world.reach(two, SITE)
    second.close()
    return answer


def dropping() -> Any:
    """Another firewall on the machine drops what is forwarded."""
    from pyroute2.nftables.main import NFTables

    World()
    with NFTables(nfgen_family=2) as nft:
        nft.table("add", name="strict")
        nft.chain("add", table="strict", name="FORWARD", hook="forward", type="filter", policy=0)
    provider = Provider()
    detail = provider.detail
    provider.close()
    return detail


def reuse() -> Any:
    """Many environments one after another, each gone before the next; and the time that a link takes."""
    world = World()
    provider = Provider()
    times = []
    for key in range(40):
        namespace = world.namespace()
        start = time.perf_counter()
        provider.attach(namespace, key)
        times.append(time.perf_counter() - start)
        provider.detach(key)
        os.close(namespace)
    last = world.namespace()
    provider.attach(last, 100)
    reached = world.reach(last, SITE)
    provider.close()
    return {"median_ms": sorted(times)[20] * 1e3, "reached": reached}


def doctor() -> Any:
    """What `available` says, and that it leaves nothing."""
    World()
    said = available()
    return {"said": said, "left": [interfaces(), tables()], "resolver": resolver_configuration()}


_FUNCTION = """
import json, socket
def reach(address, port=%d):
    try:
        with socket.create_connection((address, port), timeout=1) as client:
            client.send(b"who am I")
            return client.recv(100).decode()
    except OSError as error:
        return type(error).__name__
servers = open("/etc/resolv.conf").read()
links = [name for _, name in socket.if_nameindex()]
print(json.dumps({name: reach(name) for name in %r} | {"resolver": servers, "interfaces": links}))
"""


async def _in_sandbox(addresses: list[str]) -> Any:
    from alonzo.config import load_settings
    from alonzo.runtimes.interpreters import Interpreters
    from alonzo.runtimes.prepare import Preparer
    from alonzo.sandbox.base import Mount, Spec
    from alonzo.sandbox.namespaces import NamespaceSandbox

    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    prepared = await Preparer(load_settings().runtimes_dir, Interpreters()).install(f"python{minor}")
    program = _FUNCTION % (PORT, addresses)
    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        sandbox = NamespaceSandbox(Path(folder))
        await sandbox.start()
        answers["enforced"] = [(each.name, each.enforced, each.detail) for each in sandbox.enforcements()]
        task = Path(folder) / "task"
        task.mkdir(mode=0o755)
        try:
            for internet in (True, False):
                spec = Spec(
                    f"environment-{internet}",
                    (f"/var/lang/bin/python{minor}", "-I", "-c", program),
                    {"LD_LIBRARY_PATH": "/var/lang/lib"},
                    (Mount(prepared.lang, "/var/lang"), Mount(task, "/var/task")),
                    internet=internet,
                )
                environment = await sandbox.create(spec)
                await asyncio.wait_for(environment.wait(), 20)
                output = b""
                while part := os.read(environment.output, 65536):
                    output += part
                answers[str(internet)] = json.loads(output) if output.startswith(b"{") else output.decode()
                await environment.kill()
                await environment.release()
        finally:
            await sandbox.stop()
    return answers


def sandboxed() -> Any:
    """A real sandbox on this machine, with and without internet."""
    World()
    answer = asyncio.run(_in_sandbox([SITE, METADATA, "192.0.2.1", "127.0.0.1"]))
    wait_for_links_to_go()
    return {**answer, "left": [interfaces(), tables()]}


SCENES: list[Callable[[], Any]] = [
    reaching,
    inbound,
    ended,
    router,
    leftovers,
    instances,
    dropping,
    reuse,
    doctor,
    sandboxed,
]

if __name__ == "__main__":
    result = next(scene for scene in SCENES if scene.__name__ == sys.argv[1])()
    print(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # the servers' threads block for ever
