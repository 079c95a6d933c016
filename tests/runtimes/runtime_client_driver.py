"""Calls a `runtime_client`: `PYTHON driver.py FOLDERS CLIENT`, the client being `aws` or the path of ours.

Reads cases from its input: a list of lists of pairs (function, arguments). Prints for each case what the client
printed, then, in a line that begins with `=>`, as JSON what each call returned or raised. Runs on every supported
interpreter.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

sys.path[:0] = sys.argv[1].split(":")
if sys.argv[2] == "aws":
    import runtime_client
else:
    spec = importlib.util.spec_from_file_location("runtime_client", sys.argv[2])
    runtime_client = sys.modules["runtime_client"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runtime_client)
OLD = sys.version_info < (3, 9)  # the newest release for it knows no id of an invocation


def plain(value):
    if isinstance(value, dict):
        return {key: plain(v) for key, v in sorted(value.items()) if v is not None}
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return [len(value), value[:100].decode("latin-1"), value[-10:].decode("latin-1")]
    return value


def pause():
    time.sleep(0.05)


def fork():
    """A child posts; its parent waits for it."""
    child = os.fork()
    if child == 0:
        try:
            result = runtime_client.post_invocation_result("child", b"{}", "application/json", *REST)
        finally:
            os._exit(0 if result is None else 1)
    return os.waitpid(child, 0)[1]


def sockets_of_a_program():
    """How many sockets a program sees that was started without closing anything."""
    look = "import os; print(sum(os.readlink(f'/proc/self/fd/{n}').startswith('socket') for n in range(3, 64)"
    look += " if os.path.exists(f'/proc/self/fd/{n}')))"
    return int(subprocess.check_output([sys.executable, "-S", "-c", look], close_fds=False))


def close_all():
    os.closerange(3, 64)


def broken_pipes_kill():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def large(function, size, *rest):
    body = b"x" * size if function == "post_invocation_result" else "x" * size
    return getattr(runtime_client, function)("id", body, *rest)


REST = () if OLD else (None,)


def call(name, arguments):
    function = globals().get(name) or getattr(runtime_client, name)
    if name in ("post_invocation_result", "post_error", "large") and len(arguments) == 3:
        arguments = [*arguments, *REST]
    if name == "post_invocation_result" and isinstance(arguments[1], list):
        arguments[1] = arguments[1][0].encode()
    try:
        return plain(function(*arguments))
    except Exception as error:
        return [type(error).__name__, str(error)]


for number, calls in enumerate(json.load(sys.stdin)):
    runtime_client.initialize_client("agent/%d%s" % (number, "-2.2.1" if OLD else "-4.2.2"))  # noqa: UP031
    print("=> " + json.dumps([call(name, arguments) for name, arguments in calls]), flush=True)
