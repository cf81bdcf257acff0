from __future__ import annotations

import os

import numpy as np
import pytest

from rmft_verl.store.tracking import TrackingError
from rmft_verl.types import Message, Oracle, Scenario, StopReason, Trajectory, Turn

pytestmark = pytest.mark.verl
pytest.importorskip("verl")


def trajectory(regret: float) -> Trajectory:
    turns = (Turn((Message("user", "Pick a door."),), "Blue it is.", 1, 1.0, True),)
    scenario = Scenario("toy", 1, ("red", "blue"), "doors", {})
    oracle = Oracle(np.ones((1, 2)), "pseudo")
    return Trajectory(scenario, "model", turns, oracle, StopReason.COMPLETED, 1, 2, regret=regret)


def test_tensorboard_gets_numbers_and_dialogues_in_the_run_directory(tmp_path, monkeypatch):
    from rmft_verl.bridge.verl_tracking import VerlTracker

    monkeypatch.setenv("TENSORBOARD_DIR", "")  # so that whatever the tracker sets is undone
    monkeypatch.delenv("TENSORBOARD_DIR")
    tracker = VerlTracker(tmp_path, project="p", name="n", backends=["tensorboard"], config={"seed": 1})
    tracker.log({"heldout/regret": 2.5}, 3)
    tracker.log_dialogues([trajectory(2.0), trajectory(1.0)], 3)
    tracker.log_dialogues([], 4)
    tracker.close()
    written = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    assert b"heldout/regret" in written and b"Blue it is." in written


@pytest.mark.parametrize("backend", ["wandb", "file", "nonsense"])
def test_unknown_backends_and_our_own_are_refused(tmp_path, backend):
    from rmft_verl.bridge.verl_tracking import VerlTracker

    with pytest.raises(TrackingError, match=f"'{backend}' is none of .*tensorboard"):
        VerlTracker(tmp_path, project="p", name="n", backends=[backend], config={})


def test_a_backend_that_verl_gave_up_on_is_told(tmp_path, monkeypatch):
    """verl proceeds without an MLflow whose store it cannot open, with a warning only."""
    from rmft_verl.bridge import verl_tracking

    monkeypatch.setenv("TENSORBOARD_DIR", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    started = type("Tracking", (), {"__init__": lambda self, *_: setattr(self, "logger", {"tensorboard": 1})})
    monkeypatch.setattr(verl_tracking, "Tracking", started)
    monkeypatch.setattr(verl_tracking, "check_backends", lambda _: None)  # mlflow is not installed here
    with pytest.raises(TrackingError, match=r"could not start \['mlflow'\]"):
        verl_tracking.VerlTracker(tmp_path, project="p", name="n", backends=["tensorboard", "mlflow"], config={})
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
