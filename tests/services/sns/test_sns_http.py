"""HTTP endpoints: confirmation, signed notifications, retries, and which addresses are allowed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from alonzo.core.context import Principal
from alonzo.services.sns.endpoints import is_public

from .conftest import QUEUE, SnsUnderTest


class Endpoint:
    """A server that records what it is sent. `statuses` are answered in turn, then 200."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], str]] = []
        self.statuses: list[int] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = (await reader.readexactly(int(headers["content-length"]))).decode()
        self.requests.append((head[0], headers, body))
        status = self.statuses.pop(0) if self.statuses else 200
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nLocation: http://169.254.169.254/\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    def sent(self, n: int) -> dict[str, Any]:
        return dict(json.loads(self.requests[n][2]))


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    found = Endpoint()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?a=b"
    yield found
    server.close()
    await server.wait_closed()


async def _confirmed(api: SnsUnderTest, endpoint: Endpoint, topic: str, **attributes: str) -> str:
    await api.subscribe(topic, endpoint.url, "http", **attributes)
    await api.until(lambda: bool(endpoint.requests))
    asked = parse_qs(urlsplit(endpoint.sent(0)["SubscribeURL"]).query)
    answer = await api.call("ConfirmSubscription", TopicArn=asked["TopicArn"][0], Token=asked["Token"][0])
    return str(answer["SubscriptionArn"])


def _verify(api: SnsUnderTest, message: dict[str, Any], names: tuple[str, ...]) -> None:
    pem = api.service.certificate(message["SigningCertURL"].rpartition("/")[2])
    assert pem is not None
    key = x509.load_pem_x509_certificate(pem).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    algorithm = hashes.SHA1() if message["SignatureVersion"] == "1" else hashes.SHA256()
    key.verify(base64.b64decode(message["Signature"]), text.encode(), padding.PKCS1v15(), algorithm)


NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")


async def test_an_endpoint_is_asked_first(api: SnsUnderTest, endpoint: Endpoint) -> None:
    """A new endpoint gets a signed question with AWS's headers, and nothing else until it has confirmed."""
    topic = await api.topic()
    answer = await api.call("Subscribe", TopicArn=topic, Protocol="http", Endpoint=endpoint.url)
    assert answer["SubscriptionArn"] == "pending confirmation"
    await api.publish(topic)
    await api.idle()
    ((line, headers, _),) = endpoint.requests
    assert line == "POST /hook?a=b HTTP/1.1"
    assert headers["x-amz-sns-message-type"] == "subscriptionconfirmation"
    assert headers["x-amz-sns-topic-arn"] == topic and headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["user-agent"] == "amazon simple notification service agent"
    question = endpoint.sent(0)
    _verify(api, question, ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"))


@pytest.mark.parametrize("version", ["1", "2"])
async def test_notifications_are_signed(api: SnsUnderTest, endpoint: Endpoint, version: str) -> None:
    """Both signature versions verify with the certificate that the message names, and fail for a changed message."""
    topic = await api.topic(SignatureVersion=version)
    subscription = await _confirmed(api, endpoint, topic)
    await api.publish(topic, "signed é", Subject="S")
    await api.idle()
    _, headers, _ = endpoint.requests[1]
    assert headers["x-amz-sns-message-type"] == "notification"
    assert headers["x-amz-sns-subscription-arn"] == subscription
    message = endpoint.sent(1)
    assert message["SignatureVersion"] == version
    _verify(api, message, NOTIFICATION)
    with pytest.raises(InvalidSignature):
        _verify(api, {**message, "Message": "forged"}, NOTIFICATION)
    assert api.service.certificate("other.pem") is None


async def test_raw_http(api: SnsUnderTest, endpoint: Endpoint) -> None:
    """A raw subscription gets the message as the body, and a header that says so."""
    topic = await api.topic()
    await _confirmed(api, endpoint, topic, RawMessageDelivery="true")
    await api.publish(topic, "plain é")
    await api.idle()
    _, headers, body = endpoint.requests[1]
    assert (body, headers["x-amz-sns-rawdelivery"]) == ("plain é", "true")


async def test_endpoints_with_a_password(api: SnsUnderTest, endpoint: Endpoint) -> None:
    """The name and password of an endpoint's URL are sent as basic authentication, and not in the Host header."""
    topic = await api.topic()
    await api.subscribe(topic, endpoint.url.replace("127.0.0.1", "me:pass%40word@127.0.0.1"), "http")
    await api.idle()
    _, headers, _ = endpoint.requests[0]
    assert headers["authorization"] == f"basic {base64.b64encode(b'me:pass@word').decode()}".lower()
    assert headers["host"].startswith("127.0.0.1:")
    (shown,) = (await api.call("ListSubscriptions"))["Subscriptions"]
    assert shown["Endpoint"].startswith("http://me:****@127.0.0.1:")


async def test_retries_and_the_dead_letter_queue(api: SnsUnderTest, endpoint: Endpoint) -> None:
    """A failing endpoint is tried four times, twenty seconds apart; then the message is a dead letter."""
    topic = await api.topic()
    await _confirmed(api, endpoint, topic, RedrivePolicy=json.dumps({"deadLetterTargetArn": QUEUE + "dead"}))
    endpoint.statuses = [500, 503, 429, 302]
    await api.publish(topic)
    for attempt in range(2, 5):
        await api.until(lambda attempt=attempt: len(endpoint.requests) >= attempt)  # type: ignore[misc]
        await api.retrying()
        await api.clock.advance(19.5)
        assert len(endpoint.requests) == attempt
        await api.clock.advance(0.6)
    await api.until(lambda: len(endpoint.requests) >= 5)
    await api.idle()
    assert len(endpoint.requests) == 5
    assert [body["Message"] for body in api.receivers.bodies("dead")] == ["hello"]


async def test_a_clients_error_is_not_retried(api: SnsUnderTest, endpoint: Endpoint) -> None:
    """An endpoint that answers 404 is asked once."""
    topic = await api.topic()
    await _confirmed(api, endpoint, topic)
    endpoint.statuses = [404]
    await api.publish(topic)
    await api.idle()
    assert len(endpoint.requests) == 2


async def test_a_topics_own_delivery_policy(api: SnsUnderTest, endpoint: Endpoint) -> None:
    """Retries and content type follow the topic's policy, and the subscription's own goes first."""
    policy = {
        "http": {
            "defaultHealthyRetryPolicy": {"numRetries": 1, "numNoDelayRetries": 1},
            "defaultRequestPolicy": {"headerContentType": "application/json"},
        }
    }
    topic = await api.topic(DeliveryPolicy=json.dumps(policy))
    await _confirmed(api, endpoint, topic)
    endpoint.statuses = [500, 500]
    await api.publish(topic)
    await api.retrying()
    await api.clock.advance(0.01)
    await api.idle()
    assert len(endpoint.requests) == 3
    assert endpoint.requests[2][1]["content-type"] == "application/json"


async def test_an_endpoint_that_is_gone(api: SnsUnderTest) -> None:
    """A refused connection counts as a failure that may pass."""
    topic = await api.topic()
    await api.subscribe(topic, "http://127.0.0.1:1/", "http")
    for _ in range(3):
        await api.retrying()
        await api.clock.advance(20.1)
    await api.idle()


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False), ("::1", False),
        ("169.254.169.254", False), ("0.0.0.0", False), ("::ffff:127.0.0.1", False), ("fe80::1%lo", False),
        ("100.64.0.1", False), ("224.0.0.1", False), ("2002:7f00:1::", False), ("fd00::1", False), ("::", False),
        ("64:ff9b::7f00:1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    """Loopback, private, link-local and what is wrapped around them are not public."""
    assert is_public(address) is public


async def test_roles_may_not_reach_private_addresses(api: SnsUnderTest, endpoint: Endpoint, role: Principal) -> None:
    """A function's role cannot have this server call private addresses, neither by number nor by any name."""
    topic = await api.topic()
    for url in (endpoint.url, "http://[::1]/", "http://169.254.169.254/"):
        refused = await api.refused("Subscribe", who=role, TopicArn=topic, Protocol="http", Endpoint=url)
        assert refused[1].endswith("A role may only subscribe endpoints with public addresses")
    port = urlsplit(endpoint.url).port
    for name in ("localhost", "2130706433", "127.1", "0x7f.1"):
        await api.call("Subscribe", who=role, TopicArn=topic, Protocol="http", Endpoint=f"http://{name}:{port}/")
    await api.idle()
    assert endpoint.requests == []
