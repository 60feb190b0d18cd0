"""Google and Apple as a phone meets them: they sign ID tokens, and publish their keys."""

import datetime as dt
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

import jwt
from allauth.socialaccount.providers.apple.views import AppleOAuth2Adapter
from allauth.socialaccount.providers.google import views as google
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

CLIENT_ID = "commonplace-app"
ISSUERS = {"google": "https://accounts.google.com", "apple": "https://appleid.apple.com"}
KEYS_URLS = {"google": (google, "CERTS_URL"), "apple": (AppleOAuth2Adapter, "public_key_url")}
SETTINGS = {provider: {"APPS": [{"client_id": CLIENT_ID, "secret": ""}]} for provider in ISSUERS}


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Provider:
    """One of them, with the key that signs."""

    name: str
    key: rsa.RSAPrivateKey = field(default_factory=new_key)
    status: int = 200
    # How often its keys were asked for.
    asked: int = 0

    def id_token(
        self, nonce: str | None, *, key: rsa.RSAPrivateKey | None = None, **more: Any
    ) -> str:
        claims = {
            "iss": ISSUERS[self.name],
            "aud": CLIENT_ID,
            "sub": f"{self.name}-subject-1",
            "email": "ada.lovelace@example.org",
            "email_verified": True,
            "iat": int(time.time()),
            "exp": int(time.time()) + 300,
            **({} if nonce is None else {"nonce": nonce}),
            **more,
        }
        return jwt.encode(claims, key or self.key, algorithm="RS256", headers={"kid": "key-1"})

    def published(self) -> dict[str, Any]:
        if self.name == "apple":
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            return {"keys": [{**public, "kid": "key-1", "alg": "RS256"}]}
        return {"key-1": self._certificate()}

    def _certificate(self) -> str:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "google")])
        now = dt.datetime.now(dt.UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .sign(self.key, SHA256())
        )
        return built.public_bytes(Encoding.PEM).decode()

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """The provider's keys are found where it publishes them."""
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(Answer, self)) as server:
            serving = threading.Thread(target=server.serve_forever)
            serving.start()
            with mock.patch.object(*KEYS_URLS[self.name], f"http://127.0.0.1:{server.server_port}"):
                yield
            server.shutdown()
            serving.join()


class Answer(BaseHTTPRequestHandler):
    def __init__(self, provider: Provider, *args: Any) -> None:
        self._provider = provider
        super().__init__(*args)

    def do_GET(self) -> None:
        self._provider.asked += 1
        self.send_response(self._provider.status)
        self.end_headers()
        self.wfile.write(json.dumps(self._provider.published()).encode())

    def log_message(self, *_: Any) -> None:
        pass
