"""The immutable data types that the modules exchange; numpy only.

    Generator.draw(rng) -> Scenario ; Env(scenario, seed)
    env.reset() -> Observation ; player.act(observation) -> Reply
    env.parse(text) -> Action | None ; env.step(action) -> StepResult ; env.oracle() -> Oracle
    play(env, player) -> Trajectory ; scorer(trajectories, rng) -> list[Scored]

Axes: ``_S`` scenarios, ``_G`` members of a group, ``_T`` turns, ``_A`` actions, ``_F`` features, ``_N`` tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Union

import numpy as np

Action = Union[int, tuple[float, ...]]
"""An arm index (bandits) or a point of the simplex over the actions (full-information games)."""


class RunError(Exception):
    """An error that the user can fix: shown as one line, without a traceback."""


class Message(NamedTuple):
    """One chat message. ``role`` is ``user``, ``assistant`` or ``system``."""

    role: str
    content: str


class StopReason(str, Enum):
    """Why an episode ended."""

    COMPLETED = "completed"
    """All rounds of the horizon were played."""
    INVALID = "invalid"
    """A reply without an action ended the episode (``rollout.on_invalid=end``)."""
    LENGTH = "length"
    """The context had no room for another reply."""
    ERROR = "error"
    """The environment or the player raised; the traceback is in ``Trajectory.error``."""


def content_hash(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of ``value`` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Scenario:
    """One decision problem: a hidden game, and how a model is told about it.

    It contains the truth (``game``), so an ``Env`` receives it and a player never does.
    """

    env: str
    """Name of the environment plug-in."""
    horizon: int
    """Number of rounds T, >= 1."""
    actions: tuple[str, ...]
    """The name of each action, in the order of the hidden game's actions."""
    context: str
    """Key of the verbal domain."""
    game: Mapping[str, Any]
    """Hidden parameters, JSON values only."""
    telling: Mapping[str, str] = field(default_factory=dict)
    """Settings of the text that differ from the default, such as ``framing`` or ``answer``."""

    @property
    def id(self) -> str:
        """Content hash: equal scenarios have equal ids, on every machine."""
        return content_hash(self.to_json())

    @property
    def instance_id(self) -> str:
        """Hash of environment, horizon and hidden game: equal for the same game in other words."""
        return content_hash([self.env, self.horizon, self.game])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, for ``from_json``. An empty ``telling`` is left out."""
        value = {
            "env": self.env,
            "horizon": self.horizon,
            "actions": list(self.actions),
            "context": self.context,
            "game": dict(self.game),
        }
        return value | ({"telling": dict(self.telling)} if self.telling else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scenario:
        telling = value.get("telling", {})
        return cls(value["env"], value["horizon"], tuple(value["actions"]), value["context"], value["game"], telling)


@dataclass(frozen=True)
class GameSpec:
    """What every player knows before the first round; a model reads the same facts as text."""

    n_actions: int
    horizon: int
    reward_law: str
    """``bernoulli`` (0 or 1), ``gaussian`` (noisy real numbers), ``bounded`` (real numbers within 0 and 1) or
    ``heavy_tailed`` (real numbers with rare large deviations); plug-ins may add laws."""
    reward_scale: float = 1.0
    """Standard deviation of one reward around its mean as told to the player; 0.5 for Bernoulli."""
    full_information: bool = False
    """True if the rewards of all actions are revealed after every round, and an action is a point of the simplex."""
    shown_scale: float = 1.0
    """Factor by which the messages multiply a reward to state it in ``unit``."""
    unit: str = ""
    """Unit that the messages use, such as ``dollars``."""
    n_features: int = 0
    """F: features of the context that every round shows (``Observation.context_F``); 0 if there is none."""


@dataclass(frozen=True)
class Observation:
    """What the player sees before a round: messages for a model, numbers for an algorithm, with the same facts."""

    messages: tuple[Message, ...]
    """Messages new since the last observation (never the player's own replies)."""
    spec: GameSpec
    turn: int
    """Index of the round about to be played, 0-based."""
    last_action: Action | None = None
    """The action of the previous round; None in the first round."""
    feedback_A: np.ndarray | None = None
    """Rewards that the previous round revealed, NaN for others; None in the first round. Shape (A,)."""
    fresh: bool = False
    """True if the messages stand alone: a model starts a new dialogue with them (``history.SinglePrompt``)."""
    context_F: np.ndarray | None = None
    """Features of the round about to be played, on which its rewards depend, shape (F,); None if the game has none."""


@dataclass(frozen=True)
class Reply:
    """A player's answer: text to be parsed (models), or an action (algorithms, which leave ``text`` empty)."""

    text: str = ""
    action: Action | None = None
    cut: bool = False
    """True if the reply was cut off at its token limit."""
    control: bool = False
    """True if the text contains a control token of the chat template, as if a turn began: it is not parsed."""
    exhausted: bool = False
    """True if the context had no room for a reply: the episode stops."""


@dataclass(frozen=True)
class StepResult:
    """Outcome of one round. There is no info dict: only ``Env.oracle`` may reveal the truth."""

    observation: Observation | None
    """None after the last round."""
    reward: float
    done: bool


@dataclass(frozen=True)
class Oracle:
    """The truth of a finished game."""

    expected_T_A: np.ndarray
    """Expected reward of each action at each round, or what full-information games reveal itself, shape (T, A)."""
    kind: str
    """Which regret the game is scored by: ``pseudo``, ``external``, ``dynamic`` or ``contextual``."""


@dataclass(frozen=True)
class Turn:
    """One reply and its outcome."""

    messages: tuple[Message, ...]
    """Messages that the player saw, new since the turn before."""
    text: str
    action: Action | None
    """The action executed; None if the player was asked again or the episode ended."""
    reward: float | None
    parsed: bool
    cut: bool = False


@dataclass(frozen=True)
class Tokens:
    """Token ids of one dialogue, exactly as the sampler read and produced them; never tokenized again."""

    ids_N: np.ndarray
    """Prompt, replies and observations, in order; int32, shape (N,)."""
    mask_N: np.ndarray
    """1 for sampled tokens, 2 for those that the answer format forced, 0 elsewhere; int8, shape (N,)."""
    prompt_length: int
    """Number of tokens before the first reply."""
    logprobs_N: np.ndarray | None = None
    """The sampler's log-probability of each sampled token, 0 elsewhere; float32, shape (N,). None = not asked for."""
    allowed: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """Place of a sampled token -> the ids among which structured decoding let it be drawn; others had all of them."""

    @property
    def sampled_N(self) -> np.ndarray:
        """True for sampled tokens, which are trained on; bool, shape (N,)."""
        return np.asarray(self.mask_N == 1)

    @property
    def reply_spans(self) -> list[tuple[int, int]]:
        """(start, end) of every reply, in order. A reply is a run of sampled and forced tokens."""
        edges = np.flatnonzero(np.diff((self.mask_N > 0).astype(int), prepend=0, append=0))
        return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


@dataclass(frozen=True)
class Trajectory:
    """One episode of one scenario, with all that is needed to score it again later."""

    scenario: Scenario
    player: str
    turns: tuple[Turn, ...]
    oracle: Oracle
    stop_reason: StopReason
    reward_seed: int
    policy_seed: int
    policy_version: int = -1
    """Number of weight updates that the sampled model had seen; -1 for algorithms."""
    tokens: tuple[Tokens, ...] = ()
    """The sampled dialogues, each a training sample: one for the episode, or one per prompt if every round has its own.
    Players that verl does not sample have none until their text is tokenized for training."""
    error: str = ""
    regret: float | None = None
    """Regret in reward units; None = not scored."""

    @property
    def actions_T(self) -> tuple[Action | None, ...]:
        """The actions played, padded with None to the horizon."""
        played = tuple(turn.action for turn in self.turns if turn.action is not None)
        return played + (None,) * (self.scenario.horizon - len(played))

    @property
    def asked_again(self) -> tuple[bool, ...]:
        """For each turn, whether its reply named no action and the player was asked again (``on_invalid=reask``)."""
        return tuple(turn.action is None and n + 1 < len(self.turns) for n, turn in enumerate(self.turns))

    @property
    def rounds(self) -> tuple[Turn, ...]:
        """The turns that count, one per round: without those that were asked again."""
        return tuple(turn for turn, again in zip(self.turns, self.asked_again, strict=True) if not again)

    @property
    def valid(self) -> bool:
        """Completed, with every round's last reply parsed and not cut. Invalid trajectories are never imitated."""
        return self.stop_reason is StopReason.COMPLETED and not self.failed

    @property
    def failed(self) -> bool:
        """Whether a round's last reply named no action or was cut: the player's fault, unless the game broke."""
        return self.stop_reason is not StopReason.ERROR and any(not turn.parsed or turn.cut for turn in self.rounds)

    @property
    def messages(self) -> list[Message]:
        """The whole dialogue, for people to read."""
        return [said for turn in self.turns for said in (*turn.messages, Message("assistant", turn.text))]


class Scored(NamedTuple):
    """A valid trajectory of an iteration and its score; lower is better (``algo.scores``)."""

    trajectory: Trajectory
    score: float
    place: int
    """Its position among the iteration's trajectories."""


@dataclass(frozen=True)
class Batch:
    """What one update trains on."""

    trajectories: Sequence[Trajectory]
    """Valid trajectories; in methods that compare pairs, chosen and rejected ones alternate. Those with an invalid
    reply follow if a method penalizes them."""
    kept: Sequence[int]
    """Positions, among the iteration's trajectories, of those that the update makes more likely."""
    credit: Sequence[np.ndarray] = ()
    """Credit of the turns of each of ``plays``, shape (T,), higher is better; empty if the method uses none."""


@dataclass(frozen=True)
class RolloutRequest:
    """One trajectory to be sampled: its scenario and one seed per purpose."""

    scenario: Scenario
    reward_seed: int
    policy_seed: int
    temperature: float = 1.0
