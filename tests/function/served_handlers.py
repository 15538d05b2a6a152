"""Handlers of the tests, imported by servers only: `served_handlers:NAME`."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

from hoist.errors import UsageError
from hoist.function.handler import Request, Response
from hoist.function.model import Model

NOTES = Path(os.environ.get("NOTES", "/nonexistent"))
if os.environ.get("SLOW_IMPORT"):
    while not (NOTES / "import").exists():
        time.sleep(0.02)


def wait_for(name: str, request: Request | None = None) -> None:
    """Until the test has made this note, or nobody waits any more."""
    (NOTES / f"{name}.begun").touch()
    while not (NOTES / name).exists() and not (request and request.cancelled()):
        time.sleep(0.01)


class Ordered:
    """Does what the body says."""

    def load(self, model: Model) -> dict[str, Any]:
        if (NOTES / f"{model.name}.broken").exists():
            raise RuntimeError("password=hunter2")
        if (NOTES / f"{model.name}.slow").exists():
            wait_for(f"{model.name}.go")
        return {"name": model.name, "tensors": model.tensors()}

    def handle(self, loaded: dict[str, Any], request: Request) -> Any:
        order = request.json if request.content_type == "application/json" else {}
        return getattr(self, "do_" + order.get("do", "echo"))(loaded, request, order)

    def do_echo(self, loaded: dict[str, Any], request: Request, order: dict[str, Any]) -> Any:
        shown = {name: float(tensor.double().sum()) for name, tensor in loaded["tensors"].items()}
        return {"model": loaded["name"], "sums": shown, "size": len(request.body), "headers": dict(request.headers)}

    def do_note(self, loaded: dict[str, Any], request: Request, order: dict[str, Any]) -> Any:
        with (NOTES / "order").open("a") as notes:
            notes.write(f"{loaded['name']}\n")
        return loaded["name"]

    def do_bytes(self, loaded: dict[str, Any], request: Request, order: dict[str, Any]) -> Any:
        return bytes(range(256)) * order.get("times", 1)

    def do_picture(self, loaded: dict[str, Any], request: Request, order: dict[str, Any]) -> Any:
        return Response(b"PNG", "image/png", 203, {"X-Seed": "7", "Content-Length": "99"})

    def do_raise(self, loaded: dict[str, Any], request: Request, order: dict[str, Any]) -> Any:
        raise ValueError("password=hunter2")

    def do_blame(self, loaded: dict[str, Any], request: Request, order: dict[str, Any]) -> Any:
        raise UsageError("steps is 1 to 100")

    def do_exit(self, loaded: dict[str, Any], request: Request, order: dict[str, Any]) -> Any:
        raise SystemExit(3)

    def do_garbage(self, loaded: dict[str, Any], request: Request, order: dict[str, Any]) -> Any:
        return {"nan": float("nan")} if order.get("nan") else threading.Lock()

    def do_wait(self, loaded: dict[str, Any], request: Request, order: dict[str, Any]) -> Any:
        """Cooperates: looks whether anybody still waits."""
        wait_for(order["for"], request)
        (NOTES / f"{order['for']}.cancelled").touch() if request.cancelled() else None
        return {"waited": True, "left": request.deadline}

    def do_hang(self, loaded: dict[str, Any], request: Request, order: dict[str, Any]) -> Any:
        """Does not look."""
        wait_for(order["for"])
        return "too late"

    def close(self) -> None:
        (NOTES / "closed").touch()


class Asynchronous:
    """The same in coroutines, which share a loop; one that blocks it must not block the service."""

    async def load(self, model: Model) -> dict[str, Any]:
        self.loop = asyncio.get_running_loop()
        return {"name": model.name}

    async def handle(self, loaded: dict[str, Any], request: Request) -> Any:
        assert asyncio.get_running_loop() is self.loop
        order = request.json
        if order["do"] == "wait":
            (NOTES / f"{order['for']}.begun").touch()
            try:
                while not (NOTES / order["for"]).exists():
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                (NOTES / f"{order['for']}.cancelled").touch()
                raise
        if order["do"] == "block":
            wait_for(order["for"])
        if order["do"] == "exit":
            raise SystemExit(3)
        return {"model": loaded["name"]}


def handle(model: Model, request: Request) -> Any:
    """A plain function: its object is the model."""
    return sorted(model.files)
