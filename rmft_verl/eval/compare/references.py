"""The classical players that arms are compared with, on the same held-out scenarios."""

from __future__ import annotations

from rmft_verl.env import Env
from rmft_verl.env.seeds import HELD_OUT_SEED, episode_seeds
from rmft_verl.eval.algorithms import play_requests, references
from rmft_verl.eval.compare.results import Outcome
from rmft_verl.eval.metrics import scored
from rmft_verl.store.env_copy import as_begun
from rmft_verl.types import RolloutRequest, Trajectory

EPISODES = 3
"""Episodes in each scenario; the first has the draws that the models met."""


def play_references(outcome: Outcome) -> dict[str, dict[str, list[Trajectory]]]:
    """Environment -> reference player -> its trajectories on the held-out scenarios of a run."""
    begun = as_begun(outcome.path, outcome.config["env.name"], outcome.config.get("env_dirs", ()))
    with begun as env_class:
        return _played(outcome, env_class)


def requests_of(outcome: Outcome, environment: str) -> list[RolloutRequest]:
    """``EPISODES`` of every held-out scenario of a run that belongs to an environment."""
    return [
        RolloutRequest(scenario, *episode_seeds(HELD_OUT_SEED, index, episode))
        for index, scenario in enumerate(outcome.scenarios)
        if scenario.env == environment
        for episode in range(EPISODES)
    ]


def _played(outcome: Outcome, env_class: type[Env]) -> dict[str, dict[str, list[Trajectory]]]:
    kinds = {trajectory.scenario.env: trajectory.oracle.kind for trajectory in scored(outcome.base)}
    found: dict[str, dict[str, list[Trajectory]]] = {}
    for environment, kind in sorted(kinds.items()):
        requests = requests_of(outcome, environment)
        names = references(env_class, [request.scenario for request in requests[::EPISODES]], [kind])
        found[environment] = {name: play_requests(env_class, name, requests) for name in names}
    return found
