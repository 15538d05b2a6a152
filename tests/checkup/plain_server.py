"""A small real HTTP server that plays a bucket of one object, well or badly."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Ranges = Literal["206", "whole", "wrong", "other bytes"]
KEY = ".hoist/versions/m/v1/manifest.json"
BODY = bytes(range(256)) * 64
_LIST = f"""<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>b</Name><Prefix></Prefix><KeyCount>1</KeyCount>
<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><Contents><Key>{KEY}</Key>
<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"1"</ETag><Size>{len(BODY)}</Size></Contents></ListBucketResult>"""


@contextmanager
def plain_server(*, ahead: float = 0.0, ranges: Ranges = "206") -> Iterator[str]:
    """The endpoint of a server whose clock is `ahead` seconds of ours, and that answers ranges so."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if "list-type=2" in self.path:
                self.answer(200, _LIST.encode(), {"Content-Type": "application/xml"})
            elif not self.path.endswith(KEY):
                self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {})
            else:
                self.answer_object()

        def answer_object(self) -> None:
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if not found or ranges == "whole":
                self.answer(200, BODY, {"ETag": '"1"', "Last-Modified": formatdate(0, usegmt=True)})
                return
            begin, end = int(found[1]), int(found[2]) + 1
            body = BODY[begin:end] if ranges == "206" else BODY[begin + 1 : end + 1]
            said = begin if ranges == "206" or ranges == "other bytes" else begin + 1
            self.answer(206, body, {"Content-Range": f"bytes {said}-{said + len(body) - 1}/{len(BODY)}"})

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response_only(status)
            self.send_header("Date", formatdate(time.time() + ahead, usegmt=True))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
