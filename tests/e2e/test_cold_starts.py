"""An environment that was forked from a zygote is, to the function in it, one that was executed."""

from __future__ import annotations

import asyncio
import base64
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alonzo.cli.runtime import local_runtimes
from alonzo.testing import Server

from .conftest import RUNTIME, Maker

LOOK = textwrap.dedent(
    """
    import gc, json, os, sys

    AT_IMPORT = sorted(sys.modules)

    def handler(event, context):
        import locale, random, resource, signal, stat, threading, time, uuid
        status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
        read = lambda name: open("/proc/self/" + name, "rb").read().decode().split("\\0")
        return {
            "modules": AT_IMPORT,
            "path": sys.path, "argv": sys.argv, "orig_argv": getattr(sys, "orig_argv", None), "flags": list(sys.flags),
            "prefix": [sys.prefix, sys.executable, sys.exec_prefix], "main": sorted(vars(sys.modules["__main__"])),
            "cwd": os.getcwd(), "pids": [os.getpid(), os.getppid(), os.getsid(0)],
            "variables": sorted(os.environ), "shown": sorted(w.partition("=")[0] for w in read("environ") if w),
            "same": all(os.environ.get(w.partition("=")[0], w.partition("=")[2]) == w.partition("=")[2]
                        for w in read("environ") if w),
            "command": read("cmdline"), "program": os.readlink("/proc/self/exe"), "name": status["Name"].strip(),
            "files": sorted(os.listdir("/proc/self/fd"))[:4],
            "status": {k: status[k].split() for k in status if k.startswith(("Cap", "NoNew", "Seccomp", "Sig", "Umask"))
                       and k != "SigQ"},
            "groups": status["Groups"].split(),
            "handled": [str(signal.getsignal(n)) for n in (2, 10, 13, 15, 17, 25)],
            "threads": [threading.active_count(), threading.current_thread().name, threading.main_thread().name],
            "limits": [resource.getrlimit(n) for n in range(16)],
            "streams": [[s.encoding, s.errors, s.isatty()] for s in (sys.stdin, sys.__stdout__, sys.__stderr__)],
            "locale": [locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding(), time.tzname],
            "gc": [gc.isenabled(), gc.get_threshold()],
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "random": [random.random(), uuid.uuid4().hex, os.urandom(8).hex()],
        }
    """
)
CLIENT = textwrap.dedent(
    """
    import sys
    import boto3

    FIRST = boto3.client("s3")

    def handler(event, context):
        own = boto3.session.Session(region_name="eu-west-1").client("dynamodb", aws_access_key_id="A",
                                                                    aws_secret_access_key="B")
        keys = FIRST._request_signer._credentials.get_frozen_credentials()
        import os
        return {
            "region": FIRST.meta.region_name, "endpoint": FIRST.meta.endpoint_url,
            "keys": [keys.access_key, keys.token]
                    == [os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SESSION_TOKEN"]],
            "own": [own.meta.region_name, own._request_signer._credentials.access_key],
            "agent": sorted(FIRST.meta.config.user_agent),  # it names features in the order of a set
            "operations": len(FIRST.meta.service_model.operation_names),
            "who": boto3.client("sts").get_caller_identity()["Arn"].rpartition("role/")[0],
            "file": boto3.__file__,
        }
    """
)


NODE = """
const atStart = {
  variables: Object.keys(process.env).sort(), cached: Object.keys(require.cache), argv: process.argv,
  flags: process.execArgv, cwd: process.cwd(), main: require.main === undefined, paths: module.paths,
  active: process.getActiveResourcesInfo(), process: Object.getOwnPropertyNames(process).sort(),
  found: Object.keys(require('module')._pathCache), stack: [Error.stackTraceLimit],
};
Error.stackTraceLimit = 100;
atStart.stack.push(new Error('here').stack);
const limit = () => require('v8').getHeapStatistics().heap_size_limit;
const inWorker = () => new Promise((resolve) => new (require('worker_threads').Worker)(
  `require('worker_threads').parentPort.postMessage((${limit})())`, { eval: true }).on('message', resolve));
exports.handler = async () => {
  const fs = require('fs');
  const connections = fs.readFileSync('/proc/net/tcp', 'utf8').split('\\n').slice(1).map((line) => line.split(/ +/)[4]);
  const lines = fs.readFileSync('/proc/self/status', 'utf8').split('\\n');
  const status = Object.fromEntries(lines.map((line) => line.split(':\\t')));
  const kept = Object.entries(status).filter(([name]) => /^(Cap|NoNew|Seccomp|SigIgn|SigCgt|Umask)/.test(name));
  return {
    ...atStart, status: kept, pids: [process.pid, process.ppid],
    descriptors: fs.readdirSync('/proc/self/fd').slice(0, 3),
    command: fs.readFileSync('/proc/self/cmdline', 'utf8').split('\\0'), zone: new Date(0).getTimezoneOffset(),
    listeners: process.eventNames().map(String).sort(), sdk: require('@aws-sdk/client-s3').S3Client.name,
    limits: fs.readFileSync('/proc/self/limits', 'utf8'), heap: [limit(), await inWorker()],
    context: require('vm').runInNewContext('typeof gc'), connections: connections.sort(),
    globals: Object.getOwnPropertyNames(globalThis).sort(),
  };
};
"""


@pytest.fixture(scope="module", params=["fast", "real"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    folder = tmp_path_factory.mktemp(request.param)
    with Server(Path(folder) / "data", {"cold_start": request.param}) as started:
        yield Maker(started)


def ask(made: Maker, name: str) -> Any:
    answer, response = made.invoke(name)
    assert "FunctionError" not in response, answer
    return answer


SEEN: dict[str, Any] = {}


def same(what: str, seen: Any) -> None:
    """Compare with what the same function saw in the other kind of environment."""
    earlier = SEEN.setdefault(what, seen)
    assert seen == earlier


def test_a_function_cannot_tell_how_it_was_started(made: Maker) -> None:
    """Modules, search path, variables, descriptors, limits, signals and what /proc shows."""
    made.function(LOOK, name="look", Environment={"Variables": {"OWN": "x", "TZ": "Asia/Tokyo"}}, MemorySize=512)
    seen = ask(made, "look")
    assert seen.pop("same")
    changed = {"_LAMBDA_TELEMETRY_LOG_FD", "PYTHONPATH", "_X_AMZN_TRACE_ID"}  # by AWS's client and by ours, since then
    assert set(seen["shown"]) ^ set(seen["variables"]) <= changed
    seen.pop("random")
    same("look", seen)


def test_two_environments_share_no_randomness(made: Maker) -> None:
    """Everything that a fork would duplicate is seeded again."""
    found = []
    for n in range(2):
        made.function(LOOK, name=f"dice{n}")
        found.append(ask(made, f"dice{n}")["random"])
    assert all(first != second for first, second in zip(*found, strict=True))


def test_the_sdk_is_as_a_function_configured_it(made: Maker) -> None:
    """A client made from the default session has the environment's region and credentials; other sessions their own."""
    made.function(CLIENT, name="client")
    seen = ask(made, "client")
    assert seen["keys"]
    assert seen["own"] == ["eu-west-1", "A"]
    same("client", seen)


def test_a_function_that_brings_its_own_sdk_gets_it(made: Maker) -> None:
    """Whoever has a boto3 of his own never sees the runtime's."""
    app = "import boto3\ndef handler(event, context):\n    return boto3.MINE\n"
    made.function(files={"app.py": app, "boto3/__init__.py": "MINE = 'mine'\n"}, name="own-sdk")
    assert ask(made, "own-sdk") == "mine"


@pytest.mark.parametrize(
    ("name", "value", "expression", "wanted"),
    [
        ("PYTHONHASHSEED", "7", "hash('a') % 1000", None),
        ("PYTHONOPTIMIZE", "1", "__import__('sys').flags.optimize", 1),
        ("AWS_DEFAULT_OUTPUT", "text", "__import__('os').environ['AWS_DEFAULT_OUTPUT']", "text"),
        ("LANG", "C", "__import__('os').environ['LANG']", "C"),
    ],
)
def test_variables_that_are_read_at_the_start_count(
    made: Maker, name: str, value: str, expression: str, wanted: Any
) -> None:
    """A function that sets one gets an interpreter that was started with it."""
    source = f"def handler(event, context):\n    return {expression}\n"
    made.function(source, name=f"at-start-{name}", Environment={"Variables": {name: value}})
    seen = ask(made, f"at-start-{name}")
    assert wanted is None or seen == wanted
    same(name, seen)


def test_a_broken_function_fails_in_the_same_words(made: Maker) -> None:
    """Errors of the import, and their trace, do not show where the process came from."""
    for name, source in {"raises": "1 / 0\n", "exits": "import sys\nsys.exit(3)\n", "syntax": "def (\n"}.items():
        made.function(source, name=f"broken-{name}")
        document, _ = made.invoke(f"broken-{name}")
        document.pop("requestId", None)
        document["errorMessage"] = document["errorMessage"].partition("RequestId: ")[0]
        same(f"broken {name}", document)


@pytest.mark.slow
def test_a_node_function_cannot_tell_how_it_was_started(made: Maker) -> None:
    """Neither what was there when its module was loaded, nor what /proc shows but the first variables."""
    asyncio.run(local_runtimes(None).install("nodejs20.x"))
    more = {"Runtime": "nodejs20.x", "Handler": "app.handler", "Environment": {"Variables": {"TZ": "Asia/Tokyo"}}}
    made.function(files={"app.js": NODE}, name="node", MemorySize=512, **more)
    time.sleep(0.5)  # until one lies ready
    same("node", ask(made, "node"))


def test_the_runtime_of_these_tests_can_be_forked() -> None:
    """These tests compare nothing on an interpreter that is always executed."""
    assert int(RUNTIME.rpartition(".")[2]) >= 10


def test_cold_starts_can_be_as_slow_as_on_aws(tmp_path: Path) -> None:
    """For tests that must bear them: the pause belongs to the initialisation, and warm invocations have none."""
    with Server(tmp_path / "data", {"cold_start": "aws"}) as server:
        made = Maker(server)
        made.function("def handler(event, context):\n    return 1\n", name="slow")
        _, first = made.invoke("slow", LogType="Tail")
        _, second = made.invoke("slow", LogType="Tail")
    report = base64.b64decode(first["LogResult"]).decode()
    assert float(report.partition("Init Duration: ")[2].split()[0]) > 60
    assert "Init Duration" not in base64.b64decode(second["LogResult"]).decode()
