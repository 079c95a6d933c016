"""What may be published: subject, size, attributes, the texts of MessageStructure=json, FIFO's two ids.

Source: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html; texts recorded on AWS.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from alonzo.dispatch import Params
from alonzo.services.sns.errors import attribute_value, invalid
from alonzo.services.sns.models import MAX_BYTES, Message, Topic

_NAME = re.compile(r"[A-Za-z0-9_.-]")
_ID = re.compile(r"""^[A-Za-z0-9!"#$%&'()*+,./:;<=>?@\[\\\]^_`{|}~-]{1,128}\Z""")
_NUMBER = re.compile(r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?\Z", re.ASCII)
#: The first and the last sequence number have 20 digits.
_SEQUENCE_START = 10**19


def read_message(params: Params, topic: Topic | None, *, message_id: str, now: float, trace_header: str) -> Message:
    """A message out of Publish's parameters, or of one entry of PublishBatch. Raises InvalidParameter."""
    text = params.get("Message") or ""
    if not text:
        raise invalid("Empty message")
    if not _is_unicode(text):
        raise invalid("Message")
    attributes = params.get("MessageAttributes") or {}
    for name, value in attributes.items():
        _check_attribute(name, value)
    if size_of(params) > MAX_BYTES:
        raise invalid("Message too long")
    subject = params.get("Subject")
    if subject is not None:
        _check_subject(subject)
    texts = _texts(text) if params.get("MessageStructure") == "json" else {}
    if params.get("MessageStructure") not in (None, "", "json"):
        raise invalid("MessageStructure")
    return Message(
        message_id,
        texts.pop("default", text),
        now,
        subject,
        texts,
        attributes,
        *_fifo_ids(params, topic, text),
        trace_header=trace_header,
    )


def sequence_text(number: int) -> str:
    return str(_SEQUENCE_START + number)


def size_of(params: Params) -> int:
    """Bytes that count towards the limit: the message and its attributes' names, types and values."""
    size = len((params.get("Message") or "").encode("utf-8", "surrogatepass"))
    for name, value in (params.get("MessageAttributes") or {}).items():
        size += len(name.encode("utf-8", "surrogatepass")) + len(value.get("DataType") or "")
        binary = value.get("BinaryValue")
        size += len(bytes(binary)) if binary is not None else 0
        size += len((value.get("StringValue") or "").encode("utf-8", "surrogatepass"))
    return size


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_subject(subject: str) -> None:
    if not subject or len(subject) > 100 or subject[0] == " " or not _is_unicode(subject):
        raise invalid("Subject")
    if any(ord(char) < 32 or ord(char) == 127 for char in subject):
        raise invalid("Subject")


def _texts(text: str) -> dict[str, str]:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise invalid("Message Structure - JSON message body failed to parse") from None
    if not isinstance(document, dict):
        raise invalid("Message Structure - JSON message body failed to parse")
    texts = {name: value for name, value in document.items() if isinstance(value, str) and _is_unicode(value)}
    if "default" not in texts:
        raise invalid("Message Structure - No default entry in JSON message body")
    return texts


def _fifo_ids(params: Params, topic: Topic | None, text: str) -> tuple[str, str]:
    """(group, deduplication id)."""
    group, deduplication = params.get("MessageGroupId") or "", params.get("MessageDeduplicationId") or ""
    for name, value in (("MessageGroupId", group), ("MessageDeduplicationId", deduplication)):
        if value and not _ID.match(value):
            raise invalid(
                f"{name} Reason: The request includes {name} parameter that is not valid. It can include alphanumeric"
                " and punctuation characters, and 1 to 128 of them"
            )
    if topic is None or not topic.fifo:
        if deduplication:
            raise invalid(
                "MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not"
                " valid for this topic type"
            )
        return group, ""
    if not group:
        raise invalid("The MessageGroupId parameter is required for FIFO topics")
    if not deduplication:
        if topic.attributes.get("ContentBasedDeduplication") != "true":
            raise invalid(
                "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided"
                " explicitly"
            )
        deduplication = hashlib.sha256(text.encode()).hexdigest()
    return group, deduplication


# -- attributes -------------------------------------------------------------------------------------------------------


def _check_attribute(name: str, value: Mapping[str, Any]) -> None:
    _check_name(name)
    data_type = value.get("DataType") or ""
    kind = data_type.split(".", 1)[0]
    if kind not in ("String", "Number", "Binary") or len(data_type) > 256:
        raise attribute_value(
            f"The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes"
            " is Binary, Number, and String."
        )
    text, binary = value.get("StringValue"), value.get("BinaryValue")
    wanted, other, field = (binary, text, "Binary") if kind == "Binary" else (text, binary, "String")
    if other and not wanted:
        raise attribute_value(f"The message attribute '{name}' with type '{data_type}' must use field '{field}'.")
    if not wanted:
        raise attribute_value(
            f"The message attribute '{name}' must contain non-empty message attribute value for message attribute type"
            f" '{data_type}'."
        )
    if kind == "Number" and not _NUMBER.match(str(text).strip()):
        raise attribute_value(f"Could not cast message attribute '{name}' value to number.")
    if kind != "Binary" and not _is_unicode(str(text)):
        raise attribute_value(f"The message attribute '{name}' contains characters that are not Unicode.")


def _check_name(name: str) -> None:
    if len(name.encode("utf-8", "surrogatepass")) > 256:
        raise attribute_value("Length of message attribute name must be less than 256 bytes.")
    for char in name:
        if not _NAME.match(char):
            raise attribute_value(
                f"Invalid non-alphanumeric character '#x{ord(char):X}' was found in the message attribute name. Can"
                " only include alphanumeric characters, hyphens, underscores, or dots."
            )
    if name.startswith("."):
        raise attribute_value("Invalid message attribute name starting with character '.' was found.")
    if name.endswith("."):
        raise attribute_value("Invalid message attribute name ending with character '.' was found.")
    if ".." in name:
        raise attribute_value("Message attribute name can not have successive '.' character.")
