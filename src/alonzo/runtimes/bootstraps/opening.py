# mypy: ignore-errors
"""Has a start rehearsed before its order comes: /var/runtime/_alonzo_opening.py, for processes that were forked.

A forked process shares its memory with the one it was forked from until it writes to it, and every page that it writes
to first costs some microseconds: that is most of what a cold start would take. So while a process waits to be told
which function it is, it begins a function that is not there: AWS's client with all that it does for a handler and for
an event, over something in the socket's place. Nothing of a customer's runs, and all is put back as it was.
Can be imported only over `_alonzo_client`, and where AWS's client is as expected; keeps to Python 3.8's syntax.
"""

import logging
import os
import sys

from awslambdaric import bootstrap
from awslambdaric import lambda_literals as _  # noqa: F401 - the client imports it at each start
from runtime_client import _agent, _connection, initialize_client

_ID = "00000000-0000-4000-8000-000000000000"
_EVENT = '{"rehearsal": [1, 2.5, "three", null, true]}'
_NEXT = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: " + _ID + "\r\n"
    "Lambda-Runtime-Deadline-Ms: 9999999999999\r\n"
    "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:rehearsal\r\n"
    "Lambda-Runtime-Trace-Id: Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0\r\n"
    "Content-Length: %d\r\n\r\n%s"
)
_ACCEPTED = 'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'
_SOURCE = "import json\n\n\ndef handler(event, context):\n    return {'ok': [value for value in event]}\n"


class _Over(BaseException):
    """The function that is not there would now wait for its second event."""


class _Api:
    """In the place of the socket to the Runtime API: takes what is sent, and has the answer to it."""

    def __init__(self):
        self._answers = [(_NEXT % (len(_EVENT), _EVENT)).encode(), _ACCEPTED.encode()]

    def send(self, data, flags):
        return len(data)

    def recv(self, size, flags=0):
        if flags:  # whether there is something that was not asked for
            raise BlockingIOError
        if not self._answers:
            raise _Over
        return self._answers.pop(0)

    def close(self):
        pass

    def getpeername(self):
        return ("", 0)

    getsockname = getpeername


def handler(event, context):
    """The function."""
    return event


def rehearse(begin, folder):
    """`begin` begins the function that the variables name; `folder` is where this module lies. Whether it went well:
    should anything be other than expected, the start is slower, no more.
    """
    environ, root = os.environ, logging.getLogger()
    variables, path = dict(environ), sys.path[:]
    known = [(cache, set(cache)) for cache in (sys.path_importer_cache, sys.modules)]
    streams, handlers, level = (sys.stdout, sys.stderr), root.handlers[:], root.level
    converter = logging.Formatter.converter
    try:
        environ.update(LAMBDA_TASK_ROOT=folder, _HANDLER=__name__ + ".handler", AWS_LAMBDA_RUNTIME_API="127.0.0.1:1")
        compile(_SOURCE, "", "exec")
        _connection._connect = lambda: setattr(_connection, "_socket", _Api())
        begin()
    except _Over:
        return True
    except Exception:
        return False
    finally:
        _connection.__dict__.clear()
        _connection.__init__()
        initialize_client(_agent)
        bootstrap._GLOBAL_AWS_REQUEST_ID = bootstrap._GLOBAL_TENANT_ID = None
        (sys.stdout, sys.stderr), root.handlers[:], logging.Formatter.converter = streams, handlers, converter
        root.setLevel(level)
        environ.clear()
        environ.update(variables)
        sys.path[:] = path
        for cache, names in known:
            for name in [name for name in cache if name not in names]:
                del cache[name]
