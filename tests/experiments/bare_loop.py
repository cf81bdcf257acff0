"""The loop without verl and vLLM, for a built base: quick trials of settings.

    python tests/experiments/bare_loop.py BASE [RECIPE] [key=value ...] [--signed] [--eval 200] [--threads 1]

BASE is a model directory (docs/results/protocol/bases/announced-0; for an unannounced one
``env.options.answer=action_only rollout.history=summary``). RECIPE (mab_explore) and the overrides give the
game, the sizes, the score, the update's learning rate and batch, and the iterations. Every round is one prompt. With
``rollout.history=notes`` the word before the action is drawn among those of the base's habits, and the action always
among the game's arms, as structured decoding has it; one optimizer takes part from start to end.
``--signed`` pushes all plays, each by its standardized score within its scenario (policy gradient), instead of
imitating the kept ones: what is in the same plays for a learner that also learns from bad ones. Prints the normalized
regret of the training plays of each iteration, and of held-out plays before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rmft_verl.algo.scores import Scorer
from rmft_verl.algo.selection import count, select
from rmft_verl.config import Config
from rmft_verl.env import load_env, make_generator
from rmft_verl.env.seeds import SELECTION, draw_held_out
from rmft_verl.eval import metrics
from rmft_verl.labs.tiny.evaluate import Sampler, Table, play_all
from rmft_verl.labs.tiny.habits import SUMMARY_HABITS
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import Observation, Reply, Scenario, Scored, Trajectory

AT_ONCE = 256
"""Prompts in one pass of an update."""
SEEDS = 1_000_000
"""Reward seeds between the iterations; held-out plays have those from 0 on."""
ACT = "Action:"


class Choice(NamedTuple):
    """A token that is sampled: what stands before it, those that it is drawn among, and which of them it is."""

    ids: list[int]
    among: list[int]
    drawn: int


class ChoiceTable(Table):
    """Deals a word, where ``words`` are given, and an arm to all seats at once, and keeps these choices."""

    def __init__(
        self, model: Any, tokenizer: Any, scenarios: Sequence[Scenario], seed: int, words: Sequence[str] = ()
    ) -> None:
        super().__init__(Sampler(model, tokenizer, seed), tokenizer, len(scenarios), "")
        self._model, self._arms, self._words = model, [scenario.actions for scenario in scenarios], words
        self._random = torch.Generator().manual_seed(seed)
        self.choices: list[list[Choice]] = [[] for _ in scenarios]

    def _deal(self, asked: Sequence[tuple[Observation, asyncio.Future[Reply]]]) -> None:
        before = []
        for observation, _ in asked:
            chat = [message._asdict() for message in observation.messages]
            before.append(self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
        said = [""] * len(asked)
        if self._words:
            among = self._firsts([f"{word}\n{ACT}" for word in self._words])  # such a line may be one token
            drawn = self._draw([Choice(self._ids(text), among, 0) for text in before])
            said = [f"{self._words[word]}\n" for word in drawn]
        starts = [self._ids(f"{text}{word}{ACT}") for text, word in zip(before, said, strict=True)]
        names = [self._firsts([f" {arm}" for arm in arms]) for arms in self._arms]
        arms = self._draw([Choice(ids, among, 0) for ids, among in zip(starts, names, strict=True)])
        for row, (arm, (_, answer)) in enumerate(zip(arms, asked, strict=True)):
            answer.set_result(Reply(f"{said[row]}{ACT} {self._arms[row][arm]}"))

    def _draw(self, choices: Sequence[Choice]) -> list[int]:
        with torch.no_grad():
            shares = logits(self._model, choices).softmax(-1)
        drawn: list[int] = torch.multinomial(shares, 1, generator=self._random)[:, 0].tolist()
        for kept, choice, option in zip(self.choices, choices, drawn, strict=True):
            kept.append(choice._replace(drawn=option))
        return drawn

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text).input_ids)

    def _firsts(self, options: Sequence[str]) -> list[int]:
        return [self._ids(option)[0] for option in options]


def logits(model: Any, choices: Sequence[Choice]) -> torch.Tensor:
    """Of what each choice is drawn among, -inf where it has fewer options; shape (choices, most options)."""
    ends = torch.tensor([len(choice.ids) - 1 for choice in choices])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(choice.ids) for choice in choices], batch_first=True)
    hidden = model.model(input_ids=ids).last_hidden_state[torch.arange(len(choices)), ends]
    among = torch.full((len(choices), max(len(choice.among) for choice in choices)), -1)
    for row, choice in enumerate(choices):
        among[row, : len(choice.among)] = torch.tensor(choice.among)
    found: torch.Tensor = model.lm_head(hidden).float().gather(1, among.clamp(min=0))
    return found.masked_fill(among < 0, float("-inf"))


def rollout(
    model: Any, tokenizer: Any, config: Config, scenarios: Sequence[Scenario], seed: int
) -> tuple[list[Trajectory], list[list[Choice]]]:
    """Scored trajectories, one a scenario, with reward seeds from ``seed`` on, and the choices of each."""
    model.eval()
    words = [thought for _, thought, _ in SUMMARY_HABITS.values()] if config.rollout.history == "notes" else []
    table = ChoiceTable(model, tokenizer, scenarios, seed, words)
    env_class = load_env(config.env.name, config.env_dirs)
    return play_all(env_class, table.seats, scenarios, config.rollout.history, seed), table.choices


def weights(scored: Sequence[Scored], config: Config, rng: np.random.Generator, signed: bool) -> dict[int, float]:
    """Place of a trajectory -> how strongly it is pushed: 1 for each kept one, or all by their standardized score."""
    if not signed:
        keep = count(config.selection.keep, config.rollout.rollouts)
        return {one.place: 1.0 for one in select(scored, keep=keep, by=config.selection.group_by, rng=rng)}
    found: dict[int, float] = {}
    for scenario in {one.trajectory.scenario.id for one in scored}:
        group = [one for one in scored if one.trajectory.scenario.id == scenario]
        scores = np.array([one.score for one in group])
        pushed = (scores.mean() - scores) / (scores.std() + 1e-6)
        found |= dict(zip((one.place for one in group), pushed.tolist(), strict=True))
    return found


def update(model: Any, optimizer: Any, samples: Sequence[tuple[Choice, float]], config: Config, seed: int) -> None:
    model.train()
    for epoch in range(config.update.epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(samples))
        for step in np.array_split(order, max(1, round(len(order) / config.update.batch))):
            optimizer.zero_grad()
            for start in range(0, len(step), AT_ONCE):
                rows = [samples[row] for row in step[start : start + AT_ONCE]]
                drawn = torch.tensor([choice.drawn for choice, _ in rows])
                pushed = torch.tensor([weight for _, weight in rows])
                cost = torch.nn.functional.cross_entropy(
                    logits(model, [choice for choice, _ in rows]), drawn, reduction="none"
                )
                ((cost * pushed).sum() / len(step)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.update.max_grad_norm)
            optimizer.step()


def told_of(plays: Sequence[Trajectory]) -> str:
    value, low, high = metrics.normalized_regret_interval(plays)
    suffix, least = metrics.suffix_failure_frequency(plays), metrics.scaled_min_fraction(plays)
    return f"{value:.3f} [{low:.3f}, {high:.3f}], suffix failures {suffix:.2f}, K x MinFrac {least:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("recipe", nargs="?", default="mab_explore")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--signed", action="store_true")
    parser.add_argument("--eval", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_intermixed_args()
    torch.set_num_threads(options.threads)
    config = load_config([f"recipe={options.recipe}", *options.overrides])
    model = AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    env_class = load_env(config.env.name, config.env_dirs)
    generator = make_generator(env_class, config.env.options)
    held_out = draw_held_out(env_class, config.env.options, options.eval)
    print(f"held-out before: {told_of(rollout(model, tokenizer, config, held_out, 0)[0])}", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.update.lr, weight_decay=0.0)
    scorer = Scorer(config.selection.score, generator, config.selection.further)
    for n in range(1, config.iterations + 1):
        began, rng = time.time(), np.random.default_rng([SELECTION, config.seed, n])
        drawn = [generator.draw(rng) for _ in range(config.rollout.scenarios)]
        scenarios = [one for one in drawn for _ in range(config.rollout.rollouts)]
        played, choices = rollout(model, tokenizer, config, scenarios, n * SEEDS)
        pushed = weights(scorer(played, rng), config, rng, options.signed)
        samples = [(choice, weight) for place, weight in pushed.items() for choice in choices[place]]
        update(model, optimizer, samples, config, n)
        print(f"iteration {n}: training plays {told_of(played)}; {time.time() - began:.0f} s", flush=True)
    print(f"held-out after: {told_of(rollout(model, tokenizer, config, held_out, 0)[0])}")


if __name__ == "__main__":
    main()
