"""inspect: files, tensors, tags and sharing, from headers alone."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import hoist
from hoist.model.reference import parse_reference
from hoist.storage.wrap import Counting
from hoist.tensors.inspect import FileSummary, TensorSummary, inspect_version
from makers import V1, memory_storage, noise, opened, put_version


def inspected(files: dict[str, bytes], target: int = 1 << 16) -> dict[str, FileSummary]:
    storage = memory_storage()
    put_version(storage, files, target)
    return {file.entry.path: file for file in inspect_version(opened(storage)).files}


def saved(value: Any) -> bytes:
    out = BytesIO()
    torch.save(value, out)
    return out.getvalue()


def test_a_safetensors_file() -> None:
    data = safetensors.torch.save({"b": torch.ones(2, 3).half(), "a": torch.tensor(1.0)})
    found = inspected({"m.safetensors": data, "x.json": b"{}"})
    assert found["m.safetensors"].format == "safetensors"
    assert set(found["m.safetensors"].tensors) == {
        TensorSummary("a", "F32", (), 4),
        TensorSummary("b", "F16", (2, 3), 12),
    }
    assert (found["x.json"].format, found["x.json"].tensors, found["x.json"].blocks) == ("", (), 1)


def test_a_checkpoint_with_nested_containers() -> None:
    value = {"state_dict": {"w": torch.ones(2, 3).bfloat16()}, "list": [1, (torch.zeros(4), "x")], 7: torch.tensor(1)}
    (tensors,) = (file.tensors for file in inspected({"m.ckpt": saved(value)}).values())
    assert tensors == (
        TensorSummary("state_dict.w", "BF16", (2, 3), 12),
        TensorSummary("list.1.0", "F32", (4,), 16),
        TensorSummary("7", "I64", (), 8),
    )


def test_a_bare_tensor() -> None:
    (file,) = inspected({"m.pt": saved(torch.ones(3))}).values()
    assert [(tensor.name, tensor.shape) for tensor in file.tensors] == [("", (3,))]


def test_keys_that_cannot_be_shown() -> None:
    value = {1 << 20_000: torch.ones(1), (1, 2): torch.ones(1), None: torch.ones(1)}
    (file,) = inspected({"m.pt": saved(value)}).values()
    assert [tensor.name for tensor in file.tensors] == ["int", "tuple", "NoneType"]


def test_problems_are_told_and_do_not_stop_it() -> None:
    whole = saved({"a": torch.ones(100)})
    found = inspected({"bad.safetensors": noise(50), "cut.pt": whole[:-30], "legacy.pt": b"\x80\x02}.", "ok.pt": whole})
    assert "bad.safetensors" in found["bad.safetensors"].problem
    assert "cut.pt" in found["cut.pt"].problem
    assert found["legacy.pt"] == FileSummary(found["legacy.pt"].entry, 1, "", ())
    assert found["ok.pt"].format == "checkpoint"


def test_it_reads_headers_only() -> None:
    storage = memory_storage()
    data = safetensors.torch.save({f"t{n}": torch.zeros(10_000) for n in range(50)})
    put_version(storage, {"m.safetensors": data}, 1 << 14)
    counting = Counting(storage)
    inspect_version(opened(counting))
    assert counting.bytes["read_into"] <= 2 << 14


def test_tags_and_sharing(tmp_path: Path) -> None:
    same = noise(5000)
    (tmp_path / "one.bin").write_bytes(same)
    where = f"memory://{tmp_path.name}"
    first = hoist.publish(tmp_path / "one.bin", f"{where}//m/one:v1", tags=["stable", "latest"])
    hoist.publish(tmp_path / "one.bin", f"{where}//m/two:v1")
    found = hoist.inspect(f"{where}//m/one:stable")
    assert (str(found.version), found.manifest.digest, found.tags) == (str(V1), first.digest, ("latest", "stable"))
    assert [(str(s.version), s.shared_bytes) for s in found.shared] == [("m/two:v1", 5000)]
    assert hoist.inspect(f"{where}//{parse_reference('m/one:v1')}", shared=False).shared == ()
