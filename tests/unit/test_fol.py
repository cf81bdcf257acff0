"""Full-information games: words and numbers of a game, and the options it is drawn with."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from env_plugins.contexts import SPLITS
from env_plugins.fol import FullInformationEnv, FullInformationGenerator
from env_plugins.fol.games import NAMES, rewarder
from rmft_verl.algo.distill import teach
from rmft_verl.env import load_env
from rmft_verl.env.answers import every_answer
from rmft_verl.env.check import check_env
from rmft_verl.env.regret import external_regret, score, uniform_regret
from rmft_verl.types import Message, Oracle, RolloutRequest, Scenario, StopReason, Trajectory, Turn

SCENARIO = Scenario(
    "fol",
    3,
    ("amber", "blue"),
    "buttons",
    {"sequence": "uniform", "noise": 0.1, "gap": 0.2, "rewards": [[0.62, 0.1], [0.0, 1.0], [0.5, 0.25]]},
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- the game -------------------------------------------------------------------------------------------------------


def test_is_installed() -> None:
    assert load_env("fol") is load_env("env_plugins.fol:FullInformationEnv") is FullInformationEnv


def test_conforms() -> None:
    check_env(FullInformationEnv, {"sequence": NAMES, "actions": [2, 4], "horizon": [1, 8]}, episodes=12)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes(name: str) -> None:
    options = {"sequence": [name], "actions": [2, 5, 21], "horizon": [1, 6], "contexts": "heldout", "names": "heldout"}
    generator = FullInformationGenerator(**options)
    for seed in range(20):
        scenario = generator.draw(rng(seed))
        assert scenario == generator.draw(rng(seed)) and scenario.game["sequence"] == name
        assert Scenario.from_json(json.loads(json.dumps(scenario.to_json()))).id == scenario.id
        first, second = _words(scenario, seed), _words(scenario, seed)
        assert first == second and len(first) == scenario.horizon


def _words(scenario: Scenario, seed: int) -> list[str]:
    env, draws = FullInformationEnv(scenario, seed), rng(seed)
    observation, told = env.reset(), []
    while observation is not None:
        told.append(observation.messages[0].content)
        observation = env.step(tuple(draws.dirichlet(np.ones(len(scenario.actions))).tolist())).observation
    assert env.oracle().expected_T_A.shape == (scenario.horizon, len(scenario.actions))
    return told


def test_words_and_numbers_of_a_game() -> None:
    env = FullInformationEnv(SCENARIO, 0)
    first = env.reset()
    assert first.messages == (
        Message(
            "user",
            "A panel has 2 buttons: amber, blue. In each of 3 rounds you spread one press over the buttons, as shares "
            "that sum to 1. After a round every button shows what a full press would have paid, a number of coins "
            "between 0 and 1. What a round brings is the average of these numbers, each weighted by the share you gave "
            "it. The numbers may change from round to round, in any way. Make the total over all 3 rounds as large as "
            "you can.\nThink freely, then end your reply with a last line\nPolicy: NAME SHARE, NAME SHARE, ...\nwith "
            "each of the names above and its share as a number; the shares sum to 1.\nRound 1 of 3.",
        ),
    )
    spec = first.spec
    assert (spec.n_actions, spec.horizon, spec.full_information, spec.reward_law) == (2, 3, True, "bounded")
    assert (spec.reward_scale, spec.shown_scale, spec.unit) == (0.5, 1.0, "")
    assert first.feedback_A is None and first.last_action is None
    action = env.parse("The first.\nPolicy: amber 75%, blue 25%")
    assert action == (0.75, 0.25)
    result = env.step(action)
    assert result.reward == pytest.approx(0.75 * 0.62 + 0.25 * 0.1) and not result.done
    second = result.observation
    assert second is not None and second.messages == (Message("user", "Results: amber 0.62, blue 0.10\nRound 2 of 3."),)
    assert (second.turn, second.last_action) == (1, (0.75, 0.25))
    assert np.array_equal(np.asarray(second.feedback_A), [0.62, 0.1])
    assert env.step((0.0, 1.0)).reward == 1.0
    last = env.step((1.0, 0.0))
    assert (last.reward, last.done, last.observation) == (0.5, True, None)
    oracle = env.oracle()
    assert oracle.kind == "external" and oracle.expected_T_A.tolist() == SCENARIO.game["rewards"]
    # Totals are 1.12 and 1.35; it earned 0.49 + 1 + 0.5.
    assert external_regret(oracle.expected_T_A, [action, (0.0, 1.0), (1.0, 0.0)])[-1] == pytest.approx(1.35 - 1.99)
    with pytest.raises(RuntimeError, match="all 3 rounds are played"):
        env.step((1.0, 0.0))


def test_rewards_are_told_in_the_unit_of_the_story() -> None:
    scenario = Scenario("fol", 3, ("agate", "jade"), "drawers", SCENARIO.game, {"answer": "action_only"})
    env = FullInformationEnv(scenario, 0)
    text = env.reset().messages[0].content
    assert "from 0 to 100 points" in text and "Reply with one line and nothing else:\nPolicy:" in text
    observation = env.step((0.5, 0.5)).observation
    assert (
        observation is not None
        and observation.messages[0].content == "Results: agate 62 points, jade 10 points\nRound 2 of 3."
    )
    assert (observation.spec.shown_scale, observation.spec.unit) == (100.0, "points")


def test_suggestive_framing_adds_the_hint() -> None:
    plain = FullInformationEnv(SCENARIO, 0).reset().messages[0].content
    telling = {"framing": "suggestive"}
    scenario = Scenario("fol", 3, SCENARIO.actions, "buttons", SCENARIO.game, telling)
    hinted = FullInformationEnv(scenario, 0).reset().messages[0].content
    hint = SPLITS["basic"][0].hint
    assert hint not in plain and hinted.replace(f" {hint}", "") == plain
    assert FullInformationGenerator(framing="suggestive", answer="action_only").draw(rng()).telling == {
        "framing": "suggestive",
        "answer": "action_only",
    }
    assert FullInformationGenerator().draw(rng()).telling == {}


def test_every_story_is_told() -> None:
    for contexts in ("train", "validation", "heldout"):
        for context in SPLITS[contexts]:
            scenario = FullInformationGenerator(contexts=[context.key], actions=3).draw(rng(1))
            env = FullInformationEnv(scenario, 0)
            text = env.reset().messages[0].content
            assert all(name in text for name in scenario.actions) and "{" not in text and "  " not in text
            pairs = ", ".join(f"{name} {share}" for name, share in zip(scenario.actions, (0.2, 0.5, 0.3), strict=True))
            assert env.parse(f"Policy: {pairs}") == (0.2, 0.5, 0.3)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_matters_to_the_ties_of_the_adversary_alone(name: str) -> None:
    scenario = FullInformationGenerator(sequence=name, actions=4, horizon=12).draw(rng(2))
    truths = []
    for seed in (0, 1):
        env = FullInformationEnv(scenario, seed)
        for _ in range(12):
            env.step((0.25, 0.25, 0.25, 0.25))
        truths.append(env.oracle().expected_T_A)
    assert np.array_equal(*truths) == (name != "adversary")


@pytest.mark.parametrize("name", NAMES)
def test_an_early_end_counts_as_uniform_play(name: str) -> None:
    scenario = FullInformationGenerator(sequence=name, actions=3, horizon=10).draw(rng(4))
    cut, whole = FullInformationEnv(scenario, 7), FullInformationEnv(scenario, 7)
    for t in range(10):
        action = (0.5, 0.3, 0.2) if t < 4 else (1 / 3, 1 / 3, 1 / 3)
        whole.step(action)
        if t < 4:
            cut.step(action)
    assert np.array_equal(cut.oracle().expected_T_A, whole.oracle().expected_T_A)
    assert np.array_equal(cut.oracle().expected_T_A, whole.oracle().expected_T_A)  # asking again changes nothing


def test_a_player_cannot_rewrite_the_truth() -> None:
    env = FullInformationEnv(SCENARIO, 0)
    observation = env.step((0.5, 0.5)).observation
    assert observation is not None and observation.feedback_A is not None
    observation.feedback_A[:] = 9
    assert env.oracle().expected_T_A.tolist() == SCENARIO.game["rewards"]


def test_scores_as_external_regret() -> None:
    oracle = Oracle(np.array(SCENARIO.game["rewards"]), "external")
    turns = tuple(Turn((), "", action, None, True) for action in ((0.5, 0.5), (0.5, 0.5), (0.5, 0.5)))
    play = score(Trajectory(SCENARIO, "even", turns, oracle, StopReason.COMPLETED, 0, 0))
    assert play.regret == pytest.approx(1.35 - (0.36 + 0.5 + 0.375)) == uniform_regret(oracle)


@pytest.mark.parametrize(
    "action",
    [0, (1.0,), (0.5, 0.5, 0.0), (0.5, 0.6), (1.5, -0.5), (float("nan"), 1.0), (float("inf"), 0.0), [0.5, 0.5], None],
)
def test_refuses_what_is_no_distribution(action: Any) -> None:
    with pytest.raises(ValueError, match="is no distribution: use a tuple of 2 shares that sum to 1"):
        FullInformationEnv(SCENARIO, 0).step(action)


# ---- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"actions": [1]}, "actions has 1: use whole numbers of at least 2, at most 100."),
        ({"actions": 101}, "actions has 101: use whole numbers of at least 2, at most 100."),
        ({"actions": [2.0]}, "actions has 2.0: use whole numbers of at least 2, at most 100."),
        ({"actions": [True]}, "actions has True: use whole numbers of at least 2, at most 100."),
        ({"actions": []}, "actions is empty: give at least one value."),
        ({"horizon": 0}, "horizon has 0: use whole numbers of at least 1."),
        ({"horizon": None}, "horizon has None: use whole numbers of at least 1."),
        ({"sequence": "sinus"}, f"sequence has 'sinus': choose from {', '.join(NAMES)}."),
        ({"sequence": [["sine"]]}, f"sequence has ['sine']: choose from {', '.join(NAMES)}."),
        ({"noise": -0.1}, "noise=-0.1: use a standard deviation from 0 to 1."),
        ({"noise": float("nan")}, "noise=nan: use a finite number."),
        ({"noise": "much"}, "noise='much': use a finite number."),
        ({"gap": 1}, "gap=1: use a number from 0 to less than 1."),
        ({"gap": False}, "gap=False: use a finite number."),
        ({"contexts": "test"}, f"contexts='test': use {', '.join(SPLITS)} or a list of context keys."),
        ({"contexts": []}, "contexts is empty: give at least one value."),
        ({"names": "test"}, "names='test': use train or heldout."),
        ({"framing": "kind"}, "framing='kind': use neutral or suggestive."),
        ({"answer": ["free"]}, "answer=['free']: use free or action_only."),
    ],
)
def test_bad_options_are_one_clear_line(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError) as refusal:
        FullInformationGenerator(**options)
    assert str(refusal.value) == f"env.options: {complaint}"


def test_unknown_options_and_contexts_are_refused() -> None:
    with pytest.raises(TypeError, match="arms"):
        FullInformationGenerator(arms=[2])  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"^env.options: contexts has 3: choose from buttons, "):
        FullInformationGenerator(contexts=[3])  # type: ignore[list-item]


def test_draws_follow_the_options() -> None:
    generator = FullInformationGenerator(
        actions=[2, 30], horizon=[5, 9], sequence=["sine", "adversary"], contexts=["buttons", "wells"]
    )
    draws = [generator.draw(rng(seed)) for seed in range(100)]
    assert {len(scenario.actions) for scenario in draws} == {2, 30}
    assert {scenario.horizon for scenario in draws} == {5, 9}
    assert {scenario.game["sequence"] for scenario in draws} == {"sine", "adversary"}
    assert {scenario.context for scenario in draws} == {"buttons", "wells"}
    assert len({scenario.id for scenario in draws}) == 100


@pytest.mark.parametrize("suite", FullInformationEnv.SUITES)
def test_suites(suite: str) -> None:
    options = FullInformationEnv.SUITES[suite]
    scenario = FullInformationGenerator(**options).draw(rng(5))
    assert scenario.game["sequence"] in options["sequence"]
    rewarder(scenario.game, 0).reveal(np.full(len(scenario.actions), 1 / len(scenario.actions)))


def test_suites_change_one_thing() -> None:
    suites = FullInformationEnv.SUITES
    base = suites["train"]
    assert {name: [key for key in suites[name] if suites[name][key] != base.get(key)] for name in suites} == {
        "train": [],
        **{name: ["sequence"] for name in (*NAMES, "gap_sequences", "unseen_law")},
        "heldout_domain": ["contexts"],
        "heldout_names": ["names"],
        "longer": ["horizon"],
        "wider": ["actions"],
        "one_option": ["choice"],
    }


# ---- one option instead of shares -----------------------------------------------------------------------------------

ONE = dataclasses.replace(SCENARIO, telling={"choice": "option"})


def test_an_option_is_the_corner_of_its_name() -> None:
    env = FullInformationEnv(ONE, 0)
    text = env.reset().messages[0].content
    assert text.startswith("A panel has 2 buttons: amber, blue. You press one button a round, for 3 rounds.")
    assert "What a round brings is the number of the button you chose." in text and "share" not in text
    assert "\nAction: NAME\n" in text and "Policy" not in text
    assert env.parse("Action: blue") == (0.0, 1.0) and env.parse("Policy: amber 0.7, blue 0.3") is None
    assert env.say((0.4, 0.6)) == "Action: blue"
    paid = [env.step(env.parse(f"Action: {name}")).reward for name in ("amber", "amber", "blue")]  # type: ignore[arg-type]
    assert paid == [0.62, 0.0, 0.25]
    # amber 0.62, 0.62, 1.12 against blue 0.1, 1.1, 1.35: the best of each round, less what was earned.
    assert external_regret(env.oracle().expected_T_A, [(1.0, 0.0), (1.0, 0.0), (0.0, 1.0)]) == pytest.approx(
        [0.62 - 0.62, 1.1 - 0.62, 1.35 - 0.87]
    )


def test_games_of_one_option_conform_and_are_decoded_among_their_names() -> None:
    check_env(FullInformationEnv, {"choice": "option", "sequence": NAMES, "actions": [2, 4], "horizon": [8]}, 8)
    assert every_answer(FullInformationEnv(ONE, 0), FullInformationEnv(ONE, 0).reset().spec) == [
        "Action: blue",
        "Action: amber",
    ]
    with pytest.raises(ValueError, match="choice='name': use shares or option"):
        FullInformationGenerator(choice="name")


def test_an_imitated_mixture_says_one_option_drawn_by_its_shares() -> None:
    scenario = dataclasses.replace(ONE, horizon=3)
    requests = [RolloutRequest(scenario, seed, seed) for seed in range(600)]
    played = teach(FullInformationEnv, "uniform", "dialogue", requests)
    firsts = [trajectory.actions_T[0] for trajectory in played]
    assert set(firsts) == {(1.0, 0.0), (0.0, 1.0)} and all(trajectory.valid for trajectory in played)
    assert abs(firsts.count((1.0, 0.0)) / 600 - 0.5) < 4 * 0.5 / 600**0.5
    again = teach(FullInformationEnv, "uniform", "dialogue", requests[:9])
    assert [trajectory.turns for trajectory in again] == [trajectory.turns for trajectory in played[:9]]
