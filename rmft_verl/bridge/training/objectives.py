"""What an update learns from: of each ``update.loss`` its samples, the verl batch they make and its own metrics.

A new one is a class and a line here, and a function and a line in ``losses``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from omegaconf import DictConfig
from tensordict import TensorDict
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.config import ActorConfig

from rmft_verl.bridge.sampling.dialogue import ChatTemplate
from rmft_verl.bridge.training.action_line import action_only
from rmft_verl.bridge.training.advantages import comparable, token_advantages, turn_advantages
from rmft_verl.bridge.training.batches import (
    dpo_batch,
    grpo_batch,
    sampled_logprobs,
    sft_batch,
    sft_by_trajectory_batch,
)
from rmft_verl.config import Config, ConfigError
from rmft_verl.types import CreditedTrajectory, PreferencePair, Tokens, Trajectory

LogProbs = Callable[[Sequence[Tokens], float], list[torch.Tensor]]
"""verl's rows of log-probabilities of samples, at a temperature: position j is of token j + 1."""


@dataclass(frozen=True)
class Setting:
    """What objectives are made with, the same for the whole run."""

    config: Config
    actor: ActorConfig
    """verl's own, with the user's overrides."""
    by_std: bool
    """verl's ``algorithm.norm_adv_by_std_in_grpo``."""
    template: ChatTemplate


def setting(config: Config, verl_config: DictConfig, template: ChatTemplate) -> Setting:
    """Raises ``ConfigError`` for an override of verl that asks for a model that is not there."""
    actor = omega_conf_to_dataclass(verl_config.actor_rollout_ref.actor)
    if config.update.loss == "grpo" and actor.use_kl_loss:
        raise ConfigError(
            "verl.actor_rollout_ref.actor.use_kl_loss=true needs a reference model, and none is loaded: leave it out"
        )
    return Setting(config, actor, verl_config.algorithm.norm_adv_by_std_in_grpo, template)


class Objective(Protocol):
    """The samples of one update."""

    samples: list[Tokens]
    together: int
    """Samples that belong together and stand beside one another: 2 if they are pairs."""
    left_out: int
    """Samples of the update that nothing can be learnt from."""

    def batch(self, order: Sequence[int], logprobs: LogProbs) -> TensorDict:
        """The verl batch of the samples in ``order``. ``logprobs`` asks the model that played: call it here only."""
        ...

    def metrics(self, verl: Mapping[str, Any], batch: TensorDict) -> dict[str, float]:
        """What this loss logs beside the others, from verl's lists with one value a step."""
        ...


class SFT:
    """Cross-entropy on kept plays."""

    together = 1
    left_out = 0

    def __init__(self, plays: Sequence[Trajectory], setting: Setting) -> None:
        self._setting = setting
        self.samples = [tokens for play in plays for tokens in play.tokens]
        self._play_of = [number for number, play in enumerate(plays) for _ in play.tokens]

    def batch(self, order: Sequence[int], logprobs: LogProbs) -> TensorDict:
        samples, update = [self.samples[i] for i in order], self._setting.config.update
        if update.train_on == "action":
            samples = [action_only(tokens, self._setting.template) for tokens in samples]
        if update.weighting == "trajectory":
            return sft_by_trajectory_batch(samples, [self._play_of[i] for i in order])
        return sft_batch(samples)

    def metrics(self, verl: Mapping[str, Any], batch: TensorDict) -> dict[str, float]:
        return {}


class DPO:
    """Direct preference optimization on pairs, against the model that played them."""

    together = 2
    left_out = 0

    def __init__(self, pairs: Sequence[PreferencePair], setting: Setting) -> None:
        """``ValueError`` if a play is not one whole dialogue."""
        self._setting = setting
        self.samples: list[Tokens] = []
        for pair in pairs:
            (chosen,), (rejected,) = pair.chosen.tokens, pair.rejected.tokens
            self.samples += [chosen, rejected]

    def batch(self, order: Sequence[int], logprobs: LogProbs) -> TensorDict:
        samples, update = [self.samples[i] for i in order], self._setting.config.update
        rows = sampled_logprobs(logprobs(samples, 1.0), samples)
        return dpo_batch(samples, [row.sum().item() for row in rows], update.beta, update.sft_term)

    def metrics(self, verl: Mapping[str, Any], batch: TensorDict) -> dict[str, float]:
        keys = ("update/dpo_accuracy", "update/dpo_margin", "update/dpo_chosen", "update/dpo_rejected")
        return {key: float(np.mean(verl[key.removeprefix("update/").replace("_", "/")])) for key in keys}


class GRPO:
    """verl's clipped policy loss with an advantage a turn, in the plays whose scenario has another one."""

    together = 1

    def __init__(self, plays: Sequence[CreditedTrajectory], setting: Setting) -> None:
        """``ValueError`` if a play has not one sampled reply a turn."""
        self._setting = setting
        compared = comparable(plays)
        self.samples = [tokens for play in compared for tokens in play.trajectory.tokens]
        self.left_out = sum(len(play.trajectory.tokens) for play in plays) - len(self.samples)
        turns = turn_advantages(compared, setting.by_std) if compared else []
        pairs = zip(compared, turns, strict=True)
        self._advantages = [row for play, advantage_T in pairs for row in token_advantages(play, advantage_T)]

    def batch(self, order: Sequence[int], logprobs: LogProbs) -> TensorDict:
        samples, actor = [self.samples[i] for i in order], self._setting.actor
        temperature = self._setting.config.rollout.temperature  # the policy that is reinforced is the one that played
        entropy = actor.calculate_entropy or actor.entropy_coeff != 0
        advantages = [self._advantages[i] for i in order]
        return grpo_batch(samples, advantages, logprobs(samples, temperature), temperature, entropy)

    def metrics(self, verl: Mapping[str, Any], batch: TensorDict) -> dict[str, float]:
        sampled = batch["response_mask"].values().bool()
        return {
            "update/clip_fraction": float(np.mean(verl["actor/pg_clipfrac"])),
            "update/kl": float(np.mean(verl["actor/ppo_kl"])),
            "update/advantage_abs": float(batch["advantages"].values()[sampled].abs().mean()),
        }


OBJECTIVES: dict[str, Callable[[Any, Setting], Objective]] = {"sft": SFT, "dpo": DPO, "grpo": GRPO}
