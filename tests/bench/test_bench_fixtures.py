"""The ten checkpoints: listed sizes, files that the usual libraries open, and bytes shared as real fine-tunes do."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from hoist.bench.fixtures import DTYPES, FIXTURES, GIB, Fixture, build

SCALE = 0.05
STREAMED = [fixture for fixture in FIXTURES if fixture.file_name.endswith(".safetensors")]
VAE, CLIP, UNET = "first_stage_model.", "cond_stage_model.", "model.diffusion_model."


def by_file(start: str) -> Fixture:
    (found,) = (fixture for fixture in FIXTURES if fixture.file_name.startswith(start))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("fixtures")
    for fixture in FIXTURES:
        build(fixture, place, scale=SCALE)
    return place


def load(folder: Path, start: str) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = safetensors.torch.load_file(folder / by_file(start).file_name)
    return loaded


def only(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, bytes]:
    """The bytes of the tensors below a prefix, by name; integers, which every file has alike, are left out."""
    return {
        name: tensor.numpy().tobytes()
        for name, tensor in tensors.items()
        if name.startswith(prefix) and tensor.is_floating_point()
    }


def test_the_ten_are_the_documented_ones() -> None:
    listed = {fixture.file_name: fixture.listed_gib for fixture in FIXTURES}
    assert listed == {
        "Anything-v4.5-pruned-mergedVae.safetensors": 3.97,
        "Anything-v5.0-PRT-RE.safetensors": 1.99,
        "CounterfeitV30_v30.safetensors": 3.95,
        "Deliberate_v2.safetensors": 1.99,
        "DreamShaper_6_NoVae.safetensors": 5.55,
        "cetusMix_Coda2.safetensors": 3.59,
        "chilloutmix_NiPrunedFp32Fix.safetensors": 3.97,
        "pastelmix-fp32.ckpt": 3.97,
        "revAnimated_v122.safetensors": 5.13,
        "sd_xl_base_1.0.safetensors": 6.46,
    }
    assert len({fixture.model for fixture in FIXTURES}) == len(FIXTURES)
    chosen = {fixture.model for fixture in FIXTURES if fixture.composition_chosen}
    assert chosen == {"sd15/counterfeit", "sd15/dreamshaper", "sd15/revanimated"}


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.model)
def test_the_full_size_rounds_to_the_listed_one(fixture: Fixture) -> None:
    assert round(fixture.size_at(1.0) / GIB, 2) == fixture.listed_gib


@pytest.mark.parametrize("fixture", STREAMED, ids=lambda fixture: fixture.model)
def test_safetensors_opens_the_file_and_agrees(fixture: Fixture, folder: Path) -> None:
    path = folder / fixture.file_name
    assert path.stat().st_size == fixture.size_at(SCALE)
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        found = {
            name: (tuple(file.get_slice(name).get_shape()), file.get_slice(name).get_dtype())
            for name in file.keys()  # noqa: SIM118 - the handle is no mapping
        }
    assert found == {t.spec.name: (t.spec.shape, str(t.dtype)) for t in fixture.tensors(SCALE)}


@pytest.mark.parametrize("start", ["revAnimated", "cetusMix", "sd_xl"])
def test_the_file_is_what_safetensors_itself_would_write(start: str, folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    safetensors.torch.save_file(load(folder, start), again, metadata={"format": "pt"})
    assert again.read_bytes() == (folder / by_file(start).file_name).read_bytes()


def test_torch_opens_the_ckpt_without_running_code(folder: Path) -> None:
    fixture = by_file("pastelmix")
    path = folder / fixture.file_name
    document = torch.load(path, weights_only=True)
    assert sorted(document) == ["epoch", "global_step", "state_dict"]
    found = {name: (tuple(t.shape), t.numpy().dtype) for name, t in document["state_dict"].items()}
    assert found == {t.spec.name: (t.spec.shape, np.dtype(DTYPES[t.dtype])) for t in fixture.tensors(SCALE)}
    assert abs(path.stat().st_size - fixture.size_at(SCALE)) < 0.002 * path.stat().st_size
    # The container does not change the weights.
    assert only(document["state_dict"], VAE) == only(load(folder, "chilloutmix"), VAE)


@pytest.mark.parametrize("one, other", [("Anything-v5", "Deliberate"), ("Anything-v4", "revAnimated")])
def test_fine_tunes_of_one_dtype_share_all_but_the_unet(one: str, other: str, folder: Path) -> None:
    ours, theirs = load(folder, one), load(folder, other)
    for prefix in (VAE, CLIP, "betas"):
        assert only(ours, prefix)
        assert only(ours, prefix) == only(theirs, prefix)
    mine, yours = only(ours, UNET), only(theirs, UNET)
    assert mine.keys() == yours.keys()
    assert all(mine[name] != yours[name] for name in mine)


def test_another_family_has_its_own_vae(folder: Path) -> None:
    ours, theirs = only(load(folder, "Deliberate"), VAE), only(load(folder, "sd_xl"), VAE)
    assert ours.keys() == theirs.keys()
    assert all(ours[name] != theirs[name] for name in ours)


@pytest.mark.parametrize("start", ["Deliberate", "Counterfeit", "pastelmix"])
def test_two_builds_are_the_same_bytes(start: str, folder: Path, tmp_path: Path) -> None:
    again = build(by_file(start), tmp_path / "new" / "folder", scale=SCALE)
    assert again.read_bytes() == (folder / by_file(start).file_name).read_bytes()
    assert [path.name for path in again.parent.iterdir()] == [again.name]


@pytest.mark.parametrize("start", ["Deliberate", "pastelmix"])
def test_a_built_file_is_kept_and_another_scale_replaces_it(start: str, tmp_path: Path) -> None:
    fixture, done = by_file(start), list[int]()
    payload = sum(tensor.nbytes for tensor in fixture.tensors(0.02))
    path = build(fixture, tmp_path, scale=0.02, on_progress=done.append)
    assert sum(done) == payload
    first = path.stat()
    build(fixture, tmp_path, scale=0.02, on_progress=done.append)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert sum(done) == 2 * payload
    # So near that only the vocabulary differs.
    build(fixture, tmp_path, scale=0.0202)
    assert path.stat().st_size > first.st_size


@pytest.mark.parametrize("start", ["Deliberate", "pastelmix"])
def test_a_truncated_file_is_built_again(start: str, tmp_path: Path) -> None:
    fixture = by_file(start)
    path = build(fixture, tmp_path, scale=0.02)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    build(fixture, tmp_path, scale=0.02)
    assert path.read_bytes() == whole


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(by_file("Deliberate"), tmp_path, scale=SCALE, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("start", ["Deliberate", "chilloutmix"])
def test_the_values_look_like_weights(start: str, folder: Path) -> None:
    data = load(folder, start)
    values = torch.cat([data[name].flatten().float() for name in data if name.startswith(UNET)])
    assert torch.isfinite(values).all()
    assert abs(values.mean().item()) < 0.001
    assert 0.018 < values.std().item() < 0.022
    # Normal, not uniform: about 4.6 % lie beyond two standard deviations.
    assert 0.03 < (values.abs() > 0.04).float().mean().item() < 0.06


@pytest.mark.parametrize("start", ["Deliberate", "chilloutmix"])
def test_a_file_neither_compresses_nor_repeats_itself(start: str, folder: Path) -> None:
    data = (folder / by_file(start).file_name).read_bytes()[1 << 20 :]
    assert len(zlib.compress(data, 6)) > 0.85 * len(data)
    runs = [data[at : at + 8] for at in range(0, len(data) - 8, 8)]
    assert len(set(runs)) > 0.99 * len(runs)


def test_blocks_of_one_tensor_differ(tmp_path: Path) -> None:
    # At this scale the largest tensor spans many blocks.
    path = build(by_file("Anything-v4"), tmp_path, scale=0.15)
    largest = max(safetensors.torch.load_file(path).values(), key=torch.numel).flatten().numpy()
    assert largest.size > 3 << 18
    low_bits = largest.view(np.uint32)[: 3 << 18].reshape(3, -1) & 0xFFFF
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (low_bits[one] == low_bits[other]).mean() < 0.001
