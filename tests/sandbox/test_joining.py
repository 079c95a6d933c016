"""Programs that join an environment: confined as it is, signalled, waited for, and ended with it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from alonzo.sandbox.base import ExecError

#: ioctl_ns(2), for a socket: a descriptor of its network namespace.
_SIOCGSKNS = 0x894C
NAP = "import time, os; os.write(1, b'up\\n'); time.sleep(60)"


async def read(descriptor: int) -> str:
    loop = asyncio.get_running_loop()
    chunks = []
    while chunk := await loop.run_in_executor(None, os.read, descriptor, 4096):
        chunks.append(chunk)
    return b"".join(chunks).decode()


async def until(descriptor: int, text: bytes) -> None:
    loop = asyncio.get_running_loop()
    said = b""
    while text not in said:
        said += await loop.run_in_executor(None, os.read, descriptor, 4096)


async def test_a_program_joins_the_same_sandbox(backend: Any) -> None:
    """It sees the first process, the same files, no more privileges, and its output has a pipe of its own."""
    environment = await backend.sandbox.create(backend.spec(NAP))
    try:
        code = (
            "import os\n"
            "print(os.getuid(), open('/proc/self/status').read().split('CapEff:')[1].split()[0])\n"
            "print(sum(p.isdigit() for p in os.listdir('/proc')), os.path.exists('/var/task'))\n"
            "print(os.environ['WHO'])\n"
        )
        argv = (backend.python, "-I", "-S", "-c", code)
        companion = await environment.spawn(argv, {"WHO": "me"}, "/")
        said, ended = await asyncio.gather(read(companion.output), companion.wait())
        assert ended.code == 0, said
        who, files, name = said.splitlines()
        assert name == "me"
        if backend.isolated:
            assert who.split()[1] == "0000000000000000"
            assert who.split()[0] != "0"
            assert files == "3 True"
    finally:
        await environment.release()


async def test_who_joins_at_once_is_inside(backend: Any) -> None:
    """However new the environment is: a program and a socket never begin outside, before init has entered it."""
    code = (
        "import os\n"
        "print(os.readlink('/proc/self/ns/net'), os.readlink('/proc/self/ns/mnt'))\n"
        "print(os.path.exists('/var/task'), os.path.exists('/root/.cache'))\n"
    )
    outside = [str(Path(f"/proc/self/ns/{name}").readlink()) for name in ("net", "mnt")]

    async def check() -> None:
        environment = await backend.sandbox.create(backend.spec(NAP, gated=True))
        try:
            inside = await environment.open_socket()
            with inside:
                companion = await environment.spawn((backend.python, "-I", "-S", "-c", code), {}, "/")
                said, ended = await asyncio.gather(read(companion.output), companion.wait())
                assert ended.code == 0, said
                if backend.isolated:
                    here, files = said.splitlines()
                    assert not set(here.split()) & set(outside)
                    assert files == "True False"
                    namespace = fcntl.ioctl(inside, _SIOCGSKNS)
                    assert os.fstat(namespace).st_ino != os.stat("/proc/self/ns/net").st_ino
                    os.close(namespace)
        finally:
            await environment.release()

    await asyncio.gather(*(check() for _ in range(12)))


async def test_a_program_that_is_not_there_says_so(backend: Any) -> None:
    """ExecError names the path."""
    environment = await backend.sandbox.create(backend.spec(NAP))
    try:
        with pytest.raises(ExecError, match="fork/exec /opt/none: no such file or directory"):
            await environment.spawn(("/opt/none",), {}, "/")
    finally:
        await environment.release()


async def test_signals_reach_one_program_alone(backend: Any) -> None:
    """SIGTERM to a companion leaves the first process, and the other way round in a gated environment."""
    environment = await backend.sandbox.create(backend.spec(NAP, gated=True))
    try:
        companion = await environment.spawn((backend.python, "-I", "-S", "-c", NAP), {}, "/")
        other = await environment.spawn((backend.python, "-I", "-S", "-c", NAP), {}, "/")
        await environment.go()
        for descriptor in (companion.output, other.output, environment.output):
            await until(descriptor, b"up\n")
        await companion.signal(signal.SIGTERM)
        assert (await companion.wait()).signal == signal.SIGTERM
        await environment.signal(signal.SIGTERM)
        assert (await environment.wait()).signal == signal.SIGTERM
        await asyncio.sleep(0.05)
        await other.signal(signal.SIGINT)
        ended = await asyncio.wait_for(other.wait(), 5)
        assert ended.signal == signal.SIGINT or ended.code == 1
    finally:
        await environment.release()


async def test_the_end_of_an_environment_ends_its_programs(backend: Any) -> None:
    """After kill nothing is left, whoever was still running."""
    environment = await backend.sandbox.create(backend.spec(NAP))
    companion = await environment.spawn((backend.python, "-I", "-S", "-c", NAP), {}, "/")
    await until(companion.output, b"up\n")
    await environment.kill()
    ended = await asyncio.wait_for(companion.wait(), 5)
    assert ended.signal == signal.SIGKILL
    await environment.release()


async def test_a_socket_inside_reaches_what_listens_inside(backend: Any) -> None:
    """The server connects to a program's port in the environment's own network."""
    code = (
        "import socket, os\n"
        "s = socket.socket(); s.bind(('0.0.0.0', 0)); s.listen()\n"
        "os.write(1, b'%d\\n' % s.getsockname()[1])\n"
        "c, _ = s.accept(); c.sendall(b'hello'); c.close()\n"
    )
    environment = await backend.sandbox.create(backend.spec(code))
    try:
        loop = asyncio.get_running_loop()
        port = int(await loop.run_in_executor(None, os.read, environment.output, 64))
        inside = await environment.open_socket()
        await loop.sock_connect(inside, ("127.0.0.1", port))
        assert await loop.sock_recv(inside, 16) == b"hello"
        inside.close()
    finally:
        await environment.release()


async def test_a_gate_that_never_opens_leaves_nothing(backend: Any) -> None:
    """An environment can be given back before its program was let go."""
    environment = await backend.sandbox.create(backend.spec(NAP, gated=True))
    await environment.release()
