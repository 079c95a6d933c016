"""How functions fail, and what the client and the log get: with AWS's own runtime client."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import pytest

from alonzo.core.errors import ServiceError

from .conftest import BOTH_CLIENTS

pytestmark = BOTH_CLIENTS

ID = "11111111-2222-3333-4444-555555555555"


async def test_an_exception(world: Any) -> None:
    """A raised exception is answered with the runtime's error document, and the environment is used again."""
    fv = world.function("f", "def handler(e, c):\n    raise ValueError('no ' + str(e))\n")
    result = await world.invoke(fv, b"1", request_id=ID)
    assert result.function_error == "Unhandled"
    body = json.loads(result.payload)
    assert (body["errorType"], body["errorMessage"], body["requestId"]) == ("ValueError", "no 1", ID)
    await world.invoke(fv, b"2")
    log = await world.log()
    assert len([line for line in log if line.startswith("INIT_START")]) == 1
    (error,) = [line for line in log if "no 1" in line]
    assert error.startswith("[ERROR] ValueError: no 1\nTraceback (most recent call last):\n")
    reports = [line for line in log if line.startswith("REPORT")]
    assert "Status" not in reports[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "message", "logged"),
    [
        (
            "import os\ndef handler(e, c):\n    os._exit(0)\n",
            "Runtime exited without providing a reason",
            "Runtime.ExitError",
        ),
        (
            "import os\ndef handler(e, c):\n    os._exit(7)\n",
            "Runtime exited with error: exit status 7",
            "Runtime.ExitError",
        ),
        (
            "import os\ndef handler(e, c):\n    os.kill(os.getpid(), 9)\n",
            "Runtime exited with error: signal: killed",
            "Runtime.ExitError",
        ),
    ],
)
async def test_a_crash(world: Any, source: str, message: str, logged: str) -> None:
    """A runtime that ends is answered at once with how, and the next invocation gets a new environment."""
    fv = world.function("f", source)
    result = await world.invoke(fv, request_id=ID)
    assert json.loads(result.payload) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {ID} Error: {message}",
    }
    log = await world.log()
    at = log.index(f"START RequestId: {ID} Version: $LATEST\n")
    assert log[at + 1 : at + 3] == [
        f"RequestId: {ID} Error: {message}\nRuntime.ExitError\n",
        f"END RequestId: {ID}\n",
    ]
    assert log[at + 3].endswith(f"\tStatus: error\tError Type: {logged}\n")
    assert json.loads((await world.invoke(fv)).payload)["errorType"] == "Runtime.ExitError"
    assert len(world.served) == 0 or await _soon(lambda: not world.served)


async def _soon(check: Any) -> bool:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.005)
    return True


_LAST = """
import os
class Last(dict):
    def __del__(self):
        os._exit(3)
count = 0
def handler(event, context):
    global count
    count += 1
    return Last(n=count) if count == 3 else {"n": count}
"""


@pytest.mark.slow
async def test_an_end_after_the_answer(world: Any) -> None:
    """What a function does once its response has left, if only to end, takes nothing from the client."""
    fv = world.function("f", _LAST)
    answers = [json.loads((await world.invoke(fv, b"{}")).payload) for _ in range(9)]
    assert answers == [{"n": n} for n in (1, 2, 3)] * 3


@pytest.mark.slow
async def test_a_time_out(world: Any) -> None:
    """A function that runs too long is answered Sandbox.Timedout; a new process goes on with the same /tmp."""
    fv = world.function(
        "f",
        "import os, time, tempfile\nn = 0\n"
        "def handler(e, c):\n"
        "    global n\n    n += 1\n"
        "    path = tempfile.gettempdir() + '/mark'\n"
        "    if e == 'sleep':\n        open(path, 'w').close(); print('zzz'); time.sleep(30)\n"
        "    return [n, os.path.exists(path)]\n",
        timeout_s=1,
    )
    assert json.loads((await world.invoke(fv, b"1")).payload) == [1, False]
    result = await world.invoke(fv, b'"sleep"', request_id=ID, log_tail=True)
    assert result.function_error == "Unhandled"
    assert json.loads(result.payload) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {ID} Error: Task timed out after 1.00 seconds",
    }
    tail = result.log_tail.decode()
    assert re.fullmatch(
        rf"START RequestId: {ID} Version: \$LATEST\nzzz\n"
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z {ID} Task timed out after 1\.00 seconds\n\n"
        rf"END RequestId: {ID}\nREPORT RequestId: {ID}\tDuration: 1000\.00 ms\tBilled Duration: 1000 ms"
        r"\tMemory Size: 128 MB\tMax Memory Used: \d+ MB\tStatus: timeout\n",
        tail,
    )
    assert json.loads((await world.invoke(fv, b"2")).payload) == [1, True]


@pytest.mark.slow
async def test_every_invocation_has_the_whole_time(world: Any) -> None:
    """What invocations before it took of an environment's time is not taken from the next."""
    source = "import time\ndef handler(e, c):\n    time.sleep(e)\n    return e\n"
    fv = world.function("f", source, timeout_s=1)
    for seconds in (b"0.4", b"0.4", b"0.4"):
        assert (await world.invoke(fv, seconds)).payload == seconds
    began = time.monotonic()
    result = await world.invoke(fv, b"5")
    assert b"Sandbox.Timedout" in result.payload
    assert 0.99 <= time.monotonic() - began < 4


@pytest.mark.slow
async def test_a_missing_module(world: Any) -> None:
    """An import error is tried again within the invocation and answered as the runtime reported it."""
    fv = world.function("f", "import nothing_like_this\n")
    result = await world.invoke(fv, request_id=ID)
    body = json.loads(result.payload)
    assert (result.function_error, body["errorType"], body["requestId"]) == (
        "Unhandled",
        "Runtime.ImportModuleError",
        "",
    )
    assert body["errorMessage"] == "Unable to import module 'main': No module named 'nothing_like_this'"
    log = [line for line in await world.log() if re.match(r"INIT_|START|END|REPORT", line)]
    assert [line.split()[0] for line in log] == ["INIT_START", "INIT_REPORT", "INIT_REPORT", "START", "END", "REPORT"]
    pattern = r"INIT_REPORT Init Duration: \d+\.\d\d ms\tPhase: {}\tStatus: error\tError Type: {}\n"
    assert re.fullmatch(pattern.format("init", r"[\w.]+"), log[1])
    assert re.fullmatch(pattern.format("invoke", r"[\w.]+"), log[2])


async def test_a_missing_entry_point(world: Any) -> None:
    """A bootstrap that is not there is Runtime.InvalidEntrypoint."""
    fv = world.function("f", "", file="other", runtime="provided.al2023")
    result = await world.invoke(fv, request_id=ID)
    assert json.loads(result.payload) == {
        "errorType": "Runtime.InvalidEntrypoint",
        "errorMessage": f"RequestId: {ID} Error: fork/exec /var/task/bootstrap: no such file or directory",
    }


@pytest.mark.slow
async def test_a_response_that_is_too_large(world: Any) -> None:
    """An answer over 6,291,556 bytes becomes Function.ResponseSizeTooLarge, and the next invocation works."""
    fv = world.function("f", "def handler(e, c):\n    return 'x' * e\n", timeout_s=10)
    assert len((await world.invoke(fv, b"6291554")).payload) == 6_291_556
    result = await world.invoke(fv, b"6291555")
    assert result.function_error == "Unhandled"
    assert json.loads(result.payload) == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    assert (await world.invoke(fv, b"1")).payload == b'"x"'


async def test_a_role_that_cannot_be_assumed(world: Any) -> None:
    """Without credentials nothing is started, and the caller gets AWS's AccessDeniedException."""

    def denied(*_: Any) -> None:
        raise ServiceError("AccessDenied", "not authorized", status=403)

    world.dispatcher.answers["sts.AssumeRole"] = denied
    fv = world.function("f", "def handler(e, c): pass\n")
    with pytest.raises(ServiceError, match="cannot be assumed by Lambda") as caught:
        await world.invoke(fv)
    assert (caught.value.code, caught.value.status) == ("AccessDeniedException", 403)
    assert world.engine.concurrency.running(fv.arn) == 0
    assert world.engine.pools.count == 0


async def test_a_runtime_that_is_missing(world: Any) -> None:
    """A runtime that this machine lacks is InvalidRuntimeException with the plain reason."""
    from alonzo.runtimes.errors import RuntimeUnavailable

    world.runtimes.error = RuntimeUnavailable("python3.11", "Python 3.11 was not found.", "Install it.")
    with pytest.raises(ServiceError, match=r"Python 3.11 was not found. Install it."):
        await world.invoke(world.function("f", ""))


async def test_a_hostile_runtime(world: Any) -> None:
    """A runtime that sends garbage, answers twice and leaves connections open harms only itself."""
    fv = world.function(
        "f",
        """
import os, socket
host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
def connect():
    return socket.create_connection((host, int(port)))
left = [connect() for _ in range(40)]
for s in left[:20]:
    s.sendall(b"POST /2018-06-01/runtime/invocation/x/response HTTP/1.1\\r\\nContent-Length: 999999999\\r\\n\\r\\nxx")
for s in left[20:30]:
    s.sendall(os.urandom(500))
s = connect()
while True:
    s.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\n\\r\\n")
    data = s.recv(65536)
    i = data.find(b"Request-Id: ") + 12
    path = b"/2018-06-01/runtime/invocation/" + data[i:i+36] + b"/response"
    post = b"POST " + path + b" HTTP/1.1\\r\\nContent-Length: 1\\r\\n\\r\\n"
    s.sendall(post + b"1")
    s.recv(65536)
    s.sendall(post + b"2")
    s.recv(65536)
""",
        runtime="raw",
    )
    for _ in range(3):
        assert (await world.invoke(fv)).payload == b"1"


async def test_a_caller_that_leaves_does_not_stop_the_function(world: Any) -> None:
    """Cancelling the invocation's caller, cold or warm, lets the function end, and its log is complete."""
    fv = world.function("f", "import time\ndef handler(e, c):\n    time.sleep(0.05)\n    print('done', e)\n")
    for n in range(2):
        caller = asyncio.create_task(world.invoke(fv, str(n).encode()))
        await asyncio.sleep(0.01)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await _soon(lambda: world.engine.concurrency.running(fv.arn) == 0)
    await asyncio.sleep(0.02)
    log = await world.log()
    assert "done 0\n" in log and "done 1\n" in log
    assert len([line for line in log if line.startswith("REPORT")]) == 2


async def test_output_after_the_answer_and_without_line_end(world: Any) -> None:
    """stderr, unfinished lines and logging frames are events of the invocation that wrote them."""
    fv = world.function(
        "f",
        "import sys, logging\nlogging.getLogger().setLevel('INFO')\n"
        "def handler(e, c):\n"
        "    sys.stderr.write('err\\n')\n    logging.info('one\\ntwo')\n    sys.stdout.write('unfinished')\n",
    )
    await world.invoke(fv, request_id=ID)
    await world.invoke(fv)
    log = await world.log()
    start, end = (log.index(line) for line in (f"START RequestId: {ID} Version: $LATEST\n", f"END RequestId: {ID}\n"))
    assert {"err\n", "unfinished"} < set(log[start:end])
    (framed,) = [line for line in log[start:end] if "one" in line]
    assert re.fullmatch(rf"\[INFO\]\t\S+Z\t{ID}\tone\ntwo\n", framed)


@pytest.mark.slow
async def test_a_log_flood_is_bounded(world: Any) -> None:
    """A function that writes 20 MB while its log cannot be stored waits or loses lines, and the count is logged."""
    gate = asyncio.Event()

    async def slow(*_: Any) -> None:
        await gate.wait()

    world.dispatcher.answers["logs.PutLogEvents"] = slow
    fv = world.function(
        "f", "def handler(e, c):\n    for _ in range(20_000):\n        print('x' * 1000)\n", timeout_s=30
    )
    flood = asyncio.create_task(world.invoke(fv))
    await asyncio.sleep(0.2)
    held = world.engine.logs._bytes
    assert held < 3 << 20
    gate.set()
    assert (await flood).function_error == ""


async def test_a_role_without_log_permission_loses_its_log(world: Any) -> None:
    """A denial by the log service costs the log, not the invocation."""

    def denied(*_: Any) -> None:
        raise ServiceError("AccessDeniedException", "no", status=400)

    for operation in ("CreateLogStream", "CreateLogGroup", "PutLogEvents"):
        world.dispatcher.answers[f"logs.{operation}"] = denied
    fv = world.function("f", "def handler(e, c):\n    print(1)\n    return 1\n")
    assert (await world.invoke(fv)).payload == b"1"
    await world.engine.logs.drain()
    tried = [operation for _, service, operation, _ in world.dispatcher.calls if service == "logs"]
    assert set(tried) == {"CreateLogStream"}
    assert world.engine.logs._bytes == 0
