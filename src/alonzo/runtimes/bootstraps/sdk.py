# mypy: ignore-errors
"""What a zygote does with the SDK before it is forked: /var/runtime/_alonzo_sdk.py, imported nowhere else.

Importing boto3 is a small part of a function's cold start with it; reading the models and making the first client is
the rest. Here the models of the services that functions use most are read once, and the default session is made. Both
are as a function would find them had it done that itself: nothing of the variables, of credentials or of a region is
kept. Functions whose own variables could change that are not forked from here (`runtimes.root`).
"""

import functools
import os

import boto3
import botocore.loaders

#: Their models are read beforehand; others are read by whoever needs them.
SERVICES = ("s3", "dynamodb", "sqs", "sns", "lambda", "sts", "secretsmanager", "ssm", "events")
_NOBODY = {"region_name": "us-east-1", "aws_access_key_id": "none", "aws_secret_access_key": "none"}
#: Where botocore looks for models of the user's own; it computed this from the zygote's user.
_OWN_MODELS = "/home/sbx_user1051/.aws/models"


def _share(loader):
    """Let every later loader of the default search path begin with what this one has read."""
    kind = botocore.loaders.Loader
    kind.CUSTOMER_DATA_PATH = _OWN_MODELS
    known = dict(loader._cache)
    begin = kind.__init__

    @functools.wraps(begin)
    def __init__(self, extra_search_paths=None, *args, **kwargs):
        begin(self, extra_search_paths, *args, **kwargs)
        if extra_search_paths is None and not args and not kwargs and not os.path.isdir(_OWN_MODELS):  # noqa: PTH112
            self._cache.update(known)

    kind.__init__ = __init__


def prepare():
    """Make the default session and read the models."""
    boto3.setup_default_session()
    session = boto3.DEFAULT_SESSION
    for service in SERVICES:
        session.client(service, **_NOBODY)
    for service in ("s3", "dynamodb"):
        session.resource(service, **_NOBODY)
    _share(session._loader)


prepare()
