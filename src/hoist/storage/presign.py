"""Signing requests to S3 that the object store library makes none of: its own signatures take no query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

_SIGNED_SECONDS = 3600


class Presigner:
    """Signs requests to one bucket, below `prefix`.

    `base` is the bucket's URL; `credentials` gives what botocore signs with, each time anew, as roles' keys change.
    """

    def __init__(self, base: str, bucket: str, prefix: str, region: str, credentials: Callable[[], Any]) -> None:
        self.base = base
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self._region = region
        self._credentials = credentials

    def url(self, method: str, key: str | None, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
        """A URL for one request about `key` (None: the bucket), its `x-amz-` headers signed with it."""
        from botocore.auth import S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        path = "" if key is None else quote(self.prefix + key, safe="/~")
        url = f"{self.base}/{path}?{urlencode(query, quote_via=quote)}"
        request = AWSRequest(method=method, url=url, headers=dict(headers))
        S3SigV4QueryAuth(self._credentials(), "s3", self._region, expires=_SIGNED_SECONDS).add_auth(request)
        return str(request.url)


def credential_source(options: Mapping[str, Any], *, chain: bool) -> Callable[[], Any] | None:
    """Where the keys for signing come from, by the options of the store; None if nowhere.

    Keys and providers are those that the object store library is given; with `chain`, what only the usual chain of AWS
    knows (web identity, roles of containers and instances) comes from botocore's own.
    """
    from botocore.credentials import Credentials

    provider = options.get("credential_provider")
    if provider is not None:
        return lambda: _provided(provider())
    if options.get("access_key_id"):
        held = Credentials(options["access_key_id"], options.get("secret_access_key"), options.get("session_token"))
        return lambda: held
    if not chain:
        return None
    from botocore.session import Session

    found = Session().get_credentials()
    return None if found is None else found.get_frozen_credentials


def _provided(values: Mapping[str, Any]) -> Any:
    from botocore.credentials import Credentials

    return Credentials(values["access_key_id"], values.get("secret_access_key"), values.get("token"))
