"""Make a small Llama with random weights, in shards, with a tokenizer of bytes, and publish it for the example.

python make_model.py STORAGE//llm/tiny:v1
"""

import argparse
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import hoist

BEGIN, END = "<s>", "</s>"


def write_model(folder: Path, *, width: int = 64, layers: int = 2, seed: int = 0) -> None:
    """A model whose input and output embeddings are one tensor, as small models have it."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([BEGIN, END, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BEGIN, eos_token=END).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder, max_shard_size="64KB")


def main() -> None:
    """Publish the model, and print where it is."""
    parser = argparse.ArgumentParser(description="Publish a small Llama with random weights.")
    parser.add_argument("location", help="such as /tmp/models//llm/tiny:v1")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        write_model(Path(temporary), width=chosen.width, layers=chosen.layers, seed=chosen.seed)
        hoist.publish(temporary, chosen.location)
    print(chosen.location)


if __name__ == "__main__":
    main()
