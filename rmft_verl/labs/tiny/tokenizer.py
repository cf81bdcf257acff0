"""The tiny model's own tokenizer: byte-level BPE that keeps names, numbers and frequent phrases whole.

A frequent phrase, an action name (with its space) and a number are one token each; other text falls back to bytes.
Fewer tokens take less time on two CPU cores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

END = "<|im_end|>"
PAD = "<|endoftext|>"
START = "<|im_start|>"
VOCABULARY = 1536
"""Number of tokens; 512 more if decimals are whole."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML without the line break after ``<|im_end|>``: a dialogue continued after a sampled ``<|im_end|>`` then has
the same ids as the dialogue rendered whole."""


def build_tokenizer(texts: Iterable[str], names: Sequence[str], decimals: bool = False) -> Any:
    """A ``PreTrainedTokenizerFast`` trained on ``texts`` (message contents), with ``TEMPLATE`` as chat template.

    ``decimals``: numbers such as 0.62 are kept whole too.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    # Names and numbers are isolated, and so is the reply's header: no merge may cross into what the model says.
    words = "|".join(sorted(names))
    number = r"[ /]?\d\.\d\d|[ /]?\d{1,2}" if decimals else r"[ /]?\d{1,2}"
    whole = Regex(rf"(?: |(?<![A-Za-z]))(?:{words})(?![A-Za-z])|{number}|\Aassistant\n")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(whole, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY + 512 * decimals,
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)
    wrapped.chat_template = TEMPLATE
    return wrapped
