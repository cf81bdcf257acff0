"""UCB1 and Thompson sampling beside MABWiser, an implementation we have not written."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from mabwiser.mab import MAB, LearningPolicy

from rmft_verl.players import make_player
from rmft_verl.types import Action, GameSpec, Observation


def tell(spec: GameSpec, turn: int, arm: int, reward: float) -> Observation:
    feedback_A = np.full(spec.n_actions, np.nan)
    feedback_A[arm] = reward
    return Observation((), spec, turn, arm, feedback_A)


def test_ucb1_auer_chooses_what_mabwiser_chooses() -> None:
    """Step by step on one tape. Gaussian rewards: no ties. The first pull of each arm is ours to choose."""
    spec = GameSpec(4, 400, "gaussian", 0.5)
    tape_T_A = np.array([0.6, 0.5, 0.3, 0.1]) + 0.5 * np.random.default_rng(3).standard_normal((400, 4))

    async def both() -> tuple[list[Any], list[Any]]:
        player, theirs = make_player("ucb1_auer", np.random.default_rng(0)), MAB([0, 1, 2, 3], LearningPolicy.UCB1(1.0))
        observation, ours_T, theirs_T = Observation((), spec, 0), [], []
        for turn in range(400):
            arm = (await player.act(observation)).action
            assert isinstance(arm, int)
            ours_T.append(arm)
            theirs_T.append(theirs.predict() if turn >= 4 else arm)
            theirs.partial_fit([arm], [tape_T_A[turn, arm]])
            observation = tell(spec, turn + 1, arm, float(tape_T_A[turn, arm]))
        return ours_T, theirs_T

    ours_T, theirs_T = asyncio.run(both())
    assert ours_T == theirs_T and len(set(ours_T[4:])) == 4


class Recorder:
    """Stands in for a generator: keeps the parameters of the Beta draws and makes the first arm win."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []

    def beta(self, a: float, b: float) -> float:
        self.asked.append((a, b))
        return 1.0 / len(self.asked)


def posterior(spec: GameSpec, history: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """The Beta parameters of every arm from which Thompson sampling draws after these rounds."""
    recorder: Any = Recorder()

    async def listen() -> None:
        player = make_player("thompson", recorder)
        await player.act(Observation((), spec, 0))
        for turn, (arm, reward) in enumerate(history, start=1):
            await player.act(tell(spec, turn, arm, reward))

    asyncio.run(listen())
    return list(recorder.asked[-spec.n_actions :])


def test_thompson_has_the_posterior_worked_by_hand() -> None:
    # Arm 0: 2 wins, 1 loss -> Beta(1 + 2, 1 + 1). Arm 1: 2 losses -> Beta(1, 3). Arm 2: never pulled -> Beta(1, 1).
    history = [(0, 1.0), (1, 0.0), (0, 0.0), (0, 1.0), (1, 0.0)]
    assert posterior(GameSpec(3, 20, "bernoulli", 0.5), history) == [(3, 2), (1, 3), (1, 1)]


def test_thompson_agrees_with_mabwiser() -> None:
    """The same posterior on one tape, and the same shares of the arms in draws from it."""
    spec, rng = GameSpec(3, 60, "bernoulli", 0.5), np.random.default_rng(1)
    arms_T = rng.integers(3, size=24)
    rewards_T = (rng.random(24) < np.array([0.6, 0.5, 0.4])[arms_T]).astype(float)
    history = list(zip(arms_T.tolist(), rewards_T.tolist(), strict=True))
    theirs = MAB([0, 1, 2], LearningPolicy.ThompsonSampling(), seed=0)
    theirs.fit(arms_T, rewards_T)
    wins, losses = theirs._imp.arm_to_success_count, theirs._imp.arm_to_fail_count
    assert posterior(spec, history) == [(wins[arm], losses[arm]) for arm in range(3)]

    async def ours(seed: int) -> Action | None:
        player = make_player("thompson", np.random.default_rng(seed))
        reply = await player.act(Observation((), spec, 0))
        for turn, (arm, reward) in enumerate(history, start=1):
            reply = await player.act(tell(spec, turn, arm, reward))
        return reply.action

    async def all_ours() -> list[Action | None]:
        return [await ours(seed) for seed in range(800)]

    counts = [np.bincount(chosen) for chosen in (asyncio.run(all_ours()), [theirs.predict() for _ in range(800)])]
    assert counts[0] / 800 == pytest.approx(counts[1] / 800, abs=0.09)  # 3.6 standard errors of a difference
