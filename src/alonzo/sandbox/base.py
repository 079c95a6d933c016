"""The protocol every sandbox backend speaks. One contract suite runs over all of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from alonzo.core.dataclasses import dataclass


class SandboxError(Exception):
    """An environment cannot be made; the message says why and what mends it."""


class ExecError(SandboxError):
    """The first process could not be executed: `path` (as the Spec named it) and `errno` say why."""

    def __init__(self, path: str, errno: int) -> None:
        super().__init__(f"fork/exec {path}: {os.strerror(errno).lower()}")
        self.path = path
        self.errno = errno


@dataclass(frozen=True, slots=True)
class Mount:
    """A host folder or file shown read-only at `target` (absolute, inside)."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True)
class Zygote:
    """A program that has started before anybody needs it. It sees `mounts`, which every Spec that names it must have.

    One that `forks` becomes the first process of any number of environments, by forking. It runs with the host's
    privileges until then, so it may run only what was prepared with the runtime; what it must do is said in `forking`.
    Of one that does not, several are started, each in a sandbox of its own and without privileges, and each becomes the
    first process of one environment: it reads its order, a message of `wire` with argv, env and cwd as its first
    fields, from the descriptor whose number is in _ALONZO_ORDER, and closes that. Where _ALONZO_REHEARSE is set there
    is time to get ready before. Specs with limits, a cwd or a gate of their own are executed.
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    mounts: tuple[Mount, ...]
    forks: bool = True


class Snapshot(Protocol):
    """The memory of a process that rests (`Environment.snapshot`), from which others can go on."""

    def discard(self) -> None:
        """It is not needed any more; environments that came of it stay. Idempotent."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One execution environment.

    `argv[0]` is a path inside. `memory_mib` is the hard limit of the process tree (swap none); the CPU share follows
    it (1,769 MiB = 1 CPU) once `limit_cpu` is called. `tmp_mib` is the size of /tmp, which is not charged to memory.
    `pids` bounds processes and threads. `internet` asks for outbound connections; without it only the two sockets below
    can be reached; in `env` they are always written INSIDE_ADDRESS:port, and a backend that listens elsewhere puts its
    own addresses there. _LAMBDA_TELEMETRY_LOG_FD is set by the backend. `tmp_of` is the id of an ended environment
    whose /tmp goes on here (AWS keeps it over a time-out). `gated`: the program waits for `go`, so that others can be
    started before it, and its end does not end them. With a `zygote` the first process may be forked from that instead
    of being executed: then only the last word of `argv` counts, and nobody can tell the difference but by the time it
    takes. A backend without zygotes, or whose zygote is not ready, executes `argv`.

    `template`: a snapshot will be taken of the first process, which then has another process id than it will have where
    it is restored, so that whoever looks at that notices (as after a fork). With a `snapshot` the first process goes on
    where that one rested; this needs its runtime's `zygote`, and `argv` and `env` do not count.

    Source: execution-environment contract §7 and §9.
    """

    id: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[Mount, ...]
    cwd: str = "/var/task"
    memory_mib: int = 128
    tmp_mib: int = 512
    pids: int = 1024
    nofile: int = 1024
    internet: bool = False
    tmp_of: str = ""
    gated: bool = False
    zygote: Zygote | None = None
    template: bool = False
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """How the first process ended: `code` where it exited, `signal` where a signal killed it; `oom` if memory did."""

    code: int | None
    signal: int | None
    oom: bool = False

    @classmethod
    def of(cls, code: int, *, oom: bool = False) -> Exit:
        """From the number that Python gives: an exit code, or minus a signal's number."""
        return cls(code, None) if code >= 0 else cls(None, -code, oom)


@dataclass(frozen=True, slots=True)
class Enforcement:
    """One line of `alonzo doctor`: what is or is not enforced, and what mends it."""

    name: str
    enforced: bool
    detail: str
    mend: str = ""


#: Address inside every environment (namespaces backend) under which the server is reached.
INSIDE_ADDRESS = "169.254.100.1"
RUNTIME_API_PORT = 9001
AWS_PORT = 4566


class Companion(Protocol):
    """A further program in an environment. `output` is the read end of a pipe that carries its stdout and stderr."""

    output: int

    async def wait(self) -> Exit:
        """Wait until it has ended, by itself or with the environment."""

    async def signal(self, number: int) -> None:
        """Send it a signal; nothing happens after its end."""


class Environment(Protocol):
    """A running process tree in its sandbox.

    `runtime_api` and `aws` are listening sockets that only this environment can connect to; `runtime_api_address` and
    `aws_address` say where (host:port as seen from inside). `output` is the read end of a pipe that carries stdout and
    stderr; `telemetry` that of the pipe named by _LAMBDA_TELEMETRY_LOG_FD (frames: contract §4).
    """

    id: str
    runtime_api: socket.socket
    aws: socket.socket
    runtime_api_address: str
    aws_address: str
    output: int
    telemetry: int

    async def wait(self) -> Exit:
        """Wait until the first process has ended (any number of waiters, any number of times)."""

    async def go(self) -> None:
        """Let a gated program be executed. Raises SandboxError or ExecError."""

    async def spawn(self, argv: tuple[str, ...], env: Mapping[str, str], cwd: str) -> Companion:
        """Start a further program, confined and limited as the first process. Raises SandboxError or ExecError."""

    async def signal(self, number: int) -> None:
        """Send the first process a signal."""

    async def open_socket(self) -> socket.socket:
        """A new TCP socket, not connected, whose 127.0.0.1 and INSIDE_ADDRESS are the environment's own."""

    async def snapshot(self, frame: int, most_mib: int) -> Snapshot:
        """Copy the first process, which rests at the address `frame` (`restoring`), and at most so much of its memory.

        Raises SandboxError where the backend cannot, or the process is none that can be copied.
        """

    async def limit_cpu(self) -> None:
        """Apply the CPU share; until then, initialisation runs unthrottled."""

    async def freeze(self) -> None:
        """Stop every process of the tree; idempotent."""

    async def thaw(self) -> None:
        """Let them go on; idempotent."""

    def memory_peak(self) -> int:
        """The largest memory use of the tree so far, in bytes."""

    async def memory(self) -> tuple[int, int]:
        """Bytes that the tree takes of the machine's memory now, and how many of them `reclaim` could have back.

        Zeros where that cannot be told, and after the end.
        """

    async def reclaim(self) -> None:
        """Have a frozen tree give back what memory it can do without (page cache). Nothing happens to one that runs."""

    async def kill(self) -> None:
        """SIGKILL the tree and wait until nothing of it is left but /tmp (kept until `release`)."""

    async def release(self) -> None:
        """Give everything back: cgroups, network, sockets, and /tmp unless a later Spec named this id in `tmp_of`."""


class Sandbox(Protocol):
    """Makes environments."""

    def launch(self) -> None:
        """Begin what `start` then waits for; it may be left out. Needs no event loop. Raises SandboxError."""

    async def start(self) -> None:
        """Start the host process and clean up what an earlier run left. Raises SandboxError with the mend."""

    async def stop(self) -> None:
        """Kill every environment and the host; nothing is left behind."""

    async def create(self, spec: Spec) -> Environment:
        """Make an environment and start its process. Raises SandboxError."""

    async def prepare(self, zygote: Zygote) -> bool:
        """Start a zygote ahead of need and wait until it can be forked; False: it cannot, and Specs are executed."""

    @property
    def summary(self) -> str:
        """The isolation in force in a few words, as `namespaces, cgroup v1`: the ready line shows it."""

    def enforcements(self) -> Sequence[Enforcement]:
        """What this backend enforces on this machine."""
