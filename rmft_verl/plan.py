"""Does it fit? The context budget of a dialogue and the memory of a GPU, before anything loads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rmft_verl.config import Config, ConfigError, LoraConfig
from rmft_verl.env import Env
from rmft_verl.history import told
from rmft_verl.types import Message, Observation

CountTokens = Callable[[Sequence[Message], bool], int]
"""Tokens that messages take, the template's own included; the flag says whether they open the dialogue."""

PROBED_SCENARIOS = 64


@dataclass(frozen=True)
class Budget:
    """Tokens of the longest dialogue seen in ``PROBED_SCENARIOS`` scenarios, replies at their cap."""

    prompt_tokens: int
    """The first message, with a reserve of an eighth."""
    observation_tokens: int
    """All later messages together, with the same reserve."""
    horizon: int
    reply_tokens: int
    replies: int
    """Replies in one dialogue: one a round, or 1 where every round has its own prompt."""

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.observation_tokens + self.replies * self.reply_tokens


def estimate_tokens(messages: Sequence[Message], opening: bool) -> int:
    """A stand-in where no tokenizer is at hand: three characters a token and ten for the template."""
    return sum(math.ceil(len(message.content) / 3) + 10 for message in messages)


def measure_budget(
    env_class: type[Env],
    option_sets: Sequence[Mapping[str, Any]],
    reply_tokens: int,
    count: CountTokens,
    history: str = "dialogue",
    examples: Sequence[Message] = (),
) -> Budget:
    """Play scenarios of each option set with uniform actions and count what the player would read."""
    prompt = observations = horizon = 0
    for options in option_sets:
        rng = np.random.default_rng(0)
        generator = make_generator(env_class, options)
        for seed in range(PROBED_SCENARIOS):
            scenario = generator.draw(rng)
            env = told(env_class(scenario, seed), scenario, history, examples)
            observation: Observation | None = env.reset()
            later = 0
            while observation is not None:
                if observation.fresh or observation.turn == 0:
                    prompt = max(prompt, count(observation.messages, True))
                else:
                    later += count(observation.messages, False)
                spec = observation.spec
                uniform = (1.0 / spec.n_actions,) * spec.n_actions
                result = env.step(uniform if spec.full_information else int(rng.integers(spec.n_actions)))
                observation = result.observation
            observations, horizon = max(observations, later), max(horizon, scenario.horizon)
    replies = horizon if history == "dialogue" else 1
    return Budget(math.ceil(prompt * 1.125), math.ceil(observations * 1.125), horizon, reply_tokens, replies)


def make_generator(env_class: type[Env], options: Mapping[str, Any]) -> Any:
    """The plug-in's scenario sampler; raises ``ConfigError`` naming the option it refuses."""
    try:
        return env_class.Generator(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"env.options of {env_class.name!r}: {error}") from error


def check_budget(budget: Budget, config: Config) -> None:
    """Raise ``ConfigError`` if the longest dialogue does not fit ``model.context``."""
    context = config.model.context
    if budget.total <= context:
        return
    room = (context - budget.prompt_tokens - budget.observation_tokens) // budget.replies
    remedy = (
        f"set rollout.reply_tokens to at most {room}" if room > 0 else f"raise model.context to at least {budget.total}"
    )
    raise ConfigError(
        f"model.context={context}: a dialogue may need {budget.total} tokens (prompt {budget.prompt_tokens} + "
        f"observations {budget.observation_tokens} + {budget.replies} replies x {budget.reply_tokens} tokens); "
        f"{remedy}"
    )


def check_positions(positions: int | None, config: Config) -> None:
    """Raise ``ConfigError`` if ``model.context`` is more than the model has ``positions`` for; None is not known.

    What verl is told of the model's own configuration (``override_config``, such as a longer rope) is left to verl.
    """
    told: Any = config.verl
    for key in ("actor_rollout_ref", "model", "override_config"):
        told = told.get(key) or {}
    if positions is not None and config.model.context > positions and not told:
        raise ConfigError(
            f"model.context={config.model.context}: {config.model.path} has {positions} positions; lower it"
        )


@dataclass(frozen=True)
class Shape:
    """What a model's memory follows from."""

    parameters: int
    hidden: int
    layers: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    linears: Mapping[str, int]
    """In each layer: name of a linear map -> the numbers it takes and gives, added up."""

    @classmethod
    def from_hf(cls, hf: Mapping[str, Any]) -> Shape:
        """From the fields of a decoder's ``config.json`` (gated MLP, grouped-query attention)."""
        hidden, layers, vocabulary = hf["hidden_size"], hf["num_hidden_layers"], hf["vocab_size"]
        heads, kv_heads = hf["num_attention_heads"], hf.get("num_key_value_heads") or hf["num_attention_heads"]
        head_dim = hf.get("head_dim") or hidden // heads
        attention = hidden * head_dim * (2 * heads + 2 * kv_heads)
        embeddings = vocabulary * hidden * (1 if hf.get("tie_word_embeddings", False) else 2)
        intermediate = hf["intermediate_size"]
        parameters = layers * (attention + 3 * hidden * intermediate) + embeddings
        widths = {"q": heads * head_dim, "k": kv_heads * head_dim, "v": kv_heads * head_dim, "o": heads * head_dim}
        widths |= dict.fromkeys(("gate", "up", "down"), intermediate)
        linears = {f"{name}_proj": hidden + width for name, width in widths.items()}
        return cls(parameters, hidden, layers, kv_heads, head_dim, vocabulary, linears)

    def adapters(self, lora: LoraConfig) -> int:
        """Parameters of the adapters; those of modules that it has not heard of are left out."""
        named = lora.target_modules
        sizes = [size for name, size in self.linears.items() if named == "all-linear" or name in named]
        return self.layers * lora.rank * sum(sizes)


SHAPES: dict[str, tuple[int, int, int, int, int, int, int, bool, int]] = {
    # hidden, layers, heads, key-value heads, head size, intermediate, vocabulary, tied, positions: config.json
    "Qwen/Qwen3-0.6B": (1024, 28, 16, 8, 128, 3072, 151936, True, 40960),
    "Qwen/Qwen3-1.7B": (2048, 28, 16, 8, 128, 6144, 151936, True, 40960),
    "Qwen/Qwen3-4B": (2560, 36, 32, 8, 128, 9728, 151936, True, 40960),
    "Qwen/Qwen3-8B": (4096, 36, 32, 8, 128, 12288, 151936, False, 40960),
    "Qwen/Qwen3-14B": (5120, 40, 40, 8, 128, 17408, 151936, False, 40960),
    "Qwen/Qwen3-32B": (5120, 64, 64, 8, 128, 25600, 151936, False, 40960),
    "microsoft/Phi-3.5-mini-instruct": (3072, 32, 32, 32, 96, 8192, 32064, False, 131072),
    "google/gemma-2-9b-it": (3584, 42, 16, 8, 256, 14336, 256000, True, 8192),
}


def known_shape(path: str) -> Shape | None:
    """The shape of a model of the recipes by its hub id, so that a plan needs no download; None for others."""
    if path not in SHAPES:
        return None
    hidden, layers, heads, kv_heads, head_dim, intermediate, vocabulary, tied, _ = SHAPES[path]
    return Shape.from_hf(
        {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "intermediate_size": intermediate,
            "head_dim": head_dim,
            "vocab_size": vocabulary,
            "tie_word_embeddings": tied,
        }
    )


def memory_gib(shape: Shape, config: Config) -> dict[str, float]:
    """Memory per GPU by part, in GiB, for training with FSDP2 and Adam: of all weights, or of adapters beside them.

    Parameters, gradients and Adam's two moments are float32 and sharded; activations assume gradient checkpointing and
    the float32 logits of one forward pass of ``tokens_per_gpu`` tokens, as if all of them had been sampled. The sampler
    plays as many dialogues at once as its share leaves room for, ``max_num_seqs`` at most.
    """
    hardware = config.hardware
    world = hardware.nodes * hardware.gpus_per_node
    shards = world if hardware.fsdp_size == -1 else hardware.fsdp_size
    gib = 2.0**30
    adapters = shape.adapters(config.model.lora)
    held, trained = shape.parameters + adapters, adapters or shape.parameters
    state = 4 * trained / shards / gib
    weights = 2 * shape.parameters / hardware.tensor_parallel / gib
    kv_token = 2 * 2 * shape.layers * shape.kv_heads * shape.head_dim / hardware.tensor_parallel
    return {
        "trainer parameters (fp32)": 4 * held / shards / gib,
        "trainer gradients (fp32)": state,
        "trainer Adam moments (fp32)": 2 * state,
        "trainer activations (bf16, checkpointed)": 2 * hardware.tokens_per_gpu * shape.hidden * shape.layers / gib,
        "trainer logits (bf16 + fp32)": 6 * hardware.tokens_per_gpu * shape.vocabulary / gib,
        "sampler weights (bf16)": weights,
        "sampler cache of one dialogue of full length (bf16)": kv_token * config.model.context / gib,
    }
