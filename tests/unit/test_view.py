from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_machine import Machine, start
from made_runs import SMALL, make_run
from toy_bandit import toy_trajectory

import rmft_verl.train.run
from rmft_verl.config import Config
from rmft_verl.env import load_env
from rmft_verl.env.regret import regret_curve
from rmft_verl.eval.algorithms import play_requests
from rmft_verl.eval.report import write_report
from rmft_verl.eval.view import contents, page
from rmft_verl.eval.view.contents import pieces, spread
from rmft_verl.eval.view.shelf import Shelf, embedded
from rmft_verl.eval.view.words import in_words
from rmft_verl.main.cli import main
from rmft_verl.setup.recipe import load_config
from rmft_verl.store.run_dir import RunDir
from rmft_verl.store.tracking import MOST_SHOWN
from rmft_verl.store.trajectory_file import read_kept, read_trajectories, write_trajectories
from rmft_verl.train.view import page_writer, view
from rmft_verl.types import RolloutRequest, RunError, Tokens, Trajectory

MILLION = 1_000_000
HOSTILE = (
    "<script>document.title='owned'</script></script><!--<img src=x onerror=alert(1)>&amp; "
    "\x1b[31mred\x1b[0m \u202eesrever\u202c \u2028\u2029 \ud800 שלום "
)

REST = f"\n[{len(HOSTILE) + MILLION - MOST_SHOWN:,} more characters are in the run's files]"
"""How a reply of ``HOSTILE`` and a million letters ends on the page."""


def small(path: Path, *arguments: str, recipe: str = "mab_tiny") -> RunDir:
    few = [word for word in SMALL if word.split("=")[0] not in {one.split("=")[0] for one in arguments}]
    players = ("uniform", "hedge" if recipe == "fol_tiny" else "ucb1")
    return make_run(path, [f"recipe={recipe}", *few, "iterations=2", *arguments], players)


def said(run: RunDir, text: str) -> None:
    """Put ``text`` into the mouth of the base in its first held-out dialogue."""
    path = run.trajectories("eval", 0)
    first, *others = read_trajectories(path)
    turns = (dataclasses.replace(first.turns[0], text=text, parsed=False), *first.turns[1:])
    first = dataclasses.replace(first, turns=turns, error=text[:100])
    write_trajectories(path, [first, *others], phase="eval", iteration=0)


def read(path: Path) -> dict[str, Any]:
    """What a browser gets from the page as data."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S)
    found: dict[str, Any] = json.loads(text)
    return found


def test_what_a_model_wrote_cannot_leave_the_data_of_the_page(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    said(run, HOSTILE + "A" * MILLION)
    file = view([run.path])
    text = file.read_text(encoding="ascii", errors="surrogateescape")
    assert text.count("</script") == 2 and text.count("<script") == 2  # the page's own data and program
    assert "onerror" in text and "<img" not in text
    shown = [words for words in read(file)["shared"] if isinstance(words, str) and words.startswith("<script>")]
    cut = [words for words in shown if words.endswith(REST)]
    assert [len(words) - len(REST) for words in cut] == [MOST_SHOWN]
    assert all(HOSTILE[:90] in words for words in shown)
    assert file.stat().st_size < 1_000_000


def test_embedded_json_is_ascii_that_opens_and_closes_nothing() -> None:
    value = [HOSTILE, {"<b>": "&"}, 1.5, None]
    assert json.loads(embedded(value)) == value
    assert embedded(value).isascii() and not set(embedded(value)) & set("<>&\x1b")
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded([float("nan")])


def test_nothing_but_the_pages_own_program_and_style_may_run(tmp_path: Path) -> None:
    text = view([small(tmp_path / "run").path]).read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    for kind in ("style", "script"):
        (own,) = re.findall(f"<{kind}>(.*?)</{kind}>", text, re.S)
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none';")
    outside = text.replace("http://www.w3.org/2000/svg", "")  # a name, not a place
    assert not re.search(r"https?://|\bsrc=|@import|url\(", outside)
    script = "".join((page.HERE / name).read_text(encoding="utf-8") for name in ("rows.js", "figures.js", "page.js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|fetch\(", script)


def test_a_page_stays_below_its_limit_and_says_how_many_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small(tmp_path / "run", "eval.scenarios=40", "rollout.scenarios=10", "rollout.rollouts=8")
    whole = read(view([run.path]))
    assert [row["shown"] for row in whole["runs"][0]["sets"]] == [40, 40, 40, 80, 80]
    monkeypatch.setattr(page, "MOST_BYTES", page.SMALL + 100_000)
    file = view([run.path])
    assert file.stat().st_size < page.MOST_BYTES
    cut = read(file)
    sets = cut["runs"][0]["sets"]
    assert all(0 < row["shown"] < row["of"] for row in sets)
    assert sum(row["shown"] for row in sets) == len(cut["dialogues"])
    assert [row["of"] for row in sets] == [40, 40, 40, 80, 80]
    ids = {
        row["n"]: [name(cut, one) for one in cut["dialogues"] if one["set"] == f"eval {row['n']}"] for row in sets[:3]
    }
    fewest = min(map(len, ids.values()))
    assert (
        ids[0][:fewest] == ids[1][:fewest] == ids[2][:fewest] == sorted(ids[0])[:fewest]
    )  # the same ones can be compared
    dialogues = len(embedded(cut["dialogues"])) + len(embedded(cut["shared"]))
    assert 80_000 < dialogues <= 100_010  # the room is used


def name(data: dict[str, Any], dialogue: dict[str, Any]) -> str:
    return str(data["shared"][dialogue["scenario"]]["id"])


def test_a_dialogue_that_does_not_fit_leaves_nothing_behind() -> None:
    shelf, one = Shelf(), toy_trajectory([0.0, 1.0], [0, 1])
    assert shelf.offer(one, {"run": 0}, None, [], 10_000)
    before = shelf.size, shelf.shared
    other = dataclasses.replace(one, turns=tuple(dataclasses.replace(turn, text="x" * 9_000) for turn in one.turns))
    assert not shelf.offer(other, {"run": 0}, None, [], 9_000)
    assert (shelf.size, shelf.shared, len(shelf.dialogues)) == (*before, 1)
    size = len(embedded(shelf.dialogues)) + len(embedded(shelf.shared)) - 2  # two pairs of brackets, two commas fewer
    assert shelf.size == size


def test_the_facts_of_a_dialogue_are_those_of_the_run(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    data = read(view([run.path]))
    path = run.trajectories("train", 2)
    played, kept = read_trajectories(path), read_kept(path)
    assert kept is not None
    shown = {one["place"]: one for one in data["dialogues"] if one["set"] == "train 2"}
    assert set(shown) == set(range(len(played)))
    for place, trajectory in enumerate(played):
        one = shown[place]
        assert one["kept"] == (place in kept) and one["valid"] and one["seed"] == trajectory.reward_seed
        assert one["regret"] == one["score"] == pytest.approx(trajectory.regret, abs=1e-4)  # mab_tiny scores by regret
        assert one["curve"] == pytest.approx(regret_curve(trajectory.oracle, trajectory.actions_T), abs=1e-4)
        assert [turn[2] for turn in one["turns"]] == [turn.action for turn in trajectory.turns]
        assert [turn[3] for turn in one["turns"]] == [turn.reward for turn in trajectory.turns]
        messages = [data["shared"][text] for turn in one["turns"] for _, text in turn[0]]
        assert messages == [message.content for turn in trajectory.turns for message in turn.messages]
        assert data["shared"][one["truth"]] == [pytest.approx(trajectory.oracle.expected_T_A[0], abs=1e-4)]
        request = RolloutRequest(trajectory.scenario, trajectory.reward_seed, trajectory.policy_seed)
        (ucb1,) = play_requests(load_env("mab"), "ucb1", [request])
        assert one["beside"] == ["ucb1", pytest.approx(regret_curve(ucb1.oracle, ucb1.actions_T), abs=1e-4)]
    assert {one["kept"] for one in data["dialogues"] if one["set"].startswith("eval")} == {None}


@pytest.mark.parametrize(("recipe", "player", "rows"), [("fol_tiny", "hedge", 10), ("nsmab_tiny", "ucb1", 20)])
def test_every_game_has_its_player_beside_the_model_and_its_truth(
    tmp_path: Path, recipe: str, player: str, rows: int
) -> None:
    data = read(view([small(tmp_path / "run", recipe=recipe).path]))
    assert {one["beside"][0] for one in data["dialogues"]} == {player}
    assert max(len(data["shared"][one["truth"]]) for one in data["dialogues"]) == rows


def test_two_runs_meet_on_the_same_held_out_scenarios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = small(tmp_path / "one"), small(tmp_path / "other", "seed=1", "selection.score=reward")
    assert main(["view", str(one.path), str(other.path)]) == 0
    file = one.report / "beside_other.html"
    assert str(file) in capsys.readouterr().out
    data = read(file)
    assert [run["name"] for run in data["runs"]] == ["one", "other"]
    games = [
        {(d["scenario"], d["seed"]) for d in data["dialogues"] if d["set"] == "eval 0" and d["run"] == r}
        for r in (0, 1)
    ]
    assert games[0] == games[1] and len(games[0]) == 12
    assert {d["score"] == d["regret"] for d in data["dialogues"] if d["run"] == 1} == {False}
    title = re.search("<title>(.*?)</title>", file.read_text(encoding="utf-8"))
    assert title and title[1] == "one and other"


def test_two_runs_share_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = small(tmp_path / "one", "eval.scenarios=60"), small(tmp_path / "other", "seed=1", "eval.scenarios=60")
    monkeypatch.setattr(page, "MOST_BYTES", page.SMALL + 120_000)
    file = view([one.path, other.path], tmp_path / "new" / "page.html")
    assert file.stat().st_size < page.MOST_BYTES
    shown = [sum(d["run"] == r for d in read(file)["dialogues"]) for r in (0, 1)]
    assert min(shown) > 0.7 * max(shown)


def test_the_figures_draw_what_metrics_jsonl_says(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    rows = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    panels = {panel["title"]: panel["lines"] for panel in read(view([run.path]))["runs"][0]["panels"]}
    regret = "heldout/normalized_regret"
    wanted = [
        [n, *(pytest.approx(row[regret + end], abs=1e-4) for end in ("", "_low", "_high"))]
        for n, row in enumerate(rows)
    ]
    assert panels["normalized regret"]["held-out"] == wanted
    assert [n for n, _ in panels["suffix failures"]["kept"]] == [1, 2]
    assert panels["tokens a reply"]["rollouts"] == [[1, 3.0], [2, 3.0]]  # made_runs.REPLY
    assert set(panels) == {*page.PANELS, *page.COUNTED}


def test_an_unfinished_run_has_a_page_with_the_table_so_far(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ["recipe=mab_tiny", *SMALL, "iterations=1"], finished=False)
    run.trajectories("eval", 1).unlink()
    (shown,) = read(view([run.path]))["runs"]
    assert [row["player"] for row in shown["table"]] == ["base", "uniform", "greedy", "ucb1", "thompson"]
    assert shown["verdict"].startswith("there is no trained model to show")


def test_a_finished_run_shows_the_table_of_its_report(tmp_path: Path) -> None:
    run = small(tmp_path / "run")
    (run.report / "table.json").write_text('[{"player": "as written"}]')
    assert read(view([run.path]))["runs"][0]["table"] == [{"player": "as written"}]


def test_a_run_ends_with_its_page(tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rmft_verl.train.run, "write_report", write_report)
    run = RunDir(start(tmp_path))
    (shown,) = read(run.report / "index.html")["runs"]
    assert shown["table"] == json.loads((run.report / "table.json").read_text(encoding="utf-8"))
    assert [(row["phase"], row["n"]) for row in shown["sets"]] == [
        *(("eval", n) for n in range(4)),
        *(("train", n) for n in (1, 2, 3)),
    ]


def test_a_page_that_fails_is_a_warning_not_the_end_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small(tmp_path / "run")
    sets = {
        "base": read_trajectories(run.trajectories("eval", 0)),
        "trained": read_trajectories(run.trajectories("eval", 2)),
    }
    run.trajectories("train", 1).write_text("not a parquet file")
    write = page_writer(load_config(["recipe=mab_tiny"]), load_env("mab"), run, sets)
    table = write_report(run.report, sets, [], page=write)
    assert [row.player for row in table.rows] == ["base", "trained"]
    assert "train_001.parquet cannot be read" in capsys.readouterr().err
    assert json.loads((run.report / "table.json").read_text(encoding="utf-8")) == table.to_json()


def test_what_cannot_be_shown_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path)]) == 2
    assert "is not a run directory" in capsys.readouterr().err
    run = small(tmp_path / "run")
    (tmp_path / "file").write_text("")
    assert main(["view", str(run.path), "--out", str(tmp_path / "file" / "page.html")]) == 2
    assert "is not a directory" in capsys.readouterr().err
    theory = RunDir.create(tmp_path, "theory", "env:\n  name: ball\nmodel:\n  path: numeric:linear\n")
    with pytest.raises(RunError, match="the games of the theorem, which are no dialogues"):
        view([theory.path])


def test_of_many_iterations_the_first_the_last_and_some_between_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spread([3, 5]) == [3, 5]
    assert spread(range(101), 5) == [0, 25, 50, 75, 100]
    monkeypatch.setattr(contents.spread, "__defaults__", (2,))
    (shown,) = read(view([small(tmp_path / "run", "iterations=4").path]))["runs"]
    assert [(row["phase"], row["n"]) for row in shown["sets"]] == [("eval", 0), ("eval", 4), ("train", 1), ("train", 4)]
    assert shown["left"] == 5
    assert len(shown["panels"][0]["lines"]["held-out"]) == 5  # the figures have every iteration


# ---- tokens ---------------------------------------------------------------------------------------------------------

TEXTS = {1: "<prompt>", 2: "I", 3: " say", 4: "", 5: "Action:", 6: " jay"}


def spell(ids: Any) -> str:
    """A tokenizer whose tokens 7 and 8 are the two halves of one character."""
    return "".join({(7,): "\ufffd", (8,): "\ufffd", (7, 8): "🎉"}.get(tuple(ids), TEXTS.get(n, "")) for n in ids[:1])


def spoken(text: str, ids: list[int], mask: list[int], logprobs: list[float] | None = None) -> Trajectory:
    logged = None if logprobs is None else np.array(logprobs, np.float32)
    tokens = Tokens(np.array(ids, np.int32), np.array(mask, np.int8), 1, logged)
    played = toy_trajectory([0.0, 1.0], [1])
    return dataclasses.replace(played, tokens=(tokens,), turns=(dataclasses.replace(played.turns[0], text=text),))


def test_sampled_and_forced_tokens_are_told_apart_with_their_log_probabilities() -> None:
    one = spoken(
        "I say🎉Action: jay", [1, 2, 3, 7, 8, 5, 6, 4], [0, 1, 1, 1, 1, 2, 1, 1], [0, -1, -0.5, -0.25, -0.5, 0, -2, -3]
    )
    (found,) = pieces(one, spell)
    assert found == [(1, False, -1), (4, False, -0.5), (2, False, -0.75), (7, True, 0), (4, False, -2)]  # UTF-16 units
    (unlogged,) = pieces(spoken("I say", [1, 2, 3], [0, 1, 1]), spell)
    assert unlogged == [(1, False, None), (4, False, None)]


def test_tokens_that_do_not_spell_the_reply_are_left_out() -> None:
    assert pieces(spoken("You say", [1, 2, 3], [0, 1, 1]), spell) == [[]]
    assert pieces(spoken("I say", [1, 2, 3], [0, 1, 1]), None) == []
    assert pieces(spoken("I say", [1, 2, 1, 3], [0, 1, 0, 1]), spell) == []  # two replies, one turn


# ---- words ----------------------------------------------------------------------------------------------------------


def test_a_configuration_is_told_in_sentences() -> None:
    told = dict(in_words(load_config(["recipe=mab_smollm2+warmup+posterior", "model.lora.rank=8"])))
    assert "adapters of rank 8" in told["Model"] and "posterior regret" in told["Kept"]
    assert told["Warm-up"].endswith("games of a uniform player teach the form of an answer.")
    assert "restricted to answers" in told["Each iteration"]
    assert "pairs of the best and the worst" in dict(in_words(load_config(["recipe=mab_tiny+dpo"])))["Kept"]
    mixed = dict(in_words(load_config(["recipe=mixed_tiny"])))["Game"]
    assert "mab (arms 3 or 4 or 5, horizon 20," in mixed and "{" not in mixed
    assert "Warm-up" not in dict(in_words(Config()))


@pytest.mark.parametrize(
    "recipe", ["mab_numeric", "fol_numeric", "mab_tiny+grpo", "mab_tiny+distill_ucb", "mixed_tiny"]
)
def test_every_kind_of_recipe_has_words(recipe: str) -> None:
    assert all(sentence.endswith(".") for _, sentence in in_words(load_config([f"recipe={recipe}"])))
