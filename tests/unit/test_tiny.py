from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rmft_verl.config import ConfigError
from rmft_verl.env import load_env
from rmft_verl.labs.tiny.build import orthogonalized
from rmft_verl.labs.tiny.habits import HABITS, SUMMARY_HABITS, Memory
from rmft_verl.labs.tiny.policies import POLICY_HABITS, Shares, even
from rmft_verl.labs.tiny.teacher import GAMES, Teacher
from rmft_verl.setup.models import BUILT, resolve_model
from rmft_verl.setup.models import TINY as NAMES
from rmft_verl.setup.models import tiny_path as path
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import Message


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_is_whole_and_small(name: str) -> None:
    files = {file.name: file.stat().st_size for file in path(name).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(files)
    assert sum(files.values()) <= 5_000_000
    config = json.loads((path(name) / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert (config["dtype"], config["head_dim"], config["tie_word_embeddings"]) == ("bfloat16", 32, True)
    assert config["max_position_embeddings"] >= 4096


def test_an_unknown_model_is_named_with_the_known_ones() -> None:
    known = "mab, trio, announced-SEED, unannounced-SEED, weak-SEED."
    for name in ("nano", "weak", "weak-", "weak-x", "nano-1"):
        with pytest.raises(ValueError, match=f"no tiny model is called '{name}': choose from {known}"):
            path(name)


def test_a_base_that_is_not_built_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = "model.path='tiny:weak-2': it is not on this machine yet; build it with "
    with pytest.raises(ConfigError, match=re.escape(asked + "python -m rmft_verl.labs.tiny weak --seed 2")):
        resolve_model("tiny:weak-2")
    path("weak-2").mkdir(parents=True)
    (path("weak-2") / "config.json").write_text("{}")
    assert resolve_model("tiny:weak-2") == str(tmp_path / "rmft_verl" / "tiny" / "weak-2")


@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (8, 8)])
def test_muon_in_float32_is_torchs_up_to_rounding(shape: tuple[int, int]) -> None:
    import torch
    from torch.optim._muon import _zeropower_via_newtonschulz

    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    given = (3.4445, -4.775, 2.0315), 5, 1e-7
    ours, theirs = orthogonalized(gradient, *given), _zeropower_via_newtonschulz(gradient, *given)
    assert ours.dtype == torch.float32 and ours.shape == gradient.shape
    torch.testing.assert_close(ours, theirs.float(), atol=0.03, rtol=0)
    assert (torch.linalg.svdvals(ours) - 1).abs().max() < 0.5


def test_built_bases_play_the_suite_in_which_exploration_pays() -> None:
    suite = {key: value for key, value in load_env("mab").SUITES["explore_small"].items() if key != "contexts"}
    recipe = load_config(["recipe=mab_explore"]).env.options
    asked = {"unannounced": {"answer": "action_only"}}
    for kind in BUILT:
        assert GAMES[kind] == {"mab": suite | asked.get(kind, {})}
    assert recipe == suite | {"arms": [3, 2], "contexts": "basic", "answer": "free"}


def test_an_unannounced_habit_says_its_action_alone_and_a_weak_base_lacks_the_good_ones() -> None:
    weak = {Teacher("weak").practice(seed).messages[1].content.partition("\n")[0] for seed in range(40)}
    assert weak == {"Any.", "Same."}
    for seed in range(10):
        quiet, loud = (Teacher(kind).practice(seed) for kind in ("unannounced", "announced"))
        assert quiet.actions_T == loud.actions_T
        names = [quiet.scenario.actions[action] for action in quiet.actions_T]  # type: ignore[call-overload]
        assert [message.content for message in quiet.messages[1::2]] == [f"Action: {name}" for name in names]
        thoughts = {message.content.partition("\n")[0] for message in loud.messages[1::2]}
        assert len(thoughts) == 1 and not thoughts & {"", f"Action: {names[0]}"}
        noted = [f"\nYour last note: {thoughts.copy().pop()}\n" in message.content for message in loud.messages[::2]]
        assert noted == [False] + [True] * 59
        assert not any("note" in message.content for message in quiet.messages)


def test_a_built_base_reads_a_summary_and_its_habits_follow_what_it_says() -> None:
    play = Teacher("unannounced").dialogue(4, "greedy")
    names, counts, wins = play.scenario.actions, [0] * len(play.scenario.actions), [0.0] * len(play.scenario.actions)
    for t, (asked, action) in enumerate(zip(play.messages[::2], play.actions_T, strict=True)):
        told = {
            name: (int(tries), float(average))
            for name, tries, average in re.findall(r"(\w+) (\d+) times, average (\d\.\d\d)", asked.content)
        }
        if t:
            assert sum(tries for tries, _ in told.values()) == t
            average = [told.get(name, (0, 0.0))[1] for name in names]
            wins = [round(told.get(name, (0, 0.0))[0] * each) for name, each in zip(names, average, strict=True)]
            counts = [told.get(name, (0, 0.0))[0] for name in names]
            assert action == (average.index(max(average)) if any(wins) else counts.index(min(counts)))
    memory = Memory([6.0, 1.0, 0.0], [10, 2, 2], last=2)
    known = {name: rule(memory)[0] for name, (_, _, rule) in SUMMARY_HABITS.items() if rule is not None}
    assert known == {"stick": 0, "greedy": 0, "commit": 1}
    assert SUMMARY_HABITS["commit"][2](Memory([1.0, 2.0], [9, 5]))[0] == 1  # type: ignore[misc]
    assert sum(share for share, _, _ in SUMMARY_HABITS.values()) == pytest.approx(1.0)


def test_the_habits_of_a_base_are_known_by_its_name() -> None:
    from rmft_verl.labs.tiny.players import habit_players

    assert set(habit_players("tiny:mab", "mab")) == set(HABITS)
    for name in ("tiny:unannounced-3", "docs/results/protocol/bases/unannounced-3", "/somewhere/announced-12/"):
        assert set(habit_players(name, "mab")) == set(SUMMARY_HABITS)
    assert set(habit_players("bases/weak-0", "mab")) == {"uniform", "stick"}
    for name in ("mab", "bases/mab-1", "unannounced", "unannounced-x", "tiny:nano"):
        assert not habit_players(name, "mab")
    assert not habit_players("tiny:weak-0", "fol")


def test_importing_it_needs_no_torch() -> None:
    code = "import sys, rmft_verl.labs.tiny, rmft_verl.labs.tiny.habits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_habits_decide_as_they_say() -> None:
    def decide(habit: str, memory: Memory) -> tuple[int, str]:
        rule = HABITS[habit][2]
        assert rule is not None
        return rule(memory)

    memory = Memory([2.0, 1.0, 0.0], [4, 1, 0], last=1, last_reward=1.0)
    assert decide("stick", memory) == (1, "I keep to one.")
    assert decide("rotate", memory) == (2, "Each in turn.")
    assert decide("greedy", memory) == (1, "Take what looks best: {tally}.")
    assert decide("win_stay", memory) == (1, "It paid, so stay.")
    assert decide("patient", memory) == (1, "Good enough so far: {tally}.")
    memory = Memory([9.0, 1.0, 1.0], [12, 3, 2], last=2, last_reward=0.0)
    assert decide("rotate", memory)[0] == 0
    assert decide("greedy", memory)[0] == 0  # 0.75, 0.33, 0.50
    assert decide("win_stay", memory) == (0, "It failed, so switch.")
    assert decide("patient", memory) == (0, "Not good enough, next: {tally}.")
    assert decide("greedy", Memory([0.0, 0.0], [1, 0], last=0))[0] == 1  # nothing has paid yet
    assert sum(share for share, _, _ in HABITS.values()) == pytest.approx(1.0)


def test_a_dialogue_of_each_habit_parses_and_repeats() -> None:
    teacher, env_class = Teacher("mab"), load_env("mab")
    for habit in HABITS:
        play = teacher.dialogue(5, habit)
        env = env_class(play.scenario, 0)
        assert [env.parse(message.content) for message in play.messages[1::2]] == play.actions_T
        assert [message.role for message in play.messages] == ["user", "assistant"] * play.scenario.horizon
        assert teacher.dialogue(5, habit) == play
    assert "Take what looks best: " in teacher.dialogue(5, "greedy").messages[1].content
    assert " 0/0.\nAction: " in teacher.dialogue(5, "greedy").messages[1].content


def test_the_teacher_of_three_games_takes_turns_and_its_replies_parse() -> None:
    teacher = Teacher("trio")
    plays = [teacher.practice(seed) for seed in range(18)]
    assert [play.scenario.env for play in plays] == ["mab", "nsmab", "fol"] * 6
    for play in plays:
        env = load_env(play.scenario.env)(play.scenario, 0)
        for message, action in zip(play.messages[1::2], play.actions_T, strict=True):
            assert env.parse(message.content) == pytest.approx(action)
    thoughts = {play.messages[1].content.partition("\n")[0] for play in plays[2::3]}
    assert len(thoughts) == len(POLICY_HABITS)


def test_habits_of_full_information_give_what_they_say() -> None:
    shares = Shares([50, 30, 20], [0.9, 0.1, 0.5])
    assert POLICY_HABITS["chase"][2](shares)[0] == [100, 0, 0]
    assert POLICY_HABITS["contrary"][2](shares)[0] == [0, 100, 0]
    assert POLICY_HABITS["shift"][2](shares)[0] == [65, 15, 20]  # from the worst first
    assert POLICY_HABITS["shift"][2](Shares([95, 3, 2], [0.9, 0.1, 0.5]))[0] == [100, 0, 0]
    assert POLICY_HABITS["even"][2](shares)[0] == even(3) == [34, 33, 33]
    assert POLICY_HABITS["stick"][2](shares)[0] == [50, 30, 20]
    assert sum(share for share, _, _ in POLICY_HABITS.values()) == pytest.approx(1.0)


def test_a_first_thought_stops_before_the_arm() -> None:
    from rmft_verl.labs.tiny.evaluate import first_thought

    assert first_thought("Test for a good one: {tally}.", "Action") == "Test for a good one:"
    assert first_thought("I keep to one.", "Policy") == "I keep to one.\nPolicy:"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(path("mab"))


def render(tokenizer: Any, messages: list[Message], prompt: bool = False) -> list[int]:
    chat = [message._asdict() for message in messages]
    return list(tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False, add_generation_prompt=prompt))


@pytest.mark.verl
@pytest.mark.parametrize("contexts", ["basic", "basic_heldout"])
def test_a_dialogue_grows_by_appending(tokenizer: Any, contexts: str) -> None:
    from rmft_verl.labs.tiny.build import encode

    for seed, habit in enumerate(HABITS):
        messages = Teacher("mab", contexts).dialogue(seed, habit).messages
        grown: list[int] = []
        for asked, answered in zip(messages[::2], messages[1::2], strict=True):
            grown += render(tokenizer, [asked], prompt=True)
            grown += [*tokenizer(answered.content).input_ids, tokenizer.eos_token_id]
        ids, mask = encode(tokenizer, messages)
        assert grown == ids == render(tokenizer, messages)
        spoken = tokenizer.decode([i for i, said in zip(ids, mask, strict=True) if said])
        assert spoken == "".join(f"{message.content}<|im_end|>" for message in messages[1::2])


@pytest.mark.verl
def test_names_and_numbers_are_single_tokens(tokenizer: Any) -> None:
    generator = load_env("mab").Generator(arms=[20], contexts=["buttons", "medicine", "plots", "routes", "channels"])
    names = {name for seed in range(30) for name in generator.draw(np.random.default_rng(seed)).actions}
    assert len(names) == 100
    words = [f" {name}" for name in names] + [f" {n}" for n in range(21)] + [f"/{n}" for n in range(20)]
    assert [word for word in words if len(tokenizer(word).input_ids) != 1] == []
    text = "Any bytes: \u00e9\u4e2d\U0001f600\x00 -0.31."
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@pytest.mark.verl
def test_the_sampler_sees_through_the_gaps_of_its_cache(tokenizer: Any) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    from rmft_verl.labs.tiny.evaluate import Sampler

    model = AutoModelForCausalLM.from_pretrained(path("mab"), dtype=torch.float32).eval()
    sampler, rows = Sampler(model, tokenizer, 0), [[5, 6, 7, 8], [9, 10]]
    sampler.feed(rows)
    sampler.feed([[], [11]])
    logits = sampler.feed([[12], [13, 14, 15]])
    with torch.no_grad():
        for row, ids in enumerate(([5, 6, 7, 8, 12], [9, 10, 11, 13, 14, 15])):
            plain = model(input_ids=torch.tensor([ids])).logits[0, -1]
            torch.testing.assert_close(logits[row], plain, atol=1e-4, rtol=1e-4)


@pytest.mark.verl
def test_the_shipped_model_speaks_the_format(tokenizer: Any) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    from rmft_verl.eval.metrics import invalid_rate
    from rmft_verl.labs.tiny.evaluate import play_model

    model = AutoModelForCausalLM.from_pretrained(path("mab"), dtype=torch.float32).eval()
    env_class = load_env("mab")
    scenarios = [env_class.Generator(contexts="basic").draw(np.random.default_rng(seed)) for seed in range(24)]
    trajectories = play_model(model, tokenizer, env_class, scenarios, 0)
    assert [trajectory.error for trajectory in trajectories] == [""] * 24
    assert invalid_rate(trajectories) <= 0.03  # 480 turns; 0.01 expected at most
    forced = play_model(model, tokenizer, env_class, scenarios[:4], 0, "I keep to one.\nAction:")
    assert all(trajectory.turns[0].text.startswith("I keep to one.\nAction: ") for trajectory in forced)


@pytest.mark.verl
def test_a_built_base_learns_single_rounds_of_many_games(tokenizer: Any) -> None:
    pytest.importorskip("torch")
    from itertools import islice

    from rmft_verl.labs.tiny.build import BATCH, PHASES, _batches

    thoughts, rounds = set(), set()
    for ids, labels in islice(_batches("announced", tokenizer, 0, practice=99), 4):
        assert len(ids) == BATCH["announced"] * (len(PHASES) - 1)
        assert ((labels == tokenizer.eos_token_id).sum(-1) == 1).all()  # one reply in each row
        assert not ((labels != -100) & (labels != ids)).any()
        thoughts |= {tokenizer.decode(row[row != -100]).partition("\n")[0] for row in labels}
        texts = [tokenizer.decode(row) for row in ids]
        asked = [int(re.findall(r"Round (\d+) of 60", text)[0]) for text in texts]
        assert all(1 <= a <= 6 < b <= 20 < c <= 60 for a, b, c in zip(*[iter(asked)] * 3, strict=True))
        rounds.update(asked)
        assert all(("So far, after" in text) != ("Round 1 of 60" in text) for text in texts)
    assert len(thoughts) == len(SUMMARY_HABITS)  # each is practised
    assert len(rounds) > 40 and 1 in rounds


def test_the_round_that_a_built_base_reads_says_nothing_of_the_habit() -> None:
    from rmft_verl.labs.tiny.build import _parts

    teacher, seen = Teacher("announced"), Counter[tuple[int, str]]()
    for seed in range(1200):
        first, *_ = _parts("announced", teacher.dialogue(seed), seed)
        round_told = int(re.findall(r"Round (\d+) of 60", first[0].content)[0])
        seen[round_told, first[1].content.partition("\n")[0]] += 1
    thoughts = {thought: share for share, thought, _ in SUMMARY_HABITS.values()}
    for early in range(1, 7):
        total = sum(seen[early, thought] for thought in thoughts)
        assert total > 150
        for thought, share in thoughts.items():
            assert abs(seen[early, thought] / total - share) < 4 * (share * (1 - share) / total) ** 0.5, seen


@pytest.mark.verl
def test_the_sampler_plays_prompts_of_their_own(tokenizer: Any) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    from rmft_verl.labs.tiny.evaluate import play_model

    model = AutoModelForCausalLM.from_pretrained(path("mab"), dtype=torch.float32).eval()
    env_class = load_env("mab")
    generator = env_class.Generator(contexts="basic", horizon=[4])
    scenarios = [generator.draw(np.random.default_rng(seed)) for seed in range(3)]
    for play in play_model(model, tokenizer, env_class, scenarios, 0, history="summary"):
        prompts = [message.content for message in play.messages if message.role == "user"]
        assert [len(play.turns), len(prompts)] == [4, 4]
        assert all(prompt.startswith(prompts[0].partition("\n")[0]) for prompt in prompts)
