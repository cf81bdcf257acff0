"""Seeds, places and hub ids that cannot be used, readers that leave, interrupts: one line, nothing left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import SMALL, make_run

import rmft_verl.store.places
import rmft_verl.train.run
from rmft_verl.main import main
from rmft_verl.main.cli import main as cli

HEAVY = ("torch", "transformers", "verl", "vllm", "ray")


@pytest.mark.parametrize("action", ["describe", "play"])
def test_a_negative_seed_is_refused_before_anything_is_shown(action, capsys) -> None:
    assert cli(["envs", action, "mab", "--seed", "-1"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "--seed -1" in said.err and not said.out


def test_a_reader_that_leaves_is_no_error() -> None:
    for words in ("main.cli envs describe mab", "main.cli recipes", "main --help"):
        command = f"{sys.executable} -m rmft_verl.{words} | head -1"
        done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
        assert done.returncode in (0, 141)  # 0 if all was written before the reader left
        assert done.stdout.count("\n") == 1 and not done.stderr


@pytest.mark.parametrize("words", [["report"], ["export", "OUT"], ["recipe=mab_tiny", "dry_run=true"]])
def test_an_interrupt_is_one_line(words, tmp_path, monkeypatch, capsys) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    run = make_run(tmp_path / "run", ["recipe=mab_tiny", "iterations=1", *SMALL])
    monkeypatch.setattr(rmft_verl.train.run, "report_run", interrupted)
    monkeypatch.setattr("rmft_verl.bridge.training.export.export_run", interrupted)
    monkeypatch.setattr("rmft_verl.setup.plan.print_plan", interrupted)
    assert (main(words) if "=" in words[0] else cli([words[0], str(run.path), *words[1:]])) == 130
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.endswith(": stopped\n")


PLACES = ["rescore RUN --json PLACE", "export RUN PLACE", "compare mab_tiny --out PLACE", "eval mab --out PLACE"]


@pytest.mark.parametrize("command", PLACES)
@pytest.mark.parametrize("there", ["file", "closed"])
def test_a_place_that_cannot_be_written_is_told_before_any_work(command, there, tmp_path, monkeypatch, capsys) -> None:
    run = make_run(tmp_path / "run", ["recipe=mab_tiny", "iterations=1", *SMALL])
    (run.checkpoints / "final").mkdir()
    (run.checkpoints / "final" / "config.json").write_text("{}")
    place = tmp_path / there / "out"
    if there == "file":
        place.parent.write_text("")
    else:
        place.parent.mkdir()
        access = rmft_verl.store.places.os.access  # root may write everywhere
        closed = lambda path, mode: access(path, mode) and Path(path) != place.parent  # noqa: E731
        monkeypatch.setattr(rmft_verl.store.places.os, "access", closed)
    words = [{"RUN": str(run.path), "PLACE": str(place)}.get(word, word) for word in command.split()]
    assert cli([*words, *(["--root", str(tmp_path / "root")] if words[0] == "compare" else [])]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and str(place) in said.err and "name another" in said.err and not said.out
    assert not place.exists() and not (tmp_path / "root").exists()


def test_a_folder_in_the_way_of_a_file_is_one_line(tmp_path: Path, capsys) -> None:
    run = make_run(tmp_path / "run", ["recipe=mab_tiny", "iterations=1", *SMALL])
    assert cli(["rescore", str(run.path), "--json", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "irectory" in said


def test_an_export_whose_base_is_gone_is_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    run, gone = make_run(tmp_path / "run", ["recipe=mab_tiny", "iterations=1", *SMALL]), tmp_path / "base"
    (run.checkpoints / "final").mkdir()
    (run.checkpoints / "final" / "config.json").write_text("{}")
    monkeypatch.setattr("rmft_verl.bridge.training.export.verify_final", lambda path: None)
    run.verl_config.write_text(f"actor_rollout_ref: {{model: {{path: {gone}}}}}")
    assert cli(["export", str(run.path), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"its base {gone} is gone" in said


def test_what_is_refused_is_refused_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ["recipe=mab_tiny", "iterations=1", *SMALL])
    (run.checkpoints / "final").mkdir()
    (run.checkpoints / "final" / "config.json").write_text("{}")
    calls = [
        f"cli(['export', {str(run.path)!r}, {str(tmp_path)!r}])",
        f"cli(['export', {str(tmp_path)!r}, {str(tmp_path / 'out')!r}])",
        "main(['recipe=mab_tiny', 'verl.foo=1'])",
        "main(['recipe=mab_tiny', 'verl.actor_rollout_ref.actor.foo=1', 'dry_run=true'])",
        "main(['recipe=mab_tiny', 'root=/dev/null/x'])",
    ]
    code = (
        "import sys; from rmft_verl.main import main; from rmft_verl.main.cli import main as cli\n"
        f"assert [{', '.join(calls)}] == {[2] * len(calls)}\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]; assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == len(calls) and "exists already" in done.stderr


def test_a_key_that_the_bridge_adds_may_be_overridden() -> None:
    from rmft_verl.bridge.verl_config import check_raw
    from rmft_verl.setup.recipe import load_config

    key = "verl.actor_rollout_ref.rollout.engine_kwargs.vllm.block_size=16"
    check_raw(load_config(["recipe=mab_tiny", key]))


@pytest.mark.parametrize("also", [[], ["dry_run=true"]])
@pytest.mark.parametrize("missing", [True, False])
def test_a_hub_id_without_weights_leaves_nothing(missing, also, tmp_path, monkeypatch, capsys) -> None:
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    answer = httpx.Response(404, request=httpx.Request("GET", "https://hub"))
    error = RepositoryNotFoundError("none", response=answer) if missing else httpx.ConnectError("no route")

    def asked(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(HfApi, "model_info", asked)
    runs = make_run(tmp_path / "before", ["recipe=mab_tiny", "iterations=1", *SMALL]).path.parent
    assert main(["recipe=mab_tiny", "model.path=Qwen/Qwen3-Nope", f"root={runs}", *also]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "model.path='Qwen/Qwen3-Nope'" in said and "name a model directory" in said
    assert ("the hub has no such model" if missing else "no route") in said
    assert sorted(path.name for path in runs.iterdir()) == ["before", "latest"]
    assert (runs / "latest").resolve().name == "before"


def test_weights_on_this_machine_need_no_hub(tmp_path: Path, monkeypatch) -> None:
    import huggingface_hub

    from rmft_verl.setup.models import check_hub

    (tmp_path / "model.safetensors").write_text("")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: pytest.fail("it asks"))
    check_hub("some/model")


def test_trackers_that_may_be_named_are_those_of_verl() -> None:
    tracking = pytest.importorskip("verl.utils.tracking")
    from rmft_verl.store.tracking import BACKENDS

    own = {"wandb", "tracking", "console", "file"}  # the project implements these itself, so that runs can resume
    assert set(BACKENDS) == set(tracking.Tracking.supported_backend) - own
