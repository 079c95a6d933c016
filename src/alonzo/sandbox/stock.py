"""What the host keeps ready, so that a cold start does not pay for it: finished, empty sandboxes and disks for /tmp."""

from __future__ import annotations

import _socket
import contextlib
import os
from collections import deque
from collections.abc import Iterator
from math import inf
from time import monotonic, sleep

from alonzo.sandbox import cgroup1, cgroup2, enter, stocker, syscalls, wire
from alonzo.sandbox.confine import UidBlock
from alonzo.sandbox.meminfo import meminfo
from alonzo.sandbox.mounts import passwd, show
from alonzo.sandbox.netns import NetworkMaker
from alonzo.sandbox.stocker import Stocker
from alonzo.sandbox.tmpdisk import Disk, LoopDisks, MemoryDisks
from alonzo.sandbox.zygotes import Zygotes

#: How many sandboxes lie ready: of the kind that was wanted last, of those before, and of each plain kind at least.
_SLOTS = (8, 4, 2, 2)
#: Of those in which a program has started: each costs what that needs.
_STARTED_SLOTS = 3
_PLAIN_SLOTS = 2
_DISKS = 8
#: After a burst so many of what it needed lie ready, at most, for so long: a second one is likely.
_MOST_SLOTS, _REMEMBERED_S = 128, 300.0
#: But no more than fit into this part of the memory that is available; one that waits has about so many KiB of its own.
_SHARE, _SLOT_KIB = 32, 4096
_BURST_S = 2.0
#: For so long after one was taken, nothing is made that takes its time.
_HURRIED_S = 0.01
#: Where among `Slot.doors` that to the mounts is.
_MNT = -1
#: Tells a program that has been started before its order that this will be a while.
_AHEAD = "_ALONZO_REHEARSE=1"
#: The size of /tmp unless a function asks for more.
DEFAULT_TMP_MIB = 512

Group = cgroup1.Group | cgroup2.Group
Groups = cgroup1.Groups | cgroup2.Groups
#: Whether there is a way to the internet, and the key of the zygote that its first process comes of (b"": none).
Kind = tuple[bool, bytes]


class Slot:
    """A sandbox whose first process waits for its order; used once. `shared` goes to the server with control files."""

    __slots__ = ("channel", "doors", "finished", "group", "key", "kind", "netns", "pid", "pidfd", "shared", "uid")

    def __init__(self, key: int, uid: int, kind: Kind) -> None:
        self.key = key
        self.kind = kind
        self.uid = uid
        self.pid = self.pidfd = self.netns = -1
        self.group: Group | None = None
        self.channel: _socket.socket | None = None
        self.shared: list[int] = []
        #: Its namespaces, where they cannot be opened by its pidfd.
        self.doors: list[int] = []
        #: Whether init has said so. Before that its namespaces are the host's.
        self.finished = False

    def finish(self, *, wait: bool) -> bool:
        """Whether the sandbox is finished. OSError: it never will be, because init has died."""
        if not self.finished:
            assert self.channel is not None
            self.channel.setblocking(wait)
            try:
                said, self.doors = wire.receive(self.channel)
            except BlockingIOError:
                return False
            if said != enter.WAITING:
                raise self._failure()
            self.finished = True
            self.channel.setblocking(True)
        return True

    def _failure(self) -> OSError:
        said = os.read(self.shared[4], 4096).split(b"\0", 2)
        number = int(said[1]) if len(said) == 3 else 0
        return OSError(number, f"a sandbox cannot be made: {said[-1].decode('utf-8', 'replace') or 'init died'}")

    def complete(self, home: Home, targets: list[str], mounts: list[int], order: bytes, more: list[int]) -> None:
        """Add the mounts of an environment, /tmp first, to a finished sandbox, and let its first process go on.

        `more` goes with the order. The privileges are the host's, whose mount namespace is another one meanwhile.
        """
        assert self.channel is not None and self.finished
        with home.away(self.doors[_MNT] if self.doors else -1, self.pid):
            show(targets, mounts)
        wire.send(self.channel, order, more)

    def settle(self) -> None:
        """The first process has its order and the server its descriptors: close our copies."""
        for descriptor in (*self.shared, self.netns):
            if descriptor >= 0:
                os.close(descriptor)
        self.shared, self.netns = [], -1
        if self.group is not None:
            self.group.close()

    def hang_up(self) -> None:
        """A first process without an order then ends."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        for door in self.doors:
            os.close(door)
        self.doors = []


class Home:
    """The host's own mount namespace, to come back to."""

    def __init__(self) -> None:
        self._namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    @contextlib.contextmanager
    def away(self, door: int, pid: int) -> Iterator[None]:
        """Be in the mount namespace of process `pid`, or the one open as `door`; its root is then ours."""
        opened = -1
        if door < 0:
            door = opened = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(door, syscalls.CLONE_NEWNS)
        finally:
            if opened >= 0:
                os.close(opened)
        try:
            yield
        finally:
            syscalls.setns(self._namespace, syscalls.CLONE_NEWNS)
            os.fchdir(self._root)  # which need not be the root of that namespace
            os.chroot(".")


def _write(path: str, text: bytes) -> None:
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, text)
        finally:
            os.close(descriptor)


class Stock:
    """Sandboxes and disks: taken from the shelf, or made on the spot when it is empty."""

    def __init__(
        self,
        run: str,
        place: enter.Place,
        networks: NetworkMaker,
        groups: Groups | None,
        disks: LoopDisks | MemoryDisks,
        zygotes: Zygotes,
    ) -> None:
        self._run = run
        self._place = place
        self._networks = networks
        self._groups = groups
        self._makers = disks
        self._uids = None if place.rootless else UidBlock()
        self._zygotes = zygotes
        # In the order in which they were wanted, the last one last.
        self._shelves: dict[Kind, list[Slot]] = {(True, b""): [], (False, b""): []}
        self._disks: list[Disk] = []
        #: When sandboxes were taken within the last _BURST_S; the most of them, and until when that counts.
        self._taken: deque[float] = deque()
        self._burst, self._burst_until = 0, 0.0
        #: How many sandboxes the memory is enough for; 0: not known.
        self._most = 0
        self._unremoved: list[Group] = []
        #: Whether the last that was asked for could not be made.
        self.refused = False
        self._count = 0
        # Forked before any sandbox exists, so that it holds no descriptor of one.
        loops = disks if isinstance(disks, LoopDisks) else None
        self.stocker = Stocker(networks, loops, rootless=place.rootless)
        self._resolv_conf = f"{run}/resolv.conf"

    # -- making ----------------------------------------------------------------------------------------------------

    def _make(
        self,
        netns: int,
        listeners: list[int],
        key: int,
        kind: Kind,
        uid: int = -1,
        *,
        spare: bool = False,
        stay: bool = False,
        ahead: bool = False,
    ) -> Slot:
        """Start an init in the network namespace `netns`; takes the descriptors over, and `uid` if there is one.

        `ahead`: nobody waits for it yet, so that a program started in it has time to get ready.
        """
        if uid < 0 and self._uids is not None:
            uid = self._uids.take()
        slot = Slot(key, uid, kind)
        slot.netns, slot.shared = netns, listeners
        writers: list[int] = []
        try:
            slot.group = self._groups.make() if self._groups is not None else None
            join, into = (slot.group.join, slot.group.into) if slot.group is not None else ([], -1)
            site = enter.Site(netns, slot.uid, join, into, self._files(slot.uid, linked=kind[0]))
            for _ in range(4):
                reader, writer = os.pipe()
                slot.shared.append(reader)
                writers.append(writer)
            site.output, site.telemetry, site.error, site.status = writers
            site.spare, site.stay = spare, stay
            site.later = ahead
            packets = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC
            slot.channel, theirs = _socket.socketpair(_socket.AF_UNIX, packets)
            slot.channel.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 2 * wire.MAX_MESSAGE)
            writers.append(theirs.detach())
            site.channel = writers[-1]
            starter = self._zygotes.starter(kind[1])
            if starter is not None:
                site.later = False  # it has to be as quick as its program wants
                site.files += starter.mounts
                site.program = starter.argv, [*starter.env, *([_AHEAD] if ahead else [])]
            by_zygote = kind[1] and starter is None
            slot.pid = self._fork(kind[1], site, writers) if by_zygote else enter.start(self._place, site)
            slot.pidfd = os.pidfd_open(slot.pid)
        except BaseException:
            self.remove(slot)
            raise
        finally:
            for descriptor in writers:
                os.close(descriptor)
        return slot

    def _fork(self, key: bytes, site: enter.Site, closing: list[int]) -> int:
        """By a zygote, which sees no file of ours; what is opened for it is added to `closing`."""
        zygote = self._zygotes.ready(key)
        if zygote is None:
            raise OSError(3, "the zygote has gone")
        for source, target in site.files:
            closing.append(syscalls.clone_tree(source))
            site.trees.append((closing[-1], target))
        return zygote.fork(site)

    def _files(self, uid: int, *, linked: bool) -> list[tuple[str, str]]:
        """Files over those of the template: name servers; /etc/passwd and /etc/group that know the own uid."""
        files = [(self._resolv_conf, "/etc/resolv.conf")] if linked else []
        if uid >= 0:
            for kind, text in zip(("passwd", "group"), passwd(uid, uid), strict=True):
                path = f"{self._run}/users/{uid}.{kind}"
                _write(path, text.encode())  # once per uid
                files.append((path, f"/etc/{kind}"))
        return files

    def _next_key(self) -> int:
        self._count += 1
        return self._count

    def check(self) -> None:
        """Make the first sandbox and wait until it is finished; OSError says why this machine cannot."""
        self._check_first()
        self.stocker.learn()
        _write(self._resolv_conf, self.stocker.resolv_conf)

    def _check_first(self) -> None:
        slot = self._make(*self._networks.make(), self._next_key(), (False, b""))
        try:
            slot.finish(wait=True)
        except OSError:
            os.waitpid(slot.pid, 0)
            slot.pid = -1
            self.remove(slot)
            raise
        self.put(slot)

    # -- the shelf -------------------------------------------------------------------------------------------------

    def put(self, slot: Slot) -> None:
        """On the shelf."""
        self._shelves.setdefault(slot.kind, []).append(slot)

    def slot(self, kind: Kind, uid: int = -1, *, spare: bool = False, stay: bool = False) -> Slot:
        """A sandbox of this kind that nobody has used; it may not be finished yet. Where it must have a certain `uid`,
        a new one.

        `spare`: one whose first process has another process id than in all others. `stay`: one that does not end when
        its first process does.
        """
        shelf = self._shelves[kind] = self._shelves.pop(kind, [])
        self._notice()
        if shelf and uid < 0 and not spare and not stay:
            return shelf.pop(0)
        if not kind[0] and not self.stocker.pid:
            return self._make(*self._networks.make(), self._next_key(), kind, uid, spare=spare, stay=stay)
        what = stocker.LINKED if kind[0] else stocker.NETWORK
        key, made = self.stocker.wait(what, b"%d" % self._next_key())
        self.stocker.ask(what, b"%d" % self._next_key())
        return self._make(made[0], made[1:], int(key), kind, uid, spare=spare, stay=stay)

    def _notice(self) -> None:
        """Learn how many are wanted at a time."""
        now = monotonic()
        taken = self._taken
        taken.append(now)
        while taken[0] < now - _BURST_S:
            taken.popleft()
        if len(taken) >= self._burst or now > self._burst_until:
            self._burst, self._burst_until = len(taken), now + _REMEMBERED_S
            self._most = 0

    @property
    def _hurried(self) -> bool:
        """Whether somebody may be about to take what is made now."""
        return bool(self._taken) and monotonic() < self._taken[-1] + _HURRIED_S

    def disk(self, mib: int) -> Disk:
        """An empty disk."""
        if mib == DEFAULT_TMP_MIB and self._disks:
            return self._disks.pop()
        if isinstance(self._makers, MemoryDisks) or not self.stocker.pid:
            return self._makers.make(mib)
        usual = mib == DEFAULT_TMP_MIB
        _, made = self.stocker.wait(stocker.DISK, b"%d" % mib, any_will_do=usual)
        if usual:
            self.stocker.ask(stocker.DISK, b"%d" % mib)
        return Disk(mib, made[0], "", made[1])

    def lost(self, slot: Slot) -> None:
        """A waiting init has died."""
        if slot in self._shelves.get(slot.kind, ()):
            self._shelves[slot.kind].remove(slot)

    def remove(self, slot: Slot) -> None:
        """The slot's processes are gone: give back everything else."""
        slot.settle()
        slot.hang_up()
        if slot.kind[0]:
            self.stocker.detach(slot.key)
        if self._uids is not None and slot.uid >= 0:
            self._uids.give_back(slot.uid)
            slot.uid = -1
        if slot.group is not None and not slot.group.remove():
            self._unremoved.append(slot.group)
        slot.group = None

    def discard(self, disk: Disk) -> None:
        """Throw a disk away without waiting for it."""
        if disk.device >= 0 and self.stocker.pid:
            self.stocker.discard(disk)
        else:
            disk.discard()

    # -- filling up ------------------------------------------------------------------------------------------------

    @property
    def untidy(self) -> bool:
        """Whether control groups wait for their last process to vanish."""
        return bool(self._unremoved)

    def tend(self) -> None:
        """Ask for what is wanting, and remove what could not be removed before."""
        self._unremoved = [group for group in self._unremoved if not group.remove()]
        for linked in (False, True):
            if self._wanting(linked) is not None and not (linked and self.stocker.internet_problem):
                self.stocker.ask(stocker.LINKED if linked else stocker.NETWORK, b"%d" % self._next_key())
        disks = max(_DISKS, self._expected)
        if len(self._disks) < disks and isinstance(self._makers, LoopDisks):
            self.stocker.ask(stocker.DISK, b"%d" % DEFAULT_TMP_MIB)

    @property
    def _expected(self) -> int:
        if monotonic() >= self._burst_until:
            return 0
        if self._burst > _SLOTS[0] and not self._most:
            self._most = max(_SLOTS[0], min(_MOST_SLOTS, meminfo("MemAvailable") // 1024 // _SHARE // _SLOT_KIB))
        return min(self._burst, self._most or _MOST_SLOTS)

    @property
    def patience_s(self) -> float:
        """How long nothing need be looked at."""
        return max(0.0, self._burst_until - monotonic()) + 1 if self._expected > _SLOTS[0] else inf

    def _sizes(self) -> dict[Kind, int]:
        """How many sandboxes of each kind should lie ready. A kind whose zygote has gone is not made any more."""
        alive = [kind for kind in reversed(self._shelves) if not kind[1] or self._zygotes.alive(kind[1])]
        sizes = dict(zip(alive, _SLOTS, strict=False))
        if alive:
            sizes[alive[0]] = max(_SLOTS[0], self._expected)
        for kind in alive:
            if not kind[1]:  # few environments need one, and each costs 2 MB
                sizes[kind] = max(_PLAIN_SLOTS, self._expected if kind == alive[0] else 0)
            elif self._zygotes.starter(kind[1]) is not None:
                sizes[kind] = min(sizes.get(kind, 0), _STARTED_SLOTS)
        return {kind: sizes.get(kind, 0) for kind in alive}

    def _wanting(self, linked: bool) -> Kind | None:
        for kind, size in self._sizes().items():
            if kind[0] == linked and len(self._shelves[kind]) < size:
                return kind
        return None

    def surplus(self) -> list[Slot]:
        """Sandboxes that are not wanted any more; the caller ends them.

        A kind may keep what it had when it was wanted last: two that are wanted by turns would else end and make each
        other's all the time.
        """
        sizes = self._sizes()
        kept = {kind: max(size, _SLOTS[0]) if size else 0 for kind, size in sizes.items()}
        extra = [slot for kind, shelf in self._shelves.items() for slot in shelf[kept.get(kind, 0) :]]
        for kind in [kind for kind, shelf in self._shelves.items() if kind not in sizes and not shelf]:
            del self._shelves[kind]
        return extra

    def expect(self, kind: Kind) -> None:
        """Environments of this kind will be wanted: have some ready, if nothing is known of later wishes."""
        if kind not in self._shelves:
            self._shelves[kind] = []

    def arrived(self) -> Slot | None:
        """Take what the helper made; a new sandbox is to be watched and put on the shelf by the caller."""
        fields, descriptors = self.stocker.next()
        self.refused = not fields or stocker.BROKEN in fields[1:2]
        if self.refused:
            return None  # a full disk, no more loop devices: the next create says so to whom it concerns
        if fields[0] == stocker.DISK:
            self._disks.append(Disk(int(fields[1]), descriptors[0], "", descriptors[1]))
            return None
        try:
            linked = fields[0] == stocker.LINKED
            kind = self._wanting(linked) or (linked, b"")
            return self._make(descriptors[0], descriptors[1:], int(fields[1]), kind, ahead=not self._hurried)
        except OSError:
            self.refused = True
            return None

    def close(self) -> None:
        """Give everything back; the inits on the shelf end when their channel does."""
        for slot in [slot for shelf in self._shelves.values() for slot in shelf]:
            slot.hang_up()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(slot.pid, 0)
            self.remove(slot)
        for disk in self._disks:
            self.discard(disk)
        self._disks = []
        self.stocker.close()
        for _ in range(200):  # the kernel lets go of a group's last process a little after its end
            self._unremoved = [group for group in self._unremoved if not group.remove()]
            if not self._unremoved:
                break
            sleep(0.005)
        if self._groups is not None:
            self._groups.close()
