"""A person at the terminal as a player, and what is shown after the game."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Iterator
from contextlib import closing

import numpy as np

from rmft_verl.env import VERBOSE, Env, EnvLoadError
from rmft_verl.env.play import play, play_now
from rmft_verl.env.regret import regret_curve
from rmft_verl.eval.algorithms import references
from rmft_verl.players import make_player
from rmft_verl.types import GameSpec, Observation, Oracle, Reply, Scenario, StopReason, Trajectory

PREFIXES = ("", "Action: ", "Policy: ")
"""Prefixes to try on a line, in this order: a person need not type the whole format."""

QUIT = ("quit", "exit", "q")

CURVE_POINTS = 10


class Person:
    """Reads lines until one is an action; ``quit`` or the end of the input ends the episode."""

    name = "you"

    def __init__(self, env: Env) -> None:
        self._env = env

    async def act(self, observation: Observation) -> Reply:
        for message in observation.messages:
            print(message.content)
        while True:
            try:
                line = input("> ")
            except (EOFError, KeyboardInterrupt):
                print()
                return Reply(exhausted=True)
            if not sys.stdin.isatty():
                print(line)  # a terminal shows what is typed, a pipe does not
            for prefix in PREFIXES:
                action = self._env.parse(prefix + line)
                if action is not None:
                    return Reply(text=prefix + line, action=action)
            if line.strip().lower() in QUIT:
                return Reply(exhausted=True)
            print(f"Invalid: no action found in this reply. Answer {self._form(observation.spec)}, or type quit.")

    def _form(self, spec: GameSpec) -> str:
        """What an answer looks like, in the environment's own words if it can say one."""
        even = (1.0 / spec.n_actions,) * spec.n_actions
        try:
            return f"in this form: {self._env.say(even if spec.full_information else 0)}"  # type: ignore[attr-defined]
        except AttributeError:  # it has no ``say``
            return "as you were told"


def play_by_hand(env_class: type[Env], scenario: Scenario, *, reward_seed: int, policy_seed: int) -> None:
    """Let a person play ``scenario``, then print the truth and the results of others on the same draws.

    Raises ``EnvLoadError`` if the plug-in raises.
    """
    env = env_class(scenario, reward_seed)
    game = play(env, Person(env), scenario, reward_seed=reward_seed, policy_seed=policy_seed)
    with closing(asyncio.new_event_loop()) as loop:  # asyncio.run would keep Ctrl-C from reaching input()
        trajectory = _unbroken(loop.run_until_complete(game))
    for line in verdict(env_class, trajectory):
        print(line)


def verdict(env_class: type[Env], trajectory: Trajectory) -> Iterator[str]:
    """What is shown after the game, line by line: rewards, truth, regret and the regret of others."""
    played = sum(turn.action is not None for turn in trajectory.turns)
    horizon = trajectory.scenario.horizon
    yield ""
    if played == 0:
        yield "No round was played."
        return
    rewards = [turn.reward for turn in trajectory.turns if turn.reward is not None]
    stopped = "" if played == horizon else f" of {horizon}, you stopped"
    yield f"Rounds played: {played}{stopped}. Last reward {rewards[-1]:g}, total {sum(rewards):.4g}."
    yield from truth(trajectory.oracle, trajectory.scenario.actions)
    curve_T = regret_curve(trajectory.oracle, trajectory.actions_T)[:played]
    shown = sorted({round(t) for t in np.linspace(1, played, min(played, CURVE_POINTS))})
    yield "Regret after round: " + ", ".join(f"{t}: {curve_T[t - 1]:.2f}" for t in shown)
    yield f"{'':14} {'regret':>8} {'normalized':>11}"
    oracle = trajectory.oracle
    uniform = float(regret_curve(oracle, (None,) * horizon)[played - 1])
    yield _row("you", float(curve_T[-1]), uniform)
    yield _row("uniform", uniform, uniform) + "   (expected)"
    for name in references(env_class, [trajectory.scenario], [oracle.kind]):
        if name != "uniform":  # its row is an expectation
            other = _reference(env_class, name, trajectory)
            yield _row(name, float(regret_curve(other.oracle, other.actions_T)[played - 1]), uniform)
    yield "Normalized: 0 = oracle, 1 = uniform play. The other players met the same draws."


def truth(oracle: Oracle, names: tuple[str, ...]) -> Iterator[str]:
    """The mean of each action and the best one; if the best one drifts, also the best one by round."""
    mean_A = oracle.expected_T_A.mean(axis=0)
    best = int(mean_A.argmax())
    what = "Mean reward" if oracle.kind == "pseudo" else "Reward averaged over all rounds"
    listed = ", ".join(f"{name} {mean:.3g}" for name, mean in zip(names, mean_A, strict=True))
    yield f"{what}: {listed}. Best: {names[best]}."
    best_T = oracle.expected_T_A.argmax(axis=1)
    if oracle.kind in ("dynamic", "contextual") and len(set(best_T.tolist())) > 1:
        starts = [0, *(np.flatnonzero(np.diff(best_T)) + 1).tolist(), len(best_T)]
        spans = [f"{start + 1}-{end} {names[best_T[start]]}" for start, end in itertools.pairwise(starts)]
        yield f"Best by round: {', '.join(spans)}."


def _reference(env_class: type[Env], name: str, trajectory: Trajectory) -> Trajectory:
    player = make_player(name, np.random.default_rng(trajectory.policy_seed))
    scenario, reward_seed, policy_seed = trajectory.scenario, trajectory.reward_seed, trajectory.policy_seed
    return _unbroken(play_now(env_class, player, scenario, reward_seed=reward_seed, policy_seed=policy_seed))


def _unbroken(trajectory: Trajectory) -> Trajectory:
    if trajectory.stop_reason is StopReason.ERROR:
        last = trajectory.error.strip().splitlines()[-1]
        raise EnvLoadError(
            f"the game broke off: {last}. Run envs check on the plug-in, and mend it ({VERBOSE}=1 shows more)."
        ) from RuntimeError(trajectory.error)
    return trajectory


def _row(name: str, regret: float, uniform: float) -> str:
    return f"{name:14} {regret:8.2f} " + (f"{regret / uniform:11.2f}" if uniform > 0 else f"{'-':>11}")
