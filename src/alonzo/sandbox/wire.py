"""Messages between the server and the sandbox host: length-prefixed fields over SOCK_SEQPACKET, with descriptors.

Both ends import this module, and the host must stay small: so no json, no dataclasses, no socket module.
"""

from __future__ import annotations

import _socket
import struct

#: A message is at most this long; Linux takes 208 KiB in one packet by default.
MAX_MESSAGE = 192 * 1024
#: Linux passes at most 253 descriptors in one message; an environment needs fewer than this.
MAX_DESCRIPTORS = 32

# From the server.
CREATE, KILL, RELEASE, STOP = b"create", b"kill", b"release", b"stop"
# A zygote that CREATE may name: its key, argv, env and mounts. PREPARED answers when it is ready, or cannot be.
ZYGOTE, PREPARED = b"zygote", b"prepared"
# A snapshot, named by the id of the environment that it was taken of, is not needed any more. It has no answer.
FORGET = b"forget"
# From the server where there are no control groups; they have no answer.
FREEZE, THAW, LIMIT_CPU = b"freeze", b"thaw", b"limit_cpu"
# From the host: READY carries the enforcements; CREATED and FAILED answer CREATE; ENDED says that nothing is left, and
# its second field is OOM if the watchdog ended the environment.
READY, CREATED, FAILED, ENDED, RELEASED, STOPPED = b"ready", b"created", b"failed", b"ended", b"released", b"stopped"
OOM = b"oom"
# Requests about a living environment: their first field after its id is a number that ANSWER repeats, with the text of
# what failed, or "", and descriptors.
SPAWN, SIGNAL, SOCKET, SNAPSHOT = b"spawn", b"signal", b"socket", b"snapshot"
ANSWER = b"answer"


class WireError(Exception):
    """A message is malformed or too long."""


def pack(*fields: bytes) -> bytes:
    """One message of `fields`."""
    message = b"".join(struct.pack("<I", len(field)) + field for field in fields)
    if len(message) > MAX_MESSAGE:
        raise WireError(f"the message has {len(message)} bytes, the most is {MAX_MESSAGE}")
    return message


def unpack(message: bytes) -> list[bytes]:
    """The fields of a message."""
    fields: list[bytes] = []
    offset = 0
    while offset < len(message):
        if offset + 4 > len(message):
            raise WireError("the message is cut off")
        (length,) = struct.unpack_from("<I", message, offset)
        offset += 4
        if offset + length > len(message):
            raise WireError("the message is cut off")
        fields.append(message[offset : offset + length])
        offset += length
    if not fields:
        raise WireError("the message is empty")
    return fields


def join(words: list[str] | tuple[str, ...]) -> bytes:
    """A list of strings as one field; execve takes no NUL in them, so NUL separates."""
    for word in words:
        if "\0" in word:
            raise WireError(f"a NUL in {word[:40]!r}")
    return b"\0".join(word.encode("utf-8", "surrogateescape") for word in words)


def split(field: bytes) -> list[str]:
    """What `join` joined; an empty field is the empty list."""
    return [word.decode("utf-8", "surrogateescape") for word in field.split(b"\0")] if field else []


def send(channel: _socket.socket, message: bytes, descriptors: list[int] | None = None) -> None:
    """Send one message; it goes whole or not at all."""
    rights = []
    if descriptors:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))]
    channel.sendmsg([message], rights)


def receive(channel: _socket.socket) -> tuple[bytes, list[int]]:
    """The next message and its descriptors (close-on-exec); an empty message means that the other end has gone."""
    space = _socket.CMSG_SPACE(4 * MAX_DESCRIPTORS)
    message, controls, _, _ = channel.recvmsg(MAX_MESSAGE + 1, space, _socket.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    for level, kind, data in controls:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            descriptors.extend(struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4]))
    return message, descriptors
