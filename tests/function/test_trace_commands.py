"""`hoist trace`, and the verbs that write traces, as a user runs them."""

from __future__ import annotations

import json
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from trace_making import FAILED, GIB, START, SWITCH
from trace_servers import Collector, TraceServer

from hoist.cli.waterfall import print_waterfall
from hoist.function.trace_file import read_traces
from makers import Raw, noise, safetensors_bytes
from zygote import User, Zygote

SIZE = 16_400


def write_weights(path: Path) -> Path:
    tensors = [Raw("a", "F32", [4000], noise(16_000)), Raw("b", "F32", [100], noise(400))]
    path.write_bytes(safetensors_bytes(tensors))
    return path


@pytest.fixture
def user(zygote: Zygote, tmp_path: Path) -> User:
    """Somebody with a file of three traces, one of one, and a storage."""
    (tmp_path / "all.jsonl").write_text("".join(each.to_json() + "\n" for each in (START, FAILED, SWITCH)))
    (tmp_path / "start.json").write_text(json.dumps(START.to_document(), indent=2))
    (tmp_path / "storage").mkdir()
    return User(zygote, tmp_path, {"HOIST_STORAGE_HERE_URL": str(tmp_path / "storage"), "PYTHONIOENCODING": "utf-8"})


def test_one_trace_is_a_waterfall(user: User) -> None:
    out = user.run("trace", "start.json").out
    lines = out.splitlines()
    assert lines[0] == "start anything  8.000 s"
    assert "sha256:48754fe1690e from nas to cuda:0" in lines[1]
    assert "fetched 2.00 GiB, copied to the device 2.00 GiB" in lines[2]
    rows = {line.split()[0]: line for line in lines[4:] if line}
    assert [*rows] == ["PHASE", "import", "network", "fetch", "transfer", "warmup", "unmeasured", "fetch:"]
    assert rows["fetch"].split()[1:7] == ["4.000", "s", "2.00", "GiB", "512.0", "MiB/s"]
    assert rows["import"].index("━") < rows["fetch"].index("━") < rows["warmup"].index("━")
    assert "\x1b" not in out


def test_of_several_all_are_listed_and_the_last_is_shown(user: User) -> None:
    out = user.run("trace", "all.jsonl").out
    assert [line.split()[:2] for line in out.splitlines()[:4]] == [
        ["NR", "KIND"],
        ["1", "start"],
        ["2", "prefetch"],
        ["3", "switch"],
    ]
    assert "switch counterfeit  1.000 s" in out
    assert "reused on the device 1.50 GiB" in out


def test_a_failed_one_says_so_and_commands_no_terminal(user: User) -> None:
    out = user.run("trace", "all.jsonl", "--number", "2").out
    assert "failed" in out.splitlines()[0]
    assert "the storage does not answer" in out
    assert "\x1b" not in out


def test_bars_where_the_output_knows_ascii_only(monkeypatch: pytest.MonkeyPatch) -> None:
    # A fork of the zygote has its encoding already, so here in this process.
    raw = BytesIO()
    ascii_only = TextIOWrapper(raw, encoding="ascii", errors="backslashreplace", write_through=True)
    with monkeypatch.context() as inner:
        inner.setattr("sys.stdout", ascii_only)
        print_waterfall(START, START.seconds)
    assert b"=====" in raw.getvalue()
    assert b"\\u" not in raw.getvalue()


def test_two_are_compared(user: User) -> None:
    for words in (
        ("all.jsonl", "start.json", "--number", "-1", "--number", "1"),
        ("all.jsonl", "--number", "3", "--number", "1"),
    ):
        out = user.run("trace", *words).out
        assert "before (all.jsonl" in out
        table = out[out.index("BEFORE") :].splitlines()
        fetch = next(line for line in table if line.startswith("fetch"))
        assert fetch.split() == [
            *("fetch", "0.500", "s", "512.0", "MiB", "1.00", "GiB/s"),
            *("4.000", "s", "2.00", "GiB", "512.0", "MiB/s", "8.00", "x"),
        ]
        assert table[-1].split()[-2:] == ["8.00", "x"]


def test_json_has_the_trace_and_what_its_phases_come_to(user: User) -> None:
    one = user.run("trace", "start.json", "--json").json
    assert one["id"] == START.id
    fetch = next(each for each in one["phases"] if each["phase"] == "fetch")
    assert (fetch["seconds"], fetch["size_bytes"], fetch["bytes_per_second"]) == (4.0, 2 * GIB, GIB / 2)
    two = user.run("trace", "all.jsonl", "start.json", "--json").json
    assert (two["before"]["id"], two["after"]["id"]) == (SWITCH.id, START.id)
    assert two["phases"][-1]["phase"] == "total"
    assert two["phases"][-1]["ratio"] == 8.0
    assert two["phases"][0]["after_seconds"] is None


def test_pages_are_written(user: User) -> None:
    user.run("trace", "all.jsonl", "--html", "all.html")
    user.run("trace", "start.json", "all.jsonl", "--html", "two.html")
    assert "counterfeit" in (user.home / "all.html").read_text()
    assert "after: all.jsonl" in (user.home / "two.html").read_text()
    assert user.refused("trace", "start.json", "--html", "no/such/folder.html").code == 3


def test_a_function_is_asked_and_a_collector_is_told(user: User) -> None:
    (user.home / "token").write_text("s3cret\nolder\n")
    with TraceServer(START.to_json().encode(), token="s3cret") as server, Collector() as collector:
        said = user.run("trace", server.url, "--token-file", "token", "--otlp", collector.url).out
        assert "start anything" in said
        assert user.refused("trace", server.url).code == 5
    assert len(collector.received) == 1
    assert user.refused("trace", server.url).code == 6
    with Collector(status=400) as refusing:
        assert user.refused("trace", "start.json", "--otlp", refusing.url).code == 6


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("none.json",), 3, "there is no file none.json"),
        (("storage",), 9, "storage"),
        (("bad.json",), 8, "bad.json: not a trace of hoist.trace/1: its schema is 'hoist.trace/9'"),
        (("start.json", "bad.json"), 8, "bad.json"),
        (("all.jsonl", "--number", "7"), 2, "all.jsonl has 3 traces: there is no number 7"),
        (("all.jsonl", "--number", "1", "--number", "2", "--number", "3"), 2, "twice at most"),
        (("start.json", "--otlp", "collector"), 2, "http://127.0.0.1:4318"),
        (("start.json", "--token-file", "empty"), 2, "empty holds no token"),
        (("start.json", "--token-file", "none"), 3, "there is no file none"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_line(user: User, words: tuple[str, ...], code: int, said: str) -> None:
    (user.home / "bad.json").write_text(START.to_json().replace("trace/1", "trace/9"))
    (user.home / "empty").write_text("\ns3cret\n")
    ended = user.refused("trace", *words)
    assert ended.code == code
    assert said in ended.error


def test_loads_write_their_traces(user: User) -> None:
    weights = write_weights(user.home / "m.safetensors")
    user.run("publish", str(weights), "here//m:v1", "--quiet")
    digest = user.run("inspect", "here//m:v1", "--json").json["digest"]
    user.run("load", "here//m:v1", "--repeat", "2", "--trace", "loads.jsonl", "--quiet")
    user.run("load", "m.safetensors", "--trace", "loads.jsonl", "--quiet")
    first, second, local = read_traces(str(user.home / "loads.jsonl"))
    for trace in (first, second):
        assert (trace.kind, trace.model, trace.version, trace.storage_kind) == ("load", "here//m:v1", digest, "nas")
        assert trace.size_bytes == trace.fetched_bytes == SIZE
        assert sum(phase.bytes for phase in trace.phases if phase.name == "fetch") == SIZE
    assert {"import", "network", "fetch", "deserialize"} <= {phase.name for phase in first.phases}
    assert "import" not in {phase.name for phase in second.phases}
    assert (local.version, local.storage_kind, local.outcome) == ("", "", "done")
    assert "before (loads.jsonl, 1)" in user.run("trace", "loads.jsonl", "--number", "1", "--number", "2").out
