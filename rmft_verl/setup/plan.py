"""``dry_run=true``: what a run would do, and what it needs."""

from __future__ import annotations

from rmft_verl.algo import METHODS
from rmft_verl.bridge.shapes import Shape, memory_gib, model_shape
from rmft_verl.config import Config
from rmft_verl.setup.config_checks import samples_per_scenario
from rmft_verl.setup.models import base_model
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.warmup import warmed


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
    sampled = played * budget.horizon * budget.reply_tokens * (2 if budget.question_tokens else 1)
    how = "counted with the model's tokenizer" if prepared.counted else "estimated at 3 characters a token"
    on = "CPU" if prepared.kind == "cpu" else f"{hardware.nodes} x {hardware.gpus_per_node} GPUs"
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
    lines += [f"  chat template: {remark}" for remark in prepared.remarks]
    lines += _rollout_lines(config)
    if config.warmup.scenarios:
        lines.append(_warmup_line(config))
    lines.append("")
    lines += _memory_lines(prepared)
    lines += ["", "derived verl values:"]
    lines += [f"  {key} = {value}" for key, value in prepared.derived.items()]
    return lines


def _rollout_lines(config: Config) -> list[str]:
    """Who plays and how replies are made, where that is not the model freely."""
    rollout, lines = config.rollout, []
    if rollout.player != "model":
        lines.append(f"rollouts: {rollout.player} plays and says its moves; nothing is sampled but in evaluations")
    if rollout.structured:
        lines.append("replies: structured, the answer line can only be one that the game reads")
    if rollout.examples:
        lines.append(f"first message: behind {rollout.examples} worked example{'s' if rollout.examples > 1 else ''}")
    return lines


def _warmup_line(config: Config) -> str:
    warmup = config.warmup
    steps = warmup.epochs * max(1, round(warmup.scenarios / warmup.batch))
    where = "which is there" if base_model(config) == str(warmed(config).resolve()) else "to be made first"
    return (
        f"warm-up: {warmup.scenarios} uniform trajectories, {warmup.epochs} epochs, {steps} optimizer steps at "
        f"{warmup.lr:g}; base: {warmed(config)}, {where}"
    )


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
    """Disk space of checkpoints: weights, Adam's two moments and a Hugging Face copy, all in float32."""
    gib, kept = 16 * parameters / 2**30, config.checkpoint.keep
    most = kept + 1 + config.checkpoint.best
    return (
        f"disk: {gib:.3g} GiB a checkpoint, one every checkpoint.every={config.checkpoint.every} iterations; up to "
        f"{most} at once (checkpoint.keep={kept})"
    )
