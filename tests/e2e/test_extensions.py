"""Extensions and their telemetry in real environments: what they are told, what is refused, how they fail and end."""

from __future__ import annotations

import io
import json
import socket
import textwrap
import threading
import time
import uuid
import zipfile
from functools import partial

import pytest

from .conftest import log_has as log_has_soon

pytestmark = pytest.mark.slow

#: Extensions may take a while to begin.
log_has = partial(log_has_soon, seconds=15.0)
#: What every extension here begins with. `call` answers status, headers and body; `listen` keeps telemetry in a file.
PRELUDE = r"""#!/var/lang/bin/python3
import http.client, http.server, json, os, socket, sys, threading, time
API = os.environ["AWS_LAMBDA_RUNTIME_API"]
NAME = os.path.basename(__file__)
ME = {}
def call(method, path, body=None, **headers):
    c = http.client.HTTPConnection(API)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body)
    c.request(method, path, data, {k.replace("_", "-"): v for k, v in {**ME, **headers}.items()})
    r = c.getresponse()
    return r.status, dict(r.getheaders()), r.read().decode()
def register(events=("INVOKE", "SHUTDOWN"), name=NAME):
    status, headers, body = call("POST", "/2020-01-01/extension/register", {"events": events},
                                 Lambda_Extension_Name=name)
    ME["Lambda-Extension-Identifier"] = headers.get("Lambda-Extension-Identifier", "")
    return status, body
def subscribe(api="2022-07-01/telemetry", **changes):
    request = {"schemaVersion": "2022-12-13", "types": ["platform", "function", "extension"],
               "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8099/in"},
               "buffering": {"timeoutMs": 25}, **changes}
    status, _, body = call("PUT", "/" + api, request)
    return status, json.loads(body)
def keep(line):
    with open("/tmp/telemetry", "a") as f:
        f.write(json.dumps(line) + "\n")
def listen(port=8099):
    class Take(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            for event in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
                keep(event)
            self.send_response(200); self.end_headers()
        do_PUT = do_POST
        def log_message(self, *a): pass
    server = http.server.HTTPServer(("sandbox.localdomain", port), Take)
    threading.Thread(target=server.serve_forever, daemon=True).start()
def following():
    return json.loads(call("GET", "/2020-01-01/extension/event/next")[2])
def serve():
    while following()["eventType"] != "SHUTDOWN":
        pass
    sys.exit(0)
"""
#: Answers what was kept, and does what the event says.
HANDLER = """
import json, os, time
def kept():
    try:
        return [json.loads(line) for line in open("/tmp/telemetry")]
    except FileNotFoundError:
        return []
def handler(event, context):
    print(event.get("say", "in the handler"))
    time.sleep(event.get("sleep", 0))
    if event.get("exit"):
        os._exit(event["exit"])
    return {"pid": os.getpid(), "start": START, "events": kept()}
START = time.time()
"""


def layer_of(files: dict[str, str], mode: int = 0o755) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(f"extensions/{name}")
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


def extended(make, *sources, source=HANDLER, mode=0o755, prelude=PRELUDE, **more):
    """A function whose layer has these extensions, called one.py, two.py and so on."""
    names = ["one.py", "two.py", "three.py", *(f"n{n:02}.py" for n in range(20))]
    files = {name: prelude + textwrap.dedent(text) for name, text in zip(names, sources, strict=False)}
    layer = make.functions.publish_layer_version(
        LayerName=f"l-{uuid.uuid4().hex[:8]}", Content={"ZipFile": layer_of(files, mode)}
    )
    return make.function(source, Layers=[layer["LayerVersionArn"]], **more)


def collect(make, name, *wanted, payload=None):
    """Invoke until all these types of events have been kept; answers them. (A frozen environment takes nothing.)"""
    deadline = time.monotonic() + 20
    while True:
        events = make.invoke(name, payload or {})[0]["events"]
        if set(wanted) <= {event["type"] for event in events}:
            return events
        assert time.monotonic() < deadline, set(wanted) - {event["type"] for event in events}
        time.sleep(0.1)


def first(events, type):
    return next(event["record"] for event in events if event["type"] == type)


def test_telemetry_has_awss_schema(make):
    """Every platform event of an initialisation and an invocation, with spans, tracing, and log lines of both kinds."""
    name = extended(
        make,
        """
        register()
        listen()
        print("hello from outside", flush=True)
        assert subscribe() == (200, "OK")
        serve()
        """,
    )
    platform = ["initStart", "initRuntimeDone", "extension", "initReport", "telemetrySubscription"]
    platform += ["start", "runtimeDone", "report"]
    events = collect(make, name, *(f"platform.{each}" for each in platform), "function", "extension")
    start = first(events, "platform.initStart")
    assert (start["functionName"], start["functionVersion"], start["phase"]) == (name, "$LATEST", "init")
    assert start["initializationType"] == "on-demand"
    assert start["runtimeVersion"] and start["runtimeVersionArn"].startswith("arn:aws:lambda:")
    assert "[$LATEST]" in start["instanceId"]
    assert start["instanceMaxMemory"] == 128
    assert first(events, "platform.initRuntimeDone")["status"] == "success"
    assert first(events, "platform.initReport")["metrics"]["durationMs"] > 0
    ready = {"name": "one.py", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]}
    assert first(events, "platform.extension") == ready
    kinds = ["platform", "function", "extension"]
    subscribed = {"name": "one.py", "state": "Subscribed", "types": kinds}
    assert first(events, "platform.telemetrySubscription") == subscribed
    invoked = first(events, "platform.start")
    assert invoked["version"] == "$LATEST"
    assert invoked["tracing"]["value"].startswith("Root=1-")
    done = first(events, "platform.runtimeDone")
    assert done["requestId"] == invoked["requestId"]
    assert done["tracing"] == invoked["tracing"]
    assert [span["name"] for span in done["spans"]] == ["responseLatency", "responseDuration", "runtimeOverhead"]
    assert (done["status"], done["metrics"]["producedBytes"] > 10) == ("success", True)
    report = first(events, "platform.report")
    assert set(report["metrics"]) == {
        "durationMs",
        "billedDurationMs",
        "memorySizeMB",
        "maxMemoryUsedMB",
        "initDurationMs",
    }
    assert [span["name"] for span in report["spans"]] == ["extensionOverhead"]
    assert first(events, "function") == "in the handler\n"
    assert first(events, "extension") == "hello from outside\n"
    assert not {"platform.end", "platform.fault", "platform.logsSubscription"} & {event["type"] for event in events}


def test_the_logs_api_over_tcp(make):
    """2020-08-15 has start, end, report, extension and logsSubscription, and nothing of initialisation or spans."""
    name = extended(
        make,
        """
        register()
        server = socket.create_server(("0.0.0.0", 8098))
        def take():
            for line in server.accept()[0].makefile():
                keep(json.loads(line))
        threading.Thread(target=take, daemon=True).start()
        answer = subscribe("2020-08-15/logs", schemaVersion="2020-08-15",
                           destination={"protocol": "TCP", "port": 8098}, types=["platform", "function"])
        assert answer == (200, "OK"), answer
        serve()
        """,
    )
    wanted = {f"platform.{each}" for each in ["start", "end", "report", "extension", "logsSubscription"]} | {"function"}
    events = collect(make, name, *wanted)
    assert {event["type"] for event in events} == wanted
    assert set(first(events, "platform.start")) == {"requestId", "version"}
    assert set(first(events, "platform.end")) == {"requestId"}
    assert set(first(events, "platform.report")) == {"requestId", "metrics"}
    log_has(make, name, "LOGS\tName: one.py\tState: Subscribed\tTypes: [Platform, Function]\n")


def test_structured_lines_are_objects(make):
    """With log format JSON a line is an object from 2022-12-13 on, and a string for 2022-07-01."""
    name = extended(
        make,
        """
        register()
        listen()
        for version in ("2022-07-01", "2025-01-29"):
            assert subscribe(schemaVersion=version, types=["function"]) == (200, "OK")
        serve()
        """,
        source=HANDLER.replace("print(event", 'print(\'{"level": "INFO"}\'); print(event'),
        LoggingConfig={"LogFormat": "JSON"},
    )
    deadline = time.monotonic() + 15
    while True:
        lines = [event["record"] for event in make.invoke(name)[0]["events"]]
        if {"level": "INFO"} in lines and '{"level": "INFO"}\n' in lines:
            break
        assert time.monotonic() < deadline, lines
        time.sleep(0.1)


def test_refusals(make):
    """Wrong requests get AWS's statuses, types and texts, and do no harm."""
    name = extended(
        make,
        """
        def say(what, status, body):
            print(what, status, body.strip() if isinstance(body, str) else json.dumps(body), flush=True)
        say("early", *subscribe())
        ME["Lambda-Extension-Identifier"] = ""
        say("nameless", *register(name=""))
        say("tea", *register(["TEA"]))
        register()
        mine = dict(ME)
        say("twice", *register())
        ME.update(mine)
        say("method", *call("GET", "/2020-01-01/extension/register")[::2])
        say("path", *call("GET", "/2020-01-01/extension/other")[::2])
        say("untyped", *call("POST", "/2020-01-01/extension/init/error", {})[::2])
        say("empty", *subscribe(types=[], destination={"protocol": "HTTP", "URI": "http://sandbox.localdomain"}))
        say("outside", *subscribe(destination={"protocol": "HTTP", "URI": "http://169.254.169.254:80/"}))
        say("reserved", *subscribe(destination={"protocol": "TCP", "port": 9001}))
        say("huge", *subscribe(buffering={"maxBytes": 1 << 40}))
        say("first", *subscribe())
        say("again", *subscribe())
        say("slash", *subscribe("2022-07-01/telemetry/"))
        say("other", *subscribe("2020-08-15/logs", schemaVersion="2020-08-15"))
        following()
        say("late", *subscribe())
        say("closed", *register([], name="inner"))
        """
        + "ME.update(mine)\n        serve()\n",
    )
    make.invoke(name)
    lines = log_has(make, name, "closed 403")
    said = {line.partition(" ")[0]: line.partition(" ")[2].strip() for line in lines}

    def refused(what):
        status, _, body = said[what].partition(" ")
        document = json.loads(body)
        return int(status), document["errorType"], document["errorMessage"]

    closed = "Telemetry API subscription is closed already"
    assert refused("early")[:2] == (403, "Extension.MissingExtensionIdentifier")
    assert refused("nameless") == (403, "Extension.InvalidExtensionName", "Empty extension name")
    assert refused("tea") == (403, "Extension.InvalidEventType", "TEA: ErrorInvalidEventType")
    assert refused("twice")[1] == "Extension.InvalidExtensionState"
    assert said["method"].startswith("405")
    assert said["path"].startswith("404")
    assert refused("untyped")[1] == "Extension.MissingHeader"
    assert refused("empty") == (400, "ValidationError", "URI port is not provided; types should not be empty")
    assert refused("outside") == (400, "ValidationError", "URI host should be sandbox.localdomain")
    assert refused("reserved") == (400, "ValidationError", "port 9001 is reserved")
    assert refused("huge") == (400, "ValidationError", "maxBytes should be between 262144 and 1048576")
    assert said["first"] == "200 OK"
    assert said["again"] == said["slash"] == "200 AlreadySubscribed"
    assert refused("other")[1] == "Logs.AccessDenied"
    assert refused("other")[2].startswith("The extension one.py is already subscribed to the TelemetryAPI.")
    assert refused("late") == (403, "Telemetry.SubscriptionClosed", closed)
    assert refused("closed") == (
        403,
        "Extension.RegistrationClosed",
        "Extension registration closed already",
    )


INTERNAL = (
    PRELUDE.partition("\n")[2]
    + HANDLER
    + """
import signal
print("shutdown", register(["SHUTDOWN"], "inner"), flush=True)
print("invoke", register(["INVOKE"], "inner"), flush=True)
# The client may be waiting in C, where Python's handlers of signals do not run.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
def ended():
    signal.sigwait([signal.SIGTERM])
    print("SIGTERM in the runtime", flush=True)
    os._exit(0)
threading.Thread(target=ended, daemon=True).start()
SEEN = []
def watch():
    while True:
        SEEN.append(following())
threading.Thread(target=watch, daemon=True).start()
def handler(event, context):
    while not SEEN or SEEN[-1]["requestId"] != context.aws_request_id:
        time.sleep(0.001)
    return SEEN[-1]
"""
)


def test_internal_extensions(make):
    """Registered from within the runtime: INVOKE for it, SHUTDOWN is refused, and the end gives it a SIGTERM."""
    name = make.function(INTERNAL)
    event, _ = make.invoke(name)
    assert (event["eventType"], event["tracing"]["type"]) == ("INVOKE", "X-Amzn-Trace-Id")
    assert event["invokedFunctionArn"].endswith(f":function:{name}")
    assert 0 < event["deadlineMs"] - time.time() * 1000 < 11_000
    again, _ = make.invoke(name)
    assert again["requestId"] != event["requestId"]
    lines = log_has(make, name, "EXTENSION\tName: inner\tState: Ready\tEvents: [INVOKE]\n", "invoke (200")
    assert any("shutdown (403" in line and "ShutdownEventNotSupportedForInternalExtension" in line for line in lines)
    make.functions.update_function_configuration(FunctionName=name, Description="other")
    log_has(make, name, "SIGTERM in the runtime")


def test_an_invocation_waits_for_its_extensions(make):
    """The answer comes at once; the duration in REPORT ends with the last extension's next."""
    name = extended(
        make,
        """
        register()
        while following()["eventType"] == "INVOKE":
            time.sleep(0.5)
        """,
    )
    make.invoke(name)
    began = time.monotonic()
    make.invoke(name)
    make.invoke(name)
    reports = [line for line in log_has(make, name, "REPORT") if line.startswith("REPORT")]
    durations = [float(line.partition("Duration: ")[2].partition(" ms")[0]) for line in reports]
    assert min(durations) >= 500
    assert time.monotonic() - began < 20


FAILS_TO_START = [
    pytest.param(
        """
        register()
        call("POST", "/2020-01-01/extension/init/error", {}, Lambda_Extension_Function_Error_Type="Extension.NoKey")
        """,
        "Extension.InitError",
        "exit code 0",
        "EXTENSION\tName: one.py\tState: InitError\tEvents: [INVOKE, SHUTDOWN]\tError Type: Extension.NoKey\n",
        id="init-error",
    ),
    pytest.param(
        """
        register()
        call("POST", "/2020-01-01/extension/init/error", {}, Lambda_Extension_Function_Error_Type="Extension.NoKey")
        time.sleep(60)
        """,
        "Extension.InitError",
        "Extension.NoKey",
        "EXTENSION\tName: one.py\tState: InitError\tEvents: [INVOKE, SHUTDOWN]\tError Type: Extension.NoKey\n",
        id="init-error-and-stays",
    ),
    pytest.param(
        "register()\nsys.exit(4)",
        "Extension.Crash",
        "exit status 4",
        "EXTENSION\tName: one.py\tState: Registered\tEvents: [INVOKE, SHUTDOWN]\n",
        id="crash-after-registering",
    ),
    pytest.param(
        "os.kill(os.getpid(), 9)",
        "Extension.Crash",
        "signal: killed",
        "EXTENSION\tName: one.py\tState: Started\tEvents: []\n",
        id="killed",
    ),
]


@pytest.mark.parametrize(("source", "error_type", "text", "line"), FAILS_TO_START)
def test_extensions_that_fail_to_start(make, source, error_type, text, line):
    """Initialisation fails, is tried once more within the invocation, and the log says all of it."""
    name = extended(make, source)
    body, response = make.invoke(name)
    assert response["FunctionError"] == "Unhandled"
    assert (body["errorType"], body["errorMessage"].partition(" Error: ")[2]) == (error_type, text)
    lines = log_has(make, name, line, "Phase: invoke", "REPORT")
    report = f"Status: error\tError Type: {error_type}\n"
    assert [each.partition("\tPhase: ")[2] for each in lines if each.startswith("INIT_REPORT")] == [
        f"init\t{report}",
        f"invoke\t{report}",
    ]
    assert f"Error: {text}\n{error_type}\n" in "".join(lines)


@pytest.mark.parametrize(
    ("prelude", "mode", "error_type", "text"),
    [
        (PRELUDE, 0o644, "PermissionDenied", "permission denied"),
        ("#!/nowhere/python\n", 0o755, "UnknownError", "no such file or directory"),
        ("\x7fELF nonsense", 0o755, "UnknownError", "exec format error"),
    ],
)
def test_extensions_that_cannot_be_launched(make, prelude, mode, error_type, text):
    """Extension.LaunchError names the file and why."""
    name = extended(make, "serve()", prelude=prelude, mode=mode)
    body, _ = make.invoke(name)
    assert body["errorType"] == "Extension.LaunchError"
    assert body["errorMessage"].endswith(f"Error: fork/exec /opt/extensions/one.py: {text}")
    log_has(make, name, f"EXTENSION\tName: one.py\tState: LaunchError\tEvents: []\tError Type: {error_type}\n")


def test_more_than_ten_extensions(make):
    """The eleventh is not launched, and the environment does not start."""
    name = extended(make, *["register()\nserve()"] * 11)
    body, _ = make.invoke(name)
    assert body["errorType"] == "Extension.LaunchError"
    log_has(make, name, "State: LaunchError\tEvents: []\tError Type: TooManyExtensions")


def test_ten_extensions(make):
    """All ten are ready before the function, and each is told of the end."""
    name = extended(make, *["register()\nfollowing()\nprint(following()['shutdownReason'], NAME, flush=True)"] * 10)
    make.invoke(name)
    lines = log_has(make, name, "State: Ready")
    assert len([line for line in lines if "State: Ready\tEvents: [INVOKE, SHUTDOWN]" in line]) == 10
    make.functions.update_function_configuration(FunctionName=name, Description="other")
    deadline = time.monotonic() + 10
    while len([line for line in make.log(name) if line.startswith("spindown")]) < 10:
        assert time.monotonic() < deadline, make.log(name)
        time.sleep(0.05)


def test_an_extension_that_is_never_ready(make):
    """Initialisation waits for it until its limit, and then once more until the function's time-out."""
    name = extended(make, "register()\ntime.sleep(600)", Timeout=1)
    began = time.monotonic()
    body, _ = make.invoke(name)
    assert 10 < time.monotonic() - began < 60
    assert body["errorType"] == "Sandbox.Timedout"
    lines = log_has(make, name, "Phase: invoke\tStatus: timeout")
    assert any("EXTENSION\tName: one.py\tState: Registered" in line for line in lines)
    assert any(line.endswith("Phase: init\tStatus: timeout\n") for line in lines)


@pytest.mark.parametrize(
    ("source", "error_type", "text"),
    [
        ("following()\nsys.exit(7)", "Extension.Crash", "exit status 7"),
        (
            """
            following()
            call("POST", "/2020-01-01/extension/exit/error", {}, Lambda_Extension_Function_Error_Type="Extension.Bad")
            sys.exit(0)
            """,
            "Extension.ExitError",
            "exit code 0",
        ),
    ],
)
def test_extensions_that_fail_in_an_invocation(make, source, error_type, text):
    """The invocation fails with it, the other extension is told why, and the next one finds a new environment."""
    once = "register()\nif os.path.exists('/tmp/once'): serve()\nopen('/tmp/once', 'w').close()\n"
    name = extended(
        make,
        once + textwrap.dedent(source),
        "register()\nfollowing()\nprint('told', following()['shutdownReason'], flush=True)",
    )
    body, response = make.invoke(name, {"sleep": 3})
    assert response["FunctionError"] == "Unhandled"
    assert (body["errorType"], body["errorMessage"].partition(" Error: ")[2]) == (error_type, text)
    lines = log_has(make, name, "told failure", f"Status: error\tError Type: {error_type}")
    assert f"Error: {text}\n{error_type}\n" in "".join(lines)
    after, _ = make.invoke(name)
    assert after["pid"]


@pytest.mark.parametrize(("payload", "reason"), [({"sleep": 9}, "timeout"), ({"exit": 3}, "failure")])
def test_the_reason_of_the_end(make, payload, reason):
    """SHUTDOWN says why, after everything was told that happened, and its deadline is two seconds or less away."""
    name = extended(
        make,
        """
        register()
        listen()
        subscribe(types=["platform"])
        while True:
            event = following()
            if event["eventType"] == "SHUTDOWN":
                left = event["deadlineMs"] - time.time() * 1000
                kept = [json.loads(line) for line in open("/tmp/telemetry")]
                for each in kept:
                    if each["type"] in ("platform.runtimeDone", "platform.report"):
                        record = each["record"]
                        print(each["type"], record["status"], record.get("errorType"), flush=True)
                print("end", event["shutdownReason"], 500 < left <= 2000, flush=True)
                sys.exit(0)
        """,
        Timeout=1,
    )
    make.invoke(name, payload)
    what = "timeout None" if reason == "timeout" else "error Runtime.ExitError"
    log_has(make, name, f"end {reason} True", f"platform.runtimeDone {what}", f"platform.report {what}")


def test_the_end_has_its_time_and_no_more(make):
    """The runtime gets a SIGTERM and 300 ms, extensions the rest of two seconds; who is deaf is killed."""
    name = extended(
        make,
        "register()\nfollowing()\nfollowing()\nprint('deaf', flush=True)\ntime.sleep(60)",
        "register(['INVOKE'])\nfollowing()\nfollowing()",
        source=HANDLER
        + """
import signal
def ended(*a):
    print("SIGTERM", flush=True)
    time.sleep(60)
signal.signal(signal.SIGTERM, ended)
""",
        Timeout=1,
    )
    before, _ = make.invoke(name)
    make.invoke(name, {"sleep": 9})
    began = time.monotonic()
    after, _ = make.invoke(name)  # an environment's successor waits for its end
    took = time.monotonic() - began
    assert after["start"] > before["start"]
    assert 1.5 < took < 30
    log_has(make, name, "SIGTERM", "deaf")


# -- hostile ----------------------------------------------------------------------------------------------------------


def test_telemetry_never_leaves_the_sandbox(make):
    """A port on which the machine itself listens gets no connection."""
    came = []
    with socket.create_server(("0.0.0.0", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        stop = threading.Event()

        def accept():
            while not stop.is_set():
                try:
                    came.append(listener.accept()[1])
                except TimeoutError:
                    pass

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            name = extended(
                make,
                f"""
                register()
                for host in ("sandbox.localdomain", "sandbox"):
                    print(subscribe(destination={{"protocol": "HTTP", "URI": f"http://{{host}}:{port}/"}}), flush=True)
                print(subscribe(destination={{"protocol": "TCP", "port": {port}}}), flush=True)
                serve()
                """,
            )
            for _ in range(5):
                make.invoke(name, {"sleep": 0.2})
            log_has(make, name, "(200, 'OK')")
        finally:
            stop.set()
            thread.join()
    assert came == []


def test_a_destination_that_never_reads(make):
    """Invocations go on as before, and the end comes in time."""
    name = extended(
        make,
        """
        register()
        server = socket.create_server(("0.0.0.0", 8097))
        for destination in ({"protocol": "TCP", "port": 8097},
                            {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8097/"}):
            subscribe(destination=destination, buffering={"maxBytes": 1048576, "timeoutMs": 25})
        serve()
        """,
        source=HANDLER.replace("print(event", "print('x' * 300_000); print(event"),
    )
    make.invoke(name)
    began = time.monotonic()
    for _ in range(20):
        make.invoke(name)
    assert time.monotonic() - began < 10
    make.functions.update_function_configuration(FunctionName=name, Description="other")
    began = time.monotonic()
    make.invoke(name)
    assert time.monotonic() - began < 20


def test_a_full_log_holds_an_extension_up_and_no_longer(make):
    """More than the log takes at once comes through, as the log has room again."""
    name = extended(
        make,
        """
        register()
        for n in range(40):
            print("x" * 100_000)
        print("that was all", flush=True)
        serve()
        """,
    )
    make.invoke(name)
    logs = make.server.client("logs")
    deadline = time.monotonic() + 15
    while True:  # a page of the log has a megabyte
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}")
        lines = [event["message"] for page in pages for event in page["events"]]
        if "that was all\n" in lines:
            break
        assert time.monotonic() < deadline, len(lines)
        time.sleep(0.1)
    assert len([line for line in lines if line.startswith("xxx")]) == 40


def test_an_extension_that_floods(make):
    """Its lines, its requests and its subscription to its own lines hold nobody else up."""
    name = extended(
        make,
        """
        register()
        listen()
        subscribe(types=["extension"])
        def shout():
            while True:
                print("x" * 1000)
        def ask():
            while True:
                call("PUT", "/2022-07-01/telemetry", {})
        for target in (shout, ask, ask):
            threading.Thread(target=target, daemon=True).start()
        serve()
        """,
        Timeout=30,
    )
    other = make.function("def handler(event, context): return 1")
    make.invoke(other)
    assert make.invoke(name, {"sleep": 0.5})[0]["pid"]
    with_flood = []
    stop = threading.Event()
    flood = threading.Thread(target=lambda: [make.invoke(name, {"sleep": 0.5}) for _ in range(4) if not stop.is_set()])
    flood.start()
    try:
        for _ in range(20):
            began = time.monotonic()
            make.invoke(other)
            with_flood.append(time.monotonic() - began)
    finally:
        stop.set()
        flood.join()
    assert sorted(with_flood)[10] < 0.5
