from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from toy_bandit import ToyBandit, toy_trajectory
from toy_doors import Doors

from rmft_verl.env.regret import REGRETS
from rmft_verl.env.seeds import held_out_scenarios
from rmft_verl.eval import command as evaluation
from rmft_verl.eval.algorithms import REFERENCES, plays_all, references
from rmft_verl.eval.figures import against_uniform, choice_shares
from rmft_verl.eval.players import BackendModel
from rmft_verl.eval.targets import parse_targets, split
from rmft_verl.main.cli import main
from rmft_verl.players import PLAYERS
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.trajectory_file import read_trajectories
from rmft_verl.types import Oracle, Trajectory

HERE = str(Path(__file__).parent)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    for draw in ("draw_regret_curves", "draw_scenarios", "draw_choices"):
        monkeypatch.setattr(evaluation, draw, lambda sets, path: None)


def evaluate(out: Path, *arguments: str) -> int:
    few = [] if "--scenarios" in arguments else ["--scenarios", "4"]
    return main(["eval", *arguments, "--env-dir", HERE, "--out", str(out), *few])


# ---- files ----------------------------------------------------------------------------------------------------------


def test_an_evaluation_leaves_these_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path, "toy_bandit", "--players", "references", "oracle", "--episodes", "2") == 0
    players = ["uniform", "greedy", "ucb1", "thompson", "oracle"]
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        ["behavior.json", "config.json", "environment.json", "table.txt", "table.json", "table.csv"]
        + [f"figures/toy_bandit--{kind}.png" for kind in ("curves", "scenarios", "choices")]
        + [f"trajectories/toy_bandit--{player}.parquet" for player in players]
    )
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["target"], row["player"]) for row in rows] == [("toy_bandit", player) for player in players]
    assert [(row["n_scenarios"], row["n_episodes"], row["n_failed"]) for row in rows] == [("4", "8", "0")] * 5
    assert float(rows[4]["normalized_regret"]) == 0.0 and rows[0]["growth_slope"] == ""  # three rounds have no slope
    table = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert [float(row["regret"]) for row in rows] == [row["regret"] for row in table]
    assert (tmp_path / "table.txt").read_text(encoding="utf-8") in capsys.readouterr().out
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["targets"] == {"toy_bandit": {"env": "toy_bandit", "options": {}}}
    assert (config["seed"], config["scenarios"], config["episodes"]) == (0, 4, 2)
    assert list(config["players"]) == players
    assert all(path.read_bytes().startswith(PNG) for path in (tmp_path / "figures").iterdir())


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    arguments = ("toy_bandit", "--players", "ucb1", "uniform", "--option", "horizon=12")
    for name in ("one", "two"):
        assert evaluate(tmp_path / name, *arguments) == 0
    assert evaluate(tmp_path / "other", *arguments, "--seed", "1") == 0
    for path in sorted((tmp_path / "one").rglob("*")):
        if path.is_file() and path.name != "environment.json":
            relative = path.relative_to(tmp_path / "one")
            assert path.read_bytes() == (tmp_path / "two" / relative).read_bytes(), relative
    assert (tmp_path / "one/table.csv").read_bytes() != (tmp_path / "other/table.csv").read_bytes()


@pytest.mark.usefixtures("no_figures")
def test_all_players_of_a_target_meet_the_same_episodes(tmp_path: Path) -> None:
    assert evaluate(tmp_path, "toy_bandit", "--players", "ucb1", "greedy", "oracle", "--episodes", "3") == 0
    met = [
        [(play.scenario.id, play.reward_seed, play.policy_seed) for play in read_trajectories(path)]
        for path in (tmp_path / "trajectories").iterdir()
    ]
    assert len(met) == 3 and met[0] == met[1] == met[2]
    assert len(set(met[0])) == 12


@pytest.mark.usefixtures("no_figures")
def test_more_scenarios_keep_the_first_and_fewer_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "trajectories" / "toy_bandit--thompson.parquet"
    assert evaluate(tmp_path, "toy_bandit", "--players", "thompson") == 0
    first = read_trajectories(path)
    assert evaluate(tmp_path, "toy_bandit", "--players", "thompson", "--scenarios", "6") == 0
    more = read_trajectories(path)
    assert len(more) == 6 and [play.turns for play in more[:4]] == [play.turns for play in first]
    assert evaluate(tmp_path, "toy_bandit", "--players", "thompson", "uniform", "--scenarios", "2") == 0
    assert len(read_trajectories(path)) == 6
    rows = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert [row["n_episodes"] for row in rows] == [2, 2]


# ---- references -----------------------------------------------------------------------------------------------------


def test_every_kind_of_regret_has_its_references_and_uniform_is_first() -> None:
    assert set(REFERENCES) == set(REGRETS)
    assert all(names[0] == "uniform" and set(names) <= set(PLAYERS) for names in REFERENCES.values())


def test_references_are_those_that_play_every_kind_and_every_law() -> None:
    toys = [ToyBandit.Generator(horizon=3).draw(np.random.default_rng(0))]
    doors = [Doors.Generator().draw(np.random.default_rng(0))]
    assert references(ToyBandit, toys, ["pseudo"]) == ("uniform", "greedy", "ucb1", "thompson")
    assert references(Doors, doors, ["external"]) == ("uniform", "ftl", "hedge", "ftpl")
    assert references(ToyBandit, toys, ["pseudo", "external", "dynamic"]) == ("uniform",)
    assert not plays_all("hedge", ToyBandit, toys) and not plays_all("ucb1", Doors, doors)


@pytest.mark.usefixtures("no_figures")
def test_full_information_has_its_own_references_and_dashes_where_arms_are_counted(
    tmp_path: Path,
) -> None:
    assert evaluate(tmp_path, "toy_doors", "toy_bandit", "--players", "references", "greedy") == 0
    table = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    played = {
        target: [row["player"] for row in table if row["target"] == target] for target in ("toy_doors", "toy_bandit")
    }
    assert played == {
        "toy_doors": ["uniform", "ftl", "hedge", "ftpl"],  # greedy plays no such game
        "toy_bandit": ["uniform", "greedy", "ucb1", "thompson"],
    }
    assert table[1]["suffix_failure"] is None and table[1]["best_arm"] == 0.75  # half, then all of it
    assert table[1]["normalized_regret"] == pytest.approx(0.5)
    line = next(line for line in (tmp_path / "table.txt").read_text(encoding="utf-8").splitlines() if " ftl " in line)
    numbers = ["0.50", "0.500", "[0.500,", "0.500]", "–", "–", "–", "–", "–", "0.75", "–", "0.0%"]
    assert line.split() == ["toy_doors", "ftl", *numbers, "2×2"]  # two scenarios: the better door is left or right


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nowhere"], ["nowhere", "mab"]),
        (["mab:nope"], ["mab:nope", "no suite 'nope'", "hard", "easy"]),
        (["toy_bandit:nope"], ["no suite 'nope'", "none", "toy_bandit"]),
        (["mab", "--players", "psychic"], ["psychic", "ucb1", "api:MODEL", "references"]),
        (["mab", "--players", "hedge"], ["hedge", "cannot play mab"]),
        (["mab", "--option", "arm=[3]"], ["'arm' is unknown", "arms", "horizon"]),
        (["mab", "--option", "horizon"], ["option 'horizon'", "KEY=VALUE"]),
        (["mab arm=[3]"], ["'arm' is unknown"]),
        (["mab:hard horizon"], ["no suite 'hard horizon'"]),
        (["mab arms=[3"], ["arms=[3", "cannot be parsed"]),
        (["mab_smollm2:hard"], ["mab_smollm2 has no suite 'hard'", "evaluate mab_smollm2 itself"]),
        (["mab", "--scenarios", "0"], ["--scenarios 0", "at least 1"]),
        (["mab", "--price-in", "1"], ["--price-in", "--price-out"]),
        (["mab", "--players", "model"], ["model", "--recipe", "--run"]),
        (["mab", "--players", "model", "--run", "no/such/run"], ["no/such/run", "state.json"]),
        (["mab", "--players", "model", "--run", "no/such/run", "model.context=9"], ["no/such/run"]),
        (["mab", "--players", "model", "--recipe", "nope"], ["nope", "mab_tiny"]),
        (["mab", "--players", "api:"], ["api:MODEL"]),
        (["mab", "--players", "api:m", "--base-url", "localhost:8000"], ["localhost:8000", "http://"]),
    ],
)
def test_what_cannot_be_evaluated_is_one_clear_line(
    arguments: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path / "out", *arguments) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and said.startswith("rmft-verl: ")
    assert all(part in said for part in parts), said
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_figures")
def test_a_directory_with_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    assert evaluate(tmp_path / "other", "toy_bandit") == 2
    assert "no evaluation: name another --out" in capsys.readouterr().err
    assert evaluate(tmp_path / "out", "toy_bandit", "--players", "uniform") == 0
    assert evaluate(tmp_path / "out", "toy_bandit", "--players", "uniform", "--seed", "1") == 2
    assert "seed=0, not 1: name another --out" in capsys.readouterr().err
    assert evaluate(tmp_path / "out", "toy_bandit", "--players", "uniform", "--option", "horizon=4") == 2
    assert "toy_bandit: options={}, not {'horizon': 4}" in capsys.readouterr().err


def test_seed_0_with_the_options_of_a_recipe_gives_its_held_out_scenarios() -> None:
    config = load_config(["recipe=mab_tiny", "eval.scenarios=5"])
    (target,) = parse_targets(["mab"], config.env.options | config.env.eval_options, [])
    assert target.scenarios(5, seed=0) == held_out_scenarios(config, target.env_class)
    assert target.scenarios(3, seed=0) == target.scenarios(5, seed=0)[:3]


def test_targets_are_split_where_a_suite_begins() -> None:
    assert split("mab") == ("mab", "", [])
    assert split("mab:hard") == ("mab", "hard", [])
    assert split("my.envs:Doors") == ("my.envs:Doors", "", [])
    assert split("my.envs:Doors:hard") == ("my.envs:Doors", "hard", [])
    assert split("./envs/doors.py:hard") == ("./envs/doors.py", "hard", [])


def test_options_of_a_target_stand_behind_it_and_override_those_of_all() -> None:
    assert split("mab:hard horizon=[9] arms=[2]") == ("mab", "hard", ["horizon=[9]", "arms=[2]"])
    assert split("./my envs/a=b/doors.py:hard n=3") == ("./my envs/a=b/doors.py", "hard", ["n=3"])
    one, other = parse_targets(["mab:train horizon=[9]", "mab:train"], {"horizon": [7], "arms": [2]}, [])
    assert one.name == "mab:train horizon=[9]"
    assert (one.options["horizon"], one.options["arms"], one.options["min_gap"]) == ([9], [2], 0.1)
    assert other.options == {**one.options, "horizon": [7]}


def test_a_recipe_stands_for_its_held_out_game() -> None:
    one, other = parse_targets(["mab_smollm2 horizon=[24]", "mab_qwen3"], {}, [])
    assert (one.env_name, one.options["horizon"], one.options["min_gap"]) == ("mab", [24], 0.7)
    config = load_config(["recipe=mab_qwen3", "eval.scenarios=3"])
    assert other.options["contexts"] == "heldout" != config.env.options["contexts"]
    assert other.scenarios(3, seed=0) == held_out_scenarios(config, other.env_class)


@pytest.mark.parametrize("trained", ["+posterior", "+continuation", "+distill_ucb", "+grpo_alg"])
def test_a_model_plays_games_that_could_not_train_it(trained: str) -> None:
    """A score, a credit or a teacher of training that the target cannot have is nobody's concern in an evaluation."""
    config = load_config([f"recipe=mab_tiny{trained}"])
    targets = parse_targets(["fol", "mab law=[gaussian]"], {"horizon": [4]}, [])
    assert BackendModel(config, 0, targets, []).name == "model"


# ---- figures --------------------------------------------------------------------------------------------------------


def test_shares_are_by_true_rank_and_round() -> None:
    plays = [
        toy_trajectory([0.1, 0.9], [0, 1, 1]),
        toy_trajectory([0.5, 0.2, 0.3], [0, 1]),  # the second round its worst arm; the third not asked for
    ]
    assert choice_shares(plays, horizon=2).tolist() == [[0.5, 0.5], [0.5, 0.0], [0.0, 0.5]]


def test_shares_of_full_information_are_masses_by_total_reward() -> None:
    rewards_T_A = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    play = toy_trajectory([0.0, 1.0], [(0.25, 0.75), (1.0, 0.0), (0.5, 0.5)])
    play = Trajectory(
        play.scenario, "p", play.turns, Oracle(rewards_T_A, "external"), play.stop_reason, 0, 0, regret=1.0
    )
    assert choice_shares([play], horizon=3).tolist() == [[0.75, 0.0, 0.5], [0.25, 1.0, 0.5]]


def test_each_scenario_is_one_point_against_uniform_play() -> None:
    plays = [
        toy_trajectory([0.0, 1.0], [0, 1]),  # 1
        toy_trajectory([0.0, 1.0], [1, 1]),  # 0: the same scenario, mean 0.5
        toy_trajectory([0.0, 0.5], [0, 0], context="shop"),  # 1
    ]
    uniform_S, regret_S = against_uniform(plays)
    assert uniform_S.tolist() == [1.0, 0.5] and regret_S.tolist() == [0.5, 1.0]
