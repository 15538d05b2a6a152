"""Which requests an accelerator takes, and which answers it keeps: maps of nginx, by patterns. Pure."""

from __future__ import annotations

import re

from hoist.accelerator.origin import Origin

_NAMES = (
    r"X-Amz-(?:Algorithm|Credential|Date|Expires|SignedHeaders|Signature|Security-Token|Content-Sha256)|x-id"
    r"|AWSAccessKeyId|Signature|Expires"
    r"|X-Goog-(?:Algorithm|Credential|Date|Expires|SignedHeaders|Signature)|GoogleAccessId"
    r"|sv|st|se|sr|sp|si|ss|sip|spr|sig|srt|sdd|skoid|sktid|skt|ske|sks|skv|saoid|suoid|scid"
)
# What could be read in two ways: encoded dots and slashes, empty parts, parts that are dots, what no URL holds.
_ODD = r"^[^?]*(?:%2[eEfF]|%5[cC]|%00|\\|//|/\.{1,2}(?:/|\?|$))|#|[^\x21-\x7e]"


def rules(origin: Origin) -> str:
    """What may be asked, and what may be kept, as nginx's maps."""
    path, netloc = _pattern(origin.path), _pattern(origin.netloc)
    host = _pattern(f"[{origin.host}]" if ":" in origin.host else origin.host)
    return f"""\
    map $request_method $allowed_method {{
        default "";
        GET "yes";
        HEAD "yes";
    }}
    # The path as it was sent, if it is below the origin's prefix.
    map $request_uri $path {{
        default "";
        "~^(?<sent>{path}[^?]+)" $sent;
    }}
    map $request_uri $plain_path {{
        default "yes";
        "~{_ODD}" "";
    }}
    map $args $plain_query {{
        default "";
        "" "yes";
        "~*^(?:{_NAMES})=[^&]*(?:&(?:{_NAMES})=[^&]*)*$" "yes";
    }}
    # Both the name that the request line may hold and the header.
    map "$host $http_host" $own_host {{
        default "";
        "~*^(?:{host}|{netloc}) {netloc}$" "yes";
    }}
    map "$own_host$plain_path$plain_query|$path" $allowed {{
        default "";
        "~^yesyesyes\\|/" "yes";
    }}
    map $checked_etag $no_etag {{
        volatile;
        default "";
        "" "yes";
    }}
    map "$checked_etag $upstream_http_etag" $other_etag {{
        volatile;
        default "yes";
        "~^(.+) \\1$" "";
    }}
    # A reader that found bytes to be wrong has them fetched anew.
    map $http_cache_control $refresh {{
        default "";
        "no-cache" "yes";
    }}"""


def _pattern(text: str) -> str:
    """A regular expression for the text itself, of what an origin's address can hold."""
    return re.sub(r"[.\[\]]", r"\\\g<0>", text)
