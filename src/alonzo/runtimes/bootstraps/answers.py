# mypy: ignore-errors
"""How `client.py` reads answers from its socket: /var/runtime/_alonzo_answers.py.

As libcurl reads them, which is what AWS's client uses. Keeps to Python 3.8's syntax.
"""

from _socket import MSG_WAITALL

#: An answer usually comes in one piece of at most this size; what is longer is read in pieces of the other.
_PIECE = 1 << 14
_LARGE_PIECE = 1 << 20
#: Bytes of an answer's head, of one of its lines, and of the lines between chunks.
_MAX_HEAD = 1 << 20
_MAX_LINE = 100 << 10
_BLANKS = " \t\n\v\f\r"
_HEX = frozenset(b"0123456789abcdefABCDEF")
#: Names as they are usually written, in lower case: looked up faster than made.
_LOWER = {
    name: name.lower()
    for name in (
        "Lambda-Runtime-Aws-Request-Id",
        "Lambda-Runtime-Deadline-Ms",
        "Lambda-Runtime-Invoked-Function-Arn",
        "Lambda-Runtime-Trace-Id",
        "Lambda-Runtime-Client-Context",
        "Lambda-Runtime-Aws-Tenant-Id",
        "Alonzo-Connection",
        "Content-Type",
        "Content-Length",
    )
}
_OK = b"HTTP/1.1 200 OK\r\n"
#: Bytes of a head that may be plain.
_MAX_PLAIN = 8192
#: Among an answer's fields: there are letters in them that are not ASCII's.
FOREIGN = ""


class Broken(Exception):
    """No whole answer came. `unsent`: nor did anything of the request leave; `unanswered`: not a byte of one came."""

    unsent = unanswered = False

    def __init__(self, unsent=False, unanswered=False):
        self.unsent = unsent
        self.unanswered = unanswered


def first(sock):
    """How an answer begins."""
    try:
        data = sock.recv(_PIECE)
    except OSError:
        data = b""
    if not data:
        raise Broken(unanswered=True)
    return data


def read_plain(data):
    """(status, fields, body) of an event that `data` is the whole of, written as Alonzo and AWS write them; None where
    that is not plain to see. It says nothing that the functions below would not say."""
    end = data.find(b"\r\n\r\n", 0, _MAX_PLAIN)
    if end < 0 or not data.startswith(_OK) or not data[:end].isascii():
        return None
    head = data[len(_OK) : end].decode()
    lines = head.split("\r\n")
    if ":  " in head or " \r\n" in head or head[-1:] == " " or not "".join(lines).isprintable():
        return None
    fields = {}
    for line in lines:
        name, _, value = line.partition(": ")
        key = _LOWER.get(name)
        if key is None:
            return None
        fields[key] = value
    if len(fields) != len(lines) or fields.get("content-length") != str(len(data) - end - 4):
        return None
    return 200, fields, data[end + 4 :]


def split_head(sock, data):
    """(head without its empty line, what came after it)."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        data = bytearray(data)
        while end < 0:
            if len(data) > _MAX_HEAD:
                raise Broken
            looked = max(len(data) - 3, 0)
            data += more(sock)
            end = data.find(b"\r\n\r\n", looked)
        data = bytes(data)
    return data[:end], data[end + 4 :]


def parse_head(head):
    """(HTTP version, status, fields): names in lower case, the first of a name counts."""
    version, status = head[:9], head[9:12]
    if version not in (b"HTTP/1.1 ", b"HTTP/1.0 ") or not status.isdigit() or head[12:13] not in (b"", b" ", b"\r"):
        raise Broken
    fields = {}
    if not head.isascii():
        fields[FOREIGN] = ""
    lines = head.decode("utf-8", "surrogateescape").split("\n")
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or len(line) > _MAX_LINE:
            raise Broken
        key = _LOWER.get(name) or name.strip(_BLANKS).lower()
        if key not in fields:
            fields[key] = value.strip(_BLANKS)
    return version, int(status), fields


def more(sock):
    data = sock.recv(_PIECE)
    if not data:
        raise Broken
    return data


def read_body(sock, data, length):
    """(body of this length that begins with `data`, whether more came)."""
    missing = length - len(data)
    if missing <= 0:
        return data[:length], missing < 0
    parts = [data]
    while missing:
        data = sock.recv(min(missing, _LARGE_PIECE), MSG_WAITALL)
        if not data:
            raise Broken
        parts.append(data)
        missing -= len(data)
    return b"".join(parts), False


def read_rest(sock, data):
    parts = [data]
    while data:
        data = sock.recv(_LARGE_PIECE)
        parts.append(data)
    return b"".join(parts)


def read_chunks(sock, data):
    """(body, whether more came)."""
    data, parts = bytearray(data), []
    while True:
        line = _take_line(sock, data).partition(b";")[0].strip()
        if not line or len(line) > 15 or not _HEX.issuperset(line):
            raise Broken
        size = int(line, 16)
        if size == 0:
            break
        part, missing = data[:size], size - len(data)
        del data[:size]
        if missing > 0:
            part = read_body(sock, part, size)[0]
        parts.append(bytes(part))
        if _take_line(sock, data):
            raise Broken
    while _take_line(sock, data):
        pass  # trailers
    return b"".join(parts), bool(data)


def _take_line(sock, data):
    """Take the first line off `data`, without its end."""
    while True:
        end = data.find(b"\n")
        if end >= 0:
            break
        if len(data) > _MAX_LINE:
            raise Broken
        data += more(sock)
    line = bytes(data[:end]).rstrip(b"\r")
    del data[: end + 1]
    return line
