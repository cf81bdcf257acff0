"""Tokenizers with a chat template: the shipped one, and four that are built here.

The templates render as the published ones do for user and assistant messages; their tokens are single bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rmft_verl.setup.models import tiny_path

QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
LLAMA3 = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA2 = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}<bos>"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI35 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}<|endoftext|>{% endif %}"
)


DATED = LLAMA3.replace(
    "<|begin_of_text|>",
    "<|begin_of_text|>{% if not date_string is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}\n",
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1].lstrip('\n') "
    "if m.role == 'assistant' else m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(template: str, special: Sequence[str | AddedToken], end: str) -> PreTrainedTokenizerFast:
    """One token a byte, plus the family's special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end)
    wrapped.chat_template = template
    return wrapped


def qwen3() -> tuple[Any, dict[str, Any]]:
    special = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    return byte_tokenizer(QWEN3, special, "<|im_end|>"), {"enable_thinking": False}


def llama3() -> tuple[Any, dict[str, Any]]:
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return byte_tokenizer(LLAMA3, special, "<|eot_id|>"), {}


def gemma2() -> tuple[Any, dict[str, Any]]:
    """No system role, and a reply ends with another token than the tokenizer's end of sequence."""
    special = ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
    return byte_tokenizer(GEMMA2, special, "<eos>"), {}


def phi35() -> tuple[Any, dict[str, Any]]:
    """A dialogue rendered whole ends with the end of sequence; a reply does not."""
    special = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"]
    return byte_tokenizer(PHI35, special, "<|endoftext|>"), {}


def phi3() -> tuple[Any, dict[str, Any]]:
    """Its special tokens swallow the white space behind them."""
    special = [AddedToken(name, rstrip=True, special=True) for name in ("<|user|>", "<|assistant|>", "<|end|>")]
    return byte_tokenizer(PHI35, ["<|endoftext|>", *special], "<|endoftext|>"), {}


def dated() -> tuple[Any, dict[str, Any]]:
    """Prints today's date in its first message, as Llama 3.2 does."""
    special = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return byte_tokenizer(DATED, special, "<|eot_id|>"), {}


def thinking() -> tuple[Any, dict[str, Any]]:
    """Qwen3 that thinks: its template leaves past thoughts out."""
    special = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    return byte_tokenizer(THINKING, special, "<|im_end|>"), {}


def shipped() -> tuple[Any, dict[str, Any]]:
    return AutoTokenizer.from_pretrained(tiny_path("mab")), {}


def template_end(tokenizer: Any) -> int:
    ends = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")
    return next(tokenizer.convert_tokens_to_ids(end) for end in ends if end in tokenizer.get_vocab())


FAMILIES = [shipped, qwen3, llama3, gemma2, phi35]
