"""Run directories as training leaves them, played by classical players in place of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from rmft_verl.algo import METHODS
from rmft_verl.algo.scores import Scorer
from rmft_verl.config import Config
from rmft_verl.env import load_env, make_generator
from rmft_verl.env.seeds import SCENARIO, SELECTION, held_out_scenarios
from rmft_verl.eval.algorithms import evaluate_players
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.run_dir import RunDir, RunState, write_text
from rmft_verl.store.tracking import FileTracker
from rmft_verl.store.trajectory_file import write_kept, write_trajectories
from rmft_verl.train.iteration_metrics import held_out_metrics, kept_metrics, rollout_metrics
from rmft_verl.types import Tokens, Trajectory

SMALL = ("eval.scenarios=12", "rollout.scenarios=3", "rollout.rollouts=4", "selection.keep=2", "update.batch=4")
"""Overrides that keep a made run small."""

REPLY = Tokens(np.arange(5, dtype=np.int32), np.array([0, 0, 1, 1, 1], np.int8), 2)
"""Three sampled tokens, whatever was said."""


def make_run(
    path: Path, arguments: Sequence[str], players: Sequence[str] = ("uniform", "greedy"), finished: bool = True
) -> RunDir:
    """The directory ``path`` of a run of ``arguments`` whose model with n updates plays as ``players[n]``.

    The model without updates plays the same in every run; the last of ``players`` plays all later iterations.
    """
    config = load_config([*arguments, f"root={path.parent}", f"name={path.name}"])
    env_class = load_env(config.env.name, config.env_dirs)
    run = RunDir.create(path.parent, path.name)
    write_text(run.config, OmegaConf.to_yaml(OmegaConf.structured(config)))
    tracker = FileTracker(run.metrics)
    held_out = held_out_scenarios(config, env_class)
    for n in range(config.iterations + 1):
        row = _train(config, run, n, players[min(n - 1, len(players) - 1)]) if n else {}
        if n in (0, config.iterations) or n % config.eval.every == 0:
            name = players[min(n, len(players) - 1)]
            draws = 1000 * n + config.seed if n else 0
            played = as_model(evaluate_players(env_class, [name], held_out, config.eval.rollouts, draws)[name], n)
            write_trajectories(run.trajectories("eval", n), played, phase="eval", iteration=n)
            row |= held_out_metrics(played, row) | {"time/evaluate": 30.0}
        tracker.log(row, n)
        run.write_state(RunState(n, "toy"))
    if finished:
        write_text(run.report / "table.json", "[]\n")
    return run


def _train(config: Config, run: RunDir, n: int, name: str) -> dict[str, float]:
    env_class = load_env(config.env.name, config.env_dirs)
    generator = make_generator(env_class, config.env.options)
    draw = np.random.default_rng([SCENARIO, config.seed, n])
    scenarios = [generator.draw(draw) for _ in range(config.rollout.scenarios)]
    played = as_model(evaluate_players(env_class, [name], scenarios, config.rollout.rollouts, n)[name], n - 1)
    rng = np.random.default_rng([SELECTION, config.seed, n])
    scored = Scorer(config.selection.score, generator, config.selection.further)(played, rng)
    places = METHODS[config.update.loss].choose(scored, config, rng).kept
    kept, path = [played[place] for place in places], run.trajectories("train", n)
    write_trajectories(path, played, phase="train", iteration=n)
    write_kept(path, places)
    row = rollout_metrics(played, 1.0) | kept_metrics(kept, places, scored)
    return row | {"update/tokens": 5.0 * len(kept) * config.update.epochs, "time/rollout": 60.0, "time/update": 90.0}


def as_model(played: Sequence[Trajectory], version: int) -> list[Trajectory]:
    return [dataclasses.replace(play, player="model", policy_version=version, tokens=(REPLY,)) for play in played]
