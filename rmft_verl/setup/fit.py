"""Whether a run fits the memory that there is, and which settings make it fit."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rmft_verl.algo import METHODS
from rmft_verl.config import Config, ConfigError, LoraConfig
from rmft_verl.setup.memory import GIB, Use, use_of
from rmft_verl.setup.prepare import Prepared

CARD = 80.0
"""GiB of a GPU that a plan assumes where none is seen and ``hardware.gpu_gib`` says nothing."""

MOST_REMEDIES = 3

RANK = 32
"""The LoRA rank that is proposed."""


class Change(NamedTuple):
    """A setting, or one of its alternatives, and what it changes in a ``Use``."""

    said: str
    fields: dict[str, Any]


def refuse_unfit(prepared: Prepared) -> None:
    """Raise ``ConfigError`` for a run that does not fit, with the settings that make it fit."""
    fits, line = verdict(prepared, use_of(prepared))
    if not fits:
        raise ConfigError(line)


def verdict(prepared: Prepared, use: Use | None) -> tuple[bool, str]:
    """Whether the run fits, and one line that says how much is to spare, or which settings make it fit."""
    if use is None:
        return True, f"memory: unknown shape of {prepared.model_path}"
    return (_on_cpu if prepared.kind == "cpu" else _on_gpus)(prepared, use)


def _on_cpu(prepared: Prepared, use: Use) -> tuple[bool, str]:
    need, there = sum(use.machine.values()), machine_gib()
    if need <= there:
        return True, f"fits: it needs about {need:.1f} of the {there:.1f} GiB of this machine"
    changes = [_lengths(prepared, use), _adapters(use)]
    return False, (
        f"model.path={prepared.config.model.path}: a run on the CPU needs about {need:.1f} GiB, as trainer and sampler "
        f"share the memory, and this machine has {there:.1f}: "
        + _remedy(use, changes, lambda changed: sum(changed.machine.values()) <= there)
    )


def _on_gpus(prepared: Prepared, use: Use) -> tuple[bool, str]:
    card = card_gib(prepared.config)
    phases = use.phases(card)
    fullest = max(phases, key=phases.__getitem__)
    if (over := use.short(card)) <= 0:
        return True, f"fits: {-over:.1f} of {card:.3g} GiB a GPU to spare, least while {fullest}"
    held = f"{phases[fullest]:.1f} GiB while {fullest}"
    if phases[fullest] <= card:
        held = (
            f"{use.weights + use.dialogue:.1f} GiB for the sampler's weights and one dialogue, of which "
            f"hardware.gpu_memory={use.gpu_memory:g} gives {use.gpu_memory * card:.1f}"
        )
    shares = [Change(f"hardware.gpu_memory={share}", {"gpu_memory": share}) for share in (0.5, 0.4, 0.3, 0.2, 0.7, 0.8)]
    offload = [Change("hardware.offload=true", {"param_offload": True, "optimizer_offload": True})]
    here, more = [offload, _lengths(prepared, use), shares, _adapters(use)], list(_ranks(prepared.config, use))
    return False, (
        f"model.path={prepared.config.model.path} does not fit a GPU of {card:.3g} GiB (hardware.gpu_gib): it needs "
        f"{held}; " + _remedy(use, here, lambda changed: changed.short(card) <= 0, more)
    )


def _lengths(prepared: Prepared, use: Use) -> list[Change]:
    """Shorter forward passes: of what must stand in one as dialogues are allowed, and as this game needs them."""
    method = METHODS.get(prepared.config.update.loss)
    together = method.together if method else 1
    needed = min(use.context, 256 * math.ceil(prepared.budget.total / 256))
    least, tokens = together * use.context, together * needed
    said = f"model.context={needed} hardware.tokens_per_gpu={tokens}"
    allowed = [Change(f"hardware.tokens_per_gpu={least}", {"tokens": least})]
    lower = [Change(said, {"context": needed, "tokens": tokens})]
    return (allowed if least < use.tokens else []) + (lower if needed < use.context else [])


def _adapters(use: Use) -> list[Change]:
    return [] if use.lora.rank else [Change(f"model.lora.rank={RANK}", {"lora": LoraConfig(RANK)})]


def _ranks(config: Config, use: Use) -> Iterator[Change]:
    for ranks in (2, 4, 8, 16, 32, 64):
        if ranks > use.ranks and ranks % use.ranks == 0:
            nodes = max(config.hardware.nodes, ranks // 8)
            said = f"hardware.gpus_per_node={ranks // nodes}" + (f" hardware.nodes={nodes}" if nodes > 1 else "")
            shards = ranks if use.shards == use.ranks else use.shards
            yield Change(said, {"ranks": ranks, "shards": shards})


def _remedy(use: Use, changes: list[list[Change]], fits: Callable[[Use], bool], more: Sequence[Change] = ()) -> str:
    """The settings that make it fit, as few as there need be: on what there is, or on ``more``."""
    found = _fewest(use, changes, fits)[:MOST_REMEDIES]
    found += _fewest(use, [list(more)], fits) or _fewest(use, [list(more), *changes], fits)[:1]
    return f"set {', or '.join(dict.fromkeys(found))}" if found else "no setting makes it fit, take a smaller model"


def _fewest(use: Use, changes: list[list[Change]], fits: Callable[[Use], bool]) -> list[str]:
    for number in range(1, len(changes) + 1):
        found = []
        for kinds in itertools.combinations(changes, number):
            options = (option for option in itertools.product(*kinds) if fits(_changed(use, option)))
            if option := next(options, None):
                found.append(" ".join(change.said for change in option))
        if found:
            return found
    return []


def _changed(use: Use, option: tuple[Change, ...]) -> Use:
    for change in option:
        use = dataclasses.replace(use, **change.fields)
    return use


def card_gib(config: Config) -> float:
    """Memory of a GPU: as configured, as seen, or assumed."""
    from rmft_verl.bridge.cluster import runtime

    return config.hardware.gpu_gib or runtime.gpu_gib() or CARD


def machine_gib() -> float:
    """Memory of this machine, or what the container of this process may use of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no container, or no limit
        limit = total
    return min(total, limit) / GIB
