"""What the backend asks of verl's workers and servers, in which order: who sleeps, and what is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from verl.single_controller.base.decorator import MAGIC_ATTR, Dispatch

from rmft_verl.bridge import verl_backend
from rmft_verl.bridge.training.engine import DialogueWorker
from rmft_verl.bridge.verl_backend import VerlBackend
from rmft_verl.setup.recipe import load_config

STATE = ["model", "optimizer", "extra"]


class Asked(list[Any]):
    """Stands for verl: notes every call, and writes what a checkpoint must have."""

    def save_as(self, path: str, contents: list[str]) -> None:
        self.append((Path(path).name.partition("_base_")[0], contents))
        (Path(path) / "huggingface").mkdir(parents=True, exist_ok=True)
        (Path(path) / "model_world_size_1_rank_0.pt").write_text("")

    def sent(self) -> list[tuple[int, int]]:
        return [(1, 1)]

    def load_as(self, path: str, contents: list[str]) -> None:
        self.append(("load", contents))

    def sleep_replicas(self) -> None:
        self.append("sleep")

    def update_weights(self, version: int) -> None:
        self.append("sync")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    within: Any = lambda call, *_, **__: call()  # noqa: E731
    monkeypatch.setattr(verl_backend.progress, "within", within)

    def made(*words: str) -> tuple[VerlBackend, Asked]:
        backend, asked = object.__new__(VerlBackend), Asked()
        parts = {"_config": load_config(["recipe=mab_tiny", *words]), "_actor": asked, "_weights": asked, "_world": 1}
        more = {"_awake": False, "_base": None, "_scratch": tmp_path, "_probe": [], "_before": None, "_addresses": []}
        others = {"_ray": SimpleNamespace(stop=lambda waiting: None), "_model_path": "base", "_updated": False}
        watchers = {"_peers": SimpleNamespace(check=lambda: None), "_receipt": SimpleNamespace(check=lambda *_: 1.0)}
        vars(backend).update(parts | more | others | watchers)
        return backend, asked

    return made


def test_the_sampler_sleeps_before_every_sync_and_once(make: Any) -> None:
    backend, asked = make()
    backend.sync(0)
    backend.sync(0)  # as the doctor does
    backend._sleep()  # an update
    backend.sync(1)
    assert asked == ["sync", "sleep", "sync", "sleep", "sync"]


@pytest.mark.parametrize(
    ("words", "state", "final"),
    [
        ([], STATE, ["hf_model"]),
        (["checkpoint.best=true"], ["hf_model", *STATE], ["hf_model"]),
        (["checkpoint.best=true", "model.lora.rank=2"], STATE, ["model"]),
        (["update.start=base"], ["model", "extra"], ["hf_model"]),
    ],
)
def test_a_state_has_no_copy_of_the_model_and_a_model_no_optimizer(
    words: list[str], state: list[str], final: list[str], make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verl_backend, "write_merged", lambda scratch, base: None)
    backend, asked = make(*words)
    backend.save_state(tmp_path / "step_001")
    backend.save(tmp_path / "final")
    assert asked == [("step_001", state), ("final.state.partial", final)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final", "step_001"]


def test_the_base_is_kept_when_it_is_about_to_change_and_never_for_an_evaluation(make: Any, tmp_path: Path) -> None:
    backend, asked = make("update.start=base")
    backend.save_state(tmp_path / "step_001")
    backend.sync(0)
    assert ("rmft_verl", STATE) not in asked
    asked.clear()
    backend.load_state(tmp_path / "step_001")
    backend._keep_base()
    assert asked == [("rmft_verl", STATE), ("load", ["model", "extra"])] and backend._base.is_dir()
    backend.close()
    assert not backend._base.exists()
    plain, asked = make()
    plain._keep_base()
    assert not asked


def test_the_worker_hands_the_contents_to_verl_and_every_rank_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, seen = SimpleNamespace(), list[Any]()
    worker: Any = SimpleNamespace(
        actor=SimpleNamespace(engine=SimpleNamespace(checkpoint_manager=manager, module=torch.nn.Linear(1, 1))),
        save_checkpoint=lambda path: seen.append((path, manager.checkpoint_save_contents)),
        load_checkpoint=lambda path: seen.append((path, manager.checkpoint_load_contents)),
    )
    DialogueWorker.save_as.__wrapped__(worker, "there", ["model"])
    (tmp_path / "model_world_size_1_rank_0.pt").write_text("")
    for name in ("get_rank", "get_world_size"):
        monkeypatch.setattr(torch.distributed, name, lambda name=name: int(name == "get_world_size"))
    DialogueWorker.load_as.__wrapped__(worker, str(tmp_path), ["extra"])
    assert seen == [("there", ["model"]), (str(tmp_path), ["extra"])]
    for method in (DialogueWorker.save_as, DialogueWorker.load_as):
        assert getattr(method, MAGIC_ATTR)["dispatch_mode"] == Dispatch.ONE_TO_ALL
