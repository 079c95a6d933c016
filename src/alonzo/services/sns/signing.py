"""Signatures of notifications: RSA with SHA-1 (version 1) or SHA-256 (version 2), with a certificate of our own.

The certificate is served where SigningCertURL says. What is signed, and in which order, is AWS's.
Source: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from alonzo.services.sns import store
from alonzo.storage import Database

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

# The cryptography package is imported where it is used: a server that nobody publishes on starts without it.

_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_VALID_DAYS = 3650


class Signer:
    """One per server. The key is made at the first message that needs one, and kept."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._making = asyncio.Lock()
        self._key: rsa.RSAPrivateKey | None = None
        self._name = ""

    async def prepare(self) -> None:
        """Load or make the key; `sign` and `certificate_name` may be used afterwards."""
        if self._key is not None:
            return
        async with self._making:
            if self._key is not None:
                return
            found = self._db.read_nowait(store.get_signing)
            if found is None:
                made = await asyncio.to_thread(_make)
                found = await self._db.write(lambda connection: store.add_signing(connection, *made))
            self._key, self._name = await asyncio.to_thread(_load, found[1]), found[0]

    @property
    def certificate_name(self) -> str:
        return self._name

    def sign(self, fields: Mapping[str, str], version: str) -> str:
        """The signature of an envelope's fields, in Base64."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        assert self._key is not None, "the signer is not prepared"
        text = "".join(f"{name}\n{fields[name]}\n" for name in _SIGNED[fields["Type"]] if name in fields)
        algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()  # version 1 is what AWS's is
        signature = self._key.sign(text.encode("utf-8", "surrogatepass"), padding.PKCS1v15(), algorithm)
        return base64.b64encode(signature).decode()

    def certificate(self, name: str) -> bytes | None:
        """The certificate as PEM, under the name that SigningCertURL ends with; None where there is none."""
        found = self._db.read_nowait(store.get_signing)
        return found[2] if found is not None and found[0] == name else None


def _load(pem: bytes) -> rsa.RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _make() -> tuple[str, bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.alonzo.invalid")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return f"SimpleNotificationService-{hashlib.sha256(pem).hexdigest()[:32]}.pem", private, pem
