"""The Extensions API (2020-01-01): who has registered in an environment, and what each waits for.

Source: execution-environment contract §2; https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import orjson

from alonzo.core.ids import Ids

#: External and internal ones together.
MAX_EXTENSIONS = 10
INVOKE, SHUTDOWN = "INVOKE", "SHUTDOWN"
_NAME = re.compile(r"[\w.-]{1,128}")
_IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

#: Gets a whole HTTP response.
Waiter = Callable[[bytes], None]


def message(status: str, body: bytes, content_type: str = "application/json", headers: str = "") -> bytes:
    """A whole HTTP response; `headers` are lines with their ends."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def refusal(error_type: str, text: str, status: str = "403 Forbidden") -> bytes:
    return message(status, orjson.dumps({"errorMessage": text, "errorType": error_type}) + b"\n")


ACCEPTED = message("202 Accepted", b'{"status":"OK"}\n')


class State(StrEnum):
    """Names as AWS's log lines show them."""

    LAUNCHED = "Launched"
    REGISTERED = "Registered"
    READY = "Ready"
    RUNNING = "Running"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"
    LAUNCH_ERROR = "LaunchError"
    EXITED = "Exited"


#: What an extension in one of these states does, nobody waits for.
_OVER = (State.INIT_ERROR, State.EXIT_ERROR, State.LAUNCH_ERROR, State.EXITED)


@dataclass(slots=True, eq=False)
class Extension:
    """One extension. `identifier` is "" until it has registered; `pending` an event that nobody has asked for yet."""

    name: str
    external: bool
    identifier: str = ""
    events: tuple[str, ...] = ()
    state: State = State.LAUNCHED
    error_type: str = ""
    waiter: Waiter | None = None
    pending: bytes = b""


class Listener(Protocol):
    """Who is told: the environment's company."""

    def extension_registered(self, extension: Extension) -> None: ...

    def extension_waits(self, extension: Extension) -> None:
        """It has asked for the next event: it is initialised, or through with the one before."""

    def extension_failed(self, extension: Extension, kind: str, error_type: str) -> None:
        """It reported an error; `kind` is Extension.InitError or Extension.ExitError."""


class Extensions:
    """All extensions of one environment. Every method that answers a request answers the whole response."""

    def __init__(self, listener: Listener, ids: Ids, described: Mapping[str, str], account_id: str) -> None:
        self.all: dict[str, Extension] = {}
        #: Closed when initialisation is over.
        self.open = True
        self._listener = listener
        self._ids = ids
        self._described = described
        self._account_id = account_id
        self._by_identifier: dict[str, Extension] = {}

    def expect(self, name: str) -> Extension:
        """An external extension is being launched."""
        extension = self.all[name] = Extension(name, external=True)
        return extension

    @property
    def registered(self) -> bool:
        """Whether every external one has registered."""
        return all(each.identifier or each.state in _OVER for each in self.all.values() if each.external)

    @property
    def busy(self) -> bool:
        """Whether one of them still works on its last event, or on its initialisation."""
        return any(each.state in (State.LAUNCHED, State.REGISTERED, State.RUNNING) for each in self.all.values())

    def find(self, identifier: str) -> Extension | bytes:
        """The extension that a request comes from, or the refusal."""
        if not identifier:
            return refusal("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
        if not _IDENTIFIER.fullmatch(identifier):
            return refusal("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")
        found = self._by_identifier.get(identifier)
        if found is None:
            return refusal("Extension.UnknownExtensionIdentifier", "Unknown extension " + identifier)
        return found

    # -- what they ask ------------------------------------------------------------------------------------------------

    def register(self, name: str, body: bytes, features: str) -> bytes:
        if not _NAME.fullmatch(name):
            return refusal("Extension.InvalidExtensionName", "Empty or invalid extension name")
        events = _events(body)
        if events is None:
            return refusal("InvalidRequestFormat", "The request body is not what an extension registers with.")
        extension = self.all.get(name)
        if extension is None:
            if not self.open:
                return refusal("Extension.RegistrationClosed", "Extension registration closed already")
            extension = Extension(name, external=False)
        unknown = [event for event in events if event not in (INVOKE, SHUTDOWN)]
        if unknown or (SHUTDOWN in events and not extension.external):
            which = unknown[0] if unknown else f"{SHUTDOWN} of an internal extension"
            return refusal("Extension.InvalidEventType", f"Invalid event type: {which[:100]}")
        if extension.state is not State.LAUNCHED or extension.identifier:
            return refusal("Extension.InvalidExtensionState", f"Extension {name} is {extension.state} already")
        if len(self._by_identifier) >= MAX_EXTENSIONS:
            return refusal("Extension.TooManyExtensions", "Extension limit reached")
        return self._register(extension, events, features)

    def _register(self, extension: Extension, events: tuple[str, ...], features: str) -> bytes:
        extension.identifier = self._ids.uuid()
        extension.events = events
        extension.state = State.REGISTERED
        self.all[extension.name] = extension
        self._by_identifier[extension.identifier] = extension
        answer = dict(self._described)
        if "accountId" in [feature.strip() for feature in features.split(",")]:
            answer["accountId"] = self._account_id
        header = f"Lambda-Extension-Identifier: {extension.identifier}\r\n"
        self._listener.extension_registered(extension)
        return message("200 OK", orjson.dumps(answer), headers=header)

    def next(self, extension: Extension, waiter: Waiter) -> None:
        """`waiter` is called with the response now or later."""
        if extension.pending:
            event, extension.pending = extension.pending, b""
            extension.state = State.RUNNING
            waiter(event)
            return
        if extension.state in _OVER or extension.waiter is not None:
            text = f"State transition from {extension.state} to Ready failed for extension {extension.name}."
            waiter(refusal("Extension.InvalidExtensionState", text))
            return
        extension.waiter = waiter
        extension.state = State.READY
        self._listener.extension_waits(extension)

    def failed(self, extension: Extension, kind: str, error_type: str) -> bytes:
        """An extension reports an error of its own."""
        if not error_type:
            return refusal("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
        init = kind == "Extension.InitError"
        if extension.state in _OVER or (init and extension.state is not State.REGISTERED):
            text = f"State transition from {extension.state} failed for extension {extension.name}."
            return refusal("Extension.InvalidExtensionState", text)
        extension.state = State.INIT_ERROR if init else State.EXIT_ERROR
        extension.error_type = error_type
        self._listener.extension_failed(extension, kind, error_type)
        return ACCEPTED

    def forget(self, waiter: Waiter) -> None:
        """The connection of a waiting `next` has gone."""
        for extension in self.all.values():
            if extension.waiter == waiter:
                extension.waiter = None

    # -- what they are told -------------------------------------------------------------------------------------------

    def send(self, event: str, document: Mapping[str, Any]) -> None:
        """Give an event to all that want it."""
        wanting = [each for each in self.all.values() if event in each.events and each.state not in _OVER]
        if not wanting:
            return
        header = f"Lambda-Extension-Event-Identifier: {self._ids.uuid()}\r\n"
        response = message("200 OK", orjson.dumps({"eventType": event, **document}), headers=header)
        for extension in wanting:
            extension.state = State.RUNNING
            waiter, extension.waiter = extension.waiter, None
            if waiter is not None:
                waiter(response)
            else:
                extension.pending = response


def _events(body: bytes) -> tuple[str, ...] | None:
    try:
        document = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        return None
    events = document.get("events", []) if isinstance(document, dict) else None
    if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
        return None
    if document.get("configurationKeys"):
        return None
    return tuple(dict.fromkeys(events))
