"""Where the outcome of an asynchronous invocation goes, as a Delivery.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html; bodies recorded on AWS.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import orjson

from alonzo.core.arn import Arn, parse_arn
from alonzo.engine.function import FunctionVersion, InvokeResult
from alonzo.engine.jobs import AsyncEvent, Delivery
from alonzo.engine.log_lines import iso_ms

#: AWS cuts an error message in a dead-letter queue's attribute to this length. Source: the page above, "dead-letter".
_MAX_ERROR_MESSAGE = 1_024
_OUTCOMES = uuid.UUID("7a1f5b0e-6c1d-4f0e-9a55-2f1f0c0de001")


def record(
    event: AsyncEvent, fv: FunctionVersion, condition: str, tries: int, result: InvokeResult | None, now: float
) -> dict[str, Any]:
    """The document that a destination gets."""
    document: dict[str, Any] = {
        "version": "1.0",
        "timestamp": iso_ms(now),
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": f"{fv.arn}:{event.qualifier or '$LATEST'}",
            "condition": condition,
            "approximateInvokeCount": tries,
        },
        "requestPayload": _json(event.payload or b"{}"),
    }
    if result is not None:
        context: dict[str, Any] = {"statusCode": 200, "executedVersion": result.executed_version}
        if result.function_error:
            context["functionError"] = result.function_error
        document["responseContext"] = context
        document["responsePayload"] = _json(result.payload)
    return document


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)  # integers over 64 bits, NaN
        except ValueError:
            return data.decode("utf-8", "replace")


def to_destination(
    destination: str, event: AsyncEvent, fv: FunctionVersion, document: dict[str, Any], *, success: bool
) -> Delivery:
    """A Delivery to an ARN, made as the function's role. Raises ValueError for what is no destination."""
    target = parse_arn(destination)
    body = json.dumps(document, separators=(",", ":"))
    outcome = "Success" if success else "Failure"
    match target.service:
        case "sqs":
            params: dict[str, Any] = {"QueueUrl": _queue_url(target), "MessageBody": body}
            operation = "SendMessage"
        case "sns":
            params, operation = {"TopicArn": destination, "Message": body}, "Publish"
        case "lambda":
            params = {"FunctionName": destination, "InvocationType": "Event", "Payload": body.encode()}
            operation = "Invoke"
        case "events":
            params = {
                "Entries": [
                    {
                        "Source": "lambda",
                        "DetailType": f"Lambda Function Invocation Result - {outcome}",
                        "Detail": body,
                        "EventBusName": destination,
                        "Resources": [destination, document["requestContext"]["functionArn"]],
                    }
                ]
            }
            operation = "PutEvents"
        case "s3":
            moment = document["timestamp"][:19].replace(":", ".")
            unique = uuid.uuid5(_OUTCOMES, event.id)
            key = f"aws/lambda/async/{fv.name}/{moment[:10].replace('-', '/')}/{moment}-{unique}"
            params, operation = {"Bucket": target.resource, "Key": key, "Body": body.encode()}, "PutObject"
        case _:
            raise ValueError(f"no destination: {destination}")
    return _delivery(event, fv, target.service, operation, params, target.region or event.region, outcome)


def to_dead_letter(destination: str, event: AsyncEvent, fv: FunctionVersion, result: InvokeResult | None) -> Delivery:
    """The event itself, with the error as attributes. Raises ValueError for what is no queue and no topic."""
    target = parse_arn(destination)
    message = ""
    if result is not None:
        answer = _json(result.payload)
        if isinstance(answer, dict):
            message = str(answer.get("errorMessage", ""))[:_MAX_ERROR_MESSAGE]
    attributes: dict[str, Any] = {
        "RequestID": {"DataType": "String", "StringValue": event.request_id},
        "ErrorCode": {"DataType": "Number", "StringValue": "200" if result is not None else "429"},
    }
    if message:
        attributes["ErrorMessage"] = {"DataType": "String", "StringValue": message}
    body = (event.payload or b"{}").decode("utf-8", "replace")
    if target.service == "sqs":
        params: dict[str, Any] = {
            "QueueUrl": _queue_url(target),
            "MessageBody": body,
            "MessageAttributes": attributes,
        }
        return _delivery(event, fv, "sqs", "SendMessage", params, target.region, "DeadLetter")
    if target.service == "sns":
        params = {"TopicArn": destination, "Message": body, "MessageAttributes": attributes}
        return _delivery(event, fv, "sns", "Publish", params, target.region, "DeadLetter")
    raise ValueError(f"no dead-letter target: {destination}")


def _delivery(
    event: AsyncEvent,
    fv: FunctionVersion,
    service: str,
    operation: str,
    params: dict[str, Any],
    region: str,
    outcome: str,
) -> Delivery:
    return Delivery(
        # The same outcome written twice is one delivery.
        id=str(uuid.uuid5(_OUTCOMES, f"{event.id}/{outcome}")),
        account_id=event.account_id,
        region=region,
        service=service,
        operation=operation,
        params=params,
        principal=fv.role_arn,
        source_arn=fv.arn,
        trace_header=event.trace_header,
        labels={"function": fv.name, "outcome": outcome},
    )


def _queue_url(queue: Arn) -> str:
    return f"http://sqs.{queue.region}.localhost/{queue.account_id}/{queue.resource}"
