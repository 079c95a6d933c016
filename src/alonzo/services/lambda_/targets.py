"""Which function an invocation reaches. Kept in memory, because it lies on the way of every Invoke."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection

from alonzo.core import tracing
from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import ServiceError
from alonzo.core.ids import Ids
from alonzo.dispatch import Access, Call
from alonzo.engine.function import CodeRef, FunctionVersion
from alonzo.services.lambda_ import configuration
from alonzo.services.lambda_.errors import function_not_found
from alonzo.services.lambda_.models import LATEST, WORTH_ANOTHER_TRY, Body, Code, Function, Version
from alonzo.services.lambda_.names import FunctionRef, function_ref, is_alias
from alonzo.services.lambda_.store import attachments, functions, settings
from alonzo.services.lambda_.store import code as code_store
from alonzo.storage import Database

#: A tag whose value `off` takes outbound internet from a function; `on` is the default.
INTERNET_TAG = "alonzo:internet"

_MAX_REMEMBERED = 20_000

T = TypeVar("T")
Asked = tuple[str, str, str, str | None]


@dataclass(frozen=True, slots=True)
class Target:
    """What a name and qualifier mean now.

    `routes` are the versions of a weighted alias with the upper ends of their shares, empty for all else. `obstacle` is
    "" or the text of the ResourceConflictException that an invocation gets; with `retry` the version is worth another
    try. `access` is what invoking it needs.
    """

    ref: FunctionRef
    version: FunctionVersion
    routes: tuple[tuple[float, FunctionVersion], ...]
    obstacle: str
    retry: bool
    access: tuple[Access, ...]
    #: What stands for the function in a trace header's lineage.
    mark: str

    def pick(self, ids: Ids) -> FunctionVersion:
        """The version for one invocation."""
        if not self.routes:
            return self.version
        chance = int.from_bytes(ids.token_bytes(4), "big") / 2**32
        return next((version for end, version in self.routes if chance < end), self.version)


def _plainly(ref: FunctionRef) -> Asked:
    """How a function is asked for by its parts."""
    return (*ref.key, ref.qualifier or None)


class Targets:
    """The memory of targets. Every write that touches a function happens within `changing`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._found: dict[Asked, Target] = {}
        self._names: dict[functions.Key, list[Asked]] = {}
        self._facts: dict[functions.Key, dict[tuple[str, str], Any]] = {}
        self._changing: Counter[functions.Key] = Counter()

    def find(self, ctx: Context, name: str, qualifier: str | None) -> Target:
        """Raises ResourceNotFoundException as Invoke words it."""
        asked = (ctx.account_id, ctx.region, name, qualifier)
        target = self._found.get(asked)
        if target is not None:
            return target
        return self._load(asked, function_ref(ctx, name, qualifier))

    def known(self, call: Call, name: str, qualifier: str | None) -> Target | None:
        """What `find` remembers; None says nothing."""
        asked = (call.account_id, call.region, name, qualifier)
        target = self._found.get(asked)
        if target is not None:
            return target
        try:
            ref = function_ref(call, name, qualifier)
        except ServiceError:
            return None
        target = self._found.get(_plainly(ref))  # the same may be known by its parts
        if target is not None:
            self._remember(ref, target, asked)
        return target

    def of(self, ref: FunctionRef) -> Target:
        """The same for a function that is known by its parts."""
        asked = _plainly(ref)
        target = self._found.get(asked)
        return target if target is not None else self._load(asked, ref)

    def prepare(self, ref: FunctionRef) -> None:
        """Remember it before anybody asks, so that the first invocation does not wait for the database."""
        with contextlib.suppress(ServiceError):
            self.of(ref)

    def _load(self, asked: Asked, ref: FunctionRef) -> Target:
        target = self._found.get(_plainly(ref))  # the same may be asked for by its ARN
        if target is None:
            target = self._db.read_nowait(lambda connection: load(connection, ref))
        if target is None:
            raise function_not_found(f"{ref.arn}:{ref.qualifier or LATEST}")
        if ref.key not in self._changing:
            self._remember(ref, target, asked)
        return target

    def _remember(self, ref: FunctionRef, target: Target, asked: Asked) -> None:
        if len(self._found) >= _MAX_REMEMBERED:
            self._found.clear()
            self._names.clear()
        for key in {asked, _plainly(ref)}:
            if key not in self._found:
                self._found[key] = target
                self._names.setdefault(ref.key, []).append(key)

    def recall(self, ref: FunctionRef, what: str, query: Callable[[Connection], T]) -> T:
        """What `query` says of a function's qualifier, remembered under the name `what` until the function changes."""
        facts = self._facts.get(ref.key)
        if facts is not None and (ref.qualifier, what) in facts:
            return cast(T, facts[ref.qualifier, what])
        found = self._db.read_nowait(query)
        if ref.key not in self._changing:
            if len(self._facts) >= _MAX_REMEMBERED:
                self._facts.clear()
            self._facts.setdefault(ref.key, {})[ref.qualifier, what] = found
        return found

    @contextmanager
    def changing(self, key: functions.Key) -> Iterator[None]:
        """Around a write: nothing is remembered of the function meanwhile, so nobody who sees the new rows gets an
        old target."""
        self._changing[key] += 1
        for asked in self._names.pop(key, ()):
            self._found.pop(asked, None)
        self._facts.pop(key, None)
        try:
            yield
        finally:
            self._changing[key] -= 1
            if not self._changing[key]:
                del self._changing[key]


def load(connection: Connection, ref: FunctionRef) -> Target | None:
    """Read a target, or None where function, version or alias is missing."""
    function = functions.get_function(connection, ref.key)
    if function is None:
        return None
    weights: dict[str, float] = {}
    number = ref.qualifier or LATEST
    if is_alias(ref.qualifier):
        alias = attachments.get_alias(connection, ref.key, ref.qualifier)
        if alias is None:
            return None
        number, weights = alias.version, dict(alias.weights)
    version = functions.get_version(connection, ref.key, number)
    if version is None:
        return None
    routes: list[tuple[float, FunctionVersion]] = []
    end = 0.0
    for other, weight in weights.items():
        additional = functions.get_version(connection, ref.key, other)
        if additional is not None:
            end += weight
            routes.append((end, engine_version(connection, function, additional, additional.running)))
    return Target(
        ref,
        engine_version(connection, function, version, version.running),
        tuple(routes),
        obstacle(version),
        version.state.code in WORTH_ANOTHER_TRY,
        (invoke_access(connection, ref),),
        tracing.mark_of(ref.arn),
    )


def obstacle(version: Version) -> str:
    """Why a version cannot be invoked now, or ""."""
    if version.state.name in ("Active", "Inactive"):
        return ""
    text = (
        "The operation cannot be performed at this time. The function is currently in the following state:"
        f" {version.state.name}"
    )
    return f"{text}. {version.state.reason}" if version.state.name == "Failed" else text


def invoke_access(connection: Connection, ref: FunctionRef) -> Access:
    """The permission to invoke: a qualifier is judged by its own policy, `$LATEST` by the function's."""
    qualifier = "" if ref.qualifier == LATEST else ref.qualifier
    policy = attachments.get_policy(connection, ref.key, qualifier)
    return Access(
        "lambda:InvokeFunction",
        ref.qualified_arn,
        resource_account=ref.account_id,
        resource_policy=attachments.policy_text(policy),
    )


def engine_version(connection: Connection, function: Function, version: Version, body: Body) -> FunctionVersion:
    """What the engine needs to run `body` as a version."""
    config = body.config
    logging: dict[str, Any] = config["LoggingConfig"]
    snap_start = configuration.snap_start(config, version.version)
    internet = function.tags.get(INTERNET_TAG, "on") != "off"
    return FunctionVersion(
        account_id=version.account_id,
        region=version.region,
        name=version.name,
        version=version.version,
        arn=FunctionRef(version.account_id, version.region, version.name).arn,
        # Environments are bound to the choice of network, so they may not be reused over its change.
        revision=body.generation if internet else f"{body.generation}-offline",
        runtime=config["Runtime"],
        handler=config["Handler"],
        role_arn=config["Role"],
        code=_code_ref(connection, body.code, version.name),
        layers=tuple(_code_ref(connection, layer.code, layer.arn) for layer in body.layers),
        memory_mib=config["MemorySize"],
        timeout_s=config["Timeout"],
        tmp_mib=config["EphemeralStorage"]["Size"],
        environment=dict((config.get("Environment") or {}).get("Variables", {})),
        architecture=config["Architectures"][0],
        log_group=logging["LogGroup"],
        log_format=logging["LogFormat"],
        application_log_level=logging.get("ApplicationLogLevel", ""),
        system_log_level=logging.get("SystemLogLevel", ""),
        tracing=config["TracingConfig"]["Mode"],
        internet=internet,
        reserved_concurrency=function.reserved_concurrency,
        tenant_isolation="TenancyConfig" in config,
        initialization_type="snap-start" if snap_start else "on-demand",
        snap_start=snap_start,
        loops_allowed=settings.get(connection, (version.account_id, version.region, version.name), "recursion")
        == "Allow",
    )


def _code_ref(connection: Connection, code: Code, label: str) -> CodeRef:
    return CodeRef(code_store.blob_of(connection, code) or "", code.sha256, label)
