"""Message attributes: what they may be, their digests, and how they are kept.

Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from alonzo.services.sqs.errors import bad_contents, invalid
from alonzo.services.sqs.models import MAX_MESSAGE_ATTRIBUTES

Attributes = Mapping[str, Mapping[str, Any]]

#: Characters that no message may contain: those that XML 1.0 does not have. (Written as those that it has, it compiles
#: for 4 ms.)
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
#: Those of ASCII that it may contain.
_ASCII = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x80)])
_NAME = re.compile(r"[A-Za-z0-9_\-.]{1,256}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_KINDS = ("String", "Number", "Binary")


def forbidden(text: str) -> bool:
    """Whether a text has characters that no message may contain."""
    if text.isascii():  # nearly all are, and this takes a tenth of the time
        return bool(text.encode().translate(None, _ASCII))
    return _FORBIDDEN.search(text) is not None


def check_attributes(attributes: Attributes) -> int:
    """Their size in bytes. Raises InvalidParameterValue with AWS's text."""
    if len(attributes) > MAX_MESSAGE_ATTRIBUTES:
        raise invalid(
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [{MAX_MESSAGE_ATTRIBUTES}]."
        )
    return sum(_check(name, value) for name, value in attributes.items())


def _check(name: str, value: Mapping[str, Any]) -> int:
    _check_name(name)
    data_type = value.get("DataType") or ""
    if not data_type:
        raise invalid(f"The message attribute '{name}' must contain non-empty message attribute type.")
    if len(data_type.encode(errors="replace")) > 256:
        raise invalid(f"The message attribute type of '{name}' must be shorter than 256 bytes.")
    if forbidden(data_type):
        raise bad_contents()
    kind = data_type.partition(".")[0]
    if kind not in _KINDS:
        raise invalid(
            f"The message attribute '{name}' has an invalid message attribute type, the set of supported type "
            "prefixes is Binary, Number, and String."
        )
    if value.get("StringListValues") or value.get("BinaryListValues"):
        raise invalid("Message attribute list values in SendMessage operation are not supported.")
    given = value.get("BinaryValue" if kind == "Binary" else "StringValue")
    if not given:
        raise invalid(
            f"The message attribute '{name}' must contain non-empty message attribute value for message attribute "
            f"type '{kind}'."
        )
    if kind == "Binary":
        return len(name) + len(data_type) + len(given)
    if forbidden(given):
        raise bad_contents()
    if kind == "Number" and not _NUMBER.fullmatch(given):
        raise invalid(f"Can't cast the value of message (user) attribute '{name}' to a number.")
    return len(name) + len(data_type.encode()) + len(given.encode())


def _check_name(name: str) -> None:
    lowered = name.lower()
    if lowered.startswith(("aws.", "amazon.")):
        raise invalid(
            "You can't use message attribute names beginning with 'AWS.' or 'Amazon.'. These strings are reserved for "
            "internal use."
        )
    if len(name) > 256:
        raise invalid("Message (user) attribute name must be shorter than 256 Bytes")
    if not _NAME.fullmatch(name) or name.startswith(".") or name.endswith(".") or ".." in name:
        raise invalid(
            "Invalid attribute name. The message (user) attribute name can contain the characters A-Z, a-z, 0-9, "
            "underscore (_), hyphen (-), and period (.). It must not start or end with a period, and it should not "
            "have successive periods."
        )


def check_system_attributes(attributes: Attributes) -> tuple[str | None, int]:
    """The trace header and the size, which does not count."""
    for name in attributes:
        if name != "AWSTraceHeader":
            raise invalid(
                f"Message system attribute name '{name}' is invalid. The only supported message system attribute is "
                "AWSTraceHeader."
            )
    found = attributes.get("AWSTraceHeader")
    if found is None:
        return None, 0
    text = found.get("StringValue")
    if found.get("DataType") != "String" or not text:
        raise invalid("The message system attribute 'AWSTraceHeader' must contain a non-empty value of type 'String'.")
    if forbidden(text):
        raise bad_contents()
    return text, len(text)


def _length(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def digest(attributes: Attributes) -> str:
    """MD5OfMessageAttributes.

    Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html#sqs-attributes-md5-message-digest-calculation
    """
    md5 = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        value = attributes[name]
        data_type = value["DataType"]
        md5.update(_length(name.encode()) + _length(data_type.encode()))
        if data_type.partition(".")[0] == "Binary":
            md5.update(b"\x02" + _length(value["BinaryValue"]))
        else:
            md5.update(b"\x01" + _length(value["StringValue"].encode()))
    return md5.hexdigest()


def pack(attributes: Attributes) -> bytes:
    """As bytes for the database."""
    kept: dict[str, list[str]] = {}
    for name, value in attributes.items():
        data_type = value["DataType"]
        binary = data_type.partition(".")[0] == "Binary"
        kept[name] = [
            data_type,
            base64.b64encode(value["BinaryValue"]).decode() if binary else value["StringValue"],
        ]
    return orjson.dumps(kept)


def unpack(packed: bytes) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, (data_type, value) in orjson.loads(packed).items():
        if data_type.partition(".")[0] == "Binary":
            found[name] = {"BinaryValue": base64.b64decode(value), "DataType": data_type}
        else:
            found[name] = {"StringValue": value, "DataType": data_type}
    return found


def chosen(attributes: dict[str, dict[str, Any]], names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Those that a receiver asked for: by name, by `prefix.*`, or all of them."""
    wanted = set(names)
    if "All" in wanted or ".*" in wanted:
        return attributes
    prefixes = tuple(name[:-1] for name in wanted if name.endswith(".*"))
    return {
        name: value
        for name, value in attributes.items()
        if name in wanted or (prefixes and (name.startswith(prefixes) or name + "." in prefixes))
    }
