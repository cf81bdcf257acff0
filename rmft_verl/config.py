"""The typed configuration tree. What values and combinations are refused stands in ``refusals``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rmft_verl.types import RunError

NUMERIC_LOSSES = ("sft", "regret", "dpt")
NUMERIC = "numeric:"
"""A ``model.path`` that begins so is a small Transformer on numbers (``rmft_verl.labs.numeric``), without verl."""


class ConfigError(RunError):
    """A configuration that cannot run. The message is one line: the key, its value and the remedy."""


@dataclass
class EnvConfig:
    name: str = "mab"
    """Installed plug-in, drop-in in ``env_dirs``, or ``pkg.module:Class``."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the plug-in's Generator for training scenarios."""
    eval_options: dict[str, Any] = field(default_factory=dict)
    """Merged over ``options`` for the held-out scenarios."""


@dataclass
class LoraConfig:
    rank: int = 0
    """Of the adapters that are trained instead of the weights; 0 = all weights are trained."""
    alpha: int = 32
    """An adapter's product is scaled by alpha / rank."""
    target_modules: Any = "all-linear"
    """Every linear layer but the head, or a list of names such as ``[q_proj, v_proj]``."""


@dataclass
class ModelConfig:
    path: str = "tiny:mab"
    """Directory, hub id, ``tiny:NAME`` for a base model that ships with the package, ``smollm2`` for the pretrained one
    that ``rmft-verl smollm2`` gets, or ``numeric:NAME`` for a small ``transformer``, ``softmax`` or ``linear``
    attention that reads numbers (docs/theory.md)."""
    context: int = 4096
    """Tokens a whole dialogue may take, prompt included."""
    chat_template: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the chat template, such as ``enable_thinking``."""
    chat_template_file: str = ""
    """A Jinja template instead of the model's own, or for a base model that has none."""
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass
class WarmupConfig:
    """Before the first iteration the model may learn the form of an answer from a uniform player (``warmup``)."""

    scenarios: int = 0
    """Scenarios that are played once each; 0 = no warm-up."""
    epochs: int = 2
    lr: float = 5e-5
    batch: int = 16
    """Dialogues in one optimizer step."""


@dataclass
class RolloutConfig:
    scenarios: int = 32
    """M: scenarios drawn in each iteration."""
    rollouts: int = 16
    """L: trajectories played in each scenario."""
    tokens: int = 0
    """Sampled tokens an iteration that the number of scenarios is steered to after the first one, so that methods whose
    plays differ in length have one budget; 0 = ``scenarios`` in every iteration."""
    reply_tokens: int = 512
    """Most tokens of one reply."""
    temperature: float = 1.0
    """Of sampling."""
    top_p: float = 1.0
    history: str = "dialogue"
    """``dialogue`` (it grows; earlier replies stay), ``transcript`` or ``summary`` (one prompt a round)."""
    on_invalid: str = "uniform"
    """What a reply without an action does: ``uniform``, ``reask`` or ``end``."""
    structured: bool = False
    """The sampler can say no other last line than one that the game reads; reasoning before it stays free, and tokens
    without an alternative are not trained on (docs/pretrained.md)."""
    examples: int = 0
    """Games before the first message that a uniform player has begun, never the one that is played."""
    player: str = "model"
    """Who plays: the ``model``, or an algorithm whose play is imitated, such as ``ucb1``."""
    perturbation: float = 0.0
    """Models on numbers: standard deviation of the Gaussian vector that is added to all logits of a trajectory."""
    share_rewards: bool = False
    """The L rollouts of a scenario see one reward tape."""
    timeout: float = 1800.0
    """Seconds without a reply from any sampler after which sampling counts as hung and the run stops."""


@dataclass
class SelectionConfig:
    score: str = "regret"
    """A key of ``scores.SCORES``: what plays are ranked by, the lowest first."""
    further: float = 0.0
    """Rounds of the continuation of ``posterior``, in horizons (docs/selection.md)."""
    keep: float = 8
    """k: trajectories kept in each scenario, or below 1 the share of ``rollout.rollouts`` that is kept."""
    threshold: float | None = None
    """The worst score per round that is kept, of those that ``keep`` leaves."""
    group_by: str = "scenario"
    """A key of ``selection.GROUP_KEYS``."""


@dataclass
class UpdateConfig:
    loss: str = "sft"
    """``sft`` on what was kept, ``dpo`` on pairs of the best and the worst, or ``grpo`` on every valid play; for models
    on numbers ``sft``, ``regret`` (regret-loss) or ``dpt`` (the best action is predicted)."""
    lr: float = 1e-5
    epochs: int = 1
    batch: int = 64
    """Samples (dialogues, or prompts where every round has its own) in one optimizer step, over all GPUs."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    schedule: str = "constant"
    """Of the learning rate over the iterations: ``constant``, or ``cosine`` down to 0 after the last one."""
    warmup: int = 0
    """Optimizer steps of the run over which the learning rate rises: step i of them is at i / warmup of it."""
    start: str = "current"
    """What an iteration trains: the ``current`` model, or the ``base`` anew on the plays of the current one."""
    train_on: str = "reply"
    """SFT: the whole ``reply``, or only its last line, the ``action``."""
    weighting: str = "token"
    """SFT: every trained ``token`` counts alike, or every ``trajectory``."""
    beta: float = 0.1
    """DPO: strength of the pull towards the model that played."""
    sft_term: float = 0.0
    """DPO: weight of the cross-entropy of the chosen plays, added to the loss."""
    margin: float = 0.0
    """DPO: least difference of a pair's scores, in units of uniform play's regret; closer pairs are left out."""
    credit: str = "score"
    """GRPO: a key of ``credit.CREDITS``, what the turns of a play are credited with."""


@dataclass
class EvalConfig:
    scenarios: int = 200
    """Held-out scenarios, drawn from a seed that training never uses."""
    rollouts: int = 1
    every: int = 1
    """Iterations between evaluations; the base and the last model are always evaluated."""
    temperature: float = 1.0


@dataclass
class HardwareConfig:
    device: str = "auto"
    """``auto`` (a GPU if there is one, else the CPU), ``cuda`` or ``cpu``."""
    nodes: int = 1
    gpus_per_node: int = 1
    tensor_parallel: int = 1
    """GPUs a copy of the sampler is split over."""
    fsdp_size: int = -1
    """GPUs a copy of the trainer is sharded over; -1 = all."""
    offload: bool = False
    """Keep the trainer's parameters and optimizer state in CPU memory while it does not train."""
    tokens_per_gpu: int = 16384
    """Most tokens of one forward pass of the trainer (dynamic batching)."""
    gpu_memory: float = 0.6
    """Share of a GPU's memory for the sampler's weights and cache."""
    max_num_seqs: int = 256
    """Dialogues sampled at once by one sampler."""
    agent_workers: int = 1
    """Processes that play the dialogues."""


@dataclass
class CheckpointConfig:
    every: int = 1
    """Iterations between states of the trainer on disk (16 bytes a trained parameter each); a run that is cut goes on
    from the last one and repeats the updates since."""
    keep: int = 2
    """How many of them are kept, the last ones."""
    best: bool = False
    """Keep one more: the one with the lowest held-out regret so far."""


@dataclass
class TrackingConfig:
    wandb: str = "disabled"
    """``online``, ``offline``, ``disabled`` or ``auto`` (online with a login, else offline with one warning)."""
    project: str = "rmft_verl"
    backends: list[str] = field(default_factory=list)
    """Further trackers through verl's Tracking, such as ``tensorboard``."""


@dataclass
class Config:
    recipe: str = ""
    name: str = ""
    """Name of the run directory; empty = recipe and time."""
    root: str = "runs"
    """Where run directories are made."""
    resume: str = ""
    """A run directory to go on with. The same ``root`` and ``name`` as before do the same."""
    fork: str = ""
    """A run directory whose last complete iteration a new run starts from, with what else is configured here."""
    seed: int = 0
    iterations: int = 5
    env: EnvConfig = field(default_factory=EnvConfig)
    env_dirs: list[str] = field(default_factory=list)
    """Folders with drop-in environments."""
    model: ModelConfig = field(default_factory=ModelConfig)
    warmup: WarmupConfig = field(default_factory=WarmupConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    canary_tolerance: float = 0.1
    """Largest mean absolute difference of sampler and trainer log-probabilities (nats per token) after a sync. Logits
    between 16 and 32 have steps of 1/8 in bfloat16: two roundings of them differ by 0.04 on average."""
    dry_run: bool = False
    """Resolve everything, print the plan and stop."""
    verl: dict[str, Any] = field(default_factory=dict)
    """Raw overrides of verl's own configuration, merged last."""

    def verl_override(self, key: str) -> Any:
        """What ``verl:`` says of verl's ``key`` (dotted), None if nothing. A ``+`` before a part is passed over."""
        found: Any = self.verl
        for part in key.split("."):
            found = found.get(part, found.get(f"+{part}")) if isinstance(found, Mapping) else None
        return found
