"""Make Stable Diffusion checkpoints of any width with random weights, and publish them for the example.

    python make_models.py STORAGE --scale 0.05

Each is one file in the original layout, with the names and dtypes of a real one, and beside it a tokenizer. Random
weights make noise, not pictures; all else is as with real ones.
"""

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import pre_tokenizers

import hoist
from hoist.bench.fixtures import DTYPES, FIXTURES, SPREAD, Fixture, build
from hoist.bench.layouts.tensor import shorten
from hoist.bench.layouts.text import VOCABULARY

START, END = "<|startoftext|>", "<|endoftext|>"


def write_tokenizer(folder: Path, size: int) -> None:
    """CLIP's kind of tokenizer, of bytes only, with `size` tokens: the last is the prompt's end, as in the real one."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    if size < len(tokens) + 2:
        raise SystemExit(f"a vocabulary of {size} is too small for all bytes: take a scale of at least 0.0105")
    tokens += [f"<unused{number}>" for number in range(size - len(tokens) - 2)]
    tokens += [START, END]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": START, "eos_token": END}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": END, "unk_token": END}))


def rescale(name: str, values: Any) -> None:
    """Give a tensor, in place, the scale at which networks begin to be trained: at less, every picture is plain grey."""
    if not name.endswith("weight") or "embedding" in name or name.startswith("model_ema"):
        return
    if values.ndim == 1:
        values += 1  # a norm's
    else:
        values *= 1 / (SPREAD * math.sqrt(math.prod(values.shape[1:])))


def rescale_file(path: Path) -> None:
    """Do so with all tensors of a checkpoint, one after another."""
    if path.suffix == ".ckpt":
        import torch

        held = torch.load(path, weights_only=True)
        for name, tensor in held["state_dict"].items():
            rescale(name, tensor.numpy())
        torch.save(held, path)
        return
    data = np.memmap(path, mode="r+")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    for name, entry in json.loads(data[8:start].tobytes()).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = data[start + begin : start + end].view(DTYPES[entry["dtype"]])
            rescale(name, values.reshape(entry["shape"]))
    data.flush()


def publish(fixture: Fixture, storage: str, scale: float) -> str:
    """Make one model and publish it; its location."""
    location = f"{storage}//{fixture.model}:{fixture.version}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rescale_file(build(fixture, folder, scale=scale))
        write_tokenizer(folder / "tokenizer", shorten(VOCABULARY, scale))
        hoist.publish(folder, location)
    return location


def main() -> None:
    """Publish those that are asked for, and print where they are."""
    parser = argparse.ArgumentParser(description="Publish Stable Diffusion checkpoints with random weights.")
    parser.add_argument("storage", help="a storage address, such as /tmp/models or nas")
    parser.add_argument("--scale", type=float, default=0.05, help="width of the networks, 1 being the real one's")
    parser.add_argument("--models", type=int, default=2, help="how many of the ten, from the smallest")
    chosen = parser.parse_args()
    for fixture in sorted(FIXTURES, key=lambda each: each.listed_gib)[: chosen.models]:
        print(publish(fixture, chosen.storage, chosen.scale))


if __name__ == "__main__":
    main()
