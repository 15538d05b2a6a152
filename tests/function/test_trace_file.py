"""Traces in files and from a URL; what is none is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_making import FAILED, START, SWITCH, TRACES
from trace_servers import TraceServer

from hoist.errors import (
    FileNotFound,
    HoistError,
    InvalidFile,
    LocalError,
    PermissionDenied,
    StorageUnavailable,
    UsageError,
)
from hoist.function.trace import Trace
from hoist.function.trace_file import append_traces, choose, parse_traces, read_traces

ALL = (START, FAILED, SWITCH)


def documents(traces: tuple[Trace, ...]) -> list[object]:
    return [trace.to_document() for trace in traces]


@settings(deadline=None)
@given(st.lists(TRACES, min_size=1, max_size=3).map(tuple))
def test_all_forms_give_the_same(traces: tuple[Trace, ...]) -> None:
    lines = "".join(trace.to_json() + "\n" for trace in traces)
    for text in (lines, json.dumps(documents(traces)), json.dumps({"traces": documents(traces)}, indent=1)):
        assert parse_traces(text.encode(), "it") == traces


def test_traces_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "new" / "traces.jsonl"
    append_traces(path, ALL[:1])
    append_traces(path, ALL[1:])
    assert read_traces(str(path)) == ALL
    with pytest.raises(LocalError):
        append_traces(tmp_path, ALL)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it: no trace yet"),
        (b"[]", "it: no trace yet"),
        (b'{"traces": []}', "it: no trace yet"),
        (b"\xff\xfe\x00", "it, line 1: not a trace: not JSON"),
        (START.to_json().encode() + b"\n{", "it, line 2: not a trace: not JSON"),
        (START.to_json().encode() + b"\n7", "it, line 2: not a trace: an object"),
        (b"{}", "it: not a trace"),
        (b'[{}, {"a": 1}]', "it, trace 1: not a trace"),
        (json.dumps([START.to_document(), {}]).encode(), "it, trace 2: not a trace"),
        (b"[" * 100_000, "it: no traces: JSON that is nested too deeply"),
        (b" " * ((64 << 20) + 1), "it: larger than 64 MiB"),
    ],
)
def test_what_holds_no_traces_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        parse_traces(data, "it")
    assert str(caught.value).startswith(said)


@settings(deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_no_bytes_surprise_the_parser(data: bytes) -> None:
    with pytest.raises(InvalidFile):
        parse_traces(data, "it")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFound, match="there is no file"):
        read_traces(str(tmp_path / "none.json"))
    with pytest.raises(LocalError):
        read_traces(str(tmp_path))


def test_a_function_is_asked_at_its_address() -> None:
    newest_first = sorted(ALL, key=lambda trace: -trace.began)
    with TraceServer(json.dumps(documents(tuple(newest_first))).encode()) as server:
        assert read_traces(server.url) == tuple(newest_first[::-1])
        for url in (f"{server.url}/", f"{server.url}/trace?last=3"):
            assert set(read_traces(url)) == set(ALL)
        assert [path for _, path, _, _ in server.requests] == ["/trace", "/trace", "/trace?last=3"]


def test_a_function_with_a_token_is_told_it_and_nobody_else_is() -> None:
    with TraceServer(START.to_json().encode(), token="s3cret") as server:
        assert read_traces(server.url, "s3cret") == (START,)
        with pytest.raises(PermissionDenied, match="--token-file"):
            read_traces(server.url)
        with pytest.raises(PermissionDenied) as caught:
            read_traces(f"{server.url}/trace?access_token=hush", "wrong")
        assert "hush" not in str(caught.value)
        asked = len(server.requests)
        with pytest.raises(StorageUnavailable, match="answered 302"):
            read_traces(f"{server.url}/moved", "s3cret")
        assert len(server.requests) == asked + 1


def test_a_url_that_gives_none() -> None:
    with TraceServer(b"<html>") as server:
        refused: list[tuple[str, type[HoistError], str]] = [
            (f"{server.url}/elsewhere", FileNotFound, "no function of hoist serve"),
            (f"{server.url}/broken", StorageUnavailable, "answered 500"),
            (server.url, InvalidFile, "not JSON"),
            ("http://user:secret@127.0.0.1:1", UsageError, "user or password"),
            ("http://", UsageError, "is no URL"),
            ("http://[::1", UsageError, "is no URL"),
            ("http://127.0.0.1:port", UsageError, "is no URL"),
        ]
        for url, kind, said in refused:
            with pytest.raises(kind, match=said) as caught:
                read_traces(url)
            assert "secret" not in str(caught.value)
        url = server.url
    with pytest.raises(StorageUnavailable, match="does not answer"):
        read_traces(url)


@pytest.mark.parametrize(("number", "found"), [(None, SWITCH), (1, START), (3, SWITCH), (-1, SWITCH), (-3, START)])
def test_one_of_many_is_chosen_by_number(number: int | None, found: Trace) -> None:
    assert choose(ALL, number, "it") is found


@pytest.mark.parametrize("number", [0, 4, -4])
def test_a_number_that_there_is_not(number: int) -> None:
    with pytest.raises(UsageError, match="it has 3 traces"):
        choose(ALL, number, "it")
