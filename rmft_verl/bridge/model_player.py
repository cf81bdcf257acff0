"""The language model as a player: what it is given and what it samples, token for token."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from rmft_verl.bridge.dialogue import ChatTemplate, Dialogue
from rmft_verl.types import Observation, Reply, Tokens, content_hash


class ModelPlayer:
    """The language model behind verl's sampler. The player of one episode."""

    name = "model"

    def __init__(
        self,
        client: Any,
        tokenizer: Any,
        template: ChatTemplate,
        params: dict[str, Any],
        seed: int,
        limits: tuple[int, int],
    ) -> None:
        self._client = client
        self._tokenizer = tokenizer
        self._params = params
        self._seed = seed
        self._context, self._reply_tokens = limits
        self.session = uuid4().hex
        self._replies = 0
        self.template = template
        self.dialogue = Dialogue(template)
        self._ended: list[Dialogue] = []

    async def act(self, observation: Observation) -> Reply:
        if observation.fresh and self.dialogue.ids:
            self._ended.append(self.dialogue)
            self.dialogue = Dialogue(self.template)
        self.dialogue.observe(observation.messages)
        room = min(self._reply_tokens, self._context - len(self.dialogue.ids))
        if room < 1:
            return Reply(exhausted=True)
        output = await self._client.generate(
            request_id=self.session,
            prompt_ids=self.dialogue.ids,
            sampling_params=self._params | {"max_tokens": room, "seed": self._turn_seed()},
        )
        ids = list(output.token_ids)
        self.dialogue.reply(ids)
        ended = len(ids) < room or ids[-1] == self.template.end  # else the reply ran into its cap
        control = not self.template.control.isdisjoint(ids[:-1])
        return Reply(text=self._tokenizer.decode(ids, skip_special_tokens=not control), cut=not ended, control=control)

    def samples(self) -> tuple[Tokens, ...]:
        """Every dialogue in which something was sampled."""
        return tuple(dialogue.tokens() for dialogue in (*self._ended, self.dialogue) if any(dialogue.mask))

    def _turn_seed(self) -> int:
        """A seed of its own for every reply, so that the draw does not depend on what else is being sampled."""
        self._replies += 1
        return int(content_hash([self._seed, self._replies])[:8], 16)
