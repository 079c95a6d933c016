"""The Extensions API (2020-01-01): who has registered in an environment, and what each waits for.

Source: execution-environment contract §2; https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html.
The texts of refusals are those of AWS's Runtime Interface Emulator, whose API is the service's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Protocol

import orjson

from alonzo.core.dataclasses import dataclass
from alonzo.core.ids import Ids

#: External and internal ones together.
MAX_EXTENSIONS = 10
INVOKE, SHUTDOWN = "INVOKE", "SHUTDOWN"
#: A file may be called almost anything; a name also gets into log lines.
_NAME = re.compile(r"[^\x00-\x1f\x7f/]{1,255}")
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
    """Names as AWS's log lines and refusals show them."""

    LAUNCHED = "Started"
    REGISTERED = "Registered"
    READY = "Ready"
    RUNNING = "Running"
    INIT_ERROR = "InitError"
    EXIT_ERROR = "ExitError"
    LAUNCH_ERROR = "LaunchError"


_FAILED = (State.INIT_ERROR, State.EXIT_ERROR, State.LAUNCH_ERROR)


@dataclass(slots=True, eq=False)
class Extension:
    """One extension. `identifier` is "" until it has registered; `pending` an event that nobody has asked for yet."""

    name: str
    external: bool
    identifier: str = ""
    events: tuple[str, ...] = ()
    state: State = State.LAUNCHED
    #: Its process has ended; the state stays what it was.
    ended: bool = False
    error_type: str = ""
    waiter: Waiter | None = None
    pending: bytes = b""

    @property
    def over(self) -> bool:
        """Nobody waits for what it does."""
        return self.ended or self.state in _FAILED

    @property
    def record(self) -> dict[str, Any]:
        """What a log line and platform.extension say of it."""
        record = {"name": self.name, "state": self.state.value, "events": list(self.events)}
        if self.error_type:
            record["errorType"] = self.error_type
        return record


class Listener(Protocol):
    """Who is told: the environment's company."""

    def extension_registered(self, extension: Extension) -> None: ...

    def extension_waits(self, extension: Extension) -> None:
        """It has asked for the next event: it is initialised, or through with the one before."""

    def extension_failed(self, extension: Extension) -> None:
        """It reported an error: its state is INIT_ERROR or EXIT_ERROR now."""


class Extensions:
    """All extensions of one environment. Every method that answers a request answers the whole response."""

    def __init__(self, listener: Listener, ids: Ids, described: Mapping[str, str], account_id: str) -> None:
        self.all: dict[str, Extension] = {}
        #: Closed when the runtime has asked for its first event.
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
        return all(each.identifier or each.over for each in self.all.values() if each.external)

    @property
    def busy(self) -> bool:
        """Whether one of them still works on its last event, or on its initialisation; one that failed never ends."""
        return any(each.state is not State.READY for each in self.all.values())

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
        if not name:
            return refusal("Extension.InvalidExtensionName", "Empty extension name")
        if not _NAME.fullmatch(name):
            return refusal("Extension.InvalidExtensionName", "Invalid extension name")
        try:
            events = _events(body)
        except ValueError as error:
            return refusal("InvalidRequestFormat", str(error))
        extension = self.all.get(name)
        external = extension is not None and extension.external
        for event in events:
            if event == SHUTDOWN and not external:
                text = f"{event}: ShutdownEventNotSupportedForInternalExtension"
                return refusal("Extension.InvalidEventType", text)
            if event not in (INVOKE, SHUTDOWN):
                return refusal("Extension.InvalidEventType", f"{event[:100]}: ErrorInvalidEventType")
        if extension is None or not external:
            if not self.open:
                return refusal("Extension.RegistrationClosed", "Extension registration closed already")
            if extension is not None:
                return refusal("Extension.InvalidExtensionState", "Extension with this name already registered")
            if len(self.all) >= MAX_EXTENSIONS:
                return refusal("Extension.TooManyExtensions", f"Extension limit ({MAX_EXTENSIONS}) reached")
            extension = Extension(name, external=False)
        elif extension.state is not State.LAUNCHED:
            return _not_allowed(extension.state, State.REGISTERED, name)
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
        if extension.over or extension.waiter is not None:
            waiter(_not_allowed(extension.state, State.READY, extension.identifier))
            return
        extension.waiter = waiter
        extension.state = State.READY
        self._listener.extension_waits(extension)

    def failed(self, extension: Extension, state: State, error_type: str) -> bytes:
        """An extension reports an error of its own; `state` is INIT_ERROR or EXIT_ERROR. Saying it again is allowed."""
        if not error_type:
            return refusal("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
        if extension.state is state:
            return ACCEPTED
        if extension.over or (state is State.INIT_ERROR and extension.state is not State.REGISTERED):
            return _not_allowed(extension.state, state, extension.identifier)
        extension.state = state
        extension.error_type = error_type[:256]
        self._listener.extension_failed(extension)
        return ACCEPTED

    def forget(self, waiter: Waiter) -> None:
        """The connection of a waiting `next` has gone."""
        for extension in self.all.values():
            if extension.waiter == waiter:
                extension.waiter = None

    # -- what they are told -------------------------------------------------------------------------------------------

    def send(self, event: str, document: Mapping[str, Any]) -> None:
        """Give an event to all that want it."""
        wanting = [each for each in self.all.values() if event in each.events and not each.over]
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


def _not_allowed(source: State, target: State, who: str) -> bytes:
    text = f"State transition from {source} to {target} failed for extension {who}."
    return refusal("Extension.InvalidExtensionState", f"{text} Error: State transition is not allowed")


def _events(body: bytes) -> tuple[str, ...]:
    """The events that a registration names. Raises ValueError with what is wrong."""
    if not body.strip():
        raise ValueError("unexpected end of JSON input")
    document = orjson.loads(body)
    events = (document.get("events") or []) if isinstance(document, dict) else None
    if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
        raise ValueError("json: events is not a list of strings")
    if document.get("configurationKeys"):
        raise ValueError("configurationKeys are deprecated; use environment variables instead")
    return tuple(dict.fromkeys(events))
