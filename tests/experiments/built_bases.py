"""What is a built base like before any training? Its plays of held-out games, in plain PyTorch.

    python tests/experiments/built_bases.py announced-0 unannounced-0 weak-0 [--scenarios 100]     # a minute a base

The games are those of the suite ``mab:explore_small``, on which no run of recipes/mab_explore.yaml is measured.
A row for each base: normalized regret with its 95 % interval, SuffFailFreq, K x MinFrac, the share of
invalid replies, of episodes with an invalid or cut one, and the entropy of the first action's place (1 = uniform).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

import numpy as np

from rmft_verl.env import load_env
from rmft_verl.env.seeds import draw_held_out
from rmft_verl.eval import metrics
from rmft_verl.labs.tiny.evaluate import play_model
from rmft_verl.setup.models import resolve_model
from rmft_verl.types import Trajectory


def first_entropy(plays: Sequence[Trajectory]) -> float:
    """Entropy of the place of the first action, over that of uniform choice; mean over the sizes of the games."""
    shares = []
    for size in {len(play.scenario.actions) for play in plays}:
        firsts = Counter(play.actions_T[0] for play in plays if len(play.scenario.actions) == size)
        counts = np.array([count for action, count in firsts.items() if action is not None], dtype=float)
        parts = counts / counts.sum()
        shares.append((counts.sum(), -(parts * np.log(parts)).sum() / np.log(size)))
    return float(np.average([share for _, share in shares], weights=[count for count, _ in shares]))


def row(name: str, scenarios: int, threads: int) -> str:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(threads)
    directory, env_class = resolve_model(f"tiny:{name}"), load_env("mab")
    drawn = draw_held_out(env_class, dict(env_class.SUITES["explore_small"]), scenarios)  # type: ignore[attr-defined]
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    plays = play_model(model, AutoTokenizer.from_pretrained(directory), env_class, drawn, 0)
    value, low, high = metrics.normalized_regret_interval(plays)
    invalid = np.mean([any(not turn.parsed or turn.cut for turn in play.turns) for play in plays])
    cells = [f"{value:.3f} [{low:.3f}, {high:.3f}]", f"{metrics.suffix_failure_frequency(plays):.2f}"]
    cells += [f"{metrics.scaled_min_fraction(plays):.2f}", f"{metrics.invalid_rate(plays):.2%}", f"{invalid:.0%}"]
    return f"| `{name}` | {' | '.join([*cells, f'{first_entropy(plays):.2f}'])} |"


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


if __name__ == "__main__":
    main()
