"""Which permission each operation needs. Denials name actions in lower case, as AWS's do.

Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
"""

from __future__ import annotations

from collections.abc import Sequence

from alonzo.core.arn import arn
from alonzo.core.context import Context
from alonzo.core.errors import ServiceError
from alonzo.dispatch import Access, Params
from alonzo.services.sqs.models import queue_arn
from alonzo.services.sqs.operations.moves import read_task_handle
from alonzo.services.sqs.state import Sqs

#: A batch needs what its entries need.
_BATCHES = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
_MOVING = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")


async def access(state: Sqs, ctx: Context, operation: str, params: Params) -> Sequence[Access]:
    action = _BATCHES.get(operation, operation)
    if operation == "ListQueues":
        return [_on(action, arn("sqs", ctx.region, ctx.account_id, "*"), ctx.account_id)]
    if operation == "CreateQueue":
        resource = queue_arn(ctx.account_id, ctx.region, params["QueueName"])
        actions = [action, "TagQueue"] if params.get("tags") else [action]
        return [_on(one, resource, ctx.account_id) for one in actions]
    if operation in ("StartMessageMoveTask", "CancelMessageMoveTask", "ListMessageMoveTasks"):
        return _of_moves(state, operation, params)
    if operation == "GetQueueUrl":
        account = params.get("QueueOwnerAWSAccountId") or ctx.account_id
        key = (account, ctx.region, params["QueueName"])
    else:
        key = state.key(ctx, params["QueueUrl"])
    live = state.queues.find(key)
    if live is None:
        return [_on(action, queue_arn(*key), key[0])]
    return live.asked(action).access


def _of_moves(state: Sqs, operation: str, params: Params) -> list[Access]:
    try:
        source = params.get("SourceArn") or read_task_handle(params["TaskHandle"])[1]
    except ServiceError:
        return []  # the handler says what is wrong with it
    live = state.live_by_arn(source)
    actions = (operation,) if operation == "ListMessageMoveTasks" else (operation, *_MOVING)
    if live is None:
        return [_on(action, source) for action in actions]
    needed = [live.asked(action).access[0] for action in actions]
    if operation == "StartMessageMoveTask" and params.get("DestinationArn"):
        target = state.live_by_arn(params["DestinationArn"])
        needed.append(
            target.asked("SendMessage").access[0]
            if target is not None
            else _on("SendMessage", params["DestinationArn"])
        )
    return needed


def _on(action: str, resource: str, account_id: str = "") -> Access:
    return Access(f"sqs:{action.lower()}", resource, account_id)
