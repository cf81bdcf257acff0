"""The typed configuration tree. ``setup.config_checks`` refuses values and combinations that cannot run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rmft_verl.types import RunError

NUMERIC_LOSSES = ("sft", "regret", "dpt")
NUMERIC = "numeric:"
"""``model.path`` prefix of small models on numbers (``rmft_verl.labs.numeric``), which run without verl."""
HOSTED = "hosted:"
"""``model.path`` prefix of models behind a provider's API (``rmft_verl.bridge.hosted``), which run without verl."""
WEIGHT_DECAY = "actor_rollout_ref.actor.optim.weight_decay"
FSDP_SIZE = "actor_rollout_ref.actor.fsdp_config.fsdp_size"
"""verl's keys of AdamW's decoupled weight decay, and of the GPUs that a copy of the trainer is sharded over."""
MOVED = {"update.weight_decay": (WEIGHT_DECAY, 0.0), "hardware.fsdp_size": (FSDP_SIZE, -1)}
"""Keys of earlier versions that were a second name of one of verl's -> verl's key and the default of both."""
GONE = {"hardware.agent_workers": "vLLM's servers play the dialogues themselves"}
"""Keys of earlier versions without a successor -> why. Runs and recipes that have them still work."""
BALL = "ball"
"""``env.name`` of the games of the theorem, which are not an environment (``rmft_verl.labs.numeric.ball``)."""


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
    """Rank of the adapters that are trained instead of the weights; 0 = all weights are trained."""
    alpha: int = 32
    """The output of an adapter is scaled by alpha / rank."""
    target_modules: Any = "all-linear"
    """Every linear layer but the head (``all-linear``), or a list such as ``[q_proj, v_proj]``."""


@dataclass
class ModelConfig:
    path: str = "tiny:mab"
    """Directory, hub id, ``tiny:NAME`` (a base model that ships with the package), ``smollm2`` (the pretrained model
    that ``rmft-verl smollm2`` downloads; ``smollm2-soft``: its logits divided by 4), ``numeric:NAME`` (a small
    ``transformer``, ``softmax`` or ``linear`` attention on numbers, docs/theory.md) or ``hosted:NAME`` (a model behind
    a fine-tuning API, docs/hosted.md)."""
    context: int = 4096
    """Maximum tokens of a whole dialogue, prompt included."""
    chat_template: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the chat template, such as ``enable_thinking``."""
    chat_template_file: str = ""
    """Jinja file that replaces the model's own template, or the missing one of a base model."""
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass
class WarmupConfig:
    """Training before the first iteration: the model learns the answer format from a uniform player."""

    scenarios: int = 0
    """Number of scenarios, each played once; 0 = no warm-up."""
    epochs: int = 2
    """Passes over the dialogues."""
    lr: float = 5e-5
    """Learning rate."""
    batch: int = 16
    """Samples in one optimizer step."""


@dataclass
class RolloutConfig:
    scenarios: int = 32
    """M: scenarios drawn per iteration."""
    rollouts: int = 16
    """L: trajectories sampled per scenario."""
    tokens: int = 0
    """Target of sampled tokens per iteration, to which the second and later iterations adjust the number of scenarios:
    methods with longer or shorter trajectories have equal budgets; 0 = always ``scenarios``."""
    reply_tokens: int = 512
    """Maximum tokens of one reply."""
    temperature: float = 1.0
    """Sampling temperature, and that of the log-probabilities in the losses on verl."""
    top_p: float = 1.0
    """Sample from the fewest most likely tokens that have this probability together; GRPO needs 1."""
    history: str = "dialogue"
    """``dialogue`` (grows and keeps earlier replies), ``transcript``, ``summary``, ``guided`` or ``notes`` (a new
    prompt every round; docs/environments.md)."""
    on_invalid: str = "uniform"
    """After a reply without an action: a ``uniform`` action, one more try (``reask``, then a uniform action) or the
    episode's ``end`` (docs/environments.md)."""
    structured: bool = False
    """Restrict the last line of a reply to answers that the game reads. Reasoning before it stays free, and tokens
    without an alternative are not trained on (docs/pretrained.md)."""
    examples: int | str = 0
    """What precedes the first message: N other games, their first rounds played uniformly; or ``PLAYER:N``, N rounds of
    another game that an algorithm played, such as ``ucb1:5`` (docs/pretrained.md)."""
    player: str = "model"
    """Who plays: the ``model``, or an algorithm to imitate, such as ``ucb1``."""
    perturbation: float = 0.0
    """Models on numbers: standard deviation of the Gaussian vector that is added to all logits of a trajectory."""
    share_rewards: bool = False
    """Give all L rollouts of a scenario the same reward tape."""
    timeout: float = 1800.0
    """Seconds without a reply from any sampler after which sampling counts as hung and the run stops."""


@dataclass
class SelectionConfig:
    score: str = "regret"
    """What ranks trajectories, lowest first: a key of ``scores.SCORES``."""
    further: float = 0.0
    """Length of the continuation of ``posterior``, in horizons (docs/selection.md)."""
    keep: float = 8
    """k: trajectories kept per scenario. A value below 1 is the share of ``rollout.rollouts`` that is kept."""
    threshold: float | None = None
    """Highest score per round that is kept, applied after ``keep``; None = no limit."""
    accept: str = "best"
    """The k ``best``, or k on average by chance, ``proportional`` to how good they are (docs/selection.md)."""
    group_by: str = "scenario"
    """What is compared: a key of ``selection.GROUP_KEYS``."""


@dataclass
class UpdateConfig:
    loss: str = "sft"
    """``sft`` on kept trajectories, ``dpo`` on pairs of best and worst, or ``grpo`` on every valid trajectory. Models
    on numbers: ``sft``, ``regret`` (regret-loss) or ``dpt`` (predict the best action)."""
    lr: float = 1e-5
    """Learning rate of AdamW."""
    epochs: int = 1
    """Passes over the samples of an iteration."""
    batch: int = 64
    """Samples in one optimizer step, over all GPUs: dialogues, or prompts if every round has its own."""
    max_grad_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    schedule: str = "constant"
    """Learning rate over the iterations: ``constant``, or ``cosine`` down to 0 after the last one."""
    warmup: int = 0
    """Optimizer steps over which the learning rate rises: step i of the run uses i / warmup of it."""
    start: str = "current"
    """Model that an iteration trains on the new trajectories: the ``current`` one, or the ``base`` again."""
    train_on: str = "reply"
    """SFT: train on the whole ``reply``, or only on the words that say its ``action`` (``env.answers.answer_span``)."""
    weighting: str = "token"
    """SFT: equal weight for every trained ``token``, or for every ``trajectory``."""
    beta: float = 0.1
    """DPO: strength of the pull towards the model that played."""
    sft_term: float = 0.0
    """DPO: weight of the chosen trajectories' cross-entropy, which is added to the loss."""
    margin: float = 0.0
    """DPO: minimum score difference of a pair, in units of uniform play's regret; closer pairs are left out."""
    credit: str = "score"
    """GRPO: how the turns of a trajectory are credited: a key of ``credit.CREDITS``."""
    penalty: float = 0.0
    """GRPO: every turn of a trajectory with an invalid reply is credited this much less than the worst valid one of its
    scenario; 0 = such trajectories are left out."""


@dataclass
class EvalConfig:
    scenarios: int = 200
    """Held-out scenarios, drawn from a seed that training never uses."""
    rollouts: int = 1
    """Times that each of them is played."""
    every: int = 1
    """Iterations between evaluations; the base and the last model are always evaluated."""
    temperature: float = 1.0
    """Sampling temperature."""


@dataclass
class HardwareConfig:
    device: str = "auto"
    """``auto`` (a GPU if there is one, else the CPU), ``cuda`` or ``cpu``."""
    nodes: int = 1
    """Machines; more than one join the Ray cluster of RAY_ADDRESS."""
    gpus_per_node: int = 1
    """GPUs that the trainer and the sampler share on each; on a CPU, processes of the trainer."""
    tensor_parallel: int = 1
    """GPUs that a copy of the sampler is split over."""
    offload: bool = False
    """Keep the trainer's parameters and optimizer state in CPU memory while it does not train."""
    tokens_per_gpu: int = 16384
    """Maximum tokens of one forward pass of the trainer (dynamic batching)."""
    gpu_gib: float = 0.0
    """Memory of a GPU in GiB, which the plan is held against; 0 = of this machine's GPU, or 80 without one."""
    gpu_memory: float = 0.6
    """Share of a GPU's memory for the sampler's weights and cache."""
    max_num_seqs: int = 256
    """Most dialogues that one sampler samples at once."""


@dataclass
class CheckpointConfig:
    every: int = 1
    """Iterations between saved states of the trainer (12 bytes per trained parameter each, 4 with
    ``update.start=base``). An interrupted run resumes from the last one and repeats the updates since."""
    keep: int = 2
    """Number of most recent states that stay on disk."""
    best: bool = False
    """Also keep the state with the lowest held-out regret so far. Every state then holds the weights as a Hugging Face
    directory too."""


@dataclass
class TrackingConfig:
    wandb: str = "disabled"
    """``online``, ``offline``, ``disabled`` or ``auto`` (online with a login, else offline with one warning)."""
    project: str = "rmft_verl"
    """W&B's project."""
    backends: list[str] = field(default_factory=list)
    """More trackers of verl's Tracking, such as ``tensorboard``."""


@dataclass
class Config:
    recipe: str = ""
    """What the other keys start from: the name or the file of a recipe, with layers as in ``mab_qwen3+dpo``."""
    name: str = ""
    """Name of the run directory; empty = recipe and time."""
    root: str = "runs"
    """Folder in which run directories are created."""
    resume: str = ""
    """Run directory to resume. An earlier run's ``root`` and ``name`` resume it as well."""
    fork: str = ""
    """Run directory from whose last complete iteration a new run starts, with this configuration."""
    seed: int = 0
    """Of scenarios, rewards, sampling and the order of training. Held-out scenarios do not depend on it."""
    iterations: int = 5
    """Rounds of rollout, selection, update and sync."""
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
    """Largest mean absolute difference of sampler and trainer log-probabilities (nats per token) after a sync. In
    bfloat16, logits between 16 and 32 have steps of 1/8, so two roundings of one differ by 0.04 on average."""
    dry_run: bool = False
    """Resolve everything, print the plan and stop."""
    hosted: dict[str, Any] = field(default_factory=dict)
    """Settings of the provider of a ``hosted:NAME`` model: ``bridge.hosted.settings.Hosted`` (docs/hosted.md)."""
    verl: dict[str, Any] = field(default_factory=dict)
    """Raw overrides of verl's own configuration, merged last."""

    def verl_override(self, key: str) -> Any:
        """The value that ``verl`` sets for the dotted ``key``, or None. A ``+`` before a part of a key is ignored."""
        found: Any = self.verl
        for part in key.split("."):
            found = found.get(part, found.get(f"+{part}")) if isinstance(found, Mapping) else None
        return found


def moved(tree: Mapping[str, Any]) -> dict[str, Any]:
    """``tree``, nested mappings of keys, with those of ``MOVED`` where they are now, left out at their default, and
    without those of ``GONE``.
    """
    found = {key: moved(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
    for group, name in (key.split(".") for key in GONE):
        if isinstance(found.get(group), dict):
            found[group].pop(name, None)
    for old, (new, default) in MOVED.items():
        group, _, name = old.partition(".")
        if not isinstance(found.get(group), dict) or name not in found[group]:
            continue
        value, place = found[group].pop(name), found
        if value == default:
            continue
        *parts, last = ["verl", *new.split(".")]
        for part in parts:
            place = place.setdefault(part, {})
        place.setdefault(last, value)
    return found


def dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted keys, in order."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        leaves |= dotted(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return leaves
