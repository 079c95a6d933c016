"""The Node.js runtimes, end to end."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path

import pytest

from alonzo.cli.runtime import local_runtimes
from alonzo.testing import Server

from .conftest import Maker, wait_for, zip_of

RECORDINGS = Path(__file__).resolve().parents[2] / ".." / "shared" / "reference" / "aws-recordings" / "lambda"
S3_FULL = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
ALL = ("nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x")
#: The runtimes whose handlers may take a callback.
OLD = "nodejs20.x"
NEW = "nodejs24.x"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def node(make):
    """Makes a function of one Node.js runtime, which is prepared first, and fetched where the machine lacks it."""
    ready = set()

    def _node(source, runtime=OLD, **more):
        if runtime not in ready:
            asyncio.run(local_runtimes(None).install(runtime))
            ready.add(runtime)
        files = source if isinstance(source, dict) else {"index.js": source}
        return make.function(files=files, **{"Runtime": runtime, "Handler": "index.handler", **more})

    return _node


@pytest.fixture(scope="module")
def plain():
    """Makes functions on a server without isolation."""
    with Server(settings={"isolation": "process"}) as server:
        yield Maker(server)


def tail_of(response) -> str:
    return base64.b64decode(response["LogResult"]).decode()


@pytest.mark.parametrize("runtime", ALL)
def test_every_version(make, node, runtime):
    """Each runtime is its own major version, and a handler finds event, context, environment and a warm process."""
    name = node(
        """
        let calls = 0;
        exports.handler = async (event, context) => {
          console.log('call', { n: ++calls });
          return { event, context, calls, left: context.getRemainingTimeInMillis(), node: process.versions.node,
            env: process.env, cwd: process.cwd(), flags: process.execArgv };
        };
        """,
        runtime,
        MemorySize=256,
    )
    first, _ = make.invoke(name, {"a": "ü"})
    second, response = make.invoke(name, [1], LogType="Tail")
    assert (first["event"], first["calls"], second["event"], second["calls"]) == ({"a": "ü"}, 1, [1], 2)
    assert f"nodejs{second['node'].split('.')[0]}.x" == runtime
    assert second["cwd"] == "/var/task"
    assert 8000 < second["left"] <= 10000
    assert second["context"]["awsRequestId"] == response["ResponseMetadata"]["RequestId"]
    assert second["context"]["memoryLimitInMB"] == "256"
    assert second["context"]["invokedFunctionArn"].endswith(f":function:{name}")
    assert ("callbackWaitsForEmptyEventLoop" in second["context"]) == (runtime != NEW)
    assert {"--expose-gc", "--max-semi-space-size=4", "--max-old-space-size=231"} <= set(second["flags"])
    line = next(line for line in tail_of(response).splitlines() if "call" in line)
    assert line[-1] != "\r" and line.split("\t")[1:] == [second["context"]["awsRequestId"], "INFO", "call { n: 2 }"]


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside the checkout")
@pytest.mark.parametrize("runtime", ALL)
def test_variables_are_those_recorded(make, node, runtime):
    """A Node.js function sees the variables recorded on AWS, and none but the endpoint's beside them."""
    scenario = "tests/aws/services/lambda_/test_lambda_common.py::TestLambdaRuntimesCommon::test_introspection_invoke"
    recorded = json.loads((RECORDINGS / "common.json").read_text())[f"{scenario}[{runtime}]"]["recorded-content"]
    expected = recorded["invocation_result_payload"]["environment"]
    name = node(
        "exports.handler = async () => process.env;",
        runtime,
        MemorySize=1024,
        Environment={"Variables": {"TEST_KEY": "TEST_VAL"}},
    )
    seen = make.invoke(name)[0]
    assert seen.pop("AWS_ENDPOINT_URL").startswith("http://")
    assert set(seen) | {"_X_AMZN_TRACE_ID"} == set(expected)
    fixed = [key for key, value in expected.items() if "<" not in value]
    assert {key: seen[key] for key in fixed} == {key: expected[key] for key in fixed}


@pytest.mark.parametrize("runtime", ALL)
@pytest.mark.parametrize(
    ("files", "more", "error", "message"),
    [
        (
            {"index.js": "exports.other = 1"},
            {},
            "Runtime.HandlerNotFound",
            "index.handler is undefined or not exported",
        ),
        ({"index.js": "exports.handler = 1"}, {}, "Runtime.HandlerNotFound", "index.handler is not a function"),
        ({"index.js": "require('nowhere')"}, {}, "Runtime.ImportModuleError", "Error: Cannot find module 'nowhere'"),
        ({"other.js": ""}, {}, "Runtime.ImportModuleError", "Error: Cannot find module 'index'"),
        (
            {"index.js": "exports.handler = ("},
            {},
            "Runtime.UserCodeSyntaxError",
            "SyntaxError: Unexpected end of input",
        ),
        ({"index.mjs": "export const x = ;"}, {}, "Runtime.UserCodeSyntaxError", "SyntaxError: Unexpected token ';'"),
        ({"index.js": ""}, {"Handler": "index"}, "Runtime.MalformedHandlerName", "Bad handler"),
        (
            {"index.js": ""},
            {"Handler": "../x.y"},
            "Runtime.MalformedHandlerName",
            "'../x.y' is not a valid handler name",
        ),
        ({"index.js": "throw new RangeError('at start')"}, {}, "RangeError", "at start"),
    ],
)
def test_broken_modules(make, node, runtime, files, more, error, message):
    """What cannot be loaded answers AWS's error type and text."""
    payload, response = make.invoke(node(files, runtime, **more))
    assert response["FunctionError"] == "Unhandled"
    assert payload["errorType"] == error
    assert payload["errorMessage"].startswith(message)
    assert isinstance(payload["trace"], list)


@pytest.mark.parametrize("runtime", ALL)
@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("throw new Error('Error: some_error_msg')", "Error", "Error: some_error_msg"),
        ("throw 'text'", "string", "text"),
        ("throw 7", "number", "7"),
        ("class Mine extends Error { name = 'Mine' }; throw new Mine('own')", "Mine", "own"),
        ("return 1n", ("Error", "Runtime.JSONStringifyError"), "Unable to stringify response body"),
        ("process.exit(3)", "Runtime.ExitError", "Error: Runtime exited with error: exit status 3"),
        ("process.exit(0)", "Runtime.ExitError", "Error: Runtime exited without providing a reason"),
        ("process.kill(process.pid, 'SIGSEGV')", "Runtime.ExitError", "Runtime exited with error: signal: segm"),
    ],
)
def test_handlers_that_fail(make, node, runtime, body, error, message):
    """Thrown errors, strings and numbers, what is no JSON, and exits have the shapes that AWS gives them."""
    payload, response = make.invoke(node(f"exports.handler = async () => {{ {body} }}", runtime))
    assert response["FunctionError"] == "Unhandled"
    assert payload["errorType"] == (error[runtime == NEW] if isinstance(error, tuple) else error)
    assert message in payload["errorMessage"]


def test_errors_that_nobody_catches(make, node):
    """Up to Node.js 22 an uncaught error and an unhandled rejection are reported; from 24 on they end the process."""
    later = "exports.handler = () => new Promise(() => { setTimeout(() => { throw new RangeError('late') }, 5) })"
    lost = "exports.handler = () => new Promise(() => { Promise.reject(new Error('lost')); setTimeout(() => {}, 500) })"
    assert make.invoke(node(later))[0]["errorType"] == "RangeError"
    payload = make.invoke(node(lost))[0]
    assert (payload["errorType"], payload["errorMessage"]) == ("Runtime.UnhandledPromiseRejection", "Error: lost")
    for source in (later, lost):
        payload, response = make.invoke(node(source, NEW), LogType="Tail")
        assert payload["errorType"] == "Runtime.ExitError"
        assert payload["errorMessage"].endswith("exit status 1")
        assert "Error: l" in tail_of(response)


def test_handlers_that_never_answer(make, node):
    """With nothing left to do an unresolved handler answers null up to Node.js 22, and ends the process from 24 on."""
    never = "exports.handler = () => new Promise(() => {})"
    name = node(never)
    assert make.invoke(name)[0] is None
    assert make.invoke(name)[0] is None
    assert make.invoke(node(never, NEW))[0]["errorType"] == "Runtime.ExitError"
    busy = "exports.handler = () => new Promise(() => { setInterval(() => {}, 1000) })"
    payload, _ = make.invoke(node(busy, Timeout=1))
    assert payload["errorType"] == "Sandbox.Timedout"


@pytest.mark.parametrize("runtime", ["nodejs18.x", "nodejs20.x", "nodejs22.x"])
def test_callbacks(make, node, runtime):
    """A callback's result waits for the event loop unless the context says otherwise; the old functions work too."""
    source = """
    let waited = false;
    exports.handler = (event, context, callback) => {
      if (event === 'waits') { setTimeout(() => { waited = true }, 120); return callback(null, 'done'); }
      if (event === 'at once') {
        context.callbackWaitsForEmptyEventLoop = false;
        setTimeout(() => {}, 5000);
        return callback(null, waited);
      }
      if (event === 'error') { return callback(new TypeError('called')); }
      if (event === 'text') { return callback('just text'); }
      if (event === 'succeed') { return context.succeed({ by: 'succeed' }); }
      if (event === 'fail') { return context.fail('failed'); }
      if (event === 'nothing') { return context.fail(); }
      if (event === 'done') { return context.done(null, 'by done'); }
      if (event === 'twice') { callback(null, 1); callback(null, 2); return; }
      if (event === 'throws') { throw new RangeError('sync'); }
      return 'ignored';
    };
    """
    name = node(source, runtime)
    started = time.monotonic()
    assert make.invoke(name, "waits")[0] == "done"
    assert time.monotonic() - started >= 0.12
    started = time.monotonic()
    assert make.invoke(name, "at once")[0] is True
    assert time.monotonic() - started < 2
    shapes = {event: make.invoke(name, event)[0] for event in ("error", "text", "fail", "nothing", "throws")}
    assert {event: (e["errorType"], e["errorMessage"]) for event, e in shapes.items()} == {
        "error": ("TypeError", "called"),
        "text": ("string", "just text"),
        "fail": ("string", "failed"),
        "nothing": ("string", "handled"),
        "throws": ("RangeError", "sync"),
    }
    assert make.invoke(name, "succeed")[0] == {"by": "succeed"}
    assert make.invoke(name, "done")[0] == "by done"
    clean = node(source, runtime)
    assert make.invoke(clean, "twice")[0] == 1
    assert make.invoke(clean, "else")[0] is None


def test_node_24_takes_no_callback(make, node):
    """From Node.js 24 on a handler with three parameters is refused, and a plain return value is the answer."""
    payload, response = make.invoke(node("exports.handler = (event, context, callback) => callback(null, 1)", NEW))
    assert response["FunctionError"] == "Unhandled"
    assert payload["errorType"] == "Runtime.CallbackHandlerDeprecated"
    assert "removed support for callback-based function handlers" in payload["errorMessage"]
    assert make.invoke(node("exports.handler = (event, context) => ({ keys: Object.keys(context) })", NEW))[0] == {
        "keys": [
            *("functionVersion", "functionName", "memoryLimitInMB", "logGroupName", "logStreamName", "clientContext"),
            *("identity", "invokedFunctionArn", "awsRequestId", "tenantId", "getRemainingTimeInMillis"),
        ]
    }


@pytest.mark.parametrize("runtime", ALL)
@pytest.mark.parametrize(
    ("files", "handler"),
    [
        ({"a/b/mod.js": "exports.deep = { down: async () => 'ok' }"}, "a/b/mod.deep.down"),
        ({"index.mjs": "const x = await Promise.resolve('ok'); export const handler = async () => x"}, "index.handler"),
        ({"index.cjs": "exports.handler = async () => 'ok'"}, "index.handler"),
        (
            {"package.json": '{"type": "module"}', "index.js": "export const handler = async () => 'ok'"},
            "index.handler",
        ),
        ({"lib/index.js": "exports.handler = async () => 'ok'"}, "lib.handler"),
        (
            {
                "index.mjs": "import { x } from 'own'; export const handler = async () => x",
                "node_modules/own/package.json": '{"name": "own", "type": "module", "exports": "./m.js"}',
                "node_modules/own/m.js": "export const x = 'ok'",
            },
            "index.handler",
        ),
    ],
)
def test_ways_to_be_a_module(make, node, runtime, files, handler):
    """Handlers are found in folders, ES modules with top-level await, CommonJS files, packages and nested objects."""
    assert make.invoke(node(files, runtime, Handler=handler))[0] == "ok"


def test_module_syntax_in_a_plain_file(make, node):
    """ES module syntax in a .js file without package.json is an error up to Node.js 22, unless NODE_OPTIONS asks."""
    source = "export const handler = async () => 'ok'"
    for runtime in (OLD, "nodejs22.x"):
        assert make.invoke(node(source, runtime))[0]["errorType"] == "Runtime.UserCodeSyntaxError"
    asked = {"Variables": {"NODE_OPTIONS": "--experimental-detect-module --experimental-require-module"}}
    assert make.invoke(node(source, "nodejs22.x", Environment=asked))[0] == "ok"
    assert make.invoke(node(source, NEW))[0] == "ok"


@pytest.mark.parametrize("runtime", ALL)
def test_sdk_reaches_the_server(make, node, alonzo, runtime):
    """The AWS SDK v3 is there for require and import, and reaches S3 without any setting."""
    bucket = f"sdk-{runtime.split('.')[0]}"
    alonzo.client("s3").create_bucket(Bucket=bucket)
    source = """
    import { S3Client, PutObjectCommand, GetObjectCommand } from '@aws-sdk/client-s3';
    import { createRequire } from 'module';
    const { DynamoDBDocumentClient } = createRequire(import.meta.url)('@aws-sdk/lib-dynamodb');
    const s3 = new S3Client({});
    export const handler = async ({ Bucket }) => {
      await s3.send(new PutObjectCommand({ Bucket, Key: 'a/ü.txt', Body: 'from node' }));
      const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key: 'a/ü.txt' }));
      return [await Body.transformToString(), typeof DynamoDBDocumentClient.from];
    };
    """
    name = node({"index.mjs": source}, runtime, role=make.role(S3_FULL), MemorySize=512, Timeout=30)
    assert make.invoke(name, {"Bucket": bucket})[0] == ["from node", "function"]


@pytest.mark.parametrize("runtime", ALL)
def test_modules_of_layers(make, node, runtime):
    """A layer's nodejs/node_modules is found by require and by import, and its modules find the SDK."""
    archive = zip_of(
        {
            "nodejs/node_modules/shared/package.json": '{"name": "shared", "main": "m.js"}',
            "nodejs/node_modules/shared/m.js": "exports.sqs = typeof require('@aws-sdk/client-sqs').SQSClient",
        }
    )
    layer = make.functions.publish_layer_version(LayerName="shared", Content={"ZipFile": archive})["LayerVersionArn"]
    required = "exports.handler = async () => require('shared').sqs"
    assert make.invoke(node(required, runtime, Layers=[layer], Timeout=20))[0] == "function"
    imported = "import shared from 'shared'; export const handler = async () => shared.sqs"
    assert make.invoke(node({"index.mjs": imported}, runtime, Layers=[layer], Timeout=20))[0] == "function"


@pytest.mark.parametrize("runtime", ALL)
def test_lines_of_the_log(make, node, runtime):
    """Every level of the console is one event of its own, also with several lines; errors show their stack."""
    name = node(
        """
        exports.handler = async () => {
          console.debug('a %s', 'b'); console.info({ x: 1 }); console.warn('two\\nlines');
          console.error(new Error('bad'));
          console.trace('deep'); console.log(); process.stdout.write('plain\\n');
        };
        """,
        runtime,
    )
    make.invoke(name)
    lines = wait_for(lambda: any("REPORT" in line for line in make.log(name)) and make.log(name))
    told = [line.split("\t", 2)[2] for line in lines if line[:2] == "20"]
    assert told[:3] == ["DEBUG\ta b\n", "INFO\t{ x: 1 }\n", "WARN\ttwo\nlines\n"]
    assert told[3].startswith("ERROR\tError: bad\n    at ")
    assert told[4:] == ["TRACE\tdeep\n", "INFO\tundefined\n"]
    assert "plain\n" in lines
    assert any(f"INIT_START Runtime Version: nodejs:{runtime[6:8]}.v" in line for line in lines)


def test_json_log(make, node):
    """With JSON logging each line is an object with time, level and request id, and lower levels are dropped."""
    name = node(
        "exports.handler = async (event, { awsRequestId }) => {"
        " console.debug('no'); console.warn({ a: [1] }); console.error('it', new TypeError('bad'));"
        " return awsRequestId }",
        LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN"},
    )
    request_id = make.invoke(name)[0]
    lines = wait_for(lambda: any("platform.report" in line for line in make.log(name)) and make.log(name))
    warn, error = [json.loads(line) for line in lines if '"level"' in line]
    assert (warn["level"], warn["message"], warn["requestId"]) == ("WARN", {"a": [1]}, request_id)
    assert (error["level"], error["errorType"], error["errorMessage"]) == ("ERROR", "TypeError", "bad")
    assert error["message"].startswith("it TypeError: bad\n")
    assert error["stackTrace"][0] == "TypeError: bad"


def test_client_context_and_trace(make, node, alonzo):
    """The client context is parsed, and _X_AMZN_TRACE_ID is that of each invocation."""
    client = alonzo.client("lambda")
    roots: list[str] = []
    client.meta.events.register(
        "before-sign.lambda.Invoke",
        lambda request, **_: roots and request.headers.add_header("X-Amzn-Trace-Id", f"Root={roots[-1]}"),
    )
    context = base64.b64encode(json.dumps({"custom": {"ü": "1"}}).encode()).decode()
    for runtime in (OLD, NEW):
        name = node("exports.handler = async (e, c) => [c.clientContext, process.env._X_AMZN_TRACE_ID]", runtime)
        for root in ("1-5759e988-bd862e3fe1be46a994272793", "1-5759e988-bd862e3fe1be46a994272794"):
            roots.append(root)
            answer = client.invoke(FunctionName=name, ClientContext=context, Payload=b"{}")
            sent, trace = json.loads(answer["Payload"].read())
            assert sent == {"custom": {"ü": "1"}}
            assert trace.startswith(f"Root={root}")


def test_failed_start_is_logged(make, node):
    """A module that fails while it is loaded leaves its error and stack in the log, without a request id."""
    name = node("throw new RangeError('at start')")
    make.invoke(name)
    found = wait_for(lambda: [line for line in make.log(name) if "RangeError" in line])
    assert found[0].split("\t")[1:3] == ["undefined", "ERROR"]
    assert '"stack":["RangeError: at start","    at Object.<anonymous> (/var/task/index.js:1:7)"' in found[0]


def test_wrapper_script(make, node):
    """AWS_LAMBDA_EXEC_WRAPPER starts the runtime through a layer's script."""
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("wrap")
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, '#!/bin/bash\nexport WRAPPER_VAR="$1"\nexec "$@"\n')
    layer = make.functions.publish_layer_version(LayerName="wrap", Content={"ZipFile": buffer.getvalue()})
    name = node(
        "exports.handler = async () => process.env.WRAPPER_VAR",
        Layers=[layer["LayerVersionArn"]],
        Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrap"}},
    )
    assert make.invoke(name)[0] == "/var/lang/bin/node"


def test_large_event_and_answer(make, node):
    """Events and answers of several megabytes pass, and one above the limit is ResponseSizeTooLarge."""
    name = node("exports.handler = async (e) => 'ü'.repeat(e.n) + e.pad.length", MemorySize=512)
    assert make.invoke(name, {"n": 2_500_000, "pad": "x" * 5_000_000})[0] == "ü" * 2_500_000 + "5000000"
    assert make.invoke(name, {"n": 4_000_000, "pad": ""})[0]["errorType"] == "Function.ResponseSizeTooLarge"
    assert make.invoke(name, {"n": 1, "pad": ""})[0] == "ü0"


@pytest.mark.parametrize("runtime", ALL)
def test_without_mounts(plain, node, runtime):
    """Where nothing can be mounted, require and import find the SDK and a layer's modules all the same."""
    archive = zip_of(
        {
            "nodejs/node_modules/shared/package.json": '{"name": "shared", "main": "m.js"}',
            "nodejs/node_modules/shared/m.js": "exports.sqs = typeof require('@aws-sdk/client-sqs').SQSClient",
        }
    )
    layer = plain.functions.publish_layer_version(LayerName="shared", Content={"ZipFile": archive})["LayerVersionArn"]
    source = """
    import { S3Client } from '@aws-sdk/client-s3';
    import shared from 'shared';
    const missing = await import('nowhere').catch((error) => error.code);
    export const handler = async () => [typeof S3Client, shared.sqs, missing];
    """
    node("", runtime)  # prepares it
    name = plain.function(
        files={"index.mjs": source}, Runtime=runtime, Handler="index.handler", Layers=[layer], Timeout=30
    )
    found, sqs, missing = plain.invoke(name)[0]
    assert (found, sqs) == ("function", "function")
    assert missing in ("MODULE_NOT_FOUND", "ERR_MODULE_NOT_FOUND")


# -- streaming ---------------------------------------------------------------------------------------------------------


def streamed(make, name, payload=b"{}"):
    """(chunks with the seconds at which each came, what InvokeComplete said) of a streamed invocation."""
    started = time.monotonic()
    chunks, last = [], None
    for event in make.functions.invoke_with_response_stream(FunctionName=name, Payload=payload)["EventStream"]:
        if "PayloadChunk" in event:
            chunks.append((time.monotonic() - started, event["PayloadChunk"]["Payload"]))
        else:
            last = event["InvokeComplete"]
    return chunks, last


STREAMS = """
const { pipeline } = require('stream/promises');
const { Readable } = require('stream');
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
exports.handler = awslambda.streamifyResponse(async (event, out, context) => {
  if (event === 'parts') { out.write('one '); await later(150); out.write({ id: context.awsRequestId }); out.end('!'); }
  if (event === 'http') {
    out = awslambda.HttpResponseStream.from(out, { statusCode: 201, headers: { a: 'b' } });
    out.write('body');
    out.end();
  }
  if (event === 'empty http') { awslambda.HttpResponseStream.from(out, { statusCode: 204 }).end(); }
  if (event === 'pipe') { await pipeline(Readable.from(Array(64).fill(Buffer.alloc(65536, 'A'))), out); }
  if (event === 'fails first') { throw new RangeError('first'); }
  if (event === 'fails later') { out.write('part'); await later(1); throw new RangeError('later'); }
  if (event === 'too late') { out.write('x'); out.setContentType('text/html'); }
  if (event === 'value') { out.end('seen'); return 'not seen'; }
});
"""


@pytest.mark.parametrize("runtime", ALL)
def test_streamed_responses(make, node, runtime):
    """What a streaming handler writes leaves at once, whole and in order; errors end it; the process stays usable."""
    name = node(STREAMS, runtime, MemorySize=256)
    ask = lambda event: streamed(make, name, json.dumps(event).encode())  # noqa: E731
    chunks, last = ask("parts")
    data = b"".join(data for _, data in chunks)
    assert (data[:10], data[-2:], last.get("ErrorCode")) == (b'one {"id":', b"}!", None)
    assert chunks[-1][0] - chunks[0][0] >= 0.1
    assert b"".join(c for _, c in ask("http")[0]) == b'{"statusCode":201,"headers":{"a":"b"}}' + bytes(8) + b"body"
    assert b"".join(c for _, c in ask("empty http")[0]) == b'{"statusCode":204}' + bytes(8)
    assert b"".join(c for _, c in ask("pipe")[0]) == b"A" * 64 * 65536
    assert b"".join(c for _, c in ask("value")[0]) == b"seen"
    for event, before, error in (
        ("fails first", b"", ("RangeError", "first")),
        ("fails later", b"part", ("RangeError", "later")),
        ("too late", b"x", ("Runtime.InvalidStreamingOperation", "Cannot set content-type, too late.")),
    ):
        chunks, last = ask(event)
        details = json.loads(last["ErrorDetails"])
        assert b"".join(c for _, c in chunks) == before
        assert (last["ErrorCode"], details["errorType"], details["errorMessage"]) == ("Unhandled", *error)
    # A call that comes before the runtime asks again gets another environment, so there may be a second.
    assert 1 <= sum("INIT_START" in line for line in wait_for(lambda: make.log(name))) <= 3


def test_streaming_handlers_that_are_none(make, node):
    """A handler that is not async, or that never ends its stream, fails as on AWS."""
    _, last = streamed(make, node("exports.handler = awslambda.streamifyResponse((event, out) => {})"))
    assert json.loads(last["ErrorDetails"])["errorMessage"] == "Streaming does not support non-async handlers."
    chunks, last = streamed(
        make, node("exports.handler = awslambda.streamifyResponse(async (e, out) => { out.write('x') })", Timeout=1)
    )
    assert (chunks[0][1], json.loads(last["ErrorDetails"])["errorType"]) == (b"x", "Sandbox.Timedout")


def test_example_of_node(make, node, alonzo):
    """examples/node-hello greets through S3, and counts in a stream."""
    folder = Path(__file__).resolve().parents[2] / "examples" / "node-hello"
    files = {path.name: path.read_text() for path in folder.glob("*.mjs")}
    alonzo.client("s3").create_bucket(Bucket="greetings")
    role = make.role(S3_FULL)
    hello = node(files, "nodejs22.x", role=role, Environment={"Variables": {"BUCKET": "greetings"}})
    answer = make.invoke(hello, {"name": "Ada"})[0]
    assert answer["greeting"] == "Hello, Ada!"
    assert answer["node"].startswith("22.")
    count = node(files, "nodejs22.x", Handler="stream.handler")
    chunks, last = streamed(make, count, b'{"pause": 20}')
    assert b"".join(data for _, data in chunks) == b"1\n2\n3\n"
    assert "ErrorCode" not in last
