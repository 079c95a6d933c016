"""Functions through boto3: what they see, what they may, and how they fail, whoever speaks to the Runtime API."""

from __future__ import annotations

import base64
import json
import re

import pytest
from botocore.exceptions import ClientError

from alonzo.testing import Server

from .conftest import Maker, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["lean", "aws"])
def alonzo(request, alonzo, tmp_path_factory):
    """The server that all tests share, whose Python functions have our client; then one with AWS's own."""
    if request.param == "lean":
        yield alonzo
        return
    with Server(tmp_path_factory.mktemp("aws") / "data", {"runtime_client": "aws"}) as server:
        yield server


@pytest.fixture(scope="module")
def make(alonzo):
    return Maker(alonzo)


def test_round_trip_and_reuse(make):
    """A function answers what its handler returns, and the second call finds its environment warm."""
    name = make.function(
        "import os\nn = 0\ndef handler(e, c):\n    global n\n    n += 1\n    return {'e': e, 'n': n}\n"
    )
    assert make.invoke(name, {"a": [1, "ü"]})[0] == {"e": {"a": [1, "ü"]}, "n": 1}
    assert make.invoke(name, 5)[0] == {"e": 5, "n": 2}


def test_context_and_environment(make, alonzo):
    """The context and the variables are Lambda's."""
    name = make.function(
        "import os\n"
        "def handler(e, c):\n"
        "    return dict(os.environ) | {'id': c.aws_request_id, 'arn': c.invoked_function_arn,\n"
        "        'mem': c.memory_limit_in_mb, 'left': c.get_remaining_time_in_millis(),\n"
        "        'cwd': os.getcwd(), 'uid': os.getuid(), 'pid': os.getpid()}\n",
        MemorySize=256,
        Environment={"Variables": {"MINE": "yes"}},
    )
    seen, response = make.invoke(name)
    assert seen["id"] == response["ResponseMetadata"]["RequestId"]
    assert seen["arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert 8000 < seen["left"] <= 10000
    assert (seen["cwd"], seen["MINE"], seen["mem"]) == ("/var/task", "yes", "256")
    assert seen["uid"] != 0
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == name
    assert seen["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert seen["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    assert seen["LAMBDA_TASK_ROOT"] == "/var/task"
    assert seen["TZ"] == ":UTC"
    assert seen["AWS_ACCESS_KEY_ID"].startswith("ASIA")


def test_handler_error(make):
    """An exception is a 200 with FunctionError Unhandled and the exception's shape."""
    name = make.function("def handler(e, c):\n    raise ValueError('no good')\n")
    payload, response = make.invoke(name, LogType="Tail")
    assert (response["StatusCode"], response["FunctionError"]) == (200, "Unhandled")
    assert (payload["errorType"], payload["errorMessage"]) == ("ValueError", "no good")
    tail = base64.b64decode(response["LogResult"]).decode()
    assert "[ERROR] ValueError: no good" in tail and "REPORT RequestId" in tail


@pytest.mark.parametrize(
    ("source", "more", "error"),
    [
        ("def handler(e, c):\n    pass\n", {"Handler": "app.nothing"}, "Runtime.HandlerNotFound"),
        ("import nowhere\n", {}, "Runtime.ImportModuleError"),
        ("def handler(e, c:\n", {}, "Runtime.UserCodeSyntaxError"),
        ("import os\ndef handler(e, c):\n    os._exit(3)\n", {}, "Runtime.ExitError"),
        ("def handler(e, c):\n    return object()\n", {}, "Runtime.MarshalError"),
    ],
)
def test_broken_functions(make, source, more, error):
    """Each way of being broken has AWS's error type."""
    payload, response = make.invoke(make.function(source, **more))
    assert response["FunctionError"] == "Unhandled"
    assert payload["errorType"] == error


def test_timeout_replaces_the_environment(make):
    """A handler that does not end is killed at its time-out, and the next call finds a new environment."""
    name = make.function(
        "import time\nn = 0\n"
        "def handler(e, c):\n    global n\n    n += 1\n    time.sleep(e.get('s', 0))\n    return n\n",
        Timeout=1,
    )
    assert make.invoke(name)[0] == 1
    payload, response = make.invoke(name, {"s": 30})
    assert response["FunctionError"] == "Unhandled"
    assert payload["errorType"] == "Sandbox.Timedout"
    assert re.fullmatch(r"RequestId: [0-9a-f-]{36} Error: Task timed out after 1\.00 seconds", payload["errorMessage"])
    assert make.invoke(name)[0] == 1


def test_memory_limit(make):
    """A function that takes more memory than it has is killed, with Lambda's result."""
    name = make.function("def handler(e, c):\n    x = b'x' * (e['mb'] << 20)\n    return len(x)\n", MemorySize=128)
    payload, response = make.invoke(name, {"mb": 400})
    assert response["FunctionError"] == "Unhandled"
    assert "signal: killed" in payload["errorMessage"]
    assert make.invoke(name, {"mb": 20})[0] == 20 << 20


def test_role_is_enforced(make, alonzo):
    """What the role does not allow is denied inside the function, with AWS's words; what it allows works."""
    s3 = alonzo.client("s3")
    s3.create_bucket(Bucket="enforced-a")
    s3.create_bucket(Bucket="enforced-b")
    s3.put_object(Bucket="enforced-a", Key="k", Body=b"hello")
    s3.put_object(Bucket="enforced-b", Key="k", Body=b"secret")
    allow = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::enforced-a/*"}
    role = make.role(inline={"Version": "2012-10-17", "Statement": [allow]})
    name = make.function(
        "import boto3\n"
        "s3 = boto3.client('s3')\n"
        "def handler(e, c):\n"
        "    try:\n"
        "        return s3.get_object(Bucket=e, Key='k')['Body'].read().decode()\n"
        "    except Exception as error:\n"
        "        return str(error)\n",
        role=role,
        MemorySize=512,
    )
    assert make.invoke(name, "enforced-a")[0] == "hello"
    denied = make.invoke(name, "enforced-b")[0]
    assert "AccessDenied" in denied
    assert "is not authorized to perform: s3:GetObject" in denied
    assert "because no identity-based policy allows the s3:GetObject action" in denied


def test_customary_keys_are_worth_nothing_inside(make):
    """Inside a function, test/test and a 12-digit key are refused: only its role's credentials count."""
    name = make.function(
        "import boto3\n"
        "def handler(e, c):\n"
        "    sts = boto3.client('sts', aws_access_key_id=e, aws_secret_access_key='test', aws_session_token=None)\n"
        "    try:\n"
        "        return sts.get_caller_identity()['Arn']\n"
        "    except Exception as error:\n"
        "        return str(error)\n",
        MemorySize=512,
    )
    for key in ("test", "000000000000"):
        assert "InvalidClientTokenId" in make.invoke(name, key)[0]


def test_log_lines(make):
    """The log has INIT_START, START, what was printed, END and REPORT, as Lambda writes them."""
    name = make.function("print('at init')\ndef handler(e, c):\n    print('one\\ntwo')\n    return 1\n")
    _, response = make.invoke(name)
    request_id = response["ResponseMetadata"]["RequestId"]
    lines = wait_for(lambda: any("REPORT" in x for x in make.log(name)) and make.log(name))
    text = "".join(lines)
    assert re.match(r"INIT_START Runtime Version: python:3\.\d+\.v\d+\tRuntime Version ARN: arn:aws:lambda:", lines[0])
    assert f"START RequestId: {request_id} Version: $LATEST\n" in text
    assert f"END RequestId: {request_id}\n" in text
    assert "one\n" in text and "two\n" in text
    report = next(x for x in lines if x.startswith("REPORT"))
    assert re.fullmatch(
        rf"REPORT RequestId: {request_id}\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t"
        r"Max Memory Used: \d+ MB\tInit Duration: [\d.]+ ms\t\n",
        report,
    )


def test_event_invocation_retries_and_gives_up(alonzo):
    """An event is accepted at once, and a failing function is tried three times with one request id."""
    from alonzo.testing import Server

    from .conftest import Maker

    with Server(settings={"retry_base_s": "0.1"}) as server:
        make = Maker(server)
        name = make.function("def handler(e, c):\n    print('TRY', c.aws_request_id)\n    raise RuntimeError('x')\n")
        response = make.functions.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
        assert (response["StatusCode"], response["Payload"].read()) == (202, b"")
        tries = wait_for(lambda: len(t := [x for x in make.log(name) if "TRY" in x]) >= 3 and t, 30)
        assert len(set(tries)) == 1 and response["ResponseMetadata"]["RequestId"] in tries[0]


def test_concurrent_requests_get_an_environment_each(make):
    """Simultaneous requests run at once, each in an environment of its own."""
    from concurrent.futures import ThreadPoolExecutor

    name = make.function(
        "import time, uuid\nme = str(uuid.uuid4())\ndef handler(e, c):\n    time.sleep(0.6)\n    return me\n"
    )
    with ThreadPoolExecutor(6) as pool:
        seen = list(pool.map(lambda _: make.invoke(name)[0], range(6)))
    assert len(set(seen)) == 6


def test_bad_input(make):
    """Bad requests get AWS's errors, and nothing half-done stays behind."""
    functions, role = make.functions, make.role()

    def refused(**more):
        with pytest.raises(ClientError) as caught:
            functions.create_function(
                **{
                    "FunctionName": "bad",
                    "Runtime": "python3.12",
                    "Handler": "a.b",
                    "Role": role,
                    "Code": {"ZipFile": b"x"},
                }
                | more
            )
        return caught.value.response["Error"]

    assert refused()["Message"] == "Could not unzip uploaded file. Please check your file, then try to upload again."
    assert refused(Runtime="cobol85")["Code"] == "InvalidParameterValueException"
    missing = refused(Role="arn:aws:iam::000000000000:role/nobody", Code={"ZipFile": _tiny()})
    assert missing["Message"] == "The role defined for the function cannot be assumed by Lambda."
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.get_function(FunctionName="bad")
    name = make.function("def handler(e, c):\n    return 1\n")
    with pytest.raises(functions.exceptions.InvalidRequestContentException):
        functions.invoke(FunctionName=name, Payload=b"{no json")
    with pytest.raises(ClientError, match=r"Request(Entity)?TooLarge"):
        functions.invoke(FunctionName=name, Payload=json.dumps("x" * 6_400_000))


def _tiny() -> bytes:
    from .conftest import zip_of

    return zip_of({"a.py": "def b(e, c): pass"})
