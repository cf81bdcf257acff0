"""What a run opens, writes and believes: nothing others can change, no secret, no pickle, no code of a model."""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_machine import SMALL, Machine

from rmft_verl.main import main
from rmft_verl.setup.prepare import prepare
from rmft_verl.setup.recipe import load_config

ROOT = Path(__file__).resolve().parents[2]
SECRET = "rmft-secret-6f1d0c2b"


def test_other_users_can_change_nothing_of_a_run(machine: Machine, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert main([*SMALL, "iterations=1", f"root={tmp_path / 'runs'}", "name=run"]) == 0
    finally:
        os.umask(before)
    paths = [path for path in (tmp_path / "runs").rglob("*") if not path.is_symlink()]
    assert len(paths) > 10 and not [path for path in paths if path.stat().st_mode & stat.S_IWOTH]
    assert (tmp_path / "runs" / "run" / "state.json").stat().st_mode & stat.S_IWGRP  # as the umask said


def test_no_secret_is_written_or_said(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    assert main([*SMALL, "iterations=1", "tracking.wandb=offline", f"root={tmp_path}", "name=run"]) == 0
    wandb.teardown()
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert SECRET not in "".join(capfd.readouterr())


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in [*(ROOT / "rmft_verl").rglob("*.py"), *(ROOT / "env_plugins").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.name}:{node.lineno}: {ast.unparse(node)}", node


def test_nothing_is_unpickled_and_no_code_of_a_model_is_run() -> None:
    """By this package itself: verl reads its own checkpoints with pickle (docs/reliability.md)."""
    loads = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
    for where, call in calls():
        name, given = ast.unparse(call.func), {word.arg: ast.unparse(word.value) for word in call.keywords}
        by_value = name in ("register_pickle_by_value", "unregister_pickle_by_value")  # reads nothing
        assert ("pickle" not in name or by_value) and name not in ("eval", "exec", "joblib.load", "yaml.load"), where
        assert "trust_remote_code" not in given, where
        if name in loads:
            key, value = loads[name]
            assert given.get(key) == str(value), where


def test_the_code_of_a_model_is_run_only_if_asked_for_by_name() -> None:
    key = "actor_rollout_ref.model.trust_remote_code"
    for asked in (False, True):
        arguments = [f"verl.{key}=true"] if asked else []
        model = prepare(load_config(["recipe=mab_tiny", *arguments])).verl_config.actor_rollout_ref.model
        assert model.trust_remote_code is asked
