"""From a fork of the host (later: of a zygote) into a sandbox.

Two processes come of it. **init** is process 1 of the environment's pid namespace: it makes the sandbox, starts the
function's first process, and from then on only reaps; for the kernel ignores signals to process 1 that it does not
handle, and a runtime that ran as process 1 could neither be terminated nor abort. When the first process ends, init
reports its status and ends too, and the kernel kills whatever is left. init stays outside the control groups, so it
neither costs the function memory nor is frozen. **The first process** joins the control groups, gives up all
privileges and executes the Spec's program.
"""

from __future__ import annotations

import _signal
import _socket
import contextlib
import fcntl
import os
import resource
import select
import struct

from alonzo.sandbox import confine, mounts, syscalls

TELEMETRY_FD = 62
_ERROR_FD = 63
_HOSTNAME = "169.254.100.1"
_NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
#: Stages at which making an environment can fail, as told to the server.
SANDBOX, CWD, EXEC = b"sandbox", b"cwd", b"exec"


class Place:
    """What every environment of a host has in common."""

    __slots__ = ("filter", "host", "last_cap", "root", "rootless")

    def __init__(self, root: mounts.Root, filter: bytes, *, rootless: bool) -> None:
        self.root = root
        self.filter = filter
        self.rootless = rootless
        self.last_cap = confine.last_capability()
        self.host = os.pidfd_open(os.getpid())


class Plan:
    """One environment: where it lies (`view`, `netns`, `uid`, `join`, `into`), its pipes and its program."""

    __slots__ = (
        "argv",
        "cwd",
        "env",
        "error",
        "into",
        "join",
        "netns",
        "nofile",
        "output",
        "pids",
        "status",
        "telemetry",
        "uid",
        "view",
    )

    def __init__(self, argv: list[str], env: list[str], cwd: str, nofile: int, pids: int) -> None:
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.nofile = nofile
        self.pids = pids
        self.view: mounts.View
        self.netns = self.into = self.uid = -1
        self.join: list[int] = []
        self.output = self.telemetry = self.error = self.status = -1


class _Failed(Exception):
    def __init__(self, stage: bytes, error: OSError) -> None:
        super().__init__(stage, error)
        self.stage = stage
        self.error = error


def start(place: Place, plan: Plan) -> int:
    """Clone init; answers its process id. Failures inside are written to the pipe `plan.error` and end init."""
    pid = syscalls.clone(_NAMESPACES)
    if pid == 0:
        try:
            enter(place, plan)
        except BaseException as error:
            _report(plan.error, error)
        finally:
            os._exit(127)
    return pid


def enter(place: Place, plan: Plan) -> None:
    """Be init. Privileges: all those of the host, until `drop_privileges`; never returns."""
    _die_with_host(place)
    if plan.netns >= 0:
        syscalls.setns(plan.netns, syscalls.CLONE_NEWNET)
    mounts.enter(place.root, plan.view)
    _socket.sethostname(_HOSTNAME)
    os.umask(0o022)
    if place.rootless:
        confine.map_function_user()
    first = syscalls.clone(0, plan.into)
    if first == 0:
        try:
            _be_first(place, plan)
        except BaseException as error:
            _report(plan.error, error)
        finally:
            os._exit(127)
    _be_init(place, plan, first)


def _die_with_host(place: Place) -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, _signal.SIGKILL)
    poll = select.poll()  # the host may have died before the call: its pidfd is then readable
    poll.register(place.host, select.POLLIN)
    if poll.poll(0):
        os._exit(127)


def _be_init(place: Place, plan: Plan, first: int) -> None:
    """Reap until the first process ends, and tell its wait status."""
    null = os.open("/dev/null", os.O_RDWR)
    status = fcntl.fcntl(plan.status, fcntl.F_DUPFD, 128)
    host = fcntl.fcntl(place.host, fcntl.F_DUPFD, 128)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.dup2(status, 3)
    os.dup2(host, 4)
    syscalls.close_range(5)
    place.host = 4
    confine.drop_privileges(plan.uid, place.last_cap, place.filter)
    # Both are reset by the change of credentials. Not dumpable: /proc/1 then shows the function nothing.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    _die_with_host(place)
    os.close(4)
    while True:
        pid, result = os.waitpid(-1, 0)
        if pid == first:
            break
    os.write(3, struct.pack("=i", result))
    os._exit(0)


def _be_first(place: Place, plan: Plan) -> None:
    for group in plan.join:
        os.write(group, b"0")
    syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    with contextlib.suppress(OSError):
        _write_own("/proc/self/oom_score_adj", b"500")  # if the machine runs out of memory, functions go first
    os.setsid()
    _arrange_descriptors(plan)
    _set_limits(plan)
    confine.drop_privileges(plan.uid, place.last_cap, place.filter)
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):  # Python ignores them, and execve would keep that
        _signal.signal(number, _signal.SIG_DFL)
    try:
        os.chdir(plan.cwd)
    except OSError as error:
        raise _Failed(CWD, error) from error
    try:
        execute(plan.argv, plan.env)
    except OSError as error:
        raise _Failed(EXEC, error) from error


def execute(argv: list[str], env: list[str]) -> None:
    """Replace this process by the program; returns only by raising OSError."""
    environment = dict(entry.partition("=")[::2] for entry in env)
    os.execve(argv[0], argv, environment)


def _write_own(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _arrange_descriptors(plan: Plan) -> None:
    """stdin is /dev/null, stdout and stderr the output pipe, 62 telemetry, 63 (close-on-exec) errors; nothing else."""
    null = os.open("/dev/null", os.O_RDONLY)
    # First out of the way: a source may bear a number that is a target.
    sources = [fcntl.fcntl(each, fcntl.F_DUPFD, 128) for each in (null, plan.output, plan.telemetry, plan.error)]
    for source, target in zip((0, 1, 1, 2, 3), (0, 1, 2, TELEMETRY_FD, _ERROR_FD), strict=True):
        os.dup2(sources[source], target, inheritable=target != _ERROR_FD)
    syscalls.close_range(3, TELEMETRY_FD - 1)
    syscalls.close_range(_ERROR_FD + 1)
    plan.error = _ERROR_FD


def _set_limits(plan: Plan) -> None:
    """Source: execution-environment contract §7 (limits recorded on AWS)."""
    stack_hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    limits = {
        resource.RLIMIT_NOFILE: (plan.nofile, plan.nofile),
        resource.RLIMIT_NPROC: (plan.pids + 1, plan.pids + 1),  # init bears the uid too
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MEMLOCK: (65536, 65536),
        resource.RLIMIT_STACK: (8 << 20, stack_hard),
    }
    for limit, (soft, hard) in limits.items():
        highest = resource.getrlimit(limit)[1]
        if highest != resource.RLIM_INFINITY and os.geteuid() != 0:  # an ordinary user cannot raise it
            hard = highest if hard == resource.RLIM_INFINITY else min(hard, highest)
            soft = min(soft, hard)
        resource.setrlimit(limit, (soft, hard))


def _report(pipe: int, error: BaseException) -> None:
    """One line for the server: stage, errno and text."""
    stage = SANDBOX
    if isinstance(error, _Failed):
        stage, error = error.stage, error.error
    number = error.errno or 0 if isinstance(error, OSError) else 0
    text = str(error) or type(error).__name__
    with contextlib.suppress(OSError):
        os.write(pipe, b"%s\0%d\0%s" % (stage, number, text.encode("utf-8", "replace")[:2000]))
