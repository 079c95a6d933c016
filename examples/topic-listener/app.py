"""Runs for what is published to a topic, and keeps each message in a bucket."""

import os

import boto3

s3 = boto3.client("s3")


def lambda_handler(event, context):
    for record in event["Records"]:
        message = record["Sns"]
        print(f"{message['MessageId']}: {message.get('Subject')}")
        s3.put_object(
            Bucket=os.environ["ARCHIVE_BUCKET"],
            Key=f"{message['MessageId']}.txt",
            Body=message["Message"].encode(),
            ContentType="text/plain; charset=utf-8",
        )
