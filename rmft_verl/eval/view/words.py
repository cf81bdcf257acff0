"""A run's configuration in sentences, for people who do not know the keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rmft_verl.config import NUMERIC, Config

SCORES = {
    "regret": "the true regret, known after the game",
    "posterior": "the posterior regret: what the player could expect from what it had seen",
    "reward": "minus the drawn rewards",
    "random": "a random number (the control)",
}

INVALID = {
    "uniform": "a uniform action is played",
    "reask": "the model is asked once more, then a uniform action is played",
    "end": "the game ends",
}


def in_words(config: Config) -> list[tuple[str, str]]:
    """(subject, sentence) of each part of a configuration."""
    told = [("Model", _model(config)), ("Game", _game(config))]
    if config.warmup.scenarios:
        told.append(("Warm-up", f"{config.warmup.scenarios} games of a uniform player teach the form of an answer."))
    told += [("Each iteration", _rollout(config)), ("Kept", _selection(config)), ("Update", _update(config))]
    evaluation = config.eval
    each = f"{evaluation.scenarios} scenarios that are never trained on, played {_times(evaluation.rollouts)} each"
    return [*told, ("Measured", f"{each}, {_every(evaluation.every)}.")]


def _model(config: Config) -> str:
    model = config.model
    if model.path.startswith(NUMERIC):
        return f"{model.path}: it reads numbers, not words."
    rank = model.lora.rank
    trained = f"adapters of rank {rank} (LoRA) are trained" if rank else "all weights are trained"
    return f"{model.path}; {trained}. A dialogue may have {model.context:,} tokens."


def _game(config: Config) -> str:
    held_out = config.env.eval_options
    other = f" Held out: {_options(held_out)}." if held_out else ""
    return f"{config.env.name} with {_options(config.env.options) or 'its default options'}.{other}"


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in options.items())


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({_options(value)})"
    return " or ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _rollout(config: Config) -> str:
    rollout = config.rollout
    player = "the model plays" if rollout.player == "model" else f"{rollout.player} plays"
    played = f"{player} {rollout.scenarios} new scenarios {_times(rollout.rollouts)} each, at temperature"
    if config.model.path.startswith(NUMERIC):
        return f"{played} {rollout.temperature:g}."
    form = " Its last line is restricted to answers that the game reads." if rollout.structured else ""
    return (
        f"{played} {rollout.temperature:g}, with at most {rollout.reply_tokens} tokens a reply and the history as "
        f"{rollout.history}. After a reply without an action {INVALID[rollout.on_invalid]}.{form}"
    )


def _selection(config: Config) -> str:
    selection, loss = config.selection, config.update.loss
    if loss == "dpo":
        return f"pairs of the best and the worst of each {selection.group_by}, by {SCORES[selection.score]}."
    if loss == "grpo":
        return f"every valid trajectory, credited by {SCORES[selection.score]}."
    if loss != "sft":
        return "every trajectory."
    keep = selection.keep
    number = f"{keep:.0%}" if keep < 1 else f"{keep:g}"
    score, group = SCORES[selection.score], selection.group_by
    limit = "" if selection.threshold is None else f", if at most {selection.threshold:g} a round"
    if selection.accept != "best":
        return f"about {number} of each {group} by chance, likelier if the score is lower{limit}. The score is {score}."
    return f"the {number} of each {group} with the lowest score{limit}. The score is {score}."


def _update(config: Config) -> str:
    update = config.update
    return (
        f"{update.loss}, {_times(update.epochs)} over what was kept, learning rate {update.lr:g}, {update.batch} "
        f"samples a step, from the {update.start} model. {config.iterations} iterations, seed {config.seed}."
    )


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _every(n: int) -> str:
    return "after every iteration" if n == 1 else f"after every {n} iterations"
