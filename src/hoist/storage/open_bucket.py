"""Opens s3://, oss://, gs:// and az:// buckets: endpoints, addressing styles and credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from hoist.config import StorageConfig
from hoist.errors import InvalidConfig
from hoist.storage.accelerated import Accelerated
from hoist.storage.base import Storage, Traits
from hoist.storage.bucket import BucketObjects
from hoist.storage.credentials import aws_options, oss_options
from hoist.storage.multipart import Multipart
from hoist.storage.pool import CONNECT_SECONDS
from hoist.storage.presign import Presigner, credential_source
from hoist.storage.ranges import READ_SECONDS, RangeClient
from hoist.storage.translate import translated
from hoist.storage.tree import TreeStorage
from hoist.storage.wire import Wire

# Measured on loopback and at public stores: fewer bytes a request pay its latency too often, more help nothing.
TRAITS = Traits(request_bytes=16 << 20, connections=8, most_connections=48, packs=True, gives_up=True)
# The engine above retries for longer; this is for listings and writes.
_RETRY = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}
_WRITE_SECONDS = 300
_GOOGLE = "https://storage.googleapis.com"
_KEY_OPTIONS = ("access_key_id", "secret_access_key", "session_token", "credential_provider")

# The object store library's store, the URL of a key that needs no signature, and what signs requests for uploads.
_Opened = tuple[Any, Callable[[str], str] | None, Callable[[], Presigner | None] | None]


def open_storage(config: StorageConfig, kind: str, environ: Mapping[str, str]) -> Storage:
    """The bucket, below the URL's path as a prefix. Raises InvalidConfig, LocalError."""
    parts = urlsplit(config.url)
    bucket, prefix = parts.netloc, parts.path.strip("/")
    if not bucket or parts.query or "@" in bucket:
        raise InvalidConfig(
            f"storage {config.address!r}: write {parts.scheme}://BUCKET/PREFIX; endpoint, region and credentials "
            "stand in hoist.toml or the environment, not in the URL"
        )
    if config.ca_bundle and not Path(config.ca_bundle).is_file():
        raise InvalidConfig(f"storage {config.address!r}: ca_bundle {config.ca_bundle} is no file")
    with translated(config.address):
        store, public, signer = _OPENERS[parts.scheme](config, bucket, prefix, environ)
    client = RangeClient(config.ca_bundle)
    accelerated = Accelerated(config.accelerator, client, config.ca_bundle) if config.accelerator else None

    def uploads() -> Multipart | None:
        found = signer() if signer else None
        return Multipart(found, Wire(config.ca_bundle), config.address) if found else None

    return TreeStorage(BucketObjects(store, config.address, TRAITS, client, public, uploads, accelerated), kind)


def base_url(config: StorageConfig, environ: Mapping[str, str]) -> str:
    """Where the signed URLs of a storage's keys begin, without the last '/'. Reads no keys. Raises InvalidConfig."""
    parts = urlsplit(config.url)
    bucket, prefix = parts.netloc, quote(parts.path.strip("/"))
    if parts.scheme == "s3":
        endpoint, options = _s3_endpoint(config, environ)
        region = config.region or options.get("region") or "us-east-1"
        base, _ = _s3_base(config, bucket, endpoint)
        base = base or f"https://s3.{region}.amazonaws.com/{bucket}"
    elif parts.scheme == "oss":
        endpoint, _ = _oss_endpoint(config, environ)
        base = _s3_base(config, bucket, endpoint)[0] or ""
    elif parts.scheme == "gs":
        base = f"{config.endpoint or _GOOGLE}/{bucket}"
    else:
        base = f"{config.endpoint or _azure(_azure_account(config, environ))}/{bucket}"
    return f"{base}/{prefix}" if prefix else base


def presigner(config: StorageConfig, environ: Mapping[str, str]) -> Presigner | None:
    """What signs requests about the bucket that the object store library makes none of; None where no keys are found, or
    the store signs otherwise. Raises InvalidConfig."""
    parts = urlsplit(config.url)
    with translated(config.address):
        signer = _OPENERS[parts.scheme](config, parts.netloc, parts.path.strip("/"), environ)[2]
    return signer() if signer else None


def _s3(config: StorageConfig, bucket: str, prefix: str, environ: Mapping[str, str]) -> _Opened:
    from obstore.store import S3Store

    endpoint, options = _s3_endpoint(config, environ)
    return _s3_store(S3Store, config, bucket, prefix, endpoint, options)


def _s3_endpoint(config: StorageConfig, environ: Mapping[str, str]) -> tuple[str | None, dict[str, Any]]:
    """The endpoint, None for Amazon's own, and options for the store: keys, region."""
    options = {} if config.anonymous else aws_options(environ, config.profile)
    found = options.pop("endpoint", None)
    if config.region:
        options["region"] = config.region
    return config.endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or found, options


def _oss(config: StorageConfig, bucket: str, prefix: str, environ: Mapping[str, str]) -> _Opened:
    """Alibaba OSS by its S3-compatible endpoint, which wants the bucket in the host name."""
    from obstore.store import S3Store

    options = {} if config.anonymous else oss_options(environ)
    endpoint, region = _oss_endpoint(config, environ)
    if region:
        options["region"] = region
    return _s3_store(S3Store, config, bucket, prefix, endpoint, options)


def _oss_endpoint(config: StorageConfig, environ: Mapping[str, str]) -> tuple[str, str]:
    """The endpoint, and the region; empty where it is not said."""
    endpoint = config.endpoint or environ.get("OSS_ENDPOINT")
    region = (config.region or environ.get("OSS_REGION") or "").removeprefix("oss-")
    if not endpoint:
        if not region:
            raise InvalidConfig(f"storage {config.address!r}: an oss:// storage needs region = or endpoint =")
        endpoint = f"https://s3.oss-{region}.aliyuncs.com"
    if "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    host = urlsplit(endpoint).netloc
    if host.endswith(".aliyuncs.com"):
        host = host if host.startswith("s3.") else f"s3.{host}"
        endpoint = f"{urlsplit(endpoint).scheme}://{host}"
        found = host.removeprefix("s3.").removeprefix("oss-").partition(".")[0].removesuffix("-internal")
        region = region or found
    return endpoint, region


def _s3_store(
    make: Callable[..., Any],
    config: StorageConfig,
    bucket: str,
    prefix: str,
    endpoint: str | None,
    options: dict[str, Any],
) -> _Opened:
    if config.region and "region" not in options:
        options["region"] = config.region
    base, path_style = _s3_base(config, bucket, endpoint)
    if endpoint and base:
        endpoint = endpoint.rstrip("/")
        scheme = endpoint.partition("://")[0]
        options["endpoint"] = endpoint if path_style else base
        # Over TLS the transport guards the bytes already; hashing them once more costs most of an upload's CPU.
        options["unsigned_payload"] = scheme == "https"
    region = options.get("region", "us-east-1")
    signed_base = base or f"https://s3.{region}.amazonaws.com/{bucket}"
    keys = {name: options[name] for name in _KEY_OPTIONS if name in options}

    def signer() -> Presigner | None:
        credentials = None if config.anonymous else credential_source(keys, chain=config.url.startswith("s3:"))
        return Presigner(signed_base, bucket, prefix, region, credentials) if credentials else None

    options["virtual_hosted_style_request"] = not path_style
    if config.anonymous:
        options["skip_signature"] = True
    store = make(
        bucket, prefix=prefix or None, client_options=_client(config, endpoint), retry_config=_RETRY, **options
    )
    return store, _public(config, base or f"https://{bucket}.s3.{region}.amazonaws.com", prefix), signer


def _s3_base(config: StorageConfig, bucket: str, endpoint: str | None) -> tuple[str | None, bool]:
    """The bucket's URL at an endpoint, None where that is not said; and whether the bucket stands in its path."""
    path_style = config.path_style
    if path_style is None:
        path_style = not (endpoint and endpoint.endswith(".aliyuncs.com"))
    if not endpoint:
        return None, path_style
    endpoint = endpoint.rstrip("/")
    scheme, _, host = endpoint.partition("://")
    return f"{endpoint}/{bucket}" if path_style else f"{scheme}://{bucket}.{host}", path_style


def _gs(config: StorageConfig, bucket: str, prefix: str, environ: Mapping[str, str]) -> _Opened:
    from obstore.store import GCSStore

    options: dict[str, Any] = {"skip_signature": True} if config.anonymous else {}
    base = config.endpoint or _GOOGLE
    if config.endpoint:
        options["base_url"] = config.endpoint
    store = GCSStore(bucket, prefix=prefix or None, client_options=_client(config), retry_config=_RETRY, **options)  # type: ignore[arg-type]
    return store, _public(config, f"{base}/{bucket}", prefix), None


def _az(config: StorageConfig, bucket: str, prefix: str, environ: Mapping[str, str]) -> _Opened:
    from obstore.store import AzureStore

    options: dict[str, Any] = {"skip_signature": True} if config.anonymous else {}
    options["account_name"] = account = _azure_account(config, environ)
    if config.endpoint:
        options["endpoint"] = config.endpoint
    base = config.endpoint or _azure(account)
    store = AzureStore(bucket, prefix=prefix or None, client_options=_client(config), retry_config=_RETRY, **options)  # type: ignore[arg-type]
    return store, _public(config, f"{base}/{bucket}", prefix), None


def _azure_account(config: StorageConfig, environ: Mapping[str, str]) -> str:
    account = environ.get("AZURE_STORAGE_ACCOUNT_NAME") or environ.get("AZURE_STORAGE_ACCOUNT")
    if not account:
        raise InvalidConfig(f"storage {config.address!r}: set AZURE_STORAGE_ACCOUNT_NAME")
    return account


def _azure(account: str) -> str:
    return f"https://{account}.blob.core.windows.net"


def _client(config: StorageConfig, endpoint: str | None = None) -> dict[str, Any]:
    endpoint = endpoint or config.endpoint
    options: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=READ_SECONDS),
        "timeout": timedelta(seconds=_WRITE_SECONDS),
    }
    if endpoint and endpoint.startswith("http://"):
        options["allow_http"] = True
    if config.ca_bundle:
        options["root_certificate"] = Path(config.ca_bundle).read_bytes()
    return options


def _public(config: StorageConfig, base: str, prefix: str) -> Callable[[str], str] | None:
    if not config.anonymous:
        return None
    root = f"{base}/{quote(prefix)}/" if prefix else f"{base}/"
    return lambda key: root + quote(key)


_OPENERS: Mapping[str, Callable[[StorageConfig, str, str, Mapping[str, str]], _Opened]] = {
    "s3": _s3,
    "oss": _oss,
    "gs": _gs,
    "az": _az,
}
