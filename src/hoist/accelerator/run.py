"""An accelerator at work: nginx started, watched, started again when it ends, told of new addresses, and ended."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

from hoist.accelerator.folders import CacheFolder, make_run_folder, remove_run_folder
from hoist.accelerator.metrics import LogSocket, Metrics, connections_of
from hoist.accelerator.program import find, find_nginx, run
from hoist.accelerator.render import render
from hoist.accelerator.settings import Places, Settings
from hoist.errors import InvalidConfig, LocalError

_POLL_SECONDS = 0.1
_START_SECONDS = 15.0
_STOP_SECONDS = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 30.0
# One that ran for so long and then ended did not fail to start.
_STEADY_SECONDS = 60.0
_RESOLVE_SECONDS = 30.0
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class Accelerator:
    """nginx before one origin, for the length of a `with` block; `say` is told what goes wrong, without secrets.

    Raises LocalError, InvalidConfig if it cannot be started.
    """

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None] = lambda line: None,
        render: Callable[[Settings, Places], str] = render,
    ) -> None:
        self.settings = settings
        self._render = render
        self._say = say
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._places = Places(Path())
        self.metrics = Metrics(lambda: connections_of(self._places.folder / "status"))
        self._began = 0.0

    @property
    def pid(self) -> int:
        """The process id of nginx's master."""
        assert self._process is not None, "it is not started"
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self._nginx = find_nginx()
            self._cache = cache = CacheFolder(self.settings.cache)
            self._stack.callback(cache.close)
            if dropped := cache.check():
                self._say(f"dropped {dropped} slices that a machine which stopped suddenly had left unfinished")
            self.settings = replace(self.settings, cache=cache.path)
            folder = make_run_folder(cache.uid, cache.gid)
            self._stack.callback(remove_run_folder, folder)
            log = LogSocket(self.metrics, self._say)
            self._stack.callback(log.close)
            self._places = Places(
                folder, cache.user, self._trusted(folder), self._resolve(), log_port=log.port, log_word=log.word
            )
            self._stack.callback(self._end)
            self._launch()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def watch(self, stop: Event, reload: Event | None = None) -> None:
        """Keep it running until `stop` is set; read certificates and addresses anew when `reload` is.

        One that ends is started again, at once and then after longer and longer pauses.
        """
        wait, resolve_at = _FIRST_WAIT, time.monotonic() + _RESOLVE_SECONDS
        while not stop.wait(_POLL_SECONDS):
            assert self._process is not None, "it is not started"
            now = time.monotonic()
            if self._process.poll() is not None:
                if now - self._began > _STEADY_SECONDS:
                    wait = _FIRST_WAIT
                self._say(f"nginx ended ({_how(self._process.returncode)}); it is started again")
                if stop.wait(wait):
                    return
                wait = min(2 * wait, _LONGEST_WAIT)
                self._start_again()
            elif reload and reload.is_set():
                reload.clear()
                self._reload("as asked")
            elif now > resolve_at:
                resolve_at = now + _RESOLVE_SECONDS
                self._follow()

    def _start_again(self) -> None:
        self.metrics.restarted()
        try:
            self._launch()
        except LocalError as error:
            self._say(str(error))

    def _launch(self) -> None:
        """Start nginx and wait until it listens. Raises LocalError with what it said."""
        folder = self._places.folder
        # The workers of a master that was killed end by themselves, but may still have the port.
        self._end()
        self._cache.tidy()
        for name in ("status", "nginx.pid"):
            (folder / name).unlink(missing_ok=True)
        self._write()
        command = [self._nginx, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
        setpriv = find("setpriv")
        # So that it ends with this process, however that ends.
        warded = [setpriv, "--pdeathsig", "TERM", *command] if setpriv else command
        with (folder / "said").open("wb") as said:
            self._process = subprocess.Popen(
                warded, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
        self._began = time.monotonic()
        until = self._began + _START_SECONDS
        while not (folder / "status").exists() or connections_of(folder / "status") is None:
            if self._process.poll() is not None or time.monotonic() > until:
                text = (folder / "said").read_text(errors="replace").strip()[-800:]
                raise LocalError(f"nginx does not start on {self.settings.listen}: {text or 'it says nothing'}")
            time.sleep(0.02)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for word in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                # The whole session: the workers of a master that has died are in it.
                os.killpg(process.pid, word)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
            until = time.monotonic() + _STOP_SECONDS
            while _alive(process.pid) and time.monotonic() < until:
                time.sleep(0.02)
            if not _alive(process.pid):
                return

    def _write(self) -> None:
        folder = self._places.folder
        path = folder / "nginx.conf"
        path.write_text(self._render(self.settings, self._places))
        run(self._nginx, "-t", "-q", "-e", "stderr", "-p", str(folder), "-c", str(path))

    def _reload(self, why: str) -> None:
        assert self._process is not None, "it is not started"
        try:
            self._write()
        except (LocalError, InvalidConfig) as error:
            self._say(f"not reloaded: {error}")
            return
        self._process.send_signal(signal.SIGHUP)
        self._say(f"reloaded: {why}")

    def _follow(self) -> None:
        """See where the origin is now: nginx looks once."""
        try:
            addresses = self._resolve()
        except LocalError:
            # It may come back; until then the old ones are as good as any.
            return
        if addresses != self._places.addresses:
            self._places = replace(self._places, addresses=addresses)
            self._reload("the origin has other addresses")

    def _resolve(self) -> tuple[str, ...]:
        origin = self.settings.origin
        try:
            found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise LocalError(f"the origin's host {origin.host} is not found: {error.strerror or error}") from None
        each = {(f"[{place[0]}]" if ":" in str(place[0]) else str(place[0])) for *_, place in found}
        return tuple(f"{address}:{origin.port}" for address in sorted(each))

    def _trusted(self, folder: Path) -> Path | None:
        """The authorities of the system, and those of the storage's own bundle, as one file."""
        origin = self.settings.origin
        if origin.scheme != "https":
            return None
        paths = [ssl.get_default_verify_paths().cafile, *_BUNDLES]
        system = next((path for path in paths if path and Path(path).is_file()), None)
        texts = [Path(path).read_text() for path in (system, origin.ca_bundle) if path]
        if not texts:
            raise LocalError("no authorities to check the origin's certificate against: install ca-certificates")
        path = folder / "trusted.pem"
        path.write_text("\n".join(texts))
        return path


def _alive(session: int) -> bool:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
