"""What the end-to-end tests share: functions made through boto3 on a real server."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import uuid
import zipfile
from pathlib import Path

import pytest

from alonzo.testing import Server

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
RUNTIME = f"python3.{sys.version_info.minor}"


def zip_of(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def wait_for(look, seconds=20.0, every=0.02):
    """Poll until `look` gives something true; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every)


class Maker:
    """Makes roles and functions on one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.functions = server.client("lambda")
        self.iam = server.client("iam")

    def role(self, *policies: str, name: str | None = None, inline: dict | None = None) -> str:
        name = name or f"role-{uuid.uuid4().hex[:8]}"
        arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        for policy in (BASIC, *policies):
            self.iam.attach_role_policy(RoleName=name, PolicyArn=policy)
        if inline is not None:
            self.iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=json.dumps(inline))
        return arn

    def function(self, source: str | None = None, *, files=None, role=None, name=None, **more) -> str:
        """Create a function, wait until it is active, return its name."""
        name = name or f"f-{uuid.uuid4().hex[:8]}"
        self.functions.create_function(
            **{
                "FunctionName": name,
                "Runtime": RUNTIME,
                "Handler": "app.handler",
                "Role": role or self.role(),
                "Code": {"ZipFile": zip_of(files or {"app.py": source})},
                "Timeout": 10,
                **more,
            }
        )
        configuration = wait_for(
            lambda: (c := self.functions.get_function_configuration(FunctionName=name))["State"] != "Pending" and c, 120
        )
        assert configuration["State"] == "Active", configuration.get("StateReason")
        return name

    def invoke(self, name: str, payload=None, **more):
        """(parsed payload, whole response) of a synchronous invocation."""
        response = self.functions.invoke(
            FunctionName=name, Payload=json.dumps(payload if payload is not None else {}), **more
        )
        body = response["Payload"].read()
        return (json.loads(body) if body else None), response

    def log(self, name: str) -> list[str]:
        logs = self.server.client("logs")
        try:
            return [e["message"] for e in logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []


def log_has(make, name, *texts, seconds=10.0):
    """Wait until the log has them all; answers its lines."""
    deadline = time.monotonic() + seconds
    while True:
        lines = make.log(name)
        missing = [text for text in texts if not any(text in line for line in lines)]
        if not missing:
            return lines
        assert time.monotonic() < deadline, (missing, lines)
        time.sleep(0.05)


@pytest.fixture(scope="session")
def make(alonzo: Server) -> Maker:
    return Maker(alonzo)


@pytest.fixture(scope="session")
def pillow_layer(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A layer archive with Pillow for the runtime in use."""
    target = tmp_path_factory.mktemp("layer") / "python"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--target",
        str(target),
        "pillow",
    ]
    subprocess.run(command, check=True, timeout=180)
    return zip_of({f"python/{p.relative_to(target)}": p.read_bytes() for p in Path(target).rglob("*") if p.is_file()})
