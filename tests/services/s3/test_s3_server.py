"""What only a server of its own can show: crashes, memory, anonymous readers."""

from __future__ import annotations

import hashlib
import http.client
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from alonzo.testing.server import Server

MIB = 1 << 20


def _resident_mib(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise AssertionError(field)


def _blobs(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_kill_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    """After kill -9 every object that was acknowledged is there whole, and an upload under way has left no file."""
    data = b"z" * (3 * MIB)
    with Server(data_dir=tmp_path) as server:
        client = server.client("s3", signature_version="s3v4")
        client.create_bucket(Bucket="bkt")
        client.put_object(Bucket="bkt", Key="small", Body=b"1")
        client.put_object(Bucket="bkt", Key="big", Body=data)
        url = urlsplit(client.generate_presigned_url("put_object", Params={"Bucket": "bkt", "Key": "half"}))
        connection = http.client.HTTPConnection(url.netloc)
        connection.putrequest("PUT", f"{url.path}?{url.query}")
        connection.putheader("Content-Length", str(50 * MIB))
        connection.endheaders(data)
        deadline = time.monotonic() + 10
        while len(_blobs(tmp_path)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(_blobs(tmp_path)) == 2
        server.kill()
        connection.close()
    with Server(data_dir=tmp_path) as server:
        client = server.client("s3")
        assert client.get_object(Bucket="bkt", Key="small")["Body"].read() == b"1"
        assert client.get_object(Bucket="bkt", Key="big")["Body"].read() == data
        assert [one["Key"] for one in client.list_objects_v2(Bucket="bkt")["Contents"]] == ["big", "small"]
        assert len(_blobs(tmp_path)) == 1


@pytest.mark.slow
def test_large_objects_stay_out_of_memory(tmp_path: Path) -> None:
    """256 MiB up and down make the server grow by less than 32 MiB; a client that goes away leaves no file."""
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(256 * MIB)
    folder = tmp_path / "data"
    with Server(data_dir=folder) as server:
        assert server.process is not None
        client = server.client("s3", request_checksum_calculation="when_required", signature_version="s3v4")
        client.create_bucket(Bucket="bkt")
        before = _resident_mib(server.process.pid, "VmRSS")
        with source.open("rb") as file:
            client.put_object(Bucket="bkt", Key="k", Body=file)
        digest, size = hashlib.md5(), 0
        got = client.get_object(Bucket="bkt", Key="k")
        for chunk in got["Body"].iter_chunks(MIB):
            digest.update(chunk)
            size += len(chunk)
        assert (size, f'"{digest.hexdigest()}"') == (256 * MIB, got["ETag"])
        assert _resident_mib(server.process.pid, "VmHWM") - before < 32
        url = urlsplit(client.generate_presigned_url("put_object", Params={"Bucket": "bkt", "Key": "gone"}))
        with socket.create_connection((url.hostname or "", url.port or 0)) as connection:
            head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {20 * MIB}\r\n\r\n"
            connection.sendall(head.encode() + b"x" * (4 * MIB))
        deadline = time.monotonic() + 10
        while len(_blobs(folder)) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(_blobs(folder)) == 1
        assert [one["Key"] for one in client.list_objects_v2(Bucket="bkt")["Contents"]] == ["k"]


@pytest.mark.slow
def test_anonymous_readers() -> None:
    """Without credentials an object is denied until the bucket's policy makes it public."""
    with Server() as server:
        client = server.client("s3")
        client.create_bucket(Bucket="bkt")
        client.put_object(Bucket="bkt", Key="k", Body=b"public")
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{server.endpoint}/bkt/k")
        assert error.value.code == 403
        assert b"<Code>AccessDenied</Code>" in error.value.read()
        error.value.close()
        client.delete_public_access_block(Bucket="bkt")
        client.put_bucket_policy(
            Bucket="bkt",
            Policy='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",'
            '"Resource":"arn:aws:s3:::bkt/*"}]}',
        )
        with urllib.request.urlopen(f"{server.endpoint}/bkt/k") as answer:
            assert answer.read() == b"public"
