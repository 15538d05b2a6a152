"""Handlers as users write them, good and bad."""

from __future__ import annotations

from typing import Any


def load(model: Any) -> dict[str, Any]:
    return {"model": model}


def answer(held: Any, request: Any) -> str:
    return f"{request.model} by {held}"


async def answer_later(held: Any, request: Any) -> str:
    return f"{request.model} by {held}"


def of_one(request: Any) -> None:
    pass


class Whole:
    def __init__(self) -> None:
        self.closed = False

    def load(self, model: Any) -> Any:
        return model

    async def handle(self, held: Any, request: Any) -> Any:
        return held

    def unload(self, held: Any) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class OnlyHandles:
    def handle(self, held: Any, request: Any) -> Any:
        return held


class Nothing:
    pass


class WantsMore:
    def __init__(self, size: int) -> None:
        self.size = size


class WrongLoad:
    load = "a string"

    def handle(self, held: Any, request: Any) -> Any:
        return held


class LoadOfTwo:
    def load(self, model: Any, more: Any) -> Any:
        return model

    def handle(self, held: Any, request: Any) -> Any:
        return held


whole = Whole()
