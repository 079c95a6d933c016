"""Turns orders from a queue into receipts; an order that cannot be read is given back, and the others are not."""

import json
import os

import boto3

sqs = boto3.client("sqs")


def lambda_handler(event, context):
    failed = []
    for record in event["Records"]:
        try:
            order = json.loads(record["body"])
            receipt = {"order": order["id"], "total": round(order["price"] * order["quantity"], 2)}
        except (ValueError, KeyError, TypeError) as error:
            print(f"{record['messageId']}: {error!r}")
            failed.append({"itemIdentifier": record["messageId"]})
            continue
        sqs.send_message(QueueUrl=os.environ["RECEIPTS_URL"], MessageBody=json.dumps(receipt))
    return {"batchItemFailures": failed}
