"""What a run has measured so far, for its report and its page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rmft_verl.eval.metrics import absolute_change, normalized_regret, relative_change
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.train.interrupt import resume_command
from rmft_verl.types import RunError, Trajectory


def held_out(directory: RunDir) -> dict[str, list[Trajectory]]:
    """The held-out trajectories of the ``base``, and of the ``trained`` model that was measured last, if one was."""
    versions = directory.recorded("eval")
    if not versions:
        raise RunError(f"{directory.path} holds no evaluation yet: let the run finish its first one")
    models = {"base": 0} | ({"trained": versions[-1]} if versions[-1] else {})
    return {name: read_trajectories(directory.trajectories("eval", n)) for name, n in models.items()}


def untrained(directory: RunDir, sets: Mapping[str, Any]) -> str:
    """One line if ``sets`` has no trained model: why there is none."""
    if "trained" in sets:
        return ""
    if not sets:
        return "dialogues that were played elsewhere (rmft-verl import): no model was measured"
    updates = directory.read_state().updates
    why = f"no model is measured since the {updates} updates" if updates else "the run stopped before its first update"
    return f"there is no trained model to show: {why}; go on with: {resume_command(directory.path)}"


def change_in_words(base: list[Trajectory], trained: list[Trajectory]) -> str:
    """Change of the normalized regret: relative, or the difference if the base's regret is not above 0."""
    try:
        relative = normalized_regret(base) > 0
        value, low, high = (relative_change if relative else absolute_change)(base, trained)
    except ValueError as error:
        return str(error)
    form, n_scenarios = "+.1%" if relative else "+.3f", len({trajectory.scenario.id for trajectory in base})
    if math.isnan(low):
        return f"{value:{form}} ({n_scenarios} held-out scenarios, too few for an interval)"
    return f"{value:{form}} [{low:{form}}, {high:{form}}] (95 % bootstrap over {n_scenarios} held-out scenarios)"
