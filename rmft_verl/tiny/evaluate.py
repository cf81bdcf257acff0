"""Measures a tiny model with a batched sampler of its own: no verl, no vLLM, the same games for everyone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rmft_verl.env import Env, load_env
from rmft_verl.play import play_now
from rmft_verl.players import PLAYERS, make_player
from rmft_verl.regret import regret_curve, uniform_regret
from rmft_verl.tiny.habits import HABITS, OPTIONS, Memory, Teacher
from rmft_verl.tiny.tokenizer import END, START
from rmft_verl.types import Observation, Oracle, Scenario

MAX_REPLY = 24
"""Tokens after which a reply is cut."""


class Plays(NamedTuple):
    """What a player did, one entry per scenario."""

    actions_S_T: list[list[int]]
    invalid: float = 0.0
    """Share of turns without a readable action (played uniformly)."""
    reply_tokens: float = 0.0
    """Mean tokens per reply."""
    dialogue_tokens: float = 0.0
    """Mean tokens per dialogue."""


class Sampler:
    """Plays many scenarios in step, at temperature 1, over one key-value cache with gaps masked out."""

    def __init__(self, model: Any, tokenizer: Any, seed: int) -> None:
        import torch
        from transformers import DynamicCache

        self._torch, self._model, self._tokenizer = torch, model, tokenizer
        self._cache = DynamicCache()
        self._random = torch.Generator().manual_seed(seed)
        self._seen: Any = None  # attention mask so far, (S, N)
        self._end = tokenizer.convert_tokens_to_ids(END)

    def feed(self, rows: Sequence[Sequence[int]]) -> Any:
        """Append one piece per row (left-padded here) and return the logits after it, (S, vocabulary)."""
        torch = self._torch
        width = max(map(len, rows))
        ids_S_N = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
        here = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        before = torch.zeros(len(rows), 1, dtype=torch.long) if self._seen is None else self._seen.sum(1, keepdim=True)
        self._seen = here if self._seen is None else torch.cat([self._seen, here], dim=1)
        with torch.no_grad():
            return self._model(
                input_ids=ids_S_N,
                attention_mask=self._seen,
                position_ids=(before + here.cumsum(1) - 1).clamp(min=0),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]

    def reply(self, logits: Any, forced: str = "") -> list[list[int]]:
        """One sampled reply per row, ``END`` included; ``forced`` is the text every reply starts with."""
        torch = self._torch
        replies: list[list[int]] = [[] for _ in range(len(logits))]
        if forced:
            start = self._tokenizer(forced).input_ids
            logits = self.feed([start] * len(replies))
            replies = [list(start) for _ in replies]
        open_rows = set(range(len(replies)))
        for _ in range(MAX_REPLY):
            drawn = torch.multinomial(logits.float().softmax(-1), 1, generator=self._random)[:, 0].tolist()
            for row in open_rows:
                replies[row].append(drawn[row])
            logits = self.feed([[drawn[row]] if row in open_rows else [] for row in range(len(replies))])
            open_rows -= {row for row in open_rows if drawn[row] == self._end}
            if not open_rows:
                break
        return replies


def play_model(
    model: Any, tokenizer: Any, env_class: type[Env], scenarios: Sequence[Scenario], seed: int, forced: str = ""
) -> Plays:
    """Every scenario played once, reward seed = its index; ``forced`` starts the first reply of each."""
    sampler, rng = Sampler(model, tokenizer, seed), np.random.default_rng(seed)
    envs = [env_class(scenario, index) for index, scenario in enumerate(scenarios)]
    observations: list[Observation | None] = [env.reset() for env in envs]
    actions: list[list[int]] = [[] for _ in envs]
    invalid = spoken = total = 0
    while observations[0] is not None:  # all horizons are equal
        pieces = [tokenizer(_rendered(observation)).input_ids for observation in observations]
        replies = sampler.reply(sampler.feed(pieces), forced if not actions[0] else "")
        spoken += sum(map(len, replies))
        total += sum(map(len, pieces)) + sum(map(len, replies))
        for row, env in enumerate(envs):
            action = env.parse(tokenizer.decode(replies[row], skip_special_tokens=True))
            if action is None:
                invalid, action = invalid + 1, int(rng.integers(len(scenarios[row].actions)))
            actions[row].append(int(action))  # type: ignore[arg-type]
            observations[row] = env.step(action).observation
    turns = sum(map(len, actions))
    return Plays(actions, invalid / turns, spoken / turns, total / len(envs))


def _rendered(observation: Observation | None) -> str:
    assert observation is not None
    turns = "".join(f"{START}{role}\n{content}{END}" for role, content in observation.messages)
    return f"{turns}{START}assistant\n"


def figures(oracles: Sequence[Oracle], actions_S_T: Sequence[Sequence[int]]) -> dict[str, float]:
    """Normalized regret with its standard error, suffix failures at T/2, K x MinFrac.

    The latter two: Krishnamurthy et al. 2024, section on surrogate statistics. Normalized: mean regret over mean regret
    of uniform play, 0 oracle, 1 uniform.
    """
    regret_S = np.array([regret_curve(o, list(a))[-1] for o, a in zip(oracles, actions_S_T, strict=True)])
    uniform_S = np.array([uniform_regret(oracle) for oracle in oracles])
    ratio = regret_S.sum() / uniform_S.sum()
    failed, least = [], []
    for oracle, actions in zip(oracles, actions_S_T, strict=True):
        n_arms = oracle.expected_T_A.shape[1]
        failed.append(int(oracle.expected_T_A[0].argmax()) not in actions[len(actions) // 2 :])
        least.append(n_arms * np.bincount(actions, minlength=n_arms).min() / len(actions))
    error = np.std(regret_S - ratio * uniform_S) / np.sqrt(len(regret_S)) / uniform_S.mean()
    return {"regret": ratio, "se": error, "suff_fail": float(np.mean(failed)), "k_min_frac": float(np.mean(least))}


def evaluate(name: str, directory: Path, n_scenarios: int = 400, seed: int = 0, threads: int = 2) -> None:
    """Print a table: the model, the model with a habit's first thought forced, the habits, the baseline players."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    env_class = load_env(name)
    for contexts in ("train", "heldout"):
        scenarios = _scenarios(env_class, contexts, n_scenarios, seed)
        _line(
            f"model, {contexts} contexts",
            env_class,
            scenarios,
            play_model(model, tokenizer, env_class, scenarios, seed),
        )
    scenarios = _scenarios(env_class, "train", n_scenarios, seed)
    for habit in HABITS:
        plays = play_model(model, tokenizer, env_class, scenarios, seed, first_thought(habit))
        _line(f"model begins as {habit}", env_class, scenarios, plays)
    teacher = Teacher(name)
    for habit in HABITS:
        dialogues = [teacher.dialogue(row, habit) for row in range(5 * n_scenarios)]
        _line(f"habit {habit}", env_class, [d.scenario for d in dialogues], Plays([d.actions_T for d in dialogues]))
    for player in PLAYERS:
        _line(f"player {player}", env_class, scenarios, _play_numbers(env_class, player, scenarios))


def first_thought(habit: str) -> str:
    """How a habit's first reply begins, up to the name of the arm."""
    _, thought = HABITS[habit][1](Memory([0.0] * 3, [0] * 3), random.Random(0))
    return thought.partition(" {tally}")[0] if "{tally}" in thought else f"{thought}\nAction:"


def _scenarios(env_class: type[Env], contexts: str, count: int, seed: int) -> list[Scenario]:
    generator, rng = env_class.Generator(**OPTIONS, contexts=contexts), np.random.default_rng([seed, 1])
    return [generator.draw(rng) for _ in range(count)]


def _play_numbers(env_class: type[Env], player: str, scenarios: Sequence[Scenario]) -> Plays:
    trajectories = [
        play_now(
            env_class, make_player(player, np.random.default_rng([row, 2])), scenario, reward_seed=row, policy_seed=row
        )
        for row, scenario in enumerate(scenarios)
    ]
    return Plays([[action for action in t.actions_T if isinstance(action, int)] for t in trajectories])


def _line(label: str, env_class: type[Env], scenarios: Sequence[Scenario], plays: Plays) -> None:
    oracles = [env_class(scenario, 0).oracle() for scenario in scenarios]
    text = f"{label:26s}" + "".join(f"  {k} {v:.3f}" for k, v in figures(oracles, plays.actions_S_T).items())
    if plays.dialogue_tokens:
        text += f"  invalid {plays.invalid:.4f}"
        text += f"  tokens: reply {plays.reply_tokens:.1f}, dialogue {plays.dialogue_tokens:.0f}"
    print(text, flush=True)
