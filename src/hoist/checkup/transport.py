"""Whether anybody on the way to a server can read and change what is said."""

from __future__ import annotations

from urllib.parse import urlsplit

from hoist.checkup.http import tls_of
from hoist.checkup.report import Finding, Group

_SOON_DAYS = 14.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def tls_finding(group: Group, url: str, ca_bundle: str | None) -> Finding:
    """What is to be said of the certificate of a server, or of there being none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        if host in _LOOPBACK:
            return group.ok("TLS", "none; the server is on this machine")
        return group.warning("TLS", "none: anybody on the way can read and change", "use https:// if you can")
    try:
        found = tls_of(host, parts.port or 443, ca_bundle)
    except (OSError, ValueError):
        return group.ok("TLS", "the certificate is trusted (through a proxy)")
    detail = f"{found.protocol}, the certificate is trusted and valid for {found.days:.0f} days"
    if found.days < _SOON_DAYS:
        return group.warning("TLS", detail, "renew the server's certificate")
    return group.ok("TLS", detail, days=found.days)
