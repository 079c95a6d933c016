"""The handlers: each coroutine is an operation of the model, named in snake case."""

from alonzo.services.s3.operations import (
    bucket_absent,
    bucket_access,
    bucket_settings,
    buckets,
    copy,
    delete,
    listing,
    multipart,
    notification,
    read,
    tagging,
    write,
)

MODULES = (
    buckets,
    bucket_settings,
    bucket_access,
    bucket_absent,
    notification,
    write,
    read,
    copy,
    delete,
    listing,
    tagging,
    multipart,
)
