"""Thompson sampling: pull the arm that is best in one draw from the posterior."""

from __future__ import annotations

import math

import numpy as np

from rmft_verl.players.arms import UNIT_LAWS, Arms, argmax, pulled
from rmft_verl.types import GameSpec, Observation, Reply

LAWS = (*UNIT_LAWS, "gaussian", "heavy_tailed")


class Thompson:
    """Posterior sampling (Thompson 1933); ties are broken at random. ``ValueError`` for reward laws not in ``LAWS``.

    ``bernoulli``: independent Beta(1, 1) priors, as in Krishnamurthy et al. 2024. ``bounded``: the same, after each
    reward r is replaced by a draw of 0 or 1 with mean r (Agrawal and Goyal 2012, algorithm 2). ``gaussian``: known
    standard deviation ``GameSpec.reward_scale`` and the limit of an ever wider normal prior. The posterior of an arm
    that was pulled is N(mean_a, sd^2 / n_a), and every arm is first pulled once, in random order. Unlike a wide but
    proper prior, this does not depend on the level of the rewards. ``heavy_tailed``: treated as Gaussian, so the
    posterior is too narrow after an outlier.
    """

    name = "thompson"

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._arms = Arms()

    async def act(self, observation: Observation) -> Reply:
        spec = observation.spec
        if spec.reward_law not in LAWS:
            raise ValueError(f"thompson knows reward_law {', '.join(LAWS)}, not {spec.reward_law!r}: use ucb1")
        self._see(observation)
        draws_A = self._beta_draws() if spec.reward_law in UNIT_LAWS else self._normal_draws(spec)
        return Reply(action=argmax(draws_A, self._rng))

    def _see(self, observation: Observation) -> None:
        last = pulled(observation)
        if last is None:
            self._arms.clear(observation.spec.n_actions)
            return
        arm, reward = last
        if observation.spec.reward_law == "bounded":
            reward = float(self._rng.random() < reward)
        self._arms.add(arm, reward)

    def _beta_draws(self) -> list[float]:
        beta = self._rng.beta
        return [beta(1 + wins, 1 + n - wins) for wins, n in zip(self._arms.sums_A, self._arms.counts_A, strict=True)]

    def _normal_draws(self, spec: GameSpec) -> list[float]:
        noise_A = self._rng.standard_normal(spec.n_actions).tolist()
        posterior_A = zip(self._arms.means_A, noise_A, self._arms.counts_A, strict=True)
        return [mean + spec.reward_scale * noise / math.sqrt(max(n, 1)) for mean, noise, n in posterior_A]
