from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest
from made_runs import SMALL, as_model, make_run
from omegaconf import OmegaConf
from toy_bandit import toy_trajectory

from rmft_verl.eval.algorithms import play_requests
from rmft_verl.eval.compare import command, curves, figure, runs
from rmft_verl.eval.compare.arms import Arm, make_arms
from rmft_verl.eval.compare.bases import distinct
from rmft_verl.eval.directory import EvalDir
from rmft_verl.eval.metrics import normalized_regret
from rmft_verl.eval.options import generator_options
from rmft_verl.eval.players import MODEL, base_model
from rmft_verl.eval.targets import parse_targets
from rmft_verl.main.cli import main
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.run_dir import RunDir, write_text
from rmft_verl.store.stored_config import stored_config
from rmft_verl.store.tracking import FileTracker, read_metrics
from rmft_verl.store.trajectory_file import read_trajectories, write_kept, write_trajectories
from rmft_verl.types import Trajectory

HERE = str(Path(__file__).parent)
PNG = b"\x89PNG\r\n\x1a\n"

ONCE = (
    "the base was played once in each scenario: the changes of all arms share the luck of these plays, which their "
    "intervals cover one by one; --base-plays 8 plays it more often"
)

ARMS = ("--arm", "lowest", "mab_tiny", "--arm", "random", "mab_tiny", "selection.score=random")
ARMS += ("--set", "eval.every=5", *SMALL)


class Trainer:
    """Stands in for the subprocesses: makes the run or the evaluation that is asked for, or fails at it."""

    def __init__(self, fails: str = "never") -> None:
        self.trained: list[str] = []
        self.evaluated: list[list[str]] = []
        self._fails = fails

    def __call__(self, called: Sequence[str]) -> int:
        assert called[:2] == [sys.executable, "-m"]
        if called[2] == "rmft_verl.main.cli":
            return self._evaluate(list(called[3:]))
        assert called[2] == "rmft_verl.main"
        config = load_config(called[3:])
        self.trained.append(config.name)
        players = ("uniform", "thompson") if config.selection.score == "random" else ("uniform", "greedy")
        fails = config.name == self._fails
        path = Path(config.root) / config.name
        shutil.rmtree(path, ignore_errors=True)  # the real one goes on with what is there
        make_run(path, called[3:], players, finished=not fails)
        return int(fails)

    def _evaluate(self, words: list[str]) -> int:
        self.evaluated.append(words)
        options = words[words.index("--option") + 1 :] if "--option" in words else []
        targets = parse_targets(words[1 : words.index("--players")], generator_options(options), [])
        player = "uniform" if "--base" in words else "ucb1"
        episodes = int(words[words.index("--episodes") + 1]) if "--episodes" in words else 1
        scenarios = int(words[words.index("--scenarios") + 1])
        out = Path(words[words.index("--out") + 1])
        if self._fails in str(out):
            return 2
        (out / "trajectories").mkdir(parents=True, exist_ok=True)
        for target in targets:
            name = player if player in target.references(target.scenarios(1, 0)) else "uniform"
            played = play_requests(target.env_class, name, target.requests(scenarios, episodes, 0))
            EvalDir(out).finish(target.name, MODEL, as_model(played, 0))
        return 0


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.setattr(command, "draw", lambda arms, comparisons, path: None)
    return install(monkeypatch, Trainer())


def install(monkeypatch: pytest.MonkeyPatch, trainer: Trainer) -> Trainer:
    monkeypatch.setattr(runs, "call", trainer)
    return trainer


def compare(root: Path, *words: str, seeds: str = "0 1") -> int:
    return main(["compare", *words, "--seeds", *seeds.split(), "--root", str(root)])


def players(root: Path, environment: str = "mab") -> dict[str, Any]:
    numbers = json.loads((root / "report" / "numbers.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = numbers["environments"][environment]["players"]
    return found


# ---- bases ----------------------------------------------------------------------------------------------------------


def test_every_seed_may_have_a_base_of_its_own(tmp_path: Path, trainer: Trainer) -> None:
    """The base row pools them, every change is against the own base, and their habits are listed once."""
    own = ["--arm", "a", "mab_tiny", "--arm", "b", "mab_tiny", "selection.score=random", "--set", *SMALL]
    own += ["eval.every=5", "model.path=tiny:weak-{seed}"]
    assert compare(tmp_path, *own) == 0
    assert [stored_config(tmp_path / f"a_seed{seed}")["model.path"] for seed in (0, 1)] == [
        "tiny:weak-0",
        "tiny:weak-1",
    ]
    found = players(tmp_path)
    assert [name for name in found if "base" in name] == ["base", "best habit of the base: stick"]
    assert found["base"]["seeds"] == [0, 1]
    assert found["base"]["normalized_regret"] == pytest.approx(sum(found["base"]["by_seed"]) / 2)
    assert found["a"]["against_base"]["by_seed"] == pytest.approx(
        [mine / base - 1 for mine, base in zip(found["a"]["by_seed"], found["base"]["by_seed"], strict=True)]
    )


def test_the_best_habit_stands_beside_models_that_were_made_of_habits(tmp_path: Path, trainer: Trainer) -> None:
    assert compare(tmp_path, *ARMS) == 0
    found = players(tmp_path)
    (name,) = (one for one in found if one.startswith("best habit"))
    assert found[name]["kind"] == "reference" and found[name]["against_base"] is None
    assert found[name]["normalized_regret"] < found["uniform"]["normalized_regret"]
    make_run(tmp_path / "other", ["recipe=mab_tiny", *SMALL, "model.path=some/model"])
    assert main(["compare", "--run", "other", f"{tmp_path}/other", "--root", str(tmp_path)]) == 0
    assert not [one for one in players(tmp_path) if one.startswith("best habit")], "nothing is known of this model"


# ---- arms -----------------------------------------------------------------------------------------------------------


def test_arms_are_recipes_with_labels_and_overrides_or_runs(tmp_path: Path) -> None:
    few = ["few", "mab_tiny", "selection.keep=2", "env_dirs=[a,b]"]
    made = make_arms(["mab_tiny"], [few], [["two", "runs/a", str(tmp_path)]], ["eval.every=5", "iterations=2"])
    assert made == [
        Arm("mab_tiny", "mab_tiny", ("eval.every=5", "iterations=2")),
        Arm("few", "mab_tiny", ("eval.every=5", "iterations=2", "selection.keep=2", "env_dirs=[a,b]")),
        Arm("two", runs=(Path("runs/a"), tmp_path)),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "nothing to compare"),
        ("mab_tiny mab_tiny", "two arms are labeled 'mab_tiny'"),
        ("--arm base mab_tiny", "label 'base' is that of a reference"),
        ("--arm ucb1 mab_tiny", "label 'ucb1' is that of a reference"),
        ("mab_tiny --set seed=3", "seed=3: compare sets seed itself: use --seeds"),
        ("--arm a mab_tiny root=x", "compare sets root itself"),
        ("--arm a mab_tiny selection.keep", "'selection.keep' is no key=value"),
        ("--arm a", "write --arm LABEL RECIPE"),
        ("mab_tinny", "'mab_tinny' is no recipe (known: "),
        ("--arm a/b mab_tiny", "label 'a/b' must be letters"),
        ("--run a", "write --run LABEL RUN"),
        ("--run a no/such/run", "not a run directory"),
        ("--run a no/such/run --set selection.keep=2", "selection.keep=2: all arms are finished runs"),
    ],
)
def test_what_is_no_arm_is_one_clear_line(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], trainer: Trainer
) -> None:
    assert compare(tmp_path, *words.split()) == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line and said in line
    assert trainer.trained == []


# ---- training -------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_trained_once_seed_by_seed(
    tmp_path: Path, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(tmp_path, *ARMS) == 0
    assert trainer.trained == ["lowest_seed0", "random_seed0", "lowest_seed1", "random_seed1"]
    names = ["course.md", "numbers.json", "table.csv", "table.md", "table.txt"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted([*names, "runs.zip"])
    said = capsys.readouterr().out
    assert (tmp_path / "report" / "table.txt").read_text(encoding="utf-8") in said
    (tmp_path / "random_seed1" / "report" / "table.json").unlink()  # cut off before it was done
    assert compare(tmp_path, *ARMS, seeds="0 1 2") == 0
    assert trainer.trained[4:] == ["random_seed1", "lowest_seed2", "random_seed2"]
    row = players(tmp_path)["random"]
    assert row["seeds"] == [0, 1, 2] and len(row["against_base"]["by_seed"]) == 3


def unpacked(archive: Path, folder: Path) -> Path:
    with ZipFile(archive) as file:
        file.extractall(folder)
    return folder


def test_the_evidence_beside_a_table_makes_it_again(tmp_path: Path, trainer: Trainer) -> None:
    assert compare(tmp_path, *ARMS) == 0
    archive, again = tmp_path / "report" / "runs.zip", tmp_path / "again"
    evidence = unpacked(archive, tmp_path / "looked_at")
    assert not any(play.turns[0].text for path in evidence.rglob("eval_*") for play in read_trajectories(path))
    assert str(tmp_path) not in "".join(path.read_text() for path in evidence.rglob("*.yaml"))
    before = archive.read_bytes()
    arguments = [
        *ARMS,
        "--root",
        str(archive.with_suffix("")),
        "--out",
        str(again),
        "--seeds",
        "0",
        "1",
        "--report-only",
    ]
    assert main(["compare", *arguments]) == 0
    for name in ("table.txt", "numbers.json"):
        assert (again / name).read_text() == (tmp_path / "report" / name).read_text()
    assert main(["compare", *arguments[:-1], "--out", str(archive.parent)]) == 0
    assert len(trainer.trained) == 4, "evidence is a finished run"
    assert archive.read_bytes() == before and not archive.with_suffix("").exists()


def test_the_evidence_holds_what_was_played_elsewhere(tmp_path: Path, trainer: Trainer) -> None:
    further = ["--ood", "mab:train horizon=[5]", "fol", "--ood-scenarios", "4"]
    assert compare(tmp_path, *ARMS, *further) == 0 and len(trainer.evaluated) == 5
    archive, again = tmp_path / "report" / "runs.zip", tmp_path / "again"
    evidence = unpacked(archive, tmp_path / "looked_at")
    assert not any(
        play.turns[0].text
        for path in evidence.rglob("evals/**/*")
        if path.is_file()
        for play in read_trajectories(path)
    )
    place = ["--root", str(archive.with_suffix("")), "--out", str(again), "--seeds", "0", "1", "--report-only"]
    assert main(["compare", *ARMS, *further, *place]) == 0
    assert (again / "numbers.json").read_text() == (tmp_path / "report" / "numbers.json").read_text()
    text = (again / "table.md").read_text()
    assert "On target fol:" in text
    header, _, *rows = text.split("All games:\n\n")[1].split("\n\n")[0].splitlines()
    assert header == "| game | base | lowest | random | best reference |"
    assert [row.split(" | ")[0] for row in rows] == ["| mab", "| target mab:train horizon=[5]", "| target fol"]
    there = players(tmp_path, "target mab:train horizon=[5]")
    base, arm = (there[name]["normalized_regret"] for name in ("base", "lowest"))
    least = min((one["normalized_regret"], name) for name, one in there.items() if one["kind"] == "reference")
    cells = rows[1].strip("| ").split(" | ")
    assert cells[1] == f"{base:.3f}" and cells[2].startswith(f"{arm:.3f} ({arm / base - 1:+.1%} [")
    assert cells[4] == f"{least[1]} {least[0]:.3f}"


def test_runs_that_are_trained_beside_their_table_leave_evidence_too(tmp_path: Path, trainer: Trainer) -> None:
    """The documented --root OUT/runs --out OUT, then another arm: nothing that is in the archive is lost."""
    out = tmp_path / "out"
    place = ["--root", str(out / "runs"), "--out", str(out), "--seeds", "0"]
    assert main(["compare", *ARMS, *place]) == 0
    first = {path.name for path in unpacked(out / "runs.zip", tmp_path / "first").iterdir()}
    assert first == {f"{label}_seed0" for label in ("lowest", "random")}
    shutil.rmtree(out / "runs")  # the archive is what is stored
    assert main(["compare", "--arm", "more", "mab_tiny+posterior", "--set", *SMALL, *place]) == 0
    assert {path.name for path in unpacked(out / "runs.zip", tmp_path / "both").iterdir()} == first | {"more_seed0"}
    assert [path.name for path in (out / "runs").iterdir() if not path.is_symlink()] == ["more_seed0"]
    assert not (out / "runs.partial").exists()


def test_evidence_takes_the_place_of_other_evidence_but_not_of_a_run(tmp_path: Path, trainer: Trainer) -> None:
    long = make_run(tmp_path / "long", ["recipe=mab_tiny", *SMALL, "iterations=3"], ("uniform", "greedy"))
    short = make_run(tmp_path / "short", ["recipe=mab_tiny", *SMALL, "iterations=1"], ("uniform", "ucb1"))
    out, root = tmp_path / "out", ["--root", str(tmp_path), "--out", str(tmp_path / "out")]
    for label, run in (("a", long), ("b", short), ("a", short)):
        assert main(["compare", "--run", label, str(run.path), *root]) == 0
    found = unpacked(out / "runs.zip", tmp_path / "looked_at")
    assert sorted(path.name for path in found.iterdir()) == ["a_seed0", "b_seed0"]
    small = RunDir.open(found / "a_seed0")
    assert (small.recorded("eval"), small.recorded("train")) == ([0, 1], [1])
    shutil.copytree(short.path, out / "runs" / "a_seed0")
    (out / "runs" / "a_seed0" / "checkpoints" / "final").mkdir(parents=True, exist_ok=True)
    before = (out / "runs" / "a_seed0" / "metrics.jsonl").read_bytes()
    assert main(["compare", "--run", "a", str(long.path), *root]) == 0
    assert (out / "runs" / "a_seed0" / "metrics.jsonl").read_bytes() == before


def test_a_recipe_alone_is_an_arm_that_has_its_name(tmp_path: Path, trainer: Trainer) -> None:
    assert compare(tmp_path, "mab_tiny", "--set", *SMALL, seeds="4") == 0
    assert trainer.trained == ["mab_tiny_seed4"]
    assert load_config(["recipe=mab_tiny", *SMALL]).eval.scenarios == 12 == players(tmp_path)["base"]["n_scenarios"]


def test_a_run_of_another_configuration_is_not_taken(
    tmp_path: Path, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(tmp_path, *ARMS, seeds="0") == 0
    capsys.readouterr()
    assert compare(tmp_path, *ARMS, "update.lr=0.1", "iterations=2", seeds="0 1") == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/lowest_seed0 was trained with iterations=5, now 2; update.lr=0.0005, now 0.1: choose" in said
    assert f"rm -r {tmp_path}/lowest_seed0" in said and "--report-only" in said
    assert len(trainer.trained) == 2
    assert compare(tmp_path, *ARMS, "update.lr=0.1", "tracking.wandb=offline", "--report-only", seeds="0") == 0
    assert "update.lr=0.0005, now 0.1; it is read as it is" in capsys.readouterr().err


def test_a_configuration_that_cannot_run_stops_before_the_first_run(
    tmp_path: Path, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(tmp_path, *ARMS, "--arm", "late", "mab_tiny", "selection.keep=99") == 2
    assert "arm late: selection.keep=99" in capsys.readouterr().err
    assert compare(tmp_path, *ARMS, "--arm", "late", "fol_tiny", "selection.score=posterior") == 2
    assert "arm late: selection.score='posterior': fol reveals all rewards" in capsys.readouterr().err
    assert compare(tmp_path, *ARMS, "--ood", "mab:nope") == 2
    assert trainer.trained == []


def test_a_run_that_fails_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = install(monkeypatch, Trainer(fails="lowest_seed1"))
    assert compare(tmp_path, *ARMS) == 1
    assert len(failing.trained) == 4
    assert "lowest, seed 1: the run failed with exit status 1; the others go on" in capsys.readouterr().err
    assert (players(tmp_path)["lowest"]["seeds"], players(tmp_path)["random"]["seeds"]) == ([0], [0, 1])
    text = (tmp_path / "report" / "table.md").read_text(encoding="utf-8")
    assert "- lowest, seed 1: the run failed" in text and "- one seed only: the intervals of lowest know" in text
    assert compare(tmp_path, "--arm", "bad", "mab_tiny", *SMALL, "--report-only") == 2
    assert "no run has finished" in capsys.readouterr().err


def test_other_files_are_not_removed(tmp_path: Path, trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mab_tiny_seed0").mkdir()
    (tmp_path / "mab_tiny_seed0" / "thesis.tex").touch()
    assert compare(tmp_path, "mab_tiny", "--set", *SMALL) == 2
    assert "exists and is not a run" in capsys.readouterr().err
    assert (tmp_path / "mab_tiny_seed0" / "thesis.tex").exists()


# ---- numbers --------------------------------------------------------------------------------------------------------


def games(words: str) -> list[Trajectory]:
    """Two rounds a word, in a scenario each: ``01`` pulls the bad arm (regret 1), then the good one."""
    return [toy_trajectory([0.0, 1.0], [int(a) for a in w], context=str(i)) for i, w in enumerate(words.split())]


def hand_run(path: Path, seed: int, base: str, trained: str, kept: str, tokens: float, first: int = 0) -> None:
    """A run of one iteration with these plays; uniform play costs 1 in each scenario; the first ``first`` lack."""
    run = RunDir.create(path.parent, path.name)
    config = load_config(["env.name=toy_bandit", f"env_dirs=[{HERE}]", f"seed={seed}"])
    write_text(run.config, OmegaConf.to_yaml(OmegaConf.structured(config)))
    write_trajectories(run.trajectories("eval", 0), games(base)[first:], phase="eval", iteration=0)
    write_trajectories(run.trajectories("eval", 1), games(trained)[first:], phase="eval", iteration=1)
    chosen = games(kept)
    played = [*chosen, *games("00 00")]
    write_trajectories(run.trajectories("train", 1), played, phase="train", iteration=1)
    write_kept(run.trajectories("train", 1), range(len(chosen)))
    tracker = FileTracker(run.metrics)
    tracker.log({"time/evaluate": 6.0}, 0)
    tracker.log({"rollout/tokens": tokens, "update/tokens": 50.0, "time/rollout": 20.0, "time/update": 10.0}, 1)
    write_text(run.report / "table.json", "[]\n")


def test_the_numbers_are_those_of_the_files(
    tmp_path: Path, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    hand_run(tmp_path / "a0", 0, base="00 01", trained="11 01", kept="11 01", tokens=100)
    hand_run(tmp_path / "a1", 1, base="00 01", trained="01 01", kept="11 01", tokens=120)
    hand_run(tmp_path / "b0", 0, base="00 01", trained="11 01", kept="11 11", tokens=100)
    hand_run(tmp_path / "b1", 1, base="00 01", trained="11 11", kept="11 11", tokens=100)
    arms = ["--run", "a", f"{tmp_path}/a0", f"{tmp_path}/a1", "--run", "b", f"{tmp_path}/b0", f"{tmp_path}/b1"]
    assert main(["compare", *arms, "--root", str(tmp_path)]) == 0
    table = players(tmp_path, "toy")
    assert list(table) == ["base", "a", "b", "uniform", "greedy", "ucb1", "thompson"]
    assert table["base"]["normalized_regret"] == 1.5  # (2 + 1) / 2
    assert table["base"]["against_base"] is None and table["base"]["tokens_sampled"] is None
    row = table["a"]
    assert (row["by_seed"], row["normalized_regret"]) == ([0.5, 1.0], 0.75)
    assert row["seed_sd"] == pytest.approx(0.5 / 2**0.5)
    change = row["against_base"]
    assert (change["relative"], change["value"]) == (True, pytest.approx(-0.5))
    assert change["by_seed"] == pytest.approx([-2 / 3, -1 / 3]) and change["seed_sd"] == pytest.approx(2**-0.5 / 3)
    assert change["low"] < change["scenarios_low"] <= -0.5 <= change["scenarios_high"] < change["high"]
    assert row["against_first"] is None
    assert table["b"]["against_first"]["value"] == pytest.approx(0.25 / 0.75 - 1)
    assert (row["suffix_failure"], row["min_fraction"], row["greedy_fraction"]) == (0.0, 0.75, 1.0)
    assert row["optimism_gap"] == pytest.approx(0.25)  # 0.5 - 0.5 and 1.0 - 0.5
    assert (row["tokens_sampled"], row["tokens_trained"], row["seconds"]) == (110.0, 50.0, 36.0)
    with (tmp_path / "report" / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["player"]: row for row in csv.DictReader(file)}
    assert float(rows["a"]["against_base.value"]) == pytest.approx(-0.5) and rows["ucb1"]["against_base.value"] == ""
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(" a "))
    assert line.split()[:2] == ["a", "0.750"] and line.split()[4] == "0.354" and "(-67%, -33%)" in line


def test_the_base_is_played_more_often_once_for_all_runs(tmp_path: Path, trainer: Trainer) -> None:
    assert compare(tmp_path, *ARMS) == 0
    before = players(tmp_path)
    assert before["base"]["n_episodes"] == 12, "the runs' bases are one draw, not four"
    assert compare(tmp_path, *ARMS, "--base-plays", "3") == 0 and len(trainer.evaluated) == 1
    words = trainer.evaluated[0]
    assert words[:8] == f"eval mab --players model --base {tmp_path}/lowest_seed0 --scenarios 12".split()
    assert "min_gap=0.1" in words and "arms=[3, 4, 5]" in words
    assert compare(tmp_path, *ARMS, "--base-plays", "3") == 0 and len(trainer.evaluated) == 1, "they are on file"
    after = players(tmp_path)
    assert after["base"]["n_episodes"] == 36 and after["random"]["n_episodes"] == before["random"]["n_episodes"]
    assert after["base"]["normalized_regret"] != before["base"]["normalized_regret"]
    for label in ("lowest", "random"):
        change = after[label]["against_base"]
        assert change["value"] == pytest.approx(
            after[label]["normalized_regret"] / after["base"]["normalized_regret"] - 1
        )
        assert after[label]["by_seed"][1] / after["base"]["normalized_regret"] - 1 == pytest.approx(
            change["by_seed"][1]
        )
        assert after[label]["against_first"] == before[label]["against_first"], "the base cancels between arms"
    course = (tmp_path / "report" / "course.md").read_text(encoding="utf-8").splitlines()
    start = f"| {after['base']['normalized_regret']:.3f}* |"
    assert next(line for line in course if line.startswith("| lowest")).startswith(f"| lowest {start}")
    assert ONCE not in json.loads((tmp_path / "report" / "numbers.json").read_text(encoding="utf-8"))["remarks"]
    evidence = unpacked(tmp_path / "report" / "runs.zip", tmp_path / "looked_at")
    (stored,) = [read_trajectories(path) for path in (evidence / "bases").iterdir()]
    assert normalized_regret(stored) == pytest.approx(after["base"]["normalized_regret"])
    again = ["--root", str(evidence), "--out", str(tmp_path / "again"), "--report-only", "--seeds", "0", "1"]
    assert main(["compare", *ARMS, *again]) == 0
    assert (tmp_path / "again" / "table.txt").read_text() == (tmp_path / "report" / "table.txt").read_text()


def test_a_play_of_the_base_counts_by_its_seeds_not_by_what_was_played() -> None:
    often, rare = (toy_trajectory([0.0, 1.0], actions) for actions in ([0, 0], [1, 1]))
    again = dataclasses.replace(often, policy_seed=1)
    assert distinct([often, rare, again]) == [often, again], "the first of an episode, and equal plays of two"


def test_a_base_that_cannot_be_played_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(tmp_path, *ARMS) == 0
    before = players(tmp_path)
    install(monkeypatch, Trainer(fails="base"))
    assert compare(tmp_path, *ARMS, "--base-plays", "3") == 1
    assert "the base of lowest could not be played 3 times a scenario" in capsys.readouterr().err
    assert players(tmp_path) == before and not (tmp_path / "bases").exists()


def test_unequal_budgets_and_unpaired_arms_are_told(tmp_path: Path, trainer: Trainer) -> None:
    hand_run(tmp_path / "a", 0, base="00 01 01", trained="11 01 11", kept="11 01", tokens=100)
    hand_run(tmp_path / "b", 0, base="00 01 01", trained="11 01 01", kept="11 01", tokens=111, first=1)
    assert (
        main(["compare", "--run", "a", str(tmp_path / "a"), "--run", "b", str(tmp_path / "b"), "--root", str(tmp_path)])
        == 0
    )
    numbers = json.loads((tmp_path / "report" / "numbers.json").read_text(encoding="utf-8"))
    assert numbers["remarks"] == [
        "toy: the arms were measured on different scenarios or versions of the environment, so their differences are "
        "not paired",
        "intervals rest on 2 scenarios, fewer than 50: they are too narrow",
        "one seed only: the intervals of a, b know nothing of how much seeds differ",
        "unequal budgets: b sampled 111 tokens a run and a 100, more than 10% apart",
        ONCE,
    ]
    assert numbers["environments"]["toy"]["paired"] is False
    table = players(tmp_path, "toy")
    assert [name for name in table if "base" in name or "uniform" in name] == [
        "base (a)",
        "base (b)",
        "uniform (a)",
        "uniform (b)",
    ]
    change = table["b"]["against_first"]
    assert change["value"] == pytest.approx(1.0 / (1 / 3) - 1) and "scenarios_low" not in change
    assert "against a [95 %, unpaired]" in (tmp_path / "report" / "table.md").read_text(encoding="utf-8")


def test_arms_are_paired_on_the_seeds_that_both_have(tmp_path: Path, trainer: Trainer) -> None:
    trained = {0: "11 01", 1: "01 01", 2: "00 01"}
    for seed, plays in trained.items():
        hand_run(tmp_path / f"a{seed}", seed, base="00 01", trained=plays, kept="11 01", tokens=100)
        hand_run(tmp_path / f"b{seed}", seed, base="00 01", trained="11 01", kept="11 11", tokens=100)
    hand_run(tmp_path / "c3", 3, base="00 01", trained="11 01", kept="11 11", tokens=100)

    def arms(*runs: str) -> list[str]:
        found: list[str] = []
        for name in "abc":
            found += ["--run", name, *(f"{tmp_path}/{run}" for run in runs if run[0] == name)]
        return found

    some = arms("a0", "a1", "a2", "b0", "b1", "c3")
    assert main(["compare", *some, "--root", str(tmp_path)]) == 0
    table = players(tmp_path, "toy")
    assert json.loads((tmp_path / "report" / "numbers.json").read_text(encoding="utf-8"))["remarks"] == [
        "intervals rest on 2 scenarios, fewer than 50: they are too narrow",
        "b is held against a on the seeds that both have: 0, 1",
        "c and a have no two seeds in common, so their difference is not paired by seed",
        "one seed only: the intervals of c know nothing of how much seeds differ",
        ONCE,
    ]
    against = table["b"]["against_first"]
    assert against["by_seed"] == pytest.approx([0.0, -0.5]) and against["value"] == pytest.approx(0.5 / 0.75 - 1)
    assert table["c"]["against_first"]["by_seed"] == [] and table["c"]["against_first"]["value"] < 0
    two = arms("a0", "a1", "b0", "b1", "c3")
    assert main(["compare", *two, "--root", str(tmp_path)]) == 0
    assert players(tmp_path, "toy")["b"]["against_first"] == against


def test_mixed_environments_have_a_table_each_and_no_arms_are_counted_in_full_information(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "x_seed0", ["recipe=mixed_tiny", *SMALL, "eval.every=5"], ("uniform",))
    assert compare(tmp_path, "--arm", "x", "mixed_tiny", *SMALL, "eval.every=5", "--report-only", seeds="0") == 0
    numbers = json.loads((tmp_path / "report" / "numbers.json").read_text(encoding="utf-8"))
    assert list(numbers["environments"]) == ["fol", "mab", "nsmab"]
    assert sum(one["players"]["x"]["n_scenarios"] for one in numbers["environments"].values()) == 12
    *known, habit = players(tmp_path, "fol")
    assert known == ["base", "x", "uniform", "ftl", "hedge", "ftpl"]
    assert habit == "best habit of the base: chase"
    assert players(tmp_path, "fol")["x"]["suffix_failure"] is None
    assert players(tmp_path, "mab")["x"]["suffix_failure"] is not None
    assert "On nsmab" in (tmp_path / "report" / "table.txt").read_text(encoding="utf-8")
    assert (tmp_path / "report" / "regret.png").read_bytes().startswith(PNG)


def test_runs_with_keys_of_an_older_version_can_be_read(
    tmp_path: Path, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "lowest_seed0", ["recipe=mab_tiny", *SMALL])
    old = run.config.read_text(encoding="utf-8").replace("score: regret", "rule: lowest_regret")
    write_text(run.config, "\n".join(line for line in old.splitlines() if "further:" not in line) + "\n")
    assert compare(tmp_path, "--arm", "lowest", "mab_tiny", *SMALL, "--report-only") == 0
    said = capsys.readouterr().err
    assert "selection.rule=lowest_regret, now (no such key); it is read as it is" in said and "further" not in said
    assert "lowest, seed 1: " in said and "has not finished" in said
    assert list(players(tmp_path))[:3] == ["base", "lowest", "uniform"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("keys", [["eval.every=1"], ["eval.every=5"], ["eval.every=5", "rollout.player=ucb1"]])
def test_the_figure_is_drawn_with_and_without_evaluations_on_the_way(keys: list[str], tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f"a_seed{seed}", ["recipe=mab_tiny", *SMALL, *keys, f"seed={seed}"])
    assert (
        compare(tmp_path, "--arm", "a", "mab_tiny", *keys, *SMALL, "--report-only", "--out", str(tmp_path / "there"))
        == 0
    )
    assert (tmp_path / "there" / "regret.png").read_bytes().startswith(PNG)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("recipe", ["mab_tiny", "mixed_tiny"])
def test_many_arms_have_a_name_and_a_panel_each(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = []
    for label in ("a", "b", "c", "d", "e", "f", "taught"):
        player = ["rollout.player=ucb1"] if label == "taught" else []
        run = make_run(tmp_path / label, [f"recipe={recipe}", *SMALL, "eval.every=5", "iterations=2", *player])
        arms += ["--run", label, str(run.path)]
    drawn: list[Any] = []
    monkeypatch.setattr(figure, "save", lambda figure, path: drawn.append(figure))
    assert main(["compare", *arms, "--root", str(tmp_path)]) == 0
    titles = [panel.get_title() for panel in drawn[0].axes if panel.get_title()]
    environments = 1 if recipe == "mab_tiny" else 3
    alone = "taught (played by an algorithm)" if environments == 1 else "taught"
    assert titles == ["a", "b", "c", "d", "e", "f", alone] * environments
    names = {label.get_text() for label in drawn[0].axes[0].get_yticklabels()}
    assert {"base", "a", "taught", "uniform"} <= names
    drawn[0].savefig(tmp_path / "drawn.png")


def test_the_course_is_held_out_where_all_have_it_and_of_fresh_rollouts_elsewhere() -> None:
    def run(*regrets: tuple[float | None, float | None], taught: bool = False) -> SimpleNamespace:
        rows = [
            {"iteration": n, "heldout/normalized_regret": held_out, "rollout/normalized_regret": rollout}
            for n, (held_out, rollout) in enumerate(regrets)
        ]
        return SimpleNamespace(rows=rows, taught=taught)

    two = [run((0.9, None), (None, 0.8), (0.4, 0.7)), run((0.9, None), (0.1, 0.8), (0.6, 0.5))]
    # Two seeds: half an interval is t(0.975, 1) = 12.7062 standard errors; 0.1 of both pairs that differ.
    teachers = [run((0.9, None), (None, 0.1), (0.4, 0.1), taught=True)]
    arms: Any = {"a": two, "b": [run((0.9, None), (0.3, 0.2))], "c": teachers}
    assert curves.markdown(arms) == (
        "| normalized regret after updates | 0 | 1 | 2 |\n"
        "|---|---|---|---|\n"
        "| a | 0.900* | 0.600 [-0.671, 1.871] | 0.500 [-0.771, 1.771]* |\n"
        "| b | 0.900* | 0.300* |  |\n"
        "| c | 0.900* |  | 0.400* |\n"
        "\n"
        f"{curves.LEGEND}\n"
    )


# ---- further targets ------------------------------------------------------------------------------------------------


def test_targets_are_evaluated_once_for_the_base_and_for_each_run(tmp_path: Path, trainer: Trainer) -> None:
    further = ["--ood", "mab:longer horizon=[9]", "--ood-scenarios", "6", "--ood-override", "model.context=4096"]
    assert compare(tmp_path, *ARMS, *further) == 0
    assert len(trainer.evaluated) == 5  # 2 arms x 2 seeds, and their common base
    out = str(next((tmp_path / "lowest_seed0" / "evals").glob("base_*")))  # a name for each set of overrides
    played = ["--base", f"{tmp_path}/lowest_seed0", "model.context=4096", "--scenarios", "6", "--seed", "0"]
    assert trainer.evaluated[0] == ["eval", "mab:longer horizon=[9]", "--players", "model", *played, "--out", out]
    table = players(tmp_path, "target mab:longer horizon=[9]")
    assert list(table)[:4] == ["base", "lowest", "random", "uniform"] and table["base"]["n_episodes"] == 6
    assert table["ucb1"]["n_episodes"] == 18
    there = table["lowest"]
    (target,) = parse_targets(further[1:2], {}, [])
    assert target.options["horizon"] == [9]
    by_ucb1 = play_requests(target.env_class, "ucb1", target.requests(6, 1, 0))  # as the stand-in "trained" model plays
    assert there["normalized_regret"] == pytest.approx(normalized_regret(by_ucb1))
    assert there["against_base"]["value"] == pytest.approx(
        there["normalized_regret"] / table["base"]["normalized_regret"] - 1
    )
    assert len(there["against_base"]["by_seed"]) == 2 and table["random"]["against_first"]["value"] == 0
    assert compare(tmp_path, *ARMS, *further) == 0 and len(trainer.evaluated) == 5
    assert compare(tmp_path, *ARMS, *further, "hardware.tokens_per_gpu=9000") == 0 and len(trainer.evaluated) == 5
    assert compare(tmp_path, *ARMS, *further[:4]) == 0 and len(trainer.evaluated) == 10, "another context"
    tracker = FileTracker(tmp_path / "lowest_seed1" / "metrics.jsonl")
    tracker.log(read_metrics(tmp_path / "lowest_seed1" / "metrics.jsonl")[-1], 6)
    assert compare(tmp_path, *ARMS, *further[:4]) == 0 and len(trainer.evaluated) == 11, "one more update"
    assert trainer.evaluated[-1][-1].endswith("lowest_seed1/evals/trained_006")


def test_the_base_of_a_run_can_be_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", ["recipe=mab_tiny", *SMALL, "iterations=1"])
    config, version = base_model(run.path, ["model.context=2048"])
    assert (config.model.path, config.model.context, version) == ("tiny:mab", 2048, 0)
    assert main(["eval", "mab", "--players", "model", "--base", "no/such/run"]) == 2
    assert "no/such/run is not a run directory" in capsys.readouterr().err


def test_an_evaluation_that_fails_is_left_out_of_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, Trainer(fails="lowest_seed0/evals/trained"))
    assert compare(tmp_path, *ARMS, "--ood", "mab:longer", "--ood-scenarios", "4", seeds="0") == 1
    assert "lowest, seed 0: trained model on mab:longer: the evaluation failed" in capsys.readouterr().err
    assert list(players(tmp_path, "target mab:longer"))[:3] == ["base", "random", "uniform"]
