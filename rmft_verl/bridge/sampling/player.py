"""The language model as a player, with the exact tokens that it reads and samples."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import uuid4

from rmft_verl.bridge.sampling.answer_line import AnswerLine, going_on
from rmft_verl.bridge.sampling.dialogue import ChatTemplate, Dialogue
from rmft_verl.env.thoughts import thinks
from rmft_verl.types import Observation, Reply, Tokens, content_hash


class ModelPlayer:
    """Plays one episode with the language model behind verl's sampler."""

    name = "model"

    def __init__(
        self,
        client: Any,
        tokenizer: Any,
        template: ChatTemplate,
        params: dict[str, Any],
        seed: int,
        limits: tuple[int, int],
        line: AnswerLine | None = None,
        ends: Collection[int] = (),
    ) -> None:
        """``limits``: most tokens of a dialogue and of a reply. ``line``: the allowed last lines of a reply; None = any
        line may be sampled. ``ends``: tokens at which the sampler stops, besides the template's own.
        """
        self._client = client
        self._tokenizer = tokenizer
        self._params = params
        self._seed = seed
        self._context, self._reply_tokens = limits
        self._line = line
        self._ends = {template.end, *ends}
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
        if self._line is not None:
            return await self._structured(self._line, room)
        if room < 1:
            return Reply(exhausted=True)
        ids, logprobs = await self._sample(room)
        self.dialogue.reply(ids, logprobs)
        return self._read(ids, room)

    async def _structured(self, line: AnswerLine, room: int) -> Reply:
        """Sample reasoning and then an answer line, unless the reply ends in an answer by itself.

        An answer that the game cannot read is replaced: a reply that says two actions would be imitated.
        """
        if self._context - len(self.dialogue.ids) < line.longest:
            return Reply(exhausted=True)
        thought: list[int] = []
        logprobs: list[float] = []
        if not line.alone and room > line.longest:
            room -= line.longest
            thought, logprobs = await self._sample(room)
            reply = self._read(thought, room)
            if not (reply.cut or reply.control) and line.parse(reply.text) is not None:
                self.dialogue.reply(thought, logprobs)
                return reply
            stop = (n for n, token in enumerate(thought) if token in self.template.control)
            thought = thought[: next(stop, len(thought))]  # cut where its turn would end
            if thinks(self.template.text(thought)):
                thought = thought[: max(0, room - line.closing)]  # leave room to close the thought
        kept = line.reasoning(self.template.text(thought))
        while not kept.startswith(before := self.template.text(thought)):
            thought = thought[:-1]
        self.dialogue.reply(thought, logprobs)
        said = await self._say(line.choices(before, kept.removeprefix(before)))
        return Reply(text=before + self.template.text(said))

    async def _say(self, choices: list[list[int]]) -> list[int]:
        """Sample one of the choices token by token. A token without an alternative is forced."""
        said: list[int] = []
        while options := going_on(choices, said):
            free = len(options) > 1
            tokens, logprobs = await self._sample(1, {"allowed_token_ids": options}) if free else (options, [])
            self.dialogue.choose(tokens[0], options, logprobs)
            said += tokens
        return said

    async def _sample(self, room: int, further: dict[str, Any] | None = None) -> tuple[list[int], list[float]]:
        """The tokens of a reply, and their log-probabilities if verl's ``calculate_log_probs`` asks for them."""
        output = await self._client.generate(
            request_id=self.session,
            prompt_ids=self.dialogue.ids,
            sampling_params=self._params | {"max_tokens": room, "seed": self._turn_seed()} | (further or {}),
        )
        return list(output.token_ids), list(output.log_probs or [])

    def _read(self, ids: list[int], room: int) -> Reply:
        """The ``Reply`` of the sampled tokens ``ids``, at most ``room`` of them."""
        ended = len(ids) < room or ids[-1] in self._ends  # else the reply ran into its cap
        control = not self.template.control.isdisjoint(ids[:-1])
        return Reply(text=self._tokenizer.decode(ids, skip_special_tokens=not control), cut=not ended, control=control)

    def samples(self) -> tuple[Tokens, ...]:
        """Tokens of every dialogue that contains a reply."""
        return tuple(dialogue.tokens() for dialogue in (*self._ended, self.dialogue) if any(dialogue.mask))

    def _turn_seed(self) -> int:
        """A new seed for every request, so that the draw does not depend on what else is being sampled."""
        self._replies += 1
        return int(content_hash([self._seed, self._replies])[:8], 16)
