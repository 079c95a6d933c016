# mypy: ignore-errors
"""The Runtime API for AWS's Python client, over one plain socket: /var/runtime/_alonzo_client.py.

Stands in for `runtime_client`, the extension that awslambdaric brings (libcurl in C++), and for nothing else of it:
`main` puts this module into its place, then imports awslambdaric, whose loop, marshalling, logs and error documents
stay AWS's. It asks, retries and fails as the extension does, with the same texts. Only releases that `known.py` knows
get it. Nothing is opened or read before the first request, so that a process which has imported this can be forked.
Keeps to Python 3.8's syntax.

Source: https://github.com/aws/aws-lambda-python-runtime-interface-client (releases 2.2.1 and 4.2.2)
"""

import os
import sys
from _signal import SIG_BLOCK, SIG_SETMASK, default_int_handler, getsignal, pthread_sigmask
from _socket import AF_INET, AF_INET6, IPPROTO_TCP, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, TCP_NODELAY
from _socket import socket as _Socket
from time import time_ns

import _alonzo_answers as _answers
from _alonzo_answers import FOREIGN, Broken

_POST = "POST /2018-06-01/runtime/invocation/"
_NEXT = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: "
_CONNECT_TIMEOUT_S = 1.0
#: Up to this size a body is sent in one piece with its head.
_TOGETHER = 1 << 15
_SEND = MSG_NOSIGNAL | MSG_DONTWAIT
#: HUP INT QUIT USR1 USR2 PIPE ALRM TERM CHLD CONT VTALRM PROF WINCH IO: the signals for which programs set handlers.
_SIGNALS = (1, 2, 3, 10, 12, 13, 14, 15, 17, 18, 26, 27, 28, 29)
#: The headers that are handed on, beside the deadline, by their names in lower case.
_HEADERS = {
    name.lower(): name
    for name in (
        "Lambda-Runtime-Aws-Request-Id",
        "Lambda-Runtime-Invoked-Function-Arn",
        "Lambda-Runtime-Trace-Id",
        "Lambda-Runtime-Client-Context",
        "Content-Type",
        "Lambda-Runtime-Cognito-Identity",
        "Lambda-Runtime-Aws-Tenant-Id",
        "Lambda-Runtime-Invocation-Id",
    )
}
_REQUEST_ID = "lambda-runtime-aws-request-id"
_DEADLINE = "lambda-runtime-deadline-ms"
#: Names a connection to Alonzo by its two ends. Over it a response's answer may come together with the next event.
_OFFER = "alonzo-connection"
_LATER = "alonzo-answer: later\r\n"


class _Refused(Exception):
    """The answer that came later was not as expected: status, body."""


class _Connection:
    """The connection to the Runtime API: one at a time, made when it is needed, kept as long as it is good."""

    def __init__(self):
        self.address = ""
        self._socket = None
        self._watches_forks = False
        #: An answer that came in one piece, and what it means: most are the same to the byte. After such a one, the
        #: next request follows at once, and nothing is looked for in between.
        self._usual = b""
        self._usual_answer = None
        self._was_usual = False
        #: Whose answer may come later: the current invocation, if the connection is one for that; no other.
        self.may_wait = ""
        #: Whether an answer is still to come that nobody waits for.
        self._owed = False
        #: What the server calls this connection, if it is its own.
        self._name = ""

    def point(self, address):
        """Talk to this address (host:port) from now on."""
        if address != self.address:
            self.drop()
            self.address = address

    def ask(self, head, body=b"", idempotent=False):
        """(status, header fields by lower-case name, body) of the answer. Raises Broken."""
        kept = self._alive()
        if not kept:
            self._connect()
        try:
            return self._once(head, body)
        except Broken as broken:
            # As libcurl does: a connection that was kept may have died unnoticed.
            if not kept or not (broken.unsent or (broken.unanswered and idempotent)):
                raise
        self._connect()
        return self._once(head, body)

    def offered(self, name, request_id):
        """The event of this request came with, or after, the server's name for this connection.

        A name that is not that of our two ends was given to somebody in between, who waits for every answer.
        """
        if name and not self._name and self._socket is not None:
            try:
                ends = (self._socket.getpeername(), self._socket.getsockname())
            except OSError:
                return
            if name == " ".join(f"{end[0]}:{end[1]}" for end in ends):
                self._name = name
        if self._name and self._usual:
            self.may_wait = request_id

    def hand_in(self, head, body):
        """Send a request whose answer need not be waited for; False if it has to be sent in another way."""
        self.may_wait = ""
        try:
            if self._send(self._socket, head, body):
                self._owed = True
                return True
        except Broken:
            self._was_usual = False
            self._alive()  # finds out why
            return False
        self.drop()
        raise Broken

    def drop(self):
        self.may_wait = self._name = ""
        self._owed = False
        sock, self._socket = self._socket, None
        if sock is not None:
            try:
                sock.close()
            except OSError:
                pass

    def _alive(self):
        """Whether a kept connection can be used: it has not ended, and nothing came that was not asked for."""
        sock = self._socket
        if sock is None:
            return False
        if self._was_usual or self._owed:
            self._was_usual = False
            return True
        try:
            sock.recv(1, MSG_PEEK | MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionError:
            pass
        except OSError:
            sock.detach()  # closed by the function, and its number may be another file's by now
        self.drop()
        return False

    def _connect(self):
        host, _, port = self.address.rpartition(":")
        if not port.isdigit() or not host:
            host, port = self.address, "80"
        host = host.strip("[]")
        sock = _Socket(AF_INET6 if ":" in host else AF_INET)  # close-on-exec, as all of Python's
        try:
            sock.settimeout(_CONNECT_TIMEOUT_S)
            sock.connect((host, int(port)))
            sock.settimeout(None)
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        except BaseException as error:
            sock.close()
            if isinstance(error, (OSError, UnicodeError, OverflowError)):
                raise Broken(unsent=True) from None
            raise
        self._socket = sock
        self._usual, self._was_usual = b"", False
        if not self._watches_forks:
            self._watches_forks = True
            os.register_at_fork(after_in_child=self.drop)

    def _once(self, head, body):
        sock = self._socket
        keep = False
        try:
            complete = self._send(sock, head, body)
            answer, keep = self._receive(sock)
            keep = keep and complete
            return answer
        except OSError:
            raise Broken from None
        finally:
            if not keep:
                self.drop()

    def _send(self, sock, head, body):
        """Send a request; False if an answer, or the end, came before all of it had left."""
        total = len(head) + len(body)
        try:
            sent = sock.send(head + body, _SEND) if total <= _TOGETHER else sock.sendmsg((head, body), (), _SEND)
        except BlockingIOError:
            sent = 0
        except OSError:
            raise Broken(unsent=True) from None
        if sent == total:
            return True
        from select import POLLIN, POLLOUT, poll

        rest = memoryview(body)[sent - len(head) :] if sent >= len(head) else memoryview(head[sent:] + body)
        ready = poll()
        ready.register(sock, POLLIN | POLLOUT)
        while rest:
            if ready.poll()[0][1] != POLLOUT:
                return False
            try:
                rest = rest[sock.send(rest, _SEND) :]
            except BlockingIOError:
                pass
            except OSError:
                return False
        return True

    def _receive(self, sock):
        """((status, fields, body), whether the connection can be used again)."""
        data = _answers.first(sock)
        if self._owed:
            self._owed = False
            data = self._receive_owed(sock, data)
        if data == self._usual:
            self._was_usual = True
            return self._usual_answer, True
        answer = _answers.read_plain(data)
        if answer is not None:
            return answer, True
        first = data
        while True:
            head, data = _answers.split_head(sock, data)
            version, status, fields = _answers.parse_head(head)
            if status // 100 != 1 or status == 101:
                break
        keep = version == b"HTTP/1.1 "
        if "connection" in fields:
            tokens = fields["connection"].lower()
            keep = "close" not in tokens if keep else "keep-alive" in tokens
        coding = fields.get("transfer-encoding", "identity").lower()
        if status in (204, 304):
            body, more = b"", bool(data)
        elif coding == "chunked":
            body, more = _answers.read_chunks(sock, data)
        elif coding != "identity":
            raise Broken
        elif "content-length" in fields:
            length = fields["content-length"]
            if not (length.isascii() and length.isdigit()):
                raise Broken
            body, more = _answers.read_body(sock, data, int(length))
        else:
            body, more, keep = _answers.read_rest(sock, data), False, False
        keep = keep and not more
        answer = status, fields, body
        if keep and status == 202 and len(head) + 4 + len(body) == len(first):
            self._usual, self._usual_answer = first, answer
        return answer, keep

    def _receive_owed(self, sock, data):
        """What comes after the answer that was owed, and with which `data` begins. Raises _Refused."""
        usual = self._usual
        if data.startswith(usual):
            return data[len(usual) :] or _answers.first(sock)
        head, data = _answers.split_head(sock, data)
        _, status, fields = _answers.parse_head(head)
        length = fields.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            raise Broken
        while len(data) < int(length):
            data += _answers.more(sock)
        if status // 100 != 2:
            raise _Refused(status, data[: int(length)])
        return data[int(length) :] or _answers.first(sock)


# -- what awslambdaric calls: the extension's functions ----------------------------------------------------------------

_NOT_POSTED = "Failed to post invocation response"
_connection = _Connection()
_agent = ""
_next_request = b""
#: Whether signal handlers wait until `next` has returned: the extension's blocks Python's main thread.
_deaf = True


def initialize_client(user_agent):
    """Begin anew, with this User-Agent."""
    global _agent, _next_request
    _agent, _next_request = user_agent, b""
    _connection.drop()


def next():
    """(event, its headers), as soon as there is one. Raises RuntimeError."""
    global _next_request
    if not _next_request:
        _next_request = f"{_NEXT}{_ready().address}\r\nAccept: */*\r\nUser-Agent: {_agent}\r\n\r\n".encode()
    try:
        status, fields, body = _undisturbed(_deaf, _connection.ask, _next_request, b"", True)
    except Broken:
        _say("Failed to get next invocation. No Response from endpoint")
        raise _failure("Failed to get next") from None
    except _Refused as refused:
        raise _refused(*refused.args, _NOT_POSTED) from None
    if not 200 <= status <= 299:
        _say(f"Failed to get next invocation. Http Response code: {status}")
        raise _failure("Failed to get next")
    if _REQUEST_ID not in fields:
        _say("Failed to find header " + _REQUEST_ID + " in response")
        raise _failure("Failed to get next")
    get = fields.get
    _connection.offered(get(_OFFER), fields[_REQUEST_ID])
    if FOREIGN in fields:
        for key in _HEADERS:
            get(key, "").encode("utf-8", "surrogateescape").decode()  # as text it must be UTF-8
    return body, {
        "Lambda-Runtime-Aws-Request-Id": fields[_REQUEST_ID],
        "Lambda-Runtime-Trace-Id": get("lambda-runtime-trace-id") or None,
        "Lambda-Runtime-Invoked-Function-Arn": get("lambda-runtime-invoked-function-arn", ""),
        "Lambda-Runtime-Deadline-Ms": _number(get(_DEADLINE, "")),
        "Lambda-Runtime-Client-Context": get("lambda-runtime-client-context") or None,
        "Content-Type": get("content-type") or None,
        "Lambda-Runtime-Cognito-Identity": get("lambda-runtime-cognito-identity") or None,
        "Lambda-Runtime-Aws-Tenant-Id": get("lambda-runtime-aws-tenant-id") or None,
        "Lambda-Runtime-Invocation-Id": get("lambda-runtime-invocation-id") or None,
    }


def post_invocation_result(request_id, response, content_type, invocation_id=None):
    """Hand in what the handler returned. Raises RuntimeError."""
    if not isinstance(response, bytes):
        raise RuntimeError("Wrong arguments")
    _post(request_id, "response", response, content_type, "", invocation_id, _NOT_POSTED)


def post_error(request_id, response, xray_fault, invocation_id=None):
    """Hand in the error document of a handler that failed. Raises RuntimeError."""
    body = _bytes((response,))
    _post(request_id, "error", body, "application/json", xray_fault, invocation_id, "Failed to post invocation error")


def _post(request_id, action, body, content_type, cause, invocation_id, failure):
    later = request_id and request_id == _connection.may_wait and action == "response" and len(body) <= _TOGETHER
    address = _connection.address or _ready().address
    head = [_POST, request_id, "/", action, " HTTP/1.1\r\nHost: ", address, "\r\nAccept: */*\r\ncontent-type: "]
    head += [content_type if content_type != "" else "text/html", "\r\n"]
    if cause != "":
        head += ["lambda-runtime-function-xray-error-cause: ", cause, "\r\n"]
    head += ["User-Agent: ", _agent, "\r\n"]
    if invocation_id:
        head += ["lambda-runtime-invocation-id: ", invocation_id, "\r\n"]
    if later:
        head.append(_LATER)
    head += ["content-length: ", str(len(body)), "\r\n\r\n"]
    if later:
        try:
            if _undisturbed(True, _connection.hand_in, _bytes(head), body):
                return
        except Broken:
            raise _failure(failure) from None
        head.remove(_LATER)
    head = _bytes(head)
    try:
        status, _, answer = _undisturbed(True, _connection.ask, head, body)
    except Broken:
        raise _failure(failure) from None
    except _Refused as refused:
        status, answer = refused.args
    if not 200 <= status <= 299:
        raise _refused(status, answer, failure)


def _refused(status, answer, failure):
    _connection.drop()
    more = b"" if "-2." in _agent else b" " + answer  # older releases do not say why
    _say(f"Failed to post handler success response. Http response code: {status}.", more)
    return _failure(failure)


def _ready():
    if not _connection.address:
        _connection.point(os.environ.get("AWS_LAMBDA_RUNTIME_API") or "127.0.0.1:9001")
    return _connection


def _undisturbed(deaf, work, *arguments):
    """Do `work` while signals for which Python has handlers wait: a handler that raises would lose what is under way.

    On AWS they wait too, because the extension is C: those that come during `next` wait for the next event, but for
    Python 3.12 and later, where the main thread is free meanwhile.
    """
    if deaf and "signal" in sys.modules:  # without that module nobody has set a handler
        held = [n for n in _SIGNALS if callable(h := getsignal(n)) and h is not default_int_handler]
        if held:
            before = pthread_sigmask(SIG_BLOCK, held)
            try:
                return work(*arguments)
            finally:
                pthread_sigmask(SIG_SETMASK, before)
    return work(*arguments)


def _failure(text):
    _stay_out_of_tracebacks()
    return RuntimeError(text)


def _stay_out_of_tracebacks():
    """The traceback of what is raised now, should nobody catch it, shall show no program that AWS's client has not."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print_without_us


def _is_ours(frame):
    return frame.f_globals is globals() or frame.f_globals is _answers.__dict__


def _print_without_us(kind, error, trace):
    shown = error
    while shown is not None:
        before = shown.__traceback__
        while before is not None:
            while before.tb_next is not None and _is_ours(before.tb_next.tb_frame):
                before.tb_next = before.tb_next.tb_next
            before = before.tb_next
        shown = shown.__context__
    sys.__excepthook__(kind, error, trace)


def _bytes(texts):
    """Texts as the extension takes them: no other kind of value, and nothing that ends them early."""
    try:
        text = "".join(texts)
        if "\0" not in text:
            return text.encode()
    except (TypeError, UnicodeEncodeError):
        pass
    raise RuntimeError("Wrong arguments")


def _number(text):
    """As C's strtoul reads a number: as far as it goes."""
    if text.isascii() and text.isdigit():
        return int(text)
    digits = ""
    for character in text:
        if not "0" <= character <= "9":
            break
        digits += character
    return int(digits or "0")


def _say(text, more=b""):
    """What the extension prints when a request fails."""
    line = f"[ERROR] [{time_ns() // 1000000}] LAMBDA_RUNTIME {text}".encode() + more.partition(b"\0")[0]
    try:
        os.write(1, line + b"\n")
    except OSError:
        pass


# -- getting into awslambdaric -----------------------------------------------------------------------------------------


class _AtOnce:
    """The executor for those who wait for a result anyway: runs what is submitted, in the same thread."""

    def __init__(self, max_workers=None):
        self._result = None

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        return None

    def submit(self, work):
        self._result = work()
        return self

    def result(self):
        return self._result


def main():
    """awslambdaric's `main`, which will use this module."""
    sys.modules["runtime_client"] = sys.modules.pop(__name__)
    del sys.modules["_alonzo_answers"]
    from awslambdaric import lambda_runtime_client
    from awslambdaric.__main__ import main

    _adapt(lambda_runtime_client)
    return main


def _adapt(theirs):
    """Leave out what a client over this module does not need: the thread that waits, and http.client."""
    client = theirs.LambdaRuntimeClient
    construct = client.__init__
    name = "call_rapid" if hasattr(client, "call_rapid") else "post_init_error"
    rapid = getattr(client, name)

    def __init__(self, lambda_runtime_address, use_thread_for_polling_next=False):
        global _deaf, _next_request
        construct(self, lambda_runtime_address)
        self.use_thread_for_polling_next = use_thread_for_polling_next
        self.ThreadPoolExecutor = _AtOnce
        _connection.point(lambda_runtime_address)
        _next_request = b""
        _deaf = not use_thread_for_polling_next

    def call_rapid(self, http_method, endpoint, expected_http_code, payload=None, headers=None):
        """As its own over http.client, which also takes over where anything is unusual."""
        body = None if http_method == "GET" else theirs.to_json(payload)
        answer = _call(self.lambda_runtime_address, http_method, endpoint, body, headers or {})
        if answer is None:
            _stay_out_of_tracebacks()
            rapid(self, http_method, endpoint, expected_http_code, payload, headers)
        elif answer[0] != expected_http_code:
            raise theirs.LambdaRuntimeClientError(endpoint, answer[0], answer[2])

    def restore_next(self):
        """Here the process may be kept as a snapshot: a copy of it comes back from here too."""
        from _alonzo_snapshot import restore_next

        restore_next(self, _connection, theirs.LambdaRuntimeClientError)

    def post_init_error(self, error_response_data):
        """The same, of the release for Python 3.8."""
        endpoint = "/2018-06-01/runtime/init/error"
        headers = {theirs.ERROR_TYPE_HEADER: error_response_data["errorType"]}
        body = theirs.to_json(error_response_data)
        answer = _call(self.lambda_runtime_address, "POST", endpoint, body, headers)
        if answer is None:
            _stay_out_of_tracebacks()
            rapid(self, error_response_data)
        elif answer[0] != 202:
            raise theirs.LambdaRuntimeClientError(endpoint, answer[0], answer[2])

    client.__init__ = __init__
    if hasattr(client, "restore_next"):
        client.restore_next = restore_next
    setattr(client, name, call_rapid if name == "call_rapid" else post_init_error)


def _call(address, method, endpoint, body, headers):
    """The answer to a request made as http.client makes it; None where that should make it itself."""
    head = method + " " + endpoint + " HTTP/1.1\r\nHost: " + address + "\r\nAccept-Encoding: identity\r\n"
    if body is not None:
        head += f"Content-Length: {len(body)}\r\n"
    values = [value for pair in headers.items() for value in pair]
    if not all(isinstance(value, str) and value.isascii() and value.isprintable() for value in values):
        return None
    if body is not None and not body.isascii():
        return None
    for name, value in headers.items():
        head += name + ": " + value + "\r\n"
    _connection.point(address)
    try:
        return _undisturbed(True, _connection.ask, (head + "\r\n").encode(), (body or "").encode())
    except Broken:
        return None
