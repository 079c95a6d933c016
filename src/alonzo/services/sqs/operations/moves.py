"""Message move tasks: dead letters back to where they came from, or elsewhere.

Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson

from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Params, Result
from alonzo.services.sqs import store
from alonzo.services.sqs.errors import invalid, invalid_value
from alonzo.services.sqs.live import LiveQueue
from alonzo.services.sqs.models import MoveTask
from alonzo.services.sqs.operations.queues import sources_of
from alonzo.services.sqs.state import Sqs

_MAX_RATE = 500
_MAX_RESULTS = 10
_MAX_TASKS = 100


def _missing() -> ServiceError:
    return ServiceError(
        "ResourceNotFoundException", "The resource that you specified for the SourceArn parameter doesn't exist."
    )


def _source(state: Sqs, ctx: Context, params: Params) -> LiveQueue:
    arn = params["SourceArn"]
    live = state.live_by_arn(arn)
    if live is None:
        if arn.count(":") != 5 or not arn.startswith("arn:"):
            raise invalid(
                "You must use this format to specify the SourceArn: "
                "arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
            )
        raise _missing()
    return live


async def start_message_move_task(state: Sqs, ctx: Context, params: Params) -> Result:
    live = _source(state, ctx, params)
    queue = live.queue
    rate = params.get("MaxNumberOfMessagesPerSecond") or 0
    if "MaxNumberOfMessagesPerSecond" in params and not 1 <= rate <= _MAX_RATE:
        raise invalid(f"Value for parameter MaxNumberOfMessagesPerSecond must be between 1 and {_MAX_RATE}.")
    if not sources_of(state, queue):
        raise invalid("Source queue must be configured as a Dead Letter Queue.")
    destination = params.get("DestinationArn") or ""
    if destination:
        target = state.live_by_arn(destination)
        if target is None:
            raise ServiceError(
                "ResourceNotFoundException",
                "The resource that you specified for the DestinationArn parameter doesn't exist.",
            )
        if target is live:
            raise invalid("Source queue arn and destination queue arn must be different.")
        if target.queue.fifo != queue.fifo:
            raise invalid("Source queue and destination queue must be of the same type.")
        if target.queue.key[:2] != queue.key[:2]:
            raise invalid("Source queue and destination queue must be of the same account and region.")
    async with state.lock:
        running = await state.parts.db.read(store.open_tasks)
        if any(task.source == queue.arn for task in running):
            raise invalid(
                "There is already a task running. Only one active task is allowed for a source queue arn at a given "
                "time."
            )
        if sum((task.account_id, task.region) == queue.key[:2] for task in running) >= _MAX_TASKS:
            raise invalid(f"No more than {_MAX_TASKS} message movement tasks can be active in an account.")
        task = MoveTask(
            state.parts.ids.uuid(),
            *queue.key[:2],
            queue.arn,
            destination,
            rate,
            "RUNNING",
            0,
            live.ready().visible,
            "",
            state.now_ms(),
        )
        await state.parts.db.write(lambda connection: store.add_task(connection, task))
    state.tasks_changed.set()
    return {"TaskHandle": _handle(task)}


def _handle(task: MoveTask) -> str:
    return base64.b64encode(orjson.dumps({"taskId": task.id, "sourceArn": task.source})).decode()


def read_task_handle(handle: str) -> tuple[str, str]:
    """The task's id and its source. Raises InvalidParameterValue."""
    try:
        content = orjson.loads(base64.b64decode(handle, validate=True))
        return str(content["taskId"]), str(content["sourceArn"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise invalid_value(
            handle[:256].encode(errors="replace").decode(), "TaskHandle", "Value for parameter TaskHandle is invalid."
        ) from None


async def cancel_message_move_task(state: Sqs, ctx: Context, params: Params) -> Result:
    task_id, _ = read_task_handle(params["TaskHandle"])
    async with state.lock:
        task = await state.parts.db.read(lambda connection: store.find_task(connection, task_id))
        if task is None or (task.account_id, task.region) != (ctx.account_id, ctx.region):
            raise ServiceError("ResourceNotFoundException", "Task does not exist.")
        if task.status != "RUNNING":
            raise invalid("Only active tasks can be cancelled.")
        await state.parts.db.write(lambda c: store.change_task(c, task_id, {"status": "CANCELLING"}))
    state.tasks_changed.set()
    return {"ApproximateNumberOfMessagesMoved": task.moved}


async def list_message_move_tasks(state: Sqs, ctx: Context, params: Params) -> Result:
    live = _source(state, ctx, params)
    limit = params.get("MaxResults", 1)
    if not 1 <= limit <= _MAX_RESULTS:
        raise invalid(f"Value for parameter MaxResults must be between 1 and {_MAX_RESULTS}.")
    queue = live.queue
    tasks = await state.parts.db.read(lambda c: store.tasks_of(c, *queue.key[:2], queue.arn, limit))
    return {"Results": [_shown(task) for task in tasks]}


def _shown(task: MoveTask) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Status": task.status,
        "SourceArn": task.source,
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "StartedTimestamp": task.started_ms,
    }
    if task.status == "RUNNING":
        shown["TaskHandle"] = _handle(task)
    if task.destination:
        shown["DestinationArn"] = task.destination
    if task.rate:
        shown["MaxNumberOfMessagesPerSecond"] = task.rate
    if task.failure:
        shown["FailureReason"] = task.failure
    return shown
