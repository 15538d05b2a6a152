"""nginx as a public bucket: files by path-style URLs, with the least cost on the server's side."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from hoist.errors import LocalError
from hoist.testing.servers.base import S3Server, Traits, find_program, missing_programs
from hoist.testing.servers.children import Children
from hoist.testing.servers.ports import LOOPBACK, free_port

_CONFIGURATION = """\
{user}
daemon off;
worker_processes 2;
pid {work}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    {log}
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    default_type application/octet-stream;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    server {{
        listen {address};
        merge_slashes off;
        root "{data}";
        {locations}
    }}
}}
"""
_LISTING = """\
location / {{
            error_page 418 = @listing;
            if ($args ~ "(^|&)(list-type|prefix|delimiter|max-keys|location)") {{ return 418; }}
            if ($uri ~ "^/[^/]+/?$") {{ return 418; }}
            if (-d $request_filename) {{ return 404; }}
        }}
        location @listing {{ proxy_pass http://{listing}; }}"""
_LOG = """\
log_format traffic "$body_bytes_sent";
    access_log {path} traffic;"""


class NginxServer(S3Server):
    """Serves `folder/BUCKET/KEY` at `/BUCKET/KEY` for GET, HEAD and ranges, to anybody, signed or not.

    For measuring a client's own cost. Write objects as files; there is no PUT and no listing. The keys are there
    only because every server has them.
    """

    name: ClassVar[str] = "nginx"
    traits: ClassVar[Traits] = Traits(
        writable=False,
        ranges_with_206=True,
        honours_if_none_match=False,
        honours_if_match=False,
        if_match_takes_quotes=False,
        checks_signatures=False,
        refuses_anonymous=False,
        checks_checksums=False,
        keeps_versions=False,
    )

    @classmethod
    def unavailable(cls) -> str | None:
        """None when nginx is installed; else the reason and the mend."""
        return missing_programs(cls.name, ["nginx"], "sudo apt-get install -y --no-install-recommends nginx-light")

    def create_bucket(self, name: str) -> None:
        """Make the bucket's folder, or leave it as it is."""
        self.check()
        (self.data_folder / name).mkdir(exist_ok=True)

    def _launch(self, children: Children, port: int, folder: Path) -> None:
        data = str(folder.resolve())
        if any(character in data for character in '"$\\\n'):
            raise LocalError(f"{self.name}: cannot serve {data}: its name has a character of nginx's own syntax")
        configuration = children.folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                # As root, nginx would read as `nobody`, who may not enter a root's temporary folder.
                user="user root;" if os.geteuid() == 0 else "",
                work=children.folder,
                address=f"{self.address}:{port}",
                data=data,
                **self._more(children, data),
            )
        )
        nginx = find_program("nginx")
        assert nginx is not None, "start() has asked unavailable()"
        children.start("nginx", [nginx, "-e", "stderr", "-p", str(children.folder), "-c", str(configuration)])

    def _more(self, children: Children, data: str) -> Mapping[str, str]:
        """What a server of this kind has besides."""
        return {"log": "access_log off;", "locations": ""}


class NginxBucket(NginxServer):
    """The same with listings, which come from a small program behind it, so that it can be mounted; it counts what it sent.

    Folders are no objects: nginx would send a client that asks for one elsewhere.
    """

    def traffic(self) -> tuple[int, int]:
        """The requests that it has answered so far, and the bytes of their bodies."""
        sent = (self._running().folder / "traffic.log").read_text().split()
        return len(sent), sum(map(int, sent))

    def _more(self, children: Children, data: str) -> Mapping[str, str]:
        port = free_port()
        program = Path(__file__).with_name("listing.py")
        children.start("listing", [sys.executable, "-I", "-S", str(program), data, str(port)])
        return {
            "log": _LOG.format(path=children.folder / "traffic.log"),
            "locations": _LISTING.format(listing=f"{LOOPBACK}:{port}"),
        }
