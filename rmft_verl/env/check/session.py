"""One recorded episode of random actions, and the checks of the rules that one episode can break."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rmft_verl.env import Env
from rmft_verl.env.check.replies import parsed
from rmft_verl.env.check.rules import require
from rmft_verl.env.regret import REGRETS
from rmft_verl.types import Action, GameSpec, Message, Observation, Oracle, Scenario, StepResult

SIGNIFICANT_DIGITS = 3
"""The first observation may not show numbers of the hidden game with so many digits or more; 0.5 may be chance."""

TOLERANCE = 1e-6
"""Tolerated difference between a reward and <policy, rewards>."""


class Session:
    """Plays random arms or points of the simplex; stops one round after the horizon if the game does not end."""

    def __init__(self, env_class: type[Env], scenario: Scenario, reward_seed: int, policy_seed: int) -> None:
        self.scenario = scenario
        self.env = env_class(scenario, reward_seed)
        self.actions: list[Action] = []
        self.results: list[StepResult] = []
        # Not default_rng(policy_seed): with equal seeds, choices and rewards would come from the same draws.
        self._rng = np.random.default_rng([policy_seed, 2])
        first = self.env.reset()
        require(isinstance(first, Observation), "types", f"reset() returned {type(first).__name__}")
        self.observations = [first]

    @property
    def over(self) -> bool:
        if not self.results:
            return False
        last = self.results[-1]
        return last.done or last.observation is None or len(self.results) > self.scenario.horizon

    def advance(self) -> None:
        """Play one round."""
        self.actions.append(self._random_action())
        result = self.env.step(self.actions[-1])
        require(isinstance(result, StepResult), "types", f"step() returned {type(result).__name__}")
        self.results.append(result)
        if result.observation is not None:
            wrong = type(result.observation).__name__
            require(isinstance(result.observation, Observation), "types", f"step() gave a {wrong} as observation")
            self.observations.append(result.observation)

    def play(self, rounds: int | None = None, *, reading: Sequence[str] = ()) -> Session:
        """Play to the end or to round ``rounds``; before each round one reply of ``reading`` is parsed and ignored."""
        while not self.over and (rounds is None or len(self.results) < rounds):
            if reading:
                text = reading[len(self.results) % len(reading)]
                parsed(self.env, text, len(self.scenario.actions), self.observations[0].spec.full_information)
            self.advance()
        return self

    def truth(self) -> Oracle:
        """The oracle's answer, after checking it."""
        truth = self.env.oracle()
        require(isinstance(truth, Oracle), "types", f"oracle() returned {type(truth).__name__}")
        shape = (self.scenario.horizon, len(self.scenario.actions))
        after = f"after {len(self.results)} rounds"
        table = isinstance(truth.expected_T_A, np.ndarray) and truth.expected_T_A.dtype.kind in "fiu"
        require(table, "oracle", f"it is no array of numbers {after}")
        require(truth.expected_T_A.shape == shape, "oracle", f"shape {truth.expected_T_A.shape}, not {shape}, {after}")
        require(bool(np.isfinite(truth.expected_T_A).all()), "oracle", f"it has NaN or infinity {after}")
        require(truth.kind in REGRETS, "kind", f"{truth.kind!r} is none of {', '.join(REGRETS)}")
        spec = self.observations[0].spec
        fits = spec.full_information or (truth.kind == "contextual") == (spec.n_features > 0)
        require(fits, "kind", f"{truth.kind!r} with n_features={spec.n_features}")
        return truth

    @property
    def seen(self) -> str:
        """All that the player was told and paid, as text for comparisons."""
        told = [
            (o.messages, o.spec, o.turn, o.last_action, *_listed(o.feedback_A), *_listed(o.context_F))
            for o in self.observations
        ]
        return repr((told, [(result.reward, result.done) for result in self.results]))

    def _random_action(self) -> Action:
        n_actions = len(self.scenario.actions)
        if not self.observations[0].spec.full_information:
            return int(self._rng.integers(n_actions))
        return tuple(float(share) for share in self._rng.dirichlet(np.ones(n_actions)))


def _listed(array: np.ndarray | None) -> list[Any]:
    return [] if array is None else [array.tolist()]


def story(observation: Observation) -> str:
    """The text of an observation."""
    return "\n".join(message.content for message in observation.messages)


def check_session(session: Session) -> None:
    """Check the rules that one finished session can break."""
    scenario, rounds = session.scenario, len(session.results)
    for t, result in enumerate(session.results):
        number = isinstance(result.reward, (int, float)) and bool(np.isfinite(result.reward))
        require(number, "reward", f"round {t} paid {result.reward!r}")
        ends = result.observation is None
        require(result.done == ends, "done", f"round {t}: done={result.done}, observation {'' if ends else 'not '}None")
    lasted = f"more than {scenario.horizon}" if rounds > scenario.horizon else str(rounds)
    require(rounds == scenario.horizon, "horizon", f"it lasted {lasted} rounds, the horizon is {scenario.horizon}")
    for t, observation in enumerate(session.observations):
        _check_words(observation, t)
    for t, observation in enumerate(session.observations):
        _check_numbers(session, observation, t)
    _check_story(scenario, session.observations[0])


def _check_words(observation: Observation, t: int) -> None:
    fine = isinstance(observation.messages, tuple) and len(observation.messages) > 0
    for message in observation.messages if fine else ():
        fine = fine and isinstance(message, Message) and message.role in ("user", "system")
        fine = fine and isinstance(message.content, str) and _readable(message.content)
    require(fine, "words", f"round {t}: {observation.messages!r:.60}")


def _readable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return bool(text.strip())


def _check_numbers(session: Session, observation: Observation, t: int) -> None:
    spec, names = observation.spec, session.scenario.actions
    require(spec == session.observations[0].spec, "spec", f"it changed in round {t}")
    sizes = (spec.n_actions, spec.horizon)
    wanted = (len(names), session.scenario.horizon)
    require(sizes == wanted, "spec", f"n_actions, horizon are {sizes}, the scenario's {wanted}")
    _check_context(observation, t)
    require(observation.turn == t, "turn", f"it is {observation.turn} in round {t}")
    played = session.actions[t - 1] if t else None
    last = observation.last_action
    require(type(last) is type(played) and last == played, "last_action", f"round {t}: {last!r}, played was {played!r}")
    if t == 0:
        require(observation.feedback_A is None, "feedback", "it is not None in round 0")
    else:
        _check_feedback(observation, session.results[t - 1].reward, t)
    rewards = [] if t == 0 else [session.results[t - 1].reward]
    if t and observation.feedback_A is not None and spec.full_information:
        rewards = observation.feedback_A.tolist()
    _check_law(spec, rewards, t)


def _check_context(observation: Observation, t: int) -> None:
    context_F, n_features = observation.context_F, observation.spec.n_features
    if not n_features or context_F is None:
        missing = f"n_features={n_features}, context_F is {'' if context_F is None else 'not '}None"
        require(not n_features and context_F is None, "context", f"round {t}: {missing}")
        return
    fits = isinstance(context_F, np.ndarray) and context_F.dtype.kind == "f" and context_F.shape == (n_features,)
    require(fits and bool(np.isfinite(context_F).all()), "context", f"round {t}: {context_F!r:.60}")


def _check_feedback(observation: Observation, reward: float, t: int) -> None:
    feedback_A, spec = observation.feedback_A, observation.spec
    shape = feedback_A.shape if isinstance(feedback_A, np.ndarray) else f"no array but {type(feedback_A).__name__}"
    require(shape == (spec.n_actions,), "feedback", f"round {t}: {shape}")
    assert feedback_A is not None
    if spec.full_information:
        require(bool(np.isfinite(feedback_A).all()), "feedback", f"round {t}: a reward is hidden")
        paid = float(np.dot(np.asarray(observation.last_action), feedback_A))
        require(abs(paid - reward) <= TOLERANCE, "feedback", f"round {t}: {reward:g} was paid, not {paid:g}")
        return
    hidden_A = np.arange(spec.n_actions) != observation.last_action
    require(bool(np.isnan(feedback_A[hidden_A]).all()), "feedback", f"round {t}: an action not played has a reward")
    shown = feedback_A[~hidden_A][0]
    require(shown == reward, "feedback", f"round {t}: {shown:g} is shown, {reward:g} was paid")


def _check_law(spec: GameSpec, rewards: Sequence[float], t: int) -> None:
    for reward in rewards:
        if spec.reward_law == "bernoulli":
            require(reward in (0, 1), "law", f"bernoulli, and round {t - 1} paid {reward:g}")
        elif spec.reward_law == "bounded" or spec.full_information:
            require(0 <= reward <= 1, "law", f"{spec.reward_law}, and round {t - 1} paid {reward:g}")


def _check_story(scenario: Scenario, first: Observation) -> None:
    text, spec = story(first), first.spec
    unnamed = [name for name in scenario.actions if name.casefold() not in text.casefold()]
    require(not unnamed, "names", f"{', '.join(unnamed)} is missing")
    shown = [] if first.context_F is None else [abs(value) for value in first.context_F.tolist()]
    public = {repr(number) for number in (spec.reward_scale, spec.shown_scale, *shown)}
    for number in sorted(set(_numbers(scenario.game))):
        digits = number.split("e")[0].replace(".", "").strip("-0")
        told = (
            number.strip("-") not in public
            and len(digits) >= SIGNIFICANT_DIGITS
            and re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", text)
        )
        require(not told, "leak", f"{number} of scenario.game stands in the first observation")


def _numbers(value: Any) -> Iterator[str]:
    """Every float of a JSON value, as JSON writes it."""
    if isinstance(value, float):
        yield repr(float(value))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
