"""transformers' models around Hoist's tensors: the same text as transformers' own, without a second copy or read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from integration_models import Watched, example, open_counted

import hoist
from hoist.errors import FileNotFound, InvalidFile, UsageError
from hoist.integrations.transformers import load_model, load_tokenizer

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama in shards, whose embeddings are tied."""
    folder = tmp_path_factory.mktemp("llm")
    example("llm/make_model").write_model(folder)
    return folder


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def location(made: Path, storage: str) -> str:
    found = f"{storage}//llm/tiny:v1"
    hoist.publish(made, found)
    return found


def follow(model: Any, tokenizer: Any) -> list[int]:
    given = tokenizer("a red fox", return_tensors="pt")
    found = model.generate(**given, max_new_tokens=8, do_sample=False, pad_token_id=1)
    return [int(token) for token in found[0]]


def test_shards_and_tied_weights_without_a_second_copy_or_read(made: Path, location: str) -> None:
    opened, counted = open_counted(location)
    with opened, Watched(opened) as source:
        shards = [path for path in opened.files if path.endswith(".safetensors")]
        assert len(shards) > 2
        model = load_model(source)
        assert source.copies(model) == set()
        assert counted.bytes["read_into"] <= 1.02 * sum(entry.size for entry in opened.files.values())
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert {each.dtype for each in model.parameters()} == {torch.bfloat16}
    assert not any(each.requires_grad for each in model.parameters())
    own = transformers.AutoModelForCausalLM.from_pretrained(made, dtype="auto")
    assert follow(model, load_tokenizer(location)) == follow(own, transformers.AutoTokenizer.from_pretrained(made))
    buffers = dict(own.named_buffers())
    assert buffers
    assert all(torch.equal(each, buffers[name]) for name, each in model.named_buffers())


def test_a_cast_and_a_changed_configuration(location: str) -> None:
    model = load_model(location, dtype=torch.float32, attn_implementation="eager")
    assert {each.dtype for each in model.parameters()} == {torch.float32}
    assert model.config._attn_implementation == "eager"


def test_experts_are_joined_as_transformers_joins_them(storage: str, tmp_path: Path) -> None:
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4}
    torch.manual_seed(0)
    transformers.MixtralForCausalLM(transformers.MixtralConfig(**sizes, **heads)).save_pretrained(tmp_path / "made")
    hoist.publish(tmp_path / "made", f"{storage}//llm/moe:v1")
    own = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    with hoist.open(f"{storage}//llm/moe:v1") as opened, Watched(opened) as source:
        model = load_model(source)
        assert all("experts" in name for name in source.copies(model))
    expected = own.state_dict()
    assert all(torch.equal(each, expected[name]) for name, each in model.state_dict().items())
    tokens = torch.arange(6)[None]
    assert torch.equal(model(tokens).logits, own(tokens).logits)


def test_a_pickled_model_and_its_generation_config(made: Path, storage: str, tmp_path: Path) -> None:
    own = transformers.AutoModelForCausalLM.from_pretrained(made, dtype="auto")
    own.config.save_pretrained(tmp_path / "made")
    torch.save(own.state_dict(), tmp_path / "made/pytorch_model.bin")
    (tmp_path / "made/generation_config.json").write_text(json.dumps({"max_new_tokens": 3}))
    hoist.publish(tmp_path / "made", f"{storage}//llm/old:v1")
    model = load_model(f"{storage}//llm/old:v1")
    assert model.generation_config.max_new_tokens == 3
    assert all(torch.equal(each, own.state_dict()[name]) for name, each in model.state_dict().items())
    with pytest.raises(FileNotFound, match=r"publish tokenizer.json beside the weights"):
        load_tokenizer(f"{storage}//llm/old:v1")


def test_weights_that_are_missing_are_not_made_up(made: Path, storage: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    own = transformers.AutoModelForCausalLM.from_pretrained(made, dtype="auto")
    own.config.save_pretrained(tmp_path / "made")
    tensors = {name: each.clone() for name, each in own.state_dict().items() if name != "lm_head.weight"}
    tensors["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 3)
    del tensors["model.layers.0.mlp.down_proj.weight"]
    save_file(tensors, tmp_path / "made/model.safetensors")
    hoist.publish(tmp_path / "made", f"{storage}//llm/torn:v1")
    with pytest.raises(
        InvalidFile, match=r"'model.layers.0.mlp.down_proj.weight' \(and 1 more\) is missing or of another"
    ):
        load_model(f"{storage}//llm/torn:v1")


def test_what_is_no_model_of_transformers(made: Path, storage: str, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/model.safetensors").write_bytes(next(iter(made.glob("*.safetensors"))).read_bytes())
    hoist.publish(tmp_path / "made", f"{storage}//llm/bare:v1")
    with pytest.raises(FileNotFound, match=r"no config.json"):
        load_model(f"{storage}//llm/bare:v1")
    config = json.loads((made / "config.json").read_text()) | {"architectures": ["OfSomebodysOwn"]}
    (tmp_path / "made/config.json").write_text(json.dumps(config))
    hoist.publish(tmp_path / "made", f"{storage}//llm/own:v1")
    with pytest.raises(UsageError, match="names OfSomebodysOwn, which this transformers has not"):
        load_model(f"{storage}//llm/own:v1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu(made: Path, location: str) -> None:
    own = transformers.AutoModelForCausalLM.from_pretrained(made, dtype="auto").to("cuda")
    tokens = torch.arange(8, device="cuda")[None]
    with hoist.open(location) as version, Watched(version, "cuda:0") as source:
        model = load_model(source)
        assert source.copies(model) == set()
        assert all(each.is_cuda for each in (*model.parameters(), *model.buffers()))
        assert torch.equal(model(tokens).logits, own(tokens).logits)
