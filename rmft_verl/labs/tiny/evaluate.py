"""Measure a tiny model beside habits and algorithms, with its own batched sampler: no verl, no vLLM."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rmft_verl.env import Env, load_env
from rmft_verl.env.history import told
from rmft_verl.env.play import Player, play, run_now
from rmft_verl.env.regret import score
from rmft_verl.eval import metrics
from rmft_verl.labs.tiny.teacher import GAMES, Teacher, habits, history
from rmft_verl.labs.tiny.tokenizer import END, START
from rmft_verl.players import PLAYERS, can_play, make_player
from rmft_verl.players.scripted import Scripted
from rmft_verl.types import Observation, Reply, Scenario, Trajectory

MAX_REPLY = 24
"""Number of tokens after which a reply is cut."""


class Sampler:
    """Samples many dialogues in lockstep at temperature 1, over one key-value cache with gaps masked out."""

    def __init__(self, model: Any, tokenizer: Any, seed: int) -> None:
        import torch

        self._torch, self._model, self._tokenizer = torch, model, tokenizer
        self._random = torch.Generator().manual_seed(seed)
        self.forget()
        self._end = tokenizer.convert_tokens_to_ids(END)

    def forget(self) -> None:
        """Begin all dialogues anew."""
        from transformers import DynamicCache

        self._cache = DynamicCache()
        self._seen: Any = None  # attention mask so far, (S, N)

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

    def reply(self, pieces: Sequence[Sequence[int]], forced: str = "") -> list[list[int]]:
        """Feed one piece per row and sample a reply to each, ``END`` included; every reply starts with ``forced``."""
        start = list(self._tokenizer(forced).input_ids)
        logits = self.feed([[*piece, *start] for piece in pieces])
        replies = [list(start) for _ in pieces]
        unfinished = set(range(len(replies)))
        while unfinished and max(map(len, replies)) < MAX_REPLY:
            drawn = self._torch.multinomial(logits.float().softmax(-1), 1, generator=self._random)[:, 0].tolist()
            for row in unfinished:
                replies[row].append(drawn[row])
            logits = self.feed([[drawn[row]] if row in unfinished else [] for row in range(len(replies))])
            unfinished -= {row for row in unfinished if drawn[row] == self._end}
        return replies


class Seat:
    """A player whose replies are sampled together with those of all other seats."""

    name = "model"

    def __init__(self, table: Table) -> None:
        self._table = table

    async def act(self, observation: Observation) -> Reply:
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._table.ask(self, observation, answer)
        return await answer


class Table:
    """Waits for every seat to ask, then samples all replies at once. All episodes must have one horizon."""

    def __init__(self, sampler: Sampler, tokenizer: Any, n_seats: int, forced: str) -> None:
        self.seats = [Seat(self) for _ in range(n_seats)]
        self._sampler, self._tokenizer, self._forced = sampler, tokenizer, forced
        self._asked: dict[Seat, tuple[Observation, asyncio.Future[Reply]]] = {}

    def ask(self, seat: Seat, observation: Observation, answer: asyncio.Future[Reply]) -> None:
        self._asked[seat] = observation, answer
        if len(self._asked) == len(self.seats):
            self._deal([self._asked[seat] for seat in self.seats])
            self._asked.clear()

    def _deal(self, asked: Sequence[tuple[Observation, asyncio.Future[Reply]]]) -> None:
        first = asked[0][0].turn == 0
        if asked[0][0].fresh:
            self._sampler.forget()
        pieces = [self._tokenizer(_rendered(observation)).input_ids for observation, _ in asked]
        replies = self._sampler.reply(pieces, self._forced if first else "")
        for ids, (_, answer) in zip(replies, asked, strict=True):
            answer.set_result(Reply(self._tokenizer.decode(ids, skip_special_tokens=True), cut=len(ids) >= MAX_REPLY))


def _rendered(observation: Observation) -> str:
    turns = "".join(f"{START}{role}\n{content}{END}" for role, content in observation.messages)
    return f"{turns}{START}assistant\n"


def play_model(
    model: Any,
    tokenizer: Any,
    env_class: type[Env],
    scenarios: Sequence[Scenario],
    seed: int,
    forced: str = "",
    history: str = "dialogue",
) -> list[Trajectory]:
    """Play every scenario once and score it; every first reply starts with ``forced``."""

    table = Table(Sampler(model, tokenizer, seed), tokenizer, len(scenarios), forced)
    return play_all(env_class, table.seats, scenarios, history)


def play_all(
    env_class: type[Env],
    players: Sequence[Player],
    scenarios: Sequence[Scenario],
    history: str = "dialogue",
    first_seed: int = 0,
) -> list[Trajectory]:
    """Player i plays scenario i with reward seed ``first_seed`` + i, all at once; returns scored trajectories."""

    async def everyone() -> list[Trajectory]:
        games = [
            play(
                told(env_class(scenario, seed), scenario, history), player, scenario, reward_seed=seed, policy_seed=seed
            )
            for seed, (scenario, player) in enumerate(zip(scenarios, players, strict=True), first_seed)
        ]
        return [score(trajectory) for trajectory in await asyncio.gather(*games)]

    return run_now(everyone())


def evaluate(name: str, directory: Path, n_scenarios: int = 400, seed: int = 0, threads: int = 2) -> None:
    """Print rows per game: the model, also on held-out contexts and begun as each habit; the habits; the algorithms."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    print(f"{'':26s} regret (95 %)         SuffFail  K x MinFrac  GreedyFrac  invalid")
    for env_name in GAMES[name]:
        _evaluate_game(name, env_name, model, tokenizer, n_scenarios, seed)


def _evaluate_game(name: str, env_name: str, model: Any, tokenizer: Any, n_scenarios: int, seed: int) -> None:
    env_class = load_env(env_name)

    def draw(contexts: str) -> list[Scenario]:
        generator = env_class.Generator(**GAMES[name][env_name], contexts=contexts)
        rng = np.random.default_rng([seed, 1])
        return [generator.draw(rng) for _ in range(n_scenarios)]

    scenarios = draw("basic")
    view = history(name)
    free = play_model(model, tokenizer, env_class, scenarios, seed, history=view)
    print(line(f"{env_name}: model", free), token_counts(tokenizer, free), sep="\n", flush=True)
    held_out = play_model(model, tokenizer, env_class, draw("basic_heldout"), seed, history=view)
    print(line("model, held-out contexts", held_out), flush=True)
    known, answer = habits(env_name, name), "Policy" if free[0].oracle.kind == "external" else "Action"
    for habit in known if view == "dialogue" else ():
        trajectories = play_model(model, tokenizer, env_class, scenarios, seed, first_thought(known[habit][1], answer))
        print(line(f"model begins as {habit}", trajectories), flush=True)
    teacher, games = Teacher(name), list(GAMES[name])
    for habit in known:
        rows = range(games.index(env_name), len(games) * n_scenarios, len(games))
        dialogues = [teacher.dialogue(row, habit) for row in rows]
        players = [Scripted(dialogue.actions_T) for dialogue in dialogues]
        print(line(f"habit {habit}", play_all(env_class, players, [dialogue.scenario for dialogue in dialogues])))
    spec = env_class(scenarios[0], 0).reset().spec
    for player in (name for name in PLAYERS if can_play(name, spec)):
        rivals = [make_player(player, np.random.default_rng([seed, row])) for row in range(n_scenarios)]
        print(line(player, play_all(env_class, rivals, scenarios)))


def line(label: str, trajectories: Sequence[Trajectory]) -> str:
    """One row of the table; regret is normalized, 0 = oracle, 1 = uniform play."""
    regret, low, high = metrics.normalized_regret_interval(trajectories)
    return (
        f"{label:26s} {regret:.3f} ({low:.3f}-{high:.3f})   {metrics.suffix_failure_frequency(trajectories):8.2f}  "
        f"{metrics.scaled_min_fraction(trajectories):11.2f}  {metrics.greedy_fraction(trajectories):10.2f}  "
        f"{metrics.invalid_rate(trajectories):7.2%}"
    )


def first_thought(thought: str, answer: str) -> str:
    """The start of a habit's first reply, which opens with ``thought``, up to the name of the first action."""
    return thought.partition(" {tally}")[0] if "{tally}" in thought else f"{thought}\n{answer}:"


def token_counts(tokenizer: Any, trajectories: Sequence[Trajectory]) -> str:
    """Mean tokens per reply and per dialogue, as text."""
    replies = [len(tokenizer(turn.text).input_ids) + 1 for play in trajectories for turn in play.turns]
    chats = [[message._asdict() for message in play.messages] for play in trajectories]
    whole = [len(tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)) for chat in chats]
    return f"tokens: {np.mean(replies):.1f} per reply, {np.mean(whole):.0f} per dialogue, {max(whole)} at most"
