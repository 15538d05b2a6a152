"""What the configuration says and where an origin is: pure, but for nginx's own look at it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoist.accelerator.origin import Origin, origin_of, parse_origin
from hoist.accelerator.program import find_nginx, run
from hoist.accelerator.render import render
from hoist.accelerator.settings import Places, Settings, parse_listen
from hoist.config import StorageConfig
from hoist.errors import HoistError, InvalidConfig, LocalError
from hoist.storage import open_storage
from hoist.storage.bucket import BucketObjects
from hoist.storage.tree import TreeStorage

pytest_plugins = ["accelerator_fixtures"]
KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
OSS = {"OSS_ACCESS_KEY_ID": "k", "OSS_ACCESS_KEY_SECRET": "s"}


@pytest.mark.parametrize(
    ("config", "environ"),
    [
        (StorageConfig("x", "s3://models"), KEYS),
        (StorageConfig("x", "s3://models/a/b c", region="eu-central-1"), KEYS),
        (StorageConfig("x", "s3://models/汉字", endpoint="https://s3.example.com:9000/"), KEYS),
        (StorageConfig("x", "s3://models/a", endpoint="http://s3.example.com", path_style=False), KEYS),
        (StorageConfig("x", "s3://models/a"), KEYS | {"AWS_ENDPOINT_URL": "http://s3.example.com"}),
        (StorageConfig("x", "oss://models/a", region="cn-hangzhou"), OSS),
        (StorageConfig("x", "oss://models/a", endpoint="oss-cn-beijing-internal.aliyuncs.com"), OSS),
        (StorageConfig("x", "gs://models/a", anonymous=True), {}),
        (StorageConfig("x", "az://models/a", anonymous=True), {"AZURE_STORAGE_ACCOUNT": "account"}),
    ],
)
def test_the_origin_is_where_signed_urls_lead(config: StorageConfig, environ: dict[str, str], tmp_path: Path) -> None:
    environ = environ | {"HOME": str(tmp_path)}
    origin = origin_of(config, environ)
    with open_storage(config, environ) as storage:
        assert isinstance(storage, TreeStorage) and isinstance(storage.objects, BucketObjects)
        url = storage.objects.url("sd15/any/v1/w.bin").partition("?")[0]
    assert url == f"{origin.scheme}://{origin.netloc}{origin.path}sd15/any/v1/w.bin"
    # Without any keys too: an accelerator holds none.
    assert origin_of(config, {key: value for key, value in environ.items() if "KEY" not in key}) == origin


def test_what_can_be_no_origin() -> None:
    for config in (StorageConfig("x", "/srv"), StorageConfig("x", "oci://r/p"), StorageConfig("x", "memory://a")):
        with pytest.raises(InvalidConfig, match="object store"):
            origin_of(config, {})


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_text_gets_into_the_configuration_but_as_what_it_is(host: str, path: str, listen: str) -> None:
    """Whatever an address holds: it is refused, or it is plain words that cannot be nginx's own syntax."""
    try:
        origin = parse_origin("x", f"http://{host}/{path}")
        where = parse_listen(listen)
    except (HoistError, ValueError):
        return
    assert not re.search(r"[\s\"'$;{}\\#]", origin.netloc + origin.path + where)


@pytest.mark.parametrize("path", ["/var/a b", "/var/$x", "/var/a;b", '/var/"', "/var/{", "/var/a\n"])
def test_paths_that_nginx_could_take_for_something_else(path: str) -> None:
    settings = Settings(Origin("x", "http", "h", "/b/"), "127.0.0.1:1", Path(path), 1 << 30)
    with pytest.raises(InvalidConfig, match="nginx cannot be told"):
        render(settings, Places(Path("/run/x")))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("check_seconds", [0, 10])
def test_nginx_takes_it(tmp_path: Path, scheme: str, check_seconds: int) -> None:
    origin = Origin("x", scheme, "[::1]:9000", "/models/a%20b/")
    settings = Settings(origin, "127.0.0.1:1", tmp_path / "cache", 1 << 40, check_seconds, keep_free=1 << 20)
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(Path("/etc/ssl/certs/ca-certificates.crt").read_text() if scheme == "https" else "")
    (tmp_path / "cache").mkdir()
    text = render(settings, Places(tmp_path, None, trusted, ("[::1]:9000", "127.0.0.1:9000")))
    (tmp_path / "nginx.conf").write_text(text)
    run(find_nginx(), "-t", "-q", "-e", "stderr", "-c", str(tmp_path / "nginx.conf"))
    assert "aio" not in text
    # What a client sends names no server: each request goes to the one upstream.
    assert set(re.findall(r"proxy_pass ([^;]*);", text)) == {f"{scheme}://origin$request_uri"}
    assert ("proxy_ssl_verify on;" in text) == (scheme == "https")
    (tmp_path / "nginx.conf").write_text(text.replace("sendfile on", "sendfile of"))
    with pytest.raises(LocalError, match="refuses its configuration"):
        run(find_nginx(), "-t", "-q", "-e", "stderr", "-c", str(tmp_path / "nginx.conf"))


def test_an_address_stands_for_itself_alone() -> None:
    """No part of an address is read as a pattern: the brackets of IPv6 are no choice of characters."""
    text = render(
        Settings(Origin("x", "http", "[::1]:9000", "/a.b/"), "127.0.0.1:1", Path("/c"), 1 << 30), Places(Path("/r"))
    )
    found = re.search(r'"~\*(\^\S+ \S+\$)" "yes"', text)
    assert found
    pattern = re.compile(found[1], re.IGNORECASE)
    assert pattern.match("[::1] [::1]:9000") and pattern.match("[::1]:9000 [::1]:9000")
    assert not any(pattern.match(f"{host} {host}") for host in (":", "1", "[::1]", ":9000", "x[::1]:9000", "1:9000"))
    assert r"/a\.b/" in text


def test_another_size_is_another_zone() -> None:
    settings = Settings(Origin("x", "http", "h", "/b/"), "127.0.0.1:1", Path("/c"), 1 << 30)
    large = render(replace(settings, size=10 << 40), Places(Path("/run/x")))
    assert "keys_zone=slices:8m" in render(settings, Places(Path("/run/x")))
    assert "keys_zone=slices:328m" in large


@pytest.mark.parametrize("listen", ["8080", "host:", "host:0", "host:70000", "ho st:1", "unix:/x", ":80", "a;b:80"])
def test_listen(listen: str) -> None:
    with pytest.raises(InvalidConfig, match="HOST:PORT"):
        parse_listen(listen)
