"""A disk that is full: every write says so, nothing half-done stays, and with room again all goes on."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from alonzo.testing import Server

from .conftest import RUNTIME, Maker, wait_for, zip_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount the small disk that is filled"),
]

MIB = 1 << 20
SOURCE = "def handler(e, c):\n    print('ran', e)\n    return e\n"


#: What one function's /tmp takes, and room beside it; what a server without functions needs.
WITH_FUNCTION, WITHOUT = 900, 16


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path):
    """A file system of its own, of so many MiB."""
    options = f"size={request.param}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "alonzo-test", str(tmp_path)], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    filler = disk / "filler"
    with filler.open("ab") as file:
        size = 512 * MIB
        while size >= 4096:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
            except OSError:
                size //= 2
    return filler


def refused(write) -> tuple[str, str, int]:
    """(code, message, status) of the error that a write gets."""
    with pytest.raises(ClientError) as caught:
        write()
    answer = caught.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


def blobs(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs").rglob("*") if path.is_file()}


@pytest.mark.parametrize("disk", [WITH_FUNCTION], indirect=True)
def test_full_disk(disk):
    """Each kind of write is refused with a sentence, reads and calls go on, and nothing has to be restarted."""
    folder = disk / "data"
    with Server(folder) as server:
        make = Maker(server)
        s3, sqs, logs, iam = (server.client(name) for name in ("s3", "sqs", "logs", "iam"))
        s3.create_bucket(Bucket="kept")
        s3.put_object(Bucket="kept", Key="before", Body=b"b" * MIB)
        url = sqs.create_queue(QueueName="kept")["QueueUrl"]
        logs.create_log_group(logGroupName="kept")
        role = make.role()
        name = make.function(SOURCE, role=role)
        assert make.invoke(name, 1)[0] == 1
        upload = s3.create_multipart_upload(Bucket="kept", Key="parts")["UploadId"]
        wait_for(lambda: any("REPORT" in line for line in make.log(name)))
        before = blobs(folder)
        filler = fill(disk)

        large = zip_of({"app.py": SOURCE, "data": os.urandom(2 * MIB)})
        wanted = {"Runtime": RUNTIME, "Role": role, "Handler": "app.handler", "Code": {"ZipFile": large}}
        part = {"Bucket": "kept", "Key": "parts", "UploadId": upload, "PartNumber": 1}
        tags = [{"Key": f"k{n}", "Value": "v" * 200} for n in range(50)]
        writes = {
            "small object": lambda: s3.put_object(Bucket="kept", Key="small", Body=b"s" * 40_000),
            "large object": lambda: s3.put_object(Bucket="kept", Key="large", Body=b"l" * 5 * MIB),
            "part": lambda: s3.upload_part(**part, Body=b"p" * 5 * MIB),
            "copy": lambda: s3.copy_object(Bucket="kept", Key="copy", CopySource="kept/before"),
            "message": lambda: sqs.send_message(QueueUrl=url, MessageBody="m" * 50_000),
            "group": lambda: logs.create_log_group(logGroupName="x" * 500),
            "user": lambda: iam.create_user(UserName="late", Tags=tags),
            "function": lambda: make.functions.create_function(FunctionName="late", **wanted),
            "code": lambda: make.functions.update_function_code(FunctionName=name, ZipFile=large),
            "event": lambda: make.functions.invoke(
                FunctionName=name, InvocationType="Event", Payload=b'"' + b"e" * 200_000 + b'"'
            ),
        }
        for what, write in writes.items():
            said = refused(write)
            assert said[0] in ("InternalError", "InsufficientStorage"), (what, said)
            assert said[1].startswith(f"No space is left on the disk that holds {folder}"), (what, said)
            assert said[2] == 507, (what, said)
        # What needs no room goes on, and nothing half-done is there.
        assert make.invoke(name, 2)[0] == 2
        assert s3.get_object(Bucket="kept", Key="before")["Body"].read() == b"b" * MIB
        assert [one["Key"] for one in s3.list_objects_v2(Bucket="kept")["Contents"]] == ["before"]
        assert "Parts" not in s3.list_parts(Bucket="kept", Key="parts", UploadId=upload)
        assert [one["FunctionName"] for one in make.functions.list_functions()["Functions"]] == [name]
        assert blobs(folder) == before
        filler.unlink()

        for write in writes.values():
            write()
        assert make.invoke(name, 3)[0] == 3
        # The lines of the call meanwhile were kept until there was room for them.
        wait_for(lambda: {"ran 1\n", "ran 2\n", "ran 3\n"} <= set(make.log(name)))
        assert "Traceback" not in "".join(server.log)


@pytest.mark.parametrize("disk", [WITH_FUNCTION], indirect=True)
def test_accepted_events_outlive_a_full_disk(disk):
    """Events that were accepted before the disk filled up are all run, though meanwhile no outcome could be stored."""
    with Server(disk / "data", {"throttle_base_s": "0.1"}) as server:
        make = Maker(server)
        name = make.function("import time\ndef handler(e, c):\n    time.sleep(0.1)\n    print('ran', e)\n")
        make.functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
        make.invoke(name, "first")
        for n in range(20):
            make.functions.invoke(FunctionName=name, InvocationType="Event", Payload=str(n).encode())
        filler = fill(disk)
        assert refused(lambda: make.functions.invoke(FunctionName=name, InvocationType="Event"))[2] == 507
        time.sleep(1.0)
        filler.unlink()
        wanted = {f"ran {n}\n" for n in range(20)}
        wait_for(lambda: wanted <= set(make.log(name)), 30)


@pytest.mark.parametrize("disk", [WITHOUT], indirect=True)
def test_start_and_stop_with_a_full_disk(disk):
    """A server stops cleanly on a full disk; it starts there, or says in one sentence why not; nothing is lost."""
    folder = disk / "data"
    server = Server(folder).start()
    s3 = server.client("s3")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=b"x")
    filler = fill(disk)
    assert refused(lambda: s3.put_object(Bucket="kept", Key="large", Body=bytes(MIB)))[2] == 507
    assert server.stop() == 0
    assert "Traceback" not in "".join(server.log)
    fill(disk)  # what the stop has freed
    again = Server(folder)
    try:
        again.start()
        assert again.client("s3").get_object(Bucket="kept", Key="k")["Body"].read() == b"x"
        again.stop()
    except RuntimeError:
        assert "No space is left on the disk" in "".join(again.log)
    assert "Traceback" not in "".join(again.log)
    filler.unlink()
    with Server(folder) as third:
        assert third.client("s3").list_objects_v2(Bucket="kept")["KeyCount"] == 1


@pytest.mark.parametrize("disk", [WITHOUT], indirect=True)
def test_a_first_start_on_a_full_disk(disk):
    """A first start where there is no room ends with one sentence that says so."""
    filler = fill(disk)
    with pytest.raises(RuntimeError, match=r"No space (is )?left") as caught:
        Server(disk / "data").start()
    assert "Traceback" not in str(caught.value)
    filler.unlink()
    with Server(disk / "data") as server:
        server.client("s3").create_bucket(Bucket="now")
