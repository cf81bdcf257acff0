"""A Qwen3-shaped model with random weights and the shipped tokenizer, for trying a machine without a download.

python tests/gpu/random_model.py OUT HIDDEN LAYERS HEADS KV_HEADS INTERMEDIATE
"""

from __future__ import annotations

import sys

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from rmft_verl.setup.models import tiny_path

VOCABULARY = 151936  # Qwen3's, so that the logits cost what they cost there


def main(out: str, hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_path("mab"))
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=intermediate,
        head_dim=128,
        max_position_embeddings=40960,
        tie_word_embeddings=hidden < 4096,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen3ForCausalLM(config).save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
