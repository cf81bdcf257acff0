"""Everything that can be known, and refused, before a GPU is touched: model, context budget, verl's configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmft_verl.config import Config, ConfigError
from rmft_verl.env import Env, load_env
from rmft_verl.examples import worked_examples
from rmft_verl.fit import check_fit
from rmft_verl.plan import (
    SHAPES,
    Budget,
    CountTokens,
    Shape,
    check_budget,
    check_positions,
    estimate_tokens,
    known_shape,
    make_generator,
    measure_budget,
    memory_gib,
)
from rmft_verl.refusals import samples_per_scenario
from rmft_verl.selection import count
from rmft_verl.tiny import smollm2
from rmft_verl.types import Message
from rmft_verl.warmup import warmed

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Prepared:
    """A run that can start."""

    config: Config
    env_class: type[Env]
    kind: str
    """``cuda`` or ``cpu``."""
    model_path: str
    budget: Budget
    counted: bool
    """Whether the budget was counted with the model's tokenizer, or estimated from characters."""
    derived: dict[str, Any]
    """verl's keys that follow from the configuration."""
    verl_config: DictConfig
    environment: dict[str, str]
    """Variables that every process of the run needs; set in this one already."""
    examples: Sequence[Message] = ()
    """Before the first message of every dialogue."""


def prepare(config: Config, option_sets: Sequence[Mapping[str, Any]] = ()) -> Prepared:
    """Resolve and check the whole configuration; raises ``RunError`` subclasses with one-line remedies.

    ``option_sets``: options of the environment's generator whose dialogues must fit; empty = the configuration's own,
    for training and held out.
    """
    from rmft_verl.bridge import runtime
    from rmft_verl.bridge.verl_config import compose_verl, derive

    env_class = load_env(config.env.name, config.env_dirs)
    option_sets = option_sets or [config.env.options, config.env.options | config.env.eval_options]
    for options in option_sets:
        make_generator(env_class, options)
    check_fit(config, env_class)
    model_path, template = base_model(config), chat_template(config)
    runtime.installed()
    kind = _planned_device(config) if config.dry_run else runtime.device(config.hardware)
    check_positions(model_positions(model_path), config)
    environment = runtime.prepare(kind, config.hardware.nodes)  # before anything imports verl
    count = _counter(model_path, template, config) if Path(model_path).is_dir() else None
    rollout = config.rollout
    examples = worked_examples(env_class, config.env.options, rollout.examples) if rollout.examples else []
    budget = measure_budget(
        env_class, option_sets, rollout.reply_tokens, count or estimate_tokens, rollout.history, examples
    )
    check_budget(budget, config)
    derived = derive(config, kind, model_path, budget)
    verl_config = compose_verl(derived, config.verl, template)
    return Prepared(
        config, env_class, kind, model_path, budget, count is not None, derived, verl_config, environment, examples
    )


def _planned_device(config: Config) -> str:
    """The device a dry run plans for: what the recipe names; ``auto`` plans for this machine."""
    if config.hardware.device != "auto":
        return config.hardware.device
    from rmft_verl.bridge import runtime

    return runtime.device(config.hardware)


def base_model(config: Config) -> str:
    """What a run begins with: the model as it was warmed up, where it has been, else ``model.path`` resolved."""
    if config.warmup.scenarios and (warmed(config) / "config.json").is_file():
        return str(warmed(config).resolve())
    return resolve_model(config.model.path)


def chat_template(config: Config) -> str:
    """The text of ``model.chat_template_file``; empty if none is named. Raises ``ConfigError`` if it is not there."""
    name = config.model.chat_template_file
    if not name:
        return ""
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"model.chat_template_file={name}: cannot be read ({error}); name a Jinja file") from error


def resolve_model(path: str) -> str:
    """The directory of a model that ``tiny:NAME`` or ``smollm2`` names, or of a local one; a hub id stays as it is.

    Raises ``ConfigError`` if something that looks like a directory is not one with a model in it.
    """
    if path.startswith("tiny:"):
        from rmft_verl import tiny

        try:
            return str(tiny.path(path.removeprefix("tiny:")))
        except ValueError as error:
            raise ConfigError(f"model.path={path!r}: {error}") from error
    if path == smollm2.NAME and not Path(path).exists():
        if not (smollm2.path() / "config.json").is_file():
            raise ConfigError(f"model.path={path!r}: it is not on this machine yet; get it with rmft-verl smollm2")
        return str(smollm2.path())
    directory = Path(path).expanduser()
    if (directory / "config.json").is_file():
        return str(directory.resolve())
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1
    if directory.exists() or looks_local:
        raise ConfigError(
            f"model.path={path!r}: no model is there (no config.json). Name a model directory, a hub id such as "
            "Qwen/Qwen3-8B, smollm2 or tiny:mab"
        )
    return path


def _counter(model_path: str, template: str, config: Config) -> CountTokens:
    from rmft_verl.bridge.chat import load_template, token_counter

    return token_counter(load_template(model_path, template, config.model.chat_template))


def model_shape(model_path: str) -> Shape | None:
    """From the model's config.json, or from the table of the recipes' models; None if neither knows it."""
    file = Path(model_path) / "config.json"
    return Shape.from_hf(json.loads(file.read_text())) if file.is_file() else known_shape(model_path)


def model_positions(model_path: str) -> int | None:
    """Tokens of the longest dialogue that the model can read, from the same places; None if neither knows it."""
    file = Path(model_path) / "config.json"
    if not file.is_file():
        return SHAPES[model_path][-1] if model_path in SHAPES else None
    hf = json.loads(file.read_text())
    positions: int | None = (hf | (hf.get("text_config") or {})).get("max_position_embeddings")
    return positions


def print_plan(config: Config) -> None:
    """Resolve everything against verl's own schema and print what a run would do; writes nothing."""
    from rich.console import Console

    from rmft_verl.bridge.verl_config import check_schema

    prepared = prepare(config)
    check_schema(prepared.verl_config)
    console = Console(highlight=False, soft_wrap=True)
    for line in plan_lines(prepared):
        console.print(line, markup=False)


def plan_lines(prepared: Prepared) -> list[str]:
    """The plan, line by line."""
    config, budget = prepared.config, prepared.budget
    rollout, hardware = config.rollout, config.hardware
    played = rollout.scenarios * rollout.rollouts
    kept = rollout.scenarios * samples_per_scenario(config)
    samples = kept * budget.horizon // budget.replies
    kind = "dialogues" if samples == kept else f"plays with up to {samples} prompts"
    how = "counted with the model's tokenizer" if prepared.counted else "estimated at 3 characters a token"
    on = "CPU" if prepared.kind == "cpu" else f"{hardware.nodes} x {hardware.gpus_per_node} GPUs"
    lines = [
        f"plan of recipe {config.recipe or '(none)'}: {config.model.path} on {config.env.name}, {on}",
        "",
        f"iteration: {rollout.scenarios} scenarios x {rollout.rollouts} rollouts = {played} dialogues of up to "
        f"{budget.horizon} rounds; at most {played * budget.horizon * budget.reply_tokens:,} sampled tokens"
        + (f", from the second on about {rollout.tokens:,}" if rollout.tokens else ""),
        f"update: {config.update.loss}, {_chosen(config)} = {kept} {kind}, {config.update.epochs} epochs of "
        f"{max(1, round(samples / config.update.batch))} optimizer steps",
        f"run: {config.iterations} iterations, {config.eval.scenarios * config.eval.rollouts} held-out dialogues "
        f"every {config.eval.every}",
        "",
        f"context of {config.model.context} tokens ({how}):",
        f"  prompt {budget.prompt_tokens} + observations {budget.observation_tokens} + {budget.replies} replies x "
        f"{budget.reply_tokens} tokens = {budget.total}",
        f"  spare: {config.model.context - budget.total} tokens",
    ]
    if config.model.chat_template.get("enable_thinking"):
        lines.append(
            f"  thinking is on: a thought and its answer must end within rollout.reply_tokens={rollout.reply_tokens}, "
            "or the reply counts as invalid"
        )
    if config.warmup.scenarios:
        lines.append(_warmup_line(config))
    lines.append("")
    lines += _memory_lines(prepared)
    lines += ["", "derived verl values:"]
    lines += [f"  {key} = {value}" for key, value in prepared.derived.items()]
    return lines


def _warmup_line(config: Config) -> str:
    warmup = config.warmup
    steps = warmup.epochs * max(1, round(warmup.scenarios / warmup.batch))
    where = "which is there" if base_model(config) == str(warmed(config).resolve()) else "to be made first"
    return (
        f"warm-up: {warmup.scenarios} uniform plays, {warmup.epochs} epochs, {steps} optimizer steps at {warmup.lr:g}; "
        f"base: {warmed(config)}, {where}"
    )


def _chosen(config: Config) -> str:
    """What an iteration trains on, in words."""
    selection, rollouts = config.selection, config.rollout.rollouts
    if config.update.loss == "grpo":
        credit = selection.score if config.update.credit == "score" else config.update.credit
        return f"all {rollouts} plays of a scenario, credited by {credit}"
    ranked = f"{count(selection.keep, rollouts)} of {rollouts} by {selection.score} per {selection.group_by}"
    return f"the lowest with the highest {ranked}" if config.update.loss == "dpo" else f"keep {ranked}"


def _memory_lines(prepared: Prepared) -> list[str]:
    if prepared.kind == "cpu":
        return ["memory: CPU run, see the recipe's header for its peak"]
    shape = model_shape(prepared.model_path)
    if shape is None:
        return [f"memory: unknown shape of {prepared.model_path}; give a local directory to see it"]
    parts = memory_gib(shape, prepared.config)
    trainer = sum(value for part, value in parts.items() if part.startswith("trainer"))
    share = prepared.config.hardware.gpu_memory
    beside = parts["trainer parameters (fp32)"] + parts["sampler weights (bf16)"]
    offloaded = (
        "kept in CPU memory while sampling" if prepared.config.hardware.offload else "beside the sampler's share"
    )
    return [
        f"memory per GPU, GiB ({shape.parameters / 1e9:.2f} B parameters{_adapters(shape, prepared.config)}):",
        *[f"  {value:7.1f}  {part}" for part, value in parts.items()],
        f"  {trainer:7.1f}  trainer at its peak, while the sampler sleeps; parameters and optimizer {offloaded}",
        f"  {beside:7.1f}  at a sync: the trainer's parameters beside the sampler's weights",
        f"  the sampler takes {share:.0%} of the GPU while it plays",
        _disk_line(shape.adapters(prepared.config.model.lora) or shape.parameters, prepared.config),
    ]


def _adapters(shape: Shape, config: Config) -> str:
    count = shape.adapters(config.model.lora)
    return f", {count / 1e6:.1f} M more in adapters, which alone are trained" if count else ""


def _disk_line(parameters: int, config: Config) -> str:
    """The states to go on from: weights, Adam's two moments and the weights as a directory, all in float32."""
    gib, kept = 16 * parameters / 2**30, config.checkpoint.keep
    most = kept + 1 + config.checkpoint.best
    return (
        f"disk: {gib:.3g} GiB a checkpoint, one every checkpoint.every={config.checkpoint.every} iterations; up to "
        f"{most} at once (checkpoint.keep={kept})"
    )
