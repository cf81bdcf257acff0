"""A run on a hosted model, before anything is sent: what it refuses, what it needs and what it may cost."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from rmft_verl.algo import METHODS
from rmft_verl.bridge.hosted.settings import Hosted
from rmft_verl.config import HOSTED, Config, ConfigError
from rmft_verl.env import load_env, make_generator
from rmft_verl.env.tokens import estimate_tokens, measure_budget
from rmft_verl.setup.env_checks import check_budget, check_fit
from rmft_verl.setup.examples import examples_before
from rmft_verl.store.tracking import warn

if TYPE_CHECKING:
    from rmft_verl.setup.prepare import Prepared

KIND = "hosted"
"""``Prepared.kind`` of a model that runs elsewhere."""

LOSSES = ("sft", "dpo")
"""``update.loss`` of the methods that OpenAI's API calls supervised and dpo."""

UNKNOWN = (
    "model.chat_template",
    "model.chat_template_file",
    "model.lora.rank",
    "warmup.scenarios",
    "rollout.structured",
    "rollout.tokens",
    "update.lr",
    "update.max_grad_norm",
    "update.schedule",
    "update.warmup",
    "update.train_on",
    "update.weighting",
    "update.sft_term",
    "checkpoint.best",
    "verl",
)
"""Keys that no fine-tuning API has: set, they would be ignored."""


def is_hosted(config: Config) -> bool:
    return config.model.path.startswith(HOSTED)


def check_hosted(config: Config) -> None:
    """Raise ``ConfigError`` for what a hosted model cannot do, and for ``hosted`` without such a model."""
    if not is_hosted(config):
        if config.hosted:
            raise ConfigError(f"hosted={dict(config.hosted)}: it belongs to model.path={HOSTED}NAME; leave it out")
        return
    if config.model.path == HOSTED:
        raise ConfigError(f"model.path={HOSTED!r} names no model: write {HOSTED}NAME")
    settings, default = Hosted.of(config.hosted), Config()
    if config.update.loss not in LOSSES:
        raise ConfigError(
            f"update.loss={config.update.loss!r}: fine-tuning APIs have no such method, choose one of "
            f"{', '.join(LOSSES)}"
        )
    for key in UNKNOWN:
        if (value := _get(config, key)) != _get(default, key):
            hint = ", use hosted.rate" if key == "update.lr" else ""
            raise ConfigError(f"{key}={value}: a fine-tuning API has no such setting; leave it out{hint}")
    for field in dataclasses.fields(config.hardware):
        value = getattr(config.hardware, field.name)
        if field.name != "max_num_seqs" and value != field.default:
            raise ConfigError(
                f"hardware.{field.name}={value}: a hosted model runs elsewhere; of hardware it has max_num_seqs, the "
                "dialogues at a time"
            )
    method, known = METHODS[config.update.loss], settings.provider
    kept = config.rollout.scenarios * method.trained(config) // method.together
    if config.rollout.history == "dialogue" and kept < known.fewest:
        raise ConfigError(
            f"selection.keep={config.selection.keep:g} of rollout.scenarios={config.rollout.scenarios} gives at most "
            f"{kept} {'pairs' if method.together == 2 else 'dialogues'}, and {known.name} takes {known.fewest} or "
            "more: raise one of them"
        )


def prepare_hosted(config: Config, option_sets: Sequence[Mapping[str, Any]] = ()) -> Prepared:
    """As ``setup.prepare.prepare``: checks game, lengths, client and key; nothing of verl is imported."""
    from rmft_verl.setup.prepare import Prepared

    env_class = load_env(config.env.name, config.env_dirs)
    option_sets = option_sets or [config.env.options, config.env.options | config.env.eval_options]
    for options in option_sets:
        make_generator(env_class, options)
    check_fit(config, env_class)
    if not config.dry_run:
        if importlib.util.find_spec("openai") is None:
            raise ConfigError(
                f"model.path={config.model.path} needs the openai package: pip install 'rmft_verl[hosted]'"
            )
        settings = Hosted.of(config.hosted)
        if not settings.budget and settings.dollars(1, 1, 1):
            raise ConfigError(
                "hosted.budget=0: nothing may be spent, and the prices are not 0; dry_run=true shows the cost"
            )
        settings.key()
        if settings.provider.notice:
            warn(settings.provider.notice)
    rollout = config.rollout
    examples = examples_before(env_class, config.env.options, rollout.examples, rollout.history)
    budget = measure_budget(
        env_class, option_sets, rollout.reply_tokens, estimate_tokens, rollout.history, examples, rollout.on_invalid
    )
    check_budget(budget, config)
    name = config.model.path.removeprefix(HOSTED)
    return Prepared(config, env_class, KIND, name, budget, False, {}, OmegaConf.create({}), {}, examples)


def money_lines(prepared: Prepared) -> list[str]:
    """What the run may spend, at most: every reply at its cap, three characters a token."""
    config, budget, settings = prepared.config, prepared.budget, Hosted.of(prepared.config.hosted)
    rounds, rollout = budget.horizon, config.rollout
    if budget.replies == 1:
        prompt = rounds * (budget.prompt_tokens + budget.observation_tokens)
        trained = prompt + rounds * budget.reply_tokens
    else:
        later = budget.observation_tokens + rounds * budget.reply_tokens
        prompt, trained = rounds * budget.prompt_tokens + (rounds - 1) * later // 2, budget.total
    evaluated = 1 + sum(n == config.iterations or n % config.eval.every == 0 for n in range(1, config.iterations + 1))
    by_model = config.iterations * rollout.scenarios * rollout.rollouts if rollout.player == "model" else 0
    episodes = by_model + evaluated * config.eval.scenarios * config.eval.rollouts
    kept = rollout.scenarios * METHODS[config.update.loss].trained(config) * config.iterations * config.update.epochs
    sampled = settings.dollars(prompt=episodes * prompt, reply=episodes * rounds * budget.reply_tokens)
    tuned = settings.dollars(trained=kept * trained)
    notice = [f"notice: {settings.provider.notice}"] if settings.provider.notice else []
    return [
        *notice,
        f"cost at most, at three characters a token and every reply at its cap: ${sampled:,.2f} for {episodes:,} "
        f"dialogues ({episodes * rounds:,} requests), ${tuned:,.2f} for {config.iterations} fine-tuning jobs",
        f"the run stops before an upload or an episode that would exceed hosted.budget=${settings.budget:,.2f}",
    ]


def _get(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
