"""What is a built base like before any training? Its plays of held-out games, in plain PyTorch.

    python tests/experiments/built_bases.py announced-0 unannounced-0 weak-0 [--scenarios 100]     # a minute a base

The games are those of the suite ``mab:explore_small``, on which no run of recipes/mab_explore.yaml is measured.
A row for each base: normalized regret with its 95 % interval, SuffFailFreq, K x MinFrac, the share of
invalid replies, of episodes with an invalid or cut one, and the entropy of the first action's place (1 = uniform).
Then what the habits of the first base reach without a model, each one for whole games, weighted by their shares: a base
that learned them all is near it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

import numpy as np

from rmft_verl.env import Env, load_env
from rmft_verl.env.seeds import draw_held_out
from rmft_verl.eval import metrics
from rmft_verl.labs.tiny import evaluate
from rmft_verl.labs.tiny.evaluate import play_all, play_model
from rmft_verl.labs.tiny.players import habit_players
from rmft_verl.labs.tiny.teacher import GAMES, habits, history
from rmft_verl.setup.models import resolve_model
from rmft_verl.types import Scenario, Trajectory

LONGEST = 6
"""Tokens after which a reply is cut. A right one has three, and all wait for the longest of a round."""


def first_entropy(plays: Sequence[Trajectory]) -> float:
    """Entropy of the place of the first action, over that of uniform choice; mean over the sizes of the games."""
    shares = []
    for size in {len(play.scenario.actions) for play in plays}:
        firsts = Counter(play.actions_T[0] for play in plays if len(play.scenario.actions) == size)
        counts = np.array([count for action, count in firsts.items() if action is not None], dtype=float)
        parts = counts / counts.sum()
        shares.append((counts.sum(), -(parts * np.log(parts)).sum() / np.log(size)))
    return float(np.average([share for _, share in shares], weights=[count for count, _ in shares]))


def games(kind: str, scenarios: int) -> tuple[type[Env], list[Scenario]]:
    env_class = load_env("mab")
    return env_class, draw_held_out(env_class, GAMES[kind]["mab"] | {"contexts": "basic"}, scenarios)


def row(name: str, scenarios: int, threads: int) -> str:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(threads)
    evaluate.MAX_REPLY = LONGEST
    directory, (env_class, drawn) = resolve_model(f"tiny:{name}"), games(name.partition("-")[0], scenarios)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    told = history(name.partition("-")[0])
    plays = play_model(model, AutoTokenizer.from_pretrained(directory), env_class, drawn, 0, history=told)
    value, low, high = metrics.normalized_regret_interval(plays)
    invalid = np.mean([any(not turn.parsed or turn.cut for turn in play.turns) for play in plays])
    cells = [f"{value:.3f} [{low:.3f}, {high:.3f}]", *map("{:.2f}".format, behavior(plays))]
    cells += [f"{metrics.invalid_rate(plays):.2%}", f"{invalid:.0%}"]
    return f"| `{name}` | {' | '.join([*cells, f'{first_entropy(plays):.2f}'])} |"


def mixture(name: str, scenarios: int) -> str:
    kind = name.partition("-")[0]
    env_class, drawn = games(kind, scenarios)
    found = []
    for habit, player in habit_players(f"tiny:{name}", "mab").items():
        plays = play_all(env_class, [player(seed) for seed in range(len(drawn))], drawn)
        share = habits("mab", kind)[habit][0]
        found.append((share, metrics.normalized_regret(plays), *behavior(plays)))
    shares, *columns = zip(*found, strict=True)
    regret, suffix, least = (float(np.average(column, weights=shares)) for column in columns)
    return f"| its habits, by their shares | {regret:.3f} | {suffix:.2f} | {least:.2f} | 0% | 0% | 1 |"


def behavior(plays: Sequence[Trajectory]) -> tuple[float, float]:
    return metrics.suffix_failure_frequency(plays), metrics.scaled_min_fraction(plays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--scenarios", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print("| base | regret | SuffFailFreq | K x MinFrac | invalid replies | invalid episodes | first action |")
    print("|---" * 7 + "|")
    for name in options.names:
        print(row(name, options.scenarios, options.threads), flush=True)
    print(mixture(options.names[0], options.scenarios))


if __name__ == "__main__":
    main()
