"""`alonzo demo`: a picture put into a bucket becomes a thumbnail, in an isolated function, for real."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import click

#: Pillow for the layer: wheels exist for every Python that Alonzo runs.
_PILLOW = "pillow"
_SOURCE, _DESTINATION, _FUNCTION, _ROLE = "demo-pictures", "demo-thumbnails", "thumbnail", "demo-thumbnail"
_DEADLINE_S = 60.0


class DemoFailed(Exception):
    """The demo did not come to its end; the message is the reason."""


class _Steps:
    """Shows each step while it runs and how long it took."""

    def __init__(self, *, record: bool = False) -> None:
        from rich.console import Console

        self.console = Console(highlight=False, record=record, width=124 if record else None)
        self.timings: dict[str, float] = {}

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        started = time.perf_counter()
        with self.console.status(f"{text} …"):
            yield
        elapsed = self.timings[text] = time.perf_counter() - started
        self.console.print(f"  [green]✓[/green] {text:<58}[dim]{elapsed * 1000:9.1f} ms[/dim]")


@click.command()
@click.option("--keep", is_flag=True, help="Leave the server running until Ctrl-C, to look around.")
@click.option("--save-svg", type=click.Path(dir_okay=False, path_type=Path), help="Save what was shown as a picture.")
def demo(keep: bool, save_svg: Path | None) -> None:
    """Put a picture into a bucket and watch it become a thumbnail."""
    steps = _Steps(record=save_svg is not None)
    try:
        with tempfile.TemporaryDirectory(prefix="alonzo-demo-") as folder:
            _run(steps, Path(folder), keep)
    except DemoFailed as error:
        raise click.ClickException(str(error)) from None
    if save_svg is not None:
        steps.console.save_svg(str(save_svg), title="make demo")


def _run(steps: _Steps, folder: Path, keep: bool) -> None:
    from alonzo.testing.server import Server

    runtime = f"python3.{min(sys.version_info.minor, 14)}"
    steps.console.print(f"\n[bold]Alonzo's demo[/bold]: a picture becomes a thumbnail, in a {runtime} function\n")
    with steps.step("Fetch Pillow for the layer"):
        layer = _pillow_layer(runtime, folder)
    server = Server(folder / "data")
    try:
        with steps.step("Start Alonzo (durable, isolated, on a free port)"):
            try:
                server.start()
            except RuntimeError as error:
                raise DemoFailed(str(error)) from None
        steps.console.print(f"    [dim]{server.ready_line}[/dim]")
        _story(steps, server, runtime, layer)
        if keep:
            steps.console.print(f"\nThe server goes on at {server.endpoint} (test/test). Ctrl-C ends it.")
            _wait_for_interrupt()
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


def _story(steps: _Steps, server: Any, runtime: str, layer: bytes) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        _set_up(steps, server, runtime, layer)
        picture = _example("picture.jpg")
        s3 = server.client("s3")
        cold, thumbnail = _put_and_wait(steps, s3, picture, "picture.jpg", "Put picture.jpg → thumbnail stored (cold)")
        warm = [_put_and_wait(steps, s3, picture, f"again-{n}.jpg", f"Once more, warm ({n})")[0] for n in (1, 2, 3)]
        _report(steps, server, picture, thumbnail, cold, sorted(warm)[1])
    except (BotoCoreError, ClientError) as error:
        raise DemoFailed(f"{error}\n{''.join(server.log[-20:])}") from None


def _set_up(steps: _Steps, server: Any, runtime: str, layer: bytes) -> None:
    s3, iam, functions = server.client("s3"), server.client("iam"), server.client("lambda")
    with steps.step("Make two buckets"):
        s3.create_bucket(Bucket=_SOURCE)
        s3.create_bucket(Bucket=_DESTINATION)
    with steps.step("Make a role that may read the one and write the other"):
        role = iam.create_role(RoleName=_ROLE, AssumeRolePolicyDocument=json.dumps(_TRUST))["Role"]["Arn"]
        iam.attach_role_policy(
            RoleName=_ROLE, PolicyArn="arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
        )
        iam.put_role_policy(RoleName=_ROLE, PolicyName="pictures", PolicyDocument=json.dumps(_PERMISSIONS))
    with steps.step("Publish the Pillow layer"):
        version = functions.publish_layer_version(LayerName="pillow", Content={"ZipFile": layer})["LayerVersionArn"]
    with steps.step(f"Create the function and prepare {runtime}"):
        arn = functions.create_function(
            FunctionName=_FUNCTION,
            Runtime=runtime,
            Handler="app.lambda_handler",
            Role=role,
            Code={"ZipFile": _zip({"app.py": _example("app.py")})},
            Layers=[version],
            MemorySize=1769,
            Timeout=30,
            Environment={"Variables": {"DESTINATION_BUCKET": _DESTINATION}},
        )["FunctionArn"]
        _wait_until_active(functions)
    with steps.step("Connect the bucket's trigger"):
        functions.add_permission(
            FunctionName=_FUNCTION,
            StatementId="s3",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn=f"arn:aws:s3:::{_SOURCE}",
        )
        trigger = {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}
        s3.put_bucket_notification_configuration(
            Bucket=_SOURCE, NotificationConfiguration={"LambdaFunctionConfigurations": [trigger]}
        )


def _wait_until_active(functions: Any) -> None:
    configuration = _poll(
        lambda: (c := functions.get_function_configuration(FunctionName=_FUNCTION))["State"] != "Pending" and c,
        "The function did not become active.",
        deadline_s=300,
    )
    if configuration["State"] != "Active":
        raise DemoFailed(f"The function is {configuration['State']}: {configuration.get('StateReason', '')}")


def _put_and_wait(steps: _Steps, s3: Any, picture: bytes, key: str, text: str) -> tuple[float, bytes]:
    from botocore.exceptions import ClientError

    def fetch() -> Any:
        try:
            return s3.get_object(Bucket=_DESTINATION, Key=f"resized-{key}")["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise

    with steps.step(text):
        s3.put_object(Bucket=_SOURCE, Key=key, Body=picture, ContentType="image/jpeg")
        thumbnail = _poll(fetch, "No thumbnail appeared; see the function's log.", deadline_s=_DEADLINE_S)
    return steps.timings[text], thumbnail


def _report(steps: _Steps, server: Any, picture: bytes, thumbnail: bytes, cold: float, warm: float) -> None:
    from rich.panel import Panel

    from alonzo.cli.client import alonzo_client

    logs = server.client("logs")
    lines = _poll(
        lambda: (
            (e := logs.filter_log_events(logGroupName=f"/aws/lambda/{_FUNCTION}")["events"])
            and sum("REPORT" in x["message"] for x in e) >= 4
            and e
        ),
        "The function's log did not appear.",
        deadline_s=10,
    )
    steps.console.print("\n[bold]Its log[/bold]")
    for line in lines:
        text = line["message"].rstrip().replace("\t", "  ")
        steps.console.print(f"  {text}", style="dim", soft_wrap=True, markup=False)
    cost = _poll(
        lambda: (r := alonzo_client(server.endpoint).get_cost_report())["Functions"] and r, "No bill.", deadline_s=10
    )
    width, height = jpeg_size(picture)
    small_width, small_height = jpeg_size(thumbnail)
    steps.console.print(
        Panel(
            f"{width} x {height} ({len(picture)} bytes) became [bold]{small_width} x {small_height}[/bold] "
            f"({len(thumbnail)} bytes)\n"
            f"put → thumbnail: [bold]{cold * 1000:.0f} ms[/bold] cold, [bold]{warm * 1000:.0f} ms[/bold] warm\n"
            f"on AWS the four runs would have cost {_cost_sentence(cost)}",
            title="A picture became a thumbnail",
            expand=False,
        )
    )


def _cost_sentence(report: dict[str, Any]) -> str:
    total = sum(float(row["RequestCharge"]) + float(row["DurationCharge"]) for row in report["Functions"])
    seconds = sum(float(row["GBSeconds"]) for row in report["Functions"])
    requests = sum(int(row["Requests"]) for row in report["Functions"])
    return f"[bold]${total:.9f}[/bold] ({requests} requests, {seconds:.3f} GB-seconds; the free tier would cover it)"


# -- small things -----------------------------------------------------------------------------------------------------

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
_PERMISSIONS = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{_SOURCE}/*"},
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{_DESTINATION}/*"},
    ],
}


def _example(name: str) -> bytes:
    """A file of examples/thumbnail: from the installed package, or from the checkout."""
    installed = resources.files("alonzo") / "examples" / "thumbnail" / name
    if installed.is_file():
        return installed.read_bytes()
    checkout = Path(__file__).resolve().parents[3] / "examples" / "thumbnail" / name
    if not checkout.is_file():
        raise DemoFailed(f"The example's file {name} is missing from this installation.")
    return checkout.read_bytes()


def _pillow_layer(runtime: str, folder: Path) -> bytes:
    """A layer archive with Pillow for the runtime, fetched with pip or uv."""
    target = folder / "layer" / "python"
    version = runtime.removeprefix("python")
    wanted = ["--target", str(target), "--only-binary", ":all:", "--python-version", version, _PILLOW]
    tools = (
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"],
        ["uv", "pip", "install", "-q"],
    )
    reasons = []
    for tool in tools:
        try:
            done = subprocess.run([*tool, *wanted], capture_output=True, text=True, timeout=180, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            reasons.append(str(error))
            continue
        if done.returncode == 0:
            # /opt is read-only: unless compiled modules hold whatever their dates, every cold start compiles Pillow.
            compiled = ["-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", str(target)]
            subprocess.run([sys.executable, *compiled], check=False, timeout=180)
            files = {
                f"python/{p.relative_to(target)}": p.read_bytes() for p in sorted(target.rglob("*")) if p.is_file()
            }
            return _zip(files)
        reasons.append(done.stderr.strip())
    raise DemoFailed("Pillow could not be fetched (is there a way to the package index?):\n" + "\n".join(reasons))


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16  # readable by the function's own user, as AWS asks for
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _poll(look: Callable[[], Any], failure: str, *, deadline_s: float) -> Any:
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.003)
    raise DemoFailed(failure)


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) from a JPEG's start-of-frame segment. Raises DemoFailed where it is no JPEG."""
    position = 2
    while data[:2] == b"\xff\xd8" and position + 9 < len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], struct.unpack(">H", data[position + 2 : position + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
        position += 2 + length
    raise DemoFailed("What came back is not a JPEG picture.")


def _wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass


if os.name == "nt":  # pragma: no cover
    raise ImportError("the demo needs Linux or macOS")
