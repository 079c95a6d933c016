"""What cannot be a function, a payload or a data folder: AWS's own error, or one sentence, and nothing is left."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from alonzo.testing import Server

from .conftest import RUNTIME, Maker, wait_for, zip_of

pytestmark = pytest.mark.slow

CODE = zip_of({"app.py": "def handler(e, c):\n    return e\n"})


def refusal(call, **params):
    """(code, message, status) of the error that the call raises."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory):
    """A server whose data folder can be looked into."""
    folder = tmp_path_factory.mktemp("kept")
    with Server(folder) as server:
        yield server, folder


def files(folder: Path) -> set[str]:
    """Everything that code leaves: archives and what is unpacked of them."""
    return {str(path) for name in ("blobs", "code") for path in (folder / name).rglob("*") if path.is_file()}


WHOLE = zip_of({"app.py": "def handler(e, c):\n    return 'new'\n" * 50, "data": b"d" * 100_000})
#: What the archive's directory does not tell: a file's contents are no longer what was packed.
DAMAGED = WHOLE[:60] + bytes(20) + WHOLE[80:]


def test_broken_archives_leave_nothing(kept):
    """An archive that is none, or half of one, is refused in AWS's words, and no file of it stays."""
    server, folder = kept
    make = Maker(server)
    name, role = make.function("def handler(e, c):\n    return 'as it was'\n"), make.role()
    assert make.invoke(name)[0] == "as it was"
    before = files(folder)
    wanted = {"Runtime": RUNTIME, "Role": role, "Handler": "app.handler"}
    text = "Could not unzip uploaded file. Please check your file, then try to upload again."
    for what, archive in {"none": b"no archive", "half": WHOLE[: len(WHOLE) // 2], "its mark": b"PK\5\6"}.items():
        said = refusal(make.functions.create_function, FunctionName="broken", Code={"ZipFile": archive}, **wanted)
        assert said == ("InvalidParameterValueException", text, 400), what
        said = refusal(make.functions.update_function_code, FunctionName=name, ZipFile=archive)
        assert said == ("InvalidParameterValueException", text, 400), what
        layer = make.functions.publish_layer_version
        assert refusal(layer, LayerName="broken", Content={"ZipFile": archive})[0] == "InvalidParameterValueException"
    assert refusal(make.functions.get_function, FunctionName="broken")[0] == "ResourceNotFoundException"
    assert make.functions.list_layers()["Layers"] == []
    assert make.invoke(name)[0] == "as it was"
    assert files(folder) == before


def test_damaged_archives_fail_when_they_are_unpacked(kept):
    """One that is damaged inside makes a function Failed, with AWS's reason code; an update leaves the old code."""
    server, folder = kept
    make = Maker(server)
    name, role = make.function("def handler(e, c):\n    return 'as it was'\n"), make.role()
    make.function("def handler(e, c):\n    return 'as it was'\n")
    before = files(folder)
    wanted = {"Runtime": RUNTIME, "Role": role, "Handler": "app.handler", "Code": {"ZipFile": DAMAGED}}
    make.functions.create_function(FunctionName="damaged", **wanted)
    look = make.functions.get_function_configuration
    found = wait_for(lambda: (c := look(FunctionName="damaged"))["State"] != "Pending" and c)
    assert (found["State"], found["StateReasonCode"]) == ("Failed", "InvalidZipFileException")
    assert found["StateReason"].startswith("Could not unzip uploaded file.")
    assert refusal(make.functions.invoke, FunctionName="damaged")[0] == "ResourceConflictException"
    make.functions.update_function_code(FunctionName=name, ZipFile=DAMAGED)
    found = wait_for(lambda: (c := look(FunctionName=name))["LastUpdateStatus"] != "InProgress" and c)
    assert (found["LastUpdateStatus"], found["LastUpdateStatusReasonCode"]) == ("Failed", "InvalidZipFileException")
    assert make.invoke(name)[0] == "as it was"
    make.functions.delete_function(FunctionName="damaged")
    make.functions.update_function_code(FunctionName=name, ZipFile=WHOLE)
    wait_for(lambda: look(FunctionName=name)["LastUpdateStatus"] == "Successful")
    assert make.invoke(name)[0] == "new"
    # Of the damaged ones nothing is left; the old code is another function's too.
    wait_for(lambda: len(files(folder)) == len(before) + 3)  # its archive and two files
    assert not any(hashlib.sha256(DAMAGED).hexdigest() in path for path in files(folder))


def test_a_role_that_cannot_be_assumed(kept):
    """A role that is not there, or that does not trust Lambda, makes no function; trust taken away stops new ones."""
    server, _ = kept
    make = Maker(server)
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    other = make.iam.create_role(RoleName="others", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    wanted = {"FunctionName": "roleless", "Runtime": RUNTIME, "Handler": "app.handler", "Code": {"ZipFile": CODE}}
    text = "The role defined for the function cannot be assumed by Lambda."
    for role in (other, "arn:aws:iam::000000000000:role/nobody"):
        said = refusal(make.functions.create_function, Role=role, **wanted)
        assert said == ("InvalidParameterValueException", text, 400)
    assert refusal(make.functions.get_function, FunctionName="roleless")[0] == "ResourceNotFoundException"
    role = make.role(name="trusted")
    name = make.function("def handler(e, c):\n    return e\n", role=role)
    make.iam.update_assume_role_policy(RoleName="trusted", PolicyDocument=document)
    code, message, status = refusal(make.functions.invoke, FunctionName=name, Payload=b"1")
    assert (code, status) == ("AccessDeniedException", 403)
    assert message == text


def test_payloads_that_are_none(kept):
    """What is no JSON is refused as AWS's parser does, what is too large with its limit; the function is not called."""
    server, _ = kept
    make = Maker(server)
    name = make.function("def handler(e, c):\n    print('called')\n    return e\n")
    invoke = make.functions.invoke
    start = "Could not parse request body into json: Could not parse payload into json: "
    place = "at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: "
    recorded = {
        b"n\x87r\x9e\xe9\xb5\xd7I\xee\x9bmt": f"Invalid UTF-8 start byte 0x87\n {place}3]",
        b"\x99\xeb,j\x07\xa1zYh": "Unexpected character ((CTRL-CHAR, code 153)): expected a valid value (JSON String,"
        f" Number, Array, Object or token 'null', 'true' or 'false')\n {place}1]",
    }
    for kind in ("RequestResponse", "Event"):
        for payload, text in recorded.items():
            said = refusal(invoke, FunctionName=name, InvocationType=kind, Payload=payload)
            assert said == ("InvalidRequestContentException", start + text, 400)
    large = b'"' + b"x" * 6_291_455 + b'"'
    sync = "Request must be smaller than 6291456 bytes for the InvokeFunction operation"
    assert refusal(invoke, FunctionName=name, Payload=large) == ("RequestEntityTooLargeException", sync, 413)
    event = "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"
    said = refusal(invoke, FunctionName=name, InvocationType="Event", Payload=large[:1_048_576] + b'"')
    assert said == ("RequestEntityTooLargeException", event, 413)
    assert make.invoke(name, 1)[0] == 1
    assert make.log(name).count("called\n") <= 1


def test_a_data_folder_of_a_newer_version(tmp_path):
    """A folder that a newer program wrote is refused in one sentence, and is not touched."""
    with Server(tmp_path) as server:
        server.client("s3").create_bucket(Bucket="newer")
    database = tmp_path / "alonzo.db"
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alonzo_schema SET version = version + 1")
    before = database.read_bytes()
    command = [sys.executable, "-m", "alonzo.cli.main", "up", "--port", "0", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"The data folder {tmp_path} was written by a newer Alonzo" in done.stderr
    assert "Upgrade Alonzo, or start with another --data-dir." in done.stderr
    assert "Traceback" not in done.stderr
    assert database.read_bytes() == before


def test_a_database_that_is_damaged(tmp_path):
    """A file that is no database is refused in one sentence that names it."""
    (tmp_path / "alonzo.db").write_bytes(b"this was a database" * 1000)
    with pytest.raises(RuntimeError, match="file is not a database") as caught:
        Server(tmp_path).start()
    assert str(tmp_path / "alonzo.db") in str(caught.value)
    assert "Traceback" not in str(caught.value)
