"""Halves every picture put into the source bucket and stores it as `resized-<key>` in the destination bucket."""

import io
import os
import time
from urllib.parse import unquote_plus

import boto3
from PIL import Image

s3 = boto3.client("s3")


def lambda_handler(event, context):
    for record in event["Records"]:
        bucket = record["s3"]["bucket"]["name"]
        key = unquote_plus(record["s3"]["object"]["key"])
        started = time.perf_counter()
        picture = Image.open(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
        size = (picture.width // 2, picture.height // 2)
        buffer = io.BytesIO()
        picture.convert("RGB").resize(size).save(buffer, format="JPEG")
        s3.put_object(
            Bucket=os.environ["DESTINATION_BUCKET"],
            Key=f"resized-{key}",
            Body=buffer.getvalue(),
            ContentType="image/jpeg",
        )
        print(f"{key}: {picture.size} -> {size} in {(time.perf_counter() - started) * 1000:.0f} ms")
    return {"pictures": len(event["Records"])}
