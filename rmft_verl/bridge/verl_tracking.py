"""Any other tracker that verl knows (TensorBoard, MLflow, SwanLab, Trackio, ClearML) as a ``tracking.Tracker``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verl.utils.tracking import Tracking, ValidationGenerationsLogger

from rmft_verl.store.tracking import TrackingError, best_median_worst, check_backends, render_dialogue
from rmft_verl.types import Trajectory


class VerlTracker:
    """Logs metrics and the best, median and worst dialogue through verl's ``Tracking``."""

    def __init__(
        self, directory: Path, *, project: str, name: str, backends: Sequence[str], config: Mapping[str, Any]
    ) -> None:
        """Start ``backends``. TensorBoard and MLflow write to ``directory``, unless their own variables name a place.

        Raises ``TrackingError`` for a backend that is not in ``BACKENDS``, whose package is missing, or that verl could
        not start.
        """
        self._backends = list(backends)
        check_backends(backends)
        os.environ.setdefault("TENSORBOARD_DIR", str(directory / "tensorboard"))
        os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{(directory / 'mlflow.db').absolute()}")
        try:
            self._tracking = Tracking(project, name, self._backends, dict(config))
        except ImportError as error:
            raise TrackingError(f"tracking.backends={self._backends}: {error}. Install it or leave it out.") from error
        missing = [name for name in self._backends if name not in self._tracking.logger]
        if missing:  # of which verl only warns
            raise TrackingError(f"tracking.backends={self._backends}: verl could not start {missing}, as it says above")
        self._dialogues = ValidationGenerationsLogger(project, name)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._tracking.log(dict(metrics), step)

    def log_dialogues(self, trajectories: Sequence[Trajectory], step: int) -> None:
        rows = [
            [f"{which}: scenario {t.scenario.id}", render_dialogue(t), t.regret]
            for which, t in best_median_worst(trajectories)
        ]
        if rows:
            self._dialogues.log(self._backends, rows, step)

    def close(self) -> None:
        self._tracking.finish()
