"""Custom runtimes, end to end: the program is the function's own."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from .conftest import wait_for

pytestmark = pytest.mark.slow

SHELL = """#!/bin/sh
set -eu
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
while :; do
  headers=$(mktemp)
  event=$(curl -sS -LD "$headers" "$api/next")
  id=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$headers" | tr -d '[:space:]' | cut -d: -f2)
  echo "got $event"
  curl -sS -X POST "$api/$id/response" -d "{\\"echo\\": $event, \\"handler\\": \\"$_HANDLER\\"}" > /dev/null
done
"""

PYTHON = """#!/usr/bin/env python3
import json, os, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as answer:
        request_id, event = answer.headers["Lambda-Runtime-Aws-Request-Id"], json.load(answer)
    if event == "fail":
        body, kind = {"errorMessage": "Error: some_error_msg", "errorType": "errorString"}, "error"
        headers = {"Lambda-Runtime-Function-Error-Type": "Function.Unknown"}
    else:
        body, kind, headers = dict(os.environ), "response", {}
    urllib.request.urlopen(urllib.request.Request(api + request_id + "/" + kind, json.dumps(body).encode(), headers))
"""

GO = """package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
)

func main() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		next, err := http.Get(api + "next")
		if err != nil {
			panic(err)
		}
		event, _ := io.ReadAll(next.Body)
		next.Body.Close()
		body := append(append([]byte(`{"go":`), event...), '}')
		id := next.Header.Get("Lambda-Runtime-Aws-Request-Id")
		answer, err := http.Post(api+id+"/response", "application/json", bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		answer.Body.Close()
	}
}
"""

RUST = """use std::io::{Read, Write};
use std::net::TcpStream;

fn talk(host: &str, head: String, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "{head} HTTP/1.1\\r\\nHost: {host}\\r\\nContent-Length: {}\\r\\n\\r\\n", body.len()).unwrap();
    stream.write_all(body).unwrap();
    let (mut seen, mut byte) = (Vec::new(), [0u8; 1]);
    while !seen.ends_with(b"\\r\\n\\r\\n") {
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    let head = String::from_utf8(seen).unwrap();
    let length = field(&head, "content-length").parse().unwrap();
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).unwrap();
    (head, answer)
}

fn field(head: &str, name: &str) -> String {
    let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:"))).unwrap();
    line.split_once(':').unwrap().1.trim().to_string()
}

fn main() {
    let host = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    loop {
        let (head, event) = talk(&host, "GET /2018-06-01/runtime/invocation/next".into(), b"");
        let id = field(&head, "lambda-runtime-aws-request-id");
        let body = format!("{{\\"rust\\":{}}}", String::from_utf8(event).unwrap());
        talk(&host, format!("POST /2018-06-01/runtime/invocation/{id}/response"), body.as_bytes());
    }
}
"""


def package(files: dict[str, str | bytes], mode: int = 0o755) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def custom(make, bootstrap: str | bytes | None, *, mode: int = 0o755, runtime: str = "provided.al2023", **more) -> str:
    files = {"readme.txt": ""} if bootstrap is None else {"bootstrap": bootstrap}
    return make.function(
        "", Code={"ZipFile": package(files, mode)}, Runtime=runtime, Handler="function.handler", **more
    )


@pytest.mark.parametrize("runtime", ["provided.al2", "provided.al2023"])
def test_shell_bootstrap(make, runtime):
    """A shell script is a runtime: it answers, what it prints is logged, and it is kept warm."""
    name = custom(make, SHELL, runtime=runtime)
    assert make.invoke(name, {"a": 1})[0] == {"echo": {"a": 1}, "handler": "function.handler"}

    def warm():
        # A call that comes before the script asks again finds its environment busy, and gets another.
        tail = base64.b64decode(make.invoke(name, "again", LogType="Tail")[1]["LogResult"]).decode()
        assert 'got "again"\n' in tail
        return "Init Duration" not in tail

    wait_for(warm)


def test_environment_of_a_custom_runtime(make):
    """A custom runtime sees exactly the variables recorded on AWS, and the endpoint's; its errors pass untouched."""
    name = custom(make, PYTHON, Environment={"Variables": {"TEST_KEY": "TEST_VAL"}})
    seen = make.invoke(name)[0]
    recorded = {
        *("AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME"),
        *("AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME"),
        *("AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY"),
        *("AWS_SESSION_TOKEN", "AWS_XRAY_CONTEXT_MISSING", "AWS_XRAY_DAEMON_ADDRESS", "LAMBDA_RUNTIME_DIR"),
        *("LAMBDA_TASK_ROOT", "LANG", "LD_LIBRARY_PATH", "PATH", "TEST_KEY", "TZ", "_AWS_XRAY_DAEMON_ADDRESS"),
        *("_AWS_XRAY_DAEMON_PORT", "_HANDLER"),
    }
    ours = {"AWS_ENDPOINT_URL", "_LAMBDA_TELEMETRY_LOG_FD"}
    assert set(seen) - ours - {"LC_CTYPE"} == recorded  # LC_CTYPE is set by Python itself
    assert seen["PATH"] == "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"
    older = make.invoke(custom(make, PYTHON, runtime="provided.al2"))[0]
    assert older["PATH"] == "/usr/local/bin:/usr/bin/:/bin:/opt/bin"
    assert older["LD_LIBRARY_PATH"].startswith("/lib64:")
    payload, response = make.invoke(name, "fail")
    assert response["FunctionError"] == "Unhandled"
    assert payload == {"errorMessage": "Error: some_error_msg", "errorType": "errorString"}


def test_bootstrap_of_a_layer(make):
    """A layer can bring the bootstrap; the package's own goes before it."""
    layer = make.functions.publish_layer_version(
        LayerName="shell-runtime", Content={"ZipFile": package({"bootstrap": SHELL})}
    )["LayerVersionArn"]
    assert make.invoke(custom(make, None, Layers=[layer]), 1)[0]["echo"] == 1
    own = SHELL.replace("echo\\", "own\\")
    assert make.invoke(custom(make, own, Layers=[layer]), 2)[0]["own"] == 2


@pytest.mark.parametrize(
    ("bootstrap", "mode", "why"),
    [
        (None, 0o755, "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        (SHELL, 0o644, "fork/exec /var/task/bootstrap: permission denied"),
        ("neither script nor program\n", 0o755, "fork/exec /var/task/bootstrap: exec format error"),
        ("#!/no/such/shell\n", 0o755, "fork/exec /var/task/bootstrap: no such file or directory"),
    ],
)
def test_bootstrap_that_cannot_start(make, bootstrap, mode, why):
    """A bootstrap that is missing or cannot be executed is Runtime.InvalidEntrypoint with AWS's text."""
    payload, response = make.invoke(custom(make, bootstrap, mode=mode))
    request_id = response["ResponseMetadata"]["RequestId"]
    assert response["FunctionError"] == "Unhandled"
    assert payload == {
        "errorType": "Runtime.InvalidEntrypoint",
        "errorMessage": f"RequestId: {request_id} Error: {why}",
    }


def test_bootstrap_that_ends(make):
    """A bootstrap that ends without asking for work is Runtime.ExitError with its status."""
    payload, _ = make.invoke(custom(make, "#!/bin/sh\nexit 7\n"))
    assert payload["errorType"] == "Runtime.ExitError"
    assert payload["errorMessage"].endswith("Error: Runtime exited with error: exit status 7")


@pytest.mark.skipif(shutil.which("go") is None, reason="no Go toolchain on this machine")
def test_go_program(make, tmp_path):
    """A static Go program is a runtime."""
    (tmp_path / "main.go").write_text(GO)
    built = tmp_path / "bootstrap"
    command = ["go", "build", "-o", str(built), "-ldflags", "-s -w", str(tmp_path / "main.go")]
    environment = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    build(command, environment)
    assert make.invoke(custom(make, built.read_bytes()), {"x": [1]})[0] == {"go": {"x": [1]}}


@pytest.mark.skipif(shutil.which("rustc") is None, reason="no Rust toolchain on this machine")
def test_rust_program(make, tmp_path):
    """A Rust program is a runtime."""
    (tmp_path / "main.rs").write_text(RUST)
    built = tmp_path / "bootstrap"
    build(["rustc", "-O", "-o", str(built), str(tmp_path / "main.rs")], {})
    assert make.invoke(custom(make, built.read_bytes()), {"x": [1]})[0] == {"rust": {"x": [1]}}


def build(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr


# -- the examples ------------------------------------------------------------------------------------------------------


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_example_of_a_custom_runtime(make):
    """examples/custom-runtime answers, logs, and reports a handler that fails."""
    files = {name: (EXAMPLES / "custom-runtime" / name).read_text() for name in ("bootstrap", "function.sh")}
    name = make.function("", Code={"ZipFile": package(files)}, Runtime="provided.al2023", Handler="function.handler")
    answer, response = make.invoke(name, {"x": 1}, LogType="Tail")
    assert answer == {"kernel": os.uname().sysname, "event": {"x": 1}}
    assert "an event of 8 characters" in base64.b64decode(response["LogResult"]).decode()
    payload, response = make.invoke(name, "fail")
    assert response["FunctionError"] == "Unhandled"
    assert payload == {"errorType": "Function.Failed", "errorMessage": "The handler failed."}
