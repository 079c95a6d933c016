"""The end of a server that is busy: by SIGTERM, and by kill -9."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from alonzo.testing import Server

from .conftest import Maker, wait_for
from .test_server import cgroups_of, descendants, gone

pytestmark = pytest.mark.slow

#: Writes down what it was called with, where a crash of the server cannot take it away again.
NOTING = """
import boto3, json
s3 = boto3.client("s3")
def handler(event, context):
    key = event["Records"][0]["s3"]["object"]["key"] if "Records" in event else event["key"]
    s3.put_object(Bucket="noted", Key=key, Body=b"")
"""
SLEEPING = "import time\ndef handler(e, c):\n    time.sleep(e['s'])\n    return e\n"


class Clients:
    """Threads that repeat a call until the server has gone, and count how each call ended."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._then: list[tuple[Callable[[list], bool], Callable[[], object]]] = []
        self.answered: list[object] = []
        self.refused: list[tuple[str, int]] = []
        self.cut = 0
        self.wrong: list[object] = []

    def start(self, count: int, make_call) -> None:
        """`make_call(n)` gives the n-th client's call: it returns what was asserted of its answer."""
        for n in range(count):
            thread = threading.Thread(target=self._run, args=(make_call(n),), daemon=True)
            self._threads.append(thread)
            thread.start()

    def when(self, enough: Callable[[list], bool], then: Callable[[], object]) -> None:
        """Do `then` once, in the middle of it all: as soon as what is answered is `enough`."""
        self._then.append((enough, then))

    def _run(self, call) -> None:
        while True:
            try:
                found = call()
            except ClientError as error:
                answer = error.response
                with self._lock:
                    self.refused.append((answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]))
                continue
            except (BotoCoreError, OSError):
                self.cut += 1  # in the middle, or before the server had it: the client knows that it has no answer
                return
            except Exception as error:
                self.wrong.append(error)
                return
            with self._lock:
                self.answered.append(found)
                due = [pair for pair in self._then if pair[0](self.answered)]
                self._then = [pair for pair in self._then if pair not in due]
            for _, then in due:
                then()

    def join(self) -> None:
        deadline = time.monotonic() + 20
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), "a client still waits for its answer"


def namespaces_of(pids: set[int]) -> set[str]:
    """The namespaces that processes are in."""
    found = set()
    for pid in pids:
        for kind in ("net", "mnt", "pid", "ipc", "uts"):
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                continue
    return found


def every_pid() -> set[int]:
    return {int(path.name) for path in Path("/proc").glob("[0-9]*")}


def files_under_loops(folder: Path) -> list[str]:
    """Files below the folder, deleted ones too, that a loop device still holds."""
    files = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return [file for file in files if str(folder) in file]


def test_sigterm_under_load(tmp_path):
    """Busy with calls, objects and events, the server is gone within five seconds: answered whole or not at all."""
    server = Server(tmp_path).start()
    make, s3 = Maker(server), server.client("s3", max_pool_connections=16)
    functions = server.client("lambda", max_pool_connections=16)
    s3.create_bucket(Bucket="busy")
    name = make.function(SLEEPING, Timeout=60)
    body = os.urandom(300_000)
    calls = Clients()

    def invoking(n):
        def call():
            answer = functions.invoke(FunctionName=name, Payload=json.dumps({"s": 0.05, "n": n}))
            payload = json.loads(answer["Payload"].read())
            # An environment that had to end in the middle says so; what is no error is the function's own answer.
            assert "FunctionError" in answer or payload == {"s": 0.05, "n": n}, payload
            return answer["StatusCode"]

        return call

    def storing(n):
        def call():
            s3.put_object(Bucket="busy", Key=f"k{n}", Body=body)
            assert s3.get_object(Bucket="busy", Key=f"k{n}")["Body"].read() == body
            return 200

        return call

    def sleeping(n):
        return lambda: functions.invoke(FunctionName=name, Payload=b'{"s": 50}')["StatusCode"]

    calls.start(8, invoking)
    calls.start(4, storing)
    calls.start(2, sleeping)
    wait_for(lambda: len(calls.answered) > 50)
    pid, below = server.process.pid, descendants(server.process.pid)
    namespaces = namespaces_of(below) - namespaces_of({os.getpid()})
    assert len(namespaces) > 5
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) == 0
    took = time.monotonic() - started
    calls.join()
    assert took < 5
    assert calls.wrong == []
    assert {status for _, status in calls.refused} <= {500, 503, 502}, calls.refused
    wait_for(lambda: gone(below), 2)
    assert cgroups_of(pid) == []
    wait_for(lambda: not namespaces & namespaces_of(every_pid()), 5)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    wait_for(lambda: files_under_loops(tmp_path) == [], 5)
    assert "Traceback" not in "".join(server.log), "".join(server.log)


def test_kill_9_under_load(tmp_path):
    """Of 64 clients' events and puts, each that was accepted before kill -9 is executed after the next start."""
    settings = {"retry_base_s": "0.2", "throttle_base_s": "0.1"}
    server = Server(tmp_path, settings).start()
    make, s3 = Maker(server), server.client("s3")
    for bucket in ("noted", "watched"):
        s3.create_bucket(Bucket=bucket)
    name = make.function(
        NOTING, role=make.role("arn:aws:iam::aws:policy/AmazonS3FullAccess"), MemorySize=1769, Timeout=60
    )
    make.functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=4)
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    permission = {"StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    make.functions.add_permission(FunctionName=name, SourceArn="arn:aws:s3:::watched", **permission)
    s3.put_bucket_notification_configuration(
        Bucket="watched",
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [{"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    calls = Clients()
    functions = server.client("lambda", max_pool_connections=64)
    objects = server.client("s3", max_pool_connections=64)

    def inviting(n):
        count = itertools.count()

        def call():
            key = f"event-{n}-{next(count)}"
            answer = functions.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"key": key}))
            assert answer["StatusCode"] == 202
            return key

        return call

    def putting(n):
        count = itertools.count()

        def call():
            key = f"put-{n}-{next(count)}"
            objects.put_object(Bucket="watched", Key=key, Body=b"x")
            return key

        return call

    def enough_of_both(answered):
        puts = sum(key.startswith("put-") for key in answered)
        return min(puts, len(answered) - puts) > 50

    calls.when(enough_of_both, server.process.kill)
    calls.start(32, inviting)
    calls.start(32, putting)
    calls.join()
    server.kill()
    assert (calls.wrong, calls.refused, calls.cut) == ([], [], 64)
    accepted = set(calls.answered)
    puts = {key for key in accepted if key.startswith("put-")}
    assert 50 < len(puts) < len(accepted) - 50
    with Server(tmp_path, settings) as again:
        s3 = again.client("s3")

        def noted():
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket="noted")
            return {one["Key"] for page in pages for one in page.get("Contents", [])}

        wait_for(lambda: accepted <= noted(), 60, every=0.2)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="watched")
        kept = {one["Key"] for page in pages for one in page["Contents"]}
        assert puts <= kept
