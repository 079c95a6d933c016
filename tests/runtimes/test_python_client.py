"""Our client for the Runtime API does in Python's runtimes what AWS's does, request by request and word by word."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from alonzo.runtimes import bootstraps

_spec = importlib.util.spec_from_file_location("runtimes_conftest", Path(__file__).with_name("conftest.py"))
assert _spec is not None and _spec.loader is not None
_conftest = importlib.util.module_from_spec(_spec)
sys.modules["runtimes_conftest"] = _conftest
_spec.loader.exec_module(_conftest)
FOUND = _conftest.found_here()

HERE = Path(__file__).parent
CLIENT = Path(bootstraps.__file__).with_name("client.py")
Case = tuple[list[Any], list[list[Any]]]

OK = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n" + b'{"status":"OK"}\n'
REQUEST = b"Lambda-Runtime-Aws-Request-Id: r1\r\nLambda-Runtime-Deadline-Ms: 1700000000000\r\n"
TYPE = b"Content-Type: application/json\r\n"


def event(body: bytes = b"{}", *, more: bytes = b"", length: bytes | None = None, status: bytes = b"200 OK") -> bytes:
    """An answer to `next`."""
    size = b"%d" % len(body) if length is None else length
    return b"HTTP/1.1 " + status + b"\r\n" + TYPE + REQUEST + more + b"Content-Length: " + size + b"\r\n\r\n" + body


def answer(status: bytes, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + TYPE + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Close:
    """A step: end the connection."""


class Slowly(bytes):
    """A step: these bytes, one at a time."""


class Naming(bytes):
    """A step: these bytes, in which CONNECTION stands for the connection's two ends."""


class Unread:
    """A step: answer without reading the request's body, then end the connection."""

    def __init__(self, message: bytes) -> None:
        self.message = message


@dataclass
class Server:
    """Answers the requests of each agent (`agent/N`) with the steps of the script of that number; remembers them."""

    scripts: list[list[list[Any]]]
    #: Of each script: the number of the connection, the request's head, the beginning of its body.
    requests: dict[int, list[tuple[int, str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._scripts = [list(script) for script in self.scripts]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            data, connection_number = b"", 0
            while True:
                while b"\r\n\r\n" not in data:
                    more = connection.recv(1 << 16)
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                size = int(length[1]) if length else 0
                agent = re.search(rb"agent/(\d+)", head)
                number = int(agent[1]) if agent else 0
                known = self.requests.setdefault(number, [])
                connection_number = connection_number or max((row[0] for row in known), default=0) + 1
                place = len(known)
                known.append((connection_number, head.decode("latin-1").replace(self.address, "HOST"), ""))
                steps = self._scripts[number].pop(0) if self._scripts[number] else [Close]
                if not any(isinstance(step, Unread) for step in steps):
                    while len(data) < size:
                        more = connection.recv(1 << 20)
                        if not more:
                            return
                        data += more
                    known[place] = (*known[place][:2], data[: min(size, 10_000)].decode("latin-1"))
                    data = data[size:]
                for step in steps:
                    if step is Close:
                        return
                    if isinstance(step, threading.Event):
                        step.wait(30)
                        continue
                    if isinstance(step, Unread):
                        connection.sendall(step.message)
                        time.sleep(0.2)
                        return
                    if isinstance(step, Naming):
                        ends = (connection.getsockname(), connection.getpeername())
                        name = " ".join(f"{host}:{port}" for host, port in ends)
                        step = step.replace(b"CONNECTION", name.encode())
                    for piece in [step[n : n + 1] for n in range(len(step))] if isinstance(step, Slowly) else [step]:
                        connection.sendall(piece)


@dataclass(frozen=True)
class Told:
    """What a client did: the calls' outcomes, what it printed, the requests on the wire by connection."""

    outcomes: list[Any]
    printed: list[str]
    requests: list[tuple[int, str, str]]


def drive(folder: Path, runtime: str, client: str, cases: Sequence[Case]) -> list[Told]:
    """Make the calls of all cases with a client (`aws` or `lean`) of a prepared runtime."""
    packages = [folder / "lang" / "lib" / runtime / "site-packages", folder / "runtime"]
    server = Server([script for _, script in cases])
    try:
        ran = subprocess.run(
            [
                *(folder / "lang" / "bin" / runtime, "-B", "-S", "-s", HERE / "runtime_client_driver.py"),
                *(":".join(map(str, packages)), "aws" if client == "aws" else CLIENT),
            ],
            input=json.dumps([calls for calls, _ in cases]),
            env={"LD_LIBRARY_PATH": str(folder / "lang" / "lib"), "AWS_LAMBDA_RUNTIME_API": server.address},
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        server.close()
    assert (ran.returncode, ran.stderr) == (0, "")
    told, printed = [], []
    for line in ran.stdout.splitlines():
        if line.startswith("=> "):
            requests = server.requests.get(len(told), [])
            told.append(Told(json.loads(line[3:]), printed, requests))
            printed = []
        else:
            printed.append(re.sub(r"\[\d{13}\]", "[NOW]", line))
    assert len(told) == len(cases)
    return told


NEXT: list[Any] = ["next", []]
POST: list[Any] = ["post_invocation_result", ["id", ["hello"], "application/json"]]

#: What the server does, and the calls that meet it. Every answer has a Content-Type: without one AWS's client crashes.
CASES: dict[str, Case] = {
    "an event": ([NEXT], [[event(b'{"a": 1}')]]),
    "everything in its headers": (
        [NEXT],
        [
            [
                event(
                    more=b"lambda-runtime-trace-id:  Root=1 \r\nLAMBDA-RUNTIME-INVOKED-FUNCTION-ARN: arn\r\n"
                    b'Lambda-Runtime-Client-Context: {"a":1}\r\nLambda-Runtime-Cognito-Identity: {}\r\n'
                    b"X-Other: y\r\nLambda-Runtime-Trace-Id: second\r\nNo colon\r\n"
                )
            ]
        ],
    ),
    "empty headers": ([NEXT], [[event(more=b"Lambda-Runtime-Trace-Id: \r\nLambda-Runtime-Client-Context:\r\n")]]),
    "text in headers": ([NEXT], [[event(more="Lambda-Runtime-Client-Context: é\r\n".encode())]]),
    "no text in headers": ([NEXT, NEXT], [[event(more=b"Lambda-Runtime-Client-Context: \xe9\r\n")], [event()]]),
    "odd deadlines": (
        [NEXT, NEXT],
        [
            [event().replace(b"1700000000000", b"1700000000000 ms")],
            [event().replace(b"Lambda-Runtime-Deadline-Ms: 1700000000000\r\n", b"")],
        ],
    ),
    "an event in chunks": (
        [NEXT, NEXT],
        [
            [
                b"HTTP/1.1 200 OK\r\n" + TYPE + REQUEST + b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n",
                b"6\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
            ],
            [event()],
        ],
    ),
    "an event that ends with its connection": (
        [NEXT, NEXT],
        [[b"HTTP/1.1 200 OK\r\n" + TYPE + REQUEST + b"\r\nuntil the end", Close], [event()]],
    ),
    "an older protocol": ([NEXT, NEXT], [[event().replace(b"HTTP/1.1", b"HTTP/1.0")], [event()]]),
    "a connection to be closed": ([NEXT, NEXT], [[event(more=b"Connection: close\r\n")], [event()]]),
    "an answer before the answer": ([NEXT], [[b"HTTP/1.1 100 Continue\r\n\r\n", event()]]),
    "an event in slow bytes": ([NEXT, POST], [[Slowly(event(b"slow"))], [Slowly(OK)]]),
    "a large event": ([NEXT, NEXT], [[event(b"x" * 6_291_556)], [event()]]),
    "a large response": (
        [["large", ["post_invocation_result", 6_291_556, "application/json"]], POST],
        [[OK], [OK]],
    ),
    "next is refused": ([NEXT], [[answer(b"403 Forbidden", b"no")]]),
    "next fails and comes again": ([NEXT, NEXT], [[answer(b"500 Internal Server Error", b"no")], [event()]]),
    "an event without a request id": ([NEXT], [[event().replace(b"Lambda-Runtime-Aws-Request-Id: r1\r\n", b"")]]),
    "an event that is cut off": ([NEXT, NEXT], [[event(b"half", length=b"8"), Close], [event()]]),
    "chunks that are cut off": (
        [NEXT, NEXT],
        [[b"HTTP/1.1 200 OK\r\n" + TYPE + REQUEST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", Close], [event()]],
    ),
    "a size that is no size": (
        [NEXT, NEXT],
        [[b"HTTP/1.1 200 OK\r\n" + TYPE + REQUEST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhel", Close], [event()]],
    ),
    "a length that is no length": ([NEXT, NEXT], [[event(length=b"many")], [event()]]),
    "no answer at all": ([NEXT, NEXT], [[Close], [event()]]),
    "no HTTP": ([NEXT, NEXT], [[b"SSH-2.0-x\r\n\r\n", Close], [event()]]),
    "more than an answer": ([NEXT, ["pause", []], NEXT], [[event(b"{}more", length=b"2")], [event(b"second")]]),
    "what nobody asked for": ([NEXT, ["pause", []], NEXT], [[event(), b"HTTP/1.1 200 OK\r\n"], [event(b"second")]]),
    "a connection that ended meanwhile": (
        [NEXT, ["pause", []], POST, ["pause", []], NEXT],
        [[event(), Close], [OK, Close], [event()]],
    ),
    "a connection that ends under next": ([NEXT, NEXT], [[event()], [Close], [event(b"second")]]),
    "a connection that ends under a response": ([NEXT, POST, POST], [[event()], [Close], [OK]]),
    "a header line that is too long": ([NEXT, NEXT], [[event(more=b"X: " + b"x" * 110_000 + b"\r\n")], [event()]]),
    "a response": ([POST], [[OK]]),
    "a response of another type": ([["post_invocation_result", ["id", ["<p>"], ""]]], [[OK]]),
    "an empty response": ([["post_invocation_result", ["id", [""], "application/json"]]], [[OK]]),
    "a response that is refused": (
        [POST, POST, POST],
        [
            [answer(b"413 Request Entity Too Large", b'{"errorType": "RequestEntityTooLarge"}\n')],
            [answer(b"400 Bad Request")],
            [answer(b"500 Internal Server Error", "é\0hidden".encode())],
        ],
    ),
    "a response that is answered otherwise": ([POST, POST, POST], [[answer(b"200 OK")], [answer(b"301 x")], [OK]]),
    "the same answer again and again": ([POST] * 4, [[OK]] * 4),
    "a large response that is refused unread": (
        [["large", ["post_invocation_result", 60_000_000, "application/json"]], POST],
        [[Unread(answer(b"413 Request Entity Too Large"))], [OK]],
    ),
    "an error": ([["post_error", ["id", '{"a": "é"}', '{"x": "é"}']]], [[OK]]),
    "an error without a cause": ([["post_error", ["id", "{}", ""]]], [[OK]]),
    "an error with a large cause": ([["post_error", ["id", "{}", "x" * 100_000]]], [[OK]]),
    "an error that is refused": ([["post_error", ["id", "{}", ""]]], [[answer(b"400 Bad Request")]]),
    "wrong arguments": (
        [
            ["post_invocation_result", ["id", "text", "application/json"]],
            ["post_invocation_result", ["i\0d", ["x"], "application/json"]],
            ["post_invocation_result", ["id", ["x"], None]],
            ["post_error", ["id", "\ud800", ""]],
            ["post_error", ["id", "{}", None]],
            ["post_error", [None, "{}", ""]],
            POST,
        ],
        [[OK]],
    ),
    "nobody there": ([NEXT, ["pause", []], NEXT], [[event(), Close]]),
    "broken pipes that would kill": (
        [["broken_pipes_kill", []], NEXT, ["pause", []], POST],
        [[event(), Close], [OK]],
    ),
}
#: An id of an invocation, which later releases hand through.
NEW_CASES: dict[str, Case] = {
    "an invocation's id and tenant": (
        [NEXT, ["post_invocation_result", ["id", ["x"], "a/b", "i1"]], ["post_error", ["id", "{}", "", "i2"]]],
        [[event(more=b"Lambda-Runtime-Invocation-Id: i1\r\nLambda-Runtime-Aws-Tenant-Id: t\r\n")], [OK], [OK]],
    ),
}


@pytest.fixture(scope="session")
def compared() -> dict[str, dict[str, tuple[Told, Told]]]:
    """Of each runtime and case: what our client did, and what AWS's did."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CASES, *NEW_CASES])
@pytest.mark.parametrize("runtime", FOUND)
async def test_every_answer_has_the_effect_it_has_on_awss_client(house, compared, runtime, case):
    """The same calls, against a server that behaves or does not: same outcomes, same words, same bytes on the wire."""
    if runtime not in compared:
        cases = CASES if runtime == "python3.8" else {**CASES, **NEW_CASES}
        folder = (await house.runtimes.install(runtime)).folder
        ours, theirs = (drive(folder, runtime, client, list(cases.values())) for client in ("lean", "aws"))
        compared[runtime] = dict(zip(cases, zip(ours, theirs, strict=True), strict=True))
    if runtime == "python3.8" and case in NEW_CASES:
        assert case not in compared[runtime]
        return
    ours, theirs = compared[runtime][case]
    assert ours == theirs


def _ours(folder: Path, *cases: Case) -> list[Told]:
    return drive(folder, "python3.11", "lean", cases)


@pytest.fixture
async def prepared(house: Any) -> Path:
    return (await house.runtimes.install("python3.11")).folder


def test_a_forked_child_has_a_connection_of_its_own(prepared):
    """What a child of the handler asks does not go over its parent's connection, which stays as it was."""
    (told,) = _ours(prepared, ([NEXT, ["fork", []], POST], [[event()], [OK], [OK]]))
    assert told.outcomes[1:] == [0, None]
    assert [(number, head.split()[1].split("/")[4]) for number, head, _ in told.requests] == [
        *((1, "next"), (2, "child"), (1, "id"))
    ]


def test_programs_do_not_inherit_the_connection(prepared):
    """A program that the handler starts has no socket, even if nothing is closed for it."""
    (told,) = _ours(prepared, ([NEXT, ["sockets_of_a_program", []]], [[event()]]))
    assert told.outcomes[1] == 0


def test_what_stops_awss_client_does_not_stop_ours(prepared):
    """AWS's client hangs after the function closed its files, and crashes without a Content-Type."""
    closed, untyped, cut = _ours(
        prepared,
        ([NEXT, ["close_all", []], POST], [[event()], [OK]]),
        ([NEXT], [[event().replace(TYPE, b"")]]),
        ([NEXT, NEXT], [[event()[:40], Close], [event()]]),
    )
    assert closed.outcomes[1:] == [None, None]
    assert untyped.outcomes[0][1]["Lambda-Runtime-Aws-Request-Id"] == "r1"
    assert cut.outcomes[0] == ["RuntimeError", "Failed to get next"]
    assert cut.outcomes[1][0] == [2, "{}", "{}"]


OFFER = Naming(event(more=b"Alonzo-Connection: CONNECTION\r\n"))
RESULT: list[Any] = ["post_invocation_result", ["r1", ["hello"], "application/json"]]
#: Up to the second event on a connection whose answers to responses may come later.
BEGIN: Case = ([NEXT, RESULT, NEXT], [[OFFER], [OK], [event()]])


def _later(told: Told) -> list[bool]:
    """Of each response on the wire, whether its answer may come later."""
    return ["alonzo-answer: later" in head for _, head, _ in told.requests if head.startswith("POST")]


def _after_begin(calls: list[Any], script: list[list[Any]]) -> Case:
    return [*BEGIN[0], *calls], [*BEGIN[1], *script]


def test_an_answer_that_may_come_later_is_not_waited_for(prepared):
    """Over Alonzo's own connection the answer to a response is read with the next event, in whatever pieces."""
    second = event(b"second")
    rounds = [[OK + second], [OK, second], [Slowly(OK + second)]]
    (told,) = _ours(prepared, _after_begin([RESULT, NEXT] * 3, [step for one in rounds for step in ([], one)]))
    assert [one[0] for one in told.outcomes[4::2]] == [[6, "second", "second"]] * 3
    assert told.outcomes[3::2] == [None] * 3
    assert _later(told) == [False, True, True, True]
    assert {number for number, _, _ in told.requests} == {1}


def test_every_other_answer_is_waited_for(prepared):
    """A connection that is somebody else's, another id, a response sent twice, a large one, an error: as ever."""
    other = event(more=b"Alonzo-Connection: 127.0.0.1:9001 127.0.0.1:40000\r\n")
    wrong = ["post_invocation_result", ["r2", ["hello"], "application/json"]]
    empty = ["post_invocation_result", ["", ["hello"], "application/json"]]
    error = ["post_error", ["r1", "{}", ""]]
    large = ["large", ["post_invocation_result", 40_000, "application/json"]]
    told = _ours(
        prepared,
        ([NEXT, RESULT, NEXT, RESULT], [[other], [OK], [other], [OK]]),
        _after_begin([wrong, empty, error, large], [[answer(b"400 Bad Request")], [OK], [OK], [OK]]),
        _after_begin([RESULT, RESULT], [[], [OK + answer(b"403 Forbidden")]]),
    )
    assert [_later(one) for one in told] == [[False] * 2, [False] * 5, [False, True, False]]
    failed = ["RuntimeError", "Failed to post invocation response"]
    assert told[0].outcomes[1::2] == [None, None]
    assert told[1].outcomes[3:] == [failed, None, None, None]
    assert told[2].outcomes[3:] == [None, failed]


def test_a_refusal_that_comes_later_is_told_in_the_same_words(prepared):
    """What `post_invocation_result` would have raised and printed, `next` does."""
    refusal = answer(b"413 Request Entity Too Large", b"no")
    later, at_once = _ours(
        prepared,
        _after_begin([RESULT, NEXT, NEXT], [[], [refusal + event()], [event(b"again")]]),
        _after_begin([["post_invocation_result", ["r2", ["hello"], "application/json"]]], [[refusal]]),
    )
    assert later.outcomes[4] == at_once.outcomes[3] == ["RuntimeError", "Failed to post invocation response"]
    assert later.printed == at_once.printed
    assert later.outcomes[5][0] == [5, "again", "again"]


def test_a_connection_that_ends_before_the_later_answer(prepared):
    """The next event is asked for on a new one; a connection that the function closed is noticed before."""
    ended, closed = _ours(
        prepared,
        _after_begin([RESULT, NEXT], [[], [Close], [event(b"second")]]),
        _after_begin([["close_all", []], RESULT, NEXT], [[OK], [event(b"second")]]),
    )
    assert ended.outcomes[3:] == [None, [[6, "second", "second"], ended.outcomes[0][1]]]
    assert closed.outcomes[4:] == [None, [[6, "second", "second"], closed.outcomes[0][1]]]
    assert [number for number, _, _ in ended.requests] == [1, 1, 1, 1, 1, 2]
    assert _later(closed) == [False, False]


def test_heads_without_end_are_given_up(prepared):
    """Answers whose head, or whose chunk's size, never ends do not fill the function's memory."""
    endless = event(more=b"".join(b"X-%d: y\r\n" % n for n in range(200_000)))
    chunked = b"HTTP/1.1 200 OK\r\n" + TYPE + REQUEST + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 200_000
    for told in _ours(prepared, ([NEXT, NEXT], [[endless], [event()]]), ([NEXT, NEXT], [[chunked], [event()]])):
        assert told.outcomes[0] == ["RuntimeError", "Failed to get next"]
        assert told.outcomes[1][0] == [2, "{}", "{}"]


_HEADS = [
    event(b"{}"),
    event(b"{}", more=b"Alonzo-Connection: a b\r\n"),
    event(b""),
    event(b"{}", length=b"02"),
    OK,
    b"",
]
#: Put into a head, or in place of one of its bytes.
_ODD = [
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"\r\n",
    b"\v",
    b":",
    b": ",
    b"\xe9",
    b"\0",
    b"",
    b"Content-Length: 2\r\n",
    b"X: y\r\n",
]


def test_what_is_read_at_a_glance_is_read_alike():
    """Whatever is changed in a plain event, it is read as the other way reads it, or left to that."""
    spec = importlib.util.spec_from_file_location("_alonzo_answers", CLIENT.with_name("answers.py"))
    assert spec is not None and spec.loader is not None
    answers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(answers)
    changed = [
        head[:at] + odd + head[at + width :]
        for head in _HEADS
        for at in range(len(head))
        for odd in _ODD
        for width in (0, 1)
    ]
    read = 0
    for data in (*_HEADS, *changed):
        plain = answers.read_plain(data)
        if plain is None:
            continue
        head, body = answers.split_head(None, data)
        version, status, fields = answers.parse_head(head)
        assert (version, plain) == (b"HTTP/1.1 ", (status, fields, body))
        assert fields["content-length"] == str(len(body))
        assert "connection" not in fields and "transfer-encoding" not in fields
        read += 1
    assert all(answers.read_plain(head) is not None for head in _HEADS[:3])
    assert read > 500


# -- the whole runtime -------------------------------------------------------------------------------------------------

_APP = """
import os, sys
if "MODULES" not in os.environ:
    os.environ.clear()
def handler(event, context):
    return {name: value for name, value in sorted(globals()["do_" + event["do"]](event, context).items())}
def do_echo(event, context):
    print("echo", event, context.client_context, context.identity.cognito_identity_id, context.tenant_id)
    return {"event": event, "trace": os.environ.get("_X_AMZN_TRACE_ID"), "left": context.aws_request_id}
def do_fail(event, context):
    raise ValueError("f\\u00e4llt \\u2192 aus")
def do_mute(event, context):
    return {"x": object()}
def do_stop(event, context):
    sys.stdout.flush()
    os._exit(7)
def do_leave(event, context):
    sys.exit(3)
def do_modules(event, context):
    return {name: name in sys.modules for name in ("http.client", "socket", "select", "concurrent.futures", "ssl")}
"""
_TRACE = b"Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=1\r\n"
_MORE = _TRACE + 'Lambda-Runtime-Client-Context: {"custom": {"a": "é"}}\r\n'.encode()


def do(what: str, more: bytes = b"", **event_: Any) -> list[Any]:
    return [event(json.dumps({"do": what, **event_}).encode(), more=more)]


@dataclass
class Life:
    """The life of one runtime process: its status, what it printed, what it asked."""

    code: int
    printed: str
    requests: list[tuple[int, str, str]]


def start(
    folder: Path, client: str, task: Path, server: Server, variables: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """A function's runtime process, without a sandbox, on Python 3.11's runtime."""
    return subprocess.Popen(
        [
            *(folder / "lang" / "bin" / "python3.11", "-S", folder / "runtime" / "bootstrap.py", "/opt"),
            *(["aws"] if client == "aws" else []),
        ],
        env={
            "LD_LIBRARY_PATH": str(folder / "lang" / "lib"),
            "AWS_LAMBDA_RUNTIME_API": server.address,
            "LAMBDA_RUNTIME_DIR": str(folder / "runtime"),
            "LAMBDA_TASK_ROOT": str(task),
            "_HANDLER": "app.handler",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11",
            "LC_CTYPE": "C.UTF-8",
            **(variables or {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=task,
    )


def live(folder: Path, client: str, task: Path, script: list[list[Any]], variables: dict[str, str]) -> Life:
    server = Server([script])
    try:
        process = start(folder, client, task, server, variables)
        try:
            printed, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    finally:
        server.close()
    printed = re.sub(r"\[\d{13}\]|\d{4}-\d\d-\d\dT[\d:.]+Z", "[NOW]", printed)
    return Life(process.returncode, printed, server.requests.get(0, []))


#: A function's module, what the server answers, variables beside the usual ones; the last event ends the process.
LIVES: dict[str, tuple[str, list[list[Any]], dict[str, str]]] = {
    "it works": (_APP, [do("echo"), [OK], do("echo", _MORE), [OK], do("echo"), [OK], do("stop")], {}),
    "it works, and waits in a thread": (
        _APP,
        [do("echo"), [OK], do("echo", _MORE), [OK], do("stop")],
        {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"},
    ),
    "it fails": (_APP, [do("fail"), [OK], do("mute"), [OK], do("nothing"), [OK], do("leave")], {}),
    "it fails with letters as they are": (
        _APP,
        [do("fail"), [OK], do("stop")],
        {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13", "AWS_LAMBDA_LOG_FORMAT": "JSON"},
    ),
    "its context is broken": (
        _APP,
        [do("echo", b"Lambda-Runtime-Client-Context: {\r\n"), [OK], [event(b"{")], [OK], do("stop")],
        {},
    ),
    "its response is refused": (
        _APP,
        [do("echo"), [answer(b"413 Request Entity Too Large", b'{"errorType":"RequestEntityTooLarge"}\n')]],
        {},
    ),
    "its error is refused": (_APP, [do("fail"), [answer(b"400 Bad Request")]], {}),
    "its response is not answered": (_APP, [do("echo"), [Close]], {}),
    "there is no next": (_APP, [[answer(b"403 Forbidden", b"{}")]], {}),
    "it does not exist": ("", [[OK]], {}),
    "it cannot be imported": ("import nothing", [[OK]], {}),
    "it is no Python": ("def", [[OK]], {}),
    "it cannot begin": ("raise ValueError('x')", [[OK]], {}),
    "it cannot begin, and says so in German": ("raise ValueError('f\u00e4llt')", [[OK]], {}),
    "it cannot begin, and letters stay as they are": (
        "raise ValueError('f\u00e4llt \u2192 aus')",
        [[OK]],
        {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"},
    ),
    "its beginning is refused": ("raise ValueError('x')", [[answer(b"403 Forbidden", b'{"a": "\xc3\xa9"}')]], {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LIVES)
def test_a_function_lives_the_same_life(prepared, tmp_path, name):
    """A process over our client says, to the log and to the Runtime API, what it says over AWS's, and ends the same."""
    source, script, variables = LIVES[name]
    (tmp_path / "app.py").write_text(source)
    ours, theirs = (live(prepared, client, tmp_path, script, variables) for client in ("lean", "aws"))
    begins = "post_init_error" in theirs.printed or any("/init/error" in head for _, head, _ in theirs.requests)
    if begins:  # http.client makes each request on a connection of its own
        assert [row[2] for row in ours.requests] == [row[2] for row in theirs.requests]
        assert [_fields(row[1]) for row in ours.requests] == [_fields(row[1]) for row in theirs.requests]
    else:
        assert ours.requests == theirs.requests
    if name == "its beginning is refused":  # ours raises this itself: a level less of the traceback
        assert (ours.code, ours.printed.splitlines()[-1]) == (theirs.code, theirs.printed.splitlines()[-1])
    else:
        assert (ours.code, ours.printed) == (theirs.code, theirs.printed)
    assert theirs.requests or "not valid Latin-1" in theirs.printed


def _fields(head: str) -> list[str]:
    return sorted(head.lower().split("\r\n"))


@pytest.mark.slow
@pytest.mark.parametrize(("version", "hears"), [("3.11", False), ("3.12", True)])
@pytest.mark.parametrize("client", ["lean", "aws"])
def test_signal_handlers_run_while_waiting_from_python_3_12_on(prepared, tmp_path, client, version, hears):
    """Before, a signal's handler runs when the next event comes; without a handler, the process ends at once."""
    (tmp_path / "app.py").write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'term'))\n"
        "def handler(event, context):\n    os._exit(7)\n"
    )
    held = threading.Event()
    server = Server([[[held, event()]]])
    process = start(prepared, client, tmp_path, server, {"AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}"})
    try:
        assert process.stdout is not None
        _wait(lambda: bool(server.requests))
        process.send_signal(signal.SIGTERM)
        heard = bool(select.select([process.stdout], [], [], 0.3)[0])
        held.set()
        assert process.communicate(timeout=10)[0] == "term"
        assert process.returncode == 7
        assert heard == hears
    finally:
        held.set()
        process.kill()
        process.wait()
        server.close()


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_signals_without_a_handler_end_the_process_at_once(prepared, tmp_path, version):
    """Waiting for an event does not hold up a signal that the function left alone."""
    (tmp_path / "app.py").write_text("def handler(event, context):\n    pass\n")
    held = threading.Event()
    server = Server([[[held]]])
    process = start(prepared, "lean", tmp_path, server, {"AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}"})
    try:
        _wait(lambda: bool(server.requests))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM
    finally:
        held.set()
        process.kill()
        process.communicate()
        server.close()


@pytest.mark.slow
def test_nothing_is_imported_that_awss_client_would_not(prepared, tmp_path):
    """A cold start is spared http.client, the socket module and, from Python 3.12 on, an executor's modules."""
    (tmp_path / "app.py").write_text(_APP)
    script = [do("modules"), [OK], do("stop")]
    variables = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12", "MODULES": "1"}
    life = live(prepared, "lean", tmp_path, script, variables)
    assert json.loads(life.requests[1][2]) == dict.fromkeys(
        ("http.client", "socket", "select", "concurrent.futures", "ssl"), False
    )


def _wait(look: Any) -> None:
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
async def test_an_unknown_release_of_awss_client_keeps_its_own_transport(prepared, tmp_path):
    """`known.py` knows the installed release, and none whose code says more than it was written for."""
    packages = prepared / "lang" / "lib" / "python3.11" / "site-packages"
    other = tmp_path / "awslambdaric"
    shutil.copytree(packages / "awslambdaric", other)
    source = (other / "lambda_runtime_client.py").read_text()
    command = [str(prepared / "lang" / "bin" / "python3.11"), "-B", "-S", "-s", str(bootstraps.KNOWN)]
    environment = {"LD_LIBRARY_PATH": str(prepared / "lang" / "lib")}
    folders = [str(tmp_path), str(packages)]
    assert subprocess.run([*command, *folders], env=environment, timeout=30).returncode == 0
    changed = source.replace("runtime_client.next()", "runtime_client.next(timeout())", 1)
    assert changed != source
    (other / "lambda_runtime_client.py").write_text(changed)
    assert subprocess.run([*command, *folders], env=environment, timeout=30).returncode == 1
