"""Thompson sampling: pull the arm that is best in one draw from the posterior."""

from __future__ import annotations

import numpy as np

from rmft_verl.players.arms import Arms, argmax
from rmft_verl.types import Observation, Reply


class Thompson:
    """Posterior sampling (Thompson 1933), for the reward laws ``bernoulli`` and ``gaussian``.

    Bernoulli: independent Beta(1, 1) priors, as in Krishnamurthy et al. 2024. Gaussian: known standard deviation
    ``GameSpec.reward_scale`` and the limit of an ever wider normal prior, so the posterior of an arm is
    N(mean_a, sd^2 / n_a) once it was pulled, and every arm is pulled once first, in random order: unlike a wide but
    proper prior, this does not depend on where the rewards lie. ``ValueError`` for other laws.
    """

    name = "thompson"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._arms = Arms()

    async def act(self, observation: Observation) -> Reply:
        self._arms.see(observation)
        counts_A, sums_A, spec = self._arms.counts_A, self._arms.sums_A, observation.spec
        if spec.reward_law == "bernoulli":
            draw_A = self._rng.beta(1 + sums_A, 1 + counts_A - sums_A)
        elif spec.reward_law == "gaussian":
            noise_A = spec.reward_scale * self._rng.standard_normal(spec.n_actions)
            draw_A = self._arms.means_A + noise_A / np.sqrt(np.maximum(counts_A, 1))
        else:
            raise ValueError(f"thompson knows reward_law bernoulli and gaussian, not {spec.reward_law!r}")
        return Reply(action=argmax(draw_A, self._rng))
