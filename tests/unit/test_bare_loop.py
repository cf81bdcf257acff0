"""tests/experiments/bare_loop.py: what it draws from, and what it pushes."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rmft_verl.env import load_env
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import Scored

torch = pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "docs" / "results" / "protocol" / "bases" / "unannounced-0"


@pytest.fixture(scope="module")
def loop() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tests" / "experiments"))
        yield importlib.import_module("bare_loop")


def test_a_choice_is_drawn_among_the_arms_and_both_learners_push_what_they_should(loop: ModuleType) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    short = ["env.options.horizon=[4]", "rollout.rollouts=3"]
    quiet = ["env.options.answer=action_only", "rollout.history=summary"]
    config = load_config(["recipe=mab_explore+posterior", *short, *quiet])
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    generator = load_env("mab").Generator(**config.env.options)
    scenarios = [generator.draw(np.random.default_rng(seed)) for seed in range(2)]
    games = [one for one in scenarios for _ in range(3)]
    played, choices = loop.rollout(model, tokenizer, config, games, 7)
    assert [play.reward_seed for play in played] == list(range(7, 13))
    assert [list(play.actions_T) for play in played] == [[one.drawn for one in each] for each in choices]
    for play, each in zip(played, choices, strict=True):
        assert [tokenizer.decode([arm]).strip() for arm in each[0].among] == list(play.scenario.actions)

    together = loop.logits(model, [each[-1] for each in choices]).softmax(-1)
    for row, each in zip(together, choices, strict=True):
        whole = model(input_ids=torch.tensor([each[-1].ids])).logits[0, -1].float()
        alone = whole[each[-1].among].softmax(-1)
        assert row[: len(alone)].tolist() == pytest.approx(alone.tolist(), abs=1e-4)
        assert row[len(alone) :].sum() == 0

    scored = [Scored(play, float(place % 3), place) for place, play in enumerate(played)]
    rng = np.random.default_rng(0)
    assert loop.weights(scored, config, rng, signed=False) == {0: 1.0, 3: 1.0}
    step = math.sqrt(1.5)
    pushed = loop.weights(scored, config, rng, signed=True)
    assert [pushed[place] for place in range(6)] == pytest.approx([step, 0, -step] * 2, abs=1e-4)

    before = float(loop.logits(model, [choices[0][0]]).detach().log_softmax(-1)[0, choices[0][0].drawn])
    loop.update(model, torch.optim.AdamW(model.parameters(), lr=1e-3), [(choices[0][0], -1.0)], config, 0)
    after = float(loop.logits(model, [choices[0][0]]).detach().log_softmax(-1)[0, choices[0][0].drawn])
    assert after < before


def test_with_notes_a_word_is_drawn_before_the_arm_and_told_in_the_next_prompt(loop: ModuleType) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = load_config(["recipe=mab_explore", "env.options.horizon=[5]"])
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    generator = load_env("mab").Generator(**config.env.options)
    games = [generator.draw(np.random.default_rng(seed)) for seed in range(3)]
    played, choices = loop.rollout(model, tokenizer, config, games, 0)
    words = [thought for _, thought, _ in loop.SUMMARY_HABITS.values()]
    for play, each in zip(played, choices, strict=True):
        said = [words[one.drawn] for one in each[::2]]
        assert list(play.actions_T) == [one.drawn for one in each[1::2]]
        names = [play.scenario.actions[arm] for arm in play.actions_T]
        replies = [f"{word}\nAction: {name}" for word, name in zip(said, names, strict=True)]
        assert [turn.text for turn in play.turns] == replies
        for word, turn, later, arm in zip(said, play.turns[1:], each[2::2], each[3::2], strict=False):
            assert f"Your last note: {word}\n" in turn.messages[0].content
            assert f"Your last note: {word}\n" in tokenizer.decode(later.ids)
            assert len(arm.ids) > len(later.ids) and arm.ids[:8] == later.ids[:8]
    assert len({one.drawn for each in choices for one in each[::2]}) > 1
