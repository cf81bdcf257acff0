"""How much the newest rewards weigh in a trained policy, beside the older ones: gradients of its logits.

    python tests/experiments/numeric_weights.py runs/learns/fol_numeric/rmft_seed*

Of the first action's logit less the mean of the others', in round 25 of uniform sequences, with respect to the first
action's reward in each round before; mean over sequences that training has not seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from env_plugins.fol import FullInformationEnv
from rmft_verl.labs.numeric.games import lay_out
from rmft_verl.labs.numeric.models import CausalTransformer, full_history

ACTIONS, ROUND, SEQUENCES = 3, 25, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="+")
    options = parser.parse_args()
    generator = FullInformationEnv.Generator(actions=[ACTIONS], horizon=[ROUND], sequence=["uniform"])
    rng = np.random.default_rng(12345)
    games = lay_out([generator.draw(rng) for _ in range(SEQUENCES)], [0] * SEQUENCES)
    for run in options.run:
        model = CausalTransformer(ACTIONS, ACTIONS)
        state = torch.load(run / "checkpoints/final/state.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        rewards = games.rewards_B_T_A.clone().requires_grad_()
        logits_B_A = model(full_history(rewards))[:, -1]
        (logits_B_A[:, 0] - logits_B_A[:, 1:].mean(-1)).sum().backward()
        assert rewards.grad is not None
        weight_T = rewards.grad[:, : ROUND - 1, 0].mean(0)
        newest, older = float(weight_T[-3:].mean()), float(weight_T[:-3].mean())
        print(f"{run.name}: the newest three {newest:.2f}, older {older:.2f}, ratio {newest / older:.2f}")


if __name__ == "__main__":
    main()
