"""From a fork of the host into a sandbox.

Two processes come of it. **init** is process 1 of the environment's pid namespace: it makes the sandbox, starts the
function's first process, and from then on only reaps; for the kernel ignores signals to process 1 that it does not
handle, and a runtime that ran as process 1 could neither be terminated nor abort. When the first process ends, init
reports its status and ends too, and the kernel kills whatever is left. init stays outside the control groups, so it
neither costs the function memory nor is frozen. **The first process** joins the control groups, gives up all
privileges and executes the Spec's program.

Both are started ahead of need. init says when the sandbox is finished, gives up its privileges and becomes small; the
first process, without privileges too, waits for its order. What is left for a cold start is that the host adds the
mounts that only this environment has (`Slot.complete`), and execve. A zygote's clones (`forked`) come the same way, but
for the end: their first process has the runtime in it already and goes on with that instead of executing it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would import enum
import _socket
import contextlib
import fcntl
import gc
import os
import resource
import select
from collections.abc import Callable

from alonzo.sandbox import confine, mounts, restoring, smallinit, syscalls, wire
from alonzo.sandbox.status import STATUS

TELEMETRY_FD = 62
#: The priority of the host, and of what it forks until that runs the function's own program.
EAGER = -10
#: That of what nobody waits for.
_PATIENT = 10
_ERROR_FD, _ORDERS_FD = 63, 64
_HOSTNAME = "169.254.100.1"
NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
#: Stages at which making an environment can fail, as told to the server.
SANDBOX, CWD, EXEC = b"sandbox", b"cwd", b"exec"
#: The limits, of files and of processes, of a program that is executed before its order comes.
USUAL_LIMITS = b"1024 1024"
#: What init says when the sandbox is finished but for the mounts of one environment: before that its namespaces are the
#: host's, and nobody may join them.
WAITING = b"waiting"


class Place:
    """What every environment of a host has in common."""

    __slots__ = ("filter", "host", "last_cap", "priority", "root", "rootless")

    def __init__(
        self, root: mounts.Template, filter: bytes, host: int, priority: int, last_cap: int, *, rootless: bool
    ) -> None:
        self.root = root
        self.filter = filter
        self.rootless = rootless
        self.priority = priority
        self.last_cap = last_cap
        #: A pidfd of the host.
        self.host = host


class Site:
    """What init has before it knows its order: where it lies, and the writing ends of its pipes."""

    __slots__ = (
        "channel",
        "error",
        "files",
        "into",
        "join",
        "later",
        "netns",
        "output",
        "program",
        "spare",
        "status",
        "stay",
        "telemetry",
        "trees",
        "uid",
    )

    def __init__(self, netns: int, uid: int, join: list[int], into: int, files: list[tuple[str, str]]) -> None:
        #: For a zygote, which cannot see the files: descriptors of `clone_tree` in their place.
        self.trees: list[tuple[int, str]] = []
        #: argv and env of a program that is executed before the order comes, and reads it itself.
        self.program: tuple[list[str], list[str]] | None = None
        self.netns = netns
        self.uid = uid
        self.join = join
        self.into = into
        self.files = files
        self.output = self.telemetry = self.error = self.status = self.channel = -1
        #: Leave out one process id, so that the first process has another than it has elsewhere.
        self.spare = False
        #: init does not take the others along when the first process ends.
        self.stay = False
        #: Nobody waits for it yet.
        self.later = False


class Order:
    """The program of one environment."""

    __slots__ = ("argv", "cwd", "data_mib", "env", "gated", "image", "nofile", "pids", "rest")

    def __init__(self, fields: list[bytes]) -> None:
        self.argv, self.env, (self.cwd,) = (wire.split(field) for field in fields[:3])
        # data_mib: only where no control group limits memory, else 0
        # gated: wait for a byte before executing
        self.nofile, self.pids, self.data_mib, self.gated = (int(number) for number in fields[3].split())
        #: Where in `image`, a descriptor, the first process goes on; empty: it executes `argv`, or is a zygote's.
        self.rest = [int(number) for number in fields[4].split()] if len(fields) > 4 else []
        self.image = -1


class _Failed(Exception):
    def __init__(self, stage: bytes, error: OSError) -> None:
        super().__init__(stage, error)
        self.stage = stage
        self.error = error


def start(place: Place, site: Site) -> int:
    """Clone init; answers its process id. Failures inside are written to the pipe `site.error` and end init."""
    pid = syscalls.clone(NAMESPACES)
    if pid == 0:
        gc.disable()  # it would copy the pages shared with the host
        try:
            _keep_only(place, site)
            enter(place, site)
            _obey(place, site)
        except BaseException as error:
            report(site.error, error)
        finally:
            os._exit(127)
    return pid


def _keep_only(place: Place, site: Site) -> None:
    """Close what belongs to the host and to other environments, first of all the host's own socket to the server."""
    wanted = [site.channel, site.status, site.error, site.output, site.telemetry, site.netns, place.host]
    wanted += [*site.join, *((site.into,) if site.into >= 0 else ()), *(tree for tree, _ in site.trees)]
    base = max(64, *wanted) + 1
    # First out of the way: a descriptor may bear a number that is another's target.
    moved = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, base) for each in wanted]
    null = os.open("/dev/null", os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    for target, source in enumerate(moved, 3):
        os.dup2(source, target, inheritable=False)
    syscalls.close_range(3 + len(moved))
    site.channel, site.status, site.error, site.output, site.telemetry, site.netns, place.host = range(3, 10)
    site.join = list(range(10, 10 + len(site.join)))
    if site.into >= 0:
        site.into = 10 + len(site.join)
    first_tree = 3 + len(moved) - len(site.trees)
    site.trees = [(first_tree + index, target) for index, (_, target) in enumerate(site.trees)]


def enter(place: Place, site: Site) -> None:
    """Be init of a finished, empty sandbox. Privileges: all those of the host, until `drop_privileges`."""
    die_with_host(place)
    if site.later and not place.rootless:
        os.setpriority(os.PRIO_PROCESS, 0, max(place.priority, _PATIENT))
    syscalls.setns(site.netns, syscalls.CLONE_NEWNET)
    os.close(site.netns)
    mounts.enter(place.root, site.files, site.trees)
    _socket.sethostname(_HOSTNAME)
    os.umask(0o022)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def die_with_host(place: Place) -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, _signal.SIGKILL)
    poll = select.poll()  # the host may have died before the call: its pidfd is then readable
    poll.register(place.host, select.POLLIN)
    if poll.poll(0):
        os._exit(127)


def forked(place: Place, site: Site, settle: Callable[[], None]) -> Order:
    """In a zygote's clone: init never returns; the first process does, with its order, when it has all of it but its
    variables. It has given up its privileges then, and has called `settle` before it waited.
    """
    try:
        _keep_only(place, site)
        enter(place, site)
        _spare(site)
        first = os.fork()  # and not clone: Python and the C library must know that this is another process
        if first == 0:
            if site.into >= 0:
                _join_by_name(site.into)
            order = _be_first(place, site, settle)
            if order.rest:
                restoring.restore(order.image, *order.rest)
            _change_folder(order)
            os.close(_ERROR_FD)
            return order
        _lead(place, site, first)
    except BaseException as error:
        report(site.error, error)
    os._exit(127)


def _join_by_name(group: int) -> None:
    descriptor = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=group)
    try:
        os.write(descriptor, b"0")
    finally:
        os.close(descriptor)


def _spare(site: Site) -> None:
    if site.spare:
        pid = syscalls.clone(0)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def _obey(place: Place, site: Site) -> None:
    _spare(site)
    first = syscalls.clone(0, site.into)
    if first == 0:
        try:
            order = _be_first(place, site)
            if order.rest:  # it would look like this program, not like the one that it was taken of
                raise OSError(95, "a snapshot can be restored by its runtime's zygote only")
            run(order)
        except BaseException as error:
            report(site.error, error)
        finally:
            os._exit(127)
    _lead(place, site, first)


def _lead(place: Place, site: Site, first: int) -> None:
    """In init: the sandbox is finished. Only the first process listens to the channel from now on."""
    channel = _socket.socket(fileno=site.channel)
    _say_waiting(place, channel)
    channel.close()
    _be_init(place, site, first)


def _say_waiting(place: Place, channel: _socket.socket) -> None:
    """With our namespaces where the host could not open them itself, for programs that join later: net comes first."""
    names = ("net", "ipc", "uts", "pid", "mnt") if place.rootless else ()
    doors = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
    if place.rootless and not place.root.path:
        # A zygote was executed inside the host's user namespace, so its clones, undumpable or not, belong in /proc to
        # the "root" of that, which is the function's own uid.
        mounts.hide_init()
    wire.send(channel, WAITING, doors)
    for door in doors:
        os.close(door)


def _be_init(place: Place, site: Site, first: int) -> None:
    """Reap until the first process ends, and tell its wait status; then go on until killed, if it is to `stay`."""
    os.dup2(site.status, 3)
    os.dup2(place.host, 4)
    syscalls.close_range(5)
    place.host = 4
    confine.drop_privileges(site.uid + 1 if site.uid >= 0 else -1, place.last_cap, place.filter)
    # Both are reset by the change of credentials. Not dumpable: /proc/1 then shows the function nothing.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    die_with_host(place)
    os.close(4)
    if site.stay:
        _reap_for_ever(first)
    if not place.rootless:  # there a new program's files in /proc would belong to the function's own uid
        with contextlib.suppress(OSError):
            smallinit.become(syscalls.MACHINE, first)
    while True:
        pid, result, usage = os.wait4(-1, 0)
        if pid == first:
            break
    os.write(3, STATUS.pack(result, usage.ru_maxrss * 1024))
    os._exit(0)


def _reap_for_ever(first: int) -> None:
    _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGCHLD])
    while True:
        try:
            pid, result, usage = os.wait4(-1, 0)
        except ChildProcessError:
            _signal.sigwait([_signal.SIGCHLD])  # an orphan may still come
            continue
        if pid == first:
            os.write(3, STATUS.pack(result, usage.ru_maxrss * 1024))
            os.close(3)


def _be_first(place: Place, site: Site, settle: Callable[[], None] | None = None) -> Order:
    """The first process until it has its order, and after. A zygote's calls `settle`, without privileges, meanwhile,
    unless somebody waits for it.
    """
    for group in site.join:
        os.write(group, b"0")
    if place.rootless:  # init does not follow: the mounts belong to the host's user namespace
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # or /proc/self/uid_map would not be ours
        confine.map_function_user()
    syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    with contextlib.suppress(OSError):
        write_own("/proc/self/oom_score_adj", b"500")  # if the machine runs out of memory, functions go first
    os.setsid()
    orders = _arrange_descriptors(site)
    if settle is None:
        reset_for_exec()
    if site.later and not place.rootless:  # while we may
        os.setpriority(os.PRIO_PROCESS, 0, place.priority)
    confine.drop_privileges(site.uid, place.last_cap, place.filter)
    if settle is not None:
        # The change of credentials took it away, and execve would give it back.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        settle()
    if site.program is not None:
        _start_early(place, *site.program)
    message, gate = wire.receive(orders)
    if not message:
        os._exit(0)
    orders.close()
    order = Order(wire.unpack(message))
    if order.rest:
        order.image = gate.pop()
    os.setpriority(os.PRIO_PROCESS, 0, place.priority)
    set_limits(order)
    if gate and not os.read(gate[0], 1):  # nobody will let it go on
        os._exit(0)
    for descriptor in gate:
        os.close(descriptor)
    return order


def _start_early(place: Place, argv: list[str], env: list[str]) -> None:
    """Execute a program that will read its order from the descriptor of which its environment tells."""
    os.setpriority(os.PRIO_PROCESS, 0, place.priority)
    set_limits(Order([b"", b"", b"/", USUAL_LIMITS + b" 0 0"]))
    os.set_inheritable(_ORDERS_FD, True)
    try:
        execute(argv, [*env, f"_ALONZO_ORDER={_ORDERS_FD}"])
    except OSError as error:
        raise _Failed(EXEC, error) from error


def reset_for_exec() -> None:
    """What Python changed of itself and execve would keep."""
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))


def _change_folder(order: Order) -> None:
    try:
        os.chdir(order.cwd)
    except OSError as error:
        raise _Failed(CWD, error) from error


def run(order: Order) -> None:
    """Execute the order's program where it wants to be."""
    _change_folder(order)
    try:
        execute(order.argv, order.env)
    except OSError as error:
        raise _Failed(EXEC, error) from error


def execute(argv: list[str], env: list[str]) -> None:
    """Replace this process by the program; returns only by raising OSError."""
    environment = dict(entry.partition("=")[::2] for entry in env)
    os.execve(argv[0], argv, environment)


def write_own(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _arrange_descriptors(site: Site) -> _socket.socket:
    """stdin is /dev/null, stdout and stderr the output pipe, 62 telemetry; errors and orders close at execve."""
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(site.output, 1)
    os.dup2(site.output, 2)
    os.dup2(site.telemetry, TELEMETRY_FD)
    os.dup2(site.error, _ERROR_FD, inheritable=False)
    os.dup2(site.channel, _ORDERS_FD, inheritable=False)
    site.error = _ERROR_FD
    syscalls.close_range(3, TELEMETRY_FD - 1)
    syscalls.close_range(_ORDERS_FD + 1)
    return _socket.socket(fileno=_ORDERS_FD)


def set_limits(order: Order) -> None:
    """Lower what may be used. Source: execution-environment contract §7 (limits recorded on AWS)."""
    limits = {
        resource.RLIMIT_NOFILE: order.nofile,
        resource.RLIMIT_NPROC: order.pids,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 65536,
    }
    if order.data_mib:
        # The watchdog's backstop, not the limit: every thread's stack counts 8 MiB here before it is used.
        limits[resource.RLIMIT_DATA] = (2 * order.data_mib + 1024) << 20
    for limit, wanted in limits.items():
        highest = resource.getrlimit(limit)[1]
        value = wanted if highest == resource.RLIM_INFINITY else min(wanted, highest)
        resource.setrlimit(limit, (value, value))


def report(pipe: int, error: BaseException) -> None:
    """One line for the server: stage, errno and text."""
    stage = SANDBOX
    if isinstance(error, _Failed):
        stage, error = error.stage, error.error
    number = error.errno or 0 if isinstance(error, OSError) else 0
    text = str(error) or type(error).__name__
    with contextlib.suppress(OSError):
        os.write(pipe, b"%s\0%d\0%s" % (stage, number, text.encode("utf-8", "replace")[:2000]))
