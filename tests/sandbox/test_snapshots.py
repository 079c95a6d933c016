"""What goes on in a process that goes on from a snapshot, what does not, and what cannot be copied."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from alonzo.sandbox.base import SandboxError

pytestmark = pytest.mark.sandbox

#: What a program does before it rests; then comes what its copies do.
REST = """
import sys
sys.path.insert(0, "/var/rest")
import _alonzo_snapshot, _socket, os

def rest():
    connection = _socket.socket()
    connection.connect(("169.254.100.1", 9001))
    return _alonzo_snapshot.rest(connection.detach(), "GET /rest HTTP/1.1\\r\\n", (62,))
"""


def program(before: str, after: str) -> str:
    return REST + textwrap.dedent(before) + "\nanswer = rest()\n" + textwrap.dedent(after)


@pytest.fixture(params=["forked", "forked rootless"])
async def forked(request: pytest.FixtureRequest, folder: Path, start_backend: Any) -> AsyncIterator[Any]:
    started = await start_backend(request.param, folder)
    yield started
    await started.sandbox.stop()


async def going_on(backend: Any, before: str, after: str, times: int = 1, **changes: Any) -> list[str]:
    """What copies of one program write."""
    code = program(before, after)
    snapshot = await backend.take(code, **changes)
    mounts = (backend.rest_mount(),)
    return [(await backend.run("", snapshot=snapshot, mounts=mounts, **changes)).output for _ in range(times)]


async def test_memory_goes_on(forked: Any) -> None:
    """Objects, the stack, the heap that grows, deep recursion, threads and children: all as in any process."""
    (output,) = await going_on(
        forked,
        "words = [str(number) for number in range(100_000)]\ncalled = iter(range(3)); next(called)",
        """
        import threading
        words += [bytes(1000) for _ in range(100_000)]
        def down(n):
            return 0 if n == 0 else 1 + down(n - 1)
        sys.setrecursionlimit(30_000)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(threading.get_native_id() != os.getpid()))
        thread.start(); thread.join()
        child = os.fork()
        if not child:
            os._exit(5)
        status = os.waitpid(child, 0)[1] >> 8
        print(answer, words[99_999], next(called), len(words), down(20_000), seen, status)
        """,
        memory_mib=512,
    )
    assert output == "None 99999 1 200000 20000 [True] 5\n"


async def test_what_the_kernel_keeps_is_made_again(forked: Any) -> None:
    """Signal handlers and masks, timers, limits, the working directory, the umask."""
    (output,) = await going_on(
        forked,
        """
        import resource, signal, time
        got = []
        signal.signal(signal.SIGUSR1, lambda *_: got.append("handled"))
        signal.signal(signal.SIGALRM, lambda *_: got.append("rang"))
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        os.mkdir("/tmp/here"); os.chdir("/tmp/here"); os.umask(0o027)
        """,
        """
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGHUP)
        deadline = time.monotonic() + 10
        while "rang" not in got and time.monotonic() < deadline:
            time.sleep(0.01)
        blocked = [each.name for each in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
        print(got, blocked, resource.getrlimit(resource.RLIMIT_NOFILE), os.getcwd(), oct(os.umask(0)))
        """,
    )
    assert output == "['handled', 'rang'] ['SIGHUP'] (100, 100) /tmp/here 0o27\n"


async def test_tmp_and_open_files_are_made_again(forked: Any) -> None:
    """Files with their positions, deleted ones, pipes, pairs of sockets, epoll and counters, and nothing else."""
    (output,) = await going_on(
        forked,
        """
        import select, socket
        os.makedirs("/tmp/a/b"); os.symlink("b", "/tmp/a/link"); os.mkfifo("/tmp/a/fifo")
        kept = open("/tmp/a/b/kept", "w+"); kept.write("kept "); kept.flush()
        os.chmod("/tmp/a/b/kept", 0o640)
        gone = open("/tmp/gone", "w+b"); gone.write(b"gone"); gone.flush(); os.unlink("/tmp/gone")
        code = open("/var/task/hello.txt"); code.read(5)
        reader, writer = os.pipe()
        left, right = socket.socketpair()
        left.setblocking(False)
        poll = select.epoll(); poll.register(left, select.EPOLLIN)
        event = os.eventfd(7)
        out = os.dup(1)
        far = socket.socket()
        far.connect(("169.254.100.1", 4566))
        before = sorted(os.listdir("/proc/self/fd"))
        """,
        """
        same = sorted(os.listdir("/proc/self/fd")) == before
        kept.write("and more"); kept.seek(0)
        gone.seek(0)
        os.write(writer, b"through the pipe")
        right.send(b"x")
        try:
            far.send(b"x")
        except OSError as error:
            dead = type(error).__name__
        os.write(out, b"to a copy of stdout\\n")
        print(same, kept.read(), gone.read(), code.read(6), os.read(reader, 99), poll.poll(5) == [(left.fileno(), 1)],
              os.eventfd_read(event), os.readlink("/tmp/a/link"), oct(os.stat("/tmp/a/b/kept").st_mode), dead)
        """,
    )
    said = "True kept and more b'gone'  from  b'through the pipe' True 7 b 0o100640 BrokenPipeError"
    assert output == f"to a copy of stdout\n{said}\n"


async def test_copies_do_not_share_and_are_not_the_same(forked: Any) -> None:
    """What one writes into memory or /tmp no other sees; random numbers and process ids differ from the original's."""
    outputs = await going_on(
        forked,
        """
        import json, random, tempfile, uuid
        first = os.getpid()
        seen = []
        random.seed(1)
        next(tempfile._get_candidate_names())
        """,
        """
        seen.append(1)
        mine = os.listdir("/tmp")
        open("/tmp/mine", "w").close()
        print(json.dumps([seen, mine, first != os.getpid(), random.random(), next(tempfile._get_candidate_names()),
                          str(uuid.uuid4()), os.path.exists(f"/proc/{first}")]))
        """,
        times=2,
    )
    one, other = (json.loads(output) for output in outputs)
    for seen, mine, is_new, *_, has_original in (one, other):
        assert (seen, [name for name in mine if name != "lost+found"], is_new, has_original) == ([1], [], True, False)
    assert all(first != second for first, second in zip(one[3:6], other[3:6], strict=True))


async def test_copies_that_live_together(forked: Any) -> None:
    """Each has namespaces of its own, and as root a uid; the original may be long gone, and the snapshot too."""
    code = program(
        "import time", "print(os.getuid(), open('/proc/self/status').read()); sys.stdout.flush(); time.sleep(60)"
    )
    snapshot = await forked.take(code)
    mounts = (forked.rest_mount(),)
    pair = [await forked.create("", snapshot=snapshot, mounts=mounts) for _ in range(2)]
    snapshot.discard()
    snapshot.discard()
    said = [await forked.read_until(each, "nonvoluntary") for each in pair]
    for status in said:
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert all(int(fields[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"))
        assert (fields["Seccomp"], fields["NoNewPrivs"]) == ("2", "1")
    for kind in ("pid", "mnt", "net", "ipc", "uts", "cgroup"):
        spaces = {os.readlink(f"/proc/{each.processes()[0]}/ns/{kind}") for each in pair}
        assert len(spaces) == 2 and os.readlink(f"/proc/self/ns/{kind}") not in spaces
    if "rootless" not in forked.name:
        assert len({status.split()[0] for status in said}) == 2
    with pytest.raises(SandboxError, match="no such snapshot"):
        await forked.create("", snapshot=snapshot, mounts=mounts)
    for each in pair:
        await each.release()


async def test_the_original_can_go_on(forked: Any) -> None:
    """It rests until it is answered; what it was keeps working."""
    code = program(
        "import threading", "print(answer, os.getpid()); threading.Thread(target=print, args=('ok',)).start()"
    )
    environment = await forked.create(code, template=True, mounts=(forked.rest_mount(),))
    connection, frame = await forked.rests(environment)
    await environment.snapshot(frame, 256)
    with pytest.raises(SandboxError, match="copied already"):
        await environment.snapshot(frame, 256)
    await asyncio.get_running_loop().sock_sendall(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert await forked.read_until(environment, "ok\n") == "200 3\nok\n"
    connection.close()
    await environment.release()


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "threads"),
        ("import _signal; open('/tmp/big', 'wb').write(bytes(65 << 20))", "more than 64 MiB"),
        ("import ctypes; ctypes.CDLL(None).inotify_init()", "inotify"),
    ],
)
async def test_programs_that_cannot_be_copied_say_so(forked: Any, before: str, why: str) -> None:
    """And go on when they are answered."""
    code = program(before, "print(answer); sys.stdout.flush(); os._exit(0)")
    environment = await forked.create(code, template=True, mounts=(forked.rest_mount(),), memory_mib=512)
    loop = asyncio.get_running_loop()
    connection, _ = await asyncio.wait_for(loop.sock_accept(environment.runtime_api), 20)
    request = (await loop.sock_recv(connection, 65536)).decode()
    assert "Alonzo-Snapshot:" not in request
    assert why in request.partition("Alonzo-Snapshot-Refused: ")[2]
    await loop.sock_sendall(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert await forked.read_until(environment, "\n") == "200\n"
    connection.close()
    await environment.release()


@pytest.mark.parametrize(
    ("before", "most_mib", "why"),
    [
        ("child = os.fork()\nif not child: import time; time.sleep(60)", 256, "processes running"),
        ("much = bytearray(os.urandom(1 << 20)) * 40", 20, "more than 20 MiB"),
        (
            "import mmap; space = mmap.mmap(-1, 1 << 39, mmap.MAP_PRIVATE | 0x4000, mmap.PROT_READ)",
            256,
            "too much address space",
        ),
    ],
)
async def test_the_host_refuses_too(forked: Any, before: str, most_mib: int, why: str) -> None:
    """Whatever the program says of itself; it is not harmed."""
    environment = await forked.create(
        program(before, "print(answer)"), template=True, mounts=(forked.rest_mount(),), memory_mib=512
    )
    connection, frame = await forked.rests(environment)
    with pytest.raises(SandboxError, match=why):
        await environment.snapshot(frame, most_mib)
    await asyncio.get_running_loop().sock_sendall(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert await forked.read_until(environment, "\n") == "200\n"
    connection.close()
    await environment.release()
    with pytest.raises(SandboxError, match="has ended"):
        await environment.snapshot(frame, most_mib)


@pytest.mark.parametrize("frame", [0, 8, 1 << 62, (1 << 64) - 8, 0x10_0000_0000])
async def test_a_forged_place_to_go_on_ends_only_that_process(forked: Any, frame: int) -> None:
    """The address comes from the program: the copy dies of it, in its sandbox, and nothing else does."""
    environment = await forked.create(program("", ""), template=True, mounts=(forked.rest_mount(),))
    connection, good = await forked.rests(environment)
    snapshot = await environment.snapshot(frame, 256)
    connection.close()
    await environment.release()
    try:
        copy = await forked.create("", snapshot=snapshot, mounts=(forked.rest_mount(),))
    except SandboxError:
        pass
    else:
        ended = await asyncio.wait_for(copy.wait(), 20)
        assert ended.signal in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP) or ended.code
        await copy.release()
    assert good != frame
    assert (await forked.run("print('well')")).output == "well\n"


async def test_memory_that_the_program_changes_while_it_is_copied(forked: Any) -> None:
    """A program that says it rests and does not gives itself a strange copy, and the host no trouble."""
    code = """
    import _socket, threading, mmap, time
    connection = _socket.socket()
    connection.connect(("169.254.100.1", 9001))
    connection.send(b"GET /rest HTTP/1.1\\r\\nAlonzo-Snapshot: 10000\\r\\n\\r\\n")
    while True:
        maps = [mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE) for _ in range(20)]
        for each in maps:
            each.close()
    """
    environment = await forked.create(code, template=True)
    connection, frame = await forked.rests(environment)
    for _ in range(5):
        try:
            await environment.snapshot(frame, 64)
        except SandboxError:
            continue
        break
    connection.close()
    await environment.release()
    assert (await forked.run("print('well')")).output == "well\n"


async def test_nothing_is_left_of_snapshots(forked: Any) -> None:
    """No descriptor of the host, no process, no file."""
    host = forked.sandbox._process.pid
    mounts = (forked.rest_mount(),)

    async def once() -> None:
        snapshot = await forked.take(program("", "print('on')"))
        assert (await forked.run("", snapshot=snapshot, mounts=mounts)).output == "on\n"
        snapshot.discard()
        await asyncio.sleep(0.3)  # let it fill its shelves

    def kept() -> list[str]:
        links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{host}/fd") if os.path.lexists(entry.path)]
        return [link for link in links if "memfd" in link or ("deleted" in link and "loop" not in link)]

    await once()
    before = kept()
    for _ in range(3):
        await once()
    assert len(kept()) <= len(before)


async def test_the_process_isolation_takes_none(folder: Path, start_backend: Any) -> None:
    """Nothing there may read another process's memory."""
    backend = await start_backend("process", folder)
    environment = await backend.create("import time; time.sleep(60)")
    with pytest.raises(SandboxError, match="no snapshots"):
        await environment.snapshot(4096, 64)
    await environment.release()
    await backend.sandbox.stop()
