"""AWS Signature Version 4 in headers: what a request needs that obstore does not make, such as creating a bucket."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests with one key pair, for one region."""

    access_key: str
    secret_key: str
    region: str

    def headers(
        self, method: str, host: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        """`headers` with a signature over all of them and over `body`, as of now.

        `host` carries its port, `path` is unquoted, and `query` is canonical: sorted, each name with a `=`.
        """
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(body).hexdigest()
        own = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": moment}
        signed = dict(sorted((own | {name.lower(): value for name, value in headers.items()}).items()))
        names = ";".join(signed)
        lines = "".join(f"{name}:{value.strip()}\n" for name, value in signed.items())
        request = "\n".join([method, quote(path), query, lines, names, digest])
        to_sign = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
        signature = hmac.new(self._key(scope), to_sign.encode(), "sha256").hexdigest()
        credential = f"Credential={self.access_key}/{scope}"
        signed["authorization"] = f"AWS4-HMAC-SHA256 {credential},SignedHeaders={names},Signature={signature}"
        return signed

    def _key(self, scope: str) -> bytes:
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return key
