"""The contract of `sandbox.base`, over every backend."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from typing import Any

import pytest

from alonzo.sandbox.base import ExecError, Mount, SandboxError

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


async def test_exit_code_and_output(backend: Any) -> None:
    """The first process's exit code, stdout and stderr arrive."""
    result = await backend.run(
        """
        import sys
        print("out", flush=True); print("err", file=sys.stderr, flush=True)
        raise SystemExit(3)
        """
    )
    assert (result.exit.code, result.exit.signal, result.exit.oom) == (3, None, False)
    assert result.output == "out\nerr\n"


async def test_signal_is_told(backend: Any) -> None:
    """A process that a signal ended is told from one that exited, so it is not process 1."""
    result = await backend.run("import os; os.abort()")
    assert (result.exit.code, result.exit.signal, result.exit.oom) == (None, 6, False)


async def test_environment_is_the_specs_alone(backend: Any) -> None:
    """Nothing of the server's environment variables is inherited."""
    os.environ["ALONZO_TEST_SECRET"] = "secret"
    try:
        result = await backend.run("import os; print(sorted(os.environ))", env={"GREETING": "hello"})
    finally:
        del os.environ["ALONZO_TEST_SECRET"]
    assert "GREETING" in result.output
    assert "ALONZO_TEST_SECRET" not in result.output


async def test_package_is_the_working_directory(backend: Any) -> None:
    """A mounted folder is readable, and the cwd."""
    result = await backend.run("print(open('hello.txt').read())")
    assert "hello from the package" in result.output


async def test_sockets_reach_the_server(backend: Any) -> None:
    """Connections to the two addresses in the variables arrive at the environment's own listening sockets."""
    environment = await backend.create(
        """
        import os, socket
        for text in (os.environ["AWS_LAMBDA_RUNTIME_API"], os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")):
            host, port = text.split(":")
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(text.encode())
                print(connection.recv(100).decode(), flush=True)
        """
    )
    loop = asyncio.get_running_loop()
    addresses = (environment.runtime_api_address, environment.aws_address)
    for listener, address in zip((environment.runtime_api, environment.aws), addresses, strict=True):
        connection, _ = await asyncio.wait_for(loop.sock_accept(listener), 10)
        connection.setblocking(False)
        assert await loop.sock_recv(connection, 100) == address.encode()
        await loop.sock_sendall(connection, b"welcome")
        connection.close()
    assert (await environment.wait()).code == 0
    assert os.read(environment.output, 100) == b"welcome\nwelcome\n"
    await environment.release()


async def test_telemetry_pipe(backend: Any) -> None:
    """What is written to the descriptor in _LAMBDA_TELEMETRY_LOG_FD arrives apart from the output."""
    environment = await backend.create("import os; os.write(int(os.environ['_LAMBDA_TELEMETRY_LOG_FD']), b'frame')")
    assert (await environment.wait()).code == 0
    assert os.read(environment.telemetry, 100) == b"frame"
    assert os.read(environment.output, 100) == b""
    await environment.release()


async def test_only_the_announced_descriptors_are_open(backend: Any) -> None:
    """A function inherits stdin, stdout, stderr and the telemetry pipe, and no descriptor of the server or host."""
    result = await backend.run(
        """
        import os
        own = int(os.environ["_LAMBDA_TELEMETRY_LOG_FD"])
        found = []
        for number in range(4096):
            try:
                os.fstat(number)
                found.append(number)
            except OSError:
                pass
        print(found == [0, 1, 2, own], found)
        """
    )
    assert result.output.startswith("True")


async def test_wait_many_times(backend: Any) -> None:
    """Any number of waiters get the same answer, also after the end."""
    environment = await backend.create("raise SystemExit(4)")
    ends = await asyncio.gather(environment.wait(), environment.wait())
    ends.append(await environment.wait())
    assert [end.code for end in ends] == [4, 4, 4]
    await environment.release()


async def test_kill_takes_the_children_too(backend: Any) -> None:
    """After kill the first process has ended by SIGKILL, and its child with it: the pipe it held is closed."""
    environment = await backend.create(
        """
        import os, time
        os.fork()
        print("ready", flush=True)
        time.sleep(60)
        """
    )
    await backend.read_until(environment, "ready\nready\n")
    await environment.kill()
    assert (await environment.wait()).signal == 9
    assert not (await environment.wait()).oom
    assert await asyncio.wait_for(asyncio.to_thread(os.read, environment.output, 10), 5) == b""
    await environment.kill()
    await environment.release()
    await environment.release()


async def test_freeze_and_thaw(backend: Any) -> None:
    """A frozen tree does nothing; thawed, it goes on; both may be said twice; a frozen one can be killed."""
    environment = await backend.create(
        """
        import os, time
        os.fork()
        while True:
            os.write(1, b".")
            time.sleep(0.005)
        """
    )
    os.set_blocking(environment.output, False)

    async def ticks(seconds: float) -> int:
        await asyncio.sleep(seconds)
        try:
            return len(os.read(environment.output, 1 << 20))
        except BlockingIOError:
            return 0

    for _ in range(100):
        if await ticks(0.05) > 2:
            break
    await environment.freeze()
    await environment.freeze()
    await ticks(0.1)
    assert await ticks(0.2) == 0
    await environment.thaw()
    await environment.thaw()
    assert await ticks(0.2) > 0
    await environment.freeze()
    await environment.kill()
    assert (await environment.wait()).signal == 9
    await environment.release()


async def test_memory_peak(backend: Any) -> None:
    """The peak is what the process used at most, not the file cache it filled."""
    result = await backend.run("a = bytearray(60 << 20); del a", memory_mib=256)
    most = 110 << 20
    if (
        backend.name == "process"
    ):  # the kernel counts what the spawning process had used, until the program was executed
        most = max(most, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    assert 60 << 20 <= result.peak <= most


async def test_missing_program(backend: Any) -> None:
    """A program that is not there is an ExecError with the path and errno, and leaves nothing."""
    with pytest.raises(ExecError, match="fork/exec /var/task/bootstrap: no such file or directory") as caught:
        await backend.create("", argv=("/var/task/bootstrap",), id="same")
    assert (caught.value.path, caught.value.errno) == ("/var/task/bootstrap", 2)
    with pytest.raises(ExecError, match="permission denied"):
        await backend.create("", argv=("/var/task/hello.txt",), id="same")


async def test_broken_program(backend: Any) -> None:
    """A file that is no program is an ExecError with AWS's words."""
    bootstrap = backend.task / "bootstrap"
    bootstrap.write_bytes(b"\x00\x01nonsense")
    bootstrap.chmod(0o755)
    with pytest.raises(ExecError, match="fork/exec /var/task/bootstrap: exec format error"):
        await backend.create("", argv=("/var/task/bootstrap",))


async def test_missing_working_directory(backend: Any) -> None:
    """A cwd that is not there is an ExecError."""
    with pytest.raises(ExecError, match="/var/task/nowhere: no such file"):
        await backend.create("", cwd="/var/task/nowhere")


async def test_same_id_twice(backend: Any) -> None:
    """Two living environments cannot have one id; a released one's id is free again."""
    environment = await backend.create("import time; time.sleep(60)", id="one")
    with pytest.raises(SandboxError, match="'one' is alive already"):
        await backend.create("", id="one")
    await environment.release()
    assert (await backend.run("", id="one")).exit.code == 0


async def test_tmp_is_empty_and_its_own(backend: Any) -> None:
    """A new environment's /tmp is writable and holds nothing of another's."""
    code = """
    import os
    tmp = os.environ.get("TMPDIR", "/tmp")
    print(os.listdir(tmp), flush=True)
    open(tmp + "/mine", "w").write("x" * 100000)
    """
    for _ in range(3):
        assert (await backend.run(code)).output == "[]\n"


async def test_tmp_goes_on(backend: Any) -> None:
    """`tmp_of` gives a new environment the /tmp of one that has ended, and release of the old one keeps it."""
    write = "import os; open(os.environ.get('TMPDIR', '/tmp') + '/kept', 'w').write('kept')"
    first = await backend.create(write, id="first")
    await first.wait()
    await first.kill()
    read = "import os; print(open(os.environ.get('TMPDIR', '/tmp') + '/kept').read(), flush=True); input()"
    second = await backend.create(read.replace("; input()", ""), id="second", tmp_of="first")
    await first.release()
    assert "kept" in await backend.read_until(second, "kept\n")
    await second.wait()
    await second.kill()
    more = "; open(os.environ.get('TMPDIR', '/tmp') + '/kept', 'a').write('!')"
    third = await backend.create(read.replace("; input()", more), id="third", tmp_of="second")
    assert "kept" in await backend.read_until(third, "kept\n")
    assert (await third.wait()).code == 0  # what is there is its own
    await second.release()
    await third.release()


async def test_a_mounted_file(backend: Any) -> None:
    """A single file can be mounted as well as a folder."""
    single = backend.folder / "single.txt"
    single.write_text("single")
    result = await backend.run(
        "import sys; print(open(sys.argv[1]).read())", mounts=(Mount(single, "/var/runtime/one"),)
    )
    assert result.exit.code != 0  # no argument was given
    argv = (backend.python, "-c", "import sys; print(open(sys.argv[1]).read())", "/var/runtime/one")
    result = await backend.run("", argv=argv, mounts=(Mount(single, "/var/runtime/one"),))
    assert result.output == "single\n"


async def test_many_at_once(backend: Any) -> None:
    """More environments than are kept ready can be made at once."""
    results = await asyncio.gather(*(backend.run(f"print({number})") for number in range(20)))
    assert [result.output for result in results] == [f"{number}\n" for number in range(20)]


async def test_enforcements_are_honest(backend: Any) -> None:
    """Every limit has a line; what is not enforced names what mends it."""
    lines = {line.name: line for line in backend.sandbox.enforcements()}
    assert {"isolation", "memory", "cpu", "pids", "tmp", "filesystem", "privileges"} <= set(lines)
    assert lines["isolation"].enforced is backend.isolated
    for line in lines.values():
        assert line.detail
        assert line.enforced or line.mend, line
    assert backend.sandbox.summary


async def test_nothing_without_start(backend: Any) -> None:
    """After stop, create says that the sandbox is not running."""
    await backend.sandbox.stop()
    with pytest.raises(SandboxError, match="start"):
        await backend.create("")
    await backend.sandbox.stop()


async def test_a_client_that_has_gone_is_no_harm(backend: Any) -> None:
    """A server that closes a connection does not end the function by SIGPIPE behaviour other than the default."""
    result = await backend.run("import signal; print(signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN)")
    assert result.output == "True\n"  # Python's own choice: it starts from the default
    argv = ("/bin/cat", "/proc/self/status")
    ignored = next(line for line in (await backend.run("", argv=argv)).output.splitlines() if line.startswith("SigIgn"))
    assert int(ignored.split()[1], 16) & (1 << (13 - 1)) == 0


async def test_listener_is_a_plain_socket(backend: Any) -> None:
    """The sockets can be given to any server: listening, stream, non-blocking."""
    environment = await backend.create("")
    for listener in (environment.runtime_api, environment.aws):
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert listener.type == socket.SOCK_STREAM
        assert not listener.getblocking()
    await environment.release()
