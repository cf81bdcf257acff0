"""What an iteration costs in seconds and GPU hours, predicted from the budget before anything runs.

A phase is floating-point work at a share of the machine's peak, or bytes at a share of its memory's bandwidth, and on a
CPU what every request and every token of a layer costs beside. Tokens are the budget's: every reply at its limit
(a structured answer line alone: one token), without the budget's reserve of one eighth. Not counted: start-up,
messages between GPUs and nodes, dialogues that wait for the longest.
"""

from __future__ import annotations

from dataclasses import dataclass

from rmft_verl.algo import METHODS
from rmft_verl.bridge.shapes import PROBE, Shape
from rmft_verl.setup.config_checks import samples_per_scenario
from rmft_verl.setup.memory import Use
from rmft_verl.setup.prepare import Prepared

RESERVE = 1.125
"""What ``env.tokens.measure_budget`` adds to prompts and observations."""


@dataclass(frozen=True)
class Machine:
    """One accelerator, or all cores of a CPU."""

    name: str
    gib: float
    flops: float
    """Dense bfloat16 with float32 sums, per second."""
    bandwidth: float
    """Bytes per second of its memory."""
    trains: float = 0.35
    """Share of ``flops`` that forward and backward passes reach."""
    reads: float = 0.5
    """Share of ``flops`` that the sampler reaches on prompts."""
    streams: float = 0.6
    """Share of ``bandwidth``, for weights, caches and moments."""
    sends: float = 0.05
    """Share of ``bandwidth`` of a weight sync: buckets, checksums, the sampler's own copy."""
    meets: float = 0.35
    """Seconds of a sync beside its work: calls of every process."""
    request: float = 0.0003
    """Seconds a reply costs beside the engine's work: agent loop, server, scheduler."""
    token: float = 0.0
    """Seconds to choose a token."""
    step: float = 0.004
    """Seconds of a decoding step beside memory and arithmetic."""
    touched: float = 0.0
    """Seconds that small operations take in a training step, per token, layer and unit of its width."""


CARDS = (
    Machine("L4", 24, 121e12, 0.30e12),
    Machine("RTX 4090", 24, 165e12, 1.01e12),
    Machine("A100", 80, 312e12, 2.04e12),
    Machine("H100", 80, 989e12, 3.35e12),
    Machine("H200", 141, 989e12, 4.8e12),
)
"""The vendor's peaks of the SXM versions, without sparsity; the shares are assumptions, not yet measured on a card."""


@dataclass(frozen=True)
class Work:
    """The tokens of an iteration."""

    dialogues: int
    replies: int
    """Of a dialogue."""
    prompt: float
    """Tokens before its first reply. All dialogues of a scenario share them."""
    observed: float
    """Tokens between its replies, all together."""
    reply: float
    """Sampled tokens of a reply. A structured answer line has few: its words are given, only the choice is sampled."""
    shared: int
    """Dialogues of a scenario."""
    trained: int
    """Dialogues of an update, epochs counted."""
    steps: int
    again: float
    """Forward passes of an update beside those of its steps, per trained dialogue."""

    @property
    def sampled(self) -> float:
        return self.dialogues * self.replies * self.reply

    @property
    def length(self) -> float:
        """Tokens of a whole dialogue."""
        return self.prompt + self.observed + self.replies * self.reply

    @property
    def computed(self) -> float:
        """Tokens that the sampler computes, each once: a dialogue's past and a scenario's prompt are in its cache."""
        return self.dialogues * (self.length - self.prompt + self.prompt / self.shared)


def forward(shape: Shape, tokens: float, scored: float, context: float) -> float:
    """Floating-point operations of a forward pass over ``tokens``, ``scored`` of which get logits, each of which sees
    ``context`` tokens.
    """
    attention = 4 * shape.layers * shape.hidden * context
    return tokens * (2 * (shape.parameters - shape.outside) + attention) + 2 * scored * shape.vocabulary * shape.hidden


def rollout_seconds(work: Work, shape: Shape, machine: Machine, engines: int, cards: int, at_once: int) -> float:
    """``engines`` of ``cards`` machines each, that play ``at_once`` dialogues at a time."""
    requests = work.dialogues * work.replies
    batch = max(1, min(at_once, work.dialogues // engines))
    steps = work.sampled / (engines * batch)
    arithmetic = forward(shape, work.computed, work.sampled, work.length / 2) / (machine.flops * machine.reads)
    cache = batch * 4 * shape.layers * shape.kv_heads * shape.head_dim * work.length / 2
    moved = steps * (2 * shape.parameters + cache) / (machine.bandwidth * machine.streams)
    beside = steps * machine.step + (work.sampled * machine.token + requests * machine.request) / engines
    return arithmetic / (engines * cards) + moved / cards + beside


def update_seconds(work: Work, shape: Shape, machine: Machine, cards: int, adapters: int, checkpointed: bool) -> float:
    """Forward passes, twice that backward (once through weights that are not trained), the optimizer's bytes, and the
    canary's log-probabilities.
    """
    tokens, scored = work.trained * work.length, work.trained * work.replies * work.reply
    passes = (2 if adapters else 3) + checkpointed + work.again
    arithmetic = passes * forward(shape, tokens, scored, work.length / 2) / (machine.flops * machine.trains)
    beside = touched_seconds(tokens, shape, machine) * (1 + work.again / 3)
    moments = work.steps * 28 * (adapters or shape.parameters) / (machine.bandwidth * machine.streams)
    return (arithmetic + beside + moments) / cards + probe_seconds(work, shape, machine)


def touched_seconds(tokens: float, shape: Shape, machine: Machine) -> float:
    """What a training step takes on ``tokens`` beside its matrix products."""
    return tokens * shape.layers * shape.hidden * machine.touched


def probe_seconds(work: Work, shape: Shape, machine: Machine) -> float:
    """A forward pass of the trainer over the dialogues that the canary compares."""
    tokens, scored = PROBE * work.length, PROBE * work.replies * work.reply
    arithmetic = forward(shape, tokens, scored, work.length / 2) / (machine.flops * machine.trains)
    return arithmetic + touched_seconds(tokens, shape, machine) / 3


def sync_seconds(work: Work, shape: Shape, machine: Machine) -> float:
    """The weights in float32 are read, written for the sampler, and read by it; then the canary asks trainer and
    sampler.
    """
    weights = 3 * 4 * shape.parameters / (machine.bandwidth * machine.sends)
    read = forward(shape, PROBE * work.length, PROBE * work.length, work.length / 2) / (machine.flops * machine.reads)
    return machine.meets + weights + probe_seconds(work, shape, machine) + read


def cpu(flops: float, bandwidth: float) -> Machine:
    """All cores of a CPU. Shares and seconds are those of two cores in the runs of docs/benchmarks.md."""
    return Machine(
        "CPU",
        0,
        flops,
        bandwidth,
        trains=0.8,
        meets=0.2,
        request=0.00035,
        token=0.00022,
        step=0.0,
        touched=1.2e-7,
    )


def work_of(prepared: Prepared) -> Work:
    """An iteration of this run, every reply at its limit."""
    config, budget = prepared.config, prepared.budget
    rollout, update = config.rollout, config.update
    per_dialogue = budget.horizon // budget.replies
    samples = rollout.scenarios * samples_per_scenario(config) * per_dialogue
    return Work(
        dialogues=rollout.scenarios * rollout.rollouts * per_dialogue,
        replies=budget.replies,
        prompt=budget.prompt_tokens / RESERVE,
        observed=budget.observation_tokens / RESERVE,
        reply=1 if rollout.structured and budget.alone else budget.reply_tokens,
        shared=rollout.rollouts,
        trained=samples * update.epochs,
        steps=update.epochs * max(1, round(samples / update.batch)),
        again=METHODS[update.loss].needs_old / update.epochs,
    )


def phase_seconds(work: Work, use: Use, machine: Machine, at_once: int) -> dict[str, float]:
    """Seconds of each phase of an iteration on machines like this one, ``at_once`` dialogues at a time an engine."""
    shape, engines = use.shape, max(1, use.ranks // use.tensor_parallel)
    return {
        "rollout": rollout_seconds(work, shape, machine, engines, use.tensor_parallel, at_once),
        "update": update_seconds(work, shape, machine, use.ranks, shape.adapters(use.lora), use.checkpointed),
        "sync": sync_seconds(work, shape, machine),
    }


def machines(prepared: Prepared, gib: float) -> list[Machine]:
    """Those that a run is planned for: this CPU, or the cards with the memory that the plan assumes, else all."""
    if prepared.kind == "cpu":
        from rmft_verl.bridge.cluster.speed import measured

        return [cpu(*measured())]
    return [card for card in CARDS if abs(card.gib - gib) <= gib / 10] or list(CARDS)


def cost_lines(prepared: Prepared, use: Use, gib: float) -> list[str]:
    """Of the plan: seconds by phase, and what the run takes, for each machine. ``gib``: memory of a GPU."""
    config, work, found = prepared.config, work_of(prepared), machines(prepared, gib)
    each = [phase_seconds(work, use, machine, config.hardware.max_num_seqs) for machine in found]
    what = {
        "rollout": f"{work.computed:,.0f} tokens read or sampled, {work.dialogues * work.replies:,} replies",
        "update": f"{work.trained * work.length:,.0f} tokens trained on, {work.steps} optimizer steps",
        "sync": f"{4 * use.shape.parameters / 2**30:.3g} GiB of weights",
    }
    lines = [f"seconds an iteration (predicted, every reply at its limit) on {' | '.join(m.name for m in found)}:"]
    for phase, told in what.items():
        lines.append(f"  {' | '.join(f'{seconds[phase]:,.3g}' for seconds in each):>8}  {phase}: {told}")
    hours = [config.iterations * sum(seconds.values()) / 3600 for seconds in each]
    unit = "hours" if prepared.kind == "cpu" else "GPU hours"
    spent = [h * (1 if prepared.kind == "cpu" else use.ranks) for h in hours]
    lines.append(
        f"  {' | '.join(f'{h:,.2g}' for h in spent):>8}  {unit} for {config.iterations} iterations, without evaluations"
    )
    return lines
