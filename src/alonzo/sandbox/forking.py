"""A zygote's side of the sandbox host: clones itself into sandboxes that the host has begun.

A zygote is a program of a runtime that has imported what every environment of that runtime needs. It was started by the
host (`zygotes`), in the template's root and with the host's privileges, so it runs nothing but what was prepared with
the runtime. It may be another Python than the host's (3.10 or newer), and it does not see this package: the host sends
the text of the modules that it needs, as its first message, and the program runs that text (`BUNDLE`, in this order).

`serve` returns in the first process of every new environment, which is without privileges then and has the variables
of its order. In the zygote itself it never returns.
"""

from __future__ import annotations

import _socket
import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable

from alonzo.sandbox import enter, mounts, syscalls, wire

#: What a zygote needs of this package, in the order in which it can be run.
BUNDLE = ("status", "wire", "syscalls", "cgroups", "mounts", "confine", "smallinit", "restoring", "enter", "forking")
#: A name in a zygote's environment: the number of its socket.
SOCKET_VARIABLE = "_ALONZO_ZYGOTE"
#: Room for an environment's own variables where the kernel shows those that a process was started with.
ROOM_VARIABLE, ROOM = "_ALONZO_ROOM", 16 * 1024

SETTINGS, READY, FORK = b"settings", b"ready", b"fork"


def pack_settings(place: enter.Place) -> bytes:
    """What a zygote must know of its host; the host's pidfd goes with it."""
    root = place.root
    return wire.pack(
        SETTINGS,
        place.filter,
        b"%d %d %d" % (place.rootless, place.priority, place.last_cap),
        *(wire.join(names) for names in (root.hidden, root.hidden_folders, root.fixed_folders)),
    )


def pack_site(site: enter.Site) -> tuple[bytes, list[int]]:
    """The order to clone, and the descriptors that go with it."""
    targets = wire.join([target for _, target in site.trees])
    descriptors = [site.netns, site.channel, site.status, site.error, site.output, site.telemetry, *site.join]
    if site.into >= 0:
        descriptors.append(site.into)
    descriptors += [tree for tree, _ in site.trees]
    return wire.pack(
        FORK,
        b"%d %d %d %d %d %d" % (site.uid, len(site.join), site.into >= 0, site.spare, site.stay, site.later),
        targets,
    ), descriptors


def _unpack_site(fields: list[bytes], descriptors: list[int]) -> enter.Site:
    uid, joins, has_into, spare, stay, later = (int(number) for number in fields[1].split())
    rest = descriptors[6:]
    join, rest = rest[:joins], rest[joins:]
    into = rest.pop(0) if has_into else -1
    site = enter.Site(descriptors[0], uid, join, into, [])
    site.channel, site.status, site.error, site.output, site.telemetry = descriptors[1:6]
    site.spare, site.stay, site.later = bool(spare), bool(stay), bool(later)
    site.trees = list(zip(rest, wire.split(fields[2]), strict=True))
    return site


def serve(descriptor: int, before: set[str], rehearse: Callable[[], None] = lambda: None) -> list[str]:
    """See the module. `descriptor` is the socket to the host, whose first message has been read; `before` names the
    modules that an environment finds imported. `rehearse` is called in each first process that nobody waits for
    yet. Answers the order's argument vector.
    """
    channel = _socket.socket(fileno=descriptor)
    message, descriptors = wire.receive(channel)
    fields = wire.unpack(message)
    rootless, priority, last_cap = (int(number) for number in fields[2].split())
    template = mounts.Template("", *(wire.split(field) for field in fields[3:6]))
    place = enter.Place(template, fields[1], descriptors[0], priority, last_cap, rootless=bool(rootless))
    room = _find_room()
    ours = [name for name in sys.modules if name not in before]
    # Never to be freed: that would copy many pages, and take the most of a millisecond.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object([sys.modules[name] for name in ours]))

    def settle() -> None:
        for name in ours:
            del sys.modules[name]
        if site.later:
            rehearse()

    gc.collect()
    gc.freeze()  # a collection must not write into pages that all share
    wire.send(channel, READY)
    while True:
        message, descriptors = wire.receive(channel)
        if not message:
            os._exit(0)
        site = _unpack_site(wire.unpack(message), descriptors)
        try:
            pid = syscalls.clone(enter.NAMESPACES | syscalls.CLONE_PARENT)
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            channel.detach()
            order = enter.forked(place, site, settle)
            _adopt(order, room)
            return order.argv
        for each in descriptors:
            os.close(each)
        wire.send(channel, b"%d" % pid)


def _adopt(order: enter.Order, room: tuple[int, int]) -> None:
    """Let the order's variables take the place of the zygote's, as far as anybody can see."""
    zone = os.environ.get("TZ")
    os.environ.clear()
    os.environ.update(entry.partition("=")[::2] for entry in order.env)
    if os.environ.get("TZ") != zone:
        time.tzset()
    start, end = room
    if start < end:
        text = b"".join(entry.encode("utf-8", "surrogateescape") + b"\0" for entry in order.env)
        ctypes.memmove(start, text[: end - start].ljust(end - start, b"\0"), end - start)


def _find_room() -> tuple[int, int]:
    """Where the variables lie that this process was started with: /proc/self/environ shows what is there."""
    pointers = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    places: list[int] = []
    while True:
        place = pointers[len(places)]
        if not place:
            break
        places.append(place)
    room = [place for place in places if ctypes.string_at(place).startswith(ROOM_VARIABLE.encode())]
    if not room:
        return 0, 0
    # What has been set since the start lies elsewhere.
    places = [place for place in places if abs(place - room[0]) < 8 * ROOM]
    last = max(places)
    return min(places), last + len(ctypes.string_at(last)) + 1
