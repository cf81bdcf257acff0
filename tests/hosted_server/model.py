"""Samples and fine-tunes one small chat model with plain transformers and PyTorch, in one thread."""

from __future__ import annotations

import copy
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

Messages = Sequence[dict[str, Any]]

RATE = 5e-4
"""Learning rate of the multiplier 1: that of ``recipe=mab_tiny``."""

CACHED = 64
"""Dialogues whose keys and values are kept."""


Row = tuple[list[int], list[int]]
"""Token ids and, for each, 1 if it is trained on."""


def logp_of(model: Any, row: Row) -> torch.Tensor:
    """The log-probability of the trained tokens."""
    ids, mask = torch.tensor([row[0]]), torch.tensor(row[1][1:])
    logp = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    return (logp * mask).sum()


def _last(row: Row) -> Row:
    """The row with only its last reply trained on."""
    ids, mask = row
    start = len(mask) - mask[::-1].index(1)
    while start and mask[start - 1]:
        start -= 1
    return ids, [0] * start + mask[start:]


class ChatModel:
    """A model, its tokenizer and its dialogues at hand. One request at a time, as the cores are few."""

    def __init__(self, model: Any, tokenizer: Any, seed: int = 0, loss: float = math.nan) -> None:
        self._model, self._tokenizer, self.loss = model, tokenizer, loss
        self._random = torch.Generator().manual_seed(seed)
        self._end = tokenizer.eos_token_id
        self._lock = threading.Lock()
        self._caches: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    @classmethod
    def load(cls, path: Path) -> ChatModel:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        return cls(model, AutoTokenizer.from_pretrained(path))

    def ids(self, messages: Messages, asked: bool) -> tuple[list[int], list[int]]:
        """Token ids of a dialogue and 1 for those of replies that are trained on; ``asked``: a reply is to follow."""
        ids, mask, done = [], [], 0
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._render(messages[:place], True)
            told = self._tokens(before[done:])
            said = [*self._tokens(message["content"]), self._end]
            ids += told + said
            mask += [0] * len(told) + [int(message.get("weight", 1))] * len(said)
            done = len(self._render(messages[: place + 1], False))
        rest = self._tokens(self._render(messages, asked)[done:])
        return ids + rest, mask + [0] * len(rest)

    def reply(self, messages: Messages, cap: int, temperature: float, top_p: float) -> tuple[str, int, int, bool]:
        """The text of a reply, the tokens of prompt and reply, and whether it was cut."""
        with self._lock, torch.no_grad():
            prompt, _ = self.ids(messages, asked=True)
            cache, seen = self._cache(prompt)
            ids, reply = prompt[seen:], []
            while True:
                logits = self._model(
                    torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1
                ).logits
                seen += len(ids)
                token = self._draw(logits[0, -1], temperature, top_p)
                reply.append(token)
                if token == self._end or len(reply) == cap:
                    break
                ids = [token]
            self._caches[(*prompt, *reply)[:seen]] = cache
            if len(self._caches) > CACHED:
                self._caches.popitem(last=False)
        said = reply[:-1] if reply[-1] == self._end else reply
        text = self._tokenizer.decode(said, skip_special_tokens=True)
        return text, len(prompt), len(reply), reply[-1] != self._end

    def trained(self, examples: Sequence[Messages], epochs: int, batch: int, rate: float, seed: int) -> ChatModel:
        """A copy, trained on the weighted replies: cross-entropy per token, AdamW, gradients clipped at 1."""
        rows = [self.ids(messages, asked=False) for messages in examples]

        def loss(model: Any, row: Row, chosen: Sequence[Row]) -> torch.Tensor:
            return -logp_of(model, row) / sum(sum(mask[1:]) for _, mask in chosen)

        return self._fitted(rows, loss, epochs, batch, rate, seed)

    def preferring(
        self, pairs: Sequence[tuple[Messages, Messages]], epochs: int, batch: int, rate: float, seed: int, beta: float
    ) -> ChatModel:
        """A copy that prefers the first dialogue of each pair, by DPO on their last replies; the reference is self."""
        rows = [tuple(_last(self.ids(messages, asked=False)) for messages in pair) for pair in pairs]
        with torch.no_grad():
            before = {id(row): logp_of(self._model, row) for pair in rows for row in pair}

        def loss(model: Any, pair: Any, chosen: Sequence[Any]) -> torch.Tensor:
            better, worse = (logp_of(model, row) - before[id(row)] for row in pair)
            return -torch.nn.functional.logsigmoid(beta * (better - worse)) / len(chosen)

        return self._fitted(rows, loss, epochs, batch, rate, seed)

    def _fitted(
        self,
        rows: Sequence[Any],
        loss: Callable[[Any, Any, Sequence[Any]], torch.Tensor],
        epochs: int,
        batch: int,
        rate: float,
        seed: int,
    ) -> ChatModel:
        """A copy, trained on the sum of ``loss`` over the rows of each batch."""
        model, last = copy.deepcopy(self._model).train(), math.nan
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE * rate, weight_decay=0.0)
        random = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            order = torch.randperm(len(rows), generator=random).tolist()
            for start in range(0, len(order), batch):
                chosen = [rows[i] for i in order[start : start + batch]]
                last = 0.0
                for row in chosen:
                    part = loss(model, row, chosen)
                    part.backward()
                    last += float(part.detach())
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
        return ChatModel(model.eval(), self._tokenizer, seed, last)

    def _cache(self, prompt: list[int]) -> tuple[Any, int]:
        """Keys and values of the longest known beginning of the prompt, and its length."""
        known = [key for key in self._caches if len(key) < len(prompt) and tuple(prompt[: len(key)]) == key]
        if not known:
            return DynamicCache(), 0
        longest = max(known, key=len)
        return self._caches.pop(longest), len(longest)

    def _draw(self, logits: torch.Tensor, temperature: float, top_p: float) -> int:
        if temperature == 0:
            return int(logits.argmax())
        odds = (logits / temperature).softmax(-1)
        if top_p < 1:
            sorted_odds, order = odds.sort(descending=True)
            sorted_odds[sorted_odds.cumsum(0) - sorted_odds >= top_p] = 0
            odds = torch.zeros_like(odds).scatter(0, order, sorted_odds)
        return int(torch.multinomial(odds, 1, generator=self._random))

    def _render(self, messages: Messages, asked: bool) -> str:
        plain = [{"role": message["role"], "content": message["content"]} for message in messages]
        if not plain:
            return ""
        return str(self._tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=asked))

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)
