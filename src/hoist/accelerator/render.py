"""The configuration of nginx, as text. Pure: what is safe about an accelerator can be read here.

- One origin. Its address is written down; nothing that a client sends decides where a request goes.
- One way in. Only GET and HEAD, of paths below the origin's prefix, taken as they were sent (never decoded, so that no two
  readings of one path exist), with no query but a signature's: `versionId`, `partNumber` and their like change what a path
  means, and what they bring must not be kept as that path's.
- One judge. Before each request, a first byte of the same thing is asked of the origin with the client's own signature;
  what the origin refuses is refused. What it granted is remembered for `check_seconds`, by the client's whole request.
- One content. Slices are kept under path, range and the ETag that this check has learned, so that an object that was
  published anew is another one; an answer with another ETag is passed on, and not kept.
"""

from __future__ import annotations

import math
from pathlib import Path

from hoist.accelerator.origin import Origin
from hoist.accelerator.rules import rules
from hoist.accelerator.settings import Places, Settings
from hoist.errors import InvalidConfig

_IGNORED = (
    "X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset "
    "Expires Cache-Control Set-Cookie Vary"
)
_CREDENTIALS = (
    "Authorization",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "x-ms-date",
    "x-ms-version",
)
_KEYS_PER_MIB = 8000
_COUNTS = "$upstream_cache_status $upstream_bytes_received $body_bytes_sent"


def render(settings: Settings, places: Places) -> str:
    """The whole configuration. Raises InvalidConfig for a path that nginx's syntax could take for something else."""
    run = _path(places.folder)
    user = f"user {_word(places.user)};\n" if places.user else ""
    log = f"syslog:server=127.0.0.1:{places.log_port},nohostname"
    return f"""\
{user}daemon off;
worker_processes {settings.workers};
pid {run}/nginx.pid;
error_log {log},tag=e{_word(places.log_word)} warn;
worker_shutdown_timeout 30s;
events {{ worker_connections {settings.connections}; }}
http {{
    # No path and no query: a query holds a signature.
    log_format get "get $remote_addr $connection $connection_requests $status {_COUNTS}";
    log_format check "check $remote_addr $connection $connection_requests $upstream_status {_COUNTS}";
    access_log {log},tag=a{_word(places.log_word)} get;
    log_subrequest on;
{_limits(run)}

{_caches(settings, run)}
{rules(settings.origin)}
{_upstream(settings, places)}
{_server(settings, places, log)}
    server {{
        listen unix:{run}/status;
        access_log off;
        location / {{ stub_status; }}
    }}
}}
"""


def _limits(run: str) -> str:
    """How long and how large what clients send may be, and where nginx keeps what it must."""
    return f"""\
    server_tokens off;
    default_type application/octet-stream;
    sendfile on;
    sendfile_max_chunk 2m;
    tcp_nopush on;
    tcp_nodelay on;
    # A slice that is shorter on the disk than it was ends a body early, which nginx does not see: the client sees the end.
    keepalive_timeout 3s;
    keepalive_requests 1000000;
    client_header_timeout 15s;
    client_body_timeout 5s;
    client_max_body_size 1k;
    large_client_header_buffers 4 16k;
    send_timeout 60s;
    reset_timedout_connection on;
    merge_slashes off;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;"""


def _server(settings: Settings, places: Places, log: str) -> str:
    """The one way in."""
    origin = settings.origin
    return f"""\
    server {{
        listen {_listen(settings)};
        server_name _;
{_tls(settings, places)}
        if ($allowed_method = "") {{ return 405; }}
        if ($allowed = "") {{ return 403; }}

        location / {{
            auth_request /hoist-check;
            auth_request_set $checked_etag $upstream_http_etag;
            auth_request_set $checked_status $upstream_status;
            error_page 500 = @unchecked;

            slice {settings.slice_bytes};
            max_ranges 1;
            proxy_cache slices;
            # The address stands first: one folder may be used before another origin later.
            proxy_cache_key "{origin.scheme}://{origin.netloc}$path\\n$slice_range\\n$checked_etag";
            proxy_cache_valid 206 3650d;
            proxy_cache_lock on;
            proxy_cache_lock_age 30s;
            proxy_cache_lock_timeout 120s;
            proxy_cache_bypass $refresh $no_etag;
            proxy_no_cache $no_etag $other_etag;
            proxy_set_header Range $slice_range;
            add_header X-Hoist-Origin-Status $upstream_status always;
{_proxy(origin)}
        }}

        location = /hoist-check {{
            internal;
            access_log {log},tag=a{_word(places.log_word)} check;
{_check_cache(settings)}
            proxy_set_header Range "bytes=0-0";
{_proxy(origin)}
        }}

        # The check got no plain yes or no: what the origin said instead, as far as a client can use it.
        location @unchecked {{
            internal;
            add_header X-Hoist-Origin-Status $checked_status always;
            if ($checked_status ~ "404$") {{ return 404; }}
            if ($checked_status ~ "(?:429|503)$") {{ return 503; }}
            return 502;
        }}
    }}"""


def _caches(settings: Settings, run: str) -> str:
    zone = max(8, math.ceil(2 * settings.size / settings.slice_bytes / _KEYS_PER_MIB))
    free = f" min_free={settings.keep_free}" if settings.keep_free else ""
    # Signatures stand in the keys of checks: they are kept in memory only, and not for longer than they count.
    idle = max(10, 2 * settings.check_seconds)
    return f"""\
    proxy_cache_path {_path(settings.cache)}/slices levels=1:2 use_temp_path=off keys_zone=slices:{zone}m
        max_size={settings.size} inactive=3650d{free} manager_files=1000 manager_sleep=50ms loader_files=1000;
    proxy_cache_path {run}/checks levels=1 use_temp_path=off keys_zone=checks:8m
        max_size=16m inactive={idle}s manager_files=1000 manager_sleep=50ms;"""


def _upstream(settings: Settings, places: Places) -> str:
    origin = settings.origin
    addresses = places.addresses or (f"{origin.host}:{origin.port}",)
    servers = "\n".join(f"        server {address} max_fails=0;" for address in addresses)
    return f"""\
    upstream origin {{
{servers}
        keepalive 64;
        keepalive_requests 1000000;
        keepalive_timeout 20s;
    }}"""


def _proxy(origin: Origin) -> str:
    lines = [
        f"proxy_pass {origin.scheme}://origin$request_uri;",
        "proxy_method GET;",
        "proxy_http_version 1.1;",
        "proxy_pass_request_headers off;",
        "proxy_pass_request_body off;",
        f'proxy_set_header Host "{origin.netloc}";',
        'proxy_set_header Connection "";',
        'proxy_set_header Accept-Encoding "identity";',
        *(f"proxy_set_header {name} ${_variable(name)};" for name in _CREDENTIALS),
        f"proxy_ignore_headers {_IGNORED};",
        "proxy_hide_header Set-Cookie;",
        "proxy_redirect off;",
        "proxy_connect_timeout 5s;",
        "proxy_read_timeout 30s;",
        "proxy_send_timeout 10s;",
        "proxy_next_upstream error timeout;",
        "proxy_next_upstream_tries 3;",
        "proxy_next_upstream_timeout 15s;",
        "proxy_buffer_size 16k;",
        "proxy_buffers 16 128k;",
        "proxy_busy_buffers_size 256k;",
    ]
    return "\n".join(f"            {line}" for line in lines)


def _check_cache(settings: Settings) -> str:
    if not settings.check_seconds:
        return ""
    # A newline parts what no header can hold one of.
    key = "\\n".join(["$request_uri", *(f"${_variable(name)}" for name in _CREDENTIALS)])
    return f"""\
            proxy_cache checks;
            proxy_cache_key "{key}";
            proxy_cache_valid 200 206 {settings.check_seconds}s;
            proxy_cache_lock on;
            proxy_cache_lock_age 10s;
            proxy_cache_lock_timeout 10s;"""


def _tls(settings: Settings, places: Places) -> str:
    lines = []
    if settings.origin.scheme == "https":
        assert places.trusted is not None, "nobody said whom to trust"
        lines += [
            f'proxy_ssl_name "{settings.origin.host}";',
            "proxy_ssl_server_name on;",
            "proxy_ssl_verify on;",
            "proxy_ssl_verify_depth 5;",
            f"proxy_ssl_trusted_certificate {_path(places.trusted)};",
            "proxy_ssl_protocols TLSv1.2 TLSv1.3;",
        ]
    if settings.certificate:
        lines += [
            f'ssl_certificate "{_path(settings.certificate)}";',
            f'ssl_certificate_key "{_path(settings.key or settings.certificate)}";',
            "ssl_protocols TLSv1.2 TLSv1.3;",
            "ssl_session_cache shared:clients:4m;",
        ]
    return "\n".join(f"        {line}" for line in lines)


def _listen(settings: Settings) -> str:
    return settings.listen + (" ssl" if settings.certificate else "")


def _variable(header: str) -> str:
    return "http_" + header.lower().replace("-", "_")


def _path(path: Path | str) -> str:
    text = str(path)
    if any(character in text for character in " \"'\\$;{}#") or not text.isprintable():
        raise InvalidConfig(f"nginx cannot be told the path {text!r}: take one without spaces, quotes, $ ; {{ }} #")
    return text


def _word(text: str) -> str:
    if not text.replace("-", "").replace("_", "").isalnum():
        raise InvalidConfig(f"nginx cannot work as the user {text!r}")
    return text
