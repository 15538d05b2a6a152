"""Every fault of a server under every way of reading: the right bytes, or an error that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import hoist
from hoist.errors import HoistError
from hoist.testing.servers import FaultServer, FolderOrigin, Rule
from hoist.testing.servers.fault_kinds import (
    Fault,
    Flip,
    Garbage,
    GarbageHeader,
    Long,
    OtherRange,
    Redirect,
    Refusal,
    Replaced,
    Reset,
    Short,
    Slow,
    Stalled,
    Trailing,
    Whole,
    WrongContentRange,
    WrongLength,
)
from makers import Raw, directory_storage, files_below, noise, publish, safetensors_bytes, write_files
from zygote import User, Zygote

pytestmark = pytest.mark.matrix

FINE, OTHER, PERMISSION, ABSENT, BUSY, WRONG = 0, 1, 5, 3, 6, 7
NAMES = [f"block.{n}.weight" for n in range(6)]
WEIGHTS = safetensors_bytes([Raw(name, "F16", [1 << 16], noise(1 << 17, n)) for n, name in enumerate(NAMES)])
# Faults by name, and the exit codes that are right when every answer about the weights has them.
ALWAYS: dict[str, tuple[Fault, set[int]]] = {
    "short": (Short(), {BUSY}),
    "empty": (Short(keep=0), {BUSY}),
    "long": (Long(), {FINE}),
    "trailing": (Trailing(), {FINE, BUSY}),
    "length said too small": (WrongLength(-10), {BUSY}),
    "length said too large": (WrongLength(10), {FINE, BUSY}),
    "slow": (Slow(4e6), {FINE}),
    "stalled before": (Stalled("before", 0.2), {BUSY}),
    "stalled behind the headers": (Stalled("headers", 0.2), {BUSY}),
    "stalled in the middle": (Stalled("body", 0.2), {BUSY}),
    "reset before": (Reset("before"), {BUSY}),
    "reset behind the headers": (Reset("headers"), {BUSY}),
    "reset in the middle": (Reset("body"), {BUSY}),
    "429": (Refusal(429, retry_after=1), {BUSY}),
    "500": (Refusal(500, code="InternalError"), {BUSY}),
    "503": (Refusal(503, retry_after=1), {BUSY}),
    "403": (Refusal(403, code="AccessDenied"), {PERMISSION}),
    "404": (Refusal(404, code="NoSuchKey"), {ABSENT}),
    "416": (Refusal(416, code="InvalidRange"), {WRONG}),
    "redirect": (Redirect(), {PERMISSION}),
    "replaced": (Replaced(), {WRONG}),
    "another range, and so it says": (OtherRange(), {WRONG}),
    "another range, unsaid": (OtherRange(7, said=False), {WRONG}),
    "range before": (OtherRange(-1), {FINE, BUSY, WRONG}),
    "wrong Content-Range": (WrongContentRange(), {BUSY, WRONG}),
    "no sense in Content-Range": (WrongContentRange("pages 1-2"), {BUSY}),
    "whole object": (Whole(), {FINE}),
    "a flipped bit": (Flip(), {WRONG}),
    "not HTTP": (Garbage(), {BUSY}),
    "nothing": (Garbage(b""), {BUSY}),
    "garbage header": (GarbageHeader(), {FINE, BUSY}),
}
LASTING = ("403", "404", "redirect")


@dataclass(frozen=True)
class Sick:
    """A store that can be made sick, what is in it, and a user of it."""

    server: FaultServer
    user: User
    tensors: dict[str, torch.Tensor] = field(repr=False)
    files: dict[str, bytes] = field(repr=False)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor], dict[str, bytes]]:
    """A folder that is served as a public bucket, with one version of a safetensors file and one of a checkpoint."""
    root = tmp_path_factory.mktemp("sick")
    source = write_files(root / "source", {"model.safetensors": WEIGHTS, "config.json": b'{"a": 1}', "empty": b""})
    tensors = hoist.load_file(source / "model.safetensors")
    with directory_storage(root / "served/bucket/models") as storage:
        publish(source, storage, "m/one:v1")
        torch.save({"state": tensors, "step": 3}, root / "model.ckpt")
        publish(root / "model.ckpt", storage, "m/ckpt:v1")
    return root / "served", tensors, files_below(source)


@pytest.fixture
def sick(stored: Any, zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sick]:
    served, tensors, files = stored
    with FaultServer(FolderOrigin(served)) as server:
        env = {
            "HOIST_STORAGE_HERE_URL": "s3://bucket/models",
            "HOIST_STORAGE_HERE_ENDPOINT": server.endpoint,
            "HOIST_STORAGE_HERE_ANONYMOUS": "true",
            "HOIST_RETRY_SECONDS": "0.15",
        }
        for key, value in {**env, "HOME": str(tmp_path)}.items():
            monkeypatch.setenv(key, value)
        yield Sick(server, User(zygote, tmp_path, env), tensors, files)


def same(found: dict[str, torch.Tensor], sick: Sick) -> bool:
    """As bits: noise has NaNs in it. Told in one word, as the tensors would fill the screen."""
    return found.keys() == sick.tensors.keys() and all(
        bits(found[name]).equal(bits(sick.tensors[name])) for name in found
    )


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.int16)


def load_file(sick: Sick) -> int:
    assert same(hoist.load_file("here//m/one:v1"), sick)
    return FINE


def load_checkpoint(sick: Sick) -> int:
    found = hoist.load_checkpoint("here//m/ckpt:v1")
    assert same(found["state"], sick)
    return FINE


def safe_open(sick: Sick) -> int:
    with hoist.safe_open("here//m/one:v1") as opened:
        assert same({name: opened.get_tensor(name) for name in reversed(NAMES)}, sick)
        assert bits(opened.get_slice(NAMES[2])[10:20]).equal(bits(sick.tensors[NAMES[2]][10:20]))
    return FINE


def cli_load(sick: Sick) -> int:
    return _plain(sick.user.tries("load", "here//m/one:v1", "--quiet"))


def cli_pull(sick: Sick) -> int:
    code = _plain(sick.user.tries("pull", "here//m/one:v1", "out", "--quiet"))
    placed = {path: data for path, data in files_below(sick.user.home / "out").items() if path in sick.files}
    assert placed.items() <= sick.files.items()
    assert code or placed == sick.files
    return code


def cli_verify(sick: Sick) -> int:
    ended = sick.user.tries("verify", "here//m/one:v1", "--quiet")
    assert ("is whole" in ended.out) == (ended.code == 0)
    return ended.code if ended.code == WRONG and "is damaged" in ended.out else _plain(ended)


def _plain(ended: Any) -> int:
    assert ended.code == 0 or ended.error.startswith("hoist: error: "), ended.error
    return int(ended.code)


READERS: dict[str, Callable[[Sick], int]] = {
    each.__name__: each for each in (load_file, load_checkpoint, safe_open, cli_load, cli_pull, cli_verify)
}


def code_of(reader: str, sick: Sick) -> int:
    """The exit code that a user of this reader would see."""
    try:
        return READERS[reader](sick)
    except HoistError as error:
        assert str(error)
        return error.exit_code


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ALWAYS)
def test_a_fault_of_every_answer_about_the_weights(sick: Sick, name: str, reader: str) -> None:
    fault, codes = ALWAYS[name]
    sick.server.plan(Rule(fault, path="*/m/*/v1/model.*"))
    code = code_of(reader, sick)
    if reader == "cli_verify" and ABSENT in codes:
        # A missing file is damage, to verify.
        codes = codes | {WRONG}
    assert code in codes
    assert sick.server.struck()


@pytest.mark.parametrize("reader", ["load_file", "cli_pull"])
@pytest.mark.parametrize("name", ALWAYS)
def test_a_fault_of_every_answer_about_hoists_own_documents(sick: Sick, name: str, reader: str) -> None:
    """Mostly refused; but whatever the fault, not a byte is wrong where the reader goes on."""
    sick.server.plan(Rule(ALWAYS[name][0], path="*/.hoist/*"))
    assert code_of(reader, sick) in (FINE, ABSENT, PERMISSION, BUSY, WRONG, *([OTHER] if name == "416" else []))
    assert sick.server.struck()


@pytest.mark.parametrize("reader", ["load_checkpoint", "safe_open", "cli_pull"])
@pytest.mark.parametrize("name", [name for name in ALWAYS if name not in LASTING])
def test_a_fault_that_passes_is_not_seen(sick: Sick, name: str, reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sick.server.plan(Rule(ALWAYS[name][0], path="*/m/*/v1/model.*", count=1))
    monkeypatch.setenv("HOIST_RETRY_SECONDS", "10")
    patient = replace(sick, user=sick.user.with_env(HOIST_RETRY_SECONDS="10"))
    assert code_of(reader, patient) == FINE
    assert sick.server.struck() == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_store_that_does_everything_wrong_at_times(sick: Sick, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOIST_RETRY_SECONDS", "10")
    rules = [Rule(fault, chance=0.02) for name, (fault, _) in ALWAYS.items() if name not in LASTING]
    patient = replace(sick, user=sick.user.with_env(HOIST_RETRY_SECONDS="10"))
    codes = set()
    for reader in READERS:
        sick.server.plan(*rules, seed=seed)
        codes.add(code_of(reader, patient))
    assert codes <= {FINE, OTHER, BUSY, WRONG}


def test_a_store_that_is_away_for_a_while(sick: Sick, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOIST_RETRY_SECONDS", "0.3")
    with sick.server.down():
        assert code_of("load_file", sick) == BUSY
        assert code_of("cli_pull", sick) == BUSY
    assert code_of("load_file", sick) == FINE
    assert code_of("cli_pull", sick) == FINE
