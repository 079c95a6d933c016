"""Taking in code: from the request or from S3 into a blob, checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alonzo.core.context import Context
from alonzo.core.dataclasses import dataclass
from alonzo.core.errors import NotImplementedOperation, ServiceError
from alonzo.core.streams import FileBody
from alonzo.runtimes import CodeError, check_size, inspect_zip
from alonzo.services.lambda_ import models
from alonzo.services.lambda_.errors import invalid, too_large
from alonzo.services.lambda_.models import Code, Layer
from alonzo.services.lambda_.state import State
from alonzo.storage.blobs import BlobRef

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Archive:
    """A checked archive whose blob no row names yet."""

    code: Code
    blob_id: str


async def take(state: State, ctx: Context, source: Mapping[str, Any], *, operation: str, account_id: str) -> Archive:
    """Store and check the archive that FunctionCode-like members name. Whoever does not keep it deletes the blob."""
    if source.get("ImageUri"):
        raise invalid("Alonzo does not run container images yet. Use PackageType Zip.")
    if source.get("S3ObjectStorageMode") == "REFERENCE":
        raise invalid("Alonzo does not refer to code in S3, it copies it. Use the S3ObjectStorageMode COPY.")
    if "ZipFile" in source:
        if source.get("S3Bucket") or source.get("S3Key"):
            raise invalid("Please do not provide other FunctionCode parameters when supplying a ZipFile.")
        ref = await _from_request(state, source["ZipFile"], operation)
    elif source.get("S3Bucket") and source.get("S3Key"):
        ref = await _from_s3(state, ctx, source)
    else:
        raise invalid("Please provide a source for function code.")
    try:
        found = await asyncio.to_thread(inspect_zip, state.parts.blobs.path(ref.id))
    except CodeError as error:
        await state.parts.blobs.delete(ref.id)
        raise ServiceError(error.code, error.message, fields={"Type": "User"}) from error
    return Archive(Code(account_id, ref.sha256, ref.size, found.unzipped_size), ref.id)


async def _from_request(state: State, data: bytes, operation: str) -> BlobRef:
    if 4 * ((len(data) + 2) // 3) > models.MAX_CREATE_REQUEST:
        raise too_large(f"Request must be smaller than {models.MAX_CREATE_REQUEST} bytes for the {operation} operation")
    if len(data) >= models.MAX_ZIPPED:
        raise too_large(f"Zipped size must be smaller than {models.MAX_ZIPPED} bytes")
    return await state.parts.blobs.put(data)


async def _from_s3(state: State, ctx: Context, source: Mapping[str, Any]) -> BlobRef:
    """Copy an object, read with the caller's own permissions."""
    bucket, key = source["S3Bucket"], source["S3Key"]
    params = {"Bucket": bucket, "Key": key}
    if source.get("S3ObjectVersion"):
        params["VersionId"] = source["S3ObjectVersion"]
    try:
        answer = await state.parts.dispatcher.call(ctx, "s3", "GetObject", params)
    except NotImplementedOperation:
        raise
    except ServiceError as error:
        raise _s3_error(error, bucket, key) from error
    size = 0
    async with state.parts.blobs.create() as writer:
        async for chunk in _chunks(answer["Body"]):
            size += len(chunk)
            if size >= models.MAX_UNZIPPED:
                raise invalid(f"Unzipped size must be smaller than {models.MAX_UNZIPPED} bytes")
            await writer.write(chunk)
        return await writer.finish()


def _s3_error(error: ServiceError, bucket: str, key: str) -> ServiceError:
    if error.code in ("AccessDenied", "403"):
        return ServiceError(
            "AccessDeniedException",
            "Your access has been denied by S3, please make sure your request credentials have permission to GetObject"
            f" for {bucket}/{key}. S3 Error Code: {error.code}. S3 Error Message: {error.message}",
            status=403,
        )
    return invalid(f"Error occurred while GetObject. S3 Error Code: {error.code}. S3 Error Message: {error.message}")


async def _chunks(body: bytes | FileBody | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        yield body
    elif isinstance(body, FileBody):
        for start in range(body.offset, body.offset + body.length, _CHUNK):
            length = min(_CHUNK, body.offset + body.length - start)
            yield await asyncio.to_thread(_read, body.path, start, length)
    else:
        async for chunk in body:
            yield chunk


def _read(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def check_total(code: Code, layers: Sequence[Layer]) -> None:
    """Raise where code and layers together are larger than a function may be."""
    try:
        check_size(code.unzipped, [layer.code.unzipped for layer in layers])
    except CodeError as error:
        raise ServiceError(error.code, error.message, fields={"Type": "User"}) from error
