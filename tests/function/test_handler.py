"""Handlers: found by name in every form that they may have, with a mend where they are wrong; requests and answers."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from hoist.errors import HandlerError, StorageUnavailable, UsageError
from hoist.function.handler import Request, Response, as_response, find_handler, handler_error, resolve_alone


def test_a_function_uses_its_modules_load() -> None:
    found = find_handler("handlers_here:answer")
    model: Any = "the model"
    assert found.load(model) == {"model": "the model"}
    assert found.handle(1, Request("m")) == "m by 1"
    assert not found.handles_async
    assert found.unload is None
    assert found.close is None


def test_an_async_function_says_so() -> None:
    found = find_handler("handlers_here:answer_later")
    assert found.handles_async
    assert resolve_alone(found.handle(2, Request("m"))) == "m by 2"


def test_a_class_is_made_and_an_object_is_taken_as_it_is() -> None:
    for name in ("Whole", "whole"):
        found = find_handler(f"handlers_here:{name}")
        assert found.handles_async
        assert found.unload is not None
        assert found.close is not None
    import handlers_here

    assert found.close is not None
    found.close()
    assert handlers_here.whole.closed


def test_without_a_load_the_object_is_the_model() -> None:
    model: Any = object()
    assert find_handler("handlers_here:OnlyHandles").load(model) is model


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("handlers_here", "is not MODULE:NAME: write for example app:handler"),
        (":answer", "is not MODULE:NAME"),
        ("no_such_module:answer", "there is no module 'no_such_module' for the handler .*PYTHONPATH"),
        ("handlers_here:nobody", "has no handler 'nobody'"),
        ("handlers_here:Whole.nobody", "has no handler 'Whole.nobody'"),
        ("handlers_here:of_one", r"write handle\(object, request\)"),
        ("handlers_here:Nothing", r"has no handle\(object, request\)"),
        ("handlers_here:WantsMore", "cannot be made without arguments"),
        ("handlers_here:WrongLoad", "load of handlers_here:WrongLoad is no function"),
        ("handlers_here:LoadOfTwo", r"write load\(model\)"),
    ],
)
def test_what_is_wrong_is_said_with_the_mend(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        find_handler(name)


def test_a_request_knows_its_json_and_its_time() -> None:
    request = Request("m", b'{"a": 1}', ends_at=time.monotonic() + 60)
    assert request.json == {"a": 1}
    assert request.deadline is not None
    assert 0 < request.deadline <= 60
    assert not request.cancelled()
    request.stop.set()
    assert request.cancelled()
    assert Request("m", ends_at=time.monotonic() - 1).cancelled()
    assert Request("m").deadline is None
    with pytest.raises(UsageError, match="the body is not JSON"):
        _ = Request("m", b"\xff").json
    with pytest.raises(UsageError, match="the body is not JSON"):
        _ = Request("m", b"[" * 100_000).json


def test_answers_are_json_bytes_or_a_response() -> None:
    assert as_response({"a": [1, None]}) == Response(b'{"a": [1, null]}', "application/json")
    assert as_response("text").body == b'"text"'
    assert as_response(bytearray(b"png")) == Response(b"png", "application/octet-stream")
    image = Response(b"png", "image/png", 201)
    assert as_response(image) is image


@pytest.mark.parametrize(
    "garbage",
    [object(), {1, 2}, float("nan"), {"a": threading.Lock()}, Response("text"), Response(b"", status=7)],  # type: ignore[arg-type]
)
def test_garbage_is_a_handlers_error(garbage: Any) -> None:
    with pytest.raises(HandlerError, match="the handler gave a"):
        as_response(garbage)


def test_a_list_that_holds_itself_is_garbage_too() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(HandlerError, match="a list that is no JSON"):
        as_response(endless)


def test_what_a_handler_raises_is_a_line_without_secrets() -> None:
    lost = StorageUnavailable("lost")
    assert handler_error("handle", lost) is lost
    told = handler_error("handle", KeyError("x?sig=5ec2e7&"))
    assert isinstance(told, HandlerError)
    assert str(told) == "handle raised KeyError: 'x?sig=***&'"
