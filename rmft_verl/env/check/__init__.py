"""The conformance test for plug-in authors: it draws scenarios, plays them at random and tries to break the parser.

``RULES`` lists what it checks: one sentence per rule, with the remedy.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from rmft_verl.env import Env, suites
from rmft_verl.env.answers import grid
from rmft_verl.env.check.contexts import check_context_means, check_same_contexts, check_slope_over_rounds
from rmft_verl.env.check.replies import check_parser, choices, shares
from rmft_verl.env.check.rules import RULES, blaming, require
from rmft_verl.env.check.session import Session, check_session, story
from rmft_verl.env.regret import uniform_regret
from rmft_verl.types import GameSpec, Oracle, Scenario

__all__ = ["RULES", "check_env"]

MOST_DEVIATIONS = 6.0
"""Deviation of rewards from the oracle that counts as chance, in standard errors: exceeded in one check of 10^9."""

SLOPE_TOLERANCE = 0.2
"""Tolerated deviation from 1 of the slope of rewards on the oracle's means: rounding is not an error."""


def check_env(env_class: type[Env], options: Mapping[str, Any] | None = None, episodes: int = 20) -> int:
    """Raise ``EnvLoadError`` with the first rule of ``RULES`` that is broken, and its remedy.

    Draws ``episodes`` scenarios with the Generator's ``options`` and plays each several times. Returns the number of
    rounds played. Every call does the same.
    """
    generator = _generators(env_class, options or {})
    trajectories: list[tuple[Session, Oracle]] = []
    rounds = 0
    for seed in range(episodes):
        scenario = _scenario(env_class, generator, options or {}, seed)
        written = json.dumps(scenario.to_json())
        with _playing("a play"):
            sessions = [Session(env_class, scenario, seed, seed).play()]
            check_session(sessions[0])
            sessions += _compare(env_class, scenario, sessions[0], seed)
            truths = [session.truth() for session in sessions]
            check_same_contexts(sessions)
            _check_truth(sessions, truths)
            for early in (0, scenario.horizon // 2):
                Session(env_class, scenario, seed, seed).play(early).truth()
        first = sessions[0].observations[0]
        with _playing("parse"):
            env = Session(env_class, scenario, seed, seed).env
            check_parser(env, scenario.actions, story(first), first.spec.full_information, thorough=seed == 0)
        if hasattr(env_class, "say"):
            with _playing("say"):
                _check_say(Session(env_class, scenario, seed, seed).env, first.spec, scenario)
        require(json.dumps(scenario.to_json()) == written, "frozen")
        trajectories += zip(sessions, truths, strict=True)
        rounds += sum(len(session.results) for session in sessions)
    require(sum(uniform_regret(truth) for _, truth in trajectories) > 0, "stakes")
    _check_rewards(trajectories)
    check_slope_over_rounds(trajectories, MOST_DEVIATIONS, SLOPE_TOLERANCE)
    check_context_means(trajectories)
    return rounds


@contextmanager
def _playing(what: str) -> Iterator[None]:
    """Runs code of the plug-in, which must not raise and must not use a global random generator."""
    before = _global_states()
    with blaming("raises", what):
        yield
    used = [name for name, state in _global_states().items() if state != before[name]]
    require(not used, "globals", f"{what} used {' and '.join(used)}")


def _global_states() -> dict[str, Any]:
    """State of every global random generator: any use changes it, however the generator was imported."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return {"random": random.getstate(), "np.random": (np.asarray(keys).tobytes(), rest)}


def _generators(env_class: type[Env], options: Mapping[str, Any]) -> Any:
    """The Generator with ``options``, after trying these and those of every suite."""
    for name, given in {**suites(env_class), "the options given": options}.items():
        where = name if name == "the options given" else f"suite {name}"
        with blaming("options", where):
            generator = env_class.Generator(**given)
        with _playing(f"draw with {where}"):
            generator.draw(np.random.default_rng(0))
    return env_class.Generator(**options)


def _scenario(env_class: type[Env], generator: Any, options: Mapping[str, Any], seed: int) -> Scenario:
    with _playing("draw"):
        scenario: Any = generator.draw(np.random.default_rng([seed, 1]))
        again = generator.draw(np.random.default_rng([seed, 1]))
        afresh = env_class.Generator(**options).draw(np.random.default_rng([seed, 1]))
    require(isinstance(scenario, Scenario), "scenario", f"it returned {type(scenario).__name__}")
    names = scenario.actions
    listed = isinstance(names, tuple) and all(isinstance(name, str) and name.strip() for name in names)
    require(listed and len({name.casefold() for name in names}) == len(names) >= 2, "scenario", f"actions={names!r}")
    whole = isinstance(scenario.horizon, int) and scenario.horizon >= 1
    require(whole, "scenario", f"horizon={scenario.horizon!r}")
    try:
        revived = Scenario.from_json(json.loads(json.dumps(scenario.to_json(), allow_nan=False)))
    except (TypeError, ValueError) as error:
        require(False, "json", str(error))
    require(revived == scenario, "json", f"{dict(scenario.game)!r:.60} comes back as {dict(revived.game)!r:.60}")
    require(scenario == again == afresh, "draw", "two draws with equal generators differ")
    return revived


def _compare(env_class: type[Env], scenario: Scenario, first: Session, seed: int) -> list[Session]:
    """Play one scenario again and compare with ``first``; returns the sessions with other reward seeds."""
    again = Session(env_class, scenario, seed, seed).play()
    require(again.seen == first.seen, "same", f"scenario {seed}, played twice")
    replies = [*next(choices(scenario.actions, "")), *next(shares(scenario.actions))]
    reading = Session(env_class, scenario, seed, seed).play(reading=replies)
    require(reading.seen == first.seen, "parse_pure", "a game in which replies are parsed in between went another way")
    other = Session(env_class, scenario, 1000 + seed, 1000 + seed).play()
    left, right = Session(env_class, scenario, seed, seed), Session(env_class, scenario, 1000 + seed, 1000 + seed)
    while not (left.over and right.over):
        for session in (left, right):
            if not session.over:
                session.advance()
    mixed = (left.seen, right.seen) != (first.seen, other.seen)
    require(not mixed, "shared", "played in turns they go another way than one after the other")
    same_words = first.observations[0].messages == other.observations[0].messages
    require(same_words and first.observations[0].spec == other.observations[0].spec, "reward_seed", "the words differ")
    if not first.observations[0].spec.full_information:
        _check_tape(first, Session(env_class, scenario, seed, 1000 + seed).play())
    return [other, *(Session(env_class, scenario, n * 1000 + seed, n * 1000 + seed).play() for n in (2, 3))]


def _check_tape(first: Session, second: Session) -> None:
    rounds = zip(first.actions, second.actions, first.results, second.results, strict=True)
    for t, (one, two, paid, paid_too) in enumerate(rounds):
        equal = one != two or paid.reward == paid_too.reward
        require(equal, "tape", f"action {one} paid {paid.reward:g} or {paid_too.reward:g} in round {t}")


def _check_say(env: Any, spec: GameSpec, scenario: Scenario) -> None:
    """Check that ``parse`` reads what ``say`` says of every arm, or of some points of the simplex.

    Where replies name one option (``telling``: choice=option), those are its corners.
    """
    points = grid(spec.n_actions, most=1 if scenario.telling.get("choice") == "option" else 30)
    for action in points if spec.full_information else range(spec.n_actions):
        said = env.say(action)
        read = env.parse(said) if isinstance(said, str) else None
        same = read is not None and np.allclose(np.asarray(read), np.asarray(action), atol=1e-6)
        require(same, "say", f"say({action}) is {said!r:.60}, which parse reads as {read}")


def _check_truth(sessions: list[Session], truths: list[Oracle]) -> None:
    """Check that only external oracles depend on the reward seed, and that they are the revealed vectors."""
    for session, truth in zip(sessions, truths, strict=True):
        if truth.kind != "external":
            unmoved = np.array_equal(truth.expected_T_A, truths[0].expected_T_A)
            require(unmoved, "reward_seed", "oracle() differs between two seeds")
        elif session.observations[0].spec.full_information:
            for t, observation in enumerate(session.observations[1:]):
                close = observation.feedback_A is not None and np.allclose(
                    observation.feedback_A, truth.expected_T_A[t]
                )
                require(close, "truth", f"round {t} revealed other rewards")


def _check_rewards(trajectories: list[tuple[Session, Oracle]]) -> None:
    """Check that rewards follow the oracle's means with slope 1: those of a bandit, and those revealed by one that has
    means.
    """
    residuals, means = [], []
    for session, truth in trajectories:
        for t, (action, result) in enumerate(zip(session.actions, session.results, strict=True)):
            mean_A = truth.expected_T_A[t]
            if isinstance(action, int):
                residuals.append(result.reward - mean_A[action])
                means.append(mean_A[action] - mean_A.mean())
            elif truth.kind != "external" and result.observation is not None:
                residuals += list(result.observation.feedback_A - mean_A)
                means += list(mean_A - mean_A.mean())
    product = np.array(residuals) * np.array(means)
    spread, noise = float(np.square(means).sum()), float(np.sqrt(np.square(product).sum()))
    if spread > 0 and noise > 0:
        off = abs(product.sum()) > max(MOST_DEVIATIONS * noise, SLOPE_TOLERANCE * spread)
        slope = 1 + product.sum() / spread
        require(not off, "truth", f"an action whose mean is 1 higher pays {slope:.2f} more")
