"""What clients put on the wire beside plain requests: compression, Expect, chunks with trailers, and half of a body."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import io
import json
import socket
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from awscrt import checksums
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from alonzo.testing import Server

from .conftest import RUNTIME, Maker, wait_for, zip_of

pytestmark = pytest.mark.slow

KIB = 1024


class Answer:
    """A response as read from a socket: the status lines before it, its status, and its body."""

    def __init__(self, raw: bytes) -> None:
        self.interim = 0
        while raw.startswith(b"HTTP/1.1 100 "):
            self.interim += 1
            raw = raw.partition(b"\r\n\r\n")[2]
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ", 2)[1]) if head else 0
        self.headers = {
            name.decode().lower(): value.decode().strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }


class Wire:
    """Signed requests to a server, byte by byte."""

    def __init__(self, server: Server) -> None:
        self.host = urlsplit(server.endpoint).netloc
        address, _, port = self.host.partition(":")
        self.address = (address, int(port))

    def signed(self, method, path, headers=None, data=b"", *, service="s3", payload=None, secret="test"):
        """The header lines of a signed request; `payload` is x-amz-content-sha256 if not the hash of `data`."""
        request = AWSRequest(method, f"http://{self.host}{path}", headers=dict(headers or {}), data=data)
        signer = S3SigV4Auth if service == "s3" else SigV4Auth
        auth = signer(Credentials("test", secret), service, "us-east-1")
        if payload is not None:
            request.headers["X-Amz-Content-SHA256"] = payload
            auth.payload = lambda _: payload
            request.context["payload_signing_enabled"] = True
        auth.add_auth(request)
        self.stamp = request.context["timestamp"]
        self.signature = request.headers["Authorization"].rpartition("Signature=")[2]
        return {**dict(request.headers.items()), "Host": self.host}

    def open(self, method, path, headers) -> socket.socket:
        """Send a request's head."""
        connection = socket.create_connection(self.address, timeout=15)
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        return connection

    def send(self, method, path, headers, body=b"", length=None) -> Answer:
        length = len(body) if length is None else length
        with self.open(method, path, {**headers, "Content-Length": length, "Connection": "close"}) as connection:
            connection.sendall(body)
            if length > len(body):
                connection.shutdown(socket.SHUT_WR)
            return Answer(b"".join(iter(lambda: connection.recv(1 << 16), b"")))


@pytest.fixture(scope="module")
def wire(alonzo: Server) -> Wire:
    alonzo.client("s3").create_bucket(Bucket="wire")
    return Wire(alonzo)


def missing(server: Server, key: str) -> bool:
    """Whether nothing at all is known of the key."""
    s3 = server.client("s3")
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket="wire", Key=key)
    return key not in [one["Key"] for one in s3.list_objects_v2(Bucket="wire").get("Contents", [])]


# -- gzip -------------------------------------------------------------------------------------------------------------


def target(name, version="1.1", **more):
    return {"X-Amz-Target": name, "Content-Type": f"application/x-amz-json-{version}", **more}


def test_compressed_requests_of_every_protocol(alonzo, wire, make: Maker):
    """A body with Content-Encoding gzip is understood whatever the protocol is: json, query and rest-json."""
    zipped = {"Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps({"logGroupName": "/zipped"}).encode())
    head = wire.signed("POST", "/", target("Logs_20140328.CreateLogGroup", **zipped), body, service="logs")
    assert wire.send("POST", "/", head, body).status == 200
    assert alonzo.client("logs").describe_log_groups(logGroupNamePrefix="/zipped")["logGroups"]

    body = gzip.compress(b"Action=CreateTopic&Version=2010-03-31&Name=zipped")
    form = {"Content-Type": "application/x-www-form-urlencoded", **zipped}
    answer = wire.send("POST", "/", wire.signed("POST", "/", form, body, service="sns"), body)
    assert (answer.status, b":zipped</TopicArn>" in answer.body) == (200, True)

    path = "/2015-03-31/functions"
    code = base64.b64encode(zip_of({"app.py": "def handler(e, c):\n    return e\n"})).decode()
    wanted = {
        "FunctionName": "zipped",
        "Runtime": RUNTIME,
        "Role": make.role(),
        "Handler": "app.handler",
        "Code": {"ZipFile": code},
    }
    body = gzip.compress(json.dumps(wanted).encode())
    answer = wire.send("POST", path, wire.signed("POST", path, zipped, body, service="lambda"), body)
    assert answer.status == 201, answer.body
    make.functions.get_waiter("function_active_v2").wait(FunctionName="zipped", WaiterConfig={"Delay": 1})
    path = "/2015-03-31/functions/zipped/invocations"
    body = gzip.compress(b'{"a": "\xc3\xbc"}')
    answer = wire.send("POST", path, wire.signed("POST", path, zipped, body, service="lambda"), body)
    assert (answer.status, json.loads(answer.body)) == (200, {"a": "ü"})


def test_what_is_compressed_stays_so_in_a_bucket(alonzo, wire):
    """S3 keeps a gzip body as it is, with its Content-Encoding."""
    body = gzip.compress(b"plain")
    assert wire.send("PUT", "/wire/gz", wire.signed("PUT", "/wire/gz", {"Content-Encoding": "gzip"}, body), body)
    found = alonzo.client("s3").get_object(Bucket="wire", Key="gz")
    assert (found["Body"].read(), found["ContentEncoding"]) == (body, "gzip")


def test_broken_compression_is_refused(wire):
    """A body that is no gzip, or half of one, or unpacks to more than a request may be, gets an error."""
    whole = gzip.compress(json.dumps({"logGroupName": "/broken"}).encode())
    bomb = gzip.compress(bytes(80 << 20), 1)
    for body, status in ((b"no gzip", 400), (whole[:-9], 400), (bomb, 413)):
        head = target("Logs_20140328.CreateLogGroup", **{"Content-Encoding": "gzip"})
        answer = wire.send("POST", "/", wire.signed("POST", "/", head, body, service="logs"), body)
        assert answer.status == status, answer.body
        assert json.loads(answer.body)["__type"]


# -- Expect -----------------------------------------------------------------------------------------------------------


def test_expect_is_answered_before_the_body(alonzo, wire):
    """A client that waits for 100 Continue gets it, then sends its body."""
    body = b"x" * (100 * KIB)
    head = wire.signed("PUT", "/wire/expected", {}, body) | {"Content-Length": len(body), "Connection": "close"}
    with wire.open("PUT", "/wire/expected", {**head, "Expect": "100-continue"}) as connection:
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert Answer(b"".join(iter(lambda: connection.recv(1 << 16), b""))).status == 200
    assert alonzo.client("s3").get_object(Bucket="wire", Key="expected")["Body"].read() == body


@pytest.mark.parametrize(
    ("path", "secret", "status", "code"),
    [("/wire/refused", "wrong", 403, b"SignatureDoesNotMatch"), ("/no-such-wire/key", "test", 404, b"NoSuchBucket")],
)
def test_who_will_be_refused_need_not_send(wire, path, secret, status, code):
    """Where the head alone is refused, the client that waits gets the error at once and never a 100."""
    head = wire.signed("PUT", path, {}, b"x" * 1000, secret=secret)
    with wire.open("PUT", path, {**head, "Content-Length": 1000, "Expect": "100-continue"}) as connection:
        answer = Answer(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    assert (answer.interim, answer.status, code in answer.body) == (0, status, True)


# -- aws-chunked ------------------------------------------------------------------------------------------------------

DIGESTS = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "crc32c": lambda data: checksums.crc32c(data).to_bytes(4, "big"),
    "crc64nvme": lambda data: checksums.crc64nvme(data).to_bytes(8, "big"),
    "sha1": lambda data: hashlib.sha1(data).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}
EMPTY = hashlib.sha256(b"").hexdigest()


def digest(algorithm: str, data: bytes) -> str:
    return base64.b64encode(DIGESTS[algorithm](data)).decode()


class Chunks:
    """A body in aws-chunked, signed chunk by chunk or not, with a checksum after it."""

    def __init__(self, wire: Wire, key: str, data: bytes, algorithm: str, value: str, *, signed: bool) -> None:
        self.path = f"/wire/{key}"
        name = f"x-amz-checksum-{algorithm}"
        mode = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" if signed else "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        self.head = wire.signed(
            "PUT",
            self.path,
            {
                "Content-Encoding": "aws-chunked",
                "X-Amz-Decoded-Content-Length": str(len(data)),
                "X-Amz-Trailer": name,
                "X-Amz-Sdk-Checksum-Algorithm": algorithm.upper(),
            },
            payload=mode,
        )
        key_bytes = b"AWS4test"
        self._stamp, self._previous, self._signed = wire.stamp, wire.signature, signed
        self._scope = f"{wire.stamp[:8]}/us-east-1/s3/aws4_request"
        for part in self._scope.split("/"):
            key_bytes = hmac.digest(key_bytes, part.encode(), "sha256")
        self._key = key_bytes
        out = io.BytesIO()
        for at in range(0, len(data), 64 * KIB):
            self._chunk(out, data[at : at + 64 * KIB])
        self.cut = out.tell()
        self._chunk(out, b"")
        out.write(f"{name}:{value}\r\n".encode())
        if signed:
            trailer = hashlib.sha256(f"{name}:{value}\n".encode()).hexdigest()
            mark = self._sign(f"AWS4-HMAC-SHA256-TRAILER\n{{}}\n{trailer}")
            out.write(f"x-amz-trailer-signature:{mark}\r\n".encode())
        out.write(b"\r\n")
        self.body = out.getvalue()

    def _chunk(self, out: io.BytesIO, piece: bytes) -> None:
        mark = ""
        if self._signed:
            payload = hashlib.sha256(piece).hexdigest()
            mark = ";chunk-signature=" + self._sign(f"AWS4-HMAC-SHA256-PAYLOAD\n{{}}\n{EMPTY}\n{payload}")
        out.write(f"{len(piece):x}{mark}\r\n".encode() + piece + (b"\r\n" if piece else b""))

    def _sign(self, text: str) -> str:
        text = text.format(f"{self._stamp}\n{self._scope}\n{self._previous}")
        self._previous = hmac.digest(self._key, text.encode(), "sha256").hex()
        return self._previous


@pytest.mark.parametrize("size", [1000, 300 * KIB], ids=["small", "large"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("algorithm", DIGESTS)
def test_trailing_checksums(alonzo, wire, algorithm, signed, size):
    """Chunks are put together and the checksum that follows them is checked and kept; a wrong one leaves nothing."""
    data = bytes(range(250)) * (size // 250)
    key = f"{algorithm}-{signed}-{size}"
    right = digest(algorithm, data)
    good = Chunks(wire, key, data, algorithm, right, signed=signed)
    answer = wire.send("PUT", good.path, good.head, good.body)
    assert (answer.status, answer.headers.get(f"x-amz-checksum-{algorithm}")) == (200, right), answer.body
    found = alonzo.client("s3").get_object(Bucket="wire", Key=key, ChecksumMode="ENABLED")
    assert found["Body"].read() == data
    assert found[f"Checksum{algorithm.upper()}"] == right
    assert "aws-chunked" not in found.get("ContentEncoding", "")

    bad = Chunks(wire, f"{key}-bad", data, algorithm, digest(algorithm, data + b"!"), signed=signed)
    answer = wire.send("PUT", bad.path, bad.head, bad.body)
    assert answer.status == 400
    assert b"<Code>BadDigest</Code>" in answer.body
    text = f"The {algorithm.upper()} you specified did not match the calculated checksum."
    assert text.encode() in answer.body
    assert missing(alonzo, f"{key}-bad")


def test_a_changed_chunk_is_noticed(alonzo, wire):
    """Signed chunks of which one byte was changed on the way are refused, and nothing of them stays."""
    data = b"d" * (2000 * KIB)
    chunks = Chunks(wire, "changed", data, "crc32", digest("crc32", data), signed=True)
    body = bytearray(chunks.body)
    body[10 * KIB] ^= 1
    # The answer comes long before the body has; it must not get lost where the connection ends with it.
    for _ in range(10):
        answer = wire.send("PUT", chunks.path, chunks.head, bytes(body))
        assert (answer.status, b"<Code>SignatureDoesNotMatch</Code>" in answer.body) == (403, True)
    assert missing(alonzo, "changed")


# -- half of it -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory):
    """A server whose data folder can be looked into."""
    folder = tmp_path_factory.mktemp("durable")
    with Server(folder) as server:
        server.client("s3").create_bucket(Bucket="wire")
        yield server, Wire(server), folder


def blobs(folder: Path) -> list[str]:
    return [path.name for path in (folder / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [10 * KIB, 3 * KIB * KIB], ids=["small", "large"])
@pytest.mark.parametrize("how", ["plain", "chunked", "between chunks"])
def test_truncated_uploads(durable, how, size):
    """A client that goes away in the middle of its body leaves no object and no file."""
    server, wire, folder = durable
    data = b"t" * size
    key = f"cut-{how.replace(' ', '-')}-{size}"
    if how == "plain":
        head, body = wire.signed("PUT", f"/wire/{key}", {}, data), data
        sent = body[: size // 2]
    else:
        chunks = Chunks(wire, key, data, "crc32", digest("crc32", data), signed=False)
        head, body = chunks.head, chunks.body
        sent = body[: chunks.cut - 5000] if how == "chunked" else body[: chunks.cut]
    answer = wire.send("PUT", f"/wire/{key}", head, sent, length=len(body))
    assert answer.status in (0, 400)  # nobody is there to read an answer
    assert missing(server, key)
    wait_for(lambda: blobs(folder) == [], 5)


def test_a_body_that_ends_before_its_last_chunk(durable):
    """Content-Length is kept but the chunks end too early, or are fewer bytes than announced: IncompleteBody."""
    server, wire, folder = durable
    data = b"t" * (200 * KIB)
    chunks = Chunks(wire, "early", data, "crc32", digest("crc32", data), signed=False)
    answer = wire.send("PUT", chunks.path, chunks.head, chunks.body[: chunks.cut])
    assert (answer.status, b"<Code>IncompleteBody</Code>" in answer.body) == (400, True)
    short = Chunks(wire, "early", data[:-1], "crc32", digest("crc32", data[:-1]), signed=False)
    long = wire.signed(
        "PUT",
        "/wire/early",
        {
            "Content-Encoding": "aws-chunked",
            "X-Amz-Decoded-Content-Length": str(len(data)),
            "X-Amz-Trailer": "x-amz-checksum-crc32",
        },
        payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    )
    answer = wire.send("PUT", "/wire/early", long, short.body)
    assert (answer.status, b"<Code>IncompleteBody</Code>" in answer.body) == (400, True)
    assert missing(server, "early")
    assert blobs(folder) == []


def test_a_part_cut_off_leaves_its_upload_as_it_was(durable):
    """A part of which half arrived is no part; the upload goes on with another try."""
    server, wire, folder = durable
    s3 = server.client("s3")
    upload = s3.create_multipart_upload(Bucket="wire", Key="parts")["UploadId"]
    data = b"p" * (6 * KIB * KIB)
    path = f"/wire/parts?partNumber=1&uploadId={upload}"
    head = wire.signed("PUT", path, {}, data)
    wire.send("PUT", path, head, data[: 2 * KIB * KIB], length=len(data))
    assert "Parts" not in s3.list_parts(Bucket="wire", Key="parts", UploadId=upload)
    wait_for(lambda: blobs(folder) == [], 5)
    etag = s3.upload_part(Bucket="wire", Key="parts", UploadId=upload, PartNumber=1, Body=data)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(Bucket="wire", Key="parts", UploadId=upload, MultipartUpload=parts)
    assert s3.head_object(Bucket="wire", Key="parts")["ContentLength"] == len(data)
