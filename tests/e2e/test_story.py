"""The story that started Alonzo: a picture put into a bucket becomes a thumbnail, with the seeds' code unchanged."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from .conftest import RUNTIME, wait_for

SEEDS = Path(__file__).resolve().parents[2] / ".." / "shared" / "seeds"
S3_FULL = "arn:aws:iam::aws:policy/AmazonS3FullAccess"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SEEDS.is_dir(), reason="the seeds are not beside the checkout"),
]


def seed_code(name: str, mark: str) -> str:
    """The Python block of a seed that contains `mark`, with the indentation of its list item taken off."""
    text = next(SEEDS.glob(f"{name}_*")).read_text(errors="replace")
    for block in re.finditer(r"^( *)```python\n(.*?)^\1```", text, re.S | re.M):
        if mark in block[2]:
            indent = len(block[1])
            return "\n".join(line[indent:] for line in block[2].splitlines())
    raise LookupError(mark)


def picture(width=400, height=200) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 120, 40)).save(buffer, "JPEG")
    return buffer.getvalue()


def connect(alonzo, bucket: str, function_arn: str, **more) -> None:
    functions, s3 = alonzo.client("lambda"), alonzo.client("s3")
    functions.add_permission(
        FunctionName=function_arn,
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn=f"arn:aws:s3:::{bucket}",
    )
    trigger = {"LambdaFunctionArn": function_arn, "Events": ["s3:ObjectCreated:*"], **more}
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"LambdaFunctionConfigurations": [trigger]}
    )


def stored(s3, bucket: str, key: str):
    def look():
        found = s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents")
        return found and s3.get_object(Bucket=bucket, Key=key)

    return wait_for(look)


def make_function(alonzo, make, name: str, code: str, layer: bytes) -> str:
    functions = alonzo.client("lambda")
    version = functions.publish_layer_version(LayerName=f"pillow-{name}", Content={"ZipFile": layer})["LayerVersionArn"]
    make.function(
        files={"lambda_function.py": code},
        name=name,
        Handler="lambda_function.lambda_handler",
        role=make.role(S3_FULL),
        Layers=[version],
        Runtime=RUNTIME,
        MemorySize=512,
        Timeout=30,
    )
    return functions.get_function_configuration(FunctionName=name)["FunctionArn"]


def test_image_resize_lambda(alonzo, make, pillow_layer):
    """ImageResizeLambda, as its document has it, halves a picture and stores it in the other bucket."""
    s3 = alonzo.client("s3")
    for bucket in ("source-image-bucket123", "resized-image-bucket123"):
        s3.create_bucket(Bucket=bucket)
    code = seed_code("004", "resized-image-bucket123")
    connect(alonzo, "source-image-bucket123", make_function(alonzo, make, "ImageResizeLambda", code, pillow_layer))
    s3.put_object(Bucket="source-image-bucket123", Key="test.jpg", Body=picture())
    answer = stored(s3, "resized-image-bucket123", "resized-test.jpg")
    assert answer["ContentType"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer["Body"].read())).size == (200, 100)
    log = wait_for(lambda: any("REPORT" in x for x in make.log("ImageResizeLambda")) and make.log("ImageResizeLambda"))
    assert any(line.startswith("INIT_START") for line in log)


def test_thumbnail_generator(alonzo, make, pillow_layer):
    """ThumbnailGenerator, as its document has it, puts a thumbnail of at most 100 pixels beside the picture."""
    s3 = alonzo.client("s3")
    s3.create_bucket(Bucket="my-photo-upload")
    arn = make_function(alonzo, make, "ThumbnailGenerator", seed_code("000", "thumbnail((100, 100))"), pillow_layer)
    only = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "photos/"}]}}
    connect(alonzo, "my-photo-upload", arn, Filter=only)
    s3.put_object(Bucket="my-photo-upload", Key="photos/a.jpg", Body=picture())
    answer = stored(s3, "my-photo-upload", "thumbnails/photos/a.jpg")
    assert Image.open(io.BytesIO(answer["Body"].read())).size == (100, 50)
