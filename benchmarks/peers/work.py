"""The functions that every peer runs: the same bytes everywhere."""

from __future__ import annotations

import base64
import io
import random
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

PYTHON = f"python3.{min(sys.version_info.minor, 14)}"
NODE = "nodejs20.x"

#: Says how often its process has been called: a first invocation that does not answer 1 was not cold.
SMALL = """\
calls = 0


def handler(event, context):
    global calls
    calls += 1
    return {"calls": calls}
"""

#: The same with a line of log: some programs collect the log of an invocation before they answer it.
PRINTING = """\
calls = 0


def handler(event, context):
    global calls
    calls += 1
    print("called", calls)
    return {"calls": calls}
"""

_PACKAGE = """\
import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
for number in range(50):
    importlib.import_module("parts.part%d" % number)
"""

_BOTO3 = """\
import boto3

client = boto3.client("s3", region_name="us-east-1")
"""

_NODE = """\
let calls = 0;
exports.handler = async () => ({ calls: ++calls });
"""

#: Notes when it began, before anything else, and reports that to a queue.
TELL = """\
import time
import boto3, json, os
sqs = boto3.client("sqs", region_name="us-east-1")

def handler(event, context):
    began = time.time()
    for record in event["Records"]:
        what = record["body"] if "body" in record else record["s3"]["object"]["key"]
        sqs.send_message(QueueUrl=os.environ["OUT"], MessageBody=json.dumps([what, began]))
"""


@dataclass(frozen=True, slots=True)
class Package:
    """A function's code: files by path, its handler and runtime, environment variables."""

    files: Mapping[str, bytes]
    runtime: str = PYTHON
    handler: str = "app.handler"
    variables: Mapping[str, str] = field(default_factory=dict)

    def zipped(self) -> bytes:
        """The deployment package; world-readable, as AWS asks for. Made once for all functions with this code."""
        return _zipped(tuple(self.files.items()))


@cache
def _zipped(files: tuple[tuple[str, bytes], ...]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files:
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return buffer.getvalue()


@cache
def _large() -> dict[str, bytes]:
    """200 modules of 40 KB, 50 of which are imported: 8 MB that hardly compress, always the same."""
    rng = random.Random(4)
    parts = {
        f"parts/part{number}.py": b'DATA = """' + base64.b64encode(rng.randbytes(30_000)) + b'"""\n'
        for number in range(200)
    }
    return {"app.py": (_PACKAGE + SMALL).encode(), **parts}


def kinds() -> dict[str, Package]:
    """What is started cold, by kind."""
    return {
        "python": Package({"app.py": SMALL.encode()}),
        "package": Package(_large()),
        "boto3": Package({"app.py": (_BOTO3 + SMALL).encode()}),
        "node": Package({"app.js": _NODE.encode()}, NODE),
    }


#: What each kind is, for people.
KINDS = {
    "python": "Python, 100 bytes",
    "package": "Python, 8 MB in 200 modules, 50 imported",
    "boto3": "Python, import boto3 and make a client",
    "node": "Node, 80 bytes",
}
