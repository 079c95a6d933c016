"""Heads that are read in one go mean what the parser says they mean."""

from __future__ import annotations

import random

import httptools
import pytest

from alonzo.gateway.plain_head import HeadReader

PLAIN = (
    b"POST /2015-03-31/functions/f/invocations?Qualifier=1 HTTP/1.1\r\nHost: localhost:4566\r\n"
    b"User-Agent: Boto3/1.40 md/Botocore#1.40 (x; y)\r\nX-Amz-Date: 20260131T120000Z\r\nConnection: keep-alive\r\n"
    b"Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0\r\nContent-Length: 2\r\n\r\n{}"
)


class Parsed:
    """What httptools makes of a request; `messages` counts whole ones."""

    def __init__(self, data: bytes) -> None:
        self.url, self.body, self.messages = b"", b"", 0
        self.items: list[tuple[str, str]] = []
        self.parser = httptools.HttpRequestParser(self)
        self.failed = False
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.failed = True

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.items.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


def agree(data: bytes) -> bool:
    """Whether the request was read in one go; then the parser must say exactly the same."""
    head = HeadReader().read(data)
    if head is None:
        return False
    parsed = Parsed(data)
    assert not parsed.failed and parsed.messages == 1, data
    assert parsed.parser.should_keep_alive() and parsed.parser.get_http_version() == "1.1", data
    assert (head.method, head.target) == (parsed.parser.get_method().decode(), parsed.url.decode()), data
    assert head.items == parsed.items and head.fields == dict(parsed.items) and head.body == parsed.body, data
    return True


def test_an_sdks_request_is_read() -> None:
    """What SDKs send is read, name for name."""
    assert agree(PLAIN)
    assert agree(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[:-1],
        PLAIN + b"x",
        PLAIN + PLAIN,
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAIN.replace(b"Content-Length: 2", b"Content-Length: +2"),
        PLAIN.replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 2"),
        PLAIN.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked\r\nContent-Length: 2"),
        PLAIN.replace(b"Connection: keep-alive", b"Connection: close"),
        PLAIN.replace(b"Connection: keep-alive", b"Connection: Upgrade\r\nUpgrade: h2c"),
        PLAIN.replace(b"Connection: keep-alive", b"Expect: 100-continue"),
        PLAIN.replace(b"Host: ", b"Host : "),
        PLAIN.replace(b"Host: ", b"Host:\t"),
        PLAIN.replace(b"Host: ", b"Host:  "),
        PLAIN.replace(b"Host: ", b"Host:"),
        PLAIN.replace(b"Host: ", b": "),
        PLAIN.replace(b"\r\nUser", b" \r\nUser"),
        PLAIN.replace(b"\r\nUser", b"\r\n User"),
        PLAIN.replace(b"\r\nUser", b"\nUser"),
        PLAIN.replace(b"Boto3", b"Bo\x00to3"),
        PLAIN.replace(b"Boto3", b"Bo\xe4to3"),
        PLAIN.replace(b"POST /", b"POST  /"),
        PLAIN.replace(b"POST /", b"post /"),
        PLAIN.replace(b"POST /", b"POST http://h/"),
        PLAIN.replace(b"User-Agent: ", b"X: " + b"x" * 9_000 + b"\r\nUser-Agent: "),
        b"\r\n" + PLAIN,
        b"",
    ],
)
def test_what_is_unusual_is_left_to_the_parser(data: bytes) -> None:
    """Cut, repeated, chunked, folded, closing, upgrading or badly written requests are not read here."""
    assert HeadReader().read(data) is None


def test_both_agree_on_damaged_requests() -> None:
    """However a request is damaged: if it is still read, the parser reads the same."""
    rng = random.Random(7)
    read = 0
    for _ in range(20_000):
        data = bytearray(PLAIN)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            match rng.randrange(3):
                case 0:
                    data[at] = rng.choice(b' \t\r\n:;,/?#%\x00\x7f\xe4AZaz09"<>[]{}|\\^`~')
                case 1:
                    del data[at : at + rng.randint(1, 3)]
                case _:
                    data[at:at] = bytes(data[(b := rng.randrange(len(data))) : b + rng.randint(1, 12)])
        read += agree(bytes(data))
    assert read > 2_000
