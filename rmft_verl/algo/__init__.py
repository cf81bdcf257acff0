"""The methods: how trajectories are scored, selected and trained on. Each has one file and one line in ``METHODS``."""

from rmft_verl.algo.dpo import DPO
from rmft_verl.algo.grpo import GRPO
from rmft_verl.algo.method import Method
from rmft_verl.algo.rmft import RMFT

METHODS: dict[str, Method] = {
    "sft": RMFT(),
    "dpo": DPO(),
    "grpo": GRPO(),
}
"""``update.loss`` -> the method."""
