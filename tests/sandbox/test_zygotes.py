"""What becomes of environments when their zygote cannot be had."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from alonzo.sandbox.base import Mount, Zygote

WHOSE = "import os; print(open('/proc/self/cmdline').read().split(chr(0))[-2])"


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


async def test_environments_are_forked(folder: Path, start_backend: Any) -> None:
    """The command line is that of the zygote: without this the other tests would prove nothing of it."""
    backend = await start_backend("forked", folder)
    try:
        assert (await backend.run(WHOSE)).output.strip() == "/var/zygote/zygote.py"
    finally:
        await backend.sandbox.stop()


async def test_a_program_that_is_no_zygote_is_said_and_harms_nobody(folder: Path, start_backend: Any) -> None:
    """Environments that name it are executed."""
    backend = await start_backend("namespaces", folder)
    try:
        nothing = Zygote((backend.python, "-I", "-S", "-c", "pass"), (), backend.mounts[1:])
        assert not await backend.sandbox.prepare(nothing)
        missing = Zygote(("/var/lang/bin/no-such-program",), (), backend.mounts[1:])
        assert not await backend.sandbox.prepare(missing)
        nowhere = Zygote((backend.python, "-c", "pass"), (), (Mount(folder / "task", "/usr/local"),))
        assert not await backend.sandbox.prepare(nowhere)
        for zygote in (nothing, missing, nowhere):
            backend.zygote = zygote
            assert (await backend.run("print('executed')")).output == "executed\n"
    finally:
        await backend.sandbox.stop()


async def test_the_death_of_a_zygote_leaves_its_environments_alone(folder: Path, start_backend: Any) -> None:
    """What was forked goes on, what lay ready is used, and what comes after is executed."""
    backend = await start_backend("forked", folder)
    try:
        host = backend.sandbox._process.pid
        alive = await backend.create("input() if False else __import__('time').sleep(60)")
        found = [pid for pid in children(host) if "zygote.py" in command(pid)]
        (zygote,) = [pid for pid in found if os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")]
        os.kill(zygote, signal.SIGKILL)
        for _ in range(12):  # more than lie ready
            assert (await backend.run("print('still')")).output == "still\n"
        assert not [pid for pid in children(host) if pid == zygote]
        await alive.kill()
        assert (await alive.wait()).signal == signal.SIGKILL
        await alive.release()
    finally:
        await backend.sandbox.stop()


async def test_a_new_host_is_told_of_its_zygotes(folder: Path, start_backend: Any) -> None:
    """After the death of a host the next one forks environments from the same runtime as the first."""
    backend = await start_backend("forked", folder)
    try:
        for number in range(2):
            environment = await backend.create("import time; time.sleep(60)")
            os.kill(backend.sandbox._process.pid, signal.SIGKILL)
            assert (await asyncio.wait_for(environment.wait(), 30)).signal == signal.SIGKILL
            await environment.release()
            await backend.sandbox.stop()
            await backend.sandbox.start()
            if number:  # else the first environment that names it brings it
                assert await backend.sandbox.prepare(backend.zygote)
                assert (await backend.run(WHOSE)).output.strip() == "/var/zygote/zygote.py"
            else:
                assert (await backend.run("print('executed')")).output == "executed\n"
                assert await backend.sandbox.prepare(backend.zygote)
    finally:
        await backend.sandbox.stop()


async def test_stopping_leaves_no_zygote(folder: Path, start_backend: Any) -> None:
    """Nor the sandboxes that were forked from it and lay ready."""
    backend = await start_backend("forked", folder)
    assert (await backend.run("print(1)")).output == "1\n"
    await asyncio.sleep(0.2)  # let it fill the shelf
    host = backend.sandbox._process.pid
    below = children(host)
    assert len(below) > 1
    await backend.sandbox.stop()
    assert not [pid for pid in below if "zygote.py" in command(pid)]


async def test_another_environment_has_another_zygote(folder: Path, start_backend: Any) -> None:
    """Zygotes are told apart by all that is said of them."""
    backend = await start_backend("forked", folder)
    try:
        other = replace(backend.zygote, env=(("WHO", "second"),))
        assert await backend.sandbox.prepare(other)
        assert await backend.sandbox.prepare(backend.zygote)
        backend.zygote = other
        result = await backend.run("import os; print(os.environ.get('WHO'))")
        assert result.output == "None\n"  # a zygote's own variables are not its environments'
    finally:
        await backend.sandbox.stop()
