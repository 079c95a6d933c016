"""Node.js's client and the Runtime API: over which connections it waits for answers to its responses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os

import pytest

pytestmark = pytest.mark.slow

ECHO = "exports.handler = async (event) => event;"
ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'
REFUSED = b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 2\r\n\r\n{}"
DEADLINE_S = 60


def event(number: int, more: str = "") -> bytes:
    body = json.dumps({"number": number, "text": "ü"})
    head = (
        f"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: request-{number}\r\nLambda-Runtime-Deadline-Ms: 0\r\n{more}"
    )
    return f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()


async def request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """(first line, header fields, body) of the next request."""
    async with asyncio.timeout(DEADLINE_S):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines if line)
        return first, fields, await reader.readexactly(int(fields.get("content-length", 0)))


async def close(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
async def connected(house, tmp_path):
    """Starts the client of a runtime; (reader, writer, name) of its connection."""
    (tmp_path / "app.js").write_text(ECHO)
    arrived = asyncio.Queue()
    writers, processes = [], []

    def _arrive(reader, writer):
        writers.append(writer)  # a client whose connection ends makes another
        arrived.put_nowait((reader, writer))

    server = await asyncio.start_server(_arrive, "127.0.0.1", 0)

    async def _connected(runtime):
        ready = await house.runtimes.install(runtime)
        environment = {
            "PATH": os.defpath,
            "LD_LIBRARY_PATH": f"{ready.lang}/lib",
            "LAMBDA_TASK_ROOT": str(tmp_path),
            "LAMBDA_RUNTIME_DIR": str(ready.task_runtime),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.sockets[0].getsockname()[1]}",
            "_HANDLER": "app.handler",
        }
        argv = (f"{ready.lang}/bin/node", str(ready.task_runtime / "index.cjs"))
        processes.append(await asyncio.create_subprocess_exec(*argv, env=environment, stdin=asyncio.subprocess.DEVNULL))
        reader, writer = await asyncio.wait_for(arrived.get(), DEADLINE_S)
        ends = [writer.get_extra_info(name) for name in ("sockname", "peername")]
        return reader, writer, " ".join(f"{host}:{port}" for host, port in ends)

    async with server:
        yield _connected
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await close(writers)


@pytest.mark.parametrize("runtime", ["nodejs20.x", "nodejs24.x"])
async def test_an_answer_may_come_with_the_next_event(connected, runtime):
    """Over a connection that the first event names, nobody waits for answers to responses, whatever they are."""
    reader, writer, name = await connected(runtime)
    assert (await request(reader))[0] == "GET /2018-06-01/runtime/invocation/next HTTP/1.1"
    writer.write(event(0, f"Alonzo-Connection: {name}\r\n"))
    for number, answer in enumerate((ACCEPTED, REFUSED, ACCEPTED), 1):
        first, fields, body = await request(reader)
        assert first == f"POST /2018-06-01/runtime/invocation/request-{number - 1}/response HTTP/1.1"
        assert (fields["alonzo-answer"], json.loads(body)) == ("later", {"number": number - 1, "text": "ü"})
        assert (await request(reader))[0].startswith("GET ")
        both = answer + event(number)
        writer.write(both[: number * 30])
        await writer.drain()
        writer.write(both[number * 30 :])
    assert json.loads((await request(reader))[2])["number"] == 3


@pytest.mark.parametrize("more", ["", "Alonzo-Connection: 127.0.0.1:9001 127.0.0.1:40000\r\n"])
async def test_others_have_their_answers_waited_for(connected, more):
    """Where the event names no connection, or that of somebody in between, a response asks for its answer at once."""
    reader, writer, _ = await connected("nodejs20.x")
    for number in range(2):
        assert (await request(reader))[0].startswith("GET ")
        writer.write(event(number, more))
        first, fields, _ = await request(reader)
        assert first.startswith("POST ")
        assert "alonzo-answer" not in fields
        writer.write(ACCEPTED)


async def test_a_large_response_has_its_answer_waited_for(connected):
    """What does not leave in one piece is waited for over any connection."""
    reader, writer, name = await connected("nodejs20.x")
    await request(reader)
    body = json.dumps({"text": "x" * 40_000})
    head = event(0, f"Alonzo-Connection: {name}\r\n").partition(b"Content-Length")[0]
    writer.write(head + f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
    first, fields, _ = await request(reader)
    assert first.startswith("POST ")
    assert "alonzo-answer" not in fields
    writer.write(ACCEPTED)
    assert (await request(reader))[0].startswith("GET ")
