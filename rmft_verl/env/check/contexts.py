"""The rules of games that show a context before every round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rmft_verl.env.check.rules import require
from rmft_verl.env.check.session import Session
from rmft_verl.types import Oracle

SHUFFLES = 30
"""Other orders of a scenario's contexts, none of which may explain its means as well as the true order."""


def check_same_contexts(sessions: Sequence[Session]) -> None:
    """Check that every play of one scenario meets the same contexts, whatever is drawn and played."""
    for session in sessions[1:]:
        for t, (one, two) in enumerate(zip(sessions[0].observations, session.observations, strict=True)):
            same = np.array_equal(_context(one.context_F), _context(two.context_F))
            require(same, "context_same", f"round {t} of two plays")


def check_context_means(trajectories: Sequence[tuple[Session, Oracle]]) -> None:
    """Check that the oracle's means of a round go with the context that this round shows.

    Equal contexts must have equal means. Others are compared by the residuals of a linear fit of the means, arm by arm:
    the true order of the contexts must leave less than any of ``SHUFFLES`` others, over all scenarios together. Rounds
    that a fit explains in any order, because they are too few, say nothing.
    """
    rng = np.random.default_rng(0)
    left_S, varies, judged = np.zeros(1 + SHUFFLES), False, False
    for session, truth in trajectories:
        if not session.observations[0].spec.n_features or session.observations[0].spec.full_information:
            continue
        contexts_T_F = np.array([observation.context_F for observation in session.observations])
        means_T_A = truth.expected_T_A
        _check_equal(contexts_T_F, means_T_A)
        varies = varies or bool(np.ptp(means_T_A, axis=0).any())
        orders = [np.arange(len(means_T_A)), *(rng.permutation(len(means_T_A)) for _ in range(SHUFFLES))]
        left_S += [_unexplained(contexts_T_F[order], means_T_A) for order in orders]
        judged = True
    if judged:
        require(varies, "context_means", "the means are the same in every round")
        told = left_S[0] < left_S[1:].min() or np.allclose(left_S, 0.0, atol=1e-9)
        require(bool(told), "context_means", "in another order the contexts explain the means as well")


def check_slope_over_rounds(trajectories: Sequence[tuple[Session, Oracle]], most: float, tolerance: float) -> None:
    """Check that an arm pays more in the rounds in which the oracle says that its mean is higher, with slope 1.

    ``most``: standard errors that count as chance; ``tolerance``: deviation of the slope that is no error.
    """
    residuals: list[float] = []
    moves: list[float] = []
    for session, truth in trajectories:
        moved_T_A = truth.expected_T_A - truth.expected_T_A.mean(axis=0)
        for t, (action, result) in enumerate(zip(session.actions, session.results, strict=True)):
            if isinstance(action, int) and session.observations[0].spec.n_features:
                residuals.append(result.reward - truth.expected_T_A[t, action])
                moves.append(moved_T_A[t, action])
    product = np.array(residuals) * np.array(moves)
    spread, noise = float(np.square(moves).sum()), float(np.sqrt(np.square(product).sum()))
    if spread > 0:
        off = abs(product.sum()) > max(most * noise, tolerance * spread)
        slope = 1 + product.sum() / spread
        require(not off, "truth", f"an arm pays {slope:.2f} more in rounds in which its mean is 1 higher")


def _check_equal(contexts_T_F: np.ndarray, means_T_A: np.ndarray) -> None:
    seen: dict[bytes, int] = {}
    for t, context_F in enumerate(contexts_T_F):
        first = seen.setdefault(context_F.tobytes(), t)
        equal = np.allclose(means_T_A[first], means_T_A[t])
        require(equal, "context_means", f"rounds {first} and {t} show one context and have different means")


def _unexplained(contexts_T_F: np.ndarray, means_T_A: np.ndarray) -> float:
    """Sum of squares of the means that a linear function of the contexts leaves, arm by arm."""
    inputs = np.column_stack([np.ones(len(contexts_T_F)), contexts_T_F])
    fitted = np.linalg.lstsq(inputs, means_T_A, rcond=None)[0]
    return float(np.square(means_T_A - inputs @ fitted).sum())


def _context(context_F: np.ndarray | None) -> np.ndarray:
    return np.empty(0) if context_F is None else context_F
