"""Zygotes, the host's side: programs of a runtime that have started already, from which environments are forked.

What a zygote is, and what it must do: `forking`. The host starts one when the server first asks for it, and goes on
without until it is ready; one that has not been used for long is ended, and so is the longest unused of too many.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would import enum
import _socket
import contextlib
import os
import struct
from time import monotonic

from alonzo.sandbox import enter, forking, mounts, syscalls, wire
from alonzo.sandbox.syscalls import bind

#: So many at once, and one that nobody has used for so long is ended.
MOST, UNUSED_S = 8, 900.0
#: After so many environments a zygote is replaced: they all have its addresses and its hash seed.
FORKS = 2000
_SLOW_S = 5
#: A zygote that died is not started again for so long.
_AGAIN_S = 10.0


class Description:
    """How to start a zygote, as the server sent it; `targets` are those of its mounts."""

    __slots__ = ("argv", "env", "forks", "mounts", "targets")

    def __init__(self, fields: list[bytes]) -> None:
        self.argv, self.env, words = (wire.split(field) for field in fields[:3])
        self.forks = fields[3] == b"1"
        pairs = list(zip(words[::2], words[1::2], strict=True))
        self.mounts = sorted(pairs, key=lambda pair: pair[1].count("/"))
        self.targets = {target for _, target in pairs}


class Zygote:
    """One living zygote."""

    __slots__ = ("channel", "description", "forks", "key", "pid", "pidfd", "ready", "used")

    def __init__(self, key: bytes, description: Description, place: enter.Place, bundle: bytes) -> None:
        self.key = key
        self.description = description
        self.ready = False
        self.forks = 0
        self.used = monotonic()
        self.channel, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        timeout = struct.pack("ll", _SLOW_S, 0)
        for option in (_socket.SO_RCVTIMEO, _socket.SO_SNDTIMEO):
            self.channel.setsockopt(_socket.SOL_SOCKET, option, timeout)
        self.channel.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 2 * wire.MAX_MESSAGE)
        self.pid = syscalls.clone(syscalls.CLONE_NEWNS)
        if self.pid == 0:
            try:
                _begin(place, description, theirs.fileno())
            except BaseException as error:
                os.write(2, f"alonzo sandbox host: a zygote cannot be started: {error}\n".encode())
            finally:
                os._exit(127)
        theirs.close()
        self.pidfd = os.pidfd_open(self.pid)
        wire.send(self.channel, bundle)
        wire.send(self.channel, forking.pack_settings(place), [place.host])

    def fork(self, site: enter.Site) -> int:
        """The process id of a new init. OSError: it cannot, or does not answer."""
        message, descriptors = forking.pack_site(site)
        wire.send(self.channel, message, descriptors)
        answer, _ = wire.receive(self.channel)
        if not answer:
            raise OSError(32, "the zygote has died")
        pid = int(answer)
        if pid < 0:
            raise OSError(-pid, f"a zygote cannot fork: {os.strerror(-pid)}")
        self.forks += 1
        self.used = monotonic()
        return pid

    def end(self) -> None:
        """End it; the environments that came of it stay."""
        self.channel.close()
        with contextlib.suppress(ProcessLookupError):
            _signal.pidfd_send_signal(self.pidfd, _signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self.pidfd)


def _begin(place: enter.Place, description: Description, channel: int) -> None:
    """In the clone: into the template, and execute the program there."""
    enter.die_with_host(place)
    os.set_inheritable(channel, True)
    os.dup2(os.open("/dev/null", os.O_RDWR), 0)
    os.dup2(0, 1)
    syscalls.close_range(3, channel - 1)
    syscalls.close_range(channel + 1)
    path = place.root.path
    for source, target in description.mounts:
        bind(source, f"{path}{target}", mounts.READ_ONLY)
    if place.rootless:  # the kernel lets an environment mount its own /proc only where one can be seen whole
        bind("/proc", f"{path}/proc", 0)
    mounts.pivot(path)
    enter.reset_for_exec()
    room = f"{forking.ROOM_VARIABLE}={'x' * forking.ROOM}"
    env = [*description.env, f"{forking.SOCKET_VARIABLE}={channel}", room]
    enter.execute(description.argv, env)


def bundle() -> bytes:
    """The message with which a zygote gets what it needs of this package."""
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib is too large for the host
    fields: list[bytes] = []
    for name in forking.BUNDLE:
        descriptor = os.open(f"{folder}/{name}.py", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields += [name.encode(), os.read(descriptor, 1 << 20)]
        finally:
            os.close(descriptor)
    return wire.pack(*fields)


class Zygotes:
    """Those of one host, by the key that the server gives them."""

    def __init__(self, place: enter.Place, root: mounts.Root) -> None:
        self._place = place
        self._root = root
        self._bundle = b""
        self._known: dict[bytes, Description] = {}
        self._died: dict[bytes, float] = {}
        self.living: dict[bytes, Zygote] = {}

    def learn(self, key: bytes, fields: list[bytes]) -> None:
        """From now on `key` names such a zygote."""
        description = Description(fields)
        self._root.prepare(description.mounts)
        self._known[key] = description

    def wanted(self, key: bytes) -> Zygote | None:
        """Start it unless it lives or died just now; answers one that was just started, for the caller to watch."""
        description = self._known.get(key)
        if description is None or not description.forks or key in self.living or not self._may_start(key):
            return None
        self._bundle = self._bundle or bundle()
        zygote = self.living[key] = Zygote(key, description, self._place, self._bundle)
        return zygote

    def _may_start(self, key: bytes) -> bool:
        return monotonic() - self._died.get(key, -_AGAIN_S) >= _AGAIN_S

    def starter(self, key: bytes) -> Description | None:
        """What is to be started in each sandbox ahead of need, if `key` names that and it does not keep ending."""
        description = self._known.get(key)
        return description if description is not None and not description.forks and self._may_start(key) else None

    def blame(self, key: bytes) -> None:
        """A sandbox died before anybody used it."""
        if key in self._known:
            self._died[key] = monotonic()

    def targets(self, key: bytes) -> set[str]:
        """The mounts that every environment of it has."""
        return self._known[key].targets

    def ready(self, key: bytes) -> Zygote | None:
        """The zygote, if it can fork now."""
        zygote = self.living.get(key)
        return zygote if zygote is not None and zygote.ready else None

    def alive(self, key: bytes) -> bool:
        """Whether sandboxes of this kind can be made."""
        return self.ready(key) is not None or self.starter(key) is not None

    def spoke(self, zygote: Zygote) -> bool:
        """It said something without being asked: that it is ready. False: it has died."""
        try:
            message, _ = wire.receive(zygote.channel)
        except OSError:
            message = b""
        zygote.ready = message == forking.READY
        return zygote.ready

    def lost(self, zygote: Zygote) -> None:
        """It has died, or must."""
        if self.living.get(zygote.key) is zygote:
            self.blame(zygote.key)
            self.retire(zygote)

    def unused(self) -> list[Zygote]:
        """Those to be retired: too many, not needed for long, or grown old."""
        now = monotonic()
        living = sorted(self.living.values(), key=lambda zygote: zygote.used)
        old = [zygote for zygote in living if now - zygote.used > UNUSED_S or zygote.forks >= FORKS]
        return old or living[: max(0, len(living) - MOST)]

    def retire(self, zygote: Zygote) -> None:
        """End it in good order: it may be started again at once."""
        if self.living.get(zygote.key) is zygote:
            del self.living[zygote.key]
            zygote.end()

    def close(self) -> None:
        """End them all."""
        for zygote in list(self.living.values()):
            self.retire(zygote)
