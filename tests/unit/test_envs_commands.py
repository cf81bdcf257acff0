"""``rmft-verl envs``: what a person sees, command by command."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from rmft_verl.env import load_env
from rmft_verl.eval.human import truth
from rmft_verl.main.cli import main
from rmft_verl.main.envs import option_rows
from rmft_verl.setup.recipe import load_config
from rmft_verl.types import Oracle

BANDIT_SEED = 3


class Terminal:
    """Runs commands in an empty folder."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, command: str, typed: str = "", status: int = 0) -> str:
        """What ``envs COMMAND`` prints, errors if ``status`` is not 0."""
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert main(["envs", *command.split()]) == status
        out, err = self._capsys.readouterr()
        assert (err == "") == (status == 0)
        return out if status == 0 else err


@pytest.fixture
def envs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(capsys, monkeypatch)


# ---- new ------------------------------------------------------------------------------------------------------------


def test_new_and_check_in_a_shell(tmp_path: Path) -> None:
    run = f"{sys.executable} -m rmft_verl.main.cli envs"
    shell = f"{run} new demo_env && {run} check demo_env"
    done = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "demo_env: conforms" in done.stdout
    assert (tmp_path / "my_envs" / "demo_env.py").is_file()


@pytest.mark.parametrize("name", ["demo_env", "oracle", "a", "MyEnv", "x_2"])
@pytest.mark.parametrize("kind", ["", " --full-information"])
def test_what_new_writes_loads_under_its_name(envs: Terminal, name: str, kind: str) -> None:
    said = envs(f"new {name}{kind}")
    assert f"wrote my_envs/{name}.py" in said and f"rmft-verl envs check {name}\n" in said
    env_class = load_env(name, ["my_envs"])
    assert env_class.name == name
    scenario = env_class.Generator().draw(np.random.default_rng(0))
    assert scenario.env == name
    assert env_class(scenario, 0).reset().spec.full_information == bool(kind)
    assert "my_env" not in Path(f"my_envs/{name}.py").read_text(encoding="utf-8")


def test_new_elsewhere_with_a_recipe(envs: Terminal) -> None:
    said = envs("new demo_env games/here --recipe")
    assert "envs check demo_env --env-dir games/here" in said and "recipe=demo_env dry_run=true" in said
    config = load_config(["recipe=demo_env"])
    assert config.env_dirs == [str(Path("games/here").absolute())] and config.env.name == "demo_env"
    assert load_env(config.env.name, config.env_dirs).name == "demo_env"
    assert "conforms" in envs("check demo_env --env-dir games/here")


@pytest.mark.parametrize(
    "command",
    [
        "check mab --option means=one_best",
        "check env_plugins.cb:ContextualBanditEnv --option kind=user_item",
        "check env_plugins.cb:ContextualBanditEnv --option kind=[linear,user_item]",
        "check mab --option law=[bounded,gaussian]",
    ],
)
def test_games_without_a_posterior_conform_all_the_same(envs: Terminal, command: str) -> None:
    assert "conforms" in envs(command)


def test_the_recipe_of_a_name_that_yaml_would_read_as_a_boolean(envs: Terminal) -> None:
    envs("new yes --recipe")
    recipe: Any = OmegaConf.load("recipes/yes.yaml")
    assert recipe.env.name == "yes"


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("new demo_env", ["my_envs/demo_env.py exists already", "choose another name"]),
        ("new mab", ["'mab' is installed already", "choose another name"]),
        ("new 1st", ["'1st'", "use letters, digits and _"]),
        ("new a-b", ["'a-b'", "use letters, digits and _"]),
        ("new class", ["'class'", "use letters"]),
        ("new _x", ["'_x'", "beginning with a letter"]),
        ("new other my_envs/demo_env.py", ["my_envs/demo_env.py", "choose another"]),
    ],
)
def test_new_refuses(envs: Terminal, command: str, parts: list[str]) -> None:
    envs("new demo_env")
    before = Path("my_envs/demo_env.py").read_text(encoding="utf-8")
    said = envs(command, status=2)
    assert all(part in said for part in parts), said
    assert said.count("\n") == 1
    assert [path.name for path in Path("my_envs").glob("*.py")] == ["demo_env.py"]
    assert Path("my_envs/demo_env.py").read_text(encoding="utf-8") == before


# ---- list -----------------------------------------------------------------------------------------------------------


def test_list_says_what_each_is_and_why_one_cannot_load(envs: Terminal) -> None:
    envs("new demo_env")
    Path("my_envs/broken.py").write_text('x = 1\nraise RuntimeError("two\\nlines")\n', encoding="utf-8")
    Path("my_envs/silent.py").write_text("class Silent:\n    name = 'silent'\n    Generator = int\n" + "".join(
        f"    def {method}(self): ...\n" for method in ("reset", "parse", "step", "oracle")
    ), encoding="utf-8")  # fmt: skip
    lines = {line.split()[0]: line for line in envs("list").splitlines()}
    assert {"mab", "demo_env", "broken", "silent"} <= set(lines)
    assert "Some fishing spots" in lines["demo_env"] and "demo_env.py" in lines["demo_env"]
    assert "env_plugins.mab:BanditEnv  K arms" in lines["mab"]
    assert "broken.py:2: RuntimeError: two lines" in lines["broken"]
    assert "(no docstring)" in lines["silent"]


def test_list_takes_folders(envs: Terminal) -> None:
    envs("new demo_env games")
    assert "demo_env" not in envs("list")
    assert "demo_env" in envs("list --env-dir games")
    assert "'nowhere' is not a directory" in envs("list --env-dir nowhere", status=2)


# ---- describe -------------------------------------------------------------------------------------------------------


def test_describe_shows_options_suites_and_an_example(envs: Terminal) -> None:
    envs("new demo_env")
    said = envs("describe demo_env")
    assert re.search(r"spots +4 +How many spots there are", said)
    assert re.search(r"horizon +10 +Days of a game", said)
    assert re.search(r"many +spots=8 horizon=40", said)
    assert "[user] You fish for 10 days" in said and "Action: NAME" in said
    assert len(re.findall(r"-> (?:\w+), reward [01]\n", said)) == 2
    assert re.search(r"regret: pseudo; uniform play is expected to have \d+\.\d\d after 10 rounds", said)
    assert said == envs("describe demo_env --seed 0") != envs("describe demo_env --seed 1")


def test_describe_an_example_of_a_suite_with_an_option(envs: Terminal) -> None:
    envs("new demo_env --full-information")
    said = envs("describe demo_env --suite many --option horizon=1")
    assert "For 1 years" in said and "regret: external" in said
    assert len(re.findall("-> uniform policy, reward", said)) == 1
    story = next(line for line in said.splitlines() if "[user]" in line)
    assert story.count(",") >= 8  # eight crops


def test_describe_an_environment_that_needs_options(envs: Terminal) -> None:
    said = envs("describe mixed")
    assert "environments  (any)" in said and "none without options: env.options of 'mixed'" in said


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("describe demo_env --suite hard", ["--suite hard", "few, many"]),
        ("describe demo_env --option spots", ["'spots'", "KEY=VALUE"]),
        ("describe demo_env --option spots=[1", ["spots=[1", "cannot be parsed"]),
        ("play demo_env --option spots=99", ["demo_env", "spots=99", "2 to 8"]),
        ("play demo_env --option places=3", ["demo_env", "places"]),
        ("check demo_env --option spots=1", ["Generator(**options)", "spots=1"]),
        ("play nowhere", ["'nowhere'", "Known: "]),
        ("check my_envs/none.py", ["my_envs/none.py", "name a .py file"]),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(envs: Terminal, command: str, parts: list[str]) -> None:
    envs("new demo_env")
    said = envs(command, status=2)
    assert all(part in said for part in parts), said
    assert said.count("\n") == 1


@dataclass
class Parent:
    first: int
    """Told
    on two lines."""


@dataclass
class Sampler(Parent):
    many: list[int] = field(default_factory=lambda: [1, 2])
    plain: str = "x"
    """Short."""


class Plain:
    def __init__(self, needed: int, given: float = 0.5, **rest: Any) -> None: ...


def test_option_rows() -> None:
    assert list(option_rows(Sampler)) == [
        ("first", "(needed)", "Told on two lines."),
        ("many", "[1, 2]", ""),
        ("plain", "'x'", "Short."),
    ]
    assert list(option_rows(Plain)) == [("needed", "(needed)", ""), ("given", "0.5", ""), ("rest", "(any)", "")]


# ---- play -----------------------------------------------------------------------------------------------------------


def row(said: str, name: str) -> tuple[float, float]:
    """Regret and normalized regret of one line of the closing table."""
    (found,) = re.findall(rf"^{name} +(-?[\d.]+) +(-?[\d.]+)", said, re.MULTILINE)
    return float(found[0]), float(found[1])


def means(said: str) -> dict[str, float]:
    listed = re.findall(r"^Mean reward: (.*)\. Best", said, re.MULTILINE)[0]
    return {name: float(mean) for name, mean in (item.split() for item in listed.split(", "))}


def test_play_a_whole_game_from_a_pipe(envs: Terminal) -> None:
    envs("new demo_env")
    story = envs(f"play demo_env --seed {BANDIT_SEED}")
    names = re.findall(r"these spots: (.*?)\. Every", story)[0].split(", ")
    typed = f"{names[0]}\nmaybe\nAction: {names[1]}\nI think so.\nAction: zzz\n" + f"{names[0].upper()}\n" * 8
    said = envs(f"play demo_env --seed {BANDIT_SEED}", typed)
    hint = f"Invalid: no action found in this reply. Answer in this form: Action: {names[0]}, or type quit."
    assert said.count(hint) == said.count("Invalid") == 3
    assert "Rounds played: 10. Last reward" in said and "you stopped" not in said
    mean = means(said)
    best, average = max(mean.values()), float(np.mean(list(mean.values())))
    assert list(mean) == names and f"Best: {max(mean, key=mean.__getitem__)}." in said
    regret = 9 * (best - mean[names[0]]) + (best - mean[names[1]])
    uniform = 10 * (best - average)
    assert row(said, "you") == pytest.approx((regret, regret / uniform), abs=0.02)
    assert row(said, "uniform") == pytest.approx((uniform, 1), abs=0.02)
    for player in ("greedy", "ucb1", "thompson"):
        got, normalized = row(said, player)
        assert 0 <= got <= 10 * (best - min(mean.values())) + 0.02
        assert normalized == pytest.approx(got / uniform, abs=0.02)
    curve = [
        float(value) for value in re.findall(r"\d+: ([\d.]+)", said.split("Regret after round: ")[1].split("\n")[0])
    ]
    assert len(curve) == 10 and curve == sorted(curve) and curve[-1] == pytest.approx(regret, abs=0.02)


@pytest.mark.parametrize("ending", ["quit\n", "EXIT\n", "q\n", ""])
def test_play_ends_early_and_counts_what_was_played(envs: Terminal, ending: str) -> None:
    envs("new demo_env")
    story = envs(f"play demo_env --seed {BANDIT_SEED}")
    assert "No round was played." in story and "Best" not in story
    name = re.findall(r"these spots: (\w+)", story)[0]
    said = envs(f"play demo_env --seed {BANDIT_SEED}", f"{name}\n{name}\n{ending}")
    assert "Rounds played: 2 of 10, you stopped." in said
    mean = means(said)
    best, average = max(mean.values()), float(np.mean(list(mean.values())))
    assert row(said, "you")[0] == pytest.approx(2 * (best - mean[name]), abs=0.02)
    assert row(said, "uniform")[0] == pytest.approx(2 * (best - average), abs=0.02)


def test_play_full_information(envs: Terminal) -> None:
    envs("new demo_env --full-information")
    story = envs("play demo_env --seed 1 --option horizon=2")
    names = re.findall(r"these crops: (.*?)\. A year", story)[0].split(", ")
    said = envs(
        "play demo_env --seed 1 --option horizon=2", f"{names[0]} 1.0\nall\nPolicy: {names[1]} 0.5, {names[2]} 0.5\n"
    )
    assert "Rounds played: 2." in said and "Reward averaged over all rounds" in said
    assert said.count("Invalid") == said.count(f"Answer in this form: Policy: {names[0]} 0.") == 1
    row(said, "you")
    row(said, "hedge")


def test_play_without_a_seed_shows_one_that_repeats_it(envs: Terminal) -> None:
    envs("new demo_env")
    said = envs("play demo_env")
    seed = re.findall(r"demo_env, seed (\d+)\.", said)[0]
    assert envs(f"play demo_env --seed {seed}") == said


def test_play_tells_what_an_environment_raised(envs: Terminal) -> None:
    envs("new demo_env")
    path = Path("my_envs/demo_env.py")
    text = path.read_text(encoding="utf-8").replace("self.turn += 1", "self.turn += 1 // 0")
    path.write_text(text, encoding="utf-8")
    names = ["bay", "creek", "harbor", "lake", "marsh", "pier", "pond", "reef"]
    assert "ZeroDivisionError" in envs("play demo_env", "\n".join(names), status=2)


def test_the_best_action_of_a_drifting_game_is_told_by_round() -> None:
    expected_T_A = np.array([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]])
    assert list(truth(Oracle(expected_T_A, "dynamic"), ("left", "right"))) == [
        "Reward averaged over all rounds: left 0.4, right 0.6. Best: right.",
        "Best by round: 1-2 right, 3-3 left.",
    ]


# ---- check and errors -----------------------------------------------------------------------------------------------


def test_check_takes_a_path_and_options(envs: Terminal) -> None:
    envs("new demo_env games")
    assert "games/demo_env.py: conforms" in envs("check games/demo_env.py --option horizon=[3] --option horizon=3")
    path = Path("games/demo_env.py")
    path.write_text(path.read_text(encoding="utf-8").replace('kind="pseudo"', 'kind="bandit"'), encoding="utf-8")
    said = envs("check games/demo_env.py", status=2)
    assert "must name a kind of regret" in said and "use 'pseudo'" in said and said.count("\n") == 1


def test_the_traceback_is_shown_on_request(envs: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my_envs").mkdir()
    Path("my_envs/broken.py").write_text("import no_such_module_here\n", encoding="utf-8")
    one_line = envs("check broken", status=2)
    assert one_line.count("\n") == 1
    assert "my_envs/broken.py:1: ModuleNotFoundError: No module named 'no_such_module_here'" in one_line
    assert "RMFT_VERBOSE=1 shows the whole traceback" in one_line
    monkeypatch.setenv("RMFT_VERBOSE", "1")
    verbose = envs("check broken", status=2)
    assert verbose.endswith(one_line) and "Traceback (most recent call last)" in verbose
    assert "import no_such_module_here" in verbose
