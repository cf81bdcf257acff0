"""How the tokens of an iteration grow with M, L, T and K, by the model's own tokenizer and templates; no GPU.

    python tests/benchmarks/growth.py [key=value ...] [--figure docs/growth.png]

The arguments are those of a run, over ``recipe=mab_tiny``. A uniform player plays; one of M, L, T and K changes, the
others stay. For each setting: the tokens that a turn's prompt has, those of all prompts together (what an engine
without a prefix cache computes), and those that are new to an engine with one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.algo.distill import teach
from rmft_verl.bridge.sampling.rendering import render
from rmft_verl.env import make_generator
from rmft_verl.setup.prepare import Prepared, prepare
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import RolloutRequest, Tokens

DEFAULTS = ["recipe=mab_tiny", "model.context=8192", "env.options.answer=action_only"]
USUAL = {"M": 4, "L": 4, "T": 20, "K": 4}
TRIED = {"M": (2, 4, 8, 16), "L": (2, 4, 8, 16), "T": (10, 20, 40, 80), "K": (2, 4, 8, 16)}


@dataclass(frozen=True)
class Count:
    """Tokens of an iteration's rollout."""

    asked: int
    """All prompts, each whole."""
    new: int
    """What no earlier prompt of the dialogue had; the first prompt of a scenario once."""
    last: float
    """The prompt of the last turn, on average."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--figure", type=Path, metavar="FILE")
    options = parser.parse_intermixed_args()
    found: dict[str, list[Count]] = {}
    print(f"{'':8} {'last prompt':>12} {'all prompts':>12} {'new tokens':>12}")
    for name, values in TRIED.items():
        found[name] = [measured(options.overrides, USUAL | {name: value}) for value in values]
        for value, each in zip(values, found[name], strict=True):
            print(f"{name} = {value:<4} {each.last:12,.0f} {each.asked:12,} {each.new:12,}")
        asked, new = (exponent(values, found[name], what) for what in ("asked", "new"))
        print(f"{'grows as':8} {'':12} {asked:12.2f} {new:12.2f}")
    if options.figure:
        draw(found, options.figure)


def measured(overrides: list[str], size: dict[str, int]) -> Count:
    """A rollout of M scenarios, L trajectories each, of T rounds on K arms."""
    told = [f"env.options.arms=[{size['K']}]", f"env.options.horizon=[{size['T']}]", "env.options.min_gap=0"]
    prepared = prepare(load_config([*DEFAULTS, *told, *overrides]))
    template = _template(prepared)
    generator, rng = make_generator(prepared.env_class, prepared.config.env.options), np.random.default_rng(0)
    history = prepared.config.rollout.history
    counts = []
    for m in range(size["M"]):
        scenario = generator.draw(rng)
        requests = [RolloutRequest(scenario, m * size["L"] + n, n) for n in range(size["L"])]
        played = teach(prepared.env_class, "uniform", history, requests)
        counts.append([_prompts(render(each, template, history).tokens) for each in played])
    prompts = [np.array(each) for scenario in counts for each in scenario]
    later = sum(int(each[-1] - each[0]) for each in prompts) if history == "dialogue" else 0
    first = sum(scenario[0][0] for scenario in counts)
    asked = sum(int(each.sum()) for each in prompts)
    return Count(asked, first + later if history == "dialogue" else asked, float(np.mean([e[-1] for e in prompts])))


def _template(prepared: Prepared) -> Any:
    from rmft_verl.bridge.sampling.chat import load_template

    text = prepared.verl_config.actor_rollout_ref.model.custom_chat_template or ""
    return load_template(prepared.model_path, text, prepared.config.model.chat_template)


def _prompts(samples: Iterable[Tokens]) -> list[int]:
    """Tokens before each reply."""
    return [start for tokens in samples for start, _ in tokens.reply_spans]


def exponent(values: tuple[int, ...], counts: list[Count], what: str) -> float:
    """Of the power law between the two largest settings: 1 is linear, 2 quadratic."""
    last, before = (getattr(counts[i], what) for i in (-1, -2))
    return float(np.log(last / before) / np.log(values[-1] / values[-2]))


def draw(found: dict[str, list[Count]], path: Path) -> None:
    """One panel each, both axes logarithmic."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(12, 3), sharey=True)
    for axis, (name, counts) in zip(axes, found.items(), strict=True):
        for what, label in (("asked", "all prompts, whole"), ("new", "new to the prefix cache")):
            axis.plot(TRIED[name], [getattr(each, what) for each in counts], marker="o", label=label)
        axis.set(xscale="log", yscale="log", xlabel=name, title=f"all others: {_others(name)}")
        axis.set_xticks(TRIED[name], [str(value) for value in TRIED[name]])
        axis.minorticks_off()
        axis.title.set_fontsize(8)
    axes[0].set_ylabel("tokens of an iteration")
    axes[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _others(name: str) -> str:
    return ", ".join(f"{key} = {value}" for key, value in USUAL.items() if key != name)


if __name__ == "__main__":
    main()
