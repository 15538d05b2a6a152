"""ListObjects of a folder of plain files, both versions: what nginx lacks to be a bucket that can be mounted.

`listing.py FOLDER PORT` serves the files below `FOLDER/BUCKET` as objects; only listings are answered. It needs nothing but
Python itself, so that it starts at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import gmtime, strftime
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

_MOST = 1000


def list_objects(bucket: Path, query: Mapping[str, str]) -> str:
    """The answer to a listing of a bucket's folder, as XML."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    second = query.get("list-type") == "2"
    after = query.get("continuation-token") or query.get("start-after") if second else query.get("marker")
    most = min(int(query.get("max-keys") or _MOST), _MOST)
    shown = quote if query.get("encoding-type") == "url" else str
    found = [each for each in sorted(_entries(bucket, prefix, delimiter)) if not after or each[0] > after]
    page, rest = found[:most], found[most:]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
    ]
    fields = {
        "Name": bucket.name,
        "Prefix": shown(prefix),
        "MaxKeys": str(most),
        "IsTruncated": str(bool(rest)).lower(),
    }
    if delimiter:
        fields["Delimiter"] = delimiter
    if second:
        fields["KeyCount"] = str(len(page))
    if rest:
        fields["NextContinuationToken" if second else "NextMarker"] = shown(page[-1][0])
    lines += [_tag(name, value) for name, value in fields.items()]
    for key, about in page:
        if about is None:
            lines.append(f"<CommonPrefixes>{_tag('Prefix', shown(key))}</CommonPrefixes>")
            continue
        when = strftime("%Y-%m-%dT%H:%M:%S.000Z", gmtime(about.st_mtime))
        # As nginx makes its own.
        etag = f'"{int(about.st_mtime):x}-{about.st_size:x}"'
        inside = {"Key": shown(key), "LastModified": when, "ETag": etag, "Size": str(about.st_size)}
        tags = "".join(_tag(name, value) for name, value in {**inside, "StorageClass": "STANDARD"}.items())
        lines.append(f"<Contents>{tags}</Contents>")
    return "\n".join([*lines, "</ListBucketResult>"])


def _entries(bucket: Path, prefix: str, delimiter: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Keys with what stat says, and common prefixes with None; a delimiter other than the slash is not known."""
    above = prefix.rpartition("/")[0]
    try:
        for entry in os.scandir(bucket / above):
            key = f"{above}/{entry.name}" if above else entry.name
            if not entry.is_dir():
                if key.startswith(prefix):
                    yield key, entry.stat()
            elif f"{key}/".startswith(prefix):
                if delimiter:
                    yield f"{key}/", None
                else:
                    yield from _entries(bucket, f"{key}/", "")
    except (FileNotFoundError, NotADirectoryError):
        return


def _tag(name: str, value: str) -> str:
    return f"<{name}>{escape(value)}</{name}>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = Path()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        name = unquote(parts.path).strip("/")
        bucket = self.folder / name
        found = bool(name) and "/" not in name and bucket.is_dir()
        query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = (list_objects(bucket, query) if found else "<Error><Code>NoSuchBucket</Code></Error>").encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *rest: object) -> None:
        """Nobody wants to read of each listing."""


def main() -> None:
    """Serve until ended."""
    _Handler.folder = Path(sys.argv[1])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), _Handler).serve_forever()


if __name__ == "__main__":
    main()
