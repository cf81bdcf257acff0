"""Does a model learn *when* to repeat an action by imitating plays? A bare loop, asked on contexts of other games.

    python tests/experiments/imitation.py MODEL RECIPE [key=value ...] [--player uniform] [--slow-start 8]

RECIPE names the game, ``rollout.scenarios`` x ``rollout.rollouts`` of it that an algorithm plays, and the rule by which
some are kept. Cross-entropy of the action's first token of every round but the first, among those of the scenario's
actions and at ``rollout.temperature``, as a structured run has it; AdamW with the recipe's rate and batch. Every twelve
steps: the probability of the last action, averaged over the rounds of 48 uniform plays of held-out scenarios, where it
had paid at least half and where it had not. Equal shares: the model does not use rewards. And what the actions of these
plays cost it, which says how far from uniform it is; before the first step at several temperatures. For a temperature
above 2, which no sampler takes, MODEL is a copy that ``rmft-verl soften`` has made.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from rmft_verl.algo import METHODS
from rmft_verl.algo.distill import teach
from rmft_verl.algo.scores import Scorer
from rmft_verl.bridge.precision import cpu_dtype
from rmft_verl.bridge.sampling.chat import load_template
from rmft_verl.bridge.sampling.rendering import render
from rmft_verl.config import Config
from rmft_verl.env import load_env, make_generator
from rmft_verl.env.regret import score
from rmft_verl.env.seeds import held_out_scenarios
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import RolloutRequest, Trajectory

EVERY = 12
TOGETHER = 8
"""Sequences in one pass of the model, or those of one play."""
ASKED = 48
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)


@dataclass
class Play:
    """A trajectory: its dialogue, or the prompt of each round (``rollout.history``), and where its actions stand in
    them; the tokens of all actions, the action of every round by its number, and whether the round paid.
    """

    sequences: list[tuple[torch.Tensor, torch.Tensor]]
    """Ids (N,) and the places of actions among them."""
    names_A: torch.Tensor
    actions_T: torch.Tensor
    rewarded_T: np.ndarray


def read(trajectories: Sequence[Trajectory], tokenizer: Any) -> list[Play]:
    """The trajectories whose actions differ in their first token and stand once in every reply."""
    found = (_play(trajectory, tokenizer) for trajectory in trajectories)
    return [play for play in found if play is not None]


def kept(config: Config, player: str) -> list[Trajectory]:
    """What the recipe's rule keeps of the plays of an algorithm, one iteration of them."""
    env_class, rollout = load_env(config.env.name, config.env_dirs), config.rollout
    generator, rng = make_generator(env_class, config.env.options), np.random.default_rng(config.seed)
    scenarios = [generator.draw(rng) for _ in range(rollout.scenarios)]
    requests = [
        RolloutRequest(scenario, *(int(seed) for seed in rng.integers(2**31, size=2)))
        for scenario in scenarios
        for _ in range(rollout.rollouts)
    ]
    played = [score(trajectory) for trajectory in teach(env_class, player, rollout.history, requests)]
    scored = Scorer(config.selection.score, generator, config.selection.further)(played, rng)
    return list(METHODS[config.update.loss].choose(scored, config, rng).trajectories)


def held_out(config: Config) -> list[Trajectory]:
    """``ASKED`` uniform plays of held-out scenarios."""
    env_class = load_env(config.env.name, config.env_dirs)
    scenarios = held_out_scenarios(config, env_class)[:ASKED]
    return teach(
        env_class, "uniform", config.rollout.history, [RolloutRequest(s, i, i) for i, s in enumerate(scenarios)]
    )


def _play(trajectory: Trajectory, tokenizer: Any) -> Play | None:
    names = [tokenizer(f" {name}", add_special_tokens=False).input_ids[0] for name in trajectory.scenario.actions]
    if len(set(names)) < len(names) or not trajectory.tokens:
        return None
    sequences, said = [], list[int]()
    for tokens in trajectory.tokens:
        places = np.flatnonzero((tokens.mask_N > 0) & np.isin(tokens.ids_N, names))
        sequences.append((torch.tensor(tokens.ids_N).long(), torch.tensor(places)))
        said += [names.index(token) for token in tokens.ids_N[places].tolist()]
    actions = [turn.action for turn in trajectory.turns]  # an option of full information is all of a distribution
    if said != [int(np.argmax(action)) if isinstance(action, tuple) else action for action in actions]:
        return None
    rewarded_T = np.array([(turn.reward or 0) >= 0.5 for turn in trajectory.turns])
    return Play(sequences, torch.tensor(names), torch.tensor(said), rewarded_T)


def logits(model: Any, plays: Sequence[Play]) -> Iterator[tuple[Play, torch.Tensor]]:
    """Each play with the logits (T, A) of the scenario's actions in every round."""
    at_once = together(plays)
    for part in (plays[start : start + at_once] for start in range(0, len(plays), at_once)):
        rows = [sequence for play in part for sequence, _ in play.sequences]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        attended = (torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]).long()
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_dtype() == "bfloat16"):
            hidden = iter(model.model(input_ids=ids, attention_mask=attended).last_hidden_state)
            for play in part:
                before_T_H = torch.cat([next(hidden)[places - 1] for _, places in play.sequences])
                yield play, model.lm_head(before_T_H)[:, play.names_A].float()


def together(plays: Sequence[Play]) -> int:
    """How many trajectories go through the model at once."""
    return max(1, TOGETHER // len(plays[0].sequences))


@torch.no_grad()
def asked_about(model: Any, plays: Sequence[Play], temperatures: Sequence[float]) -> list[tuple[float, float, float]]:
    """For each temperature: probability of the last action again, mean over rounds after a reward, and after none. Then
    the cross-entropy of the actions that were played, in nats: ln 2 for two actions if the model plays them uniformly.
    """
    model.eval()
    known = list(logits(model, plays))
    return [_asked(known, temperature) for temperature in temperatures]


def _asked(known: Sequence[tuple[Play, torch.Tensor]], temperature: float) -> tuple[float, float, float]:
    shares: tuple[list[float], list[float]] = ([], [])
    costs: list[float] = []
    for play, logits_T_A in known:
        costs.append(float(torch.nn.functional.cross_entropy(logits_T_A / temperature, play.actions_T)))
        probs_T_A = (logits_T_A / temperature).softmax(-1)
        for t in range(1, len(probs_T_A)):
            shares[int(play.rewarded_T[t - 1])].append(float(probs_T_A[t][play.actions_T[t - 1]]))
    return float(np.mean(shares[1])), float(np.mean(shares[0])), float(np.mean(costs))


def say(step: int, found: tuple[float, float, float], losses: Sequence[float]) -> None:
    loss = f"; loss of these steps {np.mean(losses):.2f}, of the last {losses[-1]:.2f}" if losses else ""
    paid, unpaid, cost = found
    told = f"repeats {paid:.2f} where it paid, {unpaid:.2f} where it did not; a uniform choice costs {cost:.2f} nats"
    print(f"step {step}: {told}{loss}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--player", default="uniform")
    parser.add_argument("--slow-start", type=int, default=8)
    options = parser.parse_args()
    config = load_config([f"recipe={options.recipe}", *options.overrides])
    template = load_template(str(options.model), "", config.model.chat_template)
    plays = kept(config, options.player), held_out(config)
    history = config.rollout.history
    taught, asked = (read([render(play, template, history) for play in part], template.tokenizer) for part in plays)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    print(f"{len(taught)} plays to imitate, {len(asked)} asked")
    temperature = config.rollout.temperature
    for each, found in zip(TEMPERATURES, asked_about(model, asked, TEMPERATURES), strict=True):
        print(f"temperature {each:g}: ", end="")
        say(0, found, [])
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.update.lr, weight_decay=0.0)
    rng, step, seen = np.random.default_rng(0), 0, list[float]()
    for _ in range(config.update.epochs):
        order = rng.permutation(len(taught))
        for start in range(0, len(order) - config.update.batch + 1, config.update.batch):
            step += 1
            optimizer.param_groups[0]["lr"] = config.update.lr * min(1.0, step / max(1, options.slow_start))
            model.train()
            optimizer.zero_grad()
            seen.append(0.0)
            shown = [taught[i] for i in order[start : start + config.update.batch]]
            at_once = together(shown)
            for part in (shown[at : at + at_once] for at in range(0, len(shown), at_once)):
                losses = [
                    torch.nn.functional.cross_entropy(logits_T_A[1:] / temperature, play.actions_T[1:])
                    for play, logits_T_A in logits(model, part)
                ]
                loss = torch.stack(losses).sum() / config.update.batch
                loss.backward()
                seen[-1] += float(loss.detach())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % EVERY == 0:
                say(step, asked_about(model, asked, [temperature])[0], seen[-EVERY:])


if __name__ == "__main__":
    main()
