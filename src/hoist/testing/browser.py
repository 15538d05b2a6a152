"""A headless Chromium that opens pages and tells what happened there: errors, requests, what a script returns.

It is spoken to in the DevTools protocol over two pipes, so that nothing listens and no driver has to fit its version.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from hoist.errors import LocalError

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_SECONDS: Final = 60.0
_READ_BYTES: Final = 1 << 20
_OPTIONS: Final = (
    *("--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--hide-scrollbars"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Browser:
    """One Chromium with one page, for the length of a `with` block. Raises LocalError where there is none."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._number = 0
        self._waiting = b""
        self._session = ""
        self.events: list[dict[str, Any]] = []
        """What the page reported since it was last opened, as the protocol has it."""

    @staticmethod
    def unavailable() -> str | None:
        """Why there is none here; None where there is."""
        if any(shutil.which(name) for name in _NAMES):
            return None
        return "chromium is not installed: apt-get install --no-install-recommends chromium"

    def __enter__(self) -> Self:
        reason = self.unavailable()
        if reason:
            raise LocalError(reason)
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        program = next(found for name in _NAMES if (found := shutil.which(name)))
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="hoist-browser-", ignore_cleanup_errors=True))
        self.downloads = Path(home) / "downloads"
        self.downloads.mkdir()
        asked, self._ask = os.pipe()
        self._answers, answered = os.pipe()
        stack.callback(os.close, self._ask)
        stack.callback(os.close, self._answers)
        # Root may not have the sandbox; what is opened here is Hoist's own page.
        options = [*_OPTIONS, f"--user-data-dir={home}/profile", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        # The browser reads from descriptor 3 and writes to 4; dash takes no number above 9 behind <&.
        script = f'exec "$@" 3</proc/self/fd/{asked} 4>/proc/self/fd/{answered}'
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", program, *options, "about:blank"],
            pass_fds=(asked, answered),
            env={**os.environ, "HOME": home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(asked)
        os.close(answered)
        stack.callback(_end, process)
        target = next(t for t in self._call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        self._call(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads), eventsEnabled=True
        )

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page in a window of so many CSS pixels, and wait until it has been painted."""
        phone = width < 600
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        # A page that differs only behind the # would not be loaded again.
        self.events.clear()
        self._call("Page.navigate", url="about:blank")
        self._until("Page.loadEventFired")
        self.events.clear()
        self._call("Page.navigate", url=url)
        self._until("Page.loadEventFired")
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise's when it is kept. Raises RuntimeError for what it throws."""
        found = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def problems(self) -> list[str]:
        """What the console was told of errors and warnings, and what scripts threw, since the page was opened."""
        told = []
        for event in self.events:
            values = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                told.append(str(values["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert"):
                told.append(str(values["args"]))
            elif event["method"] == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
                told.append(values["entry"]["text"])
        return told

    def requests(self) -> list[str]:
        """The URLs that the page asked for, itself aside."""
        urls = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return urls[1:]

    def downloaded(self) -> Path:
        """The file that comes of what was just clicked. Raises TimeoutError."""
        self._until("Browser.downloadProgress", state="completed")
        return max(self.downloads.iterdir(), key=lambda path: path.stat().st_mtime_ns)

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        found = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _call(self, method: str, **values: Any) -> Any:
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": values}
        if self._session and not method.startswith("Browser."):
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._ask, data) :]
        while True:
            answer = self._next(time.monotonic() + _PATIENCE_SECONDS)
            if answer.get("id") != number:
                continue
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']['message']}")
            return answer["result"]

    def _until(self, method: str, **wanted: Any) -> None:
        """Wait for an event that has come since the page was opened, or comes."""
        deadline, seen = time.monotonic() + _PATIENCE_SECONDS, 0
        while True:
            for event in self.events[seen:]:
                if event["method"] == method and wanted.items() <= event["params"].items():
                    return
            seen = len(self.events)
            self._next(deadline)

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            if not select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._answers, _READ_BYTES)
            if not data:
                raise LocalError("the browser has ended: does chromium --headless run here?")
            self._waiting += data
        text, _, self._waiting = self._waiting.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message


def _end(process: subprocess.Popen[bytes]) -> None:
    """The browser and what it started: they are one group, of this process's own making."""
    with ExitStack() as stack:
        stack.callback(process.wait)
        try:
            os.killpg(process.pid, 15)
            process.wait(5)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
