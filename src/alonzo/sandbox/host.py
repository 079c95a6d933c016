"""The sandbox host: a small, single-threaded process that holds the privileges and makes environments.

It is started by `namespaces.NamespaceSandbox`, talks `wire` over the socket it was given, lives in a mount namespace of
its own (so every mount vanishes with it), and ends when the server does. It imports nothing large: its memory is what
every environment's init shares. `machine` says what it found and could set up.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would import enum
import _socket
import contextlib
import gc
import os
import select
import sys
from collections.abc import Callable
from math import inf
from time import monotonic

from alonzo.sandbox import enter, joining, syscalls, wire
from alonzo.sandbox.images import Images
from alonzo.sandbox.machine import Machine
from alonzo.sandbox.making import Living, Making, Wish
from alonzo.sandbox.stock import Home, Slot
from alonzo.sandbox.tmpdisk import Disk
from alonzo.sandbox.watchdog import INTERVAL_S, Tree, descendants, signal_tree
from alonzo.sandbox.zygotes import Zygote

_IDLE_MS = 10  # how long nobody must have asked for anything before the stock is filled up
_TIDY_MS = 200
_ZYGOTES_S = 60.0
_SIGCONT, _SIGSTOP = 18, 19


class _Gone(BaseException):
    """The server has gone, or wants us to go."""


class Host:
    """Answers the server's messages, one after the other."""

    def __init__(self, control: _socket.socket, folder: str) -> None:
        self.control = control
        self.poll = select.poll()
        self.watched: dict[int, Callable[[], None]] = {}
        self.machine = Machine(folder)
        self.stock = self.machine.stock
        self.living: dict[bytes, Living] = {}
        self.making: dict[bytes, Making] = {}
        self.zygotes = self.machine.zygotes
        self.images = Images(folder)
        self._look_at = 0.0
        self._home = Home()
        self._home_net = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._watch(control.fileno(), self._receive)
        self._watch(self.stock.stocker.channel.fileno(), self._arrived)

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the server goes."""
        lines = [field for line in self.machine.enforcements() for field in line]
        fields = [self.machine.summary.encode(), *(line.encode() for line in lines)]
        wire.send(self.control, wire.pack(wire.READY, *fields))
        tended = False
        filling = self.stock.stocker.channel.fileno()
        while True:
            wait_ms = _IDLE_MS if not tended else _TIDY_MS if self.stock.untidy else self._patience_ms
            if self._look():
                wait_ms = int(INTERVAL_S * 1000)
            ready = self.poll.poll(wait_ms)
            while self.stock.stocker.early:
                self._arrived()
            if not ready:
                self._tend()
                tended = True
            for descriptor, _ in ready:
                if descriptor in self.watched:  # an earlier one of this round may have ended it
                    self.watched[descriptor]()
                    tended = tended and descriptor == filling and not self.stock.refused
            if ready and tended:  # nobody wants anything, and what we asked for ourselves has come
                self._tend()

    def _look(self) -> bool:
        """Where there are no control groups: enforce the limits; False if nothing runs."""
        trees = [living for living in self.living.values() if living.tree is not None and living.running]
        now = monotonic()
        if now >= self._look_at:
            self._look_at = now + INTERVAL_S
            for living in trees:
                if living.tree is not None and not living.oom and not living.tree.look(now):
                    living.oom = True
                    self._kill(living.id)
        return any(living.tree is not None and not living.tree.idle for living in trees)

    def _watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        self.watched[descriptor] = callback
        self.poll.register(descriptor, select.POLLIN)

    def _unwatch(self, descriptor: int) -> None:
        if self.watched.pop(descriptor, None) is not None:
            self.poll.unregister(descriptor)

    def _receive(self) -> None:
        message, descriptors = wire.receive(self.control)
        for descriptor in descriptors:  # the server sends none
            os.close(descriptor)
        if not message:
            raise _Gone
        fields = wire.unpack(message)
        if fields[0] == wire.CREATE:
            self._create(fields[1:])
        elif fields[0] == wire.KILL:
            self._kill(fields[1])
        elif fields[0] == wire.RELEASE:
            self._release(fields[1])
        elif fields[0] in (wire.SPAWN, wire.SIGNAL, wire.SOCKET):
            self._serve(fields[0], fields[1], fields[2], fields[3:])
        elif fields[0] == wire.SNAPSHOT:
            self._take(fields[1], fields[2], *fields[3:5])
        elif fields[0] == wire.FORGET:
            self.images.forget(fields[1])
        elif fields[0] == wire.ZYGOTE:
            self._learn(fields[1], fields[2:])
        elif fields[0] == wire.STOP:
            raise _Gone
        else:
            self._control_tree(fields[0], fields[1])

    def _control_tree(self, kind: bytes, id: bytes) -> None:
        living = self.living.get(id)
        if living is None or living.tree is None or not living.running:
            return
        if kind == wire.LIMIT_CPU:
            living.tree.limit_cpu(monotonic())
        elif kind in (wire.FREEZE, wire.THAW):
            living.tree.freeze(kind == wire.FREEZE)
            for joined in living.joined.values():
                signal_tree(joined.pid, _SIGSTOP if kind == wire.FREEZE else _SIGCONT)

    def _reply(self, *fields: bytes, descriptors: list[int] | None = None) -> None:
        try:
            wire.send(self.control, wire.pack(*fields), descriptors)
        except (BrokenPipeError, ConnectionResetError):
            raise _Gone from None

    def _arrived(self) -> None:
        """The helper made something, or died."""
        slot = self.stock.arrived()
        if slot is not None:
            self.stock.put(slot)
            self._watch(slot.pidfd, lambda: self._lost(slot))
        elif not self.stock.stocker.pid:
            self._unwatch(self.stock.stocker.channel.fileno())

    def _reap(self, slot: Slot) -> None:
        self._unwatch(slot.pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(slot.pid, 0)
        os.close(slot.pidfd)
        slot.pid = slot.pidfd = -1

    def _lost(self, slot: Slot) -> None:
        """An init on the shelf died."""
        self.zygotes.blame(slot.kind[1])
        self._drop(slot)

    def _drop(self, slot: Slot) -> None:
        self._reap(slot)
        self.stock.lost(slot)
        self.stock.remove(slot)

    def _tend(self) -> None:
        for zygote in self.zygotes.unused():
            self._unwatch(zygote.channel.fileno())
            self.zygotes.retire(zygote)
        for slot in self.stock.surplus():
            self._abandon(slot)
        self.stock.tend()

    @property
    def _patience_ms(self) -> int | None:
        patience_s = min(_ZYGOTES_S if self.zygotes.living else inf, self.stock.patience_s)
        return int(patience_s * 1000) if patience_s < inf else None

    # -- zygotes ---------------------------------------------------------------------------------------------------

    def _learn(self, key: bytes, fields: list[bytes]) -> None:
        problem = ""
        try:
            self.zygotes.learn(key, fields)
            self._begin_zygote(key)
            if self.zygotes.starter(key) is not None:
                self.stock.expect((not self.stock.stocker.internet_problem, key))
                self._reply(wire.PREPARED, key, b"")
        except (OSError, ValueError) as error:
            problem = str(error) or type(error).__name__
        if problem:
            self._reply(wire.PREPARED, key, problem.encode("utf-8", "replace"))

    def _begin_zygote(self, key: bytes) -> None:
        zygote = self.zygotes.wanted(key)
        if zygote is not None:
            self._watch(zygote.channel.fileno(), lambda: self._zygote_spoke(zygote))

    def _zygote_spoke(self, zygote: Zygote) -> None:
        if self.zygotes.spoke(zygote):
            self.stock.expect((not self.stock.stocker.internet_problem, zygote.key))
            self._reply(wire.PREPARED, zygote.key, b"")
            return
        self._lose(zygote)
        self._reply(wire.PREPARED, zygote.key, b"the runtime ended before it could be forked")

    def _lose(self, zygote: Zygote) -> None:
        self._unwatch(zygote.channel.fileno())
        self.zygotes.lost(zygote)

    def _slot(self, wish: Wish, uid: int, *, linked: bool) -> Slot:
        """A sandbox that comes of the zygote, or a plain one where that is not ready; of this uid if it is one.

        With a snapshot it is the zygote's or none.
        """
        key, must = wish.zygote, bool(wish.snapshot)
        more = {"spare": bool(wish.spare), "stay": bool(wish.gated)}
        usual = wish.usual and self.machine.groups is not None
        if usual and not must and self.zygotes.starter(key) is not None:
            return self.stock.slot((linked, key), uid)
        zygote = self.zygotes.ready(key)
        if zygote is not None:
            try:
                return self.stock.slot((linked, key), uid, **more)
            except (OSError, ValueError):
                self._lose(zygote)
        elif key:
            self._begin_zygote(key)
        if must:
            raise ValueError("the runtime's zygote is not ready, and without it no snapshot can be restored")
        return self.stock.slot((linked, b""), uid, **more)

    # -- create ----------------------------------------------------------------------------------------------------

    def _create(self, fields: list[bytes]) -> None:
        id = fields[0]
        try:
            if id in self.living or id in self.making:
                raise ValueError(f"an environment {id.decode()!r} is alive already: choose another id")
            self._make(Wish(fields))
        except Exception as error:  # whatever it is concerns this environment alone
            self._refuse(id, error)

    def _refuse(self, id: bytes, error: Exception) -> None:
        self._reply(wire.FAILED, id, (str(error) or type(error).__name__).encode("utf-8", "replace"))

    def _make(self, wish: Wish) -> None:
        self.machine.root.prepare(wish.mounts)
        disk, uid = self._disk(wish.tmp_of, wish.tmp_mib)
        making = slot = None
        try:
            # Where there is no way out, environments that ask for one go without; `enforcements` says so.
            linked = bool(wish.internet) and not self.stock.stocker.internet_problem
            slot = self._slot(wish, uid, linked=linked)
            self._watch(slot.pidfd, lambda: self._lost(slot))
            making = Making(wish, slot, disk, 0 if slot.group is not None else wish.memory_mib)
            there = self.zygotes.targets(slot.kind[1]) if slot.kind[1] else ()
            making.show([pair for pair in wish.mounts if pair[1] not in there])
            if slot.group is not None:
                slot.group.limit(wish.memory_mib + self.machine.allowance(wish.tmp_mib), wish.pids)
        except BaseException:
            self._give_up(making, slot, disk)
            raise
        self.making[wish.id] = making
        self._complete(making, wish.snapshot)

    def _complete(self, making: Making, snapshot: bytes) -> None:
        """When the sandbox is finished: at once if it lay ready."""
        slot = making.slot
        try:
            if not slot.finish(wait=False):
                assert slot.channel is not None
                self._unwatch(slot.pidfd)  # the channel ends too, and says why
                self._watch(slot.channel.fileno(), lambda: self._finished(making, snapshot))
                return
            image, rest = self.images.order(snapshot)
            making.complete(self._home, rest, image)
        except Exception as error:
            self._give_up(making, slot, making.disk)
            self._refuse(making.id, error)
            return
        del self.making[making.id]
        tree = Tree(slot.pid, making.memory_mib) if slot.group is None else None
        self._hand_over(Living(making.id, slot, making.disk, tree, making.limits), making.gate)
        making.close()

    def _finished(self, making: Making, snapshot: bytes) -> None:
        assert making.slot.channel is not None
        self._unwatch(making.slot.channel.fileno())
        self._complete(making, snapshot)

    def _give_up(self, making: Making | None, slot: Slot | None, disk: Disk) -> None:
        if making is not None:
            self.making.pop(making.id, None)
            making.close()
        self.stock.discard(disk)
        if slot is not None:
            self._abandon(slot)

    def _hand_over(self, living: Living, gate: list[int]) -> None:
        """Tell the server, and give it its descriptors."""
        slot = living.slot
        self.living[living.id] = living
        self._watch(slot.pidfd, lambda: self._ended(living))
        shared = list(slot.shared)
        details, freeze, quota = b"", -1, -1
        if slot.group is not None:
            details = wire.join(slot.group.watched())
            freeze, quota = slot.group.freeze, slot.group.quota
            shared += [each for each in (freeze, quota) if each >= 0]
        controls = b"%d %d %d" % (freeze >= 0, quota >= 0, len(gate))
        version = b"%d" % self.machine.group_version
        self._reply(wire.CREATED, living.id, b"%d" % slot.pid, version, details, controls, descriptors=[*shared, *gate])
        slot.settle()

    def _abandon(self, slot: Slot) -> None:
        with contextlib.suppress(ProcessLookupError):
            _signal.pidfd_send_signal(slot.pidfd, _signal.SIGKILL)
        self._drop(slot)

    def _disk(self, tmp_of: bytes, mib: int) -> tuple[Disk, int]:
        """A new /tmp; or that of an environment which has ended, and its uid, to which the files belong (else -1)."""
        former = self.living.get(tmp_of) if tmp_of else None
        if former is None or former.disk is None:
            return self.stock.disk(mib), -1
        if former.running:
            raise ValueError(f"the environment {tmp_of.decode()!r} still runs: its /tmp cannot go on elsewhere")
        if former.disk.mib != mib:
            raise ValueError(f"the /tmp of {tmp_of.decode()!r} has {former.disk.mib} MiB, not {mib}")
        former.disk.again()
        disk, former.disk = former.disk, None
        uid, former.slot.uid = former.slot.uid, -1
        return disk, uid

    # -- snapshots -------------------------------------------------------------------------------------------------

    def _take(self, id: bytes, number: bytes, frame: bytes, most: bytes) -> None:
        """Copy an environment's process; the answer comes when that is done."""
        try:
            living = self.living.get(id)
            if living is None or not living.running:
                raise ValueError("the environment has ended")
            processes = [*descendants(living.slot.pid), *(joined.pid for joined in living.joined.values())]
            image = self.images.begin(id, processes, int(most))
        except (OSError, ValueError) as error:
            self._reply(wire.ANSWER, id, number, str(error).encode("utf-8", "replace"))
            return
        pidfd = image.pidfd

        def finish() -> None:
            self._unwatch(pidfd)
            self._reply(wire.ANSWER, id, number, self.images.finish(id, int(frame)).encode("utf-8", "replace"))

        self._watch(pidfd, finish)

    # -- programs that join ----------------------------------------------------------------------------------------

    def _serve(self, kind: bytes, id: bytes, number: bytes, fields: list[bytes]) -> None:
        """A request about one environment; whatever goes wrong concerns it alone."""
        made: list[int] = []
        problem = ""
        try:
            living = self.living.get(id)
            if living is None or not living.running:
                raise ValueError("the environment has ended")
            if kind == wire.SPAWN:
                made = self._spawn(living, number, fields)
            elif kind == wire.SOCKET:
                made = [joining.open_socket(self.machine.place, living.slot, self._home_net)]
            else:
                self._signal(living, fields[0], int(fields[1]))
        except Exception as error:
            problem = str(error) or type(error).__name__
        try:
            self._reply(wire.ANSWER, id, number, problem.encode("utf-8", "replace"), descriptors=made)
        finally:
            for descriptor in made:
                os.close(descriptor)

    def _spawn(self, living: Living, number: bytes, fields: list[bytes]) -> list[int]:
        order = joining.order_of(fields, living.limits)
        joined = joining.start(self.machine.place, living.slot, order)
        living.joined[number] = joined
        self._watch(joined.pidfd, lambda: self._left(living, number))
        shared, joined.shared = joined.shared, []
        return shared

    def _left(self, living: Living, number: bytes) -> None:
        joined = living.joined.pop(number)
        self._unwatch(joined.pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(joined.pid, 0)
        os.close(joined.pidfd)

    def _signal(self, living: Living, number: bytes, signal: int) -> None:
        """Signal the first process (`number` is empty), or a program that joined."""
        joined = living.joined.get(number)
        parent = living.slot.pid if not number else joined.pid if joined is not None else 0
        for pid in (descendants(parent) if parent else [])[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal)

    # -- the end of an environment ---------------------------------------------------------------------------------

    def _ended(self, living: Living) -> None:
        """init was reaped by nobody yet; when it is, nothing of the environment runs any more."""
        living.running = False
        self._reap(living.slot)
        self._reply(wire.ENDED, living.id, wire.OOM if living.oom else b"")

    def _kill(self, id: bytes) -> None:
        """SIGKILL init, and with it all; ENDED follows. A frozen tree of version 1 must be thawed to die."""
        living = self.living.get(id)
        if living is None or not living.running:
            return
        with contextlib.suppress(ProcessLookupError):
            _signal.pidfd_send_signal(living.slot.pidfd, _signal.SIGKILL)
        if living.slot.group is not None:
            living.slot.group.thaw()

    def _release(self, id: bytes) -> None:
        living = self.living.get(id)
        if living is not None:
            if living.running:  # the server kills before it releases; be safe
                self._kill(id)
                self._ended(living)
            del self.living[id]
            try:
                self.stock.remove(living.slot)
                if living.disk is not None:
                    self.stock.discard(living.disk)
            except OSError as error:
                os.write(2, f"alonzo sandbox host: giving {id.decode()} back: {error}\n".encode())
        self._reply(wire.RELEASED, id)

    def close(self) -> None:
        """Kill everything and give everything back."""
        for id in list(self.living):
            self._kill(id)
        for making in list(self.making.values()):
            self._give_up(making, making.slot, making.disk)
        for living in self.living.values():
            if living.running:
                self._reap(living.slot)
            for number in list(living.joined):
                self._left(living, number)
            self.stock.remove(living.slot)
            if living.disk is not None:
                self.stock.discard(living.disk)
        self.images.close()
        self.zygotes.close()
        self.stock.close()
        self.machine.close()


def _terminate(number: int, frame: object) -> None:
    _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)
    raise _Gone


def main(descriptor: int, folder: str) -> None:
    """Be the host: the control socket is `descriptor`, `folder` holds what must lie on disk."""
    syscalls.rename_process(b"alonzo-sandbox")  # functions can read it: init inherits it and is their process 1
    # SIGTERM rather than SIGKILL, so that frozen processes are thawed and groups removed; the socket's end says it too.
    _signal.signal(_signal.SIGTERM, _terminate)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, _signal.SIGTERM)
    with contextlib.suppress(OSError):  # not without root; a cold start waits for us, and we do little
        os.setpriority(os.PRIO_PROCESS, 0, enter.EAGER)
    os.set_inheritable(descriptor, False)
    control = _socket.socket(fileno=descriptor)
    control.setblocking(True)
    try:
        host = Host(control, folder)
    except (OSError, ValueError) as error:
        wire.send(control, wire.pack(wire.FAILED, b"", str(error).encode("utf-8", "replace")))
        sys.exit(1)
    # What exists now is there for good: a collection must not write into pages that every init shares.
    gc.collect()
    gc.freeze()
    try:
        try:
            host.run()
        finally:  # the socket's end may be noticed before the signal, which then comes any moment
            _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)
    except _Gone:
        pass
    finally:
        host.close()
    with contextlib.suppress(OSError):
        wire.send(control, wire.pack(wire.STOPPED))
