"""``dry_run=true``: what a run would do, and what it needs."""

from __future__ import annotations

import os

from rmft_verl.algo import METHODS
from rmft_verl.bridge.shapes import Shape
from rmft_verl.config import Config, dotted
from rmft_verl.env import VERBOSE
from rmft_verl.setup.config_checks import samples_per_scenario
from rmft_verl.setup.cost import cost_lines
from rmft_verl.setup.disk import disk_line
from rmft_verl.setup.examples import asked_examples
from rmft_verl.setup.fit import card_gib, refuse_unfit, verdict
from rmft_verl.setup.hosted import KIND, money_lines
from rmft_verl.setup.memory import Use, use_of
from rmft_verl.setup.models import base_model
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.warmup import warmed

PLACES = {"cpu": "CPU", KIND: "behind an API"}


def print_plan(config: Config) -> None:
    """Resolve everything against verl's own schema and print what a run would do; writes nothing.

    Raises ``ConfigError`` after the plan if the run does not fit the memory.
    """
    from rich.console import Console

    prepared = prepare(config)
    if prepared.kind != KIND:
        from rmft_verl.bridge.verl_config import check_schema

        check_schema(prepared.verl_config)
    console = Console(highlight=False, soft_wrap=True)
    for line in plan_lines(prepared):
        console.print(line, markup=False)
    refuse_unfit(prepared)


def plan_lines(prepared: Prepared) -> list[str]:
    """The plan, line by line."""
    config, budget = prepared.config, prepared.budget
    rollout, hardware = config.rollout, config.hardware
    played = rollout.scenarios * rollout.rollouts
    kept = rollout.scenarios * samples_per_scenario(config)
    samples = kept * budget.horizon // budget.replies
    kind = "dialogues" if samples == kept else f"plays with up to {samples} prompts"
    sampled = played * budget.horizon * budget.reply_tokens * (2 if budget.question_tokens else 1)
    how = "counted with the model's tokenizer" if prepared.counted else "estimated at 3 characters a token"
    on = PLACES.get(prepared.kind, f"{hardware.nodes} x {hardware.gpus_per_node} GPUs")
    lines = [
        f"plan of recipe {config.recipe or '(none)'}: {config.model.path} on {config.env.name}, {on}",
        "",
        f"iteration: {rollout.scenarios} scenarios x {rollout.rollouts} rollouts = {played} dialogues of up to "
        f"{budget.horizon} rounds; at most {sampled:,} sampled tokens"
        + (f", from the second on about {rollout.tokens:,}" if rollout.tokens else ""),
        f"update: {config.update.loss}, {METHODS[config.update.loss].plan(config)} = {kept} {kind}, "
        f"{config.update.epochs} epochs of {max(1, round(samples / config.update.batch))} optimizer steps",
        f"run: {config.iterations} iterations, {config.eval.scenarios * config.eval.rollouts} held-out dialogues "
        f"every {config.eval.every}",
        "",
        f"context of {config.model.context} tokens ({how}):",
        f"  prompt {budget.prompt_tokens} + observations {budget.observation_tokens} + {budget.replies} replies x "
        f"{budget.reply_tokens} tokens = {budget.total}",
        f"  spare: {config.model.context - budget.total} tokens",
    ]
    if budget.most > config.model.context:
        lines.append(
            f"  if every reply is asked again: {budget.most}; a dialogue that outgrows the context ends there and is "
            "not trained on"
        )
    if config.model.chat_template.get("enable_thinking"):
        lines.append(
            f"  thinking is on: a thought and its answer must end within rollout.reply_tokens={rollout.reply_tokens}, "
            "or the reply counts as invalid"
        )
    lines += [f"  {remark}" for remark in prepared.remarks]
    lines += _rollout_lines(config)
    if config.warmup.scenarios:
        lines.append(_warmup_line(config))
    lines.append("")
    if prepared.kind == KIND:
        return [*lines, *money_lines(prepared)]
    if use := use_of(prepared):
        lines += [*_memory_lines(prepared, use), disk_line(use, config), ""]
        lines += cost_lines(prepared, use, card_gib(config))
    lines += _verl_lines(prepared)
    fits, line = verdict(prepared, use)
    return [*lines, "", line if fits else "does not fit"]


def _verl_lines(prepared: Prepared) -> list[str]:
    """Raw overrides of verl, and with ``RMFT_VERBOSE=1`` the values that follow from the configuration."""
    lines: list[str] = []
    if given := dotted(prepared.config.verl):
        lines += ["", "verl's own values, as given:", *(f"  {key} = {value}" for key, value in given.items())]
    if os.environ.get(VERBOSE) == "1":
        lines += ["", "derived verl values:", *(f"  {key} = {value}" for key, value in prepared.derived.items())]
    return lines


def _rollout_lines(config: Config) -> list[str]:
    """Who plays and how replies are made, where that is not the model freely."""
    rollout, lines = config.rollout, []
    if rollout.player != "model":
        lines.append(f"rollouts: {rollout.player} plays and says its moves; nothing is sampled but in evaluations")
    if rollout.structured:
        lines.append("replies: structured, the answer line can only be one that the game reads")
    player, count = asked_examples(rollout.examples)
    if count:
        several = "s" if count > 1 else ""
        what = f"round{several} that {player} played" if player else f"worked example{several}"
        lines.append(f"first message: behind {count} {what}")
    return lines


def _warmup_line(config: Config) -> str:
    warmup = config.warmup
    steps = warmup.epochs * max(1, round(warmup.scenarios / warmup.batch))
    where = "which is there" if base_model(config) == str(warmed(config).resolve()) else "to be made first"
    return (
        f"warm-up: {warmup.scenarios} uniform trajectories, {warmup.epochs} epochs, {steps} optimizer steps at "
        f"{warmup.lr:g}; base: {warmed(config)}, {where}"
    )


def _memory_lines(prepared: Prepared, use: Use) -> list[str]:
    """The parts and the phases of the memory."""
    if prepared.kind == "cpu":
        return [
            "memory of the machine, GiB (about):",
            *[f"  {value:7.1f}  {part}" for part, value in use.machine.items()],
        ]
    card = card_gib(prepared.config)
    return [
        f"memory per GPU, GiB ({use.shape.parameters / 1e9:.2f} B parameters{_adapters(use.shape, prepared.config)}):",
        *[f"  {value:7.1f}  {part}" for part, value in use.parts.items()],
        *[f"  {value:7.1f}  in all while {phase}" for phase, value in use.phases(card).items()],
        f"  the sampler takes {use.gpu_memory:.0%} of {card:.3g} GiB while it plays; CUDA's own memory is not counted",
    ]


def _adapters(shape: Shape, config: Config) -> str:
    count = shape.adapters(config.model.lora)
    return f", {count / 1e6:.1f} M more in adapters, which alone are trained" if count else ""
