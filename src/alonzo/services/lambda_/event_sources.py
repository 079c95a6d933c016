"""Event source mappings: what AWS accepts of them, and what of it goes to the pollers.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html; texts recorded on AWS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from alonzo.core.arn import parse_arn
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.core.patterns import PatternError, compile_pattern
from alonzo.dispatch import Params, Result
from alonzo.engine import pollers
from alonzo.services.lambda_.errors import invalid
from alonzo.services.lambda_.execution_role import as_role, may_call
from alonzo.services.lambda_.names import FunctionRef
from alonzo.services.lambda_.state import State
from alonzo.services.lambda_.store.mappings import EventSource
from alonzo.services.lambda_.targets import Target, load

MAX_FILTERS = 10
_QUEUE = re.compile(r"arn:aws[a-z-]*:sqs:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,80}(\.fifo)?")
#: What the role of a function must be allowed to do with a queue, in AWS's order of asking.
_SQS_ACTIONS = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
_LATER = {
    "kinesis": "Kinesis",
    "dynamodb": "DynamoDB",
    "kafka": "Kafka",
    "mq": "Amazon MQ",
    "rds": "DocumentDB",
}
#: Parameters that belong to other sources than queues.
_NOT_FOR_QUEUES = (
    "ParallelizationFactor",
    "StartingPosition",
    "StartingPositionTimestamp",
    "MaximumRecordAgeInSeconds",
    "BisectBatchOnFunctionError",
    "MaximumRetryAttempts",
    "TumblingWindowInSeconds",
    "Topics",
    "Queues",
    "SourceAccessConfigurations",
    "SelfManagedEventSource",
    "AmazonManagedKafkaEventSourceConfig",
    "SelfManagedKafkaEventSourceConfig",
    "DocumentDBEventSourceConfig",
)
#: Members of a configuration that are kept as they come.
_KEPT = (
    "BatchSize",
    "MaximumBatchingWindowInSeconds",
    "FunctionResponseTypes",
    "ScalingConfig",
    "KMSKeyArn",
    "MetricsConfig",
    "LoggingConfig",
    "ProvisionedPollerConfig",
)
_OF_BATCHES = "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10"


def check_source(params: Params) -> str:
    """The source's ARN. Raises for what AWS refuses before it looks at the function, and for kinds not polled yet."""
    if "SelfManagedEventSource" in params:
        if "SourceAccessConfigurations" not in params:
            raise invalid("Required 'sourceAccessConfigurations' parameter is missing.")
        raise _not_yet("kafka")
    source: str = params.get("EventSourceArn") or ""
    if not source:
        raise invalid("Unrecognized event source.")
    service = parse_arn(source).service
    if service in ("kinesis", "dynamodb"):
        _check_position(service, source, params)
    if service in _LATER:
        raise _not_yet(service)
    if service != "sqs" or not _QUEUE.fullmatch(source):
        raise invalid("Unrecognized event source.")
    return source


def _check_position(service: str, source: str, params: Params) -> None:
    position = params.get("StartingPosition")
    if position is None:
        raise invalid(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must"
            " not be null."
        )
    if position == "AT_TIMESTAMP" and service == "dynamodb":
        raise invalid(f"Unsupported starting position for arn type: {source}")


def _not_yet(service: str) -> ServiceError:
    return ServiceError(
        "NotImplementedException",
        f"Alonzo does not poll {_LATER[service]} yet; event source mappings work for Amazon SQS.",
        status=501,
    )


def merge(current: Mapping[str, Any], params: Params, source: str) -> dict[str, Any]:
    """A queue's configuration with what a request says. Raises InvalidParameterValueException."""
    for side in ("OnSuccess", "OnFailure"):
        if ((params.get("DestinationConfig") or {}).get(side) or {}).get("Destination"):
            raise _unsupported("DestinationConfig")
    for name in _NOT_FOR_QUEUES:
        if name in params:
            raise _unsupported(name)
    config = dict(current)
    for name in _KEPT:
        if name in params:
            config[name] = params[name]
    if "FilterCriteria" in params:
        _check_filters(params["FilterCriteria"] or {})
        config["FilterCriteria"] = params["FilterCriteria"] or {}
    _check_batching(config, source)
    _check_scaling(config)
    return {name: value for name, value in config.items() if value not in ({}, "")}


def _unsupported(name: str) -> ServiceError:
    return invalid(f"Unsupported {name} parameter for given event source mapping type.")


def _check_batching(config: Mapping[str, Any], source: str) -> None:
    window = config["MaximumBatchingWindowInSeconds"]
    if source.endswith(".fifo") and window:
        raise invalid("Batching window is not supported for FIFO queues")
    if config["BatchSize"] > 10 and not window:
        raise invalid(_OF_BATCHES)


def _check_scaling(config: Mapping[str, Any]) -> None:
    provisioned = config.get("ProvisionedPollerConfig") or {}
    if not provisioned:
        return
    if "MaximumConcurrency" in (config.get("ScalingConfig") or {}):
        raise invalid("ScalingConfig.MaximumConcurrency and ProvisionedPollerConfig cannot be used together.")
    least, most = provisioned.get("MinimumPollers", 2), provisioned.get("MaximumPollers", 200)
    if not 2 <= least <= 200 or not 2 <= most <= 2_000 or least > most or provisioned.get("PollerGroupName"):
        raise invalid(
            "ProvisionedPollerConfig of a queue needs MinimumPollers from 2 to 200, MaximumPollers from 2 to 2000 and"
            " not below MinimumPollers, and no PollerGroupName."
        )


def _check_filters(criteria: Mapping[str, Any]) -> None:
    filters = criteria.get("Filters") or []
    if len(filters) > MAX_FILTERS:
        raise invalid(f"FilterCriteria can have at most {MAX_FILTERS} filters.")
    for one in filters:
        try:
            compile_pattern(one.get("Pattern") or "", "lambda")
        except PatternError as error:
            raise invalid(error.message) from error


def find_function(state: State, ref: FunctionRef, account_id: str) -> Target:
    """The function that a mapping names. Raises where it is not there, or another account's."""
    target = None
    if ref.account_id == account_id:
        target = state.parts.db.read_nowait(lambda connection: load(connection, ref))
    if target is None:
        raise invalid("Function does not exist")
    return target


async def check_queue(state: State, ctx: Context, source: str, target: Target) -> None:
    """Ask in the name of the execution role whether its function could be fed from a queue."""
    function = target.version
    role = as_role(ctx, function.role_arn, function.name)
    _, _, _, region, account_id, name = source.split(":", 5)
    queue = {"QueueUrl": f"http://sqs.{region}.localhost/{account_id}/{name}"}
    for action in _SQS_ACTIONS:
        if not await may_call(state, role, "sqs", action, queue):
            raise invalid(f"The provided execution role does not have permissions to call {action} on SQS")
    try:
        found = await state.parts.dispatcher.call(
            role, "sqs", "GetQueueAttributes", {**queue, "AttributeNames": ["VisibilityTimeout"]}
        )
    except ServiceError as error:
        if error.status >= 500:
            raise
        raise invalid(
            "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue."
            f" SQS Error Message: {error.message}"
        ) from error
    visibility_s = int(found["Attributes"]["VisibilityTimeout"])
    if visibility_s < function.timeout_s:
        raise invalid(
            f"Queue visibility timeout: {visibility_s} seconds is less than Function timeout:"
            f" {function.timeout_s} seconds"
        )


def function_arn(mapping: EventSource) -> str:
    return FunctionRef(mapping.account_id, mapping.region, mapping.function_name, mapping.qualifier).qualified_arn


def show(mapping: EventSource, problem: str = "") -> Result:
    """As the API answers it. `problem` is shown as LastProcessingResult, which queues' mappings have none of else."""
    config = mapping.config
    shown: Result = {
        "UUID": mapping.uuid,
        "EventSourceArn": mapping.source_arn,
        "EventSourceMappingArn": mapping.arn,
        "FunctionArn": function_arn(mapping),
        "LastModified": datetime.fromtimestamp(mapping.modified, UTC),
        "State": mapping.state,
        "StateTransitionReason": "USER_INITIATED",
        "FunctionResponseTypes": list(config.get("FunctionResponseTypes") or []),
        **{name: value for name, value in config.items() if name != "FunctionResponseTypes"},
    }
    if not (config.get("FilterCriteria") or {}).get("Filters"):
        shown.pop("FilterCriteria", None)
    if problem:
        shown["LastProcessingResult"] = problem
    return shown


def to_poller(mapping: EventSource) -> pollers.Mapping:
    """What the engine runs."""
    config = mapping.config
    provisioned = config.get("ProvisionedPollerConfig") or {}
    return pollers.Mapping(
        mapping.uuid,
        mapping.account_id,
        mapping.region,
        mapping.source_arn,
        mapping.function_name,
        mapping.qualifier,
        function_arn(mapping),
        config["BatchSize"],
        config["MaximumBatchingWindowInSeconds"],
        tuple(one["Pattern"] for one in (config.get("FilterCriteria") or {}).get("Filters") or []),
        (config.get("ScalingConfig") or {}).get("MaximumConcurrency"),
        "ReportBatchItemFailures" in (config.get("FunctionResponseTypes") or []),
        provisioned.get("MinimumPollers", 2) if provisioned else 0,
        provisioned.get("MaximumPollers", 200) if provisioned else 0,
    )
