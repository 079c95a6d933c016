"""The Extensions API's state machine: who may register, ask and fail, when, and in which words it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alonzo.core.ids import Ids
from alonzo.engine.extensions import INVOKE, SHUTDOWN, Extension, Extensions, State

BOTH = b'{"events": ["INVOKE", "SHUTDOWN"]}'


class Told:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def extension_registered(self, extension: Extension) -> None:
        self.calls.append(("registered", extension.name))

    def extension_waits(self, extension: Extension) -> None:
        self.calls.append(("waits", extension.name))

    def extension_failed(self, extension: Extension) -> None:
        self.calls.append(("failed", extension.error_type))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def extensions(told: Told) -> Extensions:
    described = {"functionName": "f", "functionVersion": "$LATEST", "handler": "app.handler"}
    return Extensions(told, Ids(1), described, "123456789012")


def read(response: bytes) -> tuple[int, dict[str, str], Any]:
    head, _, body = response.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body)


def refused(response: bytes) -> tuple[int, str, str]:
    status, _, body = read(response)
    return status, body["errorType"], body["errorMessage"]


def registered(extensions: Extensions, name: str, body: bytes = BOTH) -> Extension:
    status, headers, _ = read(extensions.register(name, body, ""))
    assert status == 200
    found = extensions.find(headers["Lambda-Extension-Identifier"])
    assert isinstance(found, Extension)
    return found


def test_registration_describes_the_function(extensions: Extensions, told: Told) -> None:
    """Name, version and handler; the account only to those that ask for it among other features."""
    extensions.expect("watcher")
    assert not extensions.registered
    status, headers, body = read(extensions.register("watcher", BOTH, ""))
    assert (status, body) == (200, {"functionName": "f", "functionVersion": "$LATEST", "handler": "app.handler"})
    assert len(headers["Lambda-Extension-Identifier"]) == 36
    assert extensions.registered
    assert told.calls == [("registered", "watcher")]
    body = read(extensions.register("inner", b"{}", "other, accountId,"))[2]
    assert body["accountId"] == "123456789012"


@pytest.mark.parametrize(
    ("name", "body", "error_type", "text"),
    [
        ("", BOTH, "Extension.InvalidExtensionName", "Empty extension name"),
        ("a\tb", BOTH, "Extension.InvalidExtensionName", "Invalid extension name"),
        ("x" * 256, BOTH, "Extension.InvalidExtensionName", "Invalid extension name"),
        ("e", b"", "InvalidRequestFormat", "unexpected end of JSON input"),
        ("e", b'{"events": "INVOKE"}', "InvalidRequestFormat", "json: events is not a list of strings"),
        ("e", b"[]", "InvalidRequestFormat", "json: events is not a list of strings"),
        (
            "e",
            b'{"configurationKeys": ["A"]}',
            "InvalidRequestFormat",
            "configurationKeys are deprecated; use environment variables instead",
        ),
        ("e", b'{"events": ["TEA"]}', "Extension.InvalidEventType", "TEA: ErrorInvalidEventType"),
        ("inner", b'{"events": ["TEA"]}', "Extension.InvalidEventType", "TEA: ErrorInvalidEventType"),
        (
            "inner",
            BOTH,
            "Extension.InvalidEventType",
            "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
        ),
    ],
)
def test_registrations_are_refused_in_awss_words(
    extensions: Extensions, name: str, body: bytes, error_type: str, text: str
) -> None:
    """403 with type and text, and nothing has changed."""
    extensions.expect("e")
    assert refused(extensions.register(name, body, "")) == (403, error_type, text)
    assert [each.state for each in extensions.all.values()] == [State.LAUNCHED]


def test_nobody_registers_twice(extensions: Extensions) -> None:
    """An external extension's second registration is a wrong transition, an internal one's a name that is taken."""
    extensions.expect("outer")
    registered(extensions, "outer")
    registered(extensions, "inner", b'{"events": ["INVOKE"]}')
    assert refused(extensions.register("outer", BOTH, "")) == (
        403,
        "Extension.InvalidExtensionState",
        "State transition from Registered to Registered failed for extension outer."
        " Error: State transition is not allowed",
    )
    assert refused(extensions.register("inner", b"{}", "")) == (
        403,
        "Extension.InvalidExtensionState",
        "Extension with this name already registered",
    )


def test_ten_extensions_and_no_more(extensions: Extensions) -> None:
    """External and internal ones count together."""
    for n in range(4):
        extensions.expect(f"outer-{n}")
    for n in range(6):
        registered(extensions, f"inner-{n}", b"{}")
    answer = refused(extensions.register("one-more", b"{}", ""))
    assert answer == (403, "Extension.TooManyExtensions", "Extension limit (10) reached")
    registered(extensions, "outer-3")


def test_registration_closes(extensions: Extensions) -> None:
    """Once the runtime has asked for its first event no internal extension comes any more."""
    extensions.open = False
    answer = refused(extensions.register("late", b"{}", ""))
    assert answer == (403, "Extension.RegistrationClosed", "Extension registration closed already")


@pytest.mark.parametrize(
    ("identifier", "error_type", "text"),
    [
        ("", "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header"),
        ("me", "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"),
        (
            "00000000-0000-4000-8000-000000000000",
            "Extension.UnknownExtensionIdentifier",
            "Unknown extension 00000000-0000-4000-8000-000000000000",
        ),
    ],
)
def test_requests_name_their_extension(extensions: Extensions, identifier: str, error_type: str, text: str) -> None:
    """Without a known identifier every request is refused."""
    answer = extensions.find(identifier)
    assert isinstance(answer, bytes)
    assert refused(answer) == (403, error_type, text)


def test_events_reach_those_that_want_them(extensions: Extensions) -> None:
    """A waiting extension gets its event at once, another when it asks; who did not subscribe gets none."""
    waiting = registered(extensions, "waiting", b'{"events": ["INVOKE"]}')
    late = registered(extensions, "late", b'{"events": ["INVOKE"]}')
    deaf = registered(extensions, "deaf", b"{}")
    got: list[bytes] = []
    extensions.next(waiting, got.append)
    extensions.next(deaf, got.append)
    assert extensions.busy  # "late" is still initialising
    lost: list[bytes] = []
    hung_up = lost.append
    extensions.next(late, hung_up)
    assert not extensions.busy
    extensions.forget(hung_up)
    extensions.send(INVOKE, {"requestId": "r"})
    assert extensions.busy
    assert [read(each)[2] for each in got] == [{"eventType": "INVOKE", "requestId": "r"}]
    extensions.next(late, got.append)
    assert read(got[1])[1]["Lambda-Extension-Event-Identifier"]
    for extension in (waiting, late):
        extensions.next(extension, got.append)
    assert not extensions.busy
    assert (len(got), lost) == (2, [])


def test_one_next_at_a_time(extensions: Extensions) -> None:
    """A second `next` while one waits is refused; the first goes on."""
    extension = registered(extensions, "inner", b'{"events": ["INVOKE"]}')
    first: list[bytes] = []
    second: list[bytes] = []
    extensions.next(extension, first.append)
    extensions.next(extension, second.append)
    assert refused(second[0]) == (
        403,
        "Extension.InvalidExtensionState",
        f"State transition from Ready to Ready failed for extension {extension.identifier}."
        " Error: State transition is not allowed",
    )
    extensions.send(INVOKE, {})
    assert len(first) == 1


def test_errors_are_reported_once_and_at_the_right_time(extensions: Extensions, told: Told) -> None:
    """init/error only before the first `next`, exit/error always; both need a type, and may be repeated."""
    extension = registered(extensions, "inner", b"{}")
    answer = refused(extensions.failed(extension, State.INIT_ERROR, ""))
    assert answer == (403, "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
    extensions.next(extension, lambda response: None)
    assert refused(extensions.failed(extension, State.INIT_ERROR, "Extension.No"))[2].startswith(
        "State transition from Ready to InitError failed for extension"
    )
    for _ in range(2):
        assert read(extensions.failed(extension, State.EXIT_ERROR, "Extension.No" + "x" * 300))[0] == 202
    assert [name for name, _ in told.calls] == ["registered", "waits", "failed"]
    assert len(extension.record["errorType"]) == 256
    assert extension.record["state"] == "ExitError"
    got: list[bytes] = []
    extensions.next(extension, got.append)
    assert refused(got[0])[1] == "Extension.InvalidExtensionState"
    assert extensions.busy  # an invocation never ends with it


def test_who_is_over_is_told_nothing(extensions: Extensions) -> None:
    """SHUTDOWN goes to those whose process still runs."""
    for name in ("gone", "there"):
        extensions.expect(name)
    gone, there = registered(extensions, "gone"), registered(extensions, "there")
    gone.ended = True
    extensions.send(SHUTDOWN, {"shutdownReason": "spindown"})
    assert (gone.pending, read(there.pending)[2]["shutdownReason"]) == (b"", "spindown")
